//! From files that have settled to what is in force: keep, count, record, swap, tell.

use super::Reloader;
use super::report::{Attempt, Outcome, Source, Trigger};
use super::sources::{Begun, Fresh, Known, Times, lines, unknown_issuer};
use crate::bundle::{Bundle, Snapshot};
use crate::check::{self, Candidate, Decider, Given};
use crate::identity::Tokens;
use crate::ledger::{Admin, AdminEvent, Entry};
use crate::serve::service::now_ms;
use std::sync::Arc;
use std::time::Instant;

/// How much of what is wrong goes into one entry of the ledger. The log and the administration port have more.
const RECORDED_BYTES_MAX: usize = 16 * 1024;

impl Reloader {
    /// Reads everything, swaps in what is new and good, and tells if there is anything to tell.
    pub(super) fn load(&mut self, trigger: Trigger, noticed: Instant) -> Arc<Attempt> {
        let began = Instant::now();
        let mut fresh = self.sources.read();
        let candidate = fresh.candidate.take();
        let sources = fresh.sources();
        let taken = if sources.is_empty() { Ok(()) } else { self.take(fresh) };
        for source in sources {
            let Some(known) = self.sources.known_mut(source) else { continue };
            match &taken {
                Ok(()) => known.taken(),
                Err(why) => known.failed(Outcome::NotTaken, why.clone()),
            }
        }
        if let Some((bundle, snapshot)) = candidate {
            let taken = self.take_candidate(bundle, &snapshot);
            if let Some(known) = self.sources.known_mut(Source::Candidate) {
                match taken {
                    Ok(()) => known.taken(),
                    Err(why) => known.failed(Outcome::NotTaken, why),
                }
            }
        }
        self.load_took = began.elapsed();
        self.retry = self.sources.is_to_be_retried();
        self.tell(trigger, noticed, began)
    }

    /// Says that the files never come to rest.
    pub(super) fn tell_unsettled(&mut self, began: Instant) {
        let why = match self.watch.being_written() {
            Some(name) => format!("`{}` is still being written", name.to_string_lossy()),
            None => format!("the files keep changing for {} s", began.elapsed().as_secs()),
        };
        if let Some(known) = self.sources.known_mut(Source::Bundle) {
            known.failed(Outcome::Unsettled, why);
        }
        self.tell(Trigger::Change, began, began);
    }

    /// Puts it in force. After an error nothing is, and what was is.
    fn take(&mut self, fresh: Fresh) -> Result<(), String> {
        let before = self.service.decider();
        if let Some((_, snapshot)) = &fresh.bundle {
            self.state.keep(snapshot).map_err(|error| error.to_string())?;
        }
        let details = details(&fresh, &before);
        let bundle = fresh.bundle.map_or_else(|| before.bundle.clone(), |(bundle, _)| Arc::new(bundle));
        let given = Given {
            api_keys: fresh.api_keys.map(Arc::new).or_else(|| before.given.api_keys.clone()),
            issuer_keys: fresh.issuer_keys.unwrap_or_else(|| before.given.issuer_keys.clone()),
            introspection: before.given.introspection.clone(),
        };
        if let Some(issuer) = unknown_issuer(&bundle, &given.issuer_keys) {
            tracing::warn!(issuer, "the server was given keys of an issuer that the bundle does not have");
        }
        let identity = check::sources(&bundle, &given, Some(&before.identity))?;
        let now_ms = now_ms();
        self.state.advance(bundle.digest, now_ms).map_err(|error| error.to_string())?;
        for (event, detail) in details {
            let detail = format!("{detail}, epoch {}", self.state.epoch);
            // If it fails, the state names a bundle as served that never was: it is one that we checked, and a handoff
            // under it is honoured for a while. The next swap says again what is in force.
            self.record(event, detail).map_err(|error| format!("the ledger could not store it: {error}"))?;
        }
        let is_new = bundle.digest != before.bundle.digest;
        let candidate = before.candidate.as_ref().map(|candidate| {
            Arc::new(Candidate::beside(&bundle, candidate.bundle.clone(), (&given, &identity)))
        });
        self.service.swap(Decider {
            secrets: fresh.secrets.unwrap_or_else(|| before.secrets.clone()),
            identity,
            given,
            epoch: self.state.epoch.clone(),
            previous: self.state.previous.clone(),
            digests: before.digests.clone(),
            candidate,
            bundle,
        });
        self.keep_keys_fresh();
        if is_new {
            self.service.metrics().reloads.in_force(self.service.decider().bundle.digest, now_ms);
        }
        Ok(())
    }

    /// Evaluates it from now on. What decisions are made by does not change, and so the epoch does not.
    fn take_candidate(&mut self, bundle: Bundle, snapshot: &Snapshot) -> Result<(), String> {
        self.state.keep(snapshot).map_err(|error| error.to_string())?;
        let before = self.service.decider();
        let detail = match &before.candidate {
            Some(last) => format!("candidate {} replaces {}", bundle.digest, last.digest()),
            None => format!("candidate {}", bundle.digest),
        };
        self.record(AdminEvent::CandidateLoaded, detail)
            .map_err(|error| format!("the ledger could not store it: {error}"))?;
        let digest = bundle.digest;
        let candidate = Candidate::beside(&before.bundle, bundle.into(), (&before.given, &before.identity));
        self.service.swap(Decider { candidate: Some(candidate.into()), ..Decider::clone(&before) });
        self.keep_keys_fresh();
        self.service.metrics().reloads.evaluated(Some(digest));
        Ok(())
    }

    /// Keys that are fetched are fetched again until whoever decides by them is gone.
    fn keep_keys_fresh(&self) {
        let decider = self.service.decider();
        let beside = decider.candidate.as_ref().and_then(|candidate| candidate.tokens());
        for tokens in decider.identity.tokens.iter().chain(beside) {
            self.runtime.spawn(Tokens::keep_fresh(Arc::downgrade(tokens)));
        }
        decider.tell_what_is_lost();
    }

    fn record(&self, event: AdminEvent, detail: String) -> Result<(), crate::ledger::AppendError> {
        let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail });
        self.runtime.block_on(self.service.ledger().append(&entry)).map(drop)
    }

    /// Tells of an attempt everywhere, unless it is a look of our own that found nothing new.
    fn tell(&mut self, trigger: Trigger, noticed: Instant, began: Instant) -> Arc<Attempt> {
        let since = |then: Instant| u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX);
        let decider = self.service.decider();
        let at_ms = now_ms();
        let noticed_at_ms = at_ms.saturating_sub(since(noticed));
        let times = Times { noticed_at_ms, at_ms, took_ms: since(began) };
        let candidate = decider.candidate.as_ref().map(|candidate| candidate.digest());
        let digests = (decider.bundle.digest, candidate);
        let attempt = self.sources.attempt(trigger, times, digests, decider.epoch.clone());
        let attempt = Arc::new(attempt);
        let last = self.service.reloads().told().last;
        let is_ordered = trigger != Trigger::Change;
        let sources = self.sources.known.iter().map(|known| known.source);
        let news: Vec<_> = sources.filter(|source| is_ordered || !attempt.agrees(&last, *source)).collect();
        if news.is_empty() && attempt.epoch == last.epoch && attempt.candidate == last.candidate {
            return attempt;
        }
        self.service.metrics().reloads.attempted(&attempt);
        for known in &self.sources.known {
            // What was wrong with one source before is not said again because another has changed.
            if known.outcome.is_good() || news.contains(&known.source) {
                log(known, &attempt);
                if let Some((event, detail)) = refusal(known)
                    && let Err(error) = self.record(event, detail)
                {
                    tracing::error!(%error, "a refusal could not be recorded");
                }
            }
        }
        self.service.reloads().tell(&attempt);
        attempt
    }
}

/// What the ledger is told of something that is not in force, if it is.
fn refusal(known: &Known) -> Option<(AdminEvent, String)> {
    if !matches!(known.outcome, Outcome::Refused | Outcome::NotTaken) {
        return None;
    }
    let event = match known.source {
        Source::Bundle => AdminEvent::BundleRefused,
        Source::HandoffSecrets | Source::ApiKeys | Source::IssuerKeys => AdminEvent::CredentialsRefused,
        Source::Candidate => AdminEvent::CandidateRefused,
    };
    let mut detail = format!("{}: {}", known.source.name(), lines(&known.faults));
    if detail.len() > RECORDED_BYTES_MAX {
        detail.truncate(detail.floor_char_boundary(RECORDED_BYTES_MAX));
        detail.push_str("\n… and more");
    }
    Some((event, detail))
}

impl Begun {
    /// Says of the candidate what it says of all sources later: at the start everything else is good.
    pub(crate) fn tell_candidate(&self, started: &Attempt) -> Option<(AdminEvent, String)> {
        let known = self.sources.known.iter().find(|known| known.source == Source::Candidate)?;
        log(known, started);
        match &self.candidate {
            Some((bundle, _)) => Some((AdminEvent::CandidateLoaded, format!("candidate {}", bundle.digest))),
            None => refusal(known),
        }
    }
}

/// What the ledger is told of what is about to be in force.
fn details(fresh: &Fresh, before: &Decider) -> Vec<(AdminEvent, String)> {
    let mut details = Vec::new();
    if let Some((bundle, _)) = &fresh.bundle {
        let detail = format!("bundle {} replaces {}", bundle.digest, before.bundle.digest);
        details.push((AdminEvent::BundleLoaded, detail));
    }
    if fresh.secrets.is_some() {
        details.push((AdminEvent::CredentialsLoaded, "handoff secrets".to_owned()));
    }
    if fresh.api_keys.is_some() {
        details.push((AdminEvent::CredentialsLoaded, "API keys".to_owned()));
    }
    if fresh.issuer_keys.is_some() {
        details.push((AdminEvent::CredentialsLoaded, "keys of issuers".to_owned()));
    }
    details
}

fn log(known: &Known, attempt: &Attempt) {
    let source = known.source.name();
    let digest = match known.source {
        Source::Candidate => attempt.candidate.unwrap_or(attempt.digest),
        Source::Bundle | Source::HandoffSecrets | Source::ApiKeys | Source::IssuerKeys => attempt.digest,
    };
    match known.outcome {
        Outcome::Unchanged => tracing::debug!(source, "what is in force is what is there"),
        Outcome::Loaded => {
            tracing::info!(source, bundle = %digest, epoch = %attempt.epoch, took_ms = attempt.took_ms, "loaded");
        }
        Outcome::Unsettled | Outcome::Refused | Outcome::NotTaken => {
            for fault in known.faults.iter().take(super::report::FAULTS_TOLD_MAX) {
                let place = fault.place.as_deref().unwrap_or_default();
                let help = fault.help.as_deref().unwrap_or_default();
                tracing::error!(
                    source,
                    result = known.outcome.name(),
                    place,
                    problem = fault.message,
                    help,
                    "not loaded"
                );
            }
            let more = known.faults.len().saturating_sub(super::report::FAULTS_TOLD_MAX);
            tracing::error!(source, more, bundle = %attempt.digest, epoch = %attempt.epoch, "what was in force stays in force");
        }
    }
}
