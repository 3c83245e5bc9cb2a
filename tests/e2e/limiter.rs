//! Global limits: what Envoy asks a limiter of by the generated configuration, and what callers then hear.
//!
//! The limiter is a stand-in that counts nothing: it keeps what it was asked, and says of each request what a header of it
//! asks for. INVARIANT: every question is kept before it is answered.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, Target};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::handoff::copy_dir;

/// A request whose tenant this is has reached its limit.
const GREEDY: &str = "greedy";

const LIMITS: &str = "limits:
  - {name: quota, rate: 100/h, by: [caller, operation, \"header:x-tenant\"], scope: global}
  - {name: writes, rate: 5/m, by: [caller], operations: [createPayment], scope: global}
  - {name: watched, rate: 0/s, by: [\"header:x-tenant\"], scope: global, mode: shadow}
";

/// The descriptors of one question, each as `key=value` and the like.
type Asked = (String, Vec<Vec<String>>);

#[derive(Clone, Default)]
struct Limiter(Arc<Mutex<Vec<Asked>>>);

#[tonic::async_trait]
impl RateLimitService for Limiter {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        let descriptors: Vec<Vec<String>> = request
            .descriptors
            .iter()
            .map(|descriptor| {
                descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
            })
            .collect();
        let greedy = descriptors.iter().flatten().any(|entry| entry.ends_with(&format!("={GREEDY}")));
        self.0.lock().expect("nobody panicked").push((request.domain, descriptors));
        let code = if greedy { Code::OverLimit } else { Code::Ok };
        Ok(Response::new(RateLimitResponse { overall_code: code.into(), ..RateLimitResponse::default() }))
    }
}

impl Limiter {
    fn serve(&self) -> (Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("start a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("bind");
        let addr = listener.local_addr().expect("a bound address");
        let service = RateLimitServiceServer::new(self.clone());
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (runtime, addr)
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().expect("nobody panicked"))
    }
}

struct Scene {
    _home: TempDir,
    bundle: PathBuf,
}

impl Scene {
    fn new(limiter: &str) -> Scene {
        let home = tempfile::tempdir().expect("make a directory");
        let bundle = home.path().join("bundle");
        copy_dir(&workspace_dir().join("policies"), &bundle);
        let append = |path: &str, text: &str| {
            let path = bundle.join(path);
            let before = fs::read_to_string(&path).expect("read a file");
            fs::write(path, before + text).expect("write a file");
        };
        append("palisade.yaml", &format!("rate_limit_service: {limiter}\n"));
        append("services/payments/service.yaml", LIMITS);
        Scene { _home: home, bundle }
    }

    fn start(&self, target: Target) -> Rig {
        Rig::start_with(target, BundleUnderTest::Demo, Options::default().bundle_dir(&self.bundle))
    }
}

fn pay(rig: &Rig, headers: &str) -> Reply {
    let key = rig.api_key("web");
    let body = r#"{"order_id":"o-17","amount_cents":100}"#;
    let head = format!(
        "POST /payments HTTP/1.1\r\nhost: payments\r\nx-api-key: {key}\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    rig.send(head + body).expect_reply()
}

fn read(rig: &Rig, headers: &str) -> Reply {
    let key = rig.api_key("support-tool");
    let head = format!("GET /payments/p-1 HTTP/1.1\r\nhost: payments\r\nx-api-key: {key}\r\n{headers}\r\n");
    rig.send(head).expect_reply()
}

#[test]
fn a_limiter_is_asked_by_whom_the_server_established_and_its_no_is_a_429_that_ends_retries() {
    for target in Target::ALL {
        let limiter = Limiter::default();
        let (_runtime, addr) = limiter.serve();
        let rig = Scene::new(&format!("{{address: \"{addr}\", domain: shop}}")).start(target);
        limiter.asked();

        let reply = pay(&rig, "x-tenant: blue\r\n");
        assert_eq!((reply.status, reply.reason()), (200, None), "{target:?}");
        let quota = ["limit=payments.quota", "caller=web", "operation=createPayment", "header.x-tenant=blue"];
        let writes = ["limit=payments.writes", "caller=web"];
        let watched = ["limit=payments.watched", "header.x-tenant=blue"];
        let expected = [vec![quota.to_vec(), writes.to_vec()], vec![watched.to_vec()]];
        let asked = limiter.asked();
        assert!(asked.iter().all(|(domain, _)| domain == "shop"));
        let descriptors: Vec<_> = asked.into_iter().map(|(_, descriptors)| descriptors).collect();
        assert_eq!(descriptors, expected, "{target:?}");

        // Nobody leaves a limit by leaving out its header, and a limit of other operations keeps its place.
        read(&rig, "");
        let quota =
            ["limit=payments.quota", "caller=support-tool", "operation=getPayment", "header.x-tenant=-"];
        let writes = ["limit=-", "caller=support-tool"];
        let watched = ["limit=payments.watched", "header.x-tenant=-"];
        let expected = [vec![quota.to_vec(), writes.to_vec()], vec![watched.to_vec()]];
        let descriptors: Vec<_> = limiter.asked().into_iter().map(|(_, descriptors)| descriptors).collect();
        assert_eq!(descriptors, expected, "{target:?}");

        rig.reset_spies();
        let reply = pay(&rig, &format!("x-tenant: {GREEDY}\r\n"));
        assert_eq!(reply.status, 429, "{target:?}");
        assert_eq!(reply.header("x-envoy-ratelimited"), Some(b"true".as_slice()), "{target:?}");
        assert_eq!(rig.bytes_seen(), 0, "{target:?}: the service saw something of what was refused");
        limiter.asked();

        // What is refused anyhow takes nothing of anybody's allowance.
        let reply = rig.send("GET /payments/p-1 HTTP/1.1\r\nhost: payments\r\n\r\n").expect_reply();
        assert!([401, 403].contains(&reply.status), "{target:?}: {}", reply.status);
        let reply = rig.send("GET /orders HTTP/1.1\r\nhost: payments\r\n\r\n").expect_reply();
        assert_eq!(reply.status, 404, "{target:?}");
        // Nor is anybody asked where nothing is limited.
        let reply = rig.send(rig.read_request()).expect_reply();
        assert_eq!(reply.status, 200, "{target:?}");
        assert_eq!(limiter.asked(), [], "{target:?}");
    }
}

#[test]
fn a_limiter_that_is_away_refuses_unless_it_may_fail_open() {
    for (fail, status) in [("closed", 500), ("open", 200)] {
        // A port that somebody had, and nobody has.
        let addr = tests::ports::free_addr();
        let scene = Scene::new(&format!("{{address: \"{addr}\", fail: {fail}}}"));
        let rig = scene.start(Target::Envoy);
        let reply = pay(&rig, "");
        assert_eq!(reply.status, status, "fail: {fail}");
        let unlimited = rig.send(rig.read_request()).expect_reply();
        assert_eq!(unlimited.status, 200, "fail: {fail}");
    }
}

#[test]
fn a_shadow_limit_is_asked_for_and_refuses_nobody() {
    let limiter = Limiter::default();
    let (_runtime, addr) = limiter.serve();
    let scene = Scene::new(&format!("{{address: \"{addr}\"}}"));
    let path = scene.bundle.join("services/payments/service.yaml");
    let text = fs::read_to_string(&path).expect("read a file");
    let only_watched: Vec<_> =
        text.lines().filter(|line| !line.contains("quota") && !line.contains("writes")).collect();
    fs::write(path, only_watched.join("\n")).expect("write a file");
    let rig = scene.start(Target::Envoy);
    limiter.asked();
    let reply = pay(&rig, &format!("x-tenant: {GREEDY}\r\n"));
    assert_eq!(reply.status, 200);
    let expected = vec!["limit=payments.watched".to_owned(), format!("header.x-tenant={GREEDY}")];
    assert_eq!(limiter.asked(), [("palisade".to_owned(), vec![expected])]);
}
