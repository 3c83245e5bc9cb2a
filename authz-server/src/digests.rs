//! Keyed digests of what entries do not hold: equal values have equal ones, and without the key nobody can try values
//! until one fits. Pure.
//!
//! INVARIANT: what is digested for one purpose never equals what is digested for another, because each has a key of its
//! own, made of the one that is kept.

use serde::Serialize;
use std::fmt;
use std::io;

const REQUESTS: &str = "palisade 2026-11 ledger: digest of a request";
const VALUES: &str = "palisade 2026-11 ledger: digest of a masked value";
const NAME: &str = "palisade 2026-11 ledger: name of a digest key";

/// Digests in entries have this many hexadecimal digits: enough that no two values ever share one.
const DIGITS: usize = 32;

/// The key, and what is made of it.
#[derive(Clone)]
pub struct Digests {
    requests: [u8; 32],
    values: [u8; 32],
    name: String,
}

impl Digests {
    pub fn new(key: &[u8; 32]) -> Digests {
        let name = blake3::derive_key(NAME, key);
        Digests {
            requests: blake3::derive_key(REQUESTS, key),
            values: blake3::derive_key(VALUES, key),
            name: hex::encode(name.first_chunk::<4>().unwrap_or(&[0; 4])),
        }
    }

    /// By which two keys are told apart. It tells nothing of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of a request: its parts, each with its length, so that no part can be moved into the next.
    pub fn request(&self, parts: [&[u8]; 3], body: Option<&[u8]>) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.requests);
        for part in parts.into_iter().chain(body) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        shown(&hasher)
    }

    /// Of a value, over its JSON as it would have stood in the entry.
    pub fn value(&self, value: &impl Serialize) -> String {
        let mut into = Into(blake3::Hasher::new_keyed(&self.values));
        // A hasher takes everything; a value that were no JSON would get the digest of what of it was.
        let _written = serde_json::to_writer(&mut into, value);
        shown(&into.0)
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digests({})", self.name)
    }
}

fn shown(hasher: &blake3::Hasher) -> String {
    let mut text = hex::encode(hasher.finalize().as_bytes());
    text.truncate(DIGITS);
    text
}

struct Into(blake3::Hasher);

impl io::Write for Into {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Digests;

    #[test]
    fn equal_values_join_and_others_do_not() {
        let digests = Digests::new(&[1; 32]);
        assert_eq!(digests.value(&"o-1"), digests.value(&"o-1".to_owned()));
        assert_ne!(digests.value(&"1"), digests.value(&1), "a text is no number");
        assert_ne!(digests.value(&"o-1"), Digests::new(&[2; 32]).value(&"o-1"), "another key");
        assert_eq!(digests.value(&"o-1").len(), 32);
        assert_ne!(digests.name(), Digests::new(&[2; 32]).name());
    }

    #[test]
    fn no_part_of_a_request_can_be_moved_into_the_next() {
        let digests = Digests::new(&[1; 32]);
        let of = |method: &str, host: &str, target: &str, body: Option<&[u8]>| {
            digests.request([method.as_bytes(), host.as_bytes(), target.as_bytes()], body)
        };
        let one = of("POST", "orders", "/a", Some(b"x"));
        assert_eq!(one, of("POST", "orders", "/a", Some(b"x")));
        for other in [
            of("POSTo", "rders", "/a", Some(b"x")),
            of("POST", "orders/", "a", Some(b"x")),
            of("POST", "orders", "/ax", Some(b"")),
            of("POST", "orders", "/a", Some(b"")),
            of("POST", "orders", "/a", None),
        ] {
            assert_ne!(one, other);
        }
    }
}
