//! What stands of a service's load.

use super::{read_bool, read_known, read_texts, write_texts};
use crate::contract::{RateKey, RateLimit, ShedMode, ShedScope, Shedding};
use crate::limits::{NAME_BYTES_MAX, OPERATIONS_MAX, RATE_KEYS_MAX, RATE_LIMITS_MAX};
use crate::wire::{Reader, WireError, Writer};

pub(super) fn write_shedding(out: &mut Writer, shedding: &Shedding) -> Result<(), WireError> {
    out.u8(shedding.mode as u8);
    out.u8(shedding.scope as u8);
    // Zero is a maximum like any other, so that whether there is one is said beside it.
    out.u8(u8::from(shedding.concurrency_max.is_some()));
    out.u32(shedding.concurrency_max.unwrap_or(0));
    out.count(shedding.limits.len(), RATE_LIMITS_MAX)?;
    shedding.limits.iter().try_for_each(|limit| write_limit(out, limit))
}

pub(super) fn read_shedding(input: &mut Reader<'_>) -> Result<Shedding, WireError> {
    let mode = read_mode(input)?;
    let scope = read_known(input, "scope of shedding", |code| {
        ShedScope::ALL.into_iter().find(|known| *known as u8 == code)
    })?;
    let has_maximum = read_known(input, "presence of a maximum", read_bool)?;
    let at = input.at();
    let concurrency_max = match (has_maximum, input.u32()?) {
        (true, maximum) => Some(maximum),
        (false, 0) => None,
        (false, found) => {
            return Err(WireError::Unknown { at, what: "absent maximum", found: u64::from(found) });
        }
    };
    let count = input.count(RATE_LIMITS_MAX)?;
    let limits = (0..count).map(|_| read_limit(input)).collect::<Result<_, _>>()?;
    Ok(Shedding { mode, scope, concurrency_max, limits })
}

fn write_limit(out: &mut Writer, limit: &RateLimit) -> Result<(), WireError> {
    out.text(&limit.name, NAME_BYTES_MAX)?;
    out.u32(limit.requests);
    out.u32(limit.per_ms);
    out.u32(limit.burst);
    out.u8(limit.mode as u8);
    out.count(limit.by.len(), RATE_KEYS_MAX)?;
    for key in &limit.by {
        match key {
            RateKey::Caller => out.u8(CALLER),
            RateKey::Operation => out.u8(OPERATION),
            RateKey::Header(name) => {
                out.u8(HEADER);
                out.text(name, NAME_BYTES_MAX)?;
            }
        }
    }
    write_texts(out, &limit.operations, OPERATIONS_MAX)
}

fn read_limit(input: &mut Reader<'_>) -> Result<RateLimit, WireError> {
    let name = input.text(NAME_BYTES_MAX)?.into();
    let requests = input.u32()?;
    let per_ms = input.u32()?;
    let burst = input.u32()?;
    let mode = read_mode(input)?;
    let count = input.count(RATE_KEYS_MAX)?;
    let by = (0..count).map(|_| read_key(input)).collect::<Result<_, _>>()?;
    let operations = read_texts(input, OPERATIONS_MAX)?.into();
    Ok(RateLimit { name, requests, per_ms, burst, by, operations, mode })
}

const CALLER: u8 = 0;
const OPERATION: u8 = 1;
const HEADER: u8 = 2;

fn read_key(input: &mut Reader<'_>) -> Result<RateKey, WireError> {
    match read_known(input, "key of a limit", |code| (code <= HEADER).then_some(code))? {
        CALLER => Ok(RateKey::Caller),
        OPERATION => Ok(RateKey::Operation),
        _ => input.text(NAME_BYTES_MAX).map(|name| RateKey::Header(name.into())),
    }
}

fn read_mode(input: &mut Reader<'_>) -> Result<ShedMode, WireError> {
    read_known(input, "mode of a rule on load", |code| {
        ShedMode::ALL.into_iter().find(|known| *known as u8 == code)
    })
}
