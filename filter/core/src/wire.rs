//! Reading and writing our binary formats: big-endian integers, and bytes behind their length.
//!
//! INVARIANT: a reader never looks beyond what it was given, and a length is checked before anything is allocated for it.

/// What is wrong with encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside of a value.
    Short { at: usize },
    /// A count or length is over its limit.
    TooLarge { at: usize, found: usize, max: usize },
    /// A text is not UTF-8.
    NotUtf8 { at: usize },
    /// A value is none that the format knows.
    Unknown { at: usize, what: &'static str, found: u64 },
    /// Bytes follow the end of the value.
    Trailing { at: usize },
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            WireError::Short { at } => write!(f, "the bytes end inside of a value at offset {at}"),
            WireError::TooLarge { at, found, max } => {
                write!(f, "a length of {found} at offset {at} is over the limit of {max}")
            }
            WireError::NotUtf8 { at } => write!(f, "a text at offset {at} is not UTF-8"),
            WireError::Unknown { at, what, found } => write!(f, "unknown {what} `{found}` at offset {at}"),
            WireError::Trailing { at } => write!(f, "bytes follow the end of the value at offset {at}"),
        }
    }
}

impl std::error::Error for WireError {}

/// Takes values off the front of a slice.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, at: 0 }
    }

    /// Where the next value begins.
    pub const fn at(&self) -> usize {
        self.at
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short { at: self.at })?;
        self.rest = rest;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let at = self.at;
        self.bytes(N)?.try_into().map_err(|_| WireError::Short { at })
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A count of items, each of which takes at least one byte, so that a lie about it cannot cost memory.
    pub fn count(&mut self, max: usize) -> Result<usize, WireError> {
        let at = self.at;
        let found = self.u32()? as usize;
        if found > max {
            return Err(WireError::TooLarge { at, found, max });
        }
        if found > self.rest.len() {
            return Err(WireError::Short { at });
        }
        Ok(found)
    }

    /// A text behind its length.
    pub fn text(&mut self, max: usize) -> Result<&'a str, WireError> {
        let at = self.at;
        let length = usize::from(self.u16()?);
        if length > max {
            return Err(WireError::TooLarge { at, found: length, max });
        }
        core::str::from_utf8(self.bytes(length)?).map_err(|_| WireError::NotUtf8 { at })
    }

    /// Nothing may follow.
    pub fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing { at: self.at }) }
    }
}

/// Appends values to a vector.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// A count that is over `max` cannot be read again, so it is not written.
    pub fn count(&mut self, found: usize, max: usize) -> Result<(), WireError> {
        let at = self.out.len();
        match u32::try_from(found) {
            Ok(value) if found <= max => {
                self.u32(value);
                Ok(())
            }
            _ => Err(WireError::TooLarge { at, found, max }),
        }
    }

    pub fn text(&mut self, text: &str, max: usize) -> Result<(), WireError> {
        let (at, found) = (self.out.len(), text.len());
        match u16::try_from(found) {
            Ok(length) if found <= max => {
                self.u16(length);
                self.bytes(text.as_bytes());
                Ok(())
            }
            _ => Err(WireError::TooLarge { at, found, max }),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}
