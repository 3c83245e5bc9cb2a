//! What happened to the server, as the ledger tells it: starts, bundles, losses, spikes. Pure.
//!
//! INVARIANT: an event has one name everywhere: the one by which the ledger stores it.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::table::visible;
use super::when::{self, Zone};
use crate::ledger::{Admin, AdminEvent, Recorded};

/// The name by which the ledger stores an event.
pub(super) fn name(event: &AdminEvent) -> &'static str {
    match event {
        AdminEvent::Start => "start",
        AdminEvent::Stop => "stop",
        AdminEvent::BundleLoaded => "bundle_loaded",
        AdminEvent::BundleRefused => "bundle_refused",
        AdminEvent::CredentialsLoaded => "credentials_loaded",
        AdminEvent::CredentialsRefused => "credentials_refused",
        AdminEvent::KeyCreated => "key_created",
        AdminEvent::LedgerRecovered => "ledger_recovered",
        AdminEvent::SegmentReplaced => "segment_replaced",
        AdminEvent::EntriesDeleted { .. } => "entries_deleted",
        AdminEvent::ReportsLost { .. } => REPORTS_LOST,
        AdminEvent::OutcomesMissing { .. } => OUTCOMES_MISSING,
        AdminEvent::Spike(_) => SPIKE,
    }
}

pub(super) const REPORTS_LOST: &str = "reports_lost";
pub(super) const OUTCOMES_MISSING: &str = "outcomes_missing";
pub(super) const SPIKE: &str = "spike";
/// Kinds of entries of their own.
pub(super) const DRIFT: &str = "drift";
pub(super) const JUDGED: &str = "judged";

/// One of them, with its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub(super) Recorded<Admin>);

impl Event {
    pub fn position(&self) -> u64 {
        self.0.index
    }

    pub fn name(&self) -> &'static str {
        name(&self.0.entry.event)
    }

    pub fn entry(&self) -> &Admin {
        &self.0.entry
    }

    /// The event as one JSON object; what it says of itself stands under its name.
    pub fn object(&self) -> Value {
        let Admin { at_ms, event, detail } = &self.0.entry;
        let mut object = json!({
            "at": when::utc(*at_ms),
            "at_ms": at_ms,
            "position": self.0.index,
            "event": self.name(),
            "detail": detail,
        });
        // An event without anything to say is stored as its name alone.
        if let (Value::Object(object), Ok(Value::Object(said))) = (&mut object, serde_json::to_value(event)) {
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
        let Admin { at_ms, detail, .. } = &self.0.entry;
        let (begin, end) = match is_coloured && self.is_trouble() {
            true => ("\x1b[33m", "\x1b[0m"),
            false => ("", ""),
        };
        let name = format!("{:<19}", self.name());
        writeln!(out, "{}  {begin}{name}{end}  {}", zone.show(*at_ms), visible(detail))
    }

    fn is_trouble(&self) -> bool {
        match &self.0.entry.event {
            AdminEvent::Start
            | AdminEvent::Stop
            | AdminEvent::BundleLoaded
            | AdminEvent::CredentialsLoaded
            | AdminEvent::KeyCreated
            | AdminEvent::EntriesDeleted { .. } => false,
            AdminEvent::BundleRefused
            | AdminEvent::CredentialsRefused
            | AdminEvent::LedgerRecovered
            | AdminEvent::SegmentReplaced
            | AdminEvent::ReportsLost { .. }
            | AdminEvent::OutcomesMissing { .. }
            | AdminEvent::Spike(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Spike;

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
        let events = [
            AdminEvent::Start,
            AdminEvent::Stop,
            AdminEvent::BundleLoaded,
            AdminEvent::BundleRefused,
            AdminEvent::CredentialsLoaded,
            AdminEvent::CredentialsRefused,
            AdminEvent::KeyCreated,
            AdminEvent::LedgerRecovered,
            AdminEvent::SegmentReplaced,
            AdminEvent::EntriesDeleted { before: 3 },
            AdminEvent::ReportsLost { vm: "v".to_owned(), from: 1, count: 2 },
            AdminEvent::OutcomesMissing { from: 1, to: 9, count: 2 },
            AdminEvent::Spike(spike),
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
