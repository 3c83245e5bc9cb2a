//! Three requests through the listener that must be refused, each by another part of the arrangement.
//!
//! Every bundle's contract holds the canary's host. What refuses a request, and with which reason, shows which
//! part did the work; a part that is missing cannot be imitated by the others.
//!
//! INVARIANT: `Good` means that filter, gate, secret and server were each seen at work.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use palisade_core::canary::{HOST, PATH};
use palisade_core::reason::Reason;

use super::http::{Reply, Request, exchange};

/// No operation of the canary's host, so the filter refuses it.
pub const UNPATH: &str = "/.palisade/unknown";

const EXCHANGE: Duration = Duration::from_secs(2);

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

/// The three requests: to a path that no contract knows; with a body that is cut off, which shows only once all
/// of it was seen; and one that is in order, which the server denies always.
pub fn requests() -> [Request; 3] {
    [
        Request::get(HOST, "/.palisade/unknown"),
        Request::post_json(HOST, PATH, "{\"canary\":"),
        Request::get(HOST, PATH),
    ]
}

/// Sends the three requests. An error means that the listener does not answer at all.
pub async fn probe(listener: SocketAddr) -> io::Result<Canary> {
    for (request, judge) in requests().into_iter().zip(JUDGES) {
        let reply = exchange(listener, &request, EXCHANGE).await?;
        if let Err(part) = judge(&reply) {
            let seen = format!("{} {} was answered by {}", request.method, request.target, reply.summary());
            return Ok(Canary::Missing { part, seen });
        }
    }
    Ok(Canary::Good)
}

/// Reads from Envoy's log why its listener never came up, where that is the doing of a missing part.
pub fn blame(envoy_log: &[String]) -> Option<Canary> {
    let about_secret = |line: &&String| line.contains("PALISADE_HANDOFF_SECRET");
    let seen = envoy_log.iter().find(about_secret)?;
    Some(Canary::Missing { part: Part::Secret, seen: seen.trim().to_owned() })
}

type Judge = fn(&Reply) -> Result<(), Part>;

/// In the order in which they must be judged: each relies on what the ones before have shown.
const JUDGES: [Judge; 3] = [judge_unknown, judge_malformed, judge_known];

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

/// With the gate the filter speaks first; without it, whatever comes behind has spoken before the body was judged.
fn judge_malformed(reply: &Reply) -> Result<(), Part> {
    match reason(reply) {
        Some(Reason::JsonSyntax) => Ok(()),
        Some(Reason::HandoffMissing) => Err(Part::Filter),
        _ => Err(Part::Gate),
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

    /// Replies to the three requests in turn with `<status> <reason>`, as an arrangement would.
    async fn check(replies: [&str; 3], expected: Result<(), Part>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies = replies.map(|reply| {
            let (status, reason) = reply.split_once(' ').unwrap_or((reply, ""));
            let body = if reason.is_empty() { String::new() } else { format!("{{\"reason\":\"{reason}\"}}") };
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        });
        let server = tokio::spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        let found = match probe(address).await.unwrap() {
            Canary::Good => Ok(()),
            Canary::Missing { part, .. } => Err(part),
        };
        server.abort();
        assert_eq!(found, expected);
    }

    const UNKNOWN: &str = "404 operation_unknown";
    const SYNTAX: &str = "400 json_syntax";
    const DENIED: &str = "403 canary";

    #[tokio::test]
    async fn all_parts_at_work_are_good() {
        check([UNKNOWN, SYNTAX, DENIED], Ok(())).await;
    }

    #[tokio::test]
    async fn without_the_filter_the_server_is_asked_about_what_no_contract_knows() {
        check(["403 handoff_missing", "", ""], Err(Part::Filter)).await;
        check(["500", "", ""], Err(Part::Filter)).await;
        check(["403", "", ""], Err(Part::Filter)).await;
    }

    #[tokio::test]
    async fn without_the_filter_a_server_that_knows_the_contract_does_not_pass_for_it() {
        check([UNKNOWN, "403 handoff_missing", ""], Err(Part::Filter)).await;
    }

    #[tokio::test]
    async fn without_the_gate_the_server_speaks_before_the_body_was_judged() {
        check([UNKNOWN, DENIED, ""], Err(Part::Gate)).await;
        check([UNKNOWN, "500 decision_missing", ""], Err(Part::Gate)).await;
        check([UNKNOWN, "500", ""], Err(Part::Gate)).await;
        check([UNKNOWN, "403", ""], Err(Part::Gate)).await;
        check([UNKNOWN, SYNTAX, "500"], Err(Part::Gate)).await;
    }

    #[tokio::test]
    async fn another_secret_is_told_from_a_missing_filter() {
        check([UNKNOWN, SYNTAX, "403 handoff_forged"], Err(Part::Secret)).await;
        check([UNKNOWN, SYNTAX, "403 handoff_missing"], Err(Part::Filter)).await;
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_gives_envoys_own_refusal() {
        check([UNKNOWN, SYNTAX, "403"], Err(Part::Server)).await;
        check([UNKNOWN, SYNTAX, "503 ledger_unavailable"], Err(Part::Server)).await;
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
