//! What happened to the server, as the ledger tells it: starts, bundles, losses, spikes, storms, sheds and drift. Pure.
//!
//! INVARIANT: an event has one name everywhere: the one by which the ledger stores it.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::table::visible;
use super::when::{self, Zone};
use crate::ledger::{Admin, AdminEvent, Drift, Recorded, Sheds};

/// The name by which the ledger stores an event.
pub(super) fn name(event: &AdminEvent) -> &'static str {
    match event {
        AdminEvent::Start => "start",
        AdminEvent::Stop => "stop",
        AdminEvent::BundleLoaded => "bundle_loaded",
        AdminEvent::BundleRefused => "bundle_refused",
        AdminEvent::CredentialsLoaded => "credentials_loaded",
        AdminEvent::CredentialsRefused => "credentials_refused",
        AdminEvent::CandidateLoaded => "candidate_loaded",
        AdminEvent::CandidateRefused => "candidate_refused",
        AdminEvent::KeyCreated => "key_created",
        AdminEvent::LedgerRecovered => "ledger_recovered",
        AdminEvent::SegmentReplaced => "segment_replaced",
        AdminEvent::EntriesDeleted { .. } => "entries_deleted",
        AdminEvent::ReportsLost { .. } => REPORTS_LOST,
        AdminEvent::OutcomesMissing { .. } => OUTCOMES_MISSING,
        AdminEvent::Spike(_) => SPIKE,
        AdminEvent::Undecided(_) => "undecided",
        AdminEvent::StormBegan(_) => "storm_began",
        AdminEvent::StormEnded(_) => "storm_ended",
    }
}

pub(super) const REPORTS_LOST: &str = "reports_lost";
pub(super) const OUTCOMES_MISSING: &str = "outcomes_missing";
pub(super) const SPIKE: &str = "spike";
/// Those that are kinds of entries themselves. What was judged happened to nobody, and is only looked up.
pub(super) const DRIFT: &str = "drift";
pub(super) const JUDGED: &str = "judged";
pub(super) const SHED: &str = "shed";

/// One of them, with its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub(super) Recorded<Happened>);

/// The entry of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Admin(Admin),
    Drift(Box<Drift>),
    Shed(Box<Sheds>),
}

impl Event {
    pub fn position(&self) -> u64 {
        self.0.index
    }

    pub fn name(&self) -> &'static str {
        match &self.0.entry {
            Happened::Admin(admin) => name(&admin.event),
            Happened::Drift(_) => DRIFT,
            Happened::Shed(_) => SHED,
        }
    }

    pub(super) fn admin(&self) -> Option<&Admin> {
        match &self.0.entry {
            Happened::Admin(admin) => Some(admin),
            Happened::Drift(_) | Happened::Shed(_) => None,
        }
    }

    fn at_ms(&self) -> u64 {
        match &self.0.entry {
            Happened::Admin(admin) => admin.at_ms,
            Happened::Drift(drift) => drift.last_at_ms,
            Happened::Shed(sheds) => sheds.last_at_ms,
        }
    }

    fn detail(&self) -> String {
        match &self.0.entry {
            Happened::Admin(admin) => admin.detail.clone(),
            Happened::Drift(drift) => drift_in_words(drift),
            Happened::Shed(sheds) => sheds_in_words(sheds),
        }
    }

    /// The event as one JSON object; what it says of itself stands under its name.
    pub fn object(&self) -> Value {
        let mut object = json!({
            "at": when::utc(self.at_ms()),
            "at_ms": self.at_ms(),
            "position": self.0.index,
            "event": self.name(),
            "detail": self.detail(),
        });
        let said = match &self.0.entry {
            Happened::Admin(admin) => serde_json::to_value(&admin.event),
            Happened::Drift(drift) => serde_json::to_value(drift).map(|drift| json!({ DRIFT: drift })),
            Happened::Shed(sheds) => serde_json::to_value(sheds).map(|sheds| json!({ SHED: sheds })),
        };
        // An event without anything to say is stored as its name alone.
        if let (Value::Object(object), Ok(Value::Object(said))) = (&mut object, said) {
            object.extend::<Map<String, Value>>(said);
        }
        object
    }

    /// The line above such lines.
    pub fn heading(zone: &Zone) -> String {
        format!("{:<23}  {:<19}  what", format!("time ({})", zone.name()), "event")
    }

    /// The event as a line for people. Something to look into stands out where there are colours.
    pub fn write(&self, zone: &Zone, is_coloured: bool, out: &mut dyn Write) -> io::Result<()> {
        let (begin, end) = match is_coloured && self.is_trouble() {
            true => ("\x1b[33m", "\x1b[0m"),
            false => ("", ""),
        };
        let name = format!("{:<19}", self.name());
        writeln!(out, "{}  {begin}{name}{end}  {}", zone.show(self.at_ms()), visible(&self.detail()))
    }

    fn is_trouble(&self) -> bool {
        let Some(admin) = self.admin() else { return true };
        match &admin.event {
            AdminEvent::Start
            | AdminEvent::Stop
            | AdminEvent::BundleLoaded
            | AdminEvent::CredentialsLoaded
            | AdminEvent::CandidateLoaded
            | AdminEvent::KeyCreated
            | AdminEvent::StormEnded(_)
            | AdminEvent::EntriesDeleted { .. } => false,
            AdminEvent::BundleRefused
            | AdminEvent::CredentialsRefused
            | AdminEvent::CandidateRefused
            | AdminEvent::LedgerRecovered
            | AdminEvent::SegmentReplaced
            | AdminEvent::ReportsLost { .. }
            | AdminEvent::OutcomesMissing { .. }
            | AdminEvent::Spike(_)
            | AdminEvent::StormBegan(_)
            | AdminEvent::Undecided(_) => true,
        }
    }
}

/// Which rule was broken where, how often and by whom.
fn drift_in_words(drift: &Drift) -> String {
    let Drift { side, reason, place, service, operation, status, peer, count, call_id, .. } = drift;
    let operation = match operation.is_empty() {
        true => "several operations".to_owned(),
        false => format!("{service}.{operation}"),
    };
    let status = status.map(|status| format!(" {status}")).unwrap_or_default();
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    let who = peer.as_deref().map(|peer| format!(" by {peer}")).unwrap_or_default();
    format!("{}{status} of {operation}: {reason}{place}, {times}{who}, as in {call_id}", side.name())
}

/// How many of whose requests were shed where, and why.
pub(super) fn sheds_in_words(sheds: &Sheds) -> String {
    let Sheds { reason, retry, shadow, limit, service, operation, peer, count, call_id, .. } = sheds;
    let operation = match operation.is_empty() {
        true => "several operations".to_owned(),
        false => format!("{service}.{operation}"),
    };
    let attempts = match (*retry, *count) {
        (true, 1) => "retry",
        (true, _) => "retries",
        (false, 1) => "first attempt",
        (false, _) => "first attempts",
    };
    let limit = limit.as_deref().map(|limit| format!(" (limit {limit})")).unwrap_or_default();
    let who = peer.as_deref().map(|peer| format!(" by {peer}")).unwrap_or_default();
    let shadow = if *shadow { " in shadow, and went on" } else { "" };
    format!("{count} {attempts} of {operation}: {reason}{limit}{who}{shadow}, as in {call_id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Spike, Storm};

    #[test]
    fn an_event_has_the_name_by_which_the_ledger_stores_it() {
        let spike = Spike {
            kind: "denial".to_owned(),
            caller: "web".to_owned(),
            service: "orders".to_owned(),
            operation: "deleteOrder".to_owned(),
            count: 40,
            usual: 1,
            window_s: 10,
        };
        let storm = Storm {
            caller: "web".to_owned(),
            service: "orders".to_owned(),
            operation: "listOrders".to_owned(),
            since_ms: 1,
            duration_ms: 2,
            first_attempts: 3,
            retries: 4,
            sheds: 5,
            amplification_percent: 233,
        };
        let events = [
            AdminEvent::Start,
            AdminEvent::Stop,
            AdminEvent::BundleLoaded,
            AdminEvent::BundleRefused,
            AdminEvent::CredentialsLoaded,
            AdminEvent::CredentialsRefused,
            AdminEvent::CandidateLoaded,
            AdminEvent::CandidateRefused,
            AdminEvent::KeyCreated,
            AdminEvent::LedgerRecovered,
            AdminEvent::SegmentReplaced,
            AdminEvent::EntriesDeleted { before: 3 },
            AdminEvent::ReportsLost { vm: "v".to_owned(), from: 1, count: 2 },
            AdminEvent::OutcomesMissing { from: 1, to: 9, count: 2 },
            AdminEvent::Spike(spike),
            AdminEvent::StormBegan(storm.clone()),
            AdminEvent::StormEnded(storm),
        ];
        for event in events {
            let stored = match serde_json::to_value(&event).unwrap() {
                Value::String(name) => name,
                Value::Object(fields) => fields.keys().next().unwrap().clone(),
                other => panic!("{other}"),
            };
            assert_eq!(name(&event), stored);
        }
    }
}
