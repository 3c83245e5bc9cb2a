//! What is spoken on a connection: the limits of HTTP/2, and the services behind them.
//!
//! INVARIANT: every number that a peer can drive has a limit here or in `account`.

use super::earning::Earning;
use super::listen::Peers;
use super::load::Load;
use super::service::Service;
use crate::bundle::CONTEXT_BODY_BYTES_MAX;
use crate::envoy::{AccessLogServiceServer, CheckServer, Gateway};
use crate::reports::{Reports, ReportsServer};
use std::sync::Arc;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Router;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::pb::health_server::{Health, HealthServer};

/// The largest body that travels to the server, and a head with a certificate beside it.
const MESSAGE_BYTES_MAX: usize = CONTEXT_BODY_BYTES_MAX as usize + 512 * 1024;

/// Access logs come in batches that Envoy cuts at 16 KiB by default.
const LOG_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Streams that one proxy may have open at once.
const STREAMS_MAX: u32 = 2048;

/// Calls that one connection may have under way; the rest waits in HTTP/2's own window.
const CALLS_PER_CONNECTION_MAX: usize = 1024;

/// Calls that were cancelled before we had looked at them. Callers that hang up come as resets, all over the one
/// connection of their proxy and many in one read; to end the connection for it would deny everybody else's calls on it.
/// So the bound is not there to punish a peer, who is a proxy of ours, but for memory: a kilobyte or two each.
const PENDING_RESETS_MAX: usize = 8 * 1024;

/// Heads of a Check call itself are small: the request's own head is in its message.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// The protocol's own default; larger frames gain nothing for small messages.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What one call may send before we have read it: the largest message that is taken.
const STREAM_WINDOW_BYTES: u32 = MESSAGE_BYTES_MAX as u32;

/// What one connection may send before we have read it. It bounds the memory that a proxy can make us hold.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;

/// How often a silent connection is asked whether it lives, and how long it has to answer. Calls have a deadline of
/// their own in `service`; a timeout here would end access log streams too.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub(super) fn server(tls: Option<ServerTlsConfig>) -> Result<Server, tonic::transport::Error> {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE));
    match tls {
        Some(tls) => server.tls_config(tls),
        None => Ok(server),
    }
}

/// Everything that one thread serves.
pub(super) fn router<H: Health>(
    mut server: Server,
    health: HealthServer<H>,
    (service, reports): (Arc<Service>, Arc<Reports>),
    peers: Peers,
    load: Arc<Load>,
) -> Router {
    let gateway = Gateway::new(service, load);
    let guard = move |request| peers.admit(request);
    let (guard_logs, guard_reports) = (guard.clone(), guard.clone());
    let checks = CheckServer::new(gateway.clone(), MESSAGE_BYTES_MAX);
    let logs = AccessLogServiceServer::new(gateway).max_decoding_message_size(LOG_MESSAGE_BYTES_MAX);
    server
        .add_service(Earning(health))
        .add_service(Earning(InterceptedService::new(checks, guard)))
        .add_service(Earning(InterceptedService::new(logs, guard_logs)))
        .add_service(Earning(InterceptedService::new(ReportsServer::new(reports), guard_reports)))
}
