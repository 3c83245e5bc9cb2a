//! gRPC callers get gRPC answers: a status of ours whoever refuses, and streams on which nobody has to speak first.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use palisade_core::reason::{GrpcStatus, Reason};
use tests::http1;
use tests::raw_client::{Outcome, Reply};
use tests::raw_h2::{self, H2Request};
use tests::rig::{BundleUnderTest, Rig, Target};

/// One message of length zero, as every gRPC client sends it.
const EMPTY_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// How long a stream may take until the other side was heard; without it the test would wait for ever.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

fn start(target: Target) -> Rig {
    Rig::start(target, BundleUnderTest::Second)
}

/// A unary call of the bundle's gRPC operation, by a client that may make it.
fn call(rig: &Rig) -> H2Request {
    let client = rig.profile.value("client");
    call_as(rig, client, &[("content-type", "application/grpc")])
}

fn call_as(rig: &Rig, client: &str, headers: &[(&str, &str)]) -> H2Request {
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", rig.profile.value("grpc_host")),
        (":path", rig.profile.value("grpc_path")),
        ("te", "trailers"),
        ("x-api-key", rig.api_key(client)),
    ];
    let headers = fixed.iter().chain(headers);
    H2Request {
        headers: headers.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
        data: vec![EMPTY_MESSAGE.to_vec()],
        ..H2Request::default()
    }
}

fn with_path(mut request: H2Request, path: &str) -> H2Request {
    let (_, value) = request.headers.iter_mut().find(|(name, _)| name == b":path").expect("a path");
    *value = path.as_bytes().to_vec();
    request
}

/// The status and the message that a gRPC library would show; HTTP's own must be 200 for that.
fn grpc_answer(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some(b"application/grpc".as_slice()), "{reply:?}");
    let field = |name| {
        let value = reply.header(name).or_else(|| http1::header(&reply.trailers, name));
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    (field("grpc-status"), field("grpc-message"))
}

fn send(rig: &Rig, request: &H2Request) -> Reply {
    raw_h2::send(rig.addr(), request).expect_reply()
}

/// The call is answered with this status, by this reason, and the service saw none of it.
fn assert_refused(rig: &Rig, request: &H2Request, status: GrpcStatus, reason: Option<Reason>) {
    rig.reset_spies();
    let (code, message) = grpc_answer(&send(rig, request));
    assert_eq!(code, (status as u8).to_string(), "{message}");
    if let Some(reason) = reason {
        assert!(message.contains(reason.code()) && message.contains("decision_id"), "{message}");
        assert_eq!(reason.grpc_status(), status);
    }
    assert_eq!(rig.bytes_seen(), 0, "{:?}", rig.requests_seen());
}

fn refusals(target: Target) {
    let mut rig = start(target);
    assert_eq!(grpc_answer(&send(&rig, &call(&rig))).0, "0");
    assert_eq!(rig.requests_seen().len(), 1, "a permitted call arrives");

    let denied = call_as(&rig, rig.profile.value("reader"), &[("content-type", "application/grpc")]);
    assert_refused(&rig, &denied, GrpcStatus::PermissionDenied, Some(Reason::PolicyDenied));
    let mut stranger = call(&rig);
    stranger.headers.retain(|(name, _)| name != b"x-api-key");
    stranger.headers.push((b"x-api-key".to_vec(), b"nobody's".to_vec()));
    assert_refused(&rig, &stranger, GrpcStatus::Unauthenticated, Some(Reason::IdentityInvalid));

    let path = rig.profile.value("grpc_path").to_owned();
    let unknown = with_path(call(&rig), &format!("{path}All"));
    assert_refused(&rig, &unknown, GrpcStatus::Unimplemented, Some(Reason::OperationUnknown));
    let odd = with_path(call(&rig), &format!("{path};v=1"));
    assert_refused(&rig, &odd, GrpcStatus::InvalidArgument, Some(Reason::PathMatrixParameter));

    rig.server.kill();
    // Envoy's own refusal, 403, by Envoy's own table. It is not the status that callers retry.
    assert_refused(&rig, &call(&rig), GrpcStatus::PermissionDenied, None);
}

/// What Envoy would not count as gRPC would be answered in HTTP with a body that a gRPC client cannot read, so it is
/// refused as what it is: an HTTP request of an unsupported type.
fn near_misses(target: Target) {
    let rig = start(target);
    let client = rig.profile.value("client").to_owned();
    for near in [
        ["application/grpc-web"].as_slice(),
        &["application/grpc-web+proto"],
        &["Application/gRPC"],
        &["application/GRPC"],
        &["application/grpc;charset=utf-8"],
        &["application/grpcx"],
        // Envoy joins the two with a comma.
        &["application/grpc", "application/grpc"],
    ] {
        rig.reset_spies();
        let types: Vec<_> = near.iter().map(|near| ("content-type", *near)).collect();
        let reply = send(&rig, &call_as(&rig, &client, &types));
        let refusal = (reply.status, reply.reason());
        assert_eq!(refusal, (415, Some(Reason::ContentTypeNearGrpc.code().to_owned())), "{near:?}");
        assert_eq!(rig.bytes_seen(), 0, "{near:?}");
    }
    let exact = send(&rig, &call_as(&rig, &client, &[("content-type", "application/grpc+proto")]));
    assert_eq!(grpc_answer(&exact).0, "0");
}

/// An open stream: the caller's head, the service's first message, then the caller's own, then the end.
async fn converse(mut client: SendRequest<Bytes>, request: http::Request<()>) -> Result<String, h2::Error> {
    let (response, mut stream) = client.send_request(request, false)?;
    let response = response.await?;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let first = body.data().await.expect("the service speaks first")?;
    assert_eq!(first, EMPTY_MESSAGE);
    body.flow_control().release_capacity(first.len())?;
    stream.send_data(Bytes::from_static(EMPTY_MESSAGE), false)?;
    stream.send_data(Bytes::from_static(EMPTY_MESSAGE), true)?;
    while let Some(more) = body.data().await {
        body.flow_control().release_capacity(more?.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(trailers.get("grpc-status").map(|status| format!("{status:?}")).unwrap_or_default())
}

fn open_stream(target: Target) {
    let rig = start(target);
    let spy = &rig.spies[rig.profile.value("grpc_service")];
    spy.speak_first(true);
    let uri = format!("http://{}{}", rig.profile.value("grpc_host"), rig.profile.value("grpc_path"));
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-api-key", rig.api_key(rig.profile.value("client")))
        .body(())
        .expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(rig.addr()).await.expect("connect to the listener");
        let (client, connection) = h2::client::handshake(socket).await.expect("HTTP/2 to the listener");
        let driver = tokio::spawn(connection);
        let ended = tokio::time::timeout(STREAM_TIMEOUT, converse(client, request)).await;
        driver.abort();
        ended.expect("the stream hangs: somebody waits for the caller's first message")
    });
    assert_eq!(status.expect("the stream ends well"), "\"0\"");
    let seen = spy.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, [EMPTY_MESSAGE, EMPTY_MESSAGE].concat(), "both messages arrived");
    // A stream is decided on by its head, once.
    assert_eq!(rig.decisions_when(1).len(), 1);
}

#[test]
fn refusals_are_grpc_statuses_on_envoy() {
    refusals(Target::Envoy);
}

#[test]
fn refusals_are_grpc_statuses_on_istio() {
    refusals(Target::Istio);
}

#[test]
fn what_only_resembles_grpc_is_refused_as_http_on_envoy() {
    near_misses(Target::Envoy);
}

#[test]
fn what_only_resembles_grpc_is_refused_as_http_on_istio() {
    near_misses(Target::Istio);
}

#[test]
fn a_service_may_speak_first_on_envoy() {
    open_stream(Target::Envoy);
}

#[test]
fn a_service_may_speak_first_on_istio() {
    open_stream(Target::Istio);
}

#[test]
fn a_stream_that_is_denied_never_opens() {
    let rig = start(Target::Envoy);
    rig.reset_spies();
    let mut open = call_as(&rig, rig.profile.value("reader"), &[("content-type", "application/grpc")]);
    open.data.clear();
    open.open = true;
    // The caller has said nothing but its head, and will say nothing more.
    match raw_h2::send(rig.addr(), &open) {
        Outcome::Reply(reply) => assert_eq!(grpc_answer(&reply).0, "7"),
        other => panic!("expected a status, got {other:?}"),
    }
    assert_eq!(rig.bytes_seen(), 0);
}
