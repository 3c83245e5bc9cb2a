//! A caller's trace goes on in the server: its spans reach a real collector through a real Envoy, and a collector that is
//! away changes nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tests::deadline::eventually;
use tests::ports::free_addr;
use tests::rig::{BundleUnderTest, Options, Rig, START_TIMEOUT, Target};
use tonic::{Request, Response, Status};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Takes spans, and keeps them.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().expect("the spans").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until the runtime that is given back is dropped.
    fn start(&self, addr: SocketAddr) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let service = TraceServiceServer::new(self.clone());
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve(addr));
        runtime
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().expect("the spans").clone()
    }
}

fn with_trace(request: &str, traceparent: &str) -> String {
    request.replacen("\r\n", &format!("\r\ntraceparent: {traceparent}\r\n"), 1)
}

fn attribute(span: &Span, name: &str) -> String {
    let value = span.attributes.iter().find(|attribute| attribute.key == name);
    match value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

#[test]
fn a_decision_is_part_of_its_callers_trace() {
    let (collector, addr) = (Collector::default(), free_addr());
    let endpoint = format!("http://{addr}");
    let options = Options::default().server_args(&["--otlp-endpoint", &endpoint]);
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Second, options);
    let traced = format!("00-{TRACE}-{PARENT}-01");
    // Nobody listens yet: calls are served as ever.
    for _ in 0..20 {
        assert_eq!(rig.send(with_trace(&rig.read_request(), &traced)).expect_reply().status, 200);
    }
    let _serving = collector.start(addr);
    let unwanted = [
        format!("00-{TRACE}-{PARENT}-00"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{TRACE}-{PARENT}"),
        "garbage".to_owned(),
    ];
    for traceparent in &unwanted {
        assert_eq!(rig.send(with_trace(&rig.read_request(), traceparent)).expect_reply().status, 200);
    }
    let before = rig.decisions().len();
    // What was waiting is sent or was given up; what comes now is sent for certain, and last.
    let spans = eventually("spans reach the collector", 2 * START_TIMEOUT, || {
        assert_eq!(rig.send(with_trace(&rig.read_request(), &traced)).expect_reply().status, 200);
        let spans = collector.spans();
        (!spans.is_empty()).then_some(spans)
    });
    let checks: Vec<&Span> = spans.iter().filter(|span| span.name == "palisade.check").collect();
    let decisions = rig.decisions();
    assert!(decisions.len() > before);
    for check in &checks {
        assert_eq!(check.trace_id, hex(TRACE), "a span of another trace");
        assert_eq!(check.parent_span_id, hex(PARENT), "the parent is the caller's");
        assert_eq!(attribute(check, "palisade.decision"), "allow");
        assert_eq!(attribute(check, "palisade.reason"), "policy_allowed");
        let id = attribute(check, "palisade.decision_id");
        let decision = decisions.iter().find(|decision| decision.decision_id == id).expect("its entry");
        assert_eq!(attribute(check, "palisade.service"), decision.service);
        assert_eq!(attribute(check, "palisade.operation"), decision.operation);
        let names = spans.iter().filter(|span| span.parent_span_id == check.span_id).map(|span| {
            assert!(span.start_time_unix_nano >= check.start_time_unix_nano);
            assert!(span.end_time_unix_nano <= check.end_time_unix_nano);
            span.name.as_str()
        });
        assert_eq!(names.collect::<Vec<_>>(), ["identity", "evaluation", "ledger"]);
    }
    assert!(checks.len() * 4 == spans.len(), "a span without its decision");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2).expect("hex"), 16).expect("hex"))
        .collect()
}
