//! What shadow policies and candidate bundles would have decided otherwise, put together for people: by policies, caller,
//! operation and what would have changed. Pure.
//!
//! INVARIANT: what is shown adds up to the decisions that differ: each stands in one row for each that would have decided
//! it otherwise. Of how many they are a part is told by the entries themselves, and not by a counter that a restart resets.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use palisade_core::reason::Reason;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::call::{Call, Shape, Verdict};
use super::table::visible;
use super::when::{self, Zone};
use crate::check::told;
use crate::ledger::{Conclusion, Decision, Otherwise};

const GAP: &str = "  ";

/// Digits of a digest that people read; `--json` has all.
const DIGEST_SHOWN: usize = 12;

/// Which differences are asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The beginning of a candidate's digest: nothing but that candidate then.
    pub candidate: Option<String>,
}

/// How many decisions there were to differ from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Made by policies; shadow policies were asked about each of these that a bundle with shadows decided.
    by_policies: u64,
    /// By the digest of the candidate.
    with_candidate: BTreeMap<String, u64>,
}

impl Compared {
    pub(super) fn add(&mut self, shape: &Shape, calls: u64) {
        let (_, allowed) = told(crate::check::Decision::Allow);
        let by_policies = [allowed.as_str(), Reason::PolicyDenied.code(), Reason::PolicyError.code()];
        if by_policies.contains(&shape.reason.as_str())
            && matches!(shape.verdict, Verdict::Allow | Verdict::Deny)
        {
            self.by_policies = self.by_policies.saturating_add(calls);
        }
        if !shape.candidate.is_empty() {
            let known = self.with_candidate.entry(shape.candidate.clone()).or_default();
            *known = known.saturating_add(calls);
        }
    }
}

/// Who would have decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// By its digest.
    Candidate(String),
    Shadows,
}

/// What callers would have noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    NewlyDenied,
    NewlyAllowed,
    ReasonChanged,
}

impl Change {
    const ALL: [Change; 3] = [Change::NewlyDenied, Change::NewlyAllowed, Change::ReasonChanged];

    fn of(was: Conclusion, would_be: Conclusion) -> Change {
        match (was, would_be) {
            (Conclusion::Allow, Conclusion::Deny) => Change::NewlyDenied,
            (Conclusion::Deny, Conclusion::Allow) => Change::NewlyAllowed,
            (Conclusion::Allow, Conclusion::Allow) | (Conclusion::Deny, Conclusion::Deny) => {
                Change::ReasonChanged
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Change::NewlyDenied => "newly_denied",
            Change::NewlyAllowed => "newly_allowed",
            Change::ReasonChanged => "reason_changed",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Change::NewlyDenied => "newly denied",
            Change::NewlyAllowed => "newly allowed",
            Change::ReasonChanged => "denied for another reason",
        }
    }
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    change: Change,
    /// Those that would have determined it. None: nothing permits it any more.
    policies: Vec<String>,
    caller: String,
    operation: String,
    was: String,
    would_be: String,
}

/// How often and when.
#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    first_at_ms: u64,
    last_at_ms: u64,
    /// Of the newest one.
    example: String,
}

/// All differences that were asked for.
#[derive(Debug, Default)]
pub struct Differences {
    asked: Asked,
    compared: Compared,
    seen: BTreeMap<By, BTreeMap<Difference, Seen>>,
}

impl Differences {
    pub fn new(asked: Asked, compared: Compared) -> Differences {
        Differences { asked, compared, seen: BTreeMap::new() }
    }

    /// Takes a call in, if it is one that was decided. Calls come in the order of the ledger.
    pub fn add(&mut self, call: &Call) {
        let Some(decision) = call.decision().map(|recorded| &recorded.entry) else { return };
        if let Some(candidate) = &decision.candidate
            && let Some(otherwise) = &candidate.otherwise
            && self.asked.means(&candidate.bundle_digest)
        {
            self.note(By::Candidate(candidate.bundle_digest.to_string()), decision, otherwise);
        }
        if let Some(shadow) = &decision.shadow
            && self.asked.candidate.is_none()
        {
            let (_, allowed) = told(crate::check::Decision::Allow);
            let reason = match (shadow.decision, shadow.errors.as_slice()) {
                (Conclusion::Allow, _) => allowed,
                (Conclusion::Deny, []) => Reason::PolicyDenied.code().to_owned(),
                (Conclusion::Deny, _) => Reason::PolicyError.code().to_owned(),
            };
            let (policies, errors) = (shadow.policies.clone(), shadow.errors.clone());
            let otherwise = Otherwise { decision: shadow.decision, reason, policies, errors };
            self.note(By::Shadows, decision, &otherwise);
        }
    }

    fn note(&mut self, by: By, decision: &Decision, otherwise: &Otherwise) {
        let operation = match decision.operation.is_empty() {
            true => String::new(),
            false => format!("{}.{}", decision.service, decision.operation),
        };
        let difference = Difference {
            change: Change::of(decision.decision, otherwise.decision),
            policies: otherwise.policies.clone(),
            caller: decision.principal.clone(),
            operation,
            was: decision.reason.clone(),
            would_be: otherwise.reason.clone(),
        };
        let seen = self.seen.entry(by).or_default().entry(difference).or_default();
        let is_first = seen.count == 0;
        seen.count = seen.count.saturating_add(1);
        seen.first_at_ms = if is_first { decision.at_ms } else { seen.first_at_ms.min(decision.at_ms) };
        if is_first || decision.at_ms >= seen.last_at_ms {
            seen.last_at_ms = decision.at_ms;
            seen.example.clone_from(&decision.decision_id);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether there was nothing that anything could have differed from.
    pub fn is_about_nothing(&self) -> bool {
        match &self.asked.candidate {
            Some(_) => self.candidates().next().is_none(),
            None => self.compared == Compared::default(),
        }
    }

    fn candidates(&self) -> impl Iterator<Item = (&String, u64)> {
        let asked = self.compared.with_candidate.iter().filter(|(digest, _)| self.asked.means(digest));
        asked.map(|(digest, count)| (digest, *count))
    }

    /// Everybody of whom something can be said, with the number of decisions compared.
    fn subjects(&self) -> Vec<(By, u64)> {
        let mut subjects: Vec<(By, u64)> =
            self.candidates().map(|(digest, count)| (By::Candidate(digest.clone()), count)).collect();
        if self.asked.candidate.is_none() {
            subjects.push((By::Shadows, self.compared.by_policies));
        }
        subjects
    }

    fn count(&self, by: &By, change: Change) -> u64 {
        let of_change = self.seen.get(by).into_iter().flatten().filter(|(known, _)| known.change == change);
        of_change.fold(0, |total, (_, seen)| total.saturating_add(seen.count))
    }

    /// A summary of each candidate and of the shadows, then an object for each row.
    pub fn objects(&self) -> Vec<Value> {
        let mut objects: Vec<Value> = self
            .subjects()
            .iter()
            .map(|(by, compared)| {
                let [denied, allowed, reason] = Change::ALL.map(|change| self.count(by, change));
                json!({
                    "summary": by.kind(),
                    "candidate": by.digest(),
                    "compared": compared,
                    "newly_denied": denied,
                    "newly_allowed": allowed,
                    "reason_changed": reason,
                })
            })
            .collect();
        for (by, rows) in &self.seen {
            objects.extend(by_count(rows).into_iter().map(|(difference, seen)| object(by, difference, seen)));
        }
        objects
    }

    /// A line about each candidate and about the shadows, then a table for each that differs.
    pub fn write(&self, zone: &Zone, out: &mut dyn Write) -> io::Result<()> {
        for (by, compared) in self.subjects() {
            let counts = Change::ALL
                .map(|change| format!("{} {}", thousands(self.count(&by, change)), change.words()));
            let compared = thousands(compared);
            let beginning = match &by {
                By::Candidate(digest) => {
                    format!("{compared} decisions compared with candidate {}", shortened(digest))
                }
                By::Shadows => format!("{compared} decisions made by policies, beside shadow policies"),
            };
            writeln!(out, "{beginning}: {}", counts.join(", "))?;
        }
        for (by, rows) in &self.seen {
            let heading = match by {
                By::Candidate(digest) => format!("candidate {digest}"),
                By::Shadows => "shadow policies".to_owned(),
            };
            writeln!(out, "\n{heading}")?;
            write_table(&cells(rows, zone), out)?;
        }
        Ok(())
    }
}

impl Asked {
    fn means(&self, digest: &str) -> bool {
        self.candidate.as_ref().is_none_or(|beginning| digest.starts_with(beginning.as_str()))
    }
}

impl By {
    fn kind(&self) -> &'static str {
        match self {
            By::Candidate(_) => "candidate",
            By::Shadows => "shadow_policies",
        }
    }

    fn digest(&self) -> Option<&str> {
        match self {
            By::Candidate(digest) => Some(digest),
            By::Shadows => None,
        }
    }
}

fn by_count(rows: &BTreeMap<Difference, Seen>) -> Vec<(&Difference, &Seen)> {
    let mut rows: Vec<(&Difference, &Seen)> = rows.iter().collect();
    rows.sort_by_key(|(_, seen)| Reverse(seen.count));
    rows
}

fn object(by: &By, difference: &Difference, seen: &Seen) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "difference": difference.change.name(),
        "candidate": by.digest(),
        "policies": difference.policies,
        "caller": known(&difference.caller),
        "operation": known(&difference.operation),
        "was": difference.was,
        "would_be": difference.would_be,
        "count": seen.count,
        "first_at": when::utc(seen.first_at_ms),
        "first_at_ms": seen.first_at_ms,
        "last_at": when::utc(seen.last_at_ms),
        "last_at_ms": seen.last_at_ms,
        "example": seen.example,
    })
}

fn cells(rows: &BTreeMap<Difference, Seen>, zone: &Zone) -> Vec<[String; 8]> {
    let first = format!("first ({})", zone.name());
    let names = ["count", "what", "policies", "caller", "operation", &first, "last", "example"];
    let mut cells = vec![names.map(ToOwned::to_owned)];
    cells.extend(by_count(rows).into_iter().map(|(difference, seen)| {
        let Difference { change, policies, caller, operation, was, would_be } = difference;
        let what = match change {
            Change::NewlyDenied => format!("{} ({would_be})", change.words()),
            Change::NewlyAllowed => format!("{} ({was})", change.words()),
            Change::ReasonChanged => format!("{was} to {would_be}"),
        };
        [
            thousands(seen.count),
            visible(&what),
            or_dash(&policies.join(" ")),
            or_dash(caller),
            or_dash(operation),
            zone.show(seen.first_at_ms),
            zone.show(seen.last_at_ms),
            visible(&seen.example),
        ]
    }));
    cells
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { visible(text) }
}

/// The column of numbers stands to the right.
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
            line.push_str(&if column == 0 { blank + cell } else { cell.to_owned() + &blank });
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn shortened(digest: &str) -> &str {
    digest.get(..DIGEST_SHOWN).unwrap_or(digest)
}

/// `12,030`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
