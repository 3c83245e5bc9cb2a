//! What a value is worth, in sixteen bytes: the same for equal values, however they are written.
//!
//! A short scalar stands in them as it is; the rest is a BLAKE3 hash over its parts, an object's in the order of its
//! keys. INVARIANT: `1` and `1.0` are equal, `1` and `"1"` are not, and nobody can find two values that only seem equal.

use super::machine::Scalar;

/// A value's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// The bytes of a short scalar.
const SHORT: usize = 14;
const HASHED: u8 = 0xff;

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Null = 0,
    False = 1,
    True = 2,
    Number = 3,
    Text = 4,
    Array = 5,
    Object = 6,
}

impl Digest {
    pub(super) fn of_scalar(scalar: &Scalar<'_>, scratch: &mut Vec<u8>) -> Digest {
        scratch.clear();
        let kind = match scalar {
            Scalar::Null => Kind::Null,
            Scalar::Bool(false) => Kind::False,
            Scalar::Bool(true) => Kind::True,
            Scalar::Number(number) => {
                number.write_canonical(scratch);
                Kind::Number
            }
            Scalar::Text(text) => return Digest::of_bytes(Kind::Text, text.as_bytes()),
        };
        Digest::of_bytes(kind, scratch)
    }

    fn of_bytes(kind: Kind, bytes: &[u8]) -> Digest {
        let mut digest = [0; 16];
        if let [tag, length, place @ ..] = &mut digest
            && let Some(place) = place.get_mut(..bytes.len()).filter(|_| bytes.len() <= SHORT)
        {
            *tag = kind as u8;
            *length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            place.copy_from_slice(bytes);
            return Digest(digest);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]);
        hasher.update(bytes);
        Digest::finish(&hasher)
    }

    pub(super) fn of_array(items: &[Digest]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[Kind::Array as u8]);
        items.iter().for_each(|item| _ = hasher.update(&item.0));
        Digest::finish(&hasher)
    }

    /// Of keys and values in turn, which it sorts.
    pub(super) fn of_object(parts: &[Digest]) -> Digest {
        let mut members: Vec<&[Digest]> = parts.chunks(2).collect();
        members.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[Kind::Object as u8]);
        members.into_iter().flatten().for_each(|part| _ = hasher.update(&part.0));
        Digest::finish(&hasher)
    }

    fn finish(hasher: &blake3::Hasher) -> Digest {
        let mut digest = [HASHED; 16];
        let hash = hasher.finalize();
        digest.iter_mut().skip(1).zip(hash.as_bytes()).for_each(|(place, byte)| *place = *byte);
        Digest(digest)
    }
}
