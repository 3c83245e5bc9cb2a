//! Drift, as the ledger's entries tell it, put together for people: by operation, side, place and reason. Pure.
//!
//! INVARIANT: what is shown adds up to the entries that were added and asked for; of how many judged it is a part is told
//! where that is known, and not guessed elsewhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use palisade_core::reason::Reason;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::pattern::Pattern;
use super::table::visible;
use super::when::{self, Zone};
use crate::ledger::{Drift, Entry, Judged, JudgedCount, Side};

/// Callers that are named in a line; `--json` names all.
const CALLERS_SHOWN: usize = 2;

const GAP: &str = "  ";

/// Which drift is asked for. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub service: Option<Pattern>,
    /// `createOrder`, or with its service before it.
    pub operation: Option<Pattern>,
    pub caller: Option<Pattern>,
}

/// Who serves what, which way. Texts are empty where it is several operations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    service: String,
    operation: String,
    side: Side,
}

/// What is told apart within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    place: String,
    reason: String,
}

impl Fault {
    /// No rule was broken: the service answered, and nobody had decided.
    fn is_undecided(&self) -> bool {
        self.reason == Reason::DecisionMissing.code()
    }

    /// Which part of what was judged; what nobody decided on is no part of it.
    fn share(&self, judged: Option<u64>, count: u64) -> Option<f64> {
        judged.filter(|_| !self.is_undecided()).and_then(|judged| ratio(count, judged))
    }
}

/// How often, by whom, and when.
#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    callers: BTreeMap<String, u64>,
    statuses: BTreeSet<u16>,
    first_at_ms: u64,
    last_at_ms: u64,
    /// Of the newest entry.
    example: String,
}

/// All drift that was asked for.
#[derive(Debug, Default)]
pub struct Drifts {
    asked: Asked,
    seen: BTreeMap<Subject, BTreeMap<Fault, Seen>>,
    judged: BTreeMap<Subject, u64>,
}

impl Drifts {
    pub fn new(asked: Asked) -> Drifts {
        Drifts { asked, ..Drifts::default() }
    }

    /// Takes an entry in; those of other kinds are none of it. Entries come in the order of the ledger.
    pub fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Drift(drift) => self.add_drift(drift),
            Entry::Judged(judged) => self.add_judged(judged),
            Entry::Decision(_)
            | Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Admin(_)
            | Entry::Shed(_)
            | Entry::Load(_) => {}
        }
    }

    fn add_drift(&mut self, drift: &Drift) {
        let Drift { service, operation, side, place, reason, .. } = drift;
        let caller = drift.peer.clone().unwrap_or_default();
        let is_asked = self.asked.caller.as_ref().is_none_or(|pattern| pattern.matches(&caller));
        if !is_asked || !self.asked.names(service, operation) {
            return;
        }
        let subject = Subject { service: service.clone(), operation: operation.clone(), side: *side };
        let fault = Fault { place: place.clone(), reason: reason.clone() };
        let seen = self.seen.entry(subject).or_default().entry(fault).or_default();
        let is_first = seen.count == 0;
        seen.count = seen.count.saturating_add(drift.count);
        let by_caller = seen.callers.entry(caller).or_default();
        *by_caller = by_caller.saturating_add(drift.count);
        seen.statuses.extend(drift.status);
        seen.first_at_ms = if is_first { drift.first_at_ms } else { seen.first_at_ms.min(drift.first_at_ms) };
        if is_first || drift.last_at_ms >= seen.last_at_ms {
            seen.last_at_ms = drift.last_at_ms;
            seen.example.clone_from(&drift.call_id);
        }
    }

    fn add_judged(&mut self, judged: &Judged) {
        for JudgedCount { service, operation, side, count } in &judged.counts {
            if self.asked.names(service, operation) {
                let subject = Subject { service: service.clone(), operation: operation.clone(), side: *side };
                let total = self.judged.entry(subject).or_default();
                *total = total.saturating_add(*count);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How many requests and responses were judged.
    pub fn judged(&self, side: Side) -> u64 {
        let of_side = self.judged.iter().filter(|(subject, _)| subject.side == side);
        of_side.fold(0, |total, (_, count)| total.saturating_add(*count))
    }

    /// One object for each operation, side, place and reason; the most frequent first.
    pub fn objects(&self) -> Vec<Value> {
        let mut rows: Vec<(&Subject, &Fault, &Seen)> = self
            .seen
            .iter()
            .flat_map(|(subject, faults)| faults.iter().map(move |(fault, seen)| (subject, fault, seen)))
            .collect();
        rows.sort_by_key(|(.., seen)| Reverse(seen.count));
        rows.into_iter().map(|(subject, fault, seen)| self.object(subject, fault, seen)).collect()
    }

    fn object(&self, subject: &Subject, fault: &Fault, seen: &Seen) -> Value {
        let judged = self.judged.get(subject).copied();
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let callers = by_count(&seen.callers);
        let callers =
            callers.into_iter().map(|(caller, count)| json!({"caller": known(caller), "count": count}));
        json!({
            "service": known(&subject.service),
            "operation": known(&subject.operation),
            "side": subject.side.name(),
            "place": known(&fault.place),
            "reason": fault.reason,
            "statuses": seen.statuses,
            "callers": callers.collect::<Vec<_>>(),
            "count": seen.count,
            "judged": judged,
            "ratio": fault.share(judged, seen.count),
            "first_at": when::utc(seen.first_at_ms),
            "first_at_ms": seen.first_at_ms,
            "last_at": when::utc(seen.last_at_ms),
            "last_at_ms": seen.last_at_ms,
            "example": seen.example,
        })
    }

    /// A table for each operation and side; where most drifts comes first.
    pub fn write(&self, zone: &Zone, out: &mut dyn Write) -> io::Result<()> {
        let mut tables: Vec<(u64, &Subject, &BTreeMap<Fault, Seen>)> = self
            .seen
            .iter()
            .map(|(subject, faults)| {
                (faults.values().map(|seen| seen.count).fold(0, u64::saturating_add), subject, faults)
            })
            .collect();
        tables.sort_by_key(|(total, ..)| Reverse(*total));
        for (index, (total, subject, faults)) in tables.into_iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let of_undecided = faults.iter().filter(|(fault, _)| fault.is_undecided());
            let undecided = of_undecided.map(|(_, seen)| seen.count).fold(0, u64::saturating_add);
            writeln!(out, "{}", self.heading(subject, total.saturating_sub(undecided), undecided))?;
            write_table(&self.rows(subject, faults, zone), out)?;
        }
        Ok(())
    }

    fn heading(&self, subject: &Subject, drifted: u64, undecided: u64) -> String {
        let Subject { service, operation, side } = subject;
        let name = match operation.is_empty() {
            true => "several operations".to_owned(),
            false => visible(&format!("{service}.{operation}")),
        };
        let judged = match self.judged.get(subject) {
            _ if drifted == 0 => None,
            Some(judged) => Some(format!("{drifted} among {judged} that were judged")),
            None => Some(format!("{drifted}, and how many were judged is not known")),
        };
        let undecided = (undecided > 0)
            .then(|| format!("{undecided} went on undecided while the server could not be reached"));
        let said: Vec<String> = judged.into_iter().chain(undecided).collect();
        format!("{name}, {}s: {}", side.name(), said.join("; "))
    }

    fn rows(&self, subject: &Subject, faults: &BTreeMap<Fault, Seen>, zone: &Zone) -> Vec<[String; 8]> {
        let judged = self.judged.get(subject).copied();
        let mut faults: Vec<(&Fault, &Seen)> = faults.iter().collect();
        faults.sort_by_key(|(_, seen)| Reverse(seen.count));
        let mut rows = vec![
            [
                "count",
                "share",
                "place",
                "reason",
                "callers",
                &format!("first ({})", zone.name()),
                "last",
                "example",
            ]
            .map(ToOwned::to_owned),
        ];
        rows.extend(faults.into_iter().map(|(fault, seen)| {
            let share = fault.share(judged, seen.count);
            let place = if fault.place.is_empty() { "-" } else { &fault.place };
            [
                seen.count.to_string(),
                share.map_or_else(|| "-".to_owned(), percent),
                visible(place),
                visible(&fault.reason),
                callers(&seen.callers),
                zone.show(seen.first_at_ms),
                zone.show(seen.last_at_ms),
                visible(&seen.example),
            ]
        }));
        rows
    }
}

impl Asked {
    fn names(&self, service: &str, operation: &str) -> bool {
        let names = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        names(&self.service, service)
            && (names(&self.operation, operation)
                || names(&self.operation, &format!("{service}.{operation}")))
    }
}

/// The columns of numbers stand to the right.
fn write_table(rows: &[[String; 8]], out: &mut dyn Write) -> io::Result<()> {
    let mut widths = [0; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let blank = " ".repeat(width.saturating_sub(cell.width()));
            line.push_str(GAP);
            line.push_str(&if column < 2 { blank + cell } else { cell.to_owned() + &blank });
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn by_count(callers: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut callers: Vec<(&str, u64)> =
        callers.iter().map(|(caller, count)| (caller.as_str(), *count)).collect();
    callers.sort_by_key(|(_, count)| Reverse(*count));
    callers
}

fn callers(callers: &BTreeMap<String, u64>) -> String {
    let named = by_count(callers);
    let name = |(caller, _): &(&str, u64)| if caller.is_empty() { "-".to_owned() } else { visible(caller) };
    let shown = named.iter().take(CALLERS_SHOWN).map(name).collect::<Vec<_>>().join(" ");
    match named.len().saturating_sub(CALLERS_SHOWN) {
        0 => shown,
        more => format!("{shown} +{more}"),
    }
}

/// `None` where more drifted than was judged, as far as is known: part of what was judged is told somewhere else.
fn ratio(count: u64, judged: u64) -> Option<f64> {
    (count <= judged && judged > 0).then(|| count as f64 / judged as f64)
}

/// Nothing that happened is shown as nothing, and only all is shown as all.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        _ if percent < 0.1 => "<0.1 %".to_owned(),
        _ if ratio < 1.0 && percent > 99.9 => ">99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests;
