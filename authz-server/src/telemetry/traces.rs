//! OpenTelemetry traces: one span for each decision whose caller is traced, with its stages as children, sent by OTLP.
//!
//! The thread that answers only puts what it knows anyway into a bounded queue; spans are made and sent elsewhere. Without
//! an endpoint there is no queue, and a call costs one branch.
//! INVARIANT: nothing here waits for the collector but the task that sends; what does not fit is dropped and counted.
//! INVARIANT: no value of a request and no credential is in a span: names from the bundle, codes, ids and times only.

use super::Metrics;
use crate::ledger::{Conclusion, Decision};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Decisions that wait to be sent, some 300 bytes each: a second of a busy server, or a collector's short absence.
const QUEUE_MAX: usize = 8192;

/// Decisions that are sent at once, four spans each.
const BATCH_MAX: usize = 256;

/// How long a first decision waits for others to be sent with it.
const GATHER: Duration = Duration::from_millis(500);

/// How long the collector may take for a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The caller's place in a trace, as its `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: TraceId,
    span: SpanId,
    is_sampled: bool,
}

impl Parent {
    /// Reads the header's value. What is not exactly as the W3C writes it is none.
    pub fn parse(value: &[u8]) -> Option<Parent> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.splitn(5, '-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let are_well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        // Version 00 ends here; later ones may go on, and `ff` is none.
        if !are_well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
        let is_valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        is_valid.then_some(Parent { trace, span, is_sampled: flags.is_sampled() })
    }
}

/// When the stages of a decision began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    pub identity: (Instant, Instant),
    pub evaluation: (Instant, Instant),
}

/// What becomes a trace.
#[derive(Debug)]
pub struct Traced {
    pub parent: Parent,
    pub arrived: Instant,
    pub stages: Option<Stages>,
    pub ledger: (Instant, Instant),
    pub allowed: bool,
    pub reason: String,
    pub service: String,
    pub operation: String,
    pub decision_id: String,
}

impl Traced {
    pub fn of(
        record: &Decision,
        parent: Parent,
        arrived: Instant,
        stages: Option<Stages>,
        ledger: (Instant, Instant),
    ) -> Traced {
        Traced {
            parent,
            arrived,
            stages,
            ledger,
            allowed: record.decision == Conclusion::Allow,
            reason: record.reason.clone(),
            service: record.service.clone(),
            operation: record.operation.clone(),
            decision_id: record.decision_id.clone(),
        }
    }
}

/// Where traces go.
#[derive(Debug, Default)]
pub struct Traces(Option<mpsc::Sender<Traced>>);

impl Traces {
    /// Sends to this collector, from the runtime on which this is called. Whether it is there, nobody waits to see.
    pub fn start(endpoint: &str, server: &str, metrics: Arc<Metrics>) -> Result<Traces, String> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_protocol(Protocol::Grpc)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| format!("traces cannot be sent to `{endpoint}`: {error}"))?;
        let resource = Resource::builder_empty()
            .with_service_name("palisade")
            .with_attribute(KeyValue::new("service.instance.id", server.to_owned()))
            .build();
        exporter.set_resource(&resource);
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(send(exporter, waiting, metrics));
        Ok(Traces(Some(queue)))
    }

    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The caller's place in a trace, if traces are sent and this one is wanted.
    pub fn parent(&self, pairs: &[(&[u8], &[u8])]) -> Option<Parent> {
        self.0.as_ref()?;
        let (_, value) = pairs.iter().find(|(name, _)| *name == b"traceparent")?;
        Parent::parse(value).filter(|parent| parent.is_sampled)
    }

    pub fn send(&self, traced: Traced, metrics: &Metrics) {
        if self.0.as_ref().is_some_and(|queue| queue.try_send(traced).is_err()) {
            metrics.traces.dropped(1);
        }
    }
}

async fn send(exporter: SpanExporter, mut waiting: mpsc::Receiver<Traced>, metrics: Arc<Metrics>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = waiting.recv().await {
        batch.push(first);
        let gather = tokio::time::sleep(GATHER);
        let mut gather = std::pin::pin!(gather);
        while batch.len() < BATCH_MAX {
            tokio::select! {
                () = &mut gather => break,
                more = waiting.recv() => match more {
                    Some(more) => batch.push(more),
                    None => break,
                },
            }
        }
        let count = batch.len() as u64;
        let (now, at) = (Instant::now(), SystemTime::now());
        let spans: Vec<SpanData> = batch.drain(..).flat_map(|traced| spans(&traced, now, at)).collect();
        // The exporter has a timeout of its own; this one holds whatever it does.
        let sent = tokio::time::timeout(2 * EXPORT_TIMEOUT, exporter.export(spans)).await;
        match sent {
            Ok(Ok(())) => metrics.traces.sent(count),
            Ok(Err(_)) | Err(_) => metrics.traces.dropped(count),
        }
    }
}

/// The spans of a decision, its own first. `now` and `at` are the same moment.
fn spans(traced: &Traced, now: Instant, at: SystemTime) -> Vec<SpanData> {
    let when = |moment: Instant| at - now.saturating_duration_since(moment);
    let span = |parent, (from, to): (Instant, Instant), name: &'static str| SpanData {
        span_context: context(traced.parent.trace),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: when(from),
        end_time: when(to),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("palisade")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    };
    let mut check = span(traced.parent.span, (traced.arrived, traced.ledger.1), "palisade.check");
    check.parent_span_is_remote = true;
    check.span_kind = SpanKind::Server;
    check.attributes = vec![
        KeyValue::new("palisade.decision", if traced.allowed { "allow" } else { "deny" }),
        KeyValue::new("palisade.reason", traced.reason.clone()),
        KeyValue::new("palisade.service", traced.service.clone()),
        KeyValue::new("palisade.operation", traced.operation.clone()),
        KeyValue::new("palisade.decision_id", traced.decision_id.clone()),
    ];
    let id = check.span_context.span_id();
    let mut all = vec![check];
    if let Some(Stages { identity, evaluation }) = traced.stages {
        all.push(span(id, identity, "identity"));
        all.push(span(id, evaluation, "evaluation"));
    }
    all.push(span(id, traced.ledger, "ledger"));
    all
}

/// A new span of the trace.
fn context(trace: TraceId) -> SpanContext {
    let mut id = [0; 8];
    // Without randomness the span has no valid id, and collectors drop it.
    let _filled = getrandom::fill(&mut id);
    SpanContext::new(trace, SpanId::from_bytes(id), TraceFlags::SAMPLED, false, TraceState::default())
}

#[cfg(test)]
mod tests {
    use super::{Parent, Stages, Traced, spans};
    use opentelemetry::trace::SpanId;
    use std::time::{Duration, Instant, SystemTime};

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_as_the_standard_writes_it_and_no_other_way() {
        assert!(Parent::parse(GOOD.as_bytes()).unwrap().is_sampled);
        let not_sampled = GOOD.replace("-01", "-00");
        assert!(!Parent::parse(not_sampled.as_bytes()).unwrap().is_sampled);
        let later = format!("{}-more", GOOD.replacen("00-", "01-", 1));
        assert!(Parent::parse(later.as_bytes()).is_some());
        let bad = [
            String::new(),
            GOOD.to_uppercase(),
            format!(" {GOOD}"),
            format!("{GOOD},{GOOD}"),
            format!("{GOOD}-more"),
            GOOD.replacen("00-", "ff-", 1),
            GOOD.replacen("00-", "0-", 1),
            GOOD.replace("-01", ""),
            GOOD.replace("-01", "-1"),
            GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b", "b7ad6"),
            GOOD.replace("b7ad6b", "b7adg6"),
            GOOD.replace("b7ad6b", "+7ad6b"),
        ];
        for text in &bad {
            assert_eq!(Parent::parse(text.as_bytes()), None, "`{text}`");
        }
        assert_eq!(Parent::parse(&[0xff; 55]), None);
    }

    #[test]
    fn spans_of_a_decision_are_one_family() {
        let now = Instant::now();
        let arrived = now.checked_sub(Duration::from_millis(5)).unwrap();
        let moment = |ms| arrived + Duration::from_millis(ms);
        let traced = Traced {
            parent: Parent::parse(GOOD.as_bytes()).unwrap(),
            arrived,
            stages: Some(Stages { identity: (moment(1), moment(2)), evaluation: (moment(2), moment(3)) }),
            ledger: (moment(3), moment(5)),
            allowed: true,
            reason: "policy_allowed".to_owned(),
            service: "orders".to_owned(),
            operation: "listOrders".to_owned(),
            decision_id: "id".to_owned(),
        };
        let spans = spans(&traced, now, SystemTime::now());
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["palisade.check", "identity", "evaluation", "ledger"]);
        assert_eq!(spans[0].parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
        for child in &spans[1..] {
            assert_eq!(child.parent_span_id, spans[0].span_context.span_id());
            assert_eq!(child.span_context.trace_id(), spans[0].span_context.trace_id());
            assert!(child.start_time >= spans[0].start_time && child.end_time <= spans[0].end_time);
            assert!(child.attributes.is_empty());
        }
    }
}
