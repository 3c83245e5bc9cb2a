//! `x-forwarded-client-cert`: whose certificate a proxy before this one has seen, in Envoy's grammar, read strictly.
//!
//! Elements are separated by `,`, their pairs by `;`. A value with such a character stands in double quotes, and a double
//! quote in it behind a backslash. Keys have no case. Each proxy appends its element, so only the last one was written by
//! the peer; what stands before it is whatever the peer was sent.
//!
//! INVARIANT: what stands before the last element cannot change how the last one is read: the whole header has one
//! reading, or none. Envoy writes names of certificates without quotes and as they are, so a forwarder must only accept
//! certificates of authorities that issue no name with a `,` or `;` in it.

use crate::certificate;
use crate::{CertificateError, SpiffeError, SpiffeId};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

/// A certificate and its chain have a few kilobytes with their escapes; a proxy takes no larger headers.
const BYTES_MAX: usize = 64 * 1024;

/// Why a forwarded certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardedError {
    TooLong {
        bytes: usize,
    },
    /// Not in Envoy's grammar, or in a way that two readers take for two things.
    Unreadable {
        at: usize,
        expected: &'static str,
    },
    /// Not exactly one URI in the last element.
    Uris {
        found: usize,
    },
    Workload(SpiffeError),
    /// The certificate in the last element does not go with its URI.
    Certificate(CertificateError),
    /// The certificate in the last element does not go with its hash.
    Hash,
    /// The last element says that another proxy wrote it.
    WrittenByOther,
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardedError::TooLong { bytes } => {
                write!(f, "it has {bytes} bytes, over the limit of {BYTES_MAX}")
            }
            ForwardedError::Unreadable { at, expected } => {
                write!(f, "it cannot be read at byte {at}: expected {expected}")
            }
            ForwardedError::Uris { found } => {
                write!(f, "its last element has {found} URIs, expected exactly one")
            }
            ForwardedError::Workload(error) => write!(f, "the URI of its last element: {error}"),
            ForwardedError::Certificate(error) => write!(f, "the certificate in its last element: {error}"),
            ForwardedError::Hash => {
                f.write_str("the certificate in its last element does not have the hash beside it")
            }
            ForwardedError::WrittenByOther => {
                f.write_str("`By` of its last element is not the peer that sent it")
            }
        }
    }
}

/// The workload whose certificate `forwarder` has seen.
pub(super) fn workload(
    text: &str,
    forwarder: &SpiffeId,
    trust_domains: &[impl AsRef<str>],
) -> Result<SpiffeId, ForwardedError> {
    let last = last_element(text)?;
    let uri = match last.uris.as_slice() {
        [uri] if !uri.is_empty() => uri,
        // Envoy writes `URI=` where there is none.
        uris => {
            return Err(ForwardedError::Uris { found: uris.iter().filter(|uri| !uri.is_empty()).count() });
        }
    };
    let workload = SpiffeId::parse(uri, trust_domains).map_err(ForwardedError::Workload)?;
    // A proxy whose own certificate has no URI says nothing here.
    let mut by = last.by.iter().filter(|by| !by.is_empty()).peekable();
    if by.peek().is_some() && !by.any(|by| by == forwarder.as_str()) {
        return Err(ForwardedError::WrittenByOther);
    }
    if let Some(escaped) = &last.cert {
        certificate::names_only(escaped, uri).map_err(ForwardedError::Certificate)?;
        let der = certificate::der(escaped).map_err(ForwardedError::Certificate)?;
        let hash = hex::encode(Sha256::digest(&der));
        if last.hash.as_ref().is_some_and(|said| !said.eq_ignore_ascii_case(&hash)) {
            return Err(ForwardedError::Hash);
        }
    }
    Ok(workload)
}

/// What one proxy says of one certificate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    by: Vec<String>,
    hash: Option<String>,
    cert: Option<String>,
    chain: Option<String>,
    subject: Option<String>,
    uris: Vec<String>,
    dns: Vec<String>,
}

impl Element {
    /// Takes a pair in, if its key is known and may come once more.
    fn take(&mut self, key: &str, value: String) -> Result<(), &'static str> {
        let slot = match key.to_ascii_lowercase().as_str() {
            "by" => Slot::Many(&mut self.by),
            "uri" => Slot::Many(&mut self.uris),
            "dns" => Slot::Many(&mut self.dns),
            "hash" => Slot::One(&mut self.hash),
            "cert" => Slot::One(&mut self.cert),
            "chain" => Slot::One(&mut self.chain),
            "subject" => Slot::One(&mut self.subject),
            _ => return Err("`By`, `Hash`, `Cert`, `Chain`, `Subject`, `URI` or `DNS`"),
        };
        match slot {
            Slot::Many(values) => values.push(value),
            Slot::One(Some(_)) => return Err("a key that the element does not have already"),
            Slot::One(empty) => *empty = Some(value),
        }
        Ok(())
    }
}

/// Where a value goes.
enum Slot<'e> {
    One(&'e mut Option<String>),
    Many(&'e mut Vec<String>),
}

fn last_element(text: &str) -> Result<Element, ForwardedError> {
    if text.len() > BYTES_MAX {
        return Err(ForwardedError::TooLong { bytes: text.len() });
    }
    let mut reader = Reader { chars: text.char_indices().peekable(), end: text.len() };
    let mut element = Element::default();
    loop {
        let at = reader.at();
        let key = reader.key()?;
        let value = reader.value()?;
        element.take(&key, value).map_err(|expected| ForwardedError::Unreadable { at, expected })?;
        match reader.chars.next() {
            None => return Ok(element),
            Some((_, ';')) => {}
            Some((_, ',')) => element = Element::default(),
            Some((at, _)) => {
                return Err(ForwardedError::Unreadable {
                    at,
                    expected: "`;`, `,` or the end behind a value",
                });
            }
        }
    }
}

struct Reader<'t> {
    chars: Peekable<CharIndices<'t>>,
    end: usize,
}

impl Reader<'_> {
    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.end, |(at, _)| *at)
    }

    fn unreadable<T>(&mut self, expected: &'static str) -> Result<T, ForwardedError> {
        Err(ForwardedError::Unreadable { at: self.at(), expected })
    }

    /// A key with the `=` behind it.
    fn key(&mut self) -> Result<String, ForwardedError> {
        let mut key = String::new();
        while let Some((_, letter)) = self.chars.next_if(|(_, c)| c.is_ascii_alphabetic()) {
            key.push(letter);
        }
        match self.chars.next_if(|(_, c)| *c == '=') {
            Some(_) if !key.is_empty() => Ok(key),
            Some(_) | None => self.unreadable("a key of letters and `=` behind it"),
        }
    }

    fn value(&mut self) -> Result<String, ForwardedError> {
        if self.chars.next_if(|(_, c)| *c == '"').is_some() { self.quoted() } else { self.plain() }
    }

    fn plain(&mut self) -> Result<String, ForwardedError> {
        let mut value = String::new();
        while let Some((_, c)) = self.chars.next_if(|(_, c)| c.is_ascii_graphic() && !";,\"".contains(*c)) {
            value.push(c);
        }
        Ok(value)
    }

    /// The rest of a quoted value, and the quote that ends it.
    fn quoted(&mut self) -> Result<String, ForwardedError> {
        let mut value = String::new();
        let mut backslashes = 0_usize;
        loop {
            match self.chars.next_if(|(_, c)| !c.is_control()) {
                None => {
                    return self
                        .unreadable("a quote that ends the value, and no control character before it");
                }
                Some((_, '"')) if backslashes == 0 => return Ok(value),
                // By the grammar it does not end the value, by the escapes of the name that stands there it does.
                Some((_, '"')) if backslashes.is_multiple_of(2) => {
                    return self
                        .unreadable("no quote behind an even number of backslashes, which has two readings");
                }
                Some((_, '"')) => {
                    value.pop();
                    value.push('"');
                    backslashes = 0;
                }
                Some((_, c)) => {
                    backslashes = if c == '\\' { backslashes.saturating_add(1) } else { 0 };
                    value.push(c);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
