//! The items of a batch that are about many requests: drift, what was judged, sheds and load.
//!
//! INVARIANT: a count that says of nothing that it happened is refused, so that each row means something.

use super::{
    NO_OPERATION, TAG_DRIFTED, TAG_JUDGED, TAG_LOAD, TAG_SHED, read_call_id, read_flag, read_operation,
    read_reason, read_shown,
};
use crate::limits::{
    JUDGED_COUNTS_MAX, LOAD_COUNTS_MAX, LOAD_LEVELS_MAX, PLACE_BYTES_MAX, REASON_BYTES_MAX,
    REPORT_TEXT_BYTES_MAX,
};
use crate::report::{Drift, Judged, JudgedCount, Load, LoadCount, LoadLevel, Sheds, Side};
use crate::routes::OperationIndex;
use crate::wire::{Reader, WireError, Writer};

pub(super) fn write_drift(out: &mut Writer, drift: &Drift) -> Result<(), WireError> {
    let Drift { operation, side, reason, place, status, peer, count, first_at_ms, last_at_ms, call_id } =
        drift;
    out.u8(TAG_DRIFTED);
    out.u32(operation.map_or(NO_OPERATION, |operation| operation.0));
    out.u8(*side as u8);
    out.text(reason, REASON_BYTES_MAX)?;
    out.text(place, PLACE_BYTES_MAX)?;
    out.u16(status.unwrap_or(0));
    out.text(peer, REPORT_TEXT_BYTES_MAX)?;
    for number in [count, first_at_ms, last_at_ms] {
        out.u64(*number);
    }
    out.bytes(call_id.as_bytes());
    Ok(())
}

pub(super) fn read_drift(input: &mut Reader<'_>) -> Result<Drift, WireError> {
    Ok(Drift {
        operation: read_operation(input)?,
        side: read_side(input)?,
        reason: read_reason(input)?,
        place: read_shown(input, PLACE_BYTES_MAX)?,
        status: Some(input.u16()?).filter(|status| *status != 0),
        peer: read_shown(input, REPORT_TEXT_BYTES_MAX)?,
        count: read_count(input)?,
        first_at_ms: input.u64()?,
        last_at_ms: input.u64()?,
        call_id: read_call_id(input)?,
    })
}

pub(super) fn write_judged(out: &mut Writer, judged: &Judged) -> Result<(), WireError> {
    out.u8(TAG_JUDGED);
    out.u64(judged.at_ms);
    out.count(judged.counts.len(), JUDGED_COUNTS_MAX)?;
    for JudgedCount { operation, side, count } in &judged.counts {
        out.u32(operation.map_or(NO_OPERATION, |operation| operation.0));
        out.u8(*side as u8);
        out.u64(*count);
    }
    Ok(())
}

pub(super) fn read_judged(input: &mut Reader<'_>) -> Result<Judged, WireError> {
    let mut judged = Judged { at_ms: input.u64()?, counts: Vec::new() };
    for _ in 0..input.count(JUDGED_COUNTS_MAX)? {
        judged.counts.push(JudgedCount {
            operation: read_operation(input)?,
            side: read_side(input)?,
            count: read_count(input)?,
        });
    }
    Ok(judged)
}

pub(super) fn write_sheds(out: &mut Writer, sheds: &Sheds) -> Result<(), WireError> {
    let Sheds { operation, reason, retry, shadow, limit, peer, count, first_at_ms, last_at_ms, call_id } =
        sheds;
    out.u8(TAG_SHED);
    out.u32(operation.map_or(NO_OPERATION, |operation| operation.0));
    out.text(reason, REASON_BYTES_MAX)?;
    out.u8(u8::from(*retry));
    out.u8(u8::from(*shadow));
    out.text(limit, REPORT_TEXT_BYTES_MAX)?;
    out.text(peer, REPORT_TEXT_BYTES_MAX)?;
    for number in [count, first_at_ms, last_at_ms] {
        out.u64(*number);
    }
    out.bytes(call_id.as_bytes());
    Ok(())
}

pub(super) fn read_sheds(input: &mut Reader<'_>) -> Result<Sheds, WireError> {
    Ok(Sheds {
        operation: read_operation(input)?,
        reason: read_reason(input)?,
        retry: read_flag(input)?,
        shadow: read_flag(input)?,
        limit: read_shown(input, REPORT_TEXT_BYTES_MAX)?,
        peer: read_shown(input, REPORT_TEXT_BYTES_MAX)?,
        count: read_count(input)?,
        first_at_ms: input.u64()?,
        last_at_ms: input.u64()?,
        call_id: read_call_id(input)?,
    })
}

pub(super) fn write_load(out: &mut Writer, load: &Load) -> Result<(), WireError> {
    out.u8(TAG_LOAD);
    out.u64(load.at_ms);
    out.count(load.counts.len(), LOAD_COUNTS_MAX)?;
    for LoadCount { operation, admitted, retries, failed } in &load.counts {
        out.u32(operation.map_or(NO_OPERATION, |operation| operation.0));
        for number in [admitted, retries, failed] {
            out.u64(*number);
        }
    }
    out.count(load.levels.len(), LOAD_LEVELS_MAX)?;
    for LoadLevel { operation, limit, load, retry_tokens } in &load.levels {
        for number in [&operation.0, limit, load, retry_tokens] {
            out.u32(*number);
        }
    }
    Ok(())
}

pub(super) fn read_load(input: &mut Reader<'_>) -> Result<Load, WireError> {
    let mut load = Load { at_ms: input.u64()?, counts: Vec::new(), levels: Vec::new() };
    for _ in 0..input.count(LOAD_COUNTS_MAX)? {
        let at = input.at();
        let operation = read_operation(input)?;
        let (admitted, retries, failed) = (input.u64()?, input.u64()?, input.u64()?);
        if retries > admitted || (admitted == 0 && failed == 0) {
            return Err(WireError::Unknown { at, what: "count of load", found: retries });
        }
        load.counts.push(LoadCount { operation, admitted, retries, failed });
    }
    for _ in 0..input.count(LOAD_LEVELS_MAX)? {
        load.levels.push(LoadLevel {
            operation: OperationIndex(input.u32()?),
            limit: input.u32()?,
            load: input.u32()?,
            retry_tokens: input.u32()?,
        });
    }
    Ok(load)
}

fn read_side(input: &mut Reader<'_>) -> Result<Side, WireError> {
    let at = input.at();
    match input.u8()? {
        1 => Ok(Side::Request),
        2 => Ok(Side::Response),
        found => Err(WireError::Unknown { at, what: "side", found: found.into() }),
    }
}

/// How often something was: at least once.
fn read_count(input: &mut Reader<'_>) -> Result<u64, WireError> {
    let at = input.at();
    match input.u64()? {
        0 => Err(WireError::Unknown { at, what: "count", found: 0 }),
        count => Ok(count),
    }
}
