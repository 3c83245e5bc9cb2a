//! Which properties and items of a value were looked at, for `unevaluatedProperties` and `unevaluatedItems`.
//!
//! Whether a part was looked at is known only at the end, when it is known which branches held. So it is judged as if
//! nobody had, and what came of that is kept until then.

use super::{Bound, Failure, Machine, Stop};
use crate::limits::LIVE_MARKS_MAX;

/// What one live schema has looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    pub(super) all: bool,
    marks: Vec<u64>,
    /// Parts that are refused if nobody looked at them.
    suspects: Vec<(usize, Failure)>,
}

impl Track {
    fn has(&self, part: usize) -> bool {
        self.all || self.marks.get(part / 64).is_some_and(|word| word >> (part % 64) & 1 == 1)
    }

    pub(super) fn refused(&self) -> Option<Failure> {
        self.suspects.iter().find(|(part, _)| !self.has(*part)).map(|(_, failure)| *failure)
    }
}

impl Machine<'_> {
    /// The part that is being read was looked at by this schema.
    pub(super) fn mark(&mut self, live: usize) -> Result<(), Stop> {
        let Some(track) = self.live.get(live).and_then(|live| live.track) else { return Ok(()) };
        let part = self.part();
        let grown = self.tracks.get_mut(track).map_or(0, |track| {
            let words = (part / 64).saturating_add(1);
            let grown = words.saturating_sub(track.marks.len());
            if grown > 0 {
                track.marks.resize(words, 0);
            }
            if let Some(word) = track.marks.get_mut(part / 64) {
                *word |= 1 << (part % 64);
            }
            grown
        });
        self.count_marks(grown)
    }

    /// The part that is being read is refused if nobody looks at it.
    pub(super) fn suspect(&mut self, live: usize, failure: Failure) -> Result<(), Stop> {
        let Some(track) = self.live.get(live).and_then(|live| live.track) else { return Ok(()) };
        let part = self.part();
        if let Some(track) = self.tracks.get_mut(track) {
            track.suspects.push((part, failure));
        }
        self.count_marks(4)
    }

    fn part(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.count.saturating_sub(1))
    }

    fn count_marks(&mut self, words: usize) -> Result<(), Stop> {
        self.marks = self.marks.saturating_add(words);
        if self.marks > LIVE_MARKS_MAX { Err(self.bound(Bound::Marks)) } else { Ok(()) }
    }

    /// What one schema has looked at, another has, too.
    pub(super) fn merge(&mut self, into: usize, from: usize) -> Result<(), Stop> {
        let tracks = [into, from].map(|live| self.live.get(live).and_then(|live| live.track));
        let [Some(into), Some(from)] = tracks else { return Ok(()) };
        let Some(source) = self.tracks.get_mut(from) else { return Ok(()) };
        let (all, marks) = (source.all, core::mem::take(&mut source.marks));
        self.charge(marks.len() as u64)?;
        let mut grown = 0;
        if let Some(track) = self.tracks.get_mut(into) {
            track.all |= all;
            if track.marks.len() < marks.len() {
                grown = marks.len().saturating_sub(track.marks.len());
                track.marks.resize(marks.len(), 0);
            }
            track.marks.iter_mut().zip(&marks).for_each(|(word, more)| *word |= more);
        }
        // Another schema may ask for the same.
        if let Some(source) = self.tracks.get_mut(from) {
            source.marks = marks;
        }
        self.count_marks(grown)
    }

    /// Forgets all from here on.
    pub(super) fn forget_tracks(&mut self, from: usize) {
        let words = |track: &Track| {
            let suspects = track.suspects.len().saturating_mul(4);
            track.marks.len().saturating_add(suspects)
        };
        let freed = self.tracks.get(from..).unwrap_or_default().iter().map(words).sum();
        self.marks = self.marks.saturating_sub(freed);
        self.tracks.truncate(from);
    }
}
