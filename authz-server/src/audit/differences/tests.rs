//! Differences for people and for programs, from entries as the ledger has them.

use super::{Asked, Differences};
use crate::audit::tests::sample::{self, NOON_MS, decision, denied};
use crate::audit::{Filter, Trail, Zone};
use crate::ledger::{Candidate, Conclusion, Decision, Entry, Otherwise, Shadow};
use std::path::Path;

fn digest(of: &str) -> String {
    of.repeat(32)
}

fn compared(entry: Decision, candidate: &str, otherwise: Option<(Conclusion, &str, &[&str])>) -> Decision {
    let otherwise = otherwise.map(|(decision, reason, policies)| Otherwise {
        decision,
        reason: reason.to_owned(),
        policies: policies.iter().map(|policy| (*policy).to_owned()).collect(),
        errors: Vec::new(),
    });
    Decision { candidate: Some(Candidate { bundle_digest: digest(candidate).into(), otherwise }), ..entry }
}

/// Two candidates, one after the other, and a shadow policy.
fn entries() -> Vec<Entry> {
    let mut number = 0;
    let mut next = || {
        number += 1;
        (sample::id(NOON_MS + number, number), NOON_MS + number)
    };
    let mut read = || {
        let (id, at_ms) = next();
        decision(&id, at_ms)
    };
    let mut entries: Vec<Decision> = (0..1_200).map(|_| compared(read(), "ab", None)).collect();
    let deny = |policies: &'static [&'static str]| Some((Conclusion::Deny, "policy_denied", policies));
    entries.push(compared(read(), "ab", deny(&["no-orders"])));
    entries.push(compared(read(), "ab", deny(&["no-orders"])));
    entries.push(compared(read(), "ab", deny(&[])));
    let allow = Some((Conclusion::Allow, "policy_allowed", &["all-delete"][..]));
    entries.push(compared(denied(&sample::id(NOON_MS, 7_001), NOON_MS + 5_000), "ab", allow));
    let reason = Some((Conclusion::Deny, "policy_error", &[][..]));
    entries.push(compared(denied(&sample::id(NOON_MS, 7_002), NOON_MS + 5_001), "cd", reason));
    let shadow = Shadow {
        decision: Conclusion::Deny,
        policies: vec!["pages-of-fifty".to_owned()],
        errors: Vec::new(),
    };
    entries.push(Decision { shadow: Some(shadow), ..compared(read(), "cd", None) });
    // Decided without any candidate, and not by policies.
    entries.push(read());
    entries.push(Decision {
        reason: "handoff_missing".to_owned(),
        ..denied(&sample::id(NOON_MS, 7_003), NOON_MS)
    });
    entries.into_iter().map(Entry::Decision).collect()
}

fn report(state: &Path, candidate: Option<&str>, since_ms: u64) -> Differences {
    let mut trail = Trail::open(state, false, &mut |_| ()).unwrap();
    let all = Filter { since_ms: Some(since_ms), ..Filter::default() };
    let compared = trail.compared(&all, &mut |_| ()).unwrap();
    let asked = Asked { candidate: candidate.map(ToOwned::to_owned) };
    let mut differences = Differences::new(asked, compared);
    let differing = Filter { differs: true, ..all };
    let mut add = |calls: &[crate::audit::Call]| {
        calls.iter().for_each(|call| differences.add(call));
        Ok(())
    };
    trail.list(&differing, None, &mut |_| (), &mut add).unwrap();
    differences
}

fn state() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    sample::record(state.path(), &entries());
    state
}

#[test]
fn each_is_told_in_its_table_behind_the_summaries() {
    let state = state();
    let mut out = Vec::new();
    report(state.path(), None, 0).write(&Zone::utc(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "1,204 decisions compared with candidate abababababab: 3 newly denied, 1 newly allowed, 0 denied for another reason",
            "2 decisions compared with candidate cdcdcdcdcdcd: 0 newly denied, 0 newly allowed, 1 denied for another reason",
            "1,207 decisions made by policies, beside shadow policies: 1 newly denied, 0 newly allowed, 0 denied for another reason",
        ],
        "{text}"
    );
    assert!(text.contains(&format!("\ncandidate {}\n", digest("ab"))), "{text}");
    assert!(text.contains("\nshadow policies\n"), "{text}");
    let row =
        |part: &str| lines.iter().find(|line| line.contains(part)).copied().unwrap_or_default().to_owned();
    let no_orders = row("no-orders");
    assert!(no_orders.trim_start().starts_with("2  newly denied (policy_denied)"), "{no_orders}");
    assert!(no_orders.contains("web") && no_orders.contains("orders.getOrder"), "{no_orders}");
    assert!(
        no_orders.contains(&sample::id(NOON_MS + 1_202, 1_202)),
        "the newest is the example: {no_orders}"
    );
    assert!(row("policy_denied to policy_error").trim_start().starts_with('1'), "{text}");
}

#[test]
fn rows_add_up_to_their_summaries() {
    let state = state();
    let objects = report(state.path(), None, 0).objects();
    let (summaries, rows): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object.get("summary").is_some());
    assert_eq!((summaries.len(), rows.len()), (3, 5));
    for summary in summaries {
        for change in ["newly_denied", "newly_allowed", "reason_changed"] {
            let of_change = rows
                .iter()
                .filter(|row| row["candidate"] == summary["candidate"] && row["difference"] == change);
            let sum: u64 = of_change.map(|row| row["count"].as_u64().unwrap()).sum();
            assert_eq!(summary[change].as_u64(), Some(sum), "{summary}");
        }
    }
    let first = rows.iter().find(|row| row["policies"][0] == "no-orders").unwrap();
    assert_eq!(
        (first["first_at_ms"].as_u64(), first["last_at_ms"].as_u64()),
        (Some(NOON_MS + 1_201), Some(NOON_MS + 1_202))
    );
}

#[test]
fn a_candidate_is_named_by_how_its_digest_begins_and_time_bounds_what_counts() {
    let state = state();
    let summaries = |candidate, since_ms| -> Vec<u64> {
        let objects = report(state.path(), candidate, since_ms).objects();
        objects.iter().filter_map(|object| object.get("compared")?.as_u64()).collect()
    };
    assert_eq!(summaries(Some("cd"), 0), [2], "and no shadow policies");
    assert_eq!(summaries(Some("ab"), NOON_MS + 1_101), [104]);
    assert!(report(state.path(), Some("ef"), 0).is_about_nothing());
    assert!(!report(state.path(), Some("cd"), 0).is_about_nothing());
    assert!(report(state.path(), None, NOON_MS + 100_000).is_about_nothing());
    assert!(!report(state.path(), None, 0).is_empty());
}

#[test]
fn large_numbers_can_be_read() {
    for (number, text) in
        [(0, "0"), (999, "999"), (1_000, "1,000"), (12_030, "12,030"), (1_234_567, "1,234,567")]
    {
        assert_eq!(super::thousands(number), text);
    }
}
