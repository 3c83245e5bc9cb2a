//! Patterns as automata whose every step is one byte: made here, run by the core.
//!
//! INVARIANT: an automaton is bounded while it is made and when it is done, and a pattern that needs more is refused.

use crate::bundle::openapi::Pattern;
use palisade_core::limits::{PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX};
use palisade_core::schema::PatternIndex;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use std::collections::HashMap;

/// What an automaton may take while it is made, before what is alike in it is folded.
const BUILT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Below this, folding what is alike takes milliseconds.
const FOLDED_BYTES_MAX: usize = 256 * 1024;

/// Deeper than any pattern that a person wrote; the reader of contracts has the same.
const NESTED_MAX: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    all: Vec<Box<[u8]>>,
    bytes: usize,
    known: HashMap<Box<str>, Option<PatternIndex>>,
}

impl Patterns {
    /// `None`: its automaton would be too large, by itself or with all others.
    pub(super) fn index(&mut self, pattern: &Pattern) -> Option<PatternIndex> {
        if let Some(known) = self.known.get(&pattern.translated) {
            return *known;
        }
        let index =
            automaton(&pattern.translated).filter(|bytes| self.bytes + bytes.len() <= PATTERNS_BYTES_MAX);
        let index = index.map(|bytes| {
            self.bytes += bytes.len();
            self.all.push(bytes);
            PatternIndex(u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX))
        });
        self.known.insert(pattern.translated.clone(), index);
        index
    }

    pub(super) fn finish(self) -> Vec<Box<[u8]>> {
        self.all
    }
}

/// `translated` is in the syntax of `regex-syntax`, and matches anywhere in a text.
pub(super) fn automaton(translated: &str) -> Option<Box<[u8]>> {
    let build = |minimize: bool| {
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .accelerate(false)
            .minimize(minimize)
            .dfa_size_limit(Some(BUILT_BYTES_MAX))
            .determinize_size_limit(Some(BUILT_BYTES_MAX));
        let thompson = thompson::Config::new().utf8(false).nfa_size_limit(Some(BUILT_BYTES_MAX));
        let syntax = syntax::Config::new().utf8(false).nest_limit(NESTED_MAX);
        let builder =
            dense::Builder::new().configure(config).thompson(thompson).syntax(syntax).build(translated);
        builder.ok()
    };
    let mut built = build(false)?;
    if built.memory_usage() <= FOLDED_BYTES_MAX {
        built = build(true)?;
    }
    let bytes = built.to_sparse().ok()?.to_bytes_little_endian();
    (bytes.len() <= PATTERN_BYTES_MAX).then(|| bytes.into())
}
