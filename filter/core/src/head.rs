//! The request head, read strictly from bytes: what would be read in two ways by two parties is refused.
//!
//! INVARIANT: filter and server call the same `RequestHead::parse`; only the place differs where the pairs come from.

use crate::attempt::Attempt;
use crate::authority::Authority;
use crate::handoff;
use crate::limits::{CLIENT_COPIES_MAX, HEADERS_MAX};
use crate::media::ContentType;
use crate::method::Method;
use crate::path::Target;
use crate::reason::Reason;
use kinds::{Kind, kind};

mod kinds;
mod list;

/// A head with one reading.
#[derive(Debug, Clone)]
pub struct RequestHead<'a> {
    pub method: Method,
    pub target: Target<'a>,
    pub authority: Authority<'a>,
    pub content_type: Option<ContentType<'a>>,
    pub content_length: Option<u64>,
    pub content_encoded: bool,
    /// The protocol of an upgrade, as it was sent.
    pub upgrade: Option<&'a str>,
    /// An attribute for the ledger, chosen by callers: never a key.
    pub request_id: Option<&'a str>,
    pub attempt: Attempt<'a>,
    /// Headers in our name space that came with the request. From a client they are removed.
    pub ours: Vec<(&'a str, &'a str)>,
}

/// What the header loop finds before anything of it is interpreted.
#[derive(Default)]
struct Found<'a> {
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    content_type: Option<&'a str>,
    content_length: Option<&'a str>,
    content_encoded: bool,
    upgrade: Option<&'a str>,
    request_id: Option<&'a str>,
    attempt: Attempt<'a>,
    ours: Vec<(&'a str, &'a str)>,
    early_data: bool,
    /// Hosts that headers claim, to be compared with the one that counts when it is known.
    claimed_host: Option<&'a [u8]>,
    /// Names that may come once, as bits: the fixed ones of `kinds`, then the contract's identity headers.
    singles: u64,
}

impl<'a> RequestHead<'a> {
    pub fn parse(
        pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        identity_headers: &[Box<str>],
    ) -> Result<RequestHead<'a>, Reason> {
        let mut found = Found::default();
        for (count, (name, value)) in pairs.into_iter().enumerate() {
            if count >= HEADERS_MAX {
                return Err(Reason::HeaderTooMany);
            }
            found.header(name, value, identity_headers)?;
        }
        found.finish()
    }

    pub const fn is_grpc(&self) -> bool {
        matches!(self.content_type, Some(ContentType::Grpc))
    }

    /// Our own header of this name, if it came exactly once.
    pub fn own_header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.ours.iter().filter(|(known, _)| *known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

impl<'a> Found<'a> {
    fn header(
        &mut self,
        name: &'a [u8],
        value: &'a [u8],
        identity_headers: &[Box<str>],
    ) -> Result<(), Reason> {
        match name {
            b":method" => return once(&mut self.method, value),
            b":path" => return once(&mut self.path, value),
            b":authority" => return once(&mut self.authority, value),
            b":scheme" => return once(&mut self.scheme, value),
            _ => {}
        }
        check_name(name)?;
        check_value(value)?;
        match name {
            b"content-type" => once(&mut self.content_type, text(value)?),
            b"content-length" => once(&mut self.content_length, text(value)?),
            b"x-request-id" => once(&mut self.request_id, text(value)?),
            b"upgrade" => once(&mut self.upgrade, text(value)?),
            // With `:authority` before us, a host header beside it is a second opinion.
            b"host" => Err(Reason::HeaderDuplicate),
            b"content-encoding" => {
                self.content_encoded |= !value.eq_ignore_ascii_case(b"identity");
                Ok(())
            }
            _ if name.starts_with(handoff::HEADER_PREFIX.as_bytes()) => self.own(name, value),
            _ => self.other(name, value, identity_headers),
        }
    }

    fn own(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Reason> {
        if self.ours.len() >= CLIENT_COPIES_MAX {
            return Err(Reason::HeaderTooMany);
        }
        self.ours.push((text(name)?, text(value)?));
        Ok(())
    }

    fn other(&mut self, name: &[u8], value: &'a [u8], identity_headers: &[Box<str>]) -> Result<(), Reason> {
        let kind = kind(name);
        match kind {
            Kind::Plain => {}
            Kind::Single(bit) => self.mark(bit)?,
            Kind::IdempotencyKey(bit) => {
                self.mark(bit)?;
                self.attempt.idempotency_key = Some(value);
            }
            Kind::Attempt(witness) => self.attempt.claim(witness, value),
            Kind::Timeout => self.attempt.waits(value),
            Kind::Credentials(bit) => {
                self.mark(bit)?;
                check(list::is_one_credential(value), Reason::HeaderDuplicate)?;
            }
            Kind::Date(bit) => {
                self.mark(bit)?;
                check(list::is_one_date(value), Reason::HeaderDuplicate)?;
            }
            Kind::EntityTags => check(list::are_entity_tags(value), Reason::HeaderDuplicate)?,
            Kind::Expect => {
                check(value.eq_ignore_ascii_case(b"100-continue"), Reason::ExpectInvalid)?;
            }
            Kind::EarlyData => self.early_data = true,
            Kind::Connection => check(list::names_only_the_connection(value), Reason::HeaderConnection)?,
            Kind::HostClaim => return self.claim_host(value),
            Kind::Forwarded => check(!list::claims_host(value), Reason::HeaderHostOverride)?,
            Kind::Override => return Err(Reason::HeaderMethodOverride),
            Kind::ProxyControl => return Err(Reason::HeaderProxyControl),
        }
        let Some(place) = identity_headers.iter().position(|header| header.as_bytes() == name) else {
            return Ok(());
        };
        // What a proxy joined to one value is still two credentials.
        check(kind != Kind::Plain || !value.contains(&b','), Reason::HeaderDuplicate)?;
        self.mark(u32::try_from(place).unwrap_or(u32::MAX).saturating_add(kinds::BITS))
    }

    /// Remembers that a header came which may come once.
    fn mark(&mut self, bit: u32) -> Result<(), Reason> {
        let bit = 1_u64.checked_shl(bit).ok_or(Reason::Internal)?;
        check(self.singles & bit == 0, Reason::HeaderDuplicate)?;
        self.singles |= bit;
        Ok(())
    }

    /// Headers that claim a host may repeat each other: only the one that differs from the authority is refused.
    fn claim_host(&mut self, value: &'a [u8]) -> Result<(), Reason> {
        match self.claimed_host.replace(value) {
            Some(earlier) if !earlier.eq_ignore_ascii_case(value) => Err(Reason::HeaderHostOverride),
            Some(_) | None => Ok(()),
        }
    }

    fn finish(self) -> Result<RequestHead<'a>, Reason> {
        let method = Method::parse(self.method.unwrap_or_default()).ok_or(Reason::MethodUnknown)?;
        let authority = Authority::parse(self.authority.unwrap_or_default())?;
        let target = Target::parse(self.path.unwrap_or_default())?;
        // Envoy sets the scheme; where it is absent, the listener did not say, and nothing of ours depends on it.
        if !matches!(self.scheme, None | Some(b"http" | b"https")) {
            return Err(Reason::SchemeInvalid);
        }
        if self.claimed_host.is_some_and(|claimed| !claimed.eq_ignore_ascii_case(authority.raw().as_bytes()))
        {
            return Err(Reason::HeaderHostOverride);
        }
        // What came before the handshake ended may be sent again by anybody who recorded it.
        if self.early_data && !method.is_safe() {
            return Err(Reason::EarlyData);
        }
        Ok(RequestHead {
            method,
            target,
            authority,
            content_type: self.content_type.map(ContentType::parse).transpose()?,
            content_length: self.content_length.map(parse_length).transpose()?,
            content_encoded: self.content_encoded,
            upgrade: self.upgrade,
            request_id: self.request_id,
            attempt: self.attempt,
            ours: self.ours,
        })
    }
}

const fn check(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reason> {
    if slot.replace(value).is_some() { Err(Reason::HeaderDuplicate) } else { Ok(()) }
}

fn parse_length(value: &str) -> Result<u64, Reason> {
    if value.is_empty() || value.len() > 19 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::ContentLengthInvalid);
    }
    value.parse().map_err(|_| Reason::ContentLengthInvalid)
}

/// An underscore is refused because many services read it as a hyphen: `x_user` would become `x-user`.
fn check_name(name: &[u8]) -> Result<(), Reason> {
    let allowed = |byte: &u8| NAME_BYTES.get(usize::from(*byte)).copied().unwrap_or(false);
    if !name.is_empty() && name.iter().all(allowed) { Ok(()) } else { Err(Reason::HeaderNameInvalid) }
}

/// Which bytes a name may hold. A table, because every byte of every name is looked up.
#[expect(clippy::indexing_slicing, reason = "runs while it is compiled, and a byte has 256 values")]
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-.!#$%&'*+^`|~";
    while let [byte, after @ ..] = rest {
        table[*byte as usize] = true;
        rest = after;
    }
    table
};

/// Values are UTF-8 without control bytes other than the tab.
fn check_value(value: &[u8]) -> Result<(), Reason> {
    if is_printable_ascii(value) { Ok(()) } else { text(value).map(drop) }
}

/// Whether a name may stand in a request at all.
pub(crate) fn is_sound_name(name: &[u8]) -> bool {
    check_name(name).is_ok()
}

/// Whether a value may stand in a request at all.
pub(crate) fn is_sound_value(value: &[u8]) -> bool {
    check_value(value).is_ok()
}

/// Whether a header says something by which a request is framed, matched, judged or routed.
pub(crate) fn is_decisive(name: &[u8]) -> bool {
    const FRAMING: [&[u8]; 11] = [
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"content-range",
        b"cookie",
        b"host",
        b"te",
        b"trailer",
        b"upgrade",
        b"x-request-id",
        b"x-forwarded-client-cert",
    ];
    kinds::kind(name) != kinds::Kind::Plain || FRAMING.contains(&name)
}

/// Nearly every value, eight bytes at a time: looking at values is most of what a head costs.
fn is_printable_ascii(value: &[u8]) -> bool {
    const EACH: u64 = u64::MAX / 0xff;
    let printable = |eight: &[u8; 8]| {
        let eight = u64::from_le_bytes(*eight);
        let del = eight ^ (EACH * 0x7f);
        // The top bit of a byte stays 0 unless that byte, or one before it that was found already, is out of range.
        let below_space = eight.wrapping_sub(EACH * 0x20) & !eight;
        let is_del = del.wrapping_sub(EACH) & !del;
        (below_space | is_del | eight) & (EACH * 0x80) == 0
    };
    let (eights, rest) = value.as_chunks::<8>();
    eights.iter().all(printable) && rest.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn text(value: &[u8]) -> Result<&str, Reason> {
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(Reason::HeaderValueInvalid);
    }
    core::str::from_utf8(value).map_err(|_| Reason::HeaderValueInvalid)
}

const _: () = assert!(kinds::BITS as usize + crate::limits::IDENTITY_HEADERS_MAX <= 64, "each has its bit");

#[cfg(test)]
mod tests;
