//! What is known of bundle, secrets and keys: what is in force of each, what was tried last, and how that went.
//!
//! INVARIANT: what was tried and refused is not tried again before it changes; what this server could not take is.

use super::inputs::{Content, Inputs, Reading, Stamp};
use super::report::{Attempt, Fault, Outcome, Source, Trigger};
use super::watch::Watch;
use crate::bundle::{Bundle, Snapshot};
use crate::check::Given;
use crate::identity::{ApiKeys, KeysFrom};
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, State};
use palisade_core::contract::BundleDigest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One source.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) source: Source,
    /// `None`: nothing is.
    in_force: Option<Content>,
    /// `None`: try again, whatever is there.
    tried: Option<Content>,
    pub(super) outcome: Outcome,
    pub(super) faults: Vec<Fault>,
}

impl Known {
    fn begin(source: Source, content: Content) -> Known {
        Known {
            source,
            in_force: Some(content),
            tried: Some(content),
            outcome: Outcome::Loaded,
            faults: Vec::new(),
        }
    }

    /// One of which nothing is in force yet.
    fn nothing(source: Source) -> Known {
        Known { source, in_force: None, tried: None, outcome: Outcome::Unchanged, faults: Vec::new() }
    }

    /// Takes note of a reading, and hands on what is new and good.
    fn note<T>(&mut self, reading: Reading<T>) -> Option<T> {
        match reading {
            Reading::Same => {
                if self.outcome == Outcome::Loaded {
                    self.outcome = Outcome::Unchanged;
                }
                None
            }
            Reading::Good(value, content) => {
                let is_new = Some(content) != self.in_force;
                self.tried = Some(content);
                self.outcome = if is_new { Outcome::Loaded } else { Outcome::Unchanged };
                self.faults.clear();
                is_new.then_some(value)
            }
            Reading::Bad(faults, content) => {
                self.tried = Some(content);
                self.outcome = Outcome::Refused;
                self.faults = faults;
                None
            }
            Reading::Unsettled => {
                self.failed(Outcome::Unsettled, "the files change each time that they are read".to_owned());
                None
            }
        }
    }

    /// What was just read cannot be taken.
    pub(super) fn failed(&mut self, outcome: Outcome, why: String) {
        self.tried = None;
        self.outcome = outcome;
        self.faults = vec![Fault::new(self.source, why)];
    }

    /// What was just read is in force now.
    pub(super) fn taken(&mut self) {
        if self.tried.is_some() {
            self.in_force = self.tried;
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sources {
    inputs: Inputs,
    pub(super) known: Vec<Known>,
}

/// When an attempt was, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) noticed_at_ms: u64,
    pub(super) at_ms: u64,
    pub(super) took_ms: u64,
}

/// What a look found that is new and good.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    pub(super) bundle: Option<(Bundle, Snapshot)>,
    pub(super) secrets: Option<HandoffSecrets>,
    pub(super) api_keys: Option<ApiKeys>,
    pub(super) issuer_keys: Option<BTreeMap<String, KeysFrom>>,
    /// Taken apart from the others: whatever becomes of it, they are.
    pub(super) candidate: Option<(Bundle, Snapshot)>,
}

impl Fresh {
    /// All but the candidate.
    pub(super) fn sources(&self) -> Vec<Source> {
        let found = [
            (Source::Bundle, self.bundle.is_some()),
            (Source::HandoffSecrets, self.secrets.is_some()),
            (Source::ApiKeys, self.api_keys.is_some()),
            (Source::IssuerKeys, self.issuer_keys.is_some()),
        ];
        found.into_iter().filter(|(_, is_fresh)| *is_fresh).map(|(source, _)| source).collect()
    }
}

impl Sources {
    pub(super) fn scan(&self, watch: &mut Watch) -> Stamp {
        self.inputs.scan(watch)
    }

    /// Reads what is not known yet.
    pub(super) fn read(&mut self) -> Fresh {
        let mut fresh = Fresh::default();
        for known in &mut self.known {
            match known.source {
                Source::Bundle => fresh.bundle = known.note(self.inputs.read_bundle(known.tried)),
                Source::HandoffSecrets => fresh.secrets = known.note(self.inputs.read_secrets(known.tried)),
                Source::ApiKeys => {
                    let reading = self.inputs.read_api_keys(known.tried);
                    fresh.api_keys = reading.and_then(|reading| known.note(reading));
                }
                Source::IssuerKeys => {
                    let reading = self.inputs.read_issuer_keys(known.tried);
                    fresh.issuer_keys = reading.and_then(|reading| known.note(reading));
                }
                Source::Candidate => {
                    let reading = self.inputs.read_candidate(known.tried);
                    fresh.candidate = reading.and_then(|reading| known.note(reading));
                }
            }
        }
        fresh
    }

    pub(super) fn known_mut(&mut self, source: Source) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| known.source == source)
    }

    /// Whether time alone may mend something.
    pub(super) fn is_to_be_retried(&self) -> bool {
        self.known.iter().any(|known| matches!(known.outcome, Outcome::NotTaken | Outcome::Unsettled))
    }

    pub(super) fn attempt(
        &self,
        trigger: Trigger,
        Times { noticed_at_ms, at_ms, took_ms }: Times,
        (digest, candidate): (BundleDigest, Option<BundleDigest>),
        epoch: Epoch,
    ) -> Attempt {
        Attempt {
            trigger,
            noticed_at_ms,
            at_ms,
            took_ms,
            outcomes: self.known.iter().map(|known| (known.source, known.outcome)).collect(),
            faults: self.known.iter().flat_map(|known| known.faults.iter().cloned()).collect(),
            digest,
            epoch,
            candidate,
        }
    }
}

/// What a server starts with.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) sources: Sources,
    pub(crate) bundle: Bundle,
    pub(crate) snapshot: Snapshot,
    pub(crate) secrets: HandoffSecrets,
    pub(crate) given: Given,
    /// One that is not good is told of, and keeps no server from starting.
    pub(crate) candidate: Option<(Bundle, Snapshot)>,
}

impl Begun {
    /// Keeps the candidate's files like those of a bundle in force. What cannot be kept is not evaluated.
    pub(crate) fn keep_candidate(&mut self, state: &State) {
        let Some((_, snapshot)) = &self.candidate else { return };
        let kept = state.keep(snapshot);
        let Some(known) = self.sources.known_mut(Source::Candidate) else { return };
        match kept {
            Ok(()) => known.taken(),
            Err(error) => {
                known.failed(Outcome::NotTaken, error.to_string());
                self.candidate = None;
            }
        }
    }

    /// How the start is told of.
    pub(crate) fn attempt(&self, at_ms: u64, state: &State) -> Attempt {
        let times = Times { noticed_at_ms: at_ms, at_ms, took_ms: 0 };
        let candidate = self.candidate.as_ref().map(|(bundle, _)| bundle.digest);
        self.sources.attempt(Trigger::Start, times, (self.bundle.digest, candidate), state.epoch.clone())
    }
}

/// Reads everything for the first time, by the same rules as later; here a fault is an error, but for the candidate's.
pub(crate) fn begin(inputs: Inputs) -> Result<Begun, String> {
    let inputs = inputs.absolute();
    let ((bundle, snapshot), content) = first(inputs.read_bundle(None))?;
    let (secrets, secrets_content) = first(inputs.read_secrets(None))?;
    let api_keys = inputs.read_api_keys(None).map(first).transpose()?;
    let mut known =
        vec![Known::begin(Source::Bundle, content), Known::begin(Source::HandoffSecrets, secrets_content)];
    known.extend(api_keys.as_ref().map(|(_, content)| Known::begin(Source::ApiKeys, *content)));
    let issuer_keys = inputs.read_issuer_keys(None).map(first).transpose()?;
    known.extend(issuer_keys.as_ref().map(|(_, content)| Known::begin(Source::IssuerKeys, *content)));
    let issuer_keys = issuer_keys.map(|(keys, _)| keys).unwrap_or_default();
    if let Some(name) = unknown_issuer(&bundle, &issuer_keys) {
        return Err(format!("keys were given for issuer `{name}`, and the bundle has none of that name"));
    }
    let candidate = inputs.read_candidate(None).and_then(|reading| {
        known.push(Known::nothing(Source::Candidate));
        known.last_mut()?.note(reading)
    });
    let api_keys = api_keys.map(|(keys, _)| Arc::new(keys));
    let given = Given { api_keys, issuer_keys, ..Given::default() };
    Ok(Begun { sources: Sources { inputs, known }, bundle, snapshot, secrets, given, candidate })
}

/// Keys for an issuer whom nobody has would be believed to count.
pub(super) fn unknown_issuer<'k>(
    bundle: &Bundle,
    issuer_keys: &'k BTreeMap<String, KeysFrom>,
) -> Option<&'k String> {
    let issuers = &bundle.palisade.identity.jwt.0;
    issuer_keys.keys().find(|name| issuers.iter().all(|(known, _)| known.text != **name))
}

fn first<T>(reading: Reading<T>) -> Result<(T, Content), String> {
    match reading {
        Reading::Good(value, content) => Ok((value, content)),
        Reading::Bad(faults, _) => Err(lines(&faults)),
        Reading::Same | Reading::Unsettled => {
            Err("the files change each time that they are read: start again when they are at rest".to_owned())
        }
    }
}

/// Each fault in a line of its own, with what helps below it.
pub(super) fn lines(faults: &[Fault]) -> String {
    let line = |fault: &Fault| match &fault.help {
        Some(help) => format!("{fault}\n    help: {help}"),
        None => fault.to_string(),
    };
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
}
