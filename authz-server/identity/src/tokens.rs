//! Tokens: what an issuer signed, or answers for when it is asked.
//!
//! INVARIANT: `verify` waits for nothing. What only an issuer knows is asked for by `fetch`, and on behalf of a token only
//! once everything else about it holds.

mod cache;
mod claims;
mod compact;
mod error;
mod introspection;
mod keys;
mod limits;
mod signature;
mod source;
#[cfg(test)]
mod tests;

pub use error::{ClaimFault, Malformed, NoAnswer, TokenError, Unavailable};
pub use introspection::PendingOpaque;

use crate::settings::{IssuerProblem, IssuerSettings, TokensError, TokensSettings};
use crate::{Proof, User};
use cache::{By, Cache};
use compact::Compact;
use introspection::Introspection;
use source::{Held, KeySource, NoKey};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often is looked whether an issuer is to be asked.
const TICK: Duration = Duration::from_millis(500);

/// The same while there are no keys, and a server waits for them.
const READY_TICK: Duration = Duration::from_millis(50);

/// Issuers, their keys, and what was learnt of tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    cache: Arc<Cache>,
    /// Who is asked about tokens that are none of an issuer.
    introspection: Option<Arc<Introspection>>,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    /// Different for each that ever was, so that nothing is taken for the word of another.
    id: u64,
    keys: Arc<KeySource>,
}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub user: Arc<User>,
    pub proof: Proof,
    pub scopes: Option<Arc<BTreeSet<String>>>,
    /// It is worth nothing from this second on; the leeway is part of it.
    pub expires_at_s: u64,
}

/// What must be asked for before a token can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// An issuer's keys.
    Keys(PendingKeys),
    /// What a token is worth that says nothing itself.
    Opaque(PendingOpaque),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKeys {
    issuer: u64,
    kid: Option<String>,
    at_ms: u64,
}

/// How an issuer's keys stand, for metrics and readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// What the bundle calls the issuer.
    pub issuer: String,
    /// How many keys of the current set are used.
    pub keys: usize,
    /// Counts the sets that differed from the one before.
    pub generation: u64,
    /// When the current set was last known to be good; `None` before the first, and for keys of the bundle.
    pub fetched_at_ms: Option<u64>,
    pub fetches: u64,
    pub failures: u64,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// Keys of the set that are not used, each with the reason.
    pub left_out: Vec<String>,
    /// Whether tokens of this issuer can be judged: there are keys, and they are not too old.
    pub usable: bool,
}

impl Tokens {
    /// Reads the keys that are at hand and asks nobody. Issuers whose settings are those of `previous` go on with their
    /// keys, and what was verified by them goes on to hold.
    pub fn begin(settings: &TokensSettings, previous: Option<&Tokens>) -> Result<Tokens, Vec<TokensError>> {
        signature::install_ring();
        let mut problems = settings.problems();
        let mut tokens = Tokens {
            issuers: Vec::new(),
            cache: previous.map(|tokens| tokens.cache.clone()).unwrap_or_default(),
            introspection: None,
        };
        for settings in &settings.issuers {
            match Issuer::begin(settings, previous.map_or(&[], |tokens| &tokens.issuers)) {
                Ok(issuer) => tokens.issuers.push(issuer),
                Err(problem) => problems.push(TokensError { issuer: settings.name.clone(), problem }),
            }
        }
        let before = previous.and_then(|previous| previous.introspection.as_ref());
        if let Some(settings) = settings.introspection.first().filter(|_| problems.is_empty()) {
            match Introspection::begin(settings, before) {
                Ok(introspection) => tokens.introspection = Some(introspection),
                Err(problem) => problems.push(TokensError { issuer: settings.name.clone(), problem }),
            }
        }
        if problems.is_empty() { Ok(tokens) } else { Err(problems) }
    }

    /// What a token proves, as far as it is known here and now.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Arc<Verified>, TokenError> {
        let is_current = |by: By| {
            let issuer = self.issuer(by.issuer);
            issuer.is_some_and(|issuer| issuer.keys.is_current(by.generation, now_ms))
        };
        match self.cache.find(token, now_ms, is_current) {
            Some(verified) => Ok(verified),
            None => self.verify_anew(token, now_ms),
        }
    }

    fn verify_anew(&self, token: &str, now_ms: u64) -> Result<Arc<Verified>, TokenError> {
        let (compact, issuer) = match (self.signed(token), &self.introspection) {
            (Ok(signed), _) => signed,
            (Err(error), Some(introspection)) if error.leaves_token_opaque() => {
                return introspection.verify(token, now_ms);
            }
            (Err(error), _) => return Err(error),
        };
        let settings = &issuer.settings;
        let algorithm = compact.header.algorithm.filter(|it| settings.algorithms.contains(it));
        let algorithm = algorithm.ok_or(TokenError::Algorithm)?;
        let kid = compact.header.kid.as_deref();
        let Held { key, generation } = match issuer.keys.key(kid, algorithm, now_ms) {
            Ok(held) => held,
            Err(no_key) => {
                // A token that could not hold anyway has nobody asked, and is refused for what it is.
                claims::judge(&compact.claims, settings, now_ms)?;
                return Err(match no_key {
                    NoKey::Refused(error) => error,
                    NoKey::Unavailable(why) => TokenError::Unavailable { issuer: settings.name.clone(), why },
                    NoKey::Ask => TokenError::Pending(Pending::Keys(PendingKeys {
                        issuer: issuer.id,
                        kid: compact.header.kid,
                        at_ms: now_ms,
                    })),
                });
            }
        };
        // The key's own algorithm; that of the token agreed with it, or the key would not have been found.
        if !signature::holds(compact.signature, compact.message, &key.key, key.algorithm) {
            return Err(TokenError::Signature);
        }
        let judged = claims::judge(&compact.claims, settings, now_ms)?;
        let verified = Arc::new(judged.verified);
        self.cache.keep(token, &verified, judged.valid_from_ms, By { issuer: issuer.id, generation });
        Ok(verified)
    }

    /// A token that says itself what it is, and the issuer of the bundle that it says made it.
    fn signed<'t>(&self, token: &'t str) -> Result<(Compact<'t>, &Issuer), TokenError> {
        let compact = Compact::read(token)?;
        let iss = claims::issuer(&compact.claims)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.settings.issuer == iss);
        Ok((compact, issuer.ok_or(TokenError::IssuerUnknown)?))
    }

    /// Asks for what is missing. Whatever comes of it, the next `verify` knows. May be dropped at any time: what was asked
    /// for goes on.
    pub async fn fetch(&self, pending: Pending) {
        match pending {
            Pending::Keys(PendingKeys { issuer, kid, at_ms }) => {
                if let Some(issuer) = self.issuer(issuer) {
                    issuer.keys.fetch(kid.as_deref(), at_ms).await;
                }
            }
            Pending::Opaque(pending) => {
                if let Some(introspection) = &self.introspection {
                    introspection.fetch(pending).await;
                }
            }
        }
    }

    /// Waits until each issuer has keys, asking for them, for at most so long. What is still missing is in `states`.
    pub async fn ready(&self, time_max: Duration) -> bool {
        let all = async {
            while let Some(issuer) = self.issuers.iter().find(|issuer| !issuer.keys.is_usable(now_ms())) {
                for other in &self.issuers {
                    other.keys.set_off_if_due(now_ms());
                }
                issuer.keys.changed(READY_TICK).await;
            }
        };
        tokio::time::timeout(time_max, all).await.is_ok()
    }

    /// Whether each issuer has keys that may be used.
    pub fn loaded(&self, now_ms: u64) -> bool {
        self.issuers.iter().all(|issuer| issuer.keys.is_usable(now_ms))
    }

    pub fn states(&self, now_ms: u64) -> Vec<SourceState> {
        self.issuers.iter().map(|issuer| issuer.state(now_ms)).collect()
    }

    /// How many verified tokens are kept, and about how many bytes they take.
    pub fn kept(&self) -> (usize, usize) {
        self.cache.size()
    }

    /// How many opaque tokens something is known of: good ones, refused ones, and about how many bytes the good ones take.
    pub fn opaque_kept(&self) -> (usize, usize, usize) {
        self.introspection.as_ref().map(|introspection| introspection.kept()).unwrap_or_default()
    }

    /// Asks for new keys when it is time, until nobody holds the tokens any more. To be spawned once after `begin`.
    pub async fn keep_fresh(tokens: Weak<Tokens>) {
        while let Some(tokens) = tokens.upgrade() {
            for issuer in &tokens.issuers {
                issuer.keys.forget_what_is_too_old();
                issuer.keys.set_off_if_due(now_ms());
            }
            drop(tokens);
            tokio::time::sleep(TICK).await;
        }
    }

    fn issuer(&self, id: u64) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.id == id).map(Arc::as_ref)
    }
}

impl Issuer {
    fn begin(settings: &IssuerSettings, previous: &[Arc<Issuer>]) -> Result<Arc<Issuer>, IssuerProblem> {
        static ISSUERS: AtomicU64 = AtomicU64::new(0);
        if let Some(same) = previous.iter().find(|issuer| issuer.settings == *settings) {
            return Ok(same.clone());
        }
        // Other claims are read from the same keys: the keys need not be asked for again.
        let (from, algorithms) = (&settings.keys, &settings.algorithms);
        let keys = match previous.iter().find(|issuer| issuer.keys.is_of(from, algorithms)) {
            Some(issuer) => issuer.keys.clone(),
            None => Arc::new(KeySource::begin(from, algorithms)?),
        };
        Ok(Arc::new(Issuer { settings: settings.clone(), id: ISSUERS.fetch_add(1, Ordering::Relaxed), keys }))
    }

    fn state(&self, now_ms: u64) -> SourceState {
        let standing = self.keys.standing(now_ms);
        SourceState {
            issuer: self.settings.name.clone(),
            keys: standing.keys,
            generation: standing.generation,
            fetched_at_ms: standing.fetched_at_ms,
            fetches: standing.fetches,
            failures: standing.failures,
            last_error: standing.last_error,
            left_out: standing.left_out,
            usable: standing.usable,
        }
    }
}

/// The wall's clock, for questions that no call asks for.
fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
