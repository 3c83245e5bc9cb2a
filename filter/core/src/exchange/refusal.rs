//! A conclusion against a request, and the reply that it becomes.
//!
//! INVARIANT: a reply carries fixed text, the call's id, and numbers of ours; nothing of the request.

use crate::call_id::CallId;
use crate::contract::ShedScope;
use crate::load::Overload;
use crate::reason::{GrpcStatus, Reason};
use crate::reply;
use crate::report::Side;
use crate::routes::OperationIndex;
use crate::shed::Pushback;

/// A conclusion against the request, with all that the reply needs, and the operation for the report on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Where the rule was broken, such as `body/items/3/price`. For the report; no caller is told.
    pub place: Box<str>,
    pub side: Side,
    pub call_id: CallId,
    /// `None` where the request was refused before it had one.
    pub operation: Option<OperationIndex>,
    /// Of a request that is one too many.
    pub overload: Option<Box<Overload>>,
}

impl Refusal {
    /// The status of the reply to an HTTP caller.
    pub fn status(&self) -> u16 {
        match self.side {
            Side::Request if self.asks_for_another_replica() => 503,
            Side::Request => self.reason.status(),
            // Whatever rule it was: the service broke it, not the caller.
            Side::Response => 502,
        }
    }

    /// The status of the reply to a gRPC caller.
    pub fn grpc_status(&self) -> GrpcStatus {
        match self.side {
            Side::Request if self.asks_for_another_replica() => GrpcStatus::Unavailable,
            Side::Request => self.reason.grpc_status(),
            Side::Response => GrpcStatus::Internal,
        }
    }

    /// The headers of the reply. What sheds says when to come again, in the words of HTTP and of gRPC, and tells a proxy
    /// not to ask again by itself; unless another replica may have room.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", reply::CONTENT_TYPE.to_owned())];
        let Some(overload) = &self.overload else { return headers };
        if self.asks_for_another_replica() {
            // Proxies of Istio 1.24 and later retry what a gRPC status calls unavailable, and no longer a bare 503.
            if !overload.is_grpc {
                headers.push(("grpc-status", (GrpcStatus::Unavailable as u8).to_string()));
            }
            return headers;
        }
        headers.push((reply::RATE_LIMITED, "true".to_owned()));
        let pushback_ms = match overload.pushback {
            Pushback::Later(later_ms) => {
                headers.push(("retry-after", later_ms.div_ceil(1000).max(1).to_string()));
                later_ms.to_string()
            }
            Pushback::Never => "-1".to_owned(),
        };
        if overload.is_grpc {
            headers.push((reply::GRPC_PUSHBACK, pushback_ms));
        }
        headers
    }

    fn asks_for_another_replica(&self) -> bool {
        self.overload.as_ref().is_some_and(|overload| overload.scope == ShedScope::Replica)
    }
}
