//! The trail of one state directory: the index brought up to date, its answers read from the ledger, and what to do
//! when the index does not answer.
//!
//! INVARIANT: an answer is whole, or the error says from which entry on it is not.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::call::{Call, Shape};
use super::count_by::{CountBy, keys_of};
use super::differences::Compared;
use super::event::{DRIFT, Event, JUDGED};
use super::filter::{Filter, IdPart};
use super::index::{Asked, By, Hit, Index, IndexError, Order};
use super::pattern::Pattern;
use super::when::Zone;
use super::{INDEX_DIRECTORY, read, suggest};
use crate::ledger::{Entry, ReadError, Recorded};
use crate::state::LEDGER_DIRECTORY;

/// Entries of one batch: the lock is given back in between.
const BATCH: usize = 4096;

/// Calls that are read and shown at once.
const CALLS_AT_ONCE: u64 = 2048;

/// How long the index may be written before a person is told.
const SILENT: Duration = Duration::from_millis(700);

/// How many calls a question by the beginning of an id names before it says that there are more.
const CANDIDATES_MAX: u64 = 6;

/// Something that a person may want to know and that is not an answer.
#[derive(Debug)]
pub enum Note {
    /// So many entries are in the index, which is still behind.
    Indexing {
        done: u64,
    },
    /// The index is up to date after it was not for a while.
    Indexed {
        done: u64,
    },
    Rebuilding {
        why: String,
    },
    /// The ledger is read whole, because the index cannot be kept.
    WithoutIndex {
        why: String,
    },
}

/// Why there is no answer, or no whole one.
#[derive(Debug)]
pub enum AuditError {
    Ledger(ReadError),
    /// Nothing from this entry on could be read.
    Stopped {
        position: u64,
        error: ReadError,
    },
    Index(String),
    /// Whoever was shown the calls could not take them.
    Output(std::io::Error),
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditError::Ledger(error) => error.fmt(f),
            AuditError::Stopped { position, error } => write!(
                f,
                "nothing is known of entry {position} and what follows it: {error}; `palisade ledger verify` says more"
            ),
            AuditError::Index(detail) => write!(f, "{detail}; `--from-ledger` does without the kept index"),
            AuditError::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuditError {}

/// Zones differ by multiples of this.
const QUARTER_MS: u64 = 15 * 60 * 1000;

/// What an id, or the beginning of one, names.
#[derive(Debug)]
pub enum Found {
    Nothing,
    One(Box<Why>),
    /// Some of the calls, when there are several.
    Many(Vec<Call>),
}

/// All that the ledger knows of one call.
#[derive(Debug)]
pub struct Why {
    pub call: Call,
    /// Outcomes behind the first one, reports that were repeated, or one on a call that was decided, and then drift that
    /// the call is an example of.
    pub further: Vec<Recorded>,
}

/// The audit trail of a state directory.
#[derive(Debug)]
pub struct Trail {
    ledger: PathBuf,
    index: Index,
    stopped: Option<(u64, ReadError)>,
}

impl Trail {
    /// Opens the trail and takes in what the index does not know yet. With `from_ledger` the kept index is neither
    /// read nor written, and all of the ledger is.
    pub fn open(state: &Path, from_ledger: bool, note: &mut dyn FnMut(Note)) -> Result<Trail, AuditError> {
        let ledger = state.join(LEDGER_DIRECTORY);
        let opened = match from_ledger {
            true => Index::temporary(&ledger),
            false => Index::open(&state.join(INDEX_DIRECTORY), &ledger),
        };
        let index = match opened {
            Ok(index) => index,
            Err(IndexError::Damaged(why) | IndexError::Unusable(why)) if !from_ledger => {
                note(Note::WithoutIndex { why });
                Index::temporary(&ledger).map_err(fail)?
            }
            Err(error) => return Err(fail(error)),
        };
        let mut trail = Trail { ledger, index, stopped: None };
        trail.catch_up(note)?;
        Ok(trail)
    }

    /// Takes in what was recorded since.
    pub fn catch_up(&mut self, note: &mut dyn FnMut(Note)) -> Result<(), AuditError> {
        match self.advance(note) {
            Err(error) => self.mend(error, note),
            Ok(()) => Ok(()),
        }
    }

    fn advance(&mut self, note: &mut dyn FnMut(Note)) -> Result<(), IndexError> {
        let (mut told, mut has_told) = (Instant::now(), false);
        loop {
            let progress = self.index.advance(None, BATCH)?;
            if told.elapsed() > SILENT && !progress.at_end {
                (told, has_told) = (Instant::now(), true);
                note(Note::Indexing { done: progress.done });
            }
            if let Some(error) = progress.stopped {
                self.stopped = Some((progress.done, error));
                return Ok(());
            }
            if progress.at_end {
                self.stopped = None;
                if has_told {
                    note(Note::Indexed { done: progress.done });
                }
                return Ok(());
            }
        }
    }

    /// After this the index answers, if anything can make it.
    fn mend(&mut self, error: IndexError, note: &mut dyn FnMut(Note)) -> Result<(), AuditError> {
        match error {
            IndexError::Ledger(error) => return Err(AuditError::Ledger(error)),
            IndexError::Damaged(why) => {
                note(Note::Rebuilding { why });
                match self.index.rebuild().and_then(|()| self.advance(note)) {
                    Ok(()) => return Ok(()),
                    Err(IndexError::Ledger(error)) => return Err(AuditError::Ledger(error)),
                    Err(error) => note(Note::WithoutIndex { why: error.to_string() }),
                }
            }
            IndexError::Unusable(why) => note(Note::WithoutIndex { why }),
        }
        self.index = Index::temporary(&self.ledger).map_err(fail)?;
        self.advance(note).map_err(fail)
    }

    /// Asks the index; one that is found to be damaged is mended and asked again, once.
    fn ask<T>(
        &mut self,
        note: &mut dyn FnMut(Note),
        mut question: impl FnMut(&Index, &Path) -> Result<T, IndexError>,
    ) -> Result<T, AuditError> {
        match question(&self.index, &self.ledger) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.mend(error, note)?;
                question(&self.index, &self.ledger).map_err(fail)
            }
        }
    }

    /// Whether all of the ledger could be read.
    pub fn is_whole(&self) -> Result<(), String> {
        match &self.stopped {
            None => Ok(()),
            Some((position, error)) => Err(format!(
                "nothing is known of entry {position} and what follows it: {error}; `palisade ledger verify` says more"
            )),
        }
    }

    /// How many entries are known.
    pub fn entries(&self) -> Result<u64, AuditError> {
        self.index.done().map_err(fail)
    }

    /// Shows the newest calls that match, at most so many, the newest last; how many that were.
    pub fn list(
        &mut self,
        filter: &Filter,
        limit: Option<u64>,
        note: &mut dyn FnMut(Note),
        show: &mut dyn FnMut(&[Call]) -> std::io::Result<()>,
    ) -> Result<u64, AuditError> {
        let end = self.entries()?;
        let mut shown = 0;
        let Some(limit) = limit else {
            let mut from = 0;
            loop {
                let calls = self.ask(note, |index, ledger| {
                    let asked = index.ask(filter)?;
                    let hits = index.find(&asked, from..end, Order::OldestFirst, CALLS_AT_ONCE)?;
                    read_matching(index, ledger, &asked, &hits)
                })?;
                let Some(last) = calls.last() else { return Ok(shown) };
                from = last.position().saturating_add(1);
                shown += calls.len() as u64;
                show(&calls).map_err(AuditError::Output)?;
            }
        };
        let mut hits = self.ask(note, |index, _| {
            let asked = index.ask(filter)?;
            index.find(&asked, 0..end, Order::NewestFirst, limit)
        })?;
        hits.reverse();
        for hits in hits.chunks(CALLS_AT_ONCE as usize) {
            let mut is_first = true;
            let calls = self.ask(note, |index, ledger| {
                // Only a rebuilt index has other hits, and only where the one before was wrong.
                let hits = match std::mem::take(&mut is_first) {
                    true => hits.to_vec(),
                    false => current(index, filter, hits)?,
                };
                read_matching(index, ledger, &index.ask(filter)?, &hits)
            })?;
            shown += calls.len() as u64;
            show(&calls).map_err(AuditError::Output)?;
        }
        Ok(shown)
    }

    /// How many calls match, by what they have in common. The key is empty where nothing is known. From the index
    /// alone.
    pub fn count(
        &mut self,
        filter: &Filter,
        by: CountBy,
        zone: &Zone,
        note: &mut dyn FnMut(Note),
    ) -> Result<BTreeMap<String, u64>, AuditError> {
        let pieces = match by {
            CountBy::Status => By::Status,
            CountBy::Hour | CountBy::Day => By::Time { ms: QUARTER_MS },
            _ => By::Shape,
        };
        let counted = self.ask(note, |index, _| {
            let counts = index.count(&index.ask(filter)?, pieces)?;
            let shapes: BTreeMap<i64, Shape> = match pieces {
                By::Shape => index.shapes()?.into_iter().map(|known| (known.id, known.shape)).collect(),
                By::Status | By::Time { .. } => BTreeMap::new(),
            };
            Ok((counts, shapes))
        })?;
        let (counts, shapes) = counted;
        let mut by_key: BTreeMap<String, u64> = BTreeMap::new();
        for (key, calls) in counts {
            let start_ms = u64::try_from(key.unwrap_or(0)).unwrap_or(0).saturating_mul(QUARTER_MS);
            let keys = match by {
                CountBy::Status => vec![key.map(|status| status.to_string()).unwrap_or_default()],
                CountBy::Hour => vec![zone.hour(start_ms)],
                CountBy::Day => vec![zone.date(start_ms)],
                _ => keys_of(by, key.and_then(|id| shapes.get(&id))),
            };
            for key in keys {
                *by_key.entry(key).or_default() += calls;
            }
        }
        Ok(by_key)
    }

    /// How many decisions of a time were made by policies, and how many were compared with each candidate. From the index
    /// alone, and that from the entries: each says itself that it was compared.
    pub fn compared(&mut self, filter: &Filter, note: &mut dyn FnMut(Note)) -> Result<Compared, AuditError> {
        let (counts, shapes) = self.ask(note, |index, _| {
            let counts = index.count(&index.ask(filter)?, By::Shape)?;
            let shapes = index.shapes()?.into_iter().map(|known| (known.id, known.shape));
            Ok((counts, shapes.collect::<BTreeMap<i64, Shape>>()))
        })?;
        let mut compared = Compared::default();
        for (id, calls) in counts {
            if let Some(shape) = id.and_then(|id| shapes.get(&id)) {
                compared.add(shape, calls);
            }
        }
        Ok(compared)
    }

    /// What happened to the server, the newest so many, the newest last.
    pub fn events(
        &mut self,
        kind: Option<&Pattern>,
        at_ms: Range<u64>,
        limit: Option<u64>,
        note: &mut dyn FnMut(Note),
    ) -> Result<Vec<Event>, AuditError> {
        let mut events = self.ask(note, |index, ledger| {
            let mut positions = Vec::new();
            let asked = |name: &&String| *name != JUDGED && kind.is_none_or(|kind| kind.matches(name));
            for name in index.event_kinds()?.iter().filter(asked) {
                positions.extend(index.events(name, at_ms.clone(), limit.unwrap_or(u64::MAX))?);
            }
            positions.sort_unstable_by_key(|position| std::cmp::Reverse(*position));
            positions.truncate(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
            read::events(index, ledger, &positions)
        })?;
        events.reverse();
        Ok(events)
    }

    /// The kinds of events that there were.
    pub fn event_kinds(&self) -> Result<Vec<String>, AuditError> {
        let mut kinds = self.index.event_kinds().map_err(fail)?;
        kinds.retain(|kind| kind != JUDGED);
        Ok(kinds)
    }

    /// Shows what drifted and what was judged in a time, in the order of the ledger.
    pub fn drift(
        &mut self,
        at_ms: Range<u64>,
        note: &mut dyn FnMut(Note),
        show: &mut dyn FnMut(&Entry),
    ) -> Result<(), AuditError> {
        let positions = self.ask(note, |index, _| {
            let mut positions = index.events(DRIFT, at_ms.clone(), u64::MAX)?;
            positions.extend(index.events(JUDGED, at_ms.clone(), u64::MAX)?);
            positions.sort_unstable();
            Ok(positions)
        })?;
        for positions in positions.chunks(CALLS_AT_ONCE as usize) {
            let entries = self.ask(note, |index, ledger| read::at(index, ledger, positions))?;
            entries.iter().for_each(|recorded| show(&recorded.entry));
        }
        Ok(())
    }

    /// Looks for a call by its id, or by the beginning of it.
    pub fn find(&mut self, id: &IdPart, note: &mut dyn FnMut(Note)) -> Result<Found, AuditError> {
        self.ask(note, |index, ledger| {
            let hits = index.by_id(id, CANDIDATES_MAX)?;
            let filter = Filter { id: Some(id.clone()), ..Filter::default() };
            let mut calls = read_matching(index, ledger, &index.ask(&filter)?, &hits)?;
            if calls.len() > 1 {
                return Ok(Found::Many(calls));
            }
            let Some(call) = calls.pop() else { return Ok(Found::Nothing) };
            let mut further = index.further(call.position())?;
            further.extend(call.id().map(|id| index.examples(id)).transpose()?.into_iter().flatten());
            let further = read::at(index, ledger, &further)?;
            Ok(Found::One(Box::new(Why { call, further })))
        })
    }

    /// The call that an outcome with this id belongs to, as the index knows it.
    pub(super) fn call_of(
        &mut self,
        id: &IdPart,
        note: &mut dyn FnMut(Note),
    ) -> Result<Option<Call>, AuditError> {
        self.ask(note, |index, ledger| Ok(read::calls(index, ledger, &index.by_id(id, 1)?)?.pop()))
    }

    /// Where to begin reading so that the entry at `position` comes.
    pub(super) fn source_at(&mut self, position: u64) -> Result<super::source::Source, AuditError> {
        let anchor = match position {
            0 => None,
            _ => Some(self.index.anchor(position.saturating_sub(1)).map_err(fail)?),
        };
        let mut source = super::source::Source::open(&self.ledger, anchor).map_err(AuditError::Ledger)?;
        if let Some(anchor) = anchor {
            source.seek(position, anchor).map_err(AuditError::Ledger)?;
        }
        Ok(source)
    }

    /// Which parts of a question no call at all answers, a sentence each, with what was perhaps meant.
    pub fn unknown(
        &mut self,
        filter: &Filter,
        note: &mut dyn FnMut(Note),
    ) -> Result<Vec<String>, AuditError> {
        let shapes = self.ask(note, |index, _| index.shapes())?;
        let shapes: Vec<Shape> = shapes.into_iter().map(|known| known.shape).collect();
        Ok(suggest::unknown(filter, &shapes))
    }
}

/// The calls of hits, if each of them is what was asked for and what the index believes; it is wrong otherwise.
fn read_matching(
    index: &Index,
    ledger: &Path,
    asked: &Asked<'_>,
    hits: &[Hit],
) -> Result<Vec<Call>, IndexError> {
    let calls = read::calls(index, ledger, hits)?;
    let is_sound = |(hit, call): (&Hit, &Call)| hit.tells_of(call, asked) && asked.filter().matches(call);
    match hits.iter().zip(&calls).find(|pair| !is_sound(*pair)) {
        None => Ok(calls),
        Some((hit, _)) => Err(IndexError::Damaged(format!("entry {} is not what it says", hit.call))),
    }
}

/// The same calls, in an index that may have been rebuilt since they were found.
fn current(index: &Index, filter: &Filter, hits: &[Hit]) -> Result<Vec<Hit>, IndexError> {
    let (Some(first), Some(last)) = (hits.first(), hits.last()) else { return Ok(Vec::new()) };
    let range = first.call..last.call.saturating_add(1);
    index.find(&index.ask(filter)?, range, Order::OldestFirst, hits.len() as u64)
}

fn fail(error: IndexError) -> AuditError {
    match error {
        IndexError::Ledger(error) => AuditError::Ledger(error),
        IndexError::Damaged(_) | IndexError::Unusable(_) => AuditError::Index(error.to_string()),
    }
}
