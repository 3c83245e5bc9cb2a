//! Any question gives what a walk over all entries gives, in whatever steps the index was built.
//!
//! The walk is written for this test alone and shares no code with what it checks.

use std::collections::{BTreeMap, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::sample::{self, NOON_MS};
use crate::audit::{CountBy, Filter, IdPart, Pattern, Status, Trail, Verdict, Zone};
use crate::ledger::{self, Conclusion, Decision, Entry, Outcome, Refusal, Shadow};

/// A call as the walk sees it.
#[derive(Clone, Debug)]
struct Walked {
    position: u64,
    decision: Option<Decision>,
    refusal: Option<Refusal>,
    outcome: Option<(u64, Outcome)>,
    /// Whether its id leads to it: of two decisions with one id the first one has it.
    has_its_id: bool,
}

impl Walked {
    fn id(&self) -> Option<&str> {
        match (&self.decision, &self.refusal, &self.outcome) {
            (Some(decision), ..) => Some(&decision.decision_id),
            (None, Some(refusal), _) => Some(&refusal.call_id),
            (None, None, Some((_, outcome))) => outcome.call_id.as_deref(),
            (None, None, None) => None,
        }
    }

    fn at_ms(&self) -> u64 {
        match (&self.decision, &self.refusal, &self.outcome) {
            (Some(decision), ..) => decision.at_ms,
            (None, Some(refusal), _) => refusal.at_ms,
            (None, None, outcome) => outcome.as_ref().unwrap().1.at_ms,
        }
    }

    fn verdict(&self) -> Verdict {
        match (&self.decision, &self.refusal, &self.outcome) {
            (Some(decision), ..) if decision.decision == Conclusion::Allow => Verdict::Allow,
            (Some(_), ..) => Verdict::Deny,
            (None, Some(refusal), _) if refusal.verdict == ledger::Verdict::Shed => Verdict::Shed,
            (None, Some(_), _) => Verdict::Reject,
            (None, None, Some((_, outcome))) if outcome.filter_reason.is_some() => Verdict::Reject,
            (None, None, _) => Verdict::None,
        }
    }

    fn reason(&self) -> String {
        match (&self.decision, &self.refusal, &self.outcome) {
            (Some(decision), ..) => decision.reason.clone(),
            (None, Some(refusal), _) => refusal.reason.clone(),
            (None, None, outcome) => {
                let outcome = &outcome.as_ref().unwrap().1;
                outcome.filter_reason.clone().unwrap_or_else(|| outcome.details.replace("{late}", ""))
            }
        }
    }

    /// Caller, service and operation, as far as they are known.
    fn names(&self) -> (&str, &str, &str) {
        match (&self.decision, &self.refusal) {
            (Some(decision), _) => (&decision.principal, &decision.service, &decision.operation),
            (None, Some(refusal)) => {
                (refusal.peer.as_deref().unwrap_or(""), &refusal.service, &refusal.operation)
            }
            (None, None) => ("", "", ""),
        }
    }
}

/// Where the first entry of each id stands.
fn firsts<'e, T: 'e>(
    entries: &'e [Entry],
    of: impl Fn(&'e Entry) -> Option<(&'e str, T)>,
) -> HashMap<&'e str, (u64, T)> {
    let mut firsts = HashMap::new();
    for (position, entry) in (0_u64..).zip(entries) {
        if let Some((id, of_it)) = of(entry) {
            firsts.entry(id).or_insert((position, of_it));
        }
    }
    firsts
}

fn walk(entries: &[Entry]) -> Vec<Walked> {
    let decisions = firsts(entries, |entry| match entry {
        Entry::Decision(decision) => Some((decision.decision_id.as_str(), ())),
        _ => None,
    });
    let refusals = firsts(entries, |entry| match entry {
        Entry::Refusal(refusal) => Some((refusal.call_id.as_str(), ())),
        _ => None,
    });
    let outcomes = firsts(entries, |entry| match entry {
        Entry::Outcome(outcome) => Some((outcome.call_id.as_deref()?, outcome)),
        _ => None,
    });
    let outcome_of = |id: &str| outcomes.get(id).map(|(position, outcome)| (*position, (*outcome).clone()));
    let mut calls = Vec::new();
    for (position, entry) in (0_u64..).zip(entries) {
        let (mut decision, mut refusal, mut has_its_id) = (None, None, true);
        let outcome = match entry {
            Entry::Decision(decided) => {
                let id = decided.decision_id.as_str();
                has_its_id = decisions[id].0 == position;
                decision = Some(decided.clone());
                outcome_of(id).filter(|_| has_its_id)
            }
            Entry::Refusal(refused) => {
                let id = refused.call_id.as_str();
                if decisions.contains_key(id) || refusals[id].0 != position {
                    continue;
                }
                refusal = Some(refused.clone());
                outcome_of(id)
            }
            Entry::Outcome(outcome) => {
                let stands_alone = outcome.call_id.as_deref().is_none_or(|id| {
                    !decisions.contains_key(id) && !refusals.contains_key(id) && outcomes[id].0 == position
                });
                if !stands_alone {
                    continue;
                }
                Some((position, outcome.clone()))
            }
            Entry::Admin(_) | Entry::Drift(_) | Entry::Judged(_) | Entry::Shed(_) | Entry::Load(_) => {
                continue;
            }
        };
        calls.push(Walked { position, decision, refusal, outcome, has_its_id });
    }
    calls
}

/// What is asked, in words that the walk understands by itself.
#[derive(Clone, Debug, Default)]
struct Question {
    who: Option<String>,
    service: Option<String>,
    operation: Option<String>,
    decision: Option<Verdict>,
    reason: Option<String>,
    place: Option<&'static str>,
    policy: Option<String>,
    shadow: bool,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    slow_us: Option<u64>,
    status: Option<&'static str>,
    id: Option<String>,
}

impl Question {
    fn filter(&self) -> Filter {
        let whole = |text: &Option<String>| text.as_deref().map(Pattern::whole);
        Filter {
            who: self.who.as_deref().map(Pattern::part),
            service: whole(&self.service),
            operation: whole(&self.operation),
            decision: self.decision,
            reason: whole(&self.reason),
            place: self.place.map(str::to_owned),
            policy: whole(&self.policy),
            shadow: self.shadow,
            differs: false,
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            slow_us: self.slow_us,
            status: self.status.map(|text| text.parse::<Status>().unwrap()),
            id: self.id.as_ref().map(|text| text.parse::<IdPart>().unwrap()),
        }
    }

    fn is_answered_by(&self, call: &Walked) -> bool {
        let decision = call.decision.as_ref();
        let (principal, service, operation) = call.names();
        let whole =
            |asked: &Option<String>, text: &str| asked.as_ref().is_none_or(|asked| names(asked, text));
        let status = call.outcome.as_ref().map(|(_, outcome)| outcome.status);
        let took_us = call.outcome.as_ref().map(|(_, outcome)| outcome.duration_us);
        self.who.as_ref().is_none_or(|asked| match asked.contains(['*', '?', '=']) {
            true => names(asked, principal),
            false => principal.to_lowercase().contains(&asked.to_lowercase()),
        }) && whole(&self.service, service)
            && (whole(&self.operation, operation)
                || (!operation.is_empty() && whole(&self.operation, &format!("{service}.{operation}"))))
            && self.decision.is_none_or(|asked| asked == call.verdict())
            && whole(&self.reason, &call.reason())
            && self.place.is_none_or(|asked| {
                let refusal = call.refusal.as_ref();
                refusal
                    .and_then(|refusal| refusal.place.as_ref())
                    .is_some_and(|place| place.find(asked) == Some(0))
            })
            && self.policy.as_ref().is_none_or(|asked| {
                decision.is_some_and(|decision| decision.policies.iter().any(|policy| names(asked, policy)))
            })
            && (!self.shadow || decision.is_some_and(|decision| decision.shadow.is_some()))
            && self.since_ms.is_none_or(|since_ms| since_ms <= call.at_ms())
            && self.until_ms.is_none_or(|until_ms| call.at_ms() < until_ms)
            && self.slow_us.is_none_or(|slow_us| took_us.is_some_and(|took_us| took_us >= slow_us))
            && self.status.is_none_or(|asked| match asked {
                "none" => status.is_none(),
                "5xx" => status.is_some_and(|status| status / 100 == 5),
                exact => status.is_some_and(|status| status.to_string() == exact),
            })
            && self
                .id
                .as_ref()
                .is_none_or(|asked| call.has_its_id && call.id().is_some_and(|id| id.starts_with(asked)))
    }
}

/// Wildcards by plain recursion.
fn names(asked: &str, text: &str) -> bool {
    fn glob(asked: &[char], text: &[char]) -> bool {
        match (asked.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => glob(&asked[1..], text) || (!text.is_empty() && glob(asked, &text[1..])),
            (Some('?'), Some(_)) => glob(&asked[1..], &text[1..]),
            (Some(a), Some(b)) => a == b && glob(&asked[1..], &text[1..]),
            _ => false,
        }
    }
    if let Some(exact) = asked.strip_prefix('=') {
        return exact == text && !text.is_empty();
    }
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    !text.is_empty() && glob(&lower(asked), &lower(text))
}

const CALLERS: [&str; 5] = ["web", "Webhook", "spiffe://shop.example/web", "billing", "anonymous"];
const OPERATIONS: [(&str, &str); 4] =
    [("orders", "getOrder"), ("orders", "deleteOrder"), ("payments", "refund"), ("", "")];
const PLACES: [Option<&str>; 4] =
    [None, Some("body/items/0/price"), Some("body/näme%_"), Some("query/limit")];
const POLICIES: [&[&str]; 4] = [&[], &["storefront-reads"], &["orders-are-kept", "no-refunds"], &["a\"b"]];

/// Ids come from a small set, so that reports and outcomes come early, late, twice and never, and ids are used again.
fn any_entry() -> impl Strategy<Value = Entry> {
    let at_ms = prop_oneof![9 => NOON_MS..NOON_MS + 5_000, 1 => NOON_MS - 90_000_000..NOON_MS];
    let id = (0_u64..60).prop_map(|number| sample::id(NOON_MS + number / 4, number));
    let decided = (0..CALLERS.len(), 0..OPERATIONS.len(), 0..POLICIES.len(), any::<bool>(), 0..8_u8);
    prop_oneof![
        6 => (at_ms.clone(), id.clone(), decided).prop_map(|(at_ms, id, (caller, operation, policies, allows, shadow))| {
            let base = if allows { sample::decision(&id, at_ms) } else { sample::denied(&id, at_ms) };
            let conclusion = if shadow == 0 { Conclusion::Allow } else { Conclusion::Deny };
            let shadow = (shadow < 2).then(|| Shadow { decision: conclusion, policies: vec![], errors: vec![] });
            Entry::Decision(Decision {
                shadow,
                principal: CALLERS[caller].to_owned(),
                service: OPERATIONS[operation].0.to_owned(),
                operation: OPERATIONS[operation].1.to_owned(),
                policies: POLICIES[policies].iter().map(|policy| (*policy).to_owned()).collect(),
                ..base
            })
        }),
        5 => (at_ms.clone(), proptest::option::weighted(0.9, id.clone()), 0..5_usize, 0_u64..200_000).prop_map(
            |(at_ms, id, status, duration_us)| {
                let base = sample::outcome(id.as_deref(), at_ms, [200, 200, 404, 500, 503][status]);
                let details = if status == 4 { "upstream_reset{late}" } else { "via_upstream" };
                let filter_reason = (duration_us % 5 == 0).then(|| "json_syntax".to_owned());
                Entry::Outcome(Outcome { duration_us, details: details.to_owned(), filter_reason, ..base })
            }
        ),
        3 => (at_ms.clone(), id.clone(), 0..CALLERS.len(), 0..OPERATIONS.len(), 0..6_u8).prop_map(
            |(at_ms, id, caller, operation, kind)| {
                let verdict = if kind == 0 { ledger::Verdict::Shed } else { ledger::Verdict::Reject };
                Entry::Refusal(Refusal {
                    verdict,
                    peer: (kind > 2).then(|| CALLERS[caller].to_owned()),
                    service: OPERATIONS[operation].0.to_owned(),
                    operation: OPERATIONS[operation].1.to_owned(),
                    place: PLACES[usize::from(kind) % PLACES.len()].map(str::to_owned),
                    ..sample::refusal(&id, at_ms)
                })
            }
        ),
        1 => at_ms.clone().prop_map(sample::admin),
        1 => (at_ms, id).prop_map(|(at_ms, id)| Entry::Drift(sample::drift(&id, at_ms))),
    ]
}

fn any_question() -> impl Strategy<Value = Question> {
    let text = |texts: &'static [&'static str]| {
        proptest::option::weighted(0.25, (0..texts.len()).prop_map(|index| texts[index].to_owned()))
    };
    let number = |range: std::ops::Range<u64>| proptest::option::weighted(0.2, range);
    let verdict = (0..Verdict::ALL.len()).prop_map(|index| Verdict::ALL[index]);
    let statuses = ["200", "404", "5xx", "none", "418"];
    let texts = (
        text(&["web", "=web", "WEB", "spiffe://*", "b?lling", "nobody", "*"]),
        text(&["orders", "pay*", "Orders", "none"]),
        text(&["getOrder", "orders.*", "*Order", "orders.getOrder", "*"]),
        text(&["policy_denied", "json_*", "via_upstream", "upstream_reset", "*"]),
        proptest::option::weighted(
            0.2,
            prop::sample::select(&["", "body", "body/items/0", "body/n", "query/limits", "b%"][..]),
        ),
        text(&["no-refunds", "storefront-*", "a\"b"]),
    );
    let rest = (
        (proptest::option::weighted(0.25, verdict), proptest::bool::weighted(0.15)),
        number(NOON_MS - 1_000..NOON_MS + 6_000),
        number(NOON_MS - 1_000..NOON_MS + 6_000),
        number(0..200_000),
        proptest::option::weighted(0.2, (0..statuses.len()).prop_map(move |index| statuses[index])),
        proptest::option::weighted(0.1, (0_u64..60, 8..37_usize)),
    );
    (texts, rest).prop_map(|(texts, rest)| {
        let (who, service, operation, reason, place, policy) = texts;
        let ((decision, shadow), since_ms, until_ms, slow_us, status, id) = rest;
        let id = id
            .map(|(number, length)| sample::id(NOON_MS + number / 4, number).chars().take(length).collect());
        Question {
            who,
            service,
            operation,
            decision,
            reason,
            place,
            policy,
            shadow,
            since_ms,
            until_ms,
            slow_us,
            status,
            id,
        }
    })
}

/// The positions of calls and of their outcomes.
type Places = Vec<(u64, Option<u64>)>;

fn listed(trail: &mut Trail, filter: &Filter, limit: Option<u64>) -> Places {
    let mut places = Vec::new();
    let listed = trail.list(filter, limit, &mut |note| panic!("{note:?}"), &mut |calls| {
        places
            .extend(calls.iter().map(|call| (call.position(), call.outcome().map(|outcome| outcome.index))));
        Ok(())
    });
    assert_eq!(listed.unwrap(), places.len() as u64);
    places
}

fn check(trail: &mut Trail, entries: &[Entry], question: &Question) {
    let walked: Vec<Walked> =
        walk(entries).into_iter().filter(|call| question.is_answered_by(call)).collect();
    let expected: Places =
        walked.iter().map(|call| (call.position, call.outcome.as_ref().map(|(at, _)| *at))).collect();
    let filter = question.filter();
    assert_eq!(listed(trail, &filter, None), expected, "{question:?}");
    for limit in [1, 7, 1000] {
        let newest = expected[expected.len().saturating_sub(limit)..].to_vec();
        assert_eq!(listed(trail, &filter, Some(limit as u64)), newest, "{question:?}");
    }
    let mut count = |by, key: fn(&Walked) -> Vec<String>| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        walked.iter().flat_map(key).for_each(|key| *counts.entry(key).or_default() += 1);
        let found = trail.count(&filter, by, &Zone::utc(), &mut |note| panic!("{note:?}")).unwrap();
        assert_eq!(found, counts, "{by:?} of {question:?}");
    };
    count(CountBy::Who, |call| vec![call.names().0.to_owned()]);
    count(CountBy::Reason, |call| vec![call.reason()]);
    count(CountBy::Decision, |call| vec![call.verdict().name().to_owned()]);
    count(CountBy::Status, |call| {
        vec![call.outcome.as_ref().map(|(_, outcome)| outcome.status.to_string()).unwrap_or_default()]
    });
    count(CountBy::Policy, |call| {
        let policies = call.decision.as_ref().map(|decision| decision.policies.clone()).unwrap_or_default();
        if policies.is_empty() { vec![String::new()] } else { policies }
    });
}

#[test]
fn every_answer_is_what_a_walk_over_the_ledger_finds() {
    const LEDGERS: u32 = 16;
    const QUESTIONS: usize = 30;
    let rounds = vec(vec(any_entry(), 0..300), 1..4);
    let mut runner = TestRunner::new(Config { cases: LEDGERS, ..Config::default() });
    let checked = runner.run(&(rounds, vec(any_question(), QUESTIONS)), |(rounds, questions)| {
        let state = tempfile::tempdir().unwrap();
        let mut entries = Vec::new();
        let mut kept: Option<Trail> = None;
        for round in rounds {
            sample::record(state.path(), &round);
            entries.extend(round);
            // One trail stays open over all rounds, others are opened anew and find what the first one wrote.
            let mut opened = Trail::open(state.path(), false, &mut |note| panic!("{note:?}")).unwrap();
            let kept = kept.get_or_insert_with(|| {
                Trail::open(state.path(), false, &mut |note| panic!("{note:?}")).unwrap()
            });
            kept.catch_up(&mut |note| panic!("{note:?}")).unwrap();
            let mut private = Trail::open(state.path(), true, &mut |note| panic!("{note:?}")).unwrap();
            for (number, question) in questions.iter().enumerate() {
                let trail = match number % 3 {
                    0 => &mut opened,
                    1 => &mut *kept,
                    _ => &mut private,
                };
                check(trail, &entries, question);
            }
        }
        Ok(())
    });
    checked.unwrap();
}
