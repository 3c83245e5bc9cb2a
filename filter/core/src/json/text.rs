//! Strings as they stand in a document, and what they mean.

use super::events::Fault;

/// A string between its quotes.
///
/// INVARIANT: its escapes were found to be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    pub(super) raw: &'a str,
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// A text that stands for itself: a header's value, a parameter, a field of a form.
    pub const fn plain(text: &'a str) -> Text<'a> {
        Text { raw: text, escaped: false }
    }

    /// What it means. Only a string with escapes is copied, into `scratch`.
    pub fn decode<'s>(&self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        let mut rest = Cursor::new(self.raw.as_bytes());
        let mut from = 0;
        // What stands between escapes is text already.
        while let Some(offset) = rest.bytes.iter().position(|byte| *byte == b'\\') {
            let begin = self.raw.len().saturating_sub(rest.bytes.len());
            scratch.push_str(self.raw.get(from..begin.saturating_add(offset)).unwrap_or_default());
            rest.skip(offset.saturating_add(1));
            scratch.extend(rest.escape());
            from = self.raw.len().saturating_sub(rest.bytes.len());
        }
        scratch.push_str(self.raw.get(from..).unwrap_or_default());
        scratch
    }
}

/// The hash of a text by which keys are told apart: FNV-1a, because keys are short.
///
/// A caller who makes two keys collide only refuses his own document: where a text decides something, it is compared.
pub fn text_hash(text: &str) -> u64 {
    text.bytes().fold(Hash::default(), Hash::with).0
}

#[derive(Clone, Copy)]
pub(super) struct Hash(pub(super) u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(super) const fn with(self, byte: u8) -> Hash {
        Hash((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// What is left of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes }
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
    }

    pub(super) fn next(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.bytes.split_first().ok_or(Fault::Syntax)?;
        self.bytes = rest;
        Ok(*byte)
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        match self.bytes.split_first() {
            Some((found, rest)) if *found == byte => {
                self.bytes = rest;
                true
            }
            _ => false,
        }
    }

    pub(super) fn skip_space(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.bytes.split_first() {
            self.bytes = rest;
        }
    }

    pub(super) fn digits(&mut self) {
        while let Some((b'0'..=b'9', rest)) = self.bytes.split_first() {
            self.bytes = rest;
        }
    }

    /// Over what may stand in a string as it is, eight bytes at a time.
    pub(super) fn skip_plain(&mut self) {
        while let Some((eight, rest)) = self.bytes.split_first_chunk::<8>() {
            if needs_a_look(u64::from_le_bytes(*eight)) {
                break;
            }
            self.bytes = rest;
        }
        let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        while let Some((byte, rest)) = self.bytes.split_first()
            && plain(byte)
        {
            self.bytes = rest;
        }
    }

    /// What stands behind a backslash.
    pub(super) fn escape(&mut self) -> Result<char, Fault> {
        Ok(match self.next()? {
            plain @ (b'"' | b'\\' | b'/') => char::from(plain),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(Fault::Syntax),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        if !matches!(first, 0xd800..=0xdbff) {
            return char::from_u32(u32::from(first)).ok_or(Fault::Encoding);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return Err(Fault::Encoding);
        }
        let units = [first, self.four_digits()?];
        let decoded = char::decode_utf16(units).next().and_then(Result::ok);
        decoded.ok_or(Fault::Encoding)
    }

    fn four_digits(&mut self) -> Result<u16, Fault> {
        let mut value = 0_u16;
        for _ in 0..4 {
            let digit = (self.next()? as char).to_digit(16).ok_or(Fault::Syntax)?;
            value = value << 4 | u16::try_from(digit).map_err(|_| Fault::Internal)?;
        }
        Ok(value)
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Whether a quote, a backslash or a control byte may be among eight bytes. It may say so in vain, and only beside one.
const fn needs_a_look(eight: u64) -> bool {
    let quote = eight ^ 0x2222_2222_2222_2222;
    let backslash = eight ^ 0x5c5c_5c5c_5c5c_5c5c;
    let found = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (eight.wrapping_sub(0x2020_2020_2020_2020) & !eight);
    found & HIGHS != 0
}
