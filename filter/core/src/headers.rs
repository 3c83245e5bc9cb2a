//! The header map as the host serialises it: a count, the lengths of names and values, then both behind each other.
//!
//! INVARIANT: a map is read completely or not at all; a map that contradicts itself is a refusal, never an empty map.

use crate::limits::{HEADER_MAP_BYTES_MAX, HEADERS_MAX};
use crate::reason::Reason;

/// A header map in the host's own layout, with its lengths checked.
#[derive(Debug, Clone, Copy)]
pub struct HeaderMap<'a> {
    lengths: &'a [[u8; 8]],
    texts: &'a [u8],
}

impl<'a> HeaderMap<'a> {
    /// An empty buffer is an empty map: so the host hands over a map without headers.
    pub fn parse(bytes: &'a [u8]) -> Result<HeaderMap<'a>, Reason> {
        if bytes.is_empty() {
            return Ok(HeaderMap { lengths: &[], texts: &[] });
        }
        if bytes.len() > HEADER_MAP_BYTES_MAX {
            return Err(Reason::HeaderTooMany);
        }
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(Reason::HeaderMapInvalid)?;
        let count = u32::from_le_bytes(*count) as usize;
        if count > HEADERS_MAX {
            return Err(Reason::HeaderTooMany);
        }
        let (lengths, texts) =
            rest.split_at_checked(count.saturating_mul(8)).ok_or(Reason::HeaderMapInvalid)?;
        let (lengths, _) = lengths.as_chunks::<8>();
        let map = HeaderMap { lengths, texts };
        // Each text is followed by a zero byte that its length does not count.
        let total = lengths.iter().map(split_lengths).fold(0_usize, |total, (name, value)| {
            total.saturating_add(name).saturating_add(value).saturating_add(2)
        });
        if total == texts.len() { Ok(map) } else { Err(Reason::HeaderMapInvalid) }
    }

    /// Name and value of each header, as bytes, in the order in which the proxy holds them.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut rest = self.texts;
        self.lengths.iter().map_while(move |lengths| {
            let (name_length, value_length) = split_lengths(lengths);
            let (name, after) = rest.split_at_checked(name_length)?;
            let (value, after) = after.get(1..)?.split_at_checked(value_length)?;
            rest = after.get(1..)?;
            Some((name, value))
        })
    }
}

fn split_lengths(lengths: &[u8; 8]) -> (usize, usize) {
    let [a, b, c, d, e, f, g, h] = *lengths;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize)
}

/// Writes the host's layout: for replies that carry headers, and for tests.
pub fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&u32::try_from(pairs.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (name, value) in pairs {
        out.extend_from_slice(&length(name));
        out.extend_from_slice(&length(value));
    }
    for (name, value) in pairs {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, encode};
    use crate::reason::Reason;
    use crate::testing::universal_test;

    universal_test! {
        fn reads_back_what_was_written() {
            let bytes = encode(&[(":path", "/"), ("empty", ""), ("x", "y")]);
            let map = HeaderMap::parse(&bytes).unwrap();
            let pairs: Vec<_> = map.iter().collect();
            assert_eq!(pairs, [(&b":path"[..], &b"/"[..]), (b"empty", b""), (b"x", b"y")]);
            assert_eq!(HeaderMap::parse(&[]).unwrap().iter().count(), 0);
        }
    }

    universal_test! {
        fn a_map_that_contradicts_itself_is_refused() {
            let good = encode(&[(":path", "/"), ("a", "b")]);
            for end in 1..good.len() {
                assert_eq!(HeaderMap::parse(&good[..end]).err(), Some(Reason::HeaderMapInvalid), "cut at {end}");
            }
            let mut long = good.clone();
            long.push(0);
            assert_eq!(HeaderMap::parse(&long).err(), Some(Reason::HeaderMapInvalid));
            let mut lie = good;
            lie[4] = 0xff;
            assert_eq!(HeaderMap::parse(&lie).err(), Some(Reason::HeaderMapInvalid));
            assert_eq!(HeaderMap::parse(&[0xff; 12]).err(), Some(Reason::HeaderTooMany));
        }
    }
}
