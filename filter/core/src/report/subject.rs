//! What a refused request was, as far as anybody could read it.
//!
//! INVARIANT: nothing here is believed; it is text by callers, bounded, without control characters, and without the query,
//! which may carry secrets.

use crate::headers::HeaderMap;
use crate::limits::{REPORT_METHOD_BYTES_MAX, REPORT_TEXT_BYTES_MAX};

/// The header by which proxies count their tries.
pub const ATTEMPT_HEADER: &str = "x-envoy-attempt-count";

/// A request, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub method: String,
    pub host: String,
    pub path: String,
    /// Which try of its caller this is; 1 proves nothing.
    pub attempt: Option<u32>,
}

impl Subject {
    pub fn new(method: &[u8], host: &[u8], target: &[u8], attempt: &[u8]) -> Subject {
        Subject {
            method: shown(method, REPORT_METHOD_BYTES_MAX),
            host: shown(host, REPORT_TEXT_BYTES_MAX),
            path: shown(without_query(target), REPORT_TEXT_BYTES_MAX),
            attempt: parse_attempt(attempt),
        }
    }

    /// From the header map in the host's own layout; the first of each name counts.
    pub fn of_headers(pairs: &[u8]) -> Option<Subject> {
        let map = HeaderMap::parse(pairs).ok()?;
        let (mut method, mut host, mut target, mut attempt) = (None, None, None, None);
        for (name, value) in map.iter() {
            let place = match name {
                b":method" => &mut method,
                b":authority" => &mut host,
                b":path" => &mut target,
                _ if name == ATTEMPT_HEADER.as_bytes() => &mut attempt,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        let [method, host, target, attempt] = [method, host, target, attempt].map(Option::unwrap_or_default);
        Some(Subject::new(method, host, target, attempt))
    }
}

/// Text for people: at most so many bytes, in which nothing moves a cursor.
pub(super) fn shown(bytes: &[u8], bytes_max: usize) -> String {
    let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
    let mut out = String::with_capacity(bytes.len());
    for char in String::from_utf8_lossy(bytes).chars() {
        let char = if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        // What replaces a byte may be longer than it was.
        if out.len().saturating_add(char.len_utf8()) > bytes_max {
            break;
        }
        out.push(char);
    }
    out
}

/// A query is cut off before the rest is shortened: no part of it may be taken for the path.
fn without_query(target: &[u8]) -> &[u8] {
    target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
}

fn parse_attempt(value: &[u8]) -> Option<u32> {
    if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(value).ok()?.parse().ok().filter(|attempt| *attempt > 0)
}
