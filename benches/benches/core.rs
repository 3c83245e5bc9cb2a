//! Micro benches of the core: what each step of a verdict costs, apart from proxy and host.
//!
//! Run by `cargo bench -p benches`; a word after `--` chooses the cases that contain it. Each case runs for about a
//! tenth of a second in slices; its line is the median slice, with the fastest and the slowest.
#![expect(
    clippy::unwrap_used,
    reason = "a bench whose inputs do not hold must not print numbers; nothing here is on a request path"
)]

use palisade::bundle::Bundle;
use palisade_core::attempt::Attempt;
use palisade_core::call_id::CallIdMint;
use palisade_core::canary;
use palisade_core::contract::{Contract, Matched, Operation};
use palisade_core::exchange::{Engine, Exchange, HeadStep, binding, find_operation};
use palisade_core::handoff::{Flags, Handoff, Secret, SecretSlot};
use palisade_core::head::RequestHead;
use palisade_core::headers::{HeaderMap, encode};
use palisade_core::json;
use palisade_core::limits::{BODY_BYTES_MAX, HEADERS_MAX};
use palisade_core::load::{Load, Weight};
use palisade_core::parameters;
use palisade_core::responses::{self, ResponseHead, ResponsePlan};
use palisade_core::routes::OperationIndex;
use palisade_core::rules::{self, Watched};
use palisade_core::shed::Answer;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../src/document.rs"]
mod document;

use document::batch_of;

const SLICES: usize = 25;
const SLICE: Duration = Duration::from_millis(4);

const NOW_MS: u64 = 1_763_700_000_000;

fn main() {
    // Cargo hands on options such as `--bench`; a word without a dash is ours.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { words };
    println!("{:<44}{:>12}{:>24}", "case", "ns", "min–max");
    parse_a_head(&bench);
    find_the_operation(&bench);
    write_and_verify_a_handoff(&bench);
    conclude(&bench);
    judge_parameters(&bench);
    judge_json(&bench);
    judge_a_form(&bench);
    judge_a_response(&bench);
    load_a_contract(&bench);
    weigh_requests(&bench);
}

struct Bench {
    words: Vec<String>,
}

impl Bench {
    fn case<T>(&self, name: &str, mut run: impl FnMut() -> T) {
        if !self.words.is_empty() && !self.words.iter().any(|word| name.contains(word.as_str())) {
            return;
        }
        // Doubled until a slice is long enough for the clock.
        let mut times = 1_u64;
        while slice(times, &mut run) < SLICE {
            times = times.saturating_mul(2);
        }
        let mut each_ns: Vec<f64> =
            (0..SLICES).map(|_| slice(times, &mut run).as_secs_f64() * 1e9 / times as f64).collect();
        each_ns.sort_by(f64::total_cmp);
        let at = |place: usize| each_ns.get(place).copied().unwrap_or(f64::NAN);
        let spread = format!("{:.0}–{:.0}", at(0), at(SLICES - 1));
        println!("{name:<44}{:>12.0}{spread:>24}", at(SLICES / 2));
    }
}

fn slice<T>(times: u64, run: &mut impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..times {
        black_box(run());
    }
    began.elapsed()
}

/// A browser's call through a front end and a sidecar.
const HEADERS: [(&str, &str); 16] = [
    (":authority", "orders"),
    (":path", "/orders"),
    (":method", "GET"),
    (":scheme", "http"),
    ("user-agent", "storefront/4.1 (linux; x86_64)"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "en-GB,en;q=0.8"),
    ("x-api-key", "palisade-dev-0f3a5c7e9b1d2f4a6c8e0b2d4f6a8c0e1f3a5c7e9b1d2f4a"),
    ("x-request-id", "5f0c1bd2-7b1e-4c8e-9d37-6a2f0c9b1e11"),
    ("x-envoy-attempt-count", "1"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-envoy-internal", "true"),
    ("x-envoy-expected-rq-timeout-ms", "15000"),
];

/// A header map with so many entries: the first of the list, then headers of no meaning.
fn map_of(count: usize) -> Vec<u8> {
    let more: Vec<String> = (HEADERS.len()..count).map(|place| format!("x-note-{place}")).collect();
    let mut pairs: Vec<(&str, &str)> = HEADERS.iter().copied().take(count).collect();
    pairs.extend(more.iter().map(|name| (name.as_str(), "some value of a middling length")));
    encode(&pairs)
}

/// That of the benches' bundle, compiled as `palisade build` does it.
fn contract() -> Contract {
    Bundle::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/bundle"))).unwrap().contract
}

fn identity_headers() -> Vec<Box<str>> {
    vec!["x-api-key".into()]
}

fn parse_a_head(bench: &Bench) {
    let identity = identity_headers();
    for count in [5, 16, 20, HEADERS_MAX] {
        let map = map_of(count);
        let parse = || {
            let pairs = HeaderMap::parse(black_box(&map)).unwrap();
            RequestHead::parse(pairs.iter(), &identity).map(|head| head.method).unwrap()
        };
        bench.case(&format!("head: {count} headers, {} bytes", map.len()), parse);
    }
}

fn find_the_operation(bench: &Bench) {
    let (contract, map) = (contract(), map_of(16));
    let pairs = HeaderMap::parse(&map).unwrap();
    let head = RequestHead::parse(pairs.iter(), &identity_headers()).unwrap();
    bench.case("operation: found among eight", || {
        find_operation(black_box(&contract), black_box(&head)).unwrap()
    });
}

fn write_and_verify_a_handoff(bench: &Bench) {
    let map = map_of(16);
    let pairs = HeaderMap::parse(&map).unwrap();
    let head = RequestHead::parse(pairs.iter(), &identity_headers()).unwrap();
    let secret = Secret::from_bytes([9; 32]);
    let mut mint = CallIdMint::new([3; 16]);
    let contract = contract();
    let operation = find_operation(&contract, &head).unwrap().index;
    let handoff =
        Handoff { bundle: contract.digest(), operation, flags: Flags::default(), call_id: mint.mint(NOW_MS) };
    bench.case("call id: mint", || mint.mint(black_box(NOW_MS)));
    bench.case("handoff: write", || black_box(&handoff).encode(&secret, binding(&head)));
    let text = handoff.encode(&secret, binding(&head));
    let secrets = || [(SecretSlot::Current, &secret)];
    bench.case("handoff: verify", || {
        Handoff::verify(black_box(text.as_bytes()), secrets(), binding(&head), NOW_MS).unwrap()
    });
}

fn conclude(bench: &Bench) {
    let engine = Engine { contract: contract(), secret: Secret::from_bytes([9; 32]) };
    let mut mint = CallIdMint::new([3; 16]);
    let map = map_of(16);
    bench.case("verdict: a read of 16 headers passes", || {
        let step =
            Exchange::default().request_head(Some(&engine), &mut mint, NOW_MS, Some(black_box(&map)), true);
        assert!(matches!(step, HeadStep::Pass { .. }));
        step
    });
    let unknown =
        encode(&[(":authority", "orders"), (":path", canary::PATH), (":method", "GET"), (":scheme", "http")]);
    bench.case("verdict: an unknown operation is refused", || {
        let step = Exchange::default().request_head(
            Some(&engine),
            &mut mint,
            NOW_MS,
            Some(black_box(&unknown)),
            true,
        );
        assert!(matches!(step, HeadStep::Refuse(_)));
        step
    });
}

/// The operation of the bundle that has this name.
fn operation<'c>(contract: &'c Contract, name: &str) -> &'c Operation {
    let mut all = contract.services().iter().flat_map(|service| &service.operations);
    all.find(|operation| *operation.name == *name).unwrap()
}

fn judge_parameters(bench: &Bench) {
    let contract = contract();
    let mut headers = HEADERS.to_vec();
    headers.retain(|(name, _)| *name != ":path");
    headers.push((":path", "/shelves/lamps-17/search?limit=20&sort=price&after=2026-11-20&tag=green"));
    headers.push(("x-tenant", "north"));
    let map = encode(&headers);
    let pairs = HeaderMap::parse(&map).unwrap();
    let head = RequestHead::parse(pairs.iter(), &identity_headers()).unwrap();
    let Matched { operation, .. } = find_operation(&contract, &head).unwrap();
    bench.case("parameters: four of a query, path, header", || {
        let mut watched = Watched::new(operation, NOW_MS);
        let target = black_box(&head.target);
        parameters::judge(contract.schemas(), operation, target, pairs.iter(), &mut watched).unwrap();
    });
    let engine = Engine { contract: contract.clone(), secret: Secret::from_bytes([9; 32]) };
    let mut mint = CallIdMint::new([3; 16]);
    bench.case("verdict: a read with these passes", || {
        let step =
            Exchange::default().request_head(Some(&engine), &mut mint, NOW_MS, Some(black_box(&map)), true);
        assert!(matches!(step, HeadStep::Pass { .. }));
        step
    });
}

fn judge_json(bench: &Bench) {
    let contract = contract();
    let operation = operation(&contract, "createBatch");
    let rule = operation.body.as_ref().unwrap();
    for (name, bytes) in [("1 kB", 1024), ("64 kB", 64 * 1024), ("1 MB", BODY_BYTES_MAX as usize)] {
        let document = batch_of(bytes);
        bench.case(&format!("json: {name}"), || json::check(black_box(document.as_bytes())).unwrap());
        bench.case(&format!("json: {name} with its schema"), || {
            let mut watched = Watched::new(operation, NOW_MS);
            let body = black_box(document.as_bytes());
            rules::check_body(rule, Some(0), contract.schemas(), body, &mut watched).unwrap();
        });
    }
}

fn judge_a_form(bench: &Bench) {
    let contract = contract();
    let operation = operation(&contract, "openAccount");
    let rule = operation.body.as_ref().unwrap();
    let form = "name=Ada+Lovelace&email=ada%40shop.example&street=Long+Lane+12&city=Lyon&zip=69001\
                &country=fr&born=1990-12-10&age=35&newsletter=true&notes=rings+twice%2C+please";
    bench.case("form: ten fields", || {
        let mut watched = Watched::new(operation, NOW_MS);
        let body = black_box(form.as_bytes());
        rules::check_body(rule, Some(0), contract.schemas(), body, &mut watched).unwrap();
    });
}

fn judge_a_response(bench: &Bench) {
    let contract = contract();
    let rules = &operation(&contract, "reportAll").responses;
    let map = encode(&[
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", "1012"),
        ("date", "Sat, 21 Nov 2026 09:30:00 GMT"),
        ("server", "shop"),
        ("x-request-id", "5f0c1bd2-7b1e-4c8e-9d37-6a2f0c9b1e11"),
        ("cache-control", "no-store"),
        ("x-envoy-upstream-service-time", "3"),
    ]);
    let judge = || {
        let pairs = HeaderMap::parse(black_box(&map)).unwrap();
        let head = ResponseHead::parse(pairs.iter(), false).unwrap();
        responses::check_head(rules, contract.schemas(), &head, pairs.iter(), |_, broken| Err(broken))
            .unwrap()
    };
    let plan = judge();
    let body_rule = if let ResponsePlan::Copy(rule) = plan { Some(rule) } else { None }.unwrap();
    bench.case("response: head of 8 headers", judge);
    let document = batch_of(1024);
    bench.case("response: body of 1 kB", || {
        let body = black_box(document.as_bytes());
        responses::check_body(rules, body_rule, contract.schemas(), body, Err).unwrap();
    });
}

fn load_a_contract(bench: &Bench) {
    let bytes = contract().encode().unwrap();
    bench.case(&format!("contract: load {} bytes", bytes.len()), || {
        Contract::decode(black_box(&bytes)).unwrap()
    });
}

/// Requests of a service that sheds and has a limit by caller, one after the other, each answered before the next but ten comes: weighed, sent,
/// answered and gone. What is read of an answer, or not read, is the host's part and not here.
fn weigh_requests(bench: &Bench) {
    let contract =
        Bundle::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies"))).unwrap().contract;
    let matched = contract.operation(OperationIndex(0)).unwrap();
    assert!(matched.service.shedding.is_some(), "the demo sheds, and has a limit by caller");
    let weight = Weight { attempt: Attempt::default(), is_grpc: false };
    for (name, step_us) in
        [("load: a request, 200 a second", 5_000), ("load: a request, 10,000 a second", 100)]
    {
        let mut load = Load::new([7; 16]);
        let mut now_us = NOW_MS * 1_000;
        let mut under_way = std::collections::VecDeque::new();
        bench.case(name, || {
            now_us += step_us;
            let weighed = load.weigh(now_us, black_box(matched), weight, || b"caller".to_vec(), |_| None);
            let mut in_work = weighed.in_work.unwrap();
            load.sent(now_us, &mut in_work);
            under_way.push_back(in_work);
            if under_way.len() > 10 {
                let mut answered = under_way.pop_front().unwrap();
                if answered.is_watched() {
                    load.answered(now_us, &mut answered, Answer::Good);
                } else {
                    load.answered_unseen(&mut answered);
                }
                load.gone(None, answered);
            }
        });
    }
}
