//! Calls that are put to the account of the connection that they come over.
//!
//! INVARIANT: whatever is served is wrapped in this, so that no method can be called for nothing.

use super::account::Account;
use super::connection::Came;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, http};
use tonic::server::NamedService;

/// A service whose calls cost, and whose messages earn.
#[derive(Debug, Clone)]
pub(super) struct Earning<S>(pub(super) S);

impl<S: NamedService> NamedService for Earning<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Earning<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let Some(Came { account }) = request.extensions().get() else { return self.0.call(request) };
        let account = Arc::clone(account);
        account.call_began();
        self.0.call(request.map(|body| Body::new(Paying { body, account, has_come: false })))
    }
}

/// The body of a call.
struct Paying {
    body: Body,
    account: Arc<Account>,
    /// Bytes came, and their end did not.
    has_come: bool,
}

impl HttpBody for Paying {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len());
                if bytes > 0 {
                    self.has_come = true;
                    self.account.message_came(bytes);
                }
            }
            Poll::Ready(None) if self.has_come => {
                self.has_come = false;
                self.account.message_is_whole();
            }
            Poll::Ready(None | Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
