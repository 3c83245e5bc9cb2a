//! The way back through whole exchanges: what goes out, what is held, what is counted.

use super::{ResponseBodyStep, ResponseStep};
use crate::call_id::CallIdMint;
use crate::contract::tests::sample;
use crate::contract::{Content, Contract, Enforcement, ResponseMedia, ResponseRule, ResponseRules, Status};
use crate::exchange::{Engine, Exchange};
use crate::handoff::Secret;
use crate::headers::encode;
use crate::reason::Reason;
use crate::report::Side;
use crate::responses::Sampler;
use crate::schema::{Node, SchemaIndex, SchemaTable, Types};
use crate::testing::universal_test;

const SERVICE: Option<&[u8]> = Some(b"via_upstream");
const JSON: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/json")];

/// An engine whose lists answer with an object, and a request for one that went on.
fn passed(head: Enforcement, body: Enforcement) -> (Engine, Exchange) {
    let sample = sample();
    let mut service = sample.services()[0].clone();
    let media = ResponseMedia {
        range: "application/json".into(),
        content: Content::Json { schema: Some(SchemaIndex(0)) },
    };
    let rule = ResponseRule { headers: Vec::new(), media: vec![media] };
    *service.operations[0].responses = ResponseRules {
        head,
        body,
        sample: 1,
        bytes_max: 20,
        declared: vec![(Status::Exact(200), rule)],
        ..ResponseRules::default()
    };
    let nodes = vec![Node { types: Types::OBJECT, ..Node::default() }];
    let table = SchemaTable { nodes, patterns: Vec::new() };
    let contract = Contract::assemble(sample.digest(), Vec::new(), vec![service], table).unwrap();
    let engine = Engine { contract, secret: Secret::from_bytes([5; 32]) };
    let mut exchange = Exchange::default();
    let pairs = encode(&[(":method", "GET"), (":path", "/orders"), (":authority", "orders")]);
    exchange.request_head(Some(&engine), &mut CallIdMint::new([6; 16]), 1, Some(&pairs), true);
    assert!(exchange.looks_at_response(&engine, &mut Sampler::default()));
    (engine, exchange)
}

fn refused(step: &ResponseStep) -> Option<(Reason, u16)> {
    match step {
        ResponseStep::Refuse(refusal) => Some((refusal.reason, refusal.status())),
        ResponseStep::Pass
        | ResponseStep::PassUndecided { .. }
        | ResponseStep::Hold
        | ResponseStep::AskSource { .. } => None,
    }
}

fn observed(exchange: &mut Exchange) -> Vec<String> {
    let all = exchange.take_observed();
    assert!(all.iter().all(|one| one.side == Side::Response));
    all.iter().map(|one| format!("{} {}", one.violation.reason.code(), one.violation.place)).collect()
}

universal_test! {
    fn an_enforced_head_is_refused_unless_somebody_else_answers() {
        let bad = encode(&[(":status", "500")]);
        let judge = |pairs: Option<&[u8]>, details| {
            let (engine, mut exchange) = passed(Enforcement::Enforce, Enforcement::Off);
            refused(&exchange.judge_response_head(&engine, pairs, details, true))
        };
        assert_eq!(judge(Some(&bad), SERVICE), Some((Reason::ResponseNotDeclared, 502)));
        // A proxy that does not say who answers is taken for the service.
        assert_eq!(judge(Some(&bad), None), Some((Reason::ResponseNotDeclared, 502)));
        assert_eq!(judge(Some(&bad), Some(b"ext_authz_denied")), None);
        assert_eq!(judge(None, SERVICE), Some((Reason::HeaderMapInvalid, 502)));
        assert_eq!(judge(Some(&encode(&[(":status", "200")])), SERVICE), None);
    }
}

universal_test! {
    fn what_is_reported_goes_out_and_is_counted() {
        let copy = |pieces: &[&str]| {
            let (engine, mut exchange) = passed(Enforcement::Report, Enforcement::Report);
            assert_eq!(exchange.judge_response_head(&engine, Some(&encode(JSON)), SERVICE, false), ResponseStep::Pass);
            for piece in pieces {
                let step = exchange.response_body(Some(&engine), piece.len(), usize::MAX, false);
                if step == ResponseBodyStep::Copy {
                    exchange.copy_response(Some(piece.as_bytes()));
                } else {
                    assert_eq!(step, ResponseBodyStep::Pass);
                }
            }
            exchange.judge_copy(&engine);
            assert_eq!(exchange.copied(), 0);
            observed(&mut exchange)
        };
        assert_eq!(copy(&["{\"a\"", ":1}"]), Vec::<String>::new());
        assert_eq!(copy(&["[", "]"]), ["schema_type response/body"]);
        assert_eq!(copy(&["{\"a\":"]), ["json_syntax response/body/a"]);
        assert_eq!(copy(&["[1,2,3,4,5", ",6,7,8,9,10,11]"]), ["response_too_large response"]);
        assert_eq!(copy(&[]), Vec::<String>::new());
        let (engine, mut exchange) = passed(Enforcement::Report, Enforcement::Report);
        let head = encode(&[(":status", "500")]);
        assert_eq!(exchange.judge_response_head(&engine, Some(&head), SERVICE, true), ResponseStep::Pass);
        assert_eq!(observed(&mut exchange), ["response_not_declared response/status/500"]);
    }
}

universal_test! {
    fn an_enforced_body_is_held_until_it_was_judged() {
        let held = || {
            let (engine, mut exchange) = passed(Enforcement::Report, Enforcement::Enforce);
            assert_eq!(exchange.judge_response_head(&engine, Some(&encode(JSON)), SERVICE, false), ResponseStep::Hold);
            (engine, exchange)
        };
        let reason = |step: ResponseBodyStep| match step {
            ResponseBodyStep::Refuse(refusal) => Some((refusal.reason, refusal.side)),
            ResponseBodyStep::Pass | ResponseBodyStep::Copy | ResponseBodyStep::Hold | ResponseBodyStep::Judge => None,
        };
        let (engine, mut exchange) = held();
        assert_eq!(exchange.response_body(Some(&engine), 1, 100, false), ResponseBodyStep::Hold);
        assert_eq!(exchange.response_body(Some(&engine), 2, 100, true), ResponseBodyStep::Judge);
        assert_eq!(exchange.judge_response(Some(&engine), Some(b"{}")), ResponseBodyStep::Pass);
        for (body, expected) in [(Some(&b"[]"[..]), Reason::SchemaType), (Some(b""), Reason::JsonSyntax), (None, Reason::BodyIncomplete)] {
            let (engine, mut exchange) = held();
            assert_eq!(reason(exchange.judge_response(Some(&engine), body)), Some((expected, Side::Response)));
            assert_eq!(exchange.response_head(None), ResponseStep::Pass, "our own reply needs no decision");
        }
        let (engine, mut exchange) = held();
        assert_eq!(reason(exchange.judge_response(None, Some(b"{}"))), Some((Reason::NotConfigured, Side::Response)));
        let (_, mut exchange) = held();
        assert_eq!(reason(exchange.response_body(Some(&engine), 21, 100, false)), Some((Reason::ResponseTooLarge, Side::Response)));
        let (_, mut exchange) = held();
        assert_eq!(reason(exchange.response_body(Some(&engine), 11, 10, false)), Some((Reason::ProxyFull, Side::Response)));
        let (_, exchange) = held();
        assert_eq!(exchange.response_trailers(), ResponseBodyStep::Judge);
    }
}
