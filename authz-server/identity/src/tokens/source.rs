//! Where an issuer's keys come from, and how it is asked for new ones.
//!
//! INVARIANT: an issuer is asked by one question at a time, and on behalf of tokens at most once in `FETCH_GAP_MS`,
//! whatever tokens are sent. An answer that is no good changes nothing: the last good set stays until it is too old, and
//! then there is none. No key is ever built in.

use super::error::{TokenError, Unavailable};
use super::keys::{Found, Key, KeySet};
use super::limits::{
    FETCH_GAP_MS, FETCH_TIME_MAX, FIRST_GAP_MS, KEYS_BYTES_MAX, UNKNOWN_KID_MS, UNKNOWN_KIDS_MAX,
};
use crate::fetch::{Endpoint, FetchLimits, Fetcher};
use crate::settings::{Algorithm, IssuerProblem, KeysFrom, KeysUrl};
use hashlink::LruCache;
use std::fmt;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct KeySource {
    pub(super) from: KeysFrom,
    algorithms: Vec<Algorithm>,
    asked: Option<Asked>,
    /// Beside the state, so that a token that is known already costs no lock.
    generation: AtomicU64,
    usable_until_ms: AtomicU64,
    state: Mutex<State>,
    /// How many questions came to an end.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct Asked {
    endpoint: Endpoint,
    fetcher: Fetcher,
    refresh_ms: u64,
    max_age_ms: u64,
}

struct State {
    keys: Option<Arc<KeySet>>,
    /// The text that the keys were read from.
    text: Vec<u8>,
    /// When the last good answer was asked for, by the wall's clock and by one that nobody sets.
    good: Option<(u64, Instant)>,
    begun: u64,
    in_flight: bool,
    failures: u64,
    /// Failures since the last good answer.
    failures_in_row: u32,
    last_error: Option<String>,
    last_begun_ms: Option<u64>,
    /// When to ask next unless a token makes it earlier.
    due_ms: u64,
    /// Names that the issuer does not know, each with the time of its word.
    unknown: LruCache<String, u64, RandomState>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("keys", &self.keys).field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// A key, and the set that it is of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
}

/// Why there is no key for a token.
#[derive(Debug)]
pub(super) enum NoKey {
    /// It is worth asking the issuer.
    Ask,
    Unavailable(Unavailable),
    Refused(TokenError),
}

/// What metrics and readiness want to know.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) keys: usize,
    pub(super) generation: u64,
    pub(super) fetched_at_ms: Option<u64>,
    pub(super) fetches: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
    pub(super) left_out: Vec<String>,
    pub(super) usable: bool,
}

impl KeySource {
    /// Reads keys that are at hand. Others are not asked for yet.
    pub(super) fn begin(from: &KeysFrom, algorithms: &[Algorithm]) -> Result<KeySource, IssuerProblem> {
        let (asked, text, keys) = match from {
            KeysFrom::Text(text) => {
                let keys = KeySet::read_own(text.as_bytes(), algorithms);
                let keys = keys.map_err(|error| IssuerProblem::Keys(error.to_string()))?;
                (None, text.as_bytes().to_vec(), Some(Arc::new(keys)))
            }
            KeysFrom::Url(from) => (Some(Asked::begin(from)?), Vec::new(), None),
        };
        let state = State {
            keys,
            text,
            good: None,
            begun: 0,
            in_flight: false,
            failures: 0,
            failures_in_row: 0,
            last_error: None,
            last_begun_ms: None,
            due_ms: 0,
            unknown: LruCache::with_hasher(UNKNOWN_KIDS_MAX, RandomState::new()),
        };
        Ok(KeySource {
            from: from.clone(),
            algorithms: algorithms.to_vec(),
            usable_until_ms: AtomicU64::new(if asked.is_none() { u64::MAX } else { 0 }),
            asked,
            generation: AtomicU64::new(0),
            state: Mutex::new(state),
            ended: watch::Sender::new(0),
        })
    }

    /// Whether it has what these settings ask for.
    pub(super) fn is_of(&self, from: &KeysFrom, algorithms: &[Algorithm]) -> bool {
        self.from == *from && self.algorithms == algorithms
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token that was verified by this set of keys still holds.
    pub(super) fn is_current(&self, generation: u64, now_ms: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation && self.is_usable(now_ms)
    }

    pub(super) fn is_usable(&self, now_ms: u64) -> bool {
        now_ms < self.usable_until_ms.load(Ordering::Acquire)
    }

    /// The key that a token names.
    pub(super) fn key(&self, kid: Option<&str>, algorithm: Algorithm, now_ms: u64) -> Result<Held, NoKey> {
        self.forget_what_is_too_old();
        let mut state = self.state();
        let Some(keys) = state.keys.clone() else {
            return Err(self.ask_or(&state, now_ms, Unavailable::NoKeys));
        };
        if !self.is_usable(now_ms) {
            return Err(self.ask_or(&state, now_ms, Unavailable::KeysTooOld));
        }
        match keys.find(kid, algorithm) {
            Found::Key(key) => {
                Ok(Held { key: key.clone(), generation: self.generation.load(Ordering::Acquire) })
            }
            Found::OtherAlgorithm => Err(NoKey::Refused(TokenError::Algorithm)),
            Found::Unnamed => Err(NoKey::Refused(TokenError::KeyUnnamed)),
            Found::Unknown if self.asked.is_none() || state.is_unknown(kid, now_ms) => {
                Err(NoKey::Refused(TokenError::KeyUnknown))
            }
            Found::Unknown => Err(self.ask_or(&state, now_ms, Unavailable::AskedJustNow)),
        }
    }

    fn ask_or(&self, state: &State, now_ms: u64, why: Unavailable) -> NoKey {
        if self.asked.is_some() && (state.in_flight || state.may_ask(now_ms)) {
            NoKey::Ask
        } else {
            NoKey::Unavailable(why)
        }
    }

    /// Asks on behalf of a token, or waits for the question that is under way. May be dropped: the question goes on.
    pub(super) async fn fetch(self: &Arc<Self>, kid: Option<&str>, at_ms: u64) {
        let (number, question) = {
            let mut state = self.state();
            if state.in_flight {
                (state.begun, None)
            } else if state.may_ask(at_ms) {
                let question = self.question(&mut state, at_ms);
                (state.begun, Some(question))
            } else {
                return;
            }
        };
        // Only what was asked after the token came can say that its key does not exist.
        let is_new = question.is_some();
        if let Some(question) = question {
            question.set_off();
        }
        self.wait_for(number).await;
        if let (Some(kid), true) = (kid, is_new) {
            let mut state = self.state();
            if state.failures_in_row == 0 && state.keys.as_deref().is_some_and(|keys| !keys.has(kid)) {
                state.unknown.insert(kid.to_owned(), at_ms);
            }
        }
    }

    /// Asks if it is time to.
    pub(super) fn set_off_if_due(self: &Arc<Self>, now_ms: u64) {
        let question = {
            let mut state = self.state();
            if state.in_flight || !self.is_due(&state, now_ms) {
                return;
            }
            self.question(&mut state, now_ms)
        };
        question.set_off();
    }

    /// Waits for the end of the next question, but not longer than this.
    pub(super) async fn changed(&self, time_max: Duration) {
        let mut ended = self.ended.subscribe();
        let _either = tokio::time::timeout(time_max, ended.changed()).await;
    }

    fn is_due(&self, state: &State, now_ms: u64) -> bool {
        let Some(asked) = &self.asked else { return false };
        // Later than ever planned means that the clock was set back.
        now_ms >= state.due_ms || state.due_ms - now_ms > asked.refresh_ms
    }

    async fn wait_for(&self, number: u64) {
        // An error would say that the sender is gone, and the sender is a part of `self`.
        let mut ended = self.ended.subscribe();
        drop(ended.wait_for(|ended| *ended >= number).await);
    }

    fn question(self: &Arc<Self>, state: &mut State, at_ms: u64) -> Question {
        state.begun = state.begun.saturating_add(1);
        state.in_flight = true;
        state.last_begun_ms = Some(at_ms);
        Question { source: self.clone(), number: state.begun, at_ms, begun: Instant::now() }
    }

    /// Wall clocks are set back now and then; what is too old by any clock is too old.
    pub(super) fn forget_what_is_too_old(&self) {
        let Some(asked) = &self.asked else { return };
        let good = self.state().good;
        if good.is_some_and(|(_, since)| since.elapsed() > Duration::from_millis(asked.max_age_ms)) {
            self.usable_until_ms.store(0, Ordering::Release);
        }
    }

    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        let state = self.state();
        Standing {
            keys: state.keys.as_deref().map_or(0, KeySet::len),
            generation: self.generation.load(Ordering::Acquire),
            fetched_at_ms: state.good.map(|(at_ms, _)| at_ms),
            fetches: state.begun,
            failures: state.failures,
            last_error: state.last_error.clone(),
            left_out: state.keys.as_deref().map(KeySet::left_out).unwrap_or_default(),
            usable: self.is_usable(now_ms),
        }
    }
}

impl Asked {
    fn begin(from: &KeysUrl) -> Result<Asked, IssuerProblem> {
        let endpoint = Endpoint::parse(&from.url).map_err(|error| IssuerProblem::Url(error.to_string()))?;
        let fetcher = Fetcher::begin(&endpoint, from.ca.as_deref());
        Ok(Asked {
            endpoint,
            fetcher: fetcher.map_err(|error| IssuerProblem::Url(error.to_string()))?,
            refresh_ms: from.refresh_s.saturating_mul(1000),
            max_age_ms: from.max_age_s.saturating_mul(1000),
        })
    }
}

impl State {
    /// Whether a token may have the issuer asked.
    fn may_ask(&self, now_ms: u64) -> bool {
        let gap_ms = if self.keys.is_none() { first_gap_ms(self.failures_in_row) } else { FETCH_GAP_MS };
        self.last_begun_ms.is_none_or(|last_ms| now_ms.abs_diff(last_ms) >= gap_ms)
    }

    fn is_unknown(&mut self, kid: Option<&str>, now_ms: u64) -> bool {
        let told_ms = kid.and_then(|kid| self.unknown.get(kid));
        told_ms.is_some_and(|told_ms| now_ms.abs_diff(*told_ms) < UNKNOWN_KID_MS)
    }
}

/// Until there are any keys, nothing works, and an issuer that starts beside this server is there in a moment.
fn first_gap_ms(failures_in_row: u32) -> u64 {
    FIRST_GAP_MS.saturating_mul(1 << failures_in_row.saturating_sub(1).min(4)).min(FETCH_GAP_MS)
}

/// One question to an issuer. Its end is told even when its runtime goes away in the middle.
struct Question {
    source: Arc<KeySource>,
    number: u64,
    at_ms: u64,
    begun: Instant,
}

impl Question {
    /// As a task of its own: who waits for the end may give up, and the others still get the answer. Must not be called
    /// with the state locked.
    fn set_off(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.ask());
        }
    }

    async fn ask(self) {
        let Some(asked) = &self.source.asked else { return };
        let limits = FetchLimits { time_max: FETCH_TIME_MAX, body_bytes_max: KEYS_BYTES_MAX };
        match asked.fetcher.get(&asked.endpoint, limits).await {
            Ok(text) => self.learn(asked, text),
            Err(error) => self.fail(asked, error.to_string()),
        }
    }

    fn learn(&self, asked: &Asked, text: Vec<u8>) {
        let is_same = {
            let state = self.source.state();
            state.keys.is_some() && state.text == text
        };
        // Read outside of the lock: a set may be large, and tokens are waiting.
        let keys = match is_same {
            true => None,
            false => match KeySet::read(&text, &self.source.algorithms) {
                Ok(keys) => Some(Arc::new(keys)),
                Err(error) => return self.fail(asked, error.to_string()),
            },
        };
        let mut state = self.source.state();
        if let Some(keys) = keys {
            state.keys = Some(keys);
            state.text = text;
            self.source.generation.fetch_add(1, Ordering::AcqRel);
        }
        state.good = Some((self.at_ms, self.begun));
        state.failures_in_row = 0;
        state.last_error = None;
        state.due_ms = self.at_ms.saturating_add(jittered(asked.refresh_ms));
        self.source.usable_until_ms.store(self.at_ms.saturating_add(asked.max_age_ms), Ordering::Release);
    }

    fn fail(&self, asked: &Asked, error: String) {
        let mut state = self.source.state();
        state.failures = state.failures.saturating_add(1);
        state.failures_in_row = state.failures_in_row.saturating_add(1);
        state.last_error = Some(error);
        let gap_ms = match state.keys {
            None => first_gap_ms(state.failures_in_row),
            Some(_) => jittered(FETCH_GAP_MS.saturating_mul(2).min(asked.refresh_ms)).max(FETCH_GAP_MS),
        };
        state.due_ms = self.at_ms.saturating_add(gap_ms);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.source.state().in_flight = false;
        self.source.ended.send_modify(|ended| *ended = self.number.max(*ended));
    }
}

/// Between four fifths and all of it, so that many servers do not ask at once.
fn jittered(time_ms: u64) -> u64 {
    let mut byte = [0];
    // Without randomness all ask at the same time, which is allowed.
    let _drawn = getrandom::fill(&mut byte);
    let [byte] = byte;
    time_ms.saturating_sub(time_ms / 5 * u64::from(byte) / 255)
}
