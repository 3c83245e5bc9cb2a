//! Opaque tokens: what the server that made them answers about them (RFC 7662).
//!
//! `verify` looks only at what is known. `fetch` asks: once for each token however many calls bring it, in a task of its
//! own that no caller's end ends, and never more often at once than a bound; beyond that, tokens are refused as
//! unavailable before anything waits.
//!
//! INVARIANT: only an answer that says `"active": true`, and all else that it must, lets anybody in. No answer, a late
//! one and one that is not understood are refusals.
//! INVARIANT: a token is kept nowhere but in the question itself: what is known is found by a keyed hash of it.

mod answer;
mod known;
#[cfg(test)]
mod tests;

use super::error::{Malformed, NoAnswer, TokenError};
use super::limits::TOKEN_BYTES_MAX;
use super::{Pending, Verified};
use crate::fetch::{Endpoint, FetchLimits, Fetcher};
use crate::settings::{ClientCredentials, IntrospectionSettings, IssuerProblem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use known::{Digest, Known, Outcome};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Questions at once. A server that answers in 10 ms then answers 3,200 tokens a second.
const QUESTIONS_MAX: usize = 32;

/// A question is worth less than the call that waits for it.
const LIMITS: FetchLimits = FetchLimits { time_max: Duration::from_secs(2), body_bytes_max: 64 * 1024 };

/// After a question without answer the same token is not asked about at once again.
const FAILED_MS: u64 = 1000;

/// One server that is asked, and what it said.
pub(super) struct Introspection {
    settings: IntrospectionSettings,
    endpoint: Endpoint,
    fetcher: Fetcher,
    authorization: Option<HeaderValue>,
    /// Of this process alone: what is known cannot be led to a place by whoever chooses tokens.
    hash_key: [u8; 32],
    known: Mutex<Known>,
    /// Tokens that are being asked about. Each holds a permit.
    asking: Mutex<HashMap<Digest, watch::Receiver<()>>>,
    permits: Arc<Semaphore>,
    limits: FetchLimits,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// A token that is to be asked about.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingOpaque {
    token: Arc<str>,
    at_ms: u64,
}

impl fmt::Debug for PendingOpaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingOpaque").field("at_ms", &self.at_ms).finish_non_exhaustive()
    }
}

impl Introspection {
    /// Asks nobody. One whose settings are those of `previous` goes on with what is known.
    pub(super) fn begin(
        settings: &IntrospectionSettings,
        previous: Option<&Arc<Introspection>>,
    ) -> Result<Arc<Introspection>, IssuerProblem> {
        if let Some(same) = previous.filter(|previous| previous.settings == *settings) {
            return Ok(same.clone());
        }
        Introspection::with_bounds(settings, QUESTIONS_MAX, LIMITS).map(Arc::new)
    }

    fn with_bounds(
        settings: &IntrospectionSettings,
        questions_max: usize,
        limits: FetchLimits,
    ) -> Result<Introspection, IssuerProblem> {
        let fail = |detail: String| IssuerProblem::Introspection(detail);
        let endpoint = Endpoint::parse(&settings.url).map_err(|error| fail(error.to_string()))?;
        let fetcher =
            Fetcher::begin(&endpoint, settings.ca.as_deref()).map_err(|error| fail(error.to_string()))?;
        let mut hash_key = [0; 32];
        getrandom::fill(&mut hash_key)
            .map_err(|error| fail(format!("the system gives no randomness: {error}")))?;
        Ok(Introspection {
            settings: settings.clone(),
            endpoint,
            fetcher,
            authorization: settings.client.as_ref().and_then(authorization),
            hash_key,
            known: Mutex::default(),
            asking: Mutex::default(),
            permits: Arc::new(Semaphore::new(questions_max)),
            limits,
        })
    }

    /// What is known of a token.
    pub(super) fn verify(&self, token: &str, now_ms: u64) -> Result<Arc<Verified>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Limit { what: "it is", max: TOKEN_BYTES_MAX });
        }
        if !is_bearer_token(token) {
            return Err(TokenError::Malformed(Malformed::Opaque));
        }
        let digest = self.digest(token);
        if let Some(outcome) = lock(&self.known).find(&digest, now_ms) {
            return outcome.map_err(|error| *error);
        }
        if self.authorization.is_none() {
            return Err(self.no_answer(NoAnswer::NoCredentials));
        }
        if self.permits.available_permits() == 0 && !lock(&self.asking).contains_key(&digest) {
            return Err(self.no_answer(NoAnswer::Busy));
        }
        Err(TokenError::Pending(Pending::Opaque(PendingOpaque { token: token.into(), at_ms: now_ms })))
    }

    /// Asks about a token, or waits for whoever does. What comes of it, the next `verify` knows; where too many are
    /// asked about, it finds nothing.
    pub(super) async fn fetch(self: &Arc<Self>, pending: PendingOpaque) {
        if let Some(mut answered) = self.set_off(pending) {
            // Nothing is ever sent: the sender goes when the question is over, however it ended.
            let _gone = answered.changed().await;
        }
    }

    fn set_off(self: &Arc<Self>, pending: PendingOpaque) -> Option<watch::Receiver<()>> {
        let digest = self.digest(&pending.token);
        let mut asking = lock(&self.asking);
        if let Some(answered) = asking.get(&digest) {
            return Some(answered.clone());
        }
        // Somebody else's question may have been answered since.
        if lock(&self.known).find(&digest, pending.at_ms).is_some() {
            return None;
        }
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let (sender, answered) = watch::channel(());
        asking.insert(digest, answered.clone());
        drop(asking);
        let question = Question { of: self.clone(), digest, _permit: permit, _sender: sender };
        tokio::spawn(question.ask(pending));
        Some(answered)
    }

    async fn answer(&self, pending: &PendingOpaque) -> (Outcome, u64) {
        let begun = Instant::now();
        let form = [("token", &*pending.token), ("token_type_hint", "access_token")];
        let answer =
            self.fetcher.post_form(&self.endpoint, self.authorization.clone(), &form, self.limits).await;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = pending.at_ms.saturating_add(elapsed_ms);
        let outcome = match answer {
            Ok(body) => answer::judge(&body, &self.settings, now_ms),
            Err(error) => Err(self.no_answer(NoAnswer::Failed(error.to_string()))),
        };
        (outcome.map_err(Box::new), now_ms)
    }

    fn keep(&self, digest: Digest, outcome: Outcome, now_ms: u64) {
        let for_ms = match &outcome {
            // It says itself until when.
            Ok(_) => 0,
            Err(error) if error.is_unavailable() => FAILED_MS,
            Err(_) => self.settings.negative_cache_s.saturating_mul(1000),
        };
        lock(&self.known).keep(digest, outcome, now_ms.saturating_add(for_ms));
    }

    fn no_answer(&self, why: NoAnswer) -> TokenError {
        TokenError::NoAnswer { issuer: self.settings.name.clone(), why }
    }

    fn digest(&self, token: &str) -> Digest {
        *blake3::keyed_hash(&self.hash_key, token.as_bytes()).as_bytes()
    }

    /// How many tokens something is known of: good ones, others, and bytes of the good ones.
    pub(super) fn kept(&self) -> (usize, usize, usize) {
        lock(&self.known).size()
    }
}

/// One question under way. Its end, whatever that is, makes room for the next one.
struct Question {
    of: Arc<Introspection>,
    digest: Digest,
    _permit: OwnedSemaphorePermit,
    _sender: watch::Sender<()>,
}

impl Question {
    async fn ask(self, pending: PendingOpaque) {
        let (outcome, now_ms) = self.of.answer(&pending).await;
        self.of.keep(self.digest, outcome, now_ms);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.of.asking).remove(&self.digest);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The letters that RFC 6750 lets a bearer token have.
fn is_bearer_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// HTTP basic authentication, both halves escaped as RFC 6749 (2.3.1) has it.
fn authorization(client: &ClientCredentials) -> Option<HeaderValue> {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = format!("{}:{}", escaped(client.id()), escaped(client.secret()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
