//! What a request says of being a second try.
//!
//! INVARIANT: nothing proves a first attempt; whoever says that it is not one is believed, because it is to their loss.

use crate::bundle::ATTEMPT;

/// Whether anything says that it is not the first.
pub(crate) fn is_retry(pairs: &[(&[u8], &[u8])]) -> bool {
    pairs.iter().any(|(name, value)| says_so(name, value).unwrap_or(false))
}

fn says_so(name: &[u8], value: &[u8]) -> Option<bool> {
    let is = |known: &str| name == known.as_bytes();
    // Most headers are none of these, and are not looked into.
    if is(ATTEMPT) {
        return Some(number(value)? > 1);
    }
    if is("grpc-previous-rpc-attempts") || is("x-stainless-retry-count") {
        return Some(number(value)? > 0);
    }
    if is("amz-sdk-request") {
        return Some(part(value, b';', b"attempt=")? > 1);
    }
    if is("x-goog-api-client") {
        return Some(part(value, b' ', b"gccl-attempt-count/")? > 1);
    }
    None
}

fn part(value: &[u8], between: u8, name: &[u8]) -> Option<u32> {
    value.split(|byte| *byte == between).find_map(|part| number(part.trim_ascii().strip_prefix(name)?))
}

fn number(value: &[u8]) -> Option<u32> {
    let is_plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::is_retry;

    #[test]
    fn second_tries_are_known_by_what_their_senders_say() {
        for (name, value, expected) in [
            ("x-envoy-attempt-count", "1", false),
            ("x-envoy-attempt-count", "2", true),
            ("x-envoy-attempt-count", "-2", false),
            ("x-envoy-attempt-count", "99999999999", false),
            ("grpc-previous-rpc-attempts", "0", false),
            ("grpc-previous-rpc-attempts", "1", true),
            ("x-stainless-retry-count", "0", false),
            ("x-stainless-retry-count", "3", true),
            ("amz-sdk-request", "attempt=1; max=3", false),
            ("amz-sdk-request", "ttl=20260101T000000Z; attempt=2; max=3", true),
            ("amz-sdk-request", "attempt=", false),
            ("x-goog-api-client", "gl-rust/1 gccl-invocation-id/u gccl-attempt-count/1", false),
            ("x-goog-api-client", "gl-rust/1 gccl-attempt-count/2", true),
            ("x-other", "2", false),
        ] {
            let pairs = [(&b":method"[..], &b"GET"[..]), (name.as_bytes(), value.as_bytes())];
            assert_eq!(is_retry(&pairs), expected, "{name}: {value}");
        }
    }
}
