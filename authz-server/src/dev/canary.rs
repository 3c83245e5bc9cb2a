//! Three requests through the listener that must be refused, each by another part of the arrangement.
//!
//! Every bundle's contract holds the canary's host. What refuses a request, when, and with which reason, shows
//! which part did the work. The gate shows itself by silence: while the end of a body is held back, nobody may
//! have spoken yet. Silence proves something only once the server is known to answer, and how quickly, so that
//! request comes last.
//!
//! INVARIANT: `Good` means that filter, secret, server and gate were each seen at work.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use palisade_core::canary::{HOST, PATH};
use palisade_core::reason::Reason;

use super::http::{Held, Reply, Request, exchange, exchange_held};

/// No operation of the canary's host, so the filter refuses it.
pub const UNPATH: &str = "/.palisade/unknown";

const EXCHANGE: Duration = Duration::from_secs(2);

/// For how long the end of the body is held back: many times what the server took to answer just before, and
/// never so short that a busy machine could keep the server's word from us in between.
const HOLD_MIN: Duration = Duration::from_millis(250);
const HOLD_MAX: Duration = Duration::from_secs(1);
const HOLD_PER_ANSWER: u32 = 10;

/// A part without which nothing may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The wasm filter in front of ext_authz.
    Filter,
    /// ext_authz with a partial body, which holds the head back until the filter has judged the body.
    Gate,
    /// The secret that filter and server share.
    Secret,
    /// The authorization server.
    Server,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Filter => "filter",
            Part::Gate => "gate",
            Part::Secret => "secret",
            Part::Server => "server",
        }
    }

    /// What follows from its absence, and how to mend it.
    pub fn way_out(self) -> &'static str {
        match self {
            Part::Filter => {
                "requests would reach the services unvalidated: generate the configuration with `palisade build` \
                 and do not take the wasm filter out of `http_filters`, or move it behind ext_authz"
            }
            Part::Gate => {
                "the head of a write would reach the service before its body was judged: ext_authz needs \
                 `with_request_body` with `allow_partial_message: true`, as `palisade build` writes it"
            }
            Part::Secret => {
                "the server cannot tell the filter's word from a forgery: start Envoy with the first line of the \
                 server's `--handoff-secret-file` in the environment variable PALISADE_HANDOFF_SECRET"
            }
            Part::Server => {
                "nothing can be decided: look at the server's log, and whether Envoy reaches its address"
            }
        }
    }
}

/// What the three requests showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canary {
    Good,
    Missing { part: Part, seen: String },
}

impl Canary {
    fn missing(part: Part, request: &Request, reply: &Reply) -> Canary {
        let seen = format!("{} {} was answered by {}", request.method, request.target, reply.summary());
        Canary::Missing { part, seen }
    }

    /// True when there is no use in looking again. The way to the server may still be opening; all else is there
    /// from the start or never. A second look at a missing gate could even hide it, were the server slow just then.
    pub fn is_final(&self) -> bool {
        !matches!(self, Canary::Missing { part: Part::Server, .. })
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Canary::Good => write!(f, "filter, gate, secret and server are all at work"),
            Canary::Missing { part, seen } => {
                write!(f, "not ready: the {} is missing\n  seen: {seen}\n  {}", part.name(), part.way_out())
            }
        }
    }
}

/// The three requests: to a path that no contract knows; in order, which the server denies always; and with a
/// body that is cut off, which shows only at its end.
pub fn requests() -> [Request; 3] {
    [
        Request::get(HOST, "/.palisade/unknown"),
        Request::get(HOST, PATH),
        Request::post_json(HOST, PATH, "{\"canary\":"),
    ]
}

/// Sends the three requests. An error means that the listener does not answer at all.
pub async fn probe(listener: SocketAddr) -> io::Result<Canary> {
    let [unknown, known, malformed] = requests();
    let reply = exchange(listener, &unknown, EXCHANGE).await?;
    if let Err(part) = judge_unknown(&reply) {
        return Ok(Canary::missing(part, &unknown, &reply));
    }
    let asked = Instant::now();
    let reply = exchange(listener, &known, EXCHANGE).await?;
    if let Err(part) = judge_known(&reply) {
        return Ok(Canary::missing(part, &known, &reply));
    }
    let hold = asked.elapsed().saturating_mul(HOLD_PER_ANSWER).clamp(HOLD_MIN, HOLD_MAX);
    match exchange_held(listener, &malformed, hold, EXCHANGE).await? {
        Held::InTime(reply) if reason(&reply) == Some(Reason::JsonSyntax) => Ok(Canary::Good),
        Held::InTime(reply) => Ok(Canary::missing(Part::Gate, &malformed, &reply)),
        Held::Early(reply) => {
            let seen = format!(
                "{} {} was answered by {} before its body had ended",
                malformed.method,
                malformed.target,
                reply.summary()
            );
            Ok(Canary::Missing { part: Part::Gate, seen })
        }
    }
}

/// Reads from Envoy's log why its listener never came up, where that is the doing of a missing part.
pub fn blame(envoy_log: &[String]) -> Option<Canary> {
    let about_secret = |line: &&String| line.contains("PALISADE_HANDOFF_SECRET");
    let seen = envoy_log.iter().find(about_secret)?;
    Some(Canary::Missing { part: Part::Secret, seen: seen.trim().to_owned() })
}

fn reason(reply: &Reply) -> Option<Reason> {
    reply.reason.as_deref().and_then(Reason::from_code)
}

/// Only the filter refuses what the contract does not know before anybody else is asked.
fn judge_unknown(reply: &Reply) -> Result<(), Part> {
    match reason(reply) {
        Some(Reason::OperationUnknown) => Ok(()),
        _ => Err(Part::Filter),
    }
}

/// The server's own refusal proves that it was asked and believed the filter.
fn judge_known(reply: &Reply) -> Result<(), Part> {
    match reason(reply) {
        Some(Reason::Canary) => Ok(()),
        Some(Reason::HandoffMissing) => Err(Part::Filter),
        Some(
            Reason::HandoffForged
            | Reason::HandoffStale
            | Reason::HandoffBundleUnknown
            | Reason::HandoffMismatch,
        ) => Err(Part::Secret),
        // The filter noticed on the way back that nobody had been asked.
        Some(Reason::DecisionMissing) => Err(Part::Gate),
        // The route behind the canary answers 500, so the request went past everything.
        None if reply.status == 500 => Err(Part::Gate),
        _ => Err(Part::Server),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// How an arrangement replies: `<status> <reason>` to each request, to the last one early or in time.
    struct Replies {
        unknown: &'static str,
        known: &'static str,
        early: Option<&'static str>,
        malformed: &'static str,
    }

    const GOOD: Replies = Replies {
        unknown: "404 operation_unknown",
        known: "403 canary",
        early: None,
        malformed: "400 json_syntax",
    };

    fn encode(reply: &str) -> String {
        let (status, reason) = reply.split_once(' ').unwrap_or((reply, ""));
        let body = if reason.is_empty() { String::new() } else { format!("{{\"reason\":\"{reason}\"}}") };
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    async fn check(replies: Replies, expected: Result<(), Part>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let Replies { unknown, known, early, malformed } = replies;
            for (reply, early) in [(unknown, None), (known, None), (malformed, early)] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let ends =
                    |request: &[u8]| request.ends_with(b"\r\n\r\n") || request.ends_with(b"\"canary\":");
                while !ends(&request) {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                    if let Some(early) = early.filter(|_| request.starts_with(b"POST")) {
                        stream.write_all(encode(early).as_bytes()).await.unwrap();
                        return;
                    }
                }
                stream.write_all(encode(reply).as_bytes()).await.unwrap();
            }
        });
        let found = match probe(address).await.unwrap() {
            Canary::Good => Ok(()),
            Canary::Missing { part, .. } => Err(part),
        };
        server.abort();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn all_parts_at_work_are_good() {
        check(GOOD, Ok(())).await;
    }

    #[tokio::test]
    async fn without_the_filter_the_server_is_asked_about_what_no_contract_knows() {
        for unknown in ["403 handoff_missing", "500", "403"] {
            check(Replies { unknown, ..GOOD }, Err(Part::Filter)).await;
        }
    }

    #[tokio::test]
    async fn without_the_filter_a_server_that_knows_the_contract_does_not_pass_for_it() {
        check(Replies { known: "403 handoff_missing", ..GOOD }, Err(Part::Filter)).await;
    }

    #[tokio::test]
    async fn without_the_gate_the_server_speaks_before_the_body_has_ended() {
        for early in ["403 canary", "500 decision_missing", "500", "403", "400 json_syntax"] {
            check(Replies { early: Some(early), ..GOOD }, Err(Part::Gate)).await;
        }
        check(Replies { malformed: "403 canary", ..GOOD }, Err(Part::Gate)).await;
    }

    #[tokio::test]
    async fn without_ext_authz_the_canary_reaches_its_route() {
        for known in ["500", "500 decision_missing"] {
            check(Replies { known, ..GOOD }, Err(Part::Gate)).await;
        }
    }

    #[tokio::test]
    async fn another_secret_is_told_from_a_missing_filter() {
        check(Replies { known: "403 handoff_forged", ..GOOD }, Err(Part::Secret)).await;
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_gives_envoys_own_refusal() {
        for known in ["403", "503 ledger_unavailable"] {
            check(Replies { known, ..GOOD }, Err(Part::Server)).await;
        }
    }

    #[tokio::test]
    async fn a_listener_that_is_not_there_is_an_error_not_a_verdict() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(probe(closed).await.is_err());
    }

    #[test]
    fn envoys_log_names_the_secret() {
        let log = ["[warning] starting".to_owned(), "[error] PALISADE_HANDOFF_SECRET is not set".to_owned()];
        let Some(Canary::Missing { part: Part::Secret, seen }) = blame(&log) else { panic!("not blamed") };
        assert!(seen.contains("is not set"));
        assert_eq!(blame(&["[info] all is well".to_owned()]), None);
    }
}
