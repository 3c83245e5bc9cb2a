//! The call id: one id for one pass through the filter, which is also the decision's id.
//!
//! It is a UUIDv7: 48 bits of milliseconds, then bits of this VM's seed and counter. Time and seed are passed in.
//! INVARIANT: two calls of one VM never share an id, as long as it mints fewer than 2^52 of them.

use uuid::{Builder, Uuid, Variant, Version};

/// The only key by which Check, refusals, access log and ledger are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Uuid);

impl CallId {
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Refuses what is not a UUIDv7: an id that we did not mint is nobody's key.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<CallId> {
        let id = Uuid::from_bytes(bytes);
        (id.get_version() == Some(Version::SortRand) && id.get_variant() == Variant::RFC4122)
            .then_some(CallId(id))
    }

    pub fn parse(text: &str) -> Option<CallId> {
        // The crate also accepts braces and URNs; ids that we print have one spelling.
        if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        Uuid::try_parse(text).ok().and_then(|id| CallId::from_bytes(id.into_bytes()))
    }

    /// When it was minted, by the clock of the filter.
    pub fn minted_at_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = *self.as_bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The text, without allocation.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl core::fmt::Display for CallId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

/// Mints the ids of one VM (or one server).
#[derive(Debug, Clone)]
pub struct CallIdMint {
    seed: u64,
    minted: u64,
}

impl CallIdMint {
    /// `seed` must be random and different in each VM.
    pub fn new(seed: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = seed;
        CallIdMint {
            seed: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            minted: u64::from_be_bytes([0, 0, k, l, m, n, o, p])
                ^ u64::from_be_bytes([0, 0, i, j, 0, 0, 0, 0]),
        }
    }

    pub fn mint(&mut self, now_ms: u64) -> CallId {
        self.minted = self.minted.wrapping_add(1);
        let mixed = mix(self.minted.wrapping_add(self.seed));
        let (counter, random) = (self.minted.to_be_bytes(), mixed.to_be_bytes());
        let [.., high, low] = counter;
        let [a, b, c, d, e, f, g, h] = random;
        CallId(Builder::from_unix_timestamp_millis(now_ms, &[high, low, a, b, c, d, e, f, g, h]).into_uuid())
    }
}

/// A bijection of 64 bits (the finaliser of MurmurHash3), so that different counters stay different.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::{CallId, CallIdMint};
    use crate::testing::universal_test;
    use std::collections::HashSet;

    universal_test! {
        fn ids_of_one_millisecond_differ_and_carry_their_time() {
            let mut mint = CallIdMint::new([7; 16]);
            let ids: HashSet<_> = (0..100_000).map(|_| mint.mint(1_763_700_000_123)).collect();
            assert_eq!(ids.len(), 100_000);
            assert!(ids.iter().all(|id| id.minted_at_ms() == 1_763_700_000_123));
        }
    }

    universal_test! {
        fn vms_with_different_seeds_differ_in_the_same_millisecond() {
            let (mut one, mut two) = (CallIdMint::new([1; 16]), CallIdMint::new([2; 16]));
            let ids: HashSet<_> = (0..10_000).flat_map(|_| [one.mint(5), two.mint(5)]).collect();
            assert_eq!(ids.len(), 20_000);
        }
    }

    universal_test! {
        fn text_is_found_again_and_foreign_ids_are_not_ours() {
            let id = CallIdMint::new([3; 16]).mint(1_763_700_000_000);
            assert_eq!(CallId::parse(&id.to_string()), Some(id));
            assert_eq!(CallId::parse(&id.to_string().to_uppercase()), None);
            assert_eq!(CallId::parse("00000000-0000-4000-8000-000000000000"), None, "version 4");
            assert_eq!(CallId::parse("{0}"), None);
            assert_eq!(CallId::from_bytes([0; 16]), None);
        }
    }
}
