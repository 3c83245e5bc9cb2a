//! Every limit and time that is generated, each with its reason.
//!
//! INVARIANT: how they relate is asserted here, so that changing one alone does not compile.

use palisade_core::limits::{BODY_BYTES_MAX, HEADERS_MAX, PATH_BYTES_MAX};

/// How long Envoy waits for a decision. The server gives up well before and says why; this is for a server that hangs.
pub(crate) const CHECK_TIMEOUT_MS: u64 = 2_000;

/// A connection to a peer in the same cluster takes a millisecond; a second of it is an outage.
pub(super) const CONNECT_TIMEOUT_MS: u64 = 1_000;

/// The whole answer of a service, streams apart.
pub(super) const RESPONSE_TIMEOUT_S: u64 = 30;

/// The whole request, streams apart: a caller that sends a byte a minute would hold its buffer for ever.
pub(super) const REQUEST_TIMEOUT_S: u64 = 60;

/// How long any call may take, streams apart.
pub(crate) const CALL_LASTS_MAX: std::time::Duration =
    std::time::Duration::from_secs(REQUEST_TIMEOUT_S + RESPONSE_TIMEOUT_S);

/// The head of a request: slow heads are how a proxy's connections are used up.
pub(super) const REQUEST_HEADERS_TIMEOUT_S: u64 = 10;

/// A stream on which nothing moves.
pub(super) const STREAM_IDLE_TIMEOUT_S: u64 = 300;

/// A caller's connection without a request.
pub(super) const CONNECTION_IDLE_TIMEOUT_S: u64 = 300;

/// Shorter than the shortest common keep-alive of services (5 s in Node): we do not retry, so a connection that the
/// service closes under a request would be an error to the caller.
pub(super) const UPSTREAM_IDLE_TIMEOUT_S: u64 = 4;

/// By which a server that hangs without closing is noticed.
pub(super) const SERVER_KEEPALIVE_INTERVAL_S: u64 = 10;
pub(super) const SERVER_KEEPALIVE_TIMEOUT_S: u64 = 5;

/// The tail that people watch and the outcomes in the ledger should not lag; a few messages a second cost nothing.
pub(super) const ACCESS_LOG_FLUSH_MS: u64 = 200;
pub(super) const ACCESS_LOG_BUFFER_BYTES: u64 = 16 * 1024;

/// Below the core's own limit, so that Envoy answers first and cheaply.
pub(super) const HEADERS_COUNT_MAX: usize = 100;

/// All headers together, in KiB: Envoy's default, stated because the path's limit depends on it.
pub(super) const HEADERS_KB_MAX: usize = 60;

/// Requests at once on one HTTP/2 connection; together with the windows it bounds what one caller can have buffered.
pub(super) const CONCURRENT_STREAMS_MAX: u64 = 100;

/// Callers' connections at once, so that a flood ends at the door and not in the memory.
pub(super) const CONNECTIONS_MAX: u64 = 10_000;

/// For each peer: enough that only a peer that hangs meets them.
pub(super) const UPSTREAM_CONNECTIONS_MAX: u64 = 1_024;
pub(super) const UPSTREAM_REQUESTS_MAX: u64 = 4_096;

/// A connection's buffer where contracts ask for little: responses flow through it, too.
const BUFFER_BYTES_MIN: u32 = 256 * 1024;

/// What a buffer holds beyond the largest body, so that a body that is a little too large still gets our refusal with
/// its reason, and not Envoy's.
const BUFFER_SLACK_BYTES: u32 = 64 * 1024;

/// What Envoy may hold of one request before it refuses it itself, without a reason. What it reads from a connection at
/// once can be more than the connection's buffer; the filter counts, and refuses, as soon as it is asked.
pub(super) const REQUEST_BUFFER_BYTES: u32 = 4 * 1024 * 1024;

/// The buffer that a body needs which is held until it was judged.
pub(super) fn buffer_bytes(body_bytes_max: u32) -> u32 {
    body_bytes_max.saturating_add(BUFFER_SLACK_BYTES).max(BUFFER_BYTES_MIN)
}

/// All streams of one connection together: several bodies at once, not a hundred.
pub(super) fn connection_window_bytes(buffer_bytes: u32) -> u32 {
    buffer_bytes.saturating_mul(4)
}

const _: () = assert!(HEADERS_COUNT_MAX <= HEADERS_MAX, "the filter must be able to read what Envoy lets in");
const _: () = assert!(PATH_BYTES_MAX < HEADERS_KB_MAX * 1024, "the filter, not Envoy, refuses a long path");
const _: () =
    assert!((BODY_BYTES_MAX + BUFFER_SLACK_BYTES) as u64 * 4 < 1 << 31, "windows of HTTP/2 have 31 bits");
const _: () = assert!(
    BODY_BYTES_MAX.saturating_add(BUFFER_SLACK_BYTES) < REQUEST_BUFFER_BYTES,
    "the filter, not Envoy, refuses a large body"
);
const _: () = assert!(BUFFER_BYTES_MIN > 65_535, "HTTP/2 allows no smaller window");
