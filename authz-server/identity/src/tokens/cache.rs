//! Tokens that were found to hold, so that the next call with one costs no signature.
//!
//! INVARIANT: what is found here is what verifying anew would say. The whole text must be the same; the keys must be those
//! that it was verified with; and it is looked at between the times that it holds.
//!
//! The end of a token, its signature, chooses the place, by a hash with a key of this process. That needs no strength: two
//! tokens at one place push each other out, and only tokens that hold are ever put there.

use super::Verified;
use super::limits::{CACHE_BYTES_MAX, CACHE_SHARDS};
use hashlink::LruCache;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

const SHARD_BYTES_MAX: usize = CACHE_BYTES_MAX / CACHE_SHARDS;

/// As much of a token's end as is hashed.
const TAIL_BYTES: usize = 48;

/// By what a token was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct By {
    /// Which issuer, with its settings.
    pub(super) issuer: u64,
    /// Which set of its keys.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Entry {
    token: Box<str>,
    verified: Arc<Verified>,
    valid_from_ms: u64,
    by: By,
    bytes: usize,
}

struct Shard {
    entries: LruCache<u64, Entry, RandomState>,
    bytes: usize,
}

pub(super) struct Cache {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl fmt::Debug for Cache {
    /// Tokens are secrets, and stay out of every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Default for Cache {
    fn default() -> Cache {
        let shard = || {
            let entries = LruCache::with_hasher(usize::MAX, RandomState::new());
            Mutex::new(Shard { entries, bytes: 0 })
        };
        Cache {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(CACHE_SHARDS).collect(),
        }
    }
}

impl Cache {
    /// What the token proves, if that is known and `is_current` still knows by what.
    pub(super) fn find(
        &self,
        token: &str,
        now_ms: u64,
        is_current: impl FnOnce(By) -> bool,
    ) -> Option<Arc<Verified>> {
        let (place, shard) = self.place(token)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.entries.get(&place)?;
        if *entry.token != *token {
            return None;
        }
        if is_current(entry.by)
            && now_ms >= entry.valid_from_ms
            && now_ms < entry.verified.expires_at_s.saturating_mul(1000)
        {
            return Some(entry.verified.clone());
        }
        shard.forget(place);
        None
    }

    pub(super) fn keep(&self, token: &str, verified: &Arc<Verified>, valid_from_ms: u64, by: By) {
        let Some((place, shard)) = self.place(token) else { return };
        let bytes = token.len().saturating_add(bytes_of(verified));
        let entry = Entry { token: token.into(), verified: verified.clone(), valid_from_ms, by, bytes };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(place);
        shard.bytes = shard.bytes.saturating_add(bytes);
        shard.entries.insert(place, entry);
        while shard.bytes > SHARD_BYTES_MAX
            && let Some((_, oldest)) = shard.entries.remove_lru()
        {
            shard.bytes = shard.bytes.saturating_sub(oldest.bytes);
        }
    }

    /// Bytes and tokens that are kept.
    pub(super) fn size(&self) -> (usize, usize) {
        let sizes = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (shard.bytes, shard.entries.len())
        });
        sizes.fold((0, 0), |(bytes, tokens), (more_bytes, more)| (bytes + more_bytes, tokens + more))
    }

    fn place(&self, token: &str) -> Option<(u64, &Mutex<Shard>)> {
        let bytes = token.as_bytes();
        let tail = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..)?;
        let place = self.hasher.hash_one(tail);
        Some((place, self.shards.get(place as usize % CACHE_SHARDS)?))
    }
}

impl Shard {
    fn forget(&mut self, place: u64) {
        if let Some(entry) = self.entries.remove(&place) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

/// About what a user weighs: the texts, and for each what a set or a map adds.
pub(super) fn bytes_of(verified: &Verified) -> usize {
    const EACH: usize = 64;
    let texts = |set: &BTreeSet<String>| set.iter().map(|text| text.len() + EACH).sum::<usize>();
    let user = &verified.user;
    let attributes = user.attributes.iter().map(|(name, value)| {
        let value = match value {
            crate::ClaimValue::Text(text) => text.len(),
            crate::ClaimValue::Texts(set) => texts(set),
            crate::ClaimValue::Long(_) | crate::ClaimValue::Bool(_) => 0,
        };
        name.len() + value + 2 * EACH
    });
    8 * EACH
        + user.issuer.len()
        + user.subject.len()
        + texts(&user.groups)
        + texts(&user.roles)
        + attributes.sum::<usize>()
        + verified.scopes.as_deref().map_or(0, texts)
}
