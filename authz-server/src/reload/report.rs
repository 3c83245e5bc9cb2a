//! What came of looking at bundle, secrets and keys, for the log, the ledger, metrics and the administration port.
//!
//! INVARIANT: it names places and mistakes, never the content of a secret or of a file of keys.

use crate::bundle::Problems;
use crate::state::Epoch;
use palisade_core::contract::BundleDigest;
use serde_json::{Value, json};
use std::fmt;

/// What a server reads anew while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Bundle,
    HandoffSecrets,
    ApiKeys,
    IssuerKeys,
    /// The bundle that is tried out beside the one in force.
    Candidate,
}

impl Source {
    pub const ALL: [Source; 5] =
        [Source::Bundle, Source::HandoffSecrets, Source::ApiKeys, Source::IssuerKeys, Source::Candidate];

    pub const fn name(self) -> &'static str {
        match self {
            Source::Bundle => "bundle",
            Source::HandoffSecrets => "handoff_secrets",
            Source::ApiKeys => "api_keys",
            Source::IssuerKeys => "issuer_keys",
            Source::Candidate => "candidate",
        }
    }
}

/// Why something was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    Start,
    /// Files changed.
    Change,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Request,
}

impl Trigger {
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::Start => "start",
            Trigger::Change => "change",
            Trigger::Signal => "signal",
            Trigger::Request => "request",
        }
    }
}

/// How it went, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is what is in force.
    Unchanged,
    /// It is in force now.
    Loaded,
    /// It keeps changing, so that nothing whole could be read. What was in force stays.
    Unsettled,
    /// It is not good. What was in force stays.
    Refused,
    /// It is good, but this server cannot take it: disk or ledger. What was in force stays.
    NotTaken,
}

impl Outcome {
    pub const ALL: [Outcome; 5] =
        [Outcome::Unchanged, Outcome::Loaded, Outcome::Unsettled, Outcome::Refused, Outcome::NotTaken];

    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Unchanged => "unchanged",
            Outcome::Loaded => "loaded",
            Outcome::Unsettled => "unsettled",
            Outcome::Refused => "refused",
            Outcome::NotTaken => "not_taken",
        }
    }

    /// Whether what is in force is what the files say.
    pub const fn is_good(self) -> bool {
        matches!(self, Outcome::Unchanged | Outcome::Loaded)
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub source: Source,
    /// `file:line:column`, as far as it is known.
    pub place: Option<String>,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(source: Source, error: impl fmt::Display) -> Fault {
        Fault { source, place: None, message: error.to_string(), help: None }
    }

    pub fn of_problems(source: Source, problems: &Problems) -> Vec<Fault> {
        let mut problems: Vec<_> = problems.iter().collect();
        problems.sort();
        problems.dedup();
        problems
            .into_iter()
            .map(|problem| Fault {
                source,
                place: Some(problem.place.to_string()),
                message: problem.message.clone(),
                help: advice(&problem.to_string(), &format!("{}: {}", problem.place, problem.message)),
            })
            .collect()
    }

    fn object(&self) -> Value {
        json!({"source": self.source.name(), "place": self.place, "message": self.message, "help": self.help})
    }
}

/// What a problem's text says beyond what is wrong: what was probably meant, what helps.
fn advice(text: &str, what: &str) -> Option<String> {
    let lines = text.strip_prefix(what)?.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.map(|line| line.strip_prefix("help: ").unwrap_or(line)).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Faults that are told; a bundle with more is told to have more.
pub(super) const FAULTS_TOLD_MAX: usize = 100;

/// One look at everything, and what came of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub trigger: Trigger,
    /// When the change was noticed, or the order came; settling lies between.
    pub noticed_at_ms: u64,
    /// When it was over.
    pub at_ms: u64,
    /// Reading, checking and swapping.
    pub took_ms: u64,
    /// One for each source that there is.
    pub outcomes: Vec<(Source, Outcome)>,
    pub faults: Vec<Fault>,
    /// What was in force when it was over.
    pub digest: BundleDigest,
    pub epoch: Epoch,
    /// The candidate that is evaluated now, if any is.
    pub candidate: Option<BundleDigest>,
}

impl Attempt {
    /// The worst of all sources.
    pub fn outcome(&self) -> Outcome {
        self.outcomes.iter().map(|(_, outcome)| *outcome).max().unwrap_or(Outcome::Unchanged)
    }

    /// Whether it says the same of one source.
    pub(super) fn agrees(&self, other: &Attempt, source: Source) -> bool {
        let faults = |attempt: &Attempt| {
            let of_source = attempt.faults.iter().filter(|fault| fault.source == source);
            of_source.cloned().collect::<Vec<_>>()
        };
        let is_good = |attempt: &Attempt| attempt.outcome_of(source).map(Outcome::is_good);
        is_good(self) == is_good(other) && faults(self) == faults(other)
    }

    pub fn outcome_of(&self, source: Source) -> Option<Outcome> {
        self.outcomes.iter().find(|(known, _)| *known == source).map(|(_, outcome)| *outcome)
    }

    /// The sources that are not what the files say.
    pub fn degraded(&self) -> impl Iterator<Item = (Source, Outcome)> {
        self.outcomes.iter().copied().filter(|(_, outcome)| !outcome.is_good())
    }

    pub fn object(&self) -> Value {
        let sources: serde_json::Map<_, _> = self
            .outcomes
            .iter()
            .map(|(source, outcome)| (source.name().to_owned(), outcome.name().into()))
            .collect();
        let told = self.faults.iter().take(FAULTS_TOLD_MAX).map(Fault::object).collect::<Vec<_>>();
        json!({
            "result": self.outcome().name(),
            "trigger": self.trigger.name(),
            "noticed_at_ms": self.noticed_at_ms,
            "at_ms": self.at_ms,
            "took_ms": self.took_ms,
            "sources": sources,
            "problems": told,
            "problems_not_told": self.faults.len().saturating_sub(FAULTS_TOLD_MAX),
            "digest": self.digest.to_string(),
            "epoch": {"server": self.epoch.server, "counter": self.epoch.counter},
            "candidate": self.candidate.map(|digest| digest.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcomes: &[(Source, Outcome)], faults: usize) -> Attempt {
        Attempt {
            trigger: Trigger::Change,
            noticed_at_ms: 1,
            at_ms: 3,
            took_ms: 2,
            outcomes: outcomes.to_vec(),
            faults: (0..faults).map(|index| Fault::new(Source::Bundle, index)).collect(),
            digest: BundleDigest([1; 32]),
            epoch: Epoch { server: "s".to_owned(), counter: 3 },
            candidate: None,
        }
    }

    #[test]
    fn the_worst_of_all_is_the_result() {
        use Outcome::{Loaded, NotTaken, Refused, Unchanged, Unsettled};
        use Source::{ApiKeys, Bundle, HandoffSecrets};
        let check = |outcomes: [Outcome; 3], expected| {
            let [bundle, secrets, keys] = outcomes;
            let attempt = attempt(&[(Bundle, bundle), (HandoffSecrets, secrets), (ApiKeys, keys)], 0);
            assert_eq!(attempt.outcome(), expected);
            assert_eq!(attempt.degraded().count() == 0, expected.is_good());
        };
        check([Unchanged, Unchanged, Unchanged], Unchanged);
        check([Loaded, Unchanged, Unchanged], Loaded);
        check([Loaded, Refused, Unchanged], Refused);
        check([Refused, NotTaken, Loaded], NotTaken);
        check([Unchanged, Unsettled, Loaded], Unsettled);
    }

    #[test]
    fn advice_is_told_beside_what_is_wrong() {
        let place = crate::bundle::Place::of_offset("a.yaml", "\nowmer: a", 1);
        let problem = crate::bundle::Problem::new(place, "unknown key").help("remove it");
        let faults = Fault::of_problems(Source::Bundle, &problem.into());
        let told = (faults[0].to_string(), faults[0].help.as_deref());
        assert_eq!(told, ("a.yaml:2:1: unknown key".to_owned(), Some("remove it")));
        let text = "f: m\n    did you mean `x`?\n    help: y";
        assert_eq!(advice(text, "f: m").as_deref(), Some("did you mean `x`?; y"));
        assert_eq!(advice("f: m", "f: m"), None);
    }

    #[test]
    fn what_is_told_is_bounded_and_says_how_much_is_not() {
        let object = attempt(&[(Source::Bundle, Outcome::Refused)], FAULTS_TOLD_MAX + 3).object();
        assert_eq!(object["problems"].as_array().unwrap().len(), FAULTS_TOLD_MAX);
        assert_eq!(object["problems_not_told"], 3);
        assert_eq!(object["sources"], json!({"bundle": "refused"}));
    }
}
