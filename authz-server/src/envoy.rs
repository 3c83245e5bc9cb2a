//! Envoy's protocols: ext_authz `Check` and the access log service. The one module that names `envoy_types`.
//!
//! INVARIANT: a reply to `Check` is an allow only when the service said so with a receipt; every other way out of here
//! is a denial.

mod check;

pub use check::CheckServer;

use crate::check::{Body, Call, Decision, shown};
use crate::ledger::Outcome;
use crate::secrets::HandoffSecrets;
use crate::serve::counted;
use crate::serve::faults::{self, Stage};
use crate::serve::load::Load;
use crate::serve::service::{Answered, Service, Source};
use check::{Check, Http};
use envoy_types::pb::envoy::config::core::v3::address::Address as Place;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderValue, HeaderValueOption, Metadata};
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use palisade_core::handoff::{Binding, HEADER, Handoff};
use palisade_core::reason::Reason;
use palisade_core::reply;
use prost::Message as _;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

pub use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;

/// The namespace under which Envoy keeps what a Check's reply says.
const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// Filter state that the filter sets for a request that it refused.
const CALL_ID_STATE: &str = "wasm.palisade_call_id";

/// What our local replies' details begin with.
const DETAILS_PREFIX: &str = "palisade_";

/// By which Envoy says of a body whether it is only the beginning.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

const RPC_OK: i32 = 0;
const RPC_PERMISSION_DENIED: i32 = 7;

/// Both protocols over one service.
#[derive(Debug, Clone)]
pub struct Gateway {
    service: Arc<Service>,
    /// Of the thread that this one answers on.
    load: Arc<Load>,
}

impl Gateway {
    pub fn new(service: Arc<Service>, load: Arc<Load>) -> Gateway {
        Gateway { service, load }
    }

    async fn check(&self, request: Check) -> CheckResponse {
        let answered = self.service.answer(&self.load, request).await;
        // A denial without its body would be an error to the proxy, which has its own fail mode for those.
        let reply = catch_unwind(AssertUnwindSafe(|| {
            faults::reach(Stage::Replying);
            reply_to(&answered)
        }));
        reply.unwrap_or_else(|_panic| {
            self.service.refused_after_all();
            reply_to(&answered.refused(Reason::Internal))
        })
    }
}

impl Source for Check {
    fn with_call<T>(&self, use_call: impl FnOnce(Call<'_>) -> T) -> T {
        with_call(self, use_call)
    }
}

/// Reads the call out of a Check and hands it on.
fn with_call<T>(request: &Check, use_call: impl FnOnce(Call<'_>) -> T) -> T {
    let attributes = request.attributes.as_ref();
    let http = attributes
        .and_then(|attributes| attributes.request.as_ref())
        .and_then(|request| request.http.as_ref());
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::with_capacity(32);
    if let Some(http) = http {
        let pseudo = [
            (":method", &http.method),
            (":path", &http.path),
            (":authority", &http.host),
            (":scheme", &http.scheme),
        ];
        let told = pseudo.into_iter().filter(|(_, value)| !value.is_empty());
        pairs.extend(told.map(|(name, value)| (name.as_bytes(), value.as_ref())));
        // The map repeats the pseudo-headers.
        let headers = http.headers.iter().filter(|header| !header.name.starts_with(b":"));
        pairs.extend(headers.map(|header| (header.name.as_ref(), header.value.as_ref())));
    }
    let source = attributes.and_then(|attributes| attributes.source.as_ref());
    let (peer, peer_certificate) =
        source.map_or(("", ""), |source| (source.principal.as_str(), source.certificate.as_str()));
    use_call(Call { pairs: &pairs, peer, peer_certificate, body: http.map_or(Body::None, body) })
}

/// What came of the body. Envoy says whether it is all of it, and removes what a client says of that itself.
fn body(http: &Http) -> Body<'_> {
    let mut told = http.headers.iter().filter(|header| header.name == PARTIAL_BODY);
    let partial = match (told.next(), told.next()) {
        (only, None) => only.map(|header| header.value.as_ref()),
        (_, Some(_)) => return Body::Unproven("the proxy says twice whether the body is whole"),
    };
    match (partial, http.raw_body.as_ref(), http.body.as_ref()) {
        (None | Some(b"false"), [], []) => Body::None,
        (Some(b"false"), whole, []) => Body::Whole(whole),
        // Envoy replaces what is not UTF-8 in a text; only bytes are what was sent.
        (_, [], _) => Body::Unproven("the body came as text: `with_request_body` needs `pack_as_bytes`"),
        (Some(b"true"), ..) => Body::Unproven(
            "only the beginning of the body came: `max_request_bytes` is smaller than what the operation accepts",
        ),
        _ => Body::Unproven("the proxy does not say whether the body is whole"),
    }
}

fn reply_to(answered: &Answered) -> CheckResponse {
    let Answered { decision, call_id, epoch, advice, failed_open, counted } = answered;
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let (word, code, http_response) = match decision {
        Decision::Allow => {
            // The service never sees what filter and server told each other.
            let headers_to_remove = vec![HEADER.to_owned()];
            let ok = OkHttpResponse { headers_to_remove, ..OkHttpResponse::default() };
            ("allow", RPC_OK, HttpResponse::OkResponse(ok))
        }
        Decision::Deny { reason } => {
            let denied = DeniedHttpResponse {
                status: Some(HttpStatus { code: i32::from(reason.status()) }),
                headers: vec![header("content-type", reply::CONTENT_TYPE)],
                body: match advice {
                    Some(advice) => reply::body_with_advice(*reason, *call_id, advice),
                    None => reply::body(*reason, *call_id),
                },
            };
            ("deny", RPC_PERMISSION_DENIED, HttpResponse::DeniedResponse(denied))
        }
    };
    let mut fields = HashMap::from([
        ("decision_id".to_owned(), text(&call_id.to_string())),
        ("decision".to_owned(), text(word)),
        ("epoch".to_owned(), text(epoch)),
    ]);
    if let Some(reason) = failed_open {
        fields.insert("failed_open".to_owned(), text(reason.code()));
    }
    if let (Some(counted), Decision::Allow) = (counted, decision) {
        let limits = counted.limits.iter().map(|name| (name.clone(), text(name)));
        let limits = Kind::StructValue(Struct { fields: limits.collect() });
        fields.insert(counted::OPERATION.to_owned(), text(&counted.operation));
        fields.insert(counted::CALLER.to_owned(), text(&counted.caller));
        fields.insert(counted::LIMITS.to_owned(), Value { kind: Some(limits) });
    }
    CheckResponse {
        status: Some(rpc::Status { code, ..rpc::Status::default() }),
        dynamic_metadata: Some(Struct { fields }),
        http_response: Some(http_response),
    }
}

fn header(name: &str, value: &str) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value: value.to_owned(), ..HeaderValue::default() };
    HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }
}

#[tonic::async_trait]
impl AccessLogService for Gateway {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let Some(LogEntries::HttpLogs(entries)) = message.log_entries else { continue };
            let decider = self.service.decider();
            for entry in &entries.log_entry {
                self.service.record_outcome(outcome_of(entry, &decider.secrets));
            }
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}

fn outcome_of(entry: &HttpAccessLogEntry, secrets: &HandoffSecrets) -> Outcome {
    let at_ms = crate::serve::service::now_ms();
    let common = entry.common_properties.as_ref();
    let request = entry.request.as_ref();
    let response = entry.response.as_ref();
    let details = response.map(|response| response.response_code_details.clone()).unwrap_or_default();
    let duration = common.and_then(|common| common.time_to_last_downstream_tx_byte.as_ref());
    let filter_reason = details.strip_prefix(DETAILS_PREFIX).map(ToOwned::to_owned);
    Outcome {
        call_id: common.and_then(call_id).or_else(|| handed_over(request?, secrets, at_ms)),
        at_ms,
        status: response.and_then(|response| response.response_code.as_ref()).map_or(0, |code| code.value),
        flags: common.and_then(|common| common.response_flags.as_ref()).map(flags).unwrap_or_default(),
        duration_us: duration.map_or(0, |duration| {
            let seconds = u64::try_from(duration.seconds).unwrap_or(0);
            seconds
                .saturating_mul(1_000_000)
                .saturating_add(u64::try_from(duration.nanos).unwrap_or(0) / 1000)
        }),
        request_bytes: request
            .map_or(0, |request| request.request_headers_bytes.saturating_add(request.request_body_bytes)),
        response_bytes: response.map_or(0, |response| {
            response.response_headers_bytes.saturating_add(response.response_body_bytes)
        }),
        upstream: common.map(|common| common.upstream_cluster.clone()).filter(|cluster| !cluster.is_empty()),
        upstream_host: common.and_then(|common| address(common.upstream_remote_address.as_ref()?)),
        method: request.map(|request| method(request.request_method)).unwrap_or_default(),
        // Whoever may connect writes these, also where the filter refused them for their size.
        host: request.map(|request| shown(request.authority.as_bytes())).unwrap_or_default(),
        path: request.map(|request| shown(path_of(&request.path).as_bytes())).unwrap_or_default(),
        details,
        filter_reason,
    }
}

/// A query is cut off before the rest is shortened: no part of it may be taken for the path.
fn path_of(target: &str) -> &str {
    target.split_once(['?', '#']).map_or(target, |(path, _)| path)
}

/// The decision's id, or that of a request that the filter refused.
fn call_id(common: &AccessLogCommon) -> Option<String> {
    let decided = common.metadata.as_ref().and_then(decision_id);
    let refused = || {
        let state = common.filter_state_objects.get(CALL_ID_STATE)?;
        // A `BytesValue` or a `StringValue`: both are one length-delimited field.
        let bytes = Vec::<u8>::decode(state.value.as_slice()).ok()?;
        String::from_utf8(bytes).ok()
    };
    decided.or_else(refused)
}

/// The call id of a caller who was gone before there was a decision: its handoff is still on the request then. Anybody
/// may have written that header where the filter did not come to see the request, so that it must prove itself.
fn handed_over(request: &HttpRequestProperties, secrets: &HandoffSecrets, now_ms: u64) -> Option<String> {
    let text = request.request_headers.get(HEADER)?;
    let method = method(request.request_method);
    let binding = Binding { method: &method, authority: &request.authority, target: &request.path };
    let (handoff, _) = Handoff::verify(text.as_bytes(), secrets.slots(), binding, now_ms).ok()?;
    Some(handoff.call_id.to_string())
}

/// An address as people write it.
fn address(address: &Address) -> Option<String> {
    match address.address.as_ref()? {
        Place::SocketAddress(socket) => match socket.port_specifier.as_ref()? {
            PortSpecifier::PortValue(port) if socket.address.contains(':') => {
                Some(format!("[{}]:{port}", socket.address))
            }
            PortSpecifier::PortValue(port) => Some(format!("{}:{port}", socket.address)),
            PortSpecifier::NamedPort(_) => None,
        },
        Place::Pipe(pipe) => Some(pipe.path.clone()),
        Place::EnvoyInternalAddress(_) => None,
    }
}

fn decision_id(metadata: &Metadata) -> Option<String> {
    match metadata.filter_metadata.get(EXT_AUTHZ)?.fields.get("decision_id")?.kind.as_ref()? {
        Kind::StringValue(id) => Some(id.clone()),
        _ => None,
    }
}

fn method(code: i32) -> String {
    use envoy_types::pb::envoy::config::core::v3::RequestMethod;
    RequestMethod::try_from(code).map(|method| method.as_str_name().to_owned()).unwrap_or_default()
}

/// The flags that say why a call ended badly, by Envoy's own short names.
fn flags(flags: &ResponseFlags) -> Vec<String> {
    let all = [
        ("UH", flags.no_healthy_upstream),
        ("UT", flags.upstream_request_timeout),
        ("LR", flags.local_reset),
        ("UR", flags.upstream_remote_reset),
        ("UF", flags.upstream_connection_failure),
        ("UC", flags.upstream_connection_termination),
        ("UO", flags.upstream_overflow),
        ("NR", flags.no_route_found),
        ("DC", flags.downstream_connection_termination),
        ("RL", flags.rate_limited),
        ("SI", flags.stream_idle_timeout),
        ("DPE", flags.downstream_protocol_error),
        ("UAEX", flags.unauthorized_details.is_some()),
    ];
    all.into_iter().filter(|(_, set)| *set).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod injected;
#[cfg(test)]
mod tests {
    use super::outcome_of;
    use crate::secrets::HandoffSecrets;
    use envoy_types::pb::envoy::data::accesslog::v3::{HttpAccessLogEntry, HttpRequestProperties};
    use palisade_core::handoff::Secret;

    #[test]
    fn what_callers_write_is_bounded_in_an_outcome() {
        let recorded = |path: &str, authority: &str| {
            let request = HttpRequestProperties {
                path: path.to_owned(),
                authority: authority.to_owned(),
                ..HttpRequestProperties::default()
            };
            let entry = HttpAccessLogEntry { request: Some(request), ..HttpAccessLogEntry::default() };
            let outcome = outcome_of(&entry, &HandoffSecrets::only(Secret::from_bytes([7; 32])));
            (outcome.path, outcome.host)
        };
        let long = "a".repeat(50_000);
        let (path, host) = recorded(&format!("/{long}?key=secret"), &long);
        assert_eq!((path.len(), host.len()), (512, 512));
        assert_eq!(
            recorded("/a?key=secret", "shop\u{9b}31m"),
            ("/a".to_owned(), "shop\u{fffd}31m".to_owned())
        );
    }
}
