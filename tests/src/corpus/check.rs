//! Runs one case against a rig: the refusal first, then its twin over the same parts.
//!
//! Invariant: "the service saw nothing" is asked twice, right after the refusal and again when the twin's own bytes have
//! arrived, so that bytes which came late are found as well.

use palisade::ledger::{Conclusion, Decision};
use palisade_core::reason::Reason;
use uuid::Uuid;

use super::format::{Case, Exchange, Expectation, Frames, Message, Refusal, Refuser, SeenLine, Shape, Write};
use super::template::{Template, Values};
use crate::deadline::poll;
use crate::http1::{Body, Head};
use crate::raw_client::{self, Outcome, Piece, Reply};
use crate::raw_h2::{self, H2Request};
use crate::rig::{LEDGER_TIMEOUT, Rig};
use crate::spy::SeenRequest;

/// The headers that a caller may get; any other would tell something that is nobody's business.
const REPLY_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "date",
    "grpc-message",
    "grpc-status",
    "server",
    "transfer-encoding",
    "upgrade",
    "x-envoy-upstream-service-time",
];

/// Our headers; none may reach a service.
const OWN_HEADER_PREFIX: &[u8] = b"x-palisade-";

/// Runs the case; the error says what differed, and which file and line expected it.
pub fn check(case: &Case, rig: &Rig) -> Result<(), String> {
    let mut decided = rig.decisions().len();
    for exchange in std::iter::once(&case.subject).chain(&case.twin) {
        check_exchange(exchange, rig, &mut decided).map_err(|error| {
            let (bundle, target) = (&rig.profile.bundle, rig.target.name());
            format!("{}:{}: `{}` with {bundle} on {target}: {error}", case.file, exchange.line, case.name)
        })?;
    }
    Ok(())
}

/// Fills in the placeholders of a case without sending it, which finds names that a profile lacks.
pub fn resolve(case: &Case, values: &Values) -> Result<(), String> {
    for exchange in std::iter::once(&case.subject).chain(&case.twin) {
        let at = |error: String| format!("{}:{}: `{}`: {error}", case.file, exchange.line, case.name);
        Prepared::new(&exchange.message, values).map_err(at)?;
        if let Some(seen) = &exchange.seen {
            SeenTexts::new(seen, values).map_err(at)?;
        }
    }
    Ok(())
}

fn check_exchange(exchange: &Exchange, rig: &Rig, decided: &mut usize) -> Result<(), String> {
    let prepared = Prepared::new(&exchange.message, rig.values())?;
    rig.reset_spies();
    let outcome = prepared.send(rig);
    match exchange.expected_in(rig.target) {
        Expectation::Refused(refusal) => {
            let checked = check_refusal(refusal, &outcome).and_then(|()| nothing_seen(rig));
            checked.map_err(|error| format!("{error}\n    outcome: {}", shown(&outcome)))?;
            if refusal.by == Refuser::Server {
                *decided += 1;
                check_denial(refusal, &outcome, &decision(rig, *decided)?)?;
            }
            Ok(())
        }
        Expectation::Accepted => {
            let seen = exchange.seen.as_ref().ok_or("the format promises a `=` line here")?;
            let texts = SeenTexts::new(seen, rig.values())?;
            let checked = check_accepted(&outcome).and_then(|()| check_seen(rig, &texts, &prepared));
            let request = checked.map_err(|error| format!("{error}\n    outcome: {}", shown(&outcome)))?;
            *decided += 1;
            check_allowance(&request, &decision(rig, *decided)?)
        }
    }
}

fn check_refusal(refusal: &Refusal, outcome: &Outcome) -> Result<(), String> {
    let reply = match (refusal.shape, outcome) {
        (Shape::Closed, Outcome::Closed) => return Ok(()),
        (Shape::Closed, _) => return Err("expected a closed connection or stream".to_owned()),
        (Shape::Status(_) | Shape::GrpcStatus(_), Outcome::Reply(reply)) => reply,
        (Shape::Status(_) | Shape::GrpcStatus(_), _) => return Err("expected a reply".to_owned()),
    };
    check_reply_headers(reply)?;
    match refusal.shape {
        Shape::Status(status) if reply.status != status => {
            return Err(format!("expected status {status}, got {}", reply.status));
        }
        Shape::GrpcStatus(status) => return check_grpc_refusal(refusal, status, reply),
        Shape::Status(_) | Shape::Closed => {}
    }
    match (refusal.by, refusal.reason, reply.reason()) {
        (Refuser::Envoy, _, None) | (Refuser::EnvoyOrFilter, _, None) => Ok(()),
        (Refuser::Envoy, _, Some(got)) => {
            Err(format!("expected a refusal by Envoy itself, got the reason `{got}`"))
        }
        (_, Some(expected), Some(got)) if expected.code() == got => check_decision_id(reply).map(drop),
        (_, expected, got) => {
            let expected = expected.map_or("", Reason::code);
            Err(format!("expected the reason `{expected}`, got `{}`", got.unwrap_or_default()))
        }
    }
}

fn check_grpc_refusal(refusal: &Refusal, status: u16, reply: &Reply) -> Result<(), String> {
    let field = |name| {
        let value = reply.header(name).or_else(|| crate::http1::header(&reply.trailers, name));
        value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    if reply.status != 200 || field("grpc-status") != status.to_string() {
        let (http, grpc) = (reply.status, field("grpc-status"));
        return Err(format!(
            "expected HTTP 200 with grpc-status {status}, got {http} with grpc-status `{grpc}`"
        ));
    }
    match refusal.reason {
        Some(reason) if !field("grpc-message").contains(reason.code()) => {
            Err(format!("expected `{}` in grpc-message, got `{}`", reason.code(), field("grpc-message")))
        }
        _ => Ok(()),
    }
}

fn check_decision_id(reply: &Reply) -> Result<Uuid, String> {
    let text = reply.decision_id().ok_or("the reply has no decision_id")?;
    let id =
        Uuid::parse_str(&text).map_err(|error| format!("the decision_id `{text}` is no UUID: {error}"))?;
    if id.get_version_num() == 7 { Ok(id) } else { Err(format!("the decision_id `{text}` is no UUIDv7")) }
}

fn check_reply_headers(reply: &Reply) -> Result<(), String> {
    let allowed = |name: &[u8]| REPLY_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    match reply.headers.iter().chain(&reply.trailers).find(|(name, _)| !allowed(name)) {
        Some((name, _)) => Err(format!("unexpected header `{}` in the reply", name.escape_ascii())),
        None => Ok(()),
    }
}

fn nothing_seen(rig: &Rig) -> Result<(), String> {
    match rig.bytes_seen() {
        0 => Ok(()),
        bytes => Err(format!("the services saw {bytes} bytes of a refused request: {}", seen_text(rig))),
    }
}

fn check_denial(refusal: &Refusal, outcome: &Outcome, entry: &Decision) -> Result<(), String> {
    if entry.decision != Conclusion::Deny || Some(entry.reason.as_str()) != refusal.reason.map(Reason::code) {
        return Err(format!("expected a denial in the ledger, found {entry:?}"));
    }
    // A gRPC caller gets a status and no body, so there is no id to compare.
    match outcome {
        Outcome::Reply(reply) => match reply.decision_id() {
            Some(id) if id != entry.decision_id => {
                Err(format!("the reply names the decision `{id}`, the ledger `{}`", entry.decision_id))
            }
            Some(_) | None => Ok(()),
        },
        Outcome::Closed | Outcome::TimedOut => Ok(()),
    }
}

fn check_accepted(outcome: &Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Reply(reply) if matches!(reply.status, 200 | 101) => check_reply_headers(reply),
        _ => Err("expected the request to be accepted".to_owned()),
    }
}

/// Exactly one request at exactly one service, as it was sent.
fn check_seen(rig: &Rig, expected: &SeenTexts, sent: &Prepared) -> Result<SeenRequest, String> {
    let mut seen = rig.requests_seen();
    if seen.len() != 1 {
        return Err(format!("expected one request at the services, found {}", seen_text(rig)));
    }
    let (service, request) = seen.remove(0);
    let connections = rig.spies.values().flat_map(|spy| spy.seen().connections);
    if connections.filter(|connection| !connection.bytes.is_empty()).count() != 1 {
        return Err(format!("bytes of the refused request came late: {}", seen_text(rig)));
    }
    let differences = [
        (
            "service",
            expected.service.as_deref().unwrap_or(rig.profile.value("service").as_bytes()),
            service.as_bytes(),
        ),
        ("method", &expected.method, &request.method),
        ("target", &expected.target, &request.target),
        ("body", sent.body.as_deref().unwrap_or(&request.body), &request.body),
    ];
    for (what, expected, found) in differences {
        if expected != found {
            return Err(format!(
                "the {what} that was seen is `{}`, expected `{}`",
                text(found),
                text(expected)
            ));
        }
    }
    check_headers_seen(&request, expected)?;
    Ok(request)
}

/// None of ours, and of those that the case names the ones that it foretells.
fn check_headers_seen(request: &SeenRequest, expected: &SeenTexts) -> Result<(), String> {
    let ours = |(name, _): &&(Vec<u8>, Vec<u8>)| name.to_ascii_lowercase().starts_with(OWN_HEADER_PREFIX);
    if let Some((name, _)) = request.headers.iter().find(ours) {
        return Err(format!("the service saw our own header `{}`", name.escape_ascii()));
    }
    for (name, expected) in &expected.headers {
        let named = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        let found: Vec<&[u8]> = named.map(|(_, value)| value.as_slice()).collect();
        if found != expected.as_deref().into_iter().collect::<Vec<_>>() {
            let shown = |values: &[&[u8]]| values.iter().map(|value| text(value)).collect::<Vec<_>>();
            let expected = expected.as_deref().map_or_else(|| "none".to_owned(), text);
            let found = shown(&found);
            return Err(format!("of the header `{name}` the service saw {found:?}, expected {expected}"));
        }
    }
    Ok(())
}

/// What was decided on is what the service saw.
fn check_allowance(request: &SeenRequest, entry: &Decision) -> Result<(), String> {
    let query_at = request.target.iter().position(|byte| *byte == b'?');
    let path = &request.target[..query_at.unwrap_or(request.target.len())];
    if entry.decision != Conclusion::Allow
        || entry.path.as_bytes() != path
        || entry.query_present != query_at.is_some()
        || entry.method.as_bytes() != request.method
    {
        return Err(format!("expected the ledger to allow `{}`, found {entry:?}", text(&request.target)));
    }
    Ok(())
}

/// The newest decision, when there are exactly `count`: a Check that should never have come is one too many.
fn decision(rig: &Rig, count: usize) -> Result<Decision, String> {
    let found = poll(LEDGER_TIMEOUT, || {
        let decisions = rig.decisions();
        (decisions.len() >= count).then_some(decisions)
    });
    let mut decisions = found.ok_or("the ledger has no entry for this decision")?;
    if decisions.len() > count {
        let extra = &decisions[count - 1..];
        return Err(format!("the server decided on what should not have reached it: {extra:?}"));
    }
    decisions.pop().ok_or_else(|| "the ledger has no decision".to_owned())
}

/// A message with all placeholders filled in.
struct Prepared {
    wire: Wire,
    /// The body, where what was sent says plainly what it is.
    body: Option<Vec<u8>>,
}

enum Wire {
    Http1(Vec<Piece>),
    Http2(H2Request),
}

impl Prepared {
    fn new(message: &Message, values: &Values) -> Result<Self, String> {
        match message {
            Message::Http1(writes) => Self::http1(writes, values),
            Message::Http2(frames) => Self::http2(frames, values),
        }
    }

    fn http1(writes: &[Write], values: &Values) -> Result<Self, String> {
        let length = body_length(writes, values)?;
        let mut pieces = Vec::new();
        for write in writes {
            let mut bytes = Vec::new();
            for line in &write.lines {
                bytes.extend(line.resolve(values, length)?);
            }
            pieces.push(Piece { bytes, then: write.then });
        }
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
        let body = Head::parse(&all)
            .and_then(|head| Body::parse(&all[head.length..], head.request_framing(), false))
            .map(|body| body.bytes);
        Ok(Self { wire: Wire::Http1(pieces), body })
    }

    fn http2(frames: &Frames, values: &Values) -> Result<Self, String> {
        let mut data = Vec::new();
        for line in &frames.data {
            data.push(line.resolve(values, 0)?);
        }
        let body = data.concat();
        let fields = |lines: &[(Template, Template)]| -> Result<Vec<_>, String> {
            let field = |(name, value): &(Template, Template)| {
                Ok((name.resolve(values, body.len())?, value.resolve(values, body.len())?))
            };
            lines.iter().map(field).collect()
        };
        let request = H2Request {
            headers: fields(&frames.headers)?,
            trailers: fields(&frames.trailers)?,
            data,
            open: frames.open,
            ..H2Request::default()
        };
        Ok(Self { wire: Wire::Http2(request), body: Some(body) })
    }

    fn send(&self, rig: &Rig) -> Outcome {
        match &self.wire {
            Wire::Http1(pieces) => raw_client::send_pieces(rig.addr(), pieces),
            Wire::Http2(request) => raw_h2::send(rig.addr(), request),
        }
    }
}

/// The bytes after the first empty line.
fn body_length(writes: &[Write], values: &Values) -> Result<usize, String> {
    let mut in_body = false;
    let mut length = 0;
    for line in writes.iter().flat_map(|write| &write.lines) {
        let bytes = line.resolve(values, 0)?;
        if in_body {
            length += bytes.len();
        }
        in_body |= bytes == b"\r\n";
    }
    Ok(length)
}

/// A `=` line with all placeholders filled in.
struct SeenTexts {
    method: Vec<u8>,
    target: Vec<u8>,
    service: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl SeenTexts {
    fn new(line: &SeenLine, values: &Values) -> Result<Self, String> {
        let service = line.service.as_ref().map(|service| service.resolve(values, 0)).transpose()?;
        let mut headers = Vec::new();
        for (name, value) in &line.headers {
            let value = value.as_ref().map(|value| value.resolve(values, 0)).transpose()?;
            headers.push((name.clone(), value));
        }
        let (method, target) = (line.method.resolve(values, 0)?, line.target.resolve(values, 0)?);
        Ok(Self { method, target, service, headers })
    }
}

fn seen_text(rig: &Rig) -> String {
    let connections = rig.spies.iter().flat_map(|(service, spy)| {
        spy.seen().connections.into_iter().map(move |connection| (service, connection.bytes))
    });
    let texts: Vec<String> = connections
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(service, bytes)| format!("{service}: `{}`", text(&bytes)))
        .collect();
    texts.join(", ")
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) => {
            let headers: Vec<String> = reply
                .headers
                .iter()
                .map(|(name, value)| format!("{}: {}", text(name), text(value)))
                .collect();
            format!("{} [{}] `{}`", reply.status, headers.join(", "), text(&reply.body))
        }
        Outcome::Closed => "closed".to_owned(),
        Outcome::TimedOut => "timed out".to_owned(),
    }
}

/// Bytes for people: escaped, and cut where they are many.
fn text(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 300;
    let cut = if bytes.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("{}{cut}", bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii())
}
