//! The one way to ask another server: bounded in time and size, and never led elsewhere.
//!
//! INVARIANT: only the server that was configured is asked. A redirect is an error, no proxy of the environment is used,
//! and without TLS nothing leaves this machine.
//!
//! Connections are kept for the next question; those that lie idle are closed. HTTP/1.1 does for a question now and then.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All headers of an answer together: a sane one has a few hundred bytes, and hyper takes no smaller limit.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const HEADERS_MAX: usize = 64;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

const IDLE_CONNECTIONS_MAX: usize = 8;

const URL_BYTES_MAX: usize = 2048;

/// Where a question goes: `https`, or `http` to this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why an address is none to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointError {
    Unreadable,
    /// Neither `https` nor `http`.
    Scheme,
    /// `http` to another machine.
    NotSecret,
    /// A name and a password before the host.
    UserInfo,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointError::Unreadable => "it is not a URL with a host",
            EndpointError::Scheme => "expected an address that begins with `https://`",
            EndpointError::NotSecret => "expected `https`: without TLS, only this machine itself is asked",
            EndpointError::UserInfo => "expected no user name in the address",
        })
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    pub fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        // `Uri` would drop a fragment without a word.
        if url.len() > URL_BYTES_MAX || url.contains('#') {
            return Err(EndpointError::Unreadable);
        }
        let uri: Uri = url.parse().map_err(|_| EndpointError::Unreadable)?;
        let authority = uri.authority().ok_or(EndpointError::Unreadable)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(EndpointError::Unreadable);
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_this_machine(authority.host()) => {}
            Some("http") => return Err(EndpointError::NotSecret),
            Some(_) | None => return Err(EndpointError::Scheme),
        }
        Ok(Endpoint(uri))
    }

    pub fn is_secret(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What one question may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// From the first byte to the last, a new connection included.
    pub time_max: Duration,
    pub body_bytes_max: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// No connection, or one that ended too early.
    Connection(String),
    Time(Duration),
    /// The body is larger than this.
    Body(usize),
    /// It points elsewhere, where nobody goes.
    Redirect(u16),
    Status(u16),
    /// The question itself cannot be sent.
    Request(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Connection(detail) => write!(f, "the connection failed: {detail}"),
            FetchError::Time(limit) => write!(f, "no whole answer within {} ms", limit.as_millis()),
            FetchError::Body(limit) => write!(f, "the answer is over the limit of {limit} bytes"),
            FetchError::Redirect(status) => {
                write!(f, "the answer is a redirect ({status}), and redirects are not followed")
            }
            FetchError::Status(status) => write!(f, "the answer has the status {status}, expected 200"),
            FetchError::Request(detail) => write!(f, "the question cannot be sent: {detail}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Why nothing can be asked at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetcherError {
    Ca(PathBuf, String),
    /// This machine trusts nobody.
    NoRoots(String),
    Tls(String),
}

impl fmt::Display for FetcherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetcherError::Ca(path, detail) => {
                write!(f, "the certificates in `{}` cannot be used: {detail}", path.display())
            }
            FetcherError::NoRoots(detail) => write!(
                f,
                "this machine trusts no certificate authority: install `ca-certificates`, or name a file of one{detail}"
            ),
            FetcherError::Tls(detail) => write!(f, "TLS cannot be set up: {detail}"),
        }
    }
}

impl std::error::Error for FetcherError {}

/// Asks one server, or several that the same authorities vouch for.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Fetcher {
    /// For one endpoint, whose server shows a certificate of `ca`, else of whom this machine trusts.
    ///
    /// The machine's own list rather than one built in: it has the operator's authorities, and loses a withdrawn one
    /// with an update of the system.
    pub fn begin(endpoint: &Endpoint, ca: Option<&Path>) -> Result<Fetcher, FetcherError> {
        let roots = match ca {
            Some(path) => roots_of(path)?,
            None if endpoint.is_secret() => roots_of_this_machine()?,
            None => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetcherError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Fetcher { client })
    }

    /// The body of a 200.
    pub async fn get(&self, endpoint: &Endpoint, limits: FetchLimits) -> Result<Vec<u8>, FetchError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(endpoint.0.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Full::default());
        self.ask(request, limits).await
    }

    /// The body of a 200 to a form. `authorization` is sent as it is.
    pub async fn post_form(
        &self,
        endpoint: &Endpoint,
        authorization: Option<HeaderValue>,
        form: &[(&str, &str)],
        limits: FetchLimits,
    ) -> Result<Vec<u8>, FetchError> {
        let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let pairs: Vec<String> =
            form.iter().map(|(name, value)| format!("{}={}", escaped(*name), escaped(*value))).collect();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.0.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            request = request.header(AUTHORIZATION, authorization);
        }
        self.ask(request.body(Full::from(pairs.join("&"))), limits).await
    }

    async fn ask(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
        limits: FetchLimits,
    ) -> Result<Vec<u8>, FetchError> {
        let request = request.map_err(|error| FetchError::Request(error.to_string()))?;
        let answer = self.answer(request, limits.body_bytes_max);
        match tokio::time::timeout(limits.time_max, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Time(limits.time_max)),
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let response = self.client.request(request).await.map_err(|error| connection_error(&error))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
            status => return Err(FetchError::Status(status.as_u16())),
        }
        let mut body = response.into_body();
        // What it says of its length is enough to refuse it, and not enough to believe it.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(FetchError::Body(bytes_max));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| connection_error(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > bytes_max {
                return Err(FetchError::Body(bytes_max));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

/// The whole chain of causes: the first alone says only that something failed.
fn connection_error(error: &dyn std::error::Error) -> FetchError {
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        detail = format!("{detail}: {error}");
        cause = error.source();
    }
    FetchError::Connection(detail)
}

fn roots_of(path: &Path) -> Result<RootCertStore, FetcherError> {
    let fail = |detail: String| FetcherError::Ca(path.to_owned(), detail);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))? {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() { Err(fail("it has no certificate".to_owned())) } else { Ok(roots) }
}

fn roots_of_this_machine() -> Result<RootCertStore, FetcherError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A machine's list has authorities that no TLS library reads any more; they are passed over.
    let _counts = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let details: Vec<String> = found.errors.iter().map(|error| format!("; {error}")).collect();
        return Err(FetcherError::NoRoots(details.concat()));
    }
    Ok(roots)
}
