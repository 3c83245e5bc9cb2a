//! Bounded caches that many threads share.
//!
//! INVARIANT: a hit is for a key that is equal as a whole, never for one that only hashes alike; no cache grows beyond
//! what it was made for.

use hashlink::LruCache;
use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So that threads seldom wait for each other.
const SHARDS: usize = 16;

/// The values that were asked for last, by their keys.
pub struct Memo<K, V> {
    shards: Vec<Mutex<LruCache<K, V, RandomState>>>,
    /// Chooses the shard; not the one that places keys within it.
    chooser: RandomState,
}

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    pub fn new(entries_max: usize) -> Memo<K, V> {
        let shard = || Mutex::new(LruCache::with_hasher(entries_max.div_ceil(SHARDS), RandomState::new()));
        Memo { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), chooser: RandomState::new() }
    }

    pub fn find<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key)?.get(key).cloned()
    }

    pub fn insert(&self, key: K, value: V) {
        if let Some(mut shard) = self.shard(&key) {
            shard.insert(key, value);
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> Option<MutexGuard<'_, LruCache<K, V, RandomState>>> {
        let hash = usize::try_from(self.chooser.hash_one(key) % SHARDS as u64).ok()?;
        // Whoever panicked left a cache, which holds only whole entries.
        Some(self.shards.get(hash)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K, V> std::fmt::Debug for Memo<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}
