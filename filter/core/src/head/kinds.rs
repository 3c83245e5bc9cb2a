//! Headers that have a rule of their own, by name.
//!
//! INVARIANT: a name that proxies of the mesh set themselves (`x-forwarded-for`, `x-forwarded-proto`, `x-forwarded-port`,
//! `x-forwarded-client-cert`, `x-envoy-original-path`, `x-envoy-peer-metadata` and their like) has none: no decision rests
//! on them, and requests come with them in good faith. In what counts tries (`x-envoy-attempt-count` among them) nothing
//! is ever refused.

use crate::attempt::Witness;

/// What is asked of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but what every header must be.
    Plain,
    /// It decides something: a second one is what the next parser may believe. With its bit.
    Single(u32),
    /// The same, and the proxy may have joined two values to one, which shows in the value.
    Credentials(u32),
    /// The same for a point in time.
    Date(u32),
    /// A list by its definition, so that two headers mean what their joined value means.
    EntityTags,
    /// Names what its caller does once, however often it sends it.
    IdempotencyKey(u32),
    /// Says which try of its caller the request is.
    Attempt(Witness),
    /// Says how long the caller waits.
    Timeout,
    Expect,
    EarlyData,
    Connection,
    /// Repeats the host of the request, or contradicts it.
    HostClaim,
    /// The standard's header, in which a host may be claimed among other things.
    Forwarded,
    /// By which frameworks let a caller change method or path, or skip a check, after the proxy has judged them.
    Override,
    /// By which a caller tells the proxy itself how often to send the request, how long to wait, and where it goes.
    ProxyControl,
}

/// How many bits the kinds above use.
pub(super) const BITS: u32 = 5;

/// The kind of a header. The compiler makes a tree of comparisons of it, so that an ordinary name costs a few.
pub(super) fn kind(name: &[u8]) -> Kind {
    match name {
        [b'x', b'-', rest @ ..] => extension(rest),
        b"authorization" => Kind::Credentials(0),
        b"proxy-authorization" => Kind::Credentials(1),
        b"if-unmodified-since" => Kind::Date(2),
        b"idempotency-key" => Kind::IdempotencyKey(3),
        b"transfer-encoding" => Kind::Single(4),
        b"if-match" | b"if-none-match" => Kind::EntityTags,
        b"grpc-timeout" => Kind::Timeout,
        b"grpc-previous-rpc-attempts" => Kind::Attempt(Witness::Grpc),
        b"amz-sdk-request" => Kind::Attempt(Witness::Aws),
        b"expect" => Kind::Expect,
        b"early-data" => Kind::EarlyData,
        b"connection" => Kind::Connection,
        b"forwarded" => Kind::Forwarded,
        b"method-override" | b"http-method-override" => Kind::Override,
        _ => Kind::Plain,
    }
}

/// The kind of a header whose name goes on like this after `x-`.
fn extension(rest: &[u8]) -> Kind {
    match rest {
        [b'e', b'n', b'v', b'o', b'y', b'-', rest @ ..] => envoy(rest),
        b"http-method"
        | b"http-method-override"
        | b"http-verb"
        | b"http-verb-override"
        | b"method"
        | b"method-override"
        | b"override-method"
        | b"original-method"
        | b"forwarded-method"
        | b"original-path"
        | b"original-uri"
        | b"original-url"
        | b"override-url"
        | b"rewrite-uri"
        | b"rewrite-url"
        | b"forwarded-path"
        | b"forwarded-prefix"
        | b"forwarded-uri"
        | b"forwarded-url"
        // Skips the checks of a web framework, and lets a file server send another file.
        | b"middleware-subrequest"
        | b"accel-mapping"
        | b"sendfile-type" => Kind::Override,
        b"forwarded-host" | b"host" | b"host-override" | b"http-host-override" | b"original-host" => {
            Kind::HostClaim
        }
        b"goog-api-client" => Kind::Attempt(Witness::Google),
        b"stainless-retry-count" => Kind::Attempt(Witness::Stainless),
        _ => Kind::Plain,
    }
}

/// The kind of a header whose name goes on like this after `x-envoy-`: those that a router or a fault filter obeys. Proxies
/// on the way use them up, so that none is left of a caller that has one.
fn envoy(rest: &[u8]) -> Kind {
    match rest {
        b"max-retries"
        | b"retry-on"
        | b"retry-grpc-on"
        | b"retriable-header-names"
        | b"retriable-status-codes"
        | b"hedge-on-per-try-timeout"
        | b"upstream-alt-stat-name"
        | b"upstream-rq-timeout-ms"
        | b"upstream-rq-per-try-timeout-ms"
        | b"upstream-rq-timeout-alt-response"
        | b"upstream-stream-duration-ms"
        | b"original-dst-host"
        | b"force-trace" => Kind::ProxyControl,
        b"attempt-count" => Kind::Attempt(Witness::Envoy),
        [b'f', b'a', b'u', b'l', b't', b'-', ..] => Kind::ProxyControl,
        _ => Kind::Plain,
    }
}
