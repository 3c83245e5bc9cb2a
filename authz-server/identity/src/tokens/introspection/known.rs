//! What was answered about tokens, by their digests.
//!
//! INVARIANT: it cannot grow: good answers are bounded in bytes, others in number, and the others, which strangers can
//! have as many of as they like, never push a good one out.

use crate::Verified;
use crate::tokens::TokenError;
use crate::tokens::cache::bytes_of;
use hashlink::LruCache;
use std::hash::RandomState;
use std::sync::Arc;

/// Good answers, with their users: bytes of all together.
const GOOD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Refusals. Each takes some hundred bytes.
const REFUSED_MAX: usize = 16_384;

pub(super) type Digest = [u8; 32];

/// The error stands apart: it is seldom, and large.
pub(super) type Outcome = Result<Arc<Verified>, Box<TokenError>>;

pub(super) struct Known {
    good: LruCache<Digest, (Arc<Verified>, usize), RandomState>,
    good_bytes: usize,
    refused: LruCache<Digest, (Box<TokenError>, u64), RandomState>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            good: LruCache::with_hasher(usize::MAX, RandomState::new()),
            good_bytes: 0,
            refused: LruCache::with_hasher(REFUSED_MAX, RandomState::new()),
        }
    }
}

impl Known {
    pub(super) fn find(&mut self, digest: &Digest, now_ms: u64) -> Option<Outcome> {
        if let Some((verified, _)) = self.good.get(digest) {
            if now_ms < verified.expires_at_s.saturating_mul(1000) {
                return Some(Ok(verified.clone()));
            }
            self.forget_good(digest);
        }
        let (error, until_ms) = self.refused.get(digest)?;
        if now_ms < *until_ms {
            return Some(Err(error.clone()));
        }
        self.refused.remove(digest);
        None
    }

    /// A refusal counts until then; a good answer says itself how long it does.
    pub(super) fn keep(&mut self, digest: Digest, outcome: Outcome, until_ms: u64) {
        self.forget_good(&digest);
        self.refused.remove(&digest);
        match outcome {
            Err(error) => {
                self.refused.insert(digest, (error, until_ms));
            }
            Ok(verified) => {
                let bytes = bytes_of(&verified).saturating_add(size_of::<Digest>());
                self.good_bytes = self.good_bytes.saturating_add(bytes);
                self.good.insert(digest, (verified, bytes));
                while self.good_bytes > GOOD_BYTES_MAX
                    && let Some((_, (_, bytes))) = self.good.remove_lru()
                {
                    self.good_bytes = self.good_bytes.saturating_sub(bytes);
                }
            }
        }
    }

    fn forget_good(&mut self, digest: &Digest) {
        if let Some((_, bytes)) = self.good.remove(digest) {
            self.good_bytes = self.good_bytes.saturating_sub(bytes);
        }
    }

    /// Good ones, refused ones, and bytes of the good ones.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.good.len(), self.refused.len(), self.good_bytes)
    }
}
