//! An ext_authz and access log server that records what Envoy sends and answers as the request asks.
//!
//! Envoy is what these tests are about, so the server is a stand-in that decides nothing.
//! INVARIANT: every Check and every log entry is recorded before anything is answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::data::accesslog::v3::HttpAccessLogEntry;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// The request header by which a test chooses the answer: `deny`, `error`, `hang`, or `remove NAME`.
pub(super) const ANSWER_HEADER: &str = "x-authz";

/// One Check as it came.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) request: CheckRequest,
    /// The call's own metadata, beside the message.
    pub(super) metadata: HashMap<String, String>,
}

impl Check {
    pub(super) fn http(&self) -> HttpRequest {
        let request = self.request.attributes.as_ref().and_then(|attributes| attributes.request.as_ref());
        request.and_then(|request| request.http.clone()).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.http().headers.get(name).cloned()
    }

    pub(super) fn principal(&self) -> String {
        let source = self.request.attributes.as_ref().and_then(|attributes| attributes.source.as_ref());
        source.map(|source| source.principal.clone()).unwrap_or_default()
    }

    fn tag(&self) -> String {
        self.header("x-tag").or_else(|| self.raw_header("x-tag")).unwrap_or_default()
    }

    /// A header where Envoy was told to send headers as they are.
    fn raw_header(&self, name: &str) -> Option<String> {
        let headers = self.http().header_map?.headers;
        let found = headers.iter().find(|header| header.key == name)?;
        String::from_utf8(found.raw_value.clone()).ok()
    }
}

#[derive(Debug, Default)]
struct Records {
    checks: Vec<Check>,
    entries: Vec<HttpAccessLogEntry>,
    abandoned: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<Records>,
    changed: Condvar,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("the lock of a server")
    }

    fn record(&self, change: impl FnOnce(&mut Records)) {
        change(&mut self.records());
        self.changed.notify_all();
    }

    fn wait<T>(&self, timeout: Duration, probe: impl Fn(&Records) -> Option<T>) -> Option<T> {
        let end = Instant::now() + timeout;
        let mut records = self.records();
        loop {
            if let Some(found) = probe(&records) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            records = self.changed.wait_timeout(records, left).expect("the lock of a server").0;
        }
    }
}

/// A running server. All of it ends when it is dropped, its connections too.
#[derive(Debug)]
pub(super) struct Authz {
    addr: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Authz {
    pub(super) fn start(addr: SocketAddr) -> Self {
        let mut authz = Self { addr, shared: Arc::default(), runtime: None };
        authz.restart();
        authz
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts it again at its address, after [`Self::stop`]; what was recorded stays.
    pub(super) fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for a server");
        let addr = self.addr;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(addr)).expect("bind a server's port");
        let service = Recorder { shared: Arc::clone(&self.shared) };
        runtime.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(AuthorizationServer::new(service.clone()).max_decoding_message_size(64 << 20))
                .add_service(AccessLogServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        self.runtime = Some(runtime);
    }

    /// Ends the server at once, as a kill would.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// The Checks of one request.
    pub(super) fn checks(&self, tag: &str) -> Vec<Check> {
        self.shared.records().checks.iter().filter(|check| check.tag() == tag).cloned().collect()
    }

    /// The first Check of a request; `None` when the deadline passed first.
    pub(super) fn check_within(&self, tag: &str, timeout: Duration) -> Option<Check> {
        self.shared.wait(timeout, |records| records.checks.iter().find(|check| check.tag() == tag).cloned())
    }

    #[track_caller]
    pub(super) fn check(&self, tag: &str) -> Check {
        self.check_within(tag, Duration::from_secs(10)).expect("a Check came")
    }

    /// The access log's entry of a request to `path`.
    #[track_caller]
    pub(super) fn entry(&self, path: &str) -> HttpAccessLogEntry {
        self.entry_within(path, Duration::from_secs(15)).expect("an access log entry came")
    }

    pub(super) fn entry_within(&self, path: &str, timeout: Duration) -> Option<HttpAccessLogEntry> {
        let of_path =
            |entry: &&HttpAccessLogEntry| entry.request.as_ref().is_some_and(|request| request.path == path);
        self.shared.wait(timeout, |records| records.entries.iter().find(of_path).cloned())
    }

    /// How many entries there are of paths that begin so.
    pub(super) fn entries_below(&self, prefix: &str) -> usize {
        let below = |entry: &&HttpAccessLogEntry| {
            entry.request.as_ref().is_some_and(|request| request.path.starts_with(prefix))
        };
        self.shared.records().entries.iter().filter(below).count()
    }

    /// Whether the call of a Check that hangs was cancelled, and its future dropped.
    pub(super) fn abandoned_within(&self, tag: &str, timeout: Duration) -> bool {
        let abandoned = |records: &Records| records.abandoned.iter().any(|found| found == tag).then_some(());
        self.shared.wait(timeout, abandoned).is_some()
    }
}

impl Drop for Authz {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug, Clone)]
struct Recorder {
    shared: Arc<Shared>,
}

/// Notes when a call's future is dropped before it answered.
struct Noted<'a> {
    shared: &'a Shared,
    tag: String,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let tag = std::mem::take(&mut self.tag);
        self.shared.record(|records| records.abandoned.push(tag));
    }
}

#[tonic::async_trait]
impl Authorization for Recorder {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let ascii = |entry: tonic::metadata::KeyAndValueRef<'_>| match entry {
            tonic::metadata::KeyAndValueRef::Ascii(name, value) => {
                Some((name.to_string(), value.to_str().ok()?.to_owned()))
            }
            tonic::metadata::KeyAndValueRef::Binary(..) => None,
        };
        let metadata = request.metadata().iter().filter_map(ascii).collect();
        let check = Check { request: request.into_inner(), metadata };
        let (answer, tag) = (check.header(ANSWER_HEADER).unwrap_or_default(), check.tag());
        self.shared.record(|records| records.checks.push(check));
        match answer.split_once(' ').unwrap_or((answer.as_str(), "")) {
            ("deny", _) => Ok(Response::new(deny())),
            ("error", _) => Err(Status::internal("asked for")),
            ("hang", _) => {
                let _noted = Noted { shared: &self.shared, tag };
                std::future::pending().await
            }
            ("remove", name) => Ok(Response::new(allow(vec![name.to_owned()]))),
            _ => Ok(Response::new(allow(Vec::new()))),
        }
    }
}

#[tonic::async_trait]
impl AccessLogService for Recorder {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let Some(LogEntries::HttpLogs(entries)) = message.log_entries else { continue };
            self.shared.record(|records| records.entries.extend(entries.log_entry));
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}

fn allow(headers_to_remove: Vec<String>) -> CheckResponse {
    let ok = OkHttpResponse { headers_to_remove, ..OkHttpResponse::default() };
    response(0, "allow", HttpResponse::OkResponse(ok))
}

fn deny() -> CheckResponse {
    let header =
        HeaderValue { key: "x-denied-by".to_owned(), value: "server".to_owned(), ..HeaderValue::default() };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: 403 }),
        headers: vec![HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }],
        body: "denied".to_owned(),
    };
    response(7, "deny", HttpResponse::DeniedResponse(denied))
}

fn response(code: i32, decision: &str, http: HttpResponse) -> CheckResponse {
    let value = Value { kind: Some(Kind::StringValue(decision.to_owned())) };
    CheckResponse {
        status: Some(rpc::Status { code, ..rpc::Status::default() }),
        dynamic_metadata: Some(Struct { fields: HashMap::from([("decision".to_owned(), value)]) }),
        http_response: Some(http),
    }
}
