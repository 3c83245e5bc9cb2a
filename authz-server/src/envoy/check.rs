//! The ext_authz `Check` on the wire: what of it is read, without a copy, and the service that answers it.
//!
//! The generated message would become a map of texts for each call and name everything that nobody asks for, which costs
//! as much as identity and evaluation together. Field numbers are those of `envoy.service.auth.v3`; a test compares with
//! the generated ones.
//!
//! INVARIANT: a message that cannot be read is answered with an error, which the proxy takes for a no, unless its operation
//! fails open. What callers choose of a message can always be read: bytes, and fewer than the limit.

use super::Gateway;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::bytes::Bytes;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const METHOD: &str = "Check";

/// `CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Check {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<Asked>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Peer {
    #[prost(string, tag = "4")]
    pub(super) principal: String,
    #[prost(string, tag = "5")]
    pub(super) certificate: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Asked {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<Http>,
}

/// `AttributeContext.HttpRequest`. A map is a list of pairs on the wire; one that has a name twice is not made one here.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Http {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) method: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub(super) headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) path: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) host: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) scheme: Bytes,
    #[prost(bytes = "bytes", tag = "11")]
    pub(super) body: Bytes,
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) raw_body: Bytes,
}

/// An entry of `HttpRequest.headers`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// The service as the router takes it.
#[derive(Debug, Clone)]
pub struct CheckServer {
    gateway: Gateway,
    message_bytes_max: usize,
}

impl CheckServer {
    pub fn new(gateway: Gateway, message_bytes_max: usize) -> CheckServer {
        CheckServer { gateway, message_bytes_max }
    }
}

impl NamedService for CheckServer {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<http::Request<B>> for CheckServer
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let CheckServer { gateway, message_bytes_max } = self.clone();
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some(METHOD) {
                return Ok(Status::unimplemented("this service has no such method").into_http());
            }
            let codec = ProstCodec::<CheckResponse, Check>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(message_bytes_max), None);
            Ok(grpc.unary(Answer(gateway), request).await)
        })
    }
}

struct Answer(Gateway);

impl UnaryService<Check> for Answer {
    type Response = CheckResponse;
    type Future = BoxFuture<Response<CheckResponse>, Status>;

    fn call(&mut self, request: Request<Check>) -> Self::Future {
        let gateway = self.0.clone();
        Box::pin(async move { Ok(Response::new(gateway.check(request.into_inner()).await)) })
    }
}

#[cfg(test)]
mod tests {
    use super::Check;
    use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
    use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    use prost::Message as _;
    use std::collections::HashMap;

    #[test]
    fn the_field_numbers_are_those_of_the_generated_message() {
        let text = |name: &str| format!("the {name}");
        let http = HttpRequest {
            id: text("id"),
            method: text("method"),
            headers: HashMap::from([("x-name".to_owned(), text("value"))]),
            path: text("path"),
            host: text("host"),
            scheme: text("scheme"),
            query: text("query"),
            fragment: text("fragment"),
            size: 7,
            protocol: text("protocol"),
            body: text("body"),
            raw_body: b"the raw body".to_vec(),
            ..HttpRequest::default()
        };
        let source = Peer {
            service: text("service"),
            principal: text("principal"),
            certificate: text("certificate"),
            ..Peer::default()
        };
        let attributes = AttributeContext {
            source: Some(source),
            destination: Some(Peer { principal: text("destination"), ..Peer::default() }),
            request: Some(Request { http: Some(http), ..Request::default() }),
            context_extensions: HashMap::from([("key".to_owned(), text("extension"))]),
            ..AttributeContext::default()
        };
        let whole = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
        let read = Check::decode(whole.as_slice()).unwrap().attributes.unwrap();
        let source = read.source.unwrap();
        assert_eq!((source.principal, source.certificate), (text("principal"), text("certificate")));
        let http = read.request.unwrap().http.unwrap();
        let [header] = http.headers.as_slice() else { panic!("{http:?}") };
        assert_eq!((&header.name[..], &header.value[..]), (&b"x-name"[..], &b"the value"[..]));
        for (name, value) in [
            ("method", http.method),
            ("path", http.path),
            ("host", http.host),
            ("scheme", http.scheme),
            ("body", http.body),
            ("raw body", http.raw_body),
        ] {
            assert_eq!(value, text(name), "{name}");
        }
    }
}
