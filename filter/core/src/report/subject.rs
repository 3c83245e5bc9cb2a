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
        let [method, host, target, attempt] = find(pairs)?;
        Some(Subject::new(method, host, target, attempt))
    }
}

/// The same for a request that went on, whose headers will be out of reach if it is refused later: one allocation, and
/// nothing is made of it until then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(Box<[u8]>);

/// Stands between the parts. A head that was judged good has none in them; in another one only itself is misread.
const BETWEEN: u8 = 0;

impl Kept {
    pub fn of_headers(pairs: &[u8]) -> Kept {
        let Some([method, host, target, attempt]) = find(pairs) else { return Kept::default() };
        let parts = [method, host, without_query(target), attempt];
        let cut = parts.map(|part| part.get(..REPORT_TEXT_BYTES_MAX).unwrap_or(part));
        Kept(cut.join(&BETWEEN).into())
    }

    pub fn subject(&self) -> Subject {
        let mut parts = self.0.split(|byte| *byte == BETWEEN);
        let [method, host, path, attempt] = [(); 4].map(|()| parts.next().unwrap_or_default());
        Subject::new(method, host, path, attempt)
    }
}

/// Method, host, target and attempt.
fn find(pairs: &[u8]) -> Option<[&[u8]; 4]> {
    let map = HeaderMap::parse(pairs).ok()?;
    let mut found = [None; 4];
    for (name, value) in map.iter() {
        let [method, host, target, attempt] = &mut found;
        let place = match name {
            b":method" => method,
            b":authority" => host,
            b":path" => target,
            _ if name == ATTEMPT_HEADER.as_bytes() => attempt,
            _ => continue,
        };
        place.get_or_insert(value);
    }
    Some(found.map(Option::unwrap_or_default))
}

/// Text for people: at most so many bytes, in which nothing moves a cursor.
pub fn shown(bytes: &[u8], bytes_max: usize) -> String {
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
