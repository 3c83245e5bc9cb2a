//! Whole exchanges through one `check`-like driver: callbacks in, steps out.

use super::{BodyStep, Engine, Exchange, HeadStep, Observed, ResponseStep, Source, binding};
use crate::call_id::CallIdMint;
use crate::contract::Contract;
use crate::contract::tests::sample;
use crate::handoff::{Flags, HEADER, Handoff, Secret, SecretSlot};
use crate::head::RequestHead;
use crate::headers::{HeaderMap, encode};
use crate::reason::Reason;
use crate::report::Side;
use crate::schema::SchemaTable;
use crate::testing::universal_test;

const NOW_MS: u64 = 1_763_700_000_000;

struct Driver {
    engine: Engine,
    mint: CallIdMint,
    exchange: Exchange,
}

impl Driver {
    fn new() -> Driver {
        let engine = Engine { contract: sample(), secret: Secret::from_bytes([5; 32]) };
        Driver { engine, mint: CallIdMint::new([6; 16]), exchange: Exchange::default() }
    }

    fn head(&mut self, method: &str, path: &str, added: &[(&str, &str)], ends_here: bool) -> HeadStep {
        let mut pairs =
            vec![(":method", method), (":path", path), (":authority", "orders"), (":scheme", "http")];
        pairs.extend(added);
        self.exchange.request_head(
            Some(&self.engine),
            &mut self.mint,
            NOW_MS,
            Some(&encode(&pairs)),
            ends_here,
        )
    }

    fn body(&mut self, held: usize, ends_here: bool) -> BodyStep {
        self.exchange.request_body(held, usize::MAX, ends_here, &mut self.mint, NOW_MS)
    }

    fn judge(&mut self, body: &[u8], held: usize) -> BodyStep {
        self.exchange.judge(Some(&self.engine), Some(body), Some(held), &mut self.mint, NOW_MS)
    }
}

fn reason(step: impl Into<Outcome>) -> Option<Reason> {
    step.into().0
}

struct Outcome(Option<Reason>);

impl From<HeadStep> for Outcome {
    fn from(step: HeadStep) -> Self {
        match step {
            HeadStep::Refuse(refusal) => Outcome(Some(refusal.reason)),
            HeadStep::Pass { .. } => Outcome(None),
        }
    }
}

impl From<BodyStep> for Outcome {
    fn from(step: BodyStep) -> Self {
        match step {
            BodyStep::Refuse(refusal) => Outcome(Some(refusal.reason)),
            BodyStep::Pass | BodyStep::Hold | BodyStep::Judge => Outcome(None),
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

universal_test! {
    fn a_passed_head_carries_a_handoff_that_the_server_believes() {
        let mut driver = Driver::new();
        let added = [JSON, (HEADER, "forged"), ("x-palisade-other", "x")];
        let HeadStep::Pass { remove, handoff } = driver.head("POST", "/orders", &added, false) else { panic!("refused") };
        assert_eq!(remove, [HEADER, "x-palisade-other"]);
        let bytes = encode(&[(":method", "POST"), (":path", "/orders"), (":authority", "orders")]);
        let head = RequestHead::parse(HeaderMap::parse(&bytes).unwrap().iter(), &[]).unwrap();
        let secrets = [(SecretSlot::Current, &driver.engine.secret)];
        let (read, _) = Handoff::verify(handoff.as_bytes(), secrets, binding(&head), NOW_MS).unwrap();
        assert_eq!(driver.engine.contract.operation(read.operation).unwrap().operation.name.as_ref(), "createOrder");
        assert!(read.flags.has(Flags::BODY_JUDGED) && !read.flags.has(Flags::GRPC));
    }
}

universal_test! {
    fn heads_are_refused_for_the_rule_they_break() {
        let check = |method, path, added: &[(&str, &str)], ends_here, expected| {
            assert_eq!(reason(Driver::new().head(method, path, added, ends_here)), expected, "{method} {path} {added:?}");
        };
        check("GET", "/orders", &[], true, None);
        check("GET", "/nothing", &[], true, Some(Reason::OperationUnknown));
        check("PUT", "/orders", &[], true, Some(Reason::MethodNotDeclared));
        check("GET", "/orders/../admin", &[], true, Some(Reason::PathDotSegment));
        check("GET", "/orders", &[("upgrade", "websocket")], false, Some(Reason::UpgradeNotDeclared));
        check("POST", "/orders", &[JSON, ("upgrade", "h2c")], false, Some(Reason::UpgradeNotDeclared));
        check("GET", "/watch", &[("upgrade", "websocket")], false, None);
        check("GET", "/watch", &[("upgrade", "spdy")], false, Some(Reason::UpgradeNotDeclared));
        check("GET", "/orders", &[("content-length", "1")], false, Some(Reason::BodyNotDeclared));
        check("GET", "/orders", &[("content-length", "0")], true, None);
        check("POST", "/orders", &[], false, Some(Reason::ContentTypeMissing));
        check("POST", "/orders", &[], true, Some(Reason::BodyMissing));
        check("POST", "/pkg.Svc/Call", &[], true, None);
        check("POST", "/orders", &[("content-type", "text/plain")], false, Some(Reason::ContentTypeNotDeclared));
        check("POST", "/orders", &[("content-type", "application/grpc")], false, Some(Reason::ContentTypeNotDeclared));
        check("POST", "/orders", &[JSON, ("content-encoding", "gzip")], false, Some(Reason::ContentEncodingNotAllowed));
        check("POST", "/orders", &[JSON, ("content-length", "100")], false, None);
        check("POST", "/orders", &[JSON, ("content-length", "101")], false, Some(Reason::BodyTooLarge));
        check("POST", "/pkg.Svc/Call", &[("content-type", "application/grpc+proto")], false, None);
    }
}

universal_test! {
    fn a_service_without_a_gate_gets_no_head_that_a_body_may_follow() {
        let mut service = sample().services()[0].clone();
        service.operations.retain(|operation| !operation.has_body_rules());
        let contract = Contract::assemble(sample().digest(), Vec::new(), vec![service], SchemaTable::default()).unwrap();
        let check = |method, path, added: &[(&str, &str)], ends_here, expected| {
            let mut driver = Driver::new();
            driver.engine.contract = contract.clone();
            assert_eq!(reason(driver.head(method, path, added, ends_here)), expected, "{method} {path} {added:?}");
        };
        check("DELETE", "/orders/7", &[("transfer-encoding", "chunked")], false, Some(Reason::BodyNotDeclared));
        check("DELETE", "/orders/7", &[], false, Some(Reason::BodyNotDeclared));
        check("GET", "/watch", &[], false, Some(Reason::BodyNotDeclared));
        check("DELETE", "/orders/7", &[], true, None);
        check("DELETE", "/orders/7", &[("content-length", "0")], true, None);
        check("GET", "/watch", &[("upgrade", "websocket")], false, None);
        check("POST", "/pkg.Svc/Call", &[("content-type", "application/grpc")], false, None);
    }
}

universal_test! {
    fn nothing_is_released_before_the_whole_body_was_judged() {
        let mut driver = Driver::new();
        assert_eq!(reason(driver.head("POST", "/orders", &[JSON], false)), None);
        assert_eq!(driver.body(0, false), BodyStep::Hold);
        assert_eq!(driver.body(3, false), BodyStep::Hold);
        assert_eq!(driver.body(7, true), BodyStep::Judge);
        assert_eq!(driver.judge(br#"{"a":1}"#, 7), BodyStep::Pass);
        assert_eq!(reason(driver.body(1, false)), Some(Reason::BodyNotDeclared), "bytes after the end");
    }
}

universal_test! {
    fn what_went_on_without_a_judgement_is_noticed() {
        let held = |bytes: &[usize]| {
            let mut driver = Driver::new();
            assert_eq!(reason(driver.head("POST", "/orders", &[JSON], false)), None);
            for bytes in bytes {
                assert_eq!(driver.body(*bytes, false), BodyStep::Hold);
            }
            driver
        };
        assert_eq!(held(&[10]).body(10, true), BodyStep::Judge, "an empty last piece");
        assert_eq!(reason(held(&[10]).body(9, true)), Some(Reason::BodyIncomplete));
        assert_eq!(reason(held(&[10, 60]).body(59, false)), Some(Reason::BodyIncomplete));
        // At trailers the host does not say how much it holds.
        let at_trailers = |mut driver: Driver, body: &[u8]| {
            let step = driver.exchange.request_trailers(Some(&driver.engine), Some(&[]), &mut driver.mint, NOW_MS);
            assert_eq!(step, BodyStep::Judge);
            reason(driver.exchange.judge(Some(&driver.engine), Some(body), None, &mut driver.mint, NOW_MS))
        };
        assert_eq!(at_trailers(held(&[3, 7]), br#"{"a":1}"#), None);
        assert_eq!(at_trailers(held(&[3, 9]), br#"{"a":1}"#), Some(Reason::BodyIncomplete));
        assert_eq!(at_trailers(held(&[]), br#"{"a":1}"#), Some(Reason::BodyIncomplete));
    }
}

universal_test! {
    fn a_stream_has_one_head() {
        let mut refused = Driver::new();
        assert_eq!(reason(refused.head("GET", "/nothing", &[], true)), Some(Reason::OperationUnknown));
        assert_eq!(reason(refused.head("POST", "/orders", &[JSON], false)), Some(Reason::Internal), "after a refusal");
        assert_eq!(refused.body(7, true), BodyStep::Hold, "and what follows is held");
        let mut passed = Driver::new();
        assert_eq!(reason(passed.head("GET", "/orders", &[], true)), None);
        assert_eq!(reason(passed.head("POST", "/orders", &[JSON], false)), Some(Reason::Internal), "after a good one");
    }
}

universal_test! {
    fn bodies_are_refused_for_the_rule_they_break() {
        let driven = || {
            let mut driver = Driver::new();
            assert_eq!(reason(driver.head("POST", "/orders", &[JSON], false)), None);
            driver
        };
        assert_eq!(reason(driven().body(101, false)), Some(Reason::BodyTooLarge));
        assert_eq!(driven().body(100, false), BodyStep::Hold);
        assert_eq!(reason(driven().judge(br#"{"a":"#, 5)), Some(Reason::JsonSyntax));
        assert_eq!(reason(driven().judge(b"{}", 3)), Some(Reason::BodyIncomplete));
        assert_eq!(reason(driven().judge(b"", 0)), Some(Reason::BodyMissing));
        let mut driver = driven();
        assert_eq!(reason(driver.exchange.judge(Some(&driver.engine), None, None, &mut driver.mint, NOW_MS)), Some(Reason::BodyIncomplete));
        let mut driver = driven();
        assert_eq!(driver.exchange.request_trailers(Some(&driver.engine), Some(&[]), &mut driver.mint, NOW_MS), BodyStep::Judge);
        let mut driver = Driver::new();
        assert_eq!(reason(driver.head("GET", "/orders", &[], false)), None);
        assert_eq!(driver.body(0, true), BodyStep::Pass);
        assert_eq!(reason(driver.body(1, true)), Some(Reason::BodyNotDeclared));
    }
}

universal_test! {
    fn after_a_refusal_everything_is_held() {
        let mut driver = Driver::new();
        assert_eq!(reason(driver.head("GET", "/nothing", &[], false)), Some(Reason::OperationUnknown));
        assert_eq!(driver.body(10, true), BodyStep::Hold);
        assert_eq!(driver.exchange.request_trailers(Some(&driver.engine), Some(&[]), &mut driver.mint, NOW_MS), BodyStep::Hold);
        assert_eq!(driver.exchange.response_head(None), ResponseStep::Pass, "our own reply goes out");
    }
}

universal_test! {
    fn callbacks_without_a_head_release_nothing() {
        assert_eq!(reason(Driver::new().body(1, true)), Some(Reason::Internal));
        assert_eq!(reason(Driver::new().judge(b"{}", 2)), Some(Reason::Internal));
        let mut driver = Driver::new();
        assert_eq!(reason(driver.exchange.request_trailers(Some(&driver.engine), Some(&[]), &mut driver.mint, NOW_MS)), Some(Reason::Internal));
        assert_eq!(Driver::new().exchange.response_head(None), ResponseStep::Pass, "a reply from before the chain");
    }
}

universal_test! {
    fn a_response_of_the_service_needs_this_requests_decision() {
        let passed = || {
            let mut driver = Driver::new();
            assert_eq!(reason(driver.head("GET", "/orders", &[], true)), None);
            driver.exchange
        };
        let mut mint = CallIdMint::new([6; 16]);
        let (ours, other) = (mint.mint(NOW_MS).to_string(), mint.mint(NOW_MS).to_string());
        assert_eq!(passed().response_head(Some(ours.as_bytes())), ResponseStep::Pass);
        let suspect = |suspicion| ResponseStep::AskSource { suspicion };
        assert_eq!(passed().response_head(None), suspect(Reason::DecisionMissing));
        assert_eq!(passed().response_head(Some(other.as_bytes())), suspect(Reason::DecisionMismatch));
        let refused = |step| match step {
            ResponseStep::Refuse(refusal) => Some(refusal.reason),
            ResponseStep::Pass
            | ResponseStep::PassUndecided { .. }
            | ResponseStep::Hold
            | ResponseStep::AskSource { .. } => None,
        };
        for suspicion in [Reason::DecisionMissing, Reason::DecisionMismatch] {
            for asked in [true, false] {
                let source = |details| Source { details, asked, status: Some(b"200") };
                for service in [None, Some(&b"via_upstream"[..]), Some(b"")] {
                    assert_eq!(refused(passed().response_source(suspicion, source(service))), Some(suspicion));
                }
                for proxy in [&b"ext_authz_denied"[..], b"ext_authz_error", b"direct_response"] {
                    assert_eq!(passed().response_source(suspicion, source(Some(proxy))), ResponseStep::Pass);
                }
            }
        }
    }
}

universal_test! {
    fn an_operation_that_fails_open_needs_no_decision_where_none_could_be_had() {
        let sample = sample();
        let mut service = sample.services()[0].clone();
        service.operations[0].fails_open = true;
        let contract =
            Contract::assemble(sample.digest(), Vec::new(), vec![service], SchemaTable::default()).unwrap();
        let passed = |method: &str| {
            let mut driver = Driver::new();
            driver.engine.contract = contract.clone();
            assert_eq!(reason(driver.head(method, "/orders", &[], true)), None);
            driver.exchange
        };
        let source = |details, asked| Source { details, asked, status: Some(b"200") };
        let refused = |suspicion, details, asked| {
            let mut exchange = passed("GET");
            let step = exchange.response_source(suspicion, source(details, asked));
            let counted = exchange.take_observed();
            match step {
                ResponseStep::Refuse(refusal) => Some(refusal.reason),
                ResponseStep::PassUndecided { call_id } => {
                    assert_eq!(Some(call_id), exchange.call().map(|(call_id, _)| call_id));
                    let [Observed { side: Side::Response, violation, status: Some(200) }] = &counted[..] else {
                        panic!("counted once, found {counted:?}");
                    };
                    assert_eq!(violation.reason, Reason::DecisionMissing);
                    None
                }
                ResponseStep::Pass | ResponseStep::Hold | ResponseStep::AskSource { .. } => panic!("{step:?}"),
            }
        };
        assert!(passed("GET").fails_open());
        for service in [None, Some(&b"via_upstream"[..]), Some(b"")] {
            assert_eq!(refused(Reason::DecisionMissing, service, true), None);
            // Nobody was asked: a part of the proxy is missing, and that is no outage.
            assert_eq!(refused(Reason::DecisionMissing, service, false), Some(Reason::DecisionMissing));
            for asked in [true, false] {
                let mismatch = Some(Reason::DecisionMismatch);
                assert_eq!(refused(Reason::DecisionMismatch, service, asked), mismatch);
            }
        }
        let denied = source(Some(b"ext_authz_denied"), true);
        assert_eq!(passed("GET").response_source(Reason::DecisionMissing, denied), ResponseStep::Pass);
        assert!(!Exchange::default().fails_open(), "nothing was judged");
    }
}

universal_test! {
    fn without_a_configuration_everything_is_refused() {
        let step = Exchange::default().request_head(None, &mut CallIdMint::new([1; 16]), NOW_MS, Some(&encode(&[])), true);
        assert_eq!(reason(step), Some(Reason::NotConfigured));
    }
}
