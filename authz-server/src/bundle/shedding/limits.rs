//! Rate limits as they are written, each made one of the filter or one of a limiter.

use super::format::{LimitMode, LimitScope, LimitSettings, Rate};
use super::{GlobalLimit, Known};
use crate::bundle::problem::Problem;
use crate::bundle::record::{Placed, Reader};
use palisade_core::contract::{RateKey, RateLimit, ShedMode};
use palisade_core::handoff;
use palisade_core::limits::{RATE_KEYS_MAX, RATE_LIMITS_MAX, RATE_REQUESTS_MAX};

/// What begins the key of a limit that counts by a header.
const HEADER: &str = "header:";

/// Headers that carry a credential whatever the bundle says of identity.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

pub(super) fn read(
    written: &[Placed<LimitSettings>],
    known: Known<'_>,
    reader: &mut Reader<'_>,
) -> (Vec<RateLimit>, Vec<GlobalLimit>) {
    if let Some(beyond) = written.get(RATE_LIMITS_MAX) {
        let message = format!("more than {RATE_LIMITS_MAX} limits stand here");
        reader.wrong(beyond.at, message, "each request is held against each of them: write fewer");
    }
    let (mut limits, mut global) = (Vec::new(), Vec::new());
    for (at, Placed { value: limit, .. }) in written.iter().enumerate().take(RATE_LIMITS_MAX) {
        if !is_new(&limit.name, written.get(..at).unwrap_or_default(), reader) {
            continue;
        }
        let by = keys(limit, known, reader);
        let operations = operations(limit, known, reader);
        let mode = limit.mode.as_ref().map_or(LimitMode::Enforce, |mode| mode.value);
        let scope = limit.scope.as_ref().map_or(LimitScope::Proxy, |scope| scope.value);
        let burst = burst(limit, scope, reader);
        let Placed { value: rate, .. } = limit.rate;
        match scope {
            LimitScope::Proxy => limits.push(RateLimit {
                name: limit.name.value.as_str().into(),
                requests: rate.requests,
                per_ms: rate.per.seconds().saturating_mul(1000),
                burst,
                by: by.into(),
                operations: operations.into_iter().map(Into::into).collect(),
                mode: match mode {
                    LimitMode::Enforce => ShedMode::Enforce,
                    LimitMode::Shadow => ShedMode::Shadow,
                },
            }),
            LimitScope::Global => {
                let place = reader.place(limit.name.at);
                global.push(GlobalLimit {
                    name: limit.name.value.clone(),
                    rate,
                    by,
                    operations,
                    mode,
                    place,
                });
            }
        }
    }
    (limits, global)
}

/// Checks a name. What is told here once is left out of the contract, which would refuse it without a place.
fn is_new(name: &Placed<String>, before: &[Placed<LimitSettings>], reader: &mut Reader<'_>) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = &name.value;
    if text.is_empty() || text.len() > 63 || !text.bytes().all(allowed) {
        let message = format!("`{text}` cannot be the name of a limit");
        reader.wrong(name.at, message, "expected lower-case letters, digits and hyphens, at most 63");
        return false;
    }
    if before.iter().any(|limit| limit.value.name.value == *text) {
        let message = format!("limit `{text}` is written twice");
        reader.wrong(
            name.at,
            message,
            "refusals and metrics tell limits apart by their names: choose another one",
        );
        return false;
    }
    true
}

fn keys(limit: &LimitSettings, known: Known<'_>, reader: &mut Reader<'_>) -> Vec<RateKey> {
    let mut keys = Vec::new();
    for written in &limit.by {
        let text = written.value.as_str();
        let key = match (text, text.strip_prefix(HEADER)) {
            ("caller", _) => RateKey::Caller,
            ("operation", _) => RateKey::Operation,
            (_, Some(name)) if is_countable(name, written, known, reader) => RateKey::Header(name.into()),
            (_, Some(_)) => continue,
            (_, None) => {
                let problem =
                    Problem::new(reader.place(written.at), format!("nothing can be counted by `{text}`"))
                        .suggest(text, ["caller", "operation"]);
                reader.push(
                    problem.help("expected `caller`, `operation`, or a header such as `header:x-tenant`"),
                );
                continue;
            }
        };
        if keys.contains(&key) {
            let message = format!("`{text}` is written twice");
            reader.wrong(
                written.at,
                message,
                "each combination of what stands in `by` has one allowance: write it once",
            );
        } else {
            keys.push(key);
        }
    }
    if let Some(beyond) = limit.by.get(RATE_KEYS_MAX) {
        let message = format!("more than {RATE_KEYS_MAX} keys stand here");
        reader.wrong(
            beyond.at,
            message,
            "requests that are told apart by as much hardly ever share an allowance",
        );
    }
    keys.truncate(RATE_KEYS_MAX);
    keys
}

fn is_countable(name: &str, written: &Placed<String>, known: Known<'_>, reader: &mut Reader<'_>) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(allowed) {
        let message = format!("`{name}` is not the name of a header");
        reader.wrong(written.at, message, "expected it in lower case, such as `header:x-tenant`");
        return false;
    }
    if CREDENTIALS.contains(&name) || known.credentials.iter().any(|header| **header == *name) {
        let message = format!("`{name}` carries a credential, and limits do not count by it");
        let help = "count by `caller`: a limiter would get to see the credential, and whoever makes up one gets a new allowance";
        reader.wrong(written.at, message, help);
        return false;
    }
    if name.starts_with(handoff::HEADER_PREFIX) {
        let message = format!("`{name}` never comes from a caller");
        reader.wrong(
            written.at,
            message,
            "headers that begin like this are Palisade's own, and taken out of requests",
        );
        return false;
    }
    true
}

fn operations(limit: &LimitSettings, known: Known<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let Some(Placed { value: written, at }) = &limit.operations else { return Vec::new() };
    if written.is_empty() {
        reader.wrong(*at, "`operations` is empty", "leave it away for all operations of the service");
    }
    let mut names: Vec<String> = Vec::new();
    for name in written {
        let text = &name.value;
        let mut declared = known.operations.iter().map(|operation| operation.name.as_ref());
        if names.contains(text) {
            reader.wrong(name.at, format!("operation `{text}` is written twice"), "write it once");
        } else if declared.any(|declared| declared == text) {
            names.push(text.clone());
        } else if known.whole {
            let message = format!("operation `{text}` is not in the contract of `{}`", known.service);
            let declared = known.operations.iter().map(|operation| operation.name.as_ref());
            let problem = Problem::new(reader.place(name.at), message).suggest(text, declared);
            reader.push(problem.help("an operation is named by its `operationId`"));
        }
    }
    names.sort();
    names
}

/// What may come at once. A limiter counts in windows, and has no such thing.
fn burst(limit: &LimitSettings, scope: LimitScope, reader: &mut Reader<'_>) -> u32 {
    let Placed { value: rate, .. } = limit.rate;
    let Some(Placed { value: burst, at }) = limit.burst else { return default_burst(rate) };
    match (scope, rate.requests, burst) {
        (LimitScope::Global, ..) => reader.wrong(
            at,
            format!("`burst: {burst}` of a limit that is `global`"),
            "a limiter counts in windows of a second, a minute or an hour, in which all requests may come at once: leave `burst` away",
        ),
        (LimitScope::Proxy, 0, _) => reader.wrong(
            at,
            format!("`burst: {burst}` beside `rate: {rate}`"),
            "a rate of zero lets nothing pass, at no time: leave `burst` away",
        ),
        (LimitScope::Proxy, _, 0) => reader.wrong(
            at,
            "`burst: 0` would let nothing pass",
            "write `rate: 0/s` if that is meant, or `1` for one request at a time",
        ),
        (LimitScope::Proxy, ..) if burst > RATE_REQUESTS_MAX => reader.wrong(
            at,
            format!("`burst: {burst}` is over the limit of {RATE_REQUESTS_MAX}"),
            "no proxy could serve as many: leave the limit away",
        ),
        (LimitScope::Proxy, ..) => return burst,
    }
    // Whatever is wrong was told; the rest is judged by what would be right.
    default_burst(rate)
}

/// The rate of one second. Zero only where the rate is.
const fn default_burst(rate: Rate) -> u32 {
    let second = rate.requests / rate.per.seconds();
    if second == 0 && rate.requests > 0 { 1 } else { second }
}
