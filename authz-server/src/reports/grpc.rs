//! The wire: one method, whose message and reply have one field of bytes each.
//!
//! INVARIANT: status 0 is an acknowledgement, and nothing else is.

use super::{NotTaken, Reports};
use palisade_core::limits::BATCH_BYTES_MAX;
use palisade_core::report::{BatchError, METHOD, SERVICE};
use prost::Message as _;
use prost::bytes::BufMut as _;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

/// What carries a batch: a tag and a length before it.
const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + 64;

/// The service as the router takes it.
#[derive(Debug, Clone)]
pub struct ReportsServer {
    reports: Arc<Reports>,
}

impl ReportsServer {
    pub fn new(reports: Arc<Reports>) -> ReportsServer {
        ReportsServer { reports }
    }
}

impl NamedService for ReportsServer {
    const NAME: &'static str = SERVICE;
}

impl<B> Service<http::Request<B>> for ReportsServer
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
        let submit = Submit { reports: self.reports.clone() };
        Box::pin(async move {
            let is_known = request.uri().path().rsplit('/').next() == Some(METHOD);
            if !is_known {
                return Ok(Status::unimplemented("this service has no such method").into_http());
            }
            let mut grpc = Grpc::new(BytesCodec).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
            Ok(grpc.unary(submit, request).await)
        })
    }
}

struct Submit {
    reports: Arc<Reports>,
}

impl UnaryService<Vec<u8>> for Submit {
    type Response = Vec<u8>;
    type Future = BoxFuture<Response<Vec<u8>>, Status>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let reports = self.reports.clone();
        Box::pin(async move {
            let server = reports.take(request.get_ref()).await.map_err(|not_taken| status(&not_taken))?;
            Ok(Response::new(server.0.to_vec()))
        })
    }
}

/// What cannot be taken now may be taken later; what is wrong with a batch, its sender must hear.
fn status(not_taken: &NotTaken) -> Status {
    let said = not_taken.to_string();
    match not_taken {
        NotTaken::Refused(BatchError::Forged) => Status::permission_denied(said),
        NotTaken::Refused(BatchError::Stale { .. }) => Status::failed_precondition(said),
        NotTaken::Refused(BatchError::UnknownVersion { .. }) => Status::unimplemented(said),
        NotTaken::Refused(BatchError::Malformed(_)) => Status::invalid_argument(said),
        NotTaken::TooEarly
        | NotTaken::Busy
        | NotTaken::NotStored(_)
        | NotTaken::TooSlow
        | NotTaken::Failed => Status::unavailable(said),
    }
}

/// Messages of one field of bytes, which is how `prost` reads and writes a vector.
#[derive(Debug, Clone, Copy)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item.encode_to_vec().as_slice());
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let read = Vec::<u8>::decode(input);
        read.map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
