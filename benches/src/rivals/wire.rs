//! Envoy's ext_authz protocol for the rivals. The one file here that names `envoy_types`.

use super::cedar::Indexed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use palisade_core::call_id::CallId;
use palisade_core::handoff;
use std::collections::HashMap;
use tonic::{Request, Response, Status};

const RPC_OK: i32 = 0;
const RPC_PERMISSION_DENIED: i32 = 7;

/// Where the call id stands in a handoff.
const CALL_ID_AT: usize = 6;

#[derive(Debug)]
pub(super) enum Authorizer {
    Allow,
    Echo {
        /// The id for a request without a handoff, so that every reply has one.
        otherwise: CallId,
    },
    Cedar(Box<Indexed>),
}

pub(super) fn service(authorizer: Authorizer) -> AuthorizationServer<Authorizer> {
    AuthorizationServer::new(authorizer)
}

#[tonic::async_trait]
impl Authorization for Authorizer {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let http =
            request.attributes.and_then(|attributes| attributes.request).and_then(|request| request.http);
        let http = http.ok_or_else(|| Status::invalid_argument("a check without a request"))?;
        let reply = match self {
            Authorizer::Allow => allowed(None),
            Authorizer::Echo { otherwise } => allowed(Some(call_id(&http).unwrap_or(*otherwise))),
            Authorizer::Cedar(policies) => {
                let key = http.headers.get("x-api-key").map_or("", String::as_str);
                if policies.allows(key, &http.method, &http.path, &http.host) {
                    allowed(None)
                } else {
                    denied()
                }
            }
        };
        Ok(Response::new(reply))
    }
}

/// The id in a handoff, whose proof is not looked at.
fn call_id(http: &HttpRequest) -> Option<CallId> {
    let bytes = URL_SAFE_NO_PAD.decode(http.headers.get(handoff::HEADER)?).ok()?;
    CallId::from_bytes(*bytes.get(CALL_ID_AT..)?.first_chunk()?)
}

fn allowed(id: Option<CallId>) -> CheckResponse {
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let dynamic_metadata =
        id.map(|id| Struct { fields: HashMap::from([("decision_id".to_owned(), text(id.to_string()))]) });
    CheckResponse {
        status: Some(rpc::Status { code: RPC_OK, ..rpc::Status::default() }),
        dynamic_metadata,
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
    }
}

fn denied() -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status { code: RPC_PERMISSION_DENIED, ..rpc::Status::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse::default())),
    }
}
