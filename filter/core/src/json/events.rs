//! A document as a row of events, each given only when all that stands before it was found to be sound.

use super::keys::{Keys, ObjectKeys};
use super::text::{Cursor, Hash, Text};
use crate::limits::JSON_DEPTH_MAX;
use crate::number::Number;
use crate::reason::Reason;

/// What a document is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// A key, with the hash of what it means (`text_hash`).
    Key(Text<'a>, u64),
    Text(Text<'a>),
    /// As it was written.
    Number(&'a str),
    Bool(bool),
    Null,
}

/// Which numbers are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    #[default]
    Any,
    /// Only those that are the same after they were held in a double, as most services hold them.
    Double,
}

/// Why bytes are no document that everybody reads alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Syntax,
    DuplicateKey,
    Depth,
    Encoding,
    /// A number that a double would change, where that was asked.
    Number,
    Internal,
}

impl Fault {
    pub const fn reason(self) -> Reason {
        match self {
            // Without numbers in question there is no such fault, and with them the document is none to go on.
            Fault::Syntax | Fault::Number => Reason::JsonSyntax,
            Fault::DuplicateKey => Reason::JsonDuplicateKey,
            Fault::Depth => Reason::JsonDepth,
            Fault::Encoding => Reason::JsonEncoding,
            Fault::Internal => Reason::Internal,
        }
    }
}

/// Reads a document.
#[derive(Debug)]
pub struct Events<'a> {
    text: &'a str,
    rest: Cursor<'a>,
    /// Where the last event begins.
    start: usize,
    expected: Expected,
    /// The arrays and objects that are not closed yet, the innermost last.
    open: Vec<Open>,
    keys: Keys,
    numbers: Numbers,
}

#[derive(Debug)]
enum Open {
    Array,
    Object(ObjectKeys),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value, or the end of an array that is empty.
    FirstItem,
    /// A key, or the end of an object that is empty.
    FirstKey,
    Key,
    /// What may follow a value: only its container says.
    After,
}

impl<'a> Events<'a> {
    pub fn new(bytes: &'a [u8], numbers: Numbers) -> Result<Events<'a>, Fault> {
        let text = core::str::from_utf8(bytes).map_err(|_| Fault::Encoding)?;
        Ok(Events {
            text,
            rest: Cursor::new(bytes),
            start: 0,
            expected: Expected::Value,
            open: Vec::new(),
            keys: Keys::default(),
            numbers,
        })
    }

    /// Where the last event begins, in bytes.
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The next event; `None` once at the end of a whole document.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after a fault")]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, Fault> {
        loop {
            self.rest.skip_space();
            self.start = self.at();
            match self.expected {
                Expected::Value => return self.value().map(Some),
                Expected::FirstItem if self.rest.take(b']') => return self.close().map(Some),
                Expected::FirstItem => self.expected = Expected::Value,
                Expected::FirstKey if self.rest.take(b'}') => return self.close().map(Some),
                Expected::FirstKey | Expected::Key => return self.key().map(Some),
                Expected::After => match self.open.last() {
                    None if self.rest.bytes.is_empty() => return Ok(None),
                    None => return Err(Fault::Syntax),
                    Some(Open::Array) => match self.rest.next()? {
                        b',' => self.expected = Expected::Value,
                        b']' => return self.close().map(Some),
                        _ => return Err(Fault::Syntax),
                    },
                    Some(Open::Object(_)) => match self.rest.next()? {
                        b',' => self.expected = Expected::Key,
                        b'}' => return self.close().map(Some),
                        _ => return Err(Fault::Syntax),
                    },
                },
            }
        }
    }

    const fn at(&self) -> usize {
        self.text.len().saturating_sub(self.rest.bytes.len())
    }

    fn value(&mut self) -> Result<Event<'a>, Fault> {
        let event = match self.rest.next()? {
            b'{' => {
                let keys = self.keys.open();
                self.enter(Open::Object(keys))?;
                self.expected = Expected::FirstKey;
                return Ok(Event::ObjectStart);
            }
            b'[' => {
                self.enter(Open::Array)?;
                self.expected = Expected::FirstItem;
                return Ok(Event::ArrayStart);
            }
            b'"' => Event::Text(self.string()?),
            b't' => self.word(b"rue", Event::Bool(true))?,
            b'f' => self.word(b"alse", Event::Bool(false))?,
            b'n' => self.word(b"ull", Event::Null)?,
            b'-' => {
                let first = self.rest.next()?;
                self.number(first)?
            }
            digit @ b'0'..=b'9' => self.number(digit)?,
            _ => return Err(Fault::Syntax),
        };
        self.expected = Expected::After;
        Ok(event)
    }

    fn key(&mut self) -> Result<Event<'a>, Fault> {
        if !self.rest.take(b'"') {
            return Err(Fault::Syntax);
        }
        let key = self.string()?;
        self.rest.skip_space();
        if !self.rest.take(b':') {
            return Err(Fault::Syntax);
        }
        let hash = hash(key)?;
        let Some(Open::Object(keys)) = self.open.last_mut() else { return Err(Fault::Internal) };
        if !self.keys.insert(keys, hash) {
            return Err(Fault::DuplicateKey);
        }
        self.expected = Expected::Value;
        Ok(Event::Key(key, hash))
    }

    /// The rest of a string, with its escapes checked.
    fn string(&mut self) -> Result<Text<'a>, Fault> {
        let begin = self.at();
        let mut escaped = false;
        loop {
            self.rest.skip_plain();
            let end = self.at();
            match self.rest.next()? {
                b'"' => {
                    let raw = self.text.get(begin..end).ok_or(Fault::Internal)?;
                    return Ok(Text { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.rest.escape()?;
                }
                _ => return Err(Fault::Syntax),
            }
        }
    }

    fn number(&mut self, first: u8) -> Result<Event<'a>, Fault> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.rest.digits(),
            _ => return Err(Fault::Syntax),
        }
        if self.rest.take(b'.') {
            self.some_digits()?;
        }
        if self.rest.take(b'e') || self.rest.take(b'E') {
            let _sign = self.rest.take(b'+') || self.rest.take(b'-');
            self.some_digits()?;
        }
        let written = self.text.get(self.start..self.at()).ok_or(Fault::Internal)?;
        let fits = || Number::parse(written).is_some_and(|number| number.fits_double(written));
        match self.numbers {
            Numbers::Double if !fits() => Err(Fault::Number),
            Numbers::Any | Numbers::Double => Ok(Event::Number(written)),
        }
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        if !self.rest.next()?.is_ascii_digit() {
            return Err(Fault::Syntax);
        }
        self.rest.digits();
        Ok(())
    }

    fn word(&mut self, rest_of_word: &[u8], event: Event<'a>) -> Result<Event<'a>, Fault> {
        self.rest.bytes = self.rest.bytes.strip_prefix(rest_of_word).ok_or(Fault::Syntax)?;
        Ok(event)
    }

    fn enter(&mut self, open: Open) -> Result<(), Fault> {
        if self.open.len() >= JSON_DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<Event<'a>, Fault> {
        self.expected = Expected::After;
        match self.open.pop() {
            Some(Open::Array) => Ok(Event::ArrayEnd),
            Some(Open::Object(keys)) => {
                self.keys.close(&keys);
                Ok(Event::ObjectEnd)
            }
            None => Err(Fault::Internal),
        }
    }
}

/// The hash of what a key means.
fn hash(key: Text<'_>) -> Result<u64, Fault> {
    if !key.escaped {
        return Ok(super::text_hash(key.raw));
    }
    let mut hash = Hash::default();
    let mut rest = Cursor::new(key.raw.as_bytes());
    while let Ok(byte) = rest.next() {
        if byte == b'\\' {
            let mut encoded = [0; 4];
            let character = rest.escape()?;
            hash = character.encode_utf8(&mut encoded).bytes().fold(hash, Hash::with);
        } else {
            hash = hash.with(byte);
        }
    }
    Ok(hash.0)
}
