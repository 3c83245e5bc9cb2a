//! A batch as it travels: version 3, and versions 1 and 2 as filters before wrote them.
//!
//! Big-endian. version u8, VM 16 bytes, bundle digest 32 bytes, server that acknowledged what came before 16 bytes (zero:
//! none), sent at u64 (ms), first number u64, count of items u32, the items, and a MAC of 32 bytes over all of it: keyed
//! BLAKE3 with a key that is derived from the handoff secret for this purpose alone.
//! A refusal: tag 1, call id 16 bytes, at u64 (ms), verdict u8, reason, operation u32 (all ones: none), attempt u32 (0:
//! none), method, host, path, peer, from version 2 on the place, and from version 3 on whether it is a retry u8; texts
//! stand behind their length u16. A loss: tag 2, count u32 of reasons, and for each the reason and how many u64.
//! From version 2 on. Drift: tag 3, operation u32 (all ones: several), side u8, reason, place, status u16 (0: none), peer,
//! how often u64, first and last time u64 (ms), call id of the first 16 bytes. What was judged: tag 4, at u64 (ms), count
//! u32, and for each operation u32 (all ones: several), side u8 and how many u64.
//! From version 3 on. Sheds: tag 5, operation u32 (all ones: several), reason, retry u8, shadow u8, limit, peer, how often
//! u64, first and last time u64 (ms), call id of the first 16 bytes. Load: tag 6, at u64 (ms), count u32, and for each
//! operation u32 (all ones: several), admitted, retries and failed u64; count u32 of levels, and for each operation u32,
//! limit, load and retry tokens u32. `counted` is about these four.
//! INVARIANT: bytes without a valid MAC are not interpreted beyond their version, and a batch that was decoded can be
//! numbered without overflow.

mod counted;

use super::{Item, Report, ServerId, Subject, Verdict, VmId};
use crate::call_id::CallId;
use crate::contract::BundleDigest;
use crate::handoff::{Secret, SecretSlot};
use crate::limits::{
    BATCH_AGE_MS_MAX, BATCH_BYTES_MAX, BATCH_ITEMS_MAX, LOSS_REASONS_MAX, PLACE_BYTES_MAX, REASON_BYTES_MAX,
    REPORT_METHOD_BYTES_MAX, REPORT_TEXT_BYTES_MAX,
};
use crate::routes::OperationIndex;
use crate::wire::{Reader, WireError, Writer};
use std::borrow::Cow;

const VERSION: u8 = 3;
/// Has no places, and no drift.
const VERSION_1: u8 = 1;
/// Has no sheds in counts, and no load.
const VERSION_2: u8 = 2;
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 16 + 32 + 16 + 8 + 8 + 4;

/// What every batch takes beside its items.
pub(super) const FRAME_BYTES: usize = HEAD_BYTES + MAC_BYTES;

const TAG_REFUSED: u8 = 1;
const TAG_LOST: u8 = 2;
const TAG_DRIFTED: u8 = 3;
const TAG_JUDGED: u8 = 4;
const TAG_SHED: u8 = 5;
const TAG_LOAD: u8 = 6;

const NO_OPERATION: u32 = u32::MAX;

/// The key for MACs of batches is made of this and of the secret, so that no handoff is ever a batch.
const KEY_CONTEXT: &str = "palisade 2026-11 reports of filters, version 1";

/// What one VM tells in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub vm: VmId,
    /// The bundle that all items were judged by.
    pub bundle: BundleDigest,
    /// Who acknowledged the number before `first`. Behind several servers it may be another one than is told this.
    pub acknowledged_by: ServerId,
    /// By the clock of the filter.
    pub sent_at_ms: u64,
    /// The number of the first item; the others follow without a hole.
    pub first: u64,
    pub items: Vec<Item>,
}

/// Why a batch is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError {
    UnknownVersion {
        found: u8,
    },
    /// The proof fits none of the secrets.
    Forged,
    /// Sent too long ago, or in the future.
    Stale {
        sent_at_ms: u64,
    },
    Malformed(WireError),
}

impl core::fmt::Display for BatchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BatchError::UnknownVersion { found } => write!(
                f,
                "unknown version `{found}` of reports: this server reads versions {VERSION_1} to {VERSION}; roll out the server before the filter"
            ),
            BatchError::Forged => {
                f.write_str("the proof fits no secret: give filter and server the same one")
            }
            BatchError::Stale { sent_at_ms } => write!(
                f,
                "the reports were sent at {sent_at_ms} ms, too far from this server's clock: compare the clocks"
            ),
            BatchError::Malformed(error) => write!(f, "the reports are not what a filter writes: {error}"),
        }
    }
}

impl std::error::Error for BatchError {}

impl From<WireError> for BatchError {
    fn from(error: WireError) -> BatchError {
        BatchError::Malformed(error)
    }
}

impl Batch {
    /// The number after the last one.
    pub fn end(&self) -> u64 {
        self.items.iter().fold(self.first, |at, item| at.saturating_add(item.numbers()))
    }

    pub fn encode(&self, secret: &Secret) -> Result<Vec<u8>, WireError> {
        let mut out = Writer::default();
        self.write_head(&mut out, self.items.len())?;
        for item in &self.items {
            write_item(&mut out, item)?;
        }
        Ok(prove(secret, out))
    }

    pub(super) fn write_head(&self, out: &mut Writer, items: usize) -> Result<(), WireError> {
        out.u8(VERSION);
        out.bytes(&self.vm.0);
        out.bytes(&self.bundle.0);
        out.bytes(&self.acknowledged_by.0);
        out.u64(self.sent_at_ms);
        out.u64(self.first);
        out.count(items, BATCH_ITEMS_MAX)
    }

    /// Believes a batch only with its proof, its version and its time.
    pub fn verify<'s>(
        bytes: &[u8],
        secrets: impl IntoIterator<Item = (SecretSlot, &'s Secret)>,
        now_ms: u64,
    ) -> Result<(Batch, SecretSlot), BatchError> {
        if bytes.len() > BATCH_BYTES_MAX {
            let (found, max) = (bytes.len(), BATCH_BYTES_MAX);
            return Err(WireError::TooLarge { at: 0, found, max }.into());
        }
        match bytes.first() {
            Some(&(VERSION_1..=VERSION)) => {}
            Some(&found) => return Err(BatchError::UnknownVersion { found }),
            None => return Err(WireError::Short { at: 0 }.into()),
        }
        let (signed, mac) =
            bytes.split_last_chunk::<MAC_BYTES>().ok_or(WireError::Short { at: bytes.len() })?;
        // The comparison of two hashes takes the same time wherever they differ.
        let claimed = blake3::Hash::from_bytes(*mac);
        let slot = secrets
            .into_iter()
            .find(|(_, secret)| proof(secret, signed) == claimed)
            .map(|(slot, _)| slot)
            .ok_or(BatchError::Forged)?;
        let batch = Batch::read(signed)?;
        if batch.sent_at_ms.abs_diff(now_ms) > BATCH_AGE_MS_MAX {
            return Err(BatchError::Stale { sent_at_ms: batch.sent_at_ms });
        }
        Ok((batch, slot))
    }

    fn read(signed: &[u8]) -> Result<Batch, WireError> {
        let mut input = Reader::new(signed);
        let version = input.u8()?;
        let mut batch = Batch {
            vm: VmId(input.array()?),
            bundle: BundleDigest(input.array()?),
            acknowledged_by: ServerId(input.array()?),
            sent_at_ms: input.u64()?,
            first: input.u64()?,
            items: Vec::new(),
        };
        let mut next = batch.first;
        for _ in 0..input.count(BATCH_ITEMS_MAX)? {
            let at = input.at();
            let item = match input.u8()? {
                TAG_REFUSED => Item::Refused(read_report(&mut input, version)?),
                TAG_LOST => Item::Lost(read_loss(&mut input)?),
                TAG_DRIFTED if version >= VERSION_2 => Item::Drifted(counted::read_drift(&mut input)?),
                TAG_JUDGED if version >= VERSION_2 => Item::Judged(counted::read_judged(&mut input)?),
                TAG_SHED if version >= VERSION => Item::Shed(counted::read_sheds(&mut input)?),
                TAG_LOAD if version >= VERSION => Item::Load(counted::read_load(&mut input)?),
                found => return Err(WireError::Unknown { at, what: "item", found: found.into() }),
            };
            let numbers = item.numbers();
            next = next.checked_add(numbers).ok_or(WireError::Unknown {
                at,
                what: "run of numbers",
                found: numbers,
            })?;
            batch.items.push(item);
        }
        input.end()?;
        Ok(batch)
    }
}

/// Adds the proof.
pub(super) fn prove(secret: &Secret, out: Writer) -> Vec<u8> {
    let mut bytes = out.finish();
    let proof = proof(secret, &bytes);
    bytes.extend_from_slice(proof.as_bytes());
    bytes
}

fn proof(secret: &Secret, signed: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(&secret.derive(KEY_CONTEXT), signed)
}

pub(super) fn write_item(out: &mut Writer, item: &Item) -> Result<(), WireError> {
    match item {
        Item::Refused(report) => write_report(out, report),
        Item::Lost(reasons) => write_loss(out, reasons.iter().map(|(code, count)| (code.as_ref(), *count))),
        Item::Drifted(drift) => counted::write_drift(out, drift),
        Item::Judged(judged) => counted::write_judged(out, judged),
        Item::Shed(sheds) => counted::write_sheds(out, sheds),
        Item::Load(load) => counted::write_load(out, load),
    }
}

pub(super) fn write_report(out: &mut Writer, report: &Report) -> Result<(), WireError> {
    let Report { call_id, at_ms, verdict, reason, operation, subject, peer, place, retry } = report;
    out.u8(TAG_REFUSED);
    out.bytes(call_id.as_bytes());
    out.u64(*at_ms);
    out.u8(*verdict as u8);
    out.text(reason, REASON_BYTES_MAX)?;
    out.u32(operation.map_or(NO_OPERATION, |operation| operation.0));
    out.u32(subject.attempt.unwrap_or(0));
    out.text(&subject.method, REPORT_METHOD_BYTES_MAX)?;
    for text in [&subject.host, &subject.path, peer] {
        out.text(text, REPORT_TEXT_BYTES_MAX)?;
    }
    out.text(place, PLACE_BYTES_MAX)?;
    out.u8(u8::from(*retry));
    Ok(())
}

fn read_report(input: &mut Reader<'_>, version: u8) -> Result<Report, WireError> {
    let call_id = read_call_id(input)?;
    let at_ms = input.u64()?;
    let at = input.at();
    let verdict = match input.u8()? {
        1 => Verdict::Reject,
        2 => Verdict::Shed,
        found => return Err(WireError::Unknown { at, what: "verdict", found: found.into() }),
    };
    let reason = read_reason(input)?;
    let operation = read_operation(input)?;
    let attempt = Some(input.u32()?).filter(|attempt| *attempt != 0);
    let method = read_shown(input, REPORT_METHOD_BYTES_MAX)?;
    let host = read_shown(input, REPORT_TEXT_BYTES_MAX)?;
    let path = read_shown(input, REPORT_TEXT_BYTES_MAX)?;
    let peer = read_shown(input, REPORT_TEXT_BYTES_MAX)?;
    let place = match version {
        VERSION_1 => String::new(),
        _ => read_shown(input, PLACE_BYTES_MAX)?,
    };
    let retry = version >= VERSION && read_flag(input)?;
    let subject = Subject { method, host, path, attempt };
    Ok(Report { call_id, at_ms, verdict, reason, operation, subject, peer, place, retry })
}

fn read_operation(input: &mut Reader<'_>) -> Result<Option<OperationIndex>, WireError> {
    Ok(Some(input.u32()?).filter(|operation| *operation != NO_OPERATION).map(OperationIndex))
}

fn read_flag(input: &mut Reader<'_>) -> Result<bool, WireError> {
    let at = input.at();
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(WireError::Unknown { at, what: "flag", found: found.into() }),
    }
}

fn read_call_id(input: &mut Reader<'_>) -> Result<CallId, WireError> {
    let at = input.at();
    CallId::from_bytes(input.array()?).ok_or(WireError::Unknown { at, what: "kind of call id", found: 0 })
}

pub(super) fn write_loss<'r>(
    out: &mut Writer,
    reasons: impl ExactSizeIterator<Item = (&'r str, u64)>,
) -> Result<(), WireError> {
    out.u8(TAG_LOST);
    out.count(reasons.len(), LOSS_REASONS_MAX)?;
    for (code, count) in reasons {
        out.text(code, REASON_BYTES_MAX)?;
        out.u64(count);
    }
    Ok(())
}

fn read_loss(input: &mut Reader<'_>) -> Result<Vec<(Cow<'static, str>, u64)>, WireError> {
    let at = input.at();
    let mut reasons = Vec::new();
    for _ in 0..input.count(LOSS_REASONS_MAX)? {
        reasons.push((read_reason(input)?, input.u64()?));
    }
    let total = reasons.iter().try_fold(0_u64, |total, (_, count)| total.checked_add(*count));
    // A loss of nothing has no number, and one that cannot be added up has none either.
    match total {
        Some(total) if total > 0 => Ok(reasons),
        _ => Err(WireError::Unknown { at, what: "loss of so many", found: total.unwrap_or(u64::MAX) }),
    }
}

/// A code as codes are spelled; it need not be one that we know.
fn read_reason(input: &mut Reader<'_>) -> Result<Cow<'static, str>, WireError> {
    let at = input.at();
    let code = input.text(REASON_BYTES_MAX)?;
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if code.is_empty() || !code.bytes().all(spelled) {
        return Err(WireError::Unknown { at, what: "spelling of a reason", found: 0 });
    }
    Ok(Cow::Owned(code.to_owned()))
}

fn read_shown(input: &mut Reader<'_>, bytes_max: usize) -> Result<String, WireError> {
    let at = input.at();
    let text = input.text(bytes_max)?;
    match text.chars().find(|char| char.is_control()) {
        None => Ok(text.to_owned()),
        Some(found) => {
            Err(WireError::Unknown { at, what: "control character", found: u32::from(found).into() })
        }
    }
}

/// One field of bytes with number 1, as protocol buffers write it.
const BYTES_FIELD: u8 = 0x0a;

/// The message that carries a batch.
pub fn write_message(batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.len().saturating_add(6));
    out.push(BYTES_FIELD);
    let mut length = batch.len();
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(low & 0x7f);
            break;
        }
        out.push(low | 0x80);
    }
    out.extend_from_slice(batch);
    out
}

/// The bytes of a message with that one field, and nothing else.
pub fn read_message(message: &[u8]) -> Option<&[u8]> {
    let (BYTES_FIELD, mut rest) = message.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
    let mut length = 0_usize;
    for shift in [0_u32, 7, 14, 21] {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return (rest.len() == length).then_some(rest);
        }
    }
    None
}

/// The server's answer to a batch that it stored.
pub fn write_reply(server: ServerId) -> Vec<u8> {
    write_message(&server.0)
}

/// Who acknowledges. An answer that does not say it is none of our server's.
pub fn read_reply(message: &[u8]) -> Option<ServerId> {
    read_message(message)?.try_into().ok().map(ServerId)
}
