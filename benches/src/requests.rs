//! The requests, rendered once, and what must come back.

use crate::arms::Kind;
use crate::document::batch_of;
use crate::service;
use palisade_core::limits::BODY_BYTES_MAX;

/// What the route answers in every arm.
pub(crate) const ANSWER: &str = "{\"orders\":[]}\n";

/// Bytes to send as they are, and the only status that is right.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    /// The body that must come with 200.
    pub(crate) answer: &'static str,
}

/// A request as a service behind a mesh gets it: nine headers of a browser's call through a front end.
fn head(method: &str, path: &str, api_key: &str, more: &str) -> String {
    head_with(method, path, &format!("x-api-key: {api_key}"), more)
}

fn head_with(method: &str, path: &str, credential: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\n\
         host: orders\r\n\
         user-agent: storefront/4.1 (linux; x86_64)\r\n\
         accept: application/json\r\n\
         accept-encoding: gzip, br\r\n\
         accept-language: en-GB,en;q=0.8\r\n\
         {credential}\r\n\
         x-request-id: 5f0c1bd2-7b1e-4c8e-9d37-6a2f0c9b1e11\r\n\
         x-envoy-attempt-count: 1\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
         {more}\r\n"
    )
}

pub(crate) fn ask(kind: Kind, api_key: &str) -> Ask {
    let get = |path| head("GET", path, api_key, "").into_bytes();
    let bytes = match kind {
        Kind::Read | Kind::ReadKnown | Kind::ReadUnknown => get("/orders"),
        Kind::Write => post("/orders", api_key, r#"{"item":"a lamp with a long green cable","quantity":3}"#),
        Kind::Batch1k => post("/batches", api_key, &batch_of(1024)),
        Kind::Batch1m => post("/batches", api_key, &batch_of(BODY_BYTES_MAX as usize)),
        Kind::ReportSampled => get("/reports/sampled"),
        Kind::ReportNone => get("/reports/none"),
        Kind::ReportAll => get("/reports/all"),
    };
    let answer = match kind {
        Kind::Read | Kind::ReadKnown | Kind::ReadUnknown | Kind::Write | Kind::Batch1k | Kind::Batch1m => {
            ANSWER
        }
        Kind::ReportSampled | Kind::ReportNone | Kind::ReportAll => service::answer(),
    };
    Ask { bytes, status: 200, answer }
}

fn post(path: &str, api_key: &str, body: &str) -> Vec<u8> {
    let more = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let mut bytes = head("POST", path, api_key, &more).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// The read, by somebody with a token.
pub(crate) fn ask_with_token(token: &str) -> Ask {
    let bytes = head_with("GET", "/orders", &format!("authorization: Bearer {token}"), "").into_bytes();
    Ask { bytes, status: 200, answer: ANSWER }
}

/// A request that our filter refuses by itself.
pub(crate) fn refused(api_key: &str) -> Ask {
    Ask { bytes: head("GET", "/no/such/operation", api_key, "").into_bytes(), status: 404, answer: "" }
}
