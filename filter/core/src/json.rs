//! A strict JSON reader over bytes: says whether a body is one document, with one structure and one text for each string.
//!
//! What a number is worth it does not judge: readers differ beyond the range and precision of a double, and no rule of
//! ours rests on it. Keys that differ in case are different keys.
//!
//! INVARIANT: it builds no tree, does not recurse, and each byte is looked at a bounded number of times.

use crate::limits::JSON_DEPTH_MAX;
use crate::reason::Reason;
use std::collections::BTreeSet;

/// Refuses everything that RFC 8259 does not allow, and what it allows but parsers disagree about.
pub fn check(bytes: &[u8]) -> Result<(), Reason> {
    if core::str::from_utf8(bytes).is_err() {
        return Err(Reason::JsonEncoding);
    }
    let mut reader = Reader { rest: bytes, open: Vec::new() };
    reader.document()
}

struct Reader<'a> {
    rest: &'a [u8],
    /// The arrays and objects that are not closed yet, the innermost last.
    open: Vec<Open>,
}

enum Open {
    Array,
    Object(Keys),
}

/// The keys of one object, as hashes of their decoded text.
///
/// Two different keys with the same hash would refuse a good document, once in 2^64; equal keys are always found.
#[derive(Default)]
struct Keys {
    few: Vec<u64>,
    many: BTreeSet<u64>,
}

/// Up to here a scan is faster than a tree.
const FEW_KEYS: usize = 16;

impl Keys {
    /// Whether the key is new.
    fn insert(&mut self, key: u64) -> bool {
        if self.few.len() < FEW_KEYS {
            let new = !self.few.contains(&key);
            self.few.push(key);
            return new;
        }
        !self.few.contains(&key) && self.many.insert(key)
    }
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Reason> {
        self.value()?;
        // After a value only its container says what may follow.
        loop {
            self.skip_space();
            match self.open.last() {
                None if self.rest.is_empty() => return Ok(()),
                None => return Err(Reason::JsonSyntax),
                Some(Open::Array) => match self.next()? {
                    b',' => self.value()?,
                    b']' => self.close(),
                    _ => return Err(Reason::JsonSyntax),
                },
                Some(Open::Object(_)) => match self.next()? {
                    b',' => self.member()?,
                    b'}' => self.close(),
                    _ => return Err(Reason::JsonSyntax),
                },
            }
        }
    }

    /// Reads a value up to its end, or up to the first inner value of a container that is not empty.
    fn value(&mut self) -> Result<(), Reason> {
        loop {
            self.skip_space();
            match self.next()? {
                b'{' => {
                    self.enter(Open::Object(Keys::default()))?;
                    self.skip_space();
                    if self.take(b'}') {
                        self.close();
                        return Ok(());
                    }
                    self.key()?;
                }
                b'[' => {
                    self.enter(Open::Array)?;
                    self.skip_space();
                    if self.take(b']') {
                        self.close();
                        return Ok(());
                    }
                }
                b'"' => return self.string().map(drop),
                b't' => return self.word(b"rue"),
                b'f' => return self.word(b"alse"),
                b'n' => return self.word(b"ull"),
                b'-' => return self.number(None),
                digit @ b'0'..=b'9' => return self.number(Some(digit)),
                _ => return Err(Reason::JsonSyntax),
            }
        }
    }

    fn member(&mut self) -> Result<(), Reason> {
        self.key()?;
        self.value()
    }

    fn key(&mut self) -> Result<(), Reason> {
        self.skip_space();
        if !self.take(b'"') {
            return Err(Reason::JsonSyntax);
        }
        let key = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(Reason::JsonSyntax);
        }
        match self.open.last_mut() {
            Some(Open::Object(keys)) => {
                if keys.insert(key) {
                    Ok(())
                } else {
                    Err(Reason::JsonDuplicateKey)
                }
            }
            Some(Open::Array) | None => Err(Reason::Internal),
        }
    }

    /// Reads the rest of a string and gives the hash of its decoded text.
    fn string(&mut self) -> Result<u64, Reason> {
        let mut hash = Hash::default();
        loop {
            match self.next()? {
                b'"' => return Ok(hash.0),
                0..=0x1f => return Err(Reason::JsonSyntax),
                b'\\' => self.escape(&mut hash)?,
                byte => hash.byte(byte),
            }
        }
    }

    fn escape(&mut self, hash: &mut Hash) -> Result<(), Reason> {
        let plain = match self.next()? {
            plain @ (b'"' | b'\\' | b'/') => plain,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode_escape(hash),
            _ => return Err(Reason::JsonSyntax),
        };
        hash.byte(plain);
        Ok(())
    }

    fn unicode_escape(&mut self, hash: &mut Hash) -> Result<(), Reason> {
        let first = self.four_digits()?;
        let units = match first {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(Reason::JsonEncoding);
                }
                [first, self.four_digits()?]
            }
            _ => [first, 0],
        };
        let used = if matches!(first, 0xd800..=0xdbff) { 2 } else { 1 };
        for decoded in char::decode_utf16(units.into_iter().take(used)) {
            let character = decoded.map_err(|_| Reason::JsonEncoding)?;
            character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hash.byte(byte));
        }
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u16, Reason> {
        let mut value = 0_u16;
        for _ in 0..4 {
            let digit = (self.next()? as char).to_digit(16).ok_or(Reason::JsonSyntax)?;
            value = value << 4 | u16::try_from(digit).map_err(|_| Reason::Internal)?;
        }
        Ok(value)
    }

    fn number(&mut self, first: Option<u8>) -> Result<(), Reason> {
        let first = match first {
            Some(digit) => digit,
            None => self.next()?,
        };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Reason::JsonSyntax),
        }
        if self.take(b'.') {
            self.some_digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Reason> {
        if !self.next()?.is_ascii_digit() {
            return Err(Reason::JsonSyntax);
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while let Some((b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn word(&mut self, rest_of_word: &[u8]) -> Result<(), Reason> {
        self.rest = self.rest.strip_prefix(rest_of_word).ok_or(Reason::JsonSyntax)?;
        Ok(())
    }

    fn enter(&mut self, open: Open) -> Result<(), Reason> {
        if self.open.len() >= JSON_DEPTH_MAX {
            return Err(Reason::JsonDepth);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) {
        self.open.pop();
    }

    fn skip_space(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((found, rest)) if *found == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Result<u8, Reason> {
        let (byte, rest) = self.rest.split_first().ok_or(Reason::JsonSyntax)?;
        self.rest = rest;
        Ok(*byte)
    }
}

/// FNV-1a: keys are short, and a caller who makes two keys collide only refuses his own document.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests;
