//! Which try of its caller a request is, and how long the caller waits, as its headers say.
//!
//! Each family of clients has a word of its own for it. A client outside can write any of them, or none.
//! INVARIANT: what stands here can only lower a request's standing. Nothing proves a first attempt, and nobody gains by
//! claiming a later one; what cannot be read says nothing.

/// What a request says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The greatest ordinal that any header claims; 1 without one.
    pub ordinal: u32,
    /// By which a caller names what it does once, however often it sends it. Whether it came before is for `repeats`.
    pub idempotency_key: Option<&'a [u8]>,
    /// After this the caller no longer waits.
    pub timeout_us: Option<u64>,
}

impl Default for Attempt<'_> {
    fn default() -> Self {
        Attempt { ordinal: 1, idempotency_key: None, timeout_us: None }
    }
}

impl Attempt<'_> {
    pub const fn is_retry(&self) -> bool {
        self.ordinal > 1
    }

    /// Takes note of one header's word.
    pub(crate) fn claim(&mut self, witness: Witness, value: &[u8]) {
        self.ordinal = self.ordinal.max(witness.ordinal(value).unwrap_or(1));
    }

    /// Takes note of a `grpc-timeout`; of several the shortest.
    pub(crate) fn waits(&mut self, value: &[u8]) {
        let told = self.timeout_us.into_iter().chain(timeout_us(value));
        self.timeout_us = told.min();
    }
}

/// A header in which a client or a proxy counts its tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// `x-envoy-attempt-count: 2`, by the caller's proxy.
    Envoy,
    /// `grpc-previous-rpc-attempts: 1`, absent on the first.
    Grpc,
    /// `amz-sdk-request: attempt=2; max=3`.
    Aws,
    /// `x-goog-api-client: … gccl-attempt-count/2`.
    Google,
    /// `x-stainless-retry-count: 1`, zero on the first.
    Stainless,
}

impl Witness {
    /// The ordinal that a value stands for. `None`: it cannot be read.
    fn ordinal(self, value: &[u8]) -> Option<u32> {
        match self {
            Witness::Envoy => number(value),
            Witness::Grpc | Witness::Stainless => number(value)?.checked_add(1),
            Witness::Aws => {
                let mut fields = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                number(fields.find_map(|field| field.strip_prefix(b"attempt="))?)
            }
            Witness::Google => {
                let mut words = value.split(|byte| *byte == b' ');
                number(words.find_map(|word| word.strip_prefix(b"gccl-attempt-count/"))?)
            }
        }
    }
}

/// Digits alone, few enough for the number to fit.
fn number(value: &[u8]) -> Option<u32> {
    if value.is_empty() || value.len() > 9 {
        return None;
    }
    value.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// The value of `grpc-timeout`: at most eight digits and a unit.
fn timeout_us(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let count = u64::from(number(digits).filter(|_| digits.len() <= 8)?);
    let scaled = |unit_us: u64| count.saturating_mul(unit_us);
    match unit {
        b'H' => Some(scaled(3_600_000_000)),
        b'M' => Some(scaled(60_000_000)),
        b'S' => Some(scaled(1_000_000)),
        b'm' => Some(scaled(1_000)),
        b'u' => Some(count),
        b'n' => Some(count / 1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Witness, timeout_us};
    use crate::testing::universal_test;

    universal_test! {
        fn each_family_of_clients_is_read_in_its_own_words() {
            for (witness, value, expected) in [
                (Witness::Envoy, "1", 1),
                (Witness::Envoy, "4", 4),
                (Witness::Envoy, "0", 1),
                (Witness::Envoy, "-2", 1),
                (Witness::Envoy, "2, 3", 1),
                (Witness::Envoy, "9999999999", 1),
                (Witness::Envoy, "", 1),
                (Witness::Grpc, "1", 2),
                (Witness::Grpc, "0", 1),
                (Witness::Stainless, "0", 1),
                (Witness::Stainless, "2", 3),
                (Witness::Aws, "attempt=1; max=3", 1),
                (Witness::Aws, "attempt=2; max=3", 2),
                (Witness::Aws, "ttl=20261122T120000Z; attempt=3; max=3", 3),
                (Witness::Aws, "max=3;attempt=2", 2),
                (Witness::Aws, "attempt=two", 1),
                (Witness::Google, "gl-go/1.22 gccl/1.40 gccl-invocation-id/a-b gccl-attempt-count/2", 2),
                (Witness::Google, "gl-go/1.22 gccl/1.40", 1),
                (Witness::Google, "gccl-attempt-count/1", 1),
            ] {
                let mut attempt = Attempt::default();
                attempt.claim(witness, value.as_bytes());
                assert_eq!(attempt.ordinal, expected, "{witness:?} {value}");
            }
        }
    }

    universal_test! {
        fn a_later_word_never_makes_a_retry_a_first_attempt() {
            let mut attempt = Attempt::default();
            attempt.claim(Witness::Grpc, b"2");
            attempt.claim(Witness::Envoy, b"1");
            attempt.claim(Witness::Aws, b"what");
            assert!(attempt.is_retry());
            assert_eq!(attempt.ordinal, 3);
        }
    }

    universal_test! {
        fn timeouts_have_a_unit_and_at_most_eight_digits() {
            for (value, expected) in [
                ("1H", Some(3_600_000_000)),
                ("2M", Some(120_000_000)),
                ("3S", Some(3_000_000)),
                ("250m", Some(250_000)),
                ("99999999H", Some(359_999_996_400_000_000)),
                ("7u", Some(7)),
                ("1999n", Some(1)),
                ("0m", Some(0)),
                ("123456789m", None),
                ("m", None),
                ("5", None),
                ("5s", None),
                ("-5m", None),
                ("", None),
            ] {
                assert_eq!(timeout_us(value.as_bytes()), expected, "{value}");
            }
        }
    }
}
