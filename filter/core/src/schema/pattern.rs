//! Patterns as automata that were compiled when the contract was built: each byte of a text is one step.
//!
//! INVARIANT: an automaton's bytes were checked as a whole before the first step, and what it cannot decide is an error,
//! never "does not match".

use regex_automata::Input;
use regex_automata::dfa::Automaton as _;
use regex_automata::dfa::sparse::DFA;

/// A pattern that is asked whether it matches anywhere in a text.
#[derive(Clone)]
pub(super) struct Pattern {
    automaton: DFA<Vec<u8>>,
}

impl core::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pattern({} bytes)", self.automaton.memory_usage())
    }
}

/// The automaton came to a state that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undecided;

impl Pattern {
    /// `bytes` are a sparse automaton of this crate's library, little-endian, and nothing else.
    pub(super) fn load(bytes: &[u8]) -> Option<Pattern> {
        let (automaton, read) = DFA::from_bytes(bytes).ok()?;
        let starts = automaton.start_state_forward(&Input::new("")).is_ok();
        (read == bytes.len() && starts).then(|| Pattern { automaton: automaton.to_owned() })
    }

    /// What it was loaded from. `None`: its library says that it cannot be written.
    pub(super) fn bytes(&self) -> Option<Box<[u8]>> {
        let mut bytes = vec![0; self.automaton.write_to_len()];
        let written = self.automaton.write_to_little_endian(&mut bytes).ok()?;
        (written == bytes.len()).then(|| bytes.into())
    }

    pub(super) fn matches(&self, text: &str) -> Result<bool, Undecided> {
        let automaton = &self.automaton;
        let mut state = automaton.start_state_forward(&Input::new(text)).map_err(|_| Undecided)?;
        for byte in text.bytes() {
            state = automaton.next_state(state, byte);
            if automaton.is_special_state(state) {
                if automaton.is_match_state(state) {
                    return Ok(true);
                }
                if automaton.is_dead_state(state) {
                    return Ok(false);
                }
                if automaton.is_quit_state(state) {
                    return Err(Undecided);
                }
            }
        }
        state = automaton.next_eoi_state(state);
        if automaton.is_quit_state(state) { Err(Undecided) } else { Ok(automaton.is_match_state(state)) }
    }
}
