//! Retries between two proxies: what the receiver sees of them, and which refusals end them.

use std::sync::LazyLock;

use serde_json::json;
use tests::http1;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Rig, Target};

use super::ask::Ask;
use super::h2_client::Stream;
use super::stage::{Listener, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("retries", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("retries", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

/// What Istio lists by default since 1.24, and what it listed before.
pub(super) const TODAY: &str = "connect-failure,refused-stream,unavailable,cancelled";
pub(super) const BEFORE: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// The callers' proxies are listeners of the same Envoy that send to its inbound listener.
fn prepare(scene: &mut Scene) {
    for cluster in ["service-orders", "service-payments"] {
        if let Some(limits) = scene.cluster(cluster).pointer_mut("/circuit_breakers/thresholds/0") {
            limits["max_retries"] = 100.into();
        }
    }
    let inbound = scene.listener("inbound", |listener| {
        for host in ["orders", "payments"] {
            listener.host(host)["include_request_attempt_count"] = true.into();
        }
    });
    scene.cluster_like("inbound", "service-orders", inbound);
    scene.cluster_like("inbound-grpc", "service-payments", inbound);
    for (name, retry_on) in [("caller before", BEFORE), ("caller today", TODAY)] {
        scene.listener(name, |listener| caller(listener, retry_on));
    }
    scene.listener("empty list", |listener| {
        listener.manager()["internal_address_config"] = json!({ "cidr_ranges": [] });
    });
    scene.listener("caller direct", |listener| {
        caller(listener, TODAY);
        listener.route("orders")["route"]["cluster"] = "service-orders".into();
    });
}

pub(super) fn caller(listener: &mut Listener, retry_on: &str) {
    listener.only_router();
    listener.filters().remove(0);
    for (host, cluster) in [("orders", "inbound"), ("payments", "inbound-grpc")] {
        listener.host(host)["include_request_attempt_count"] = true.into();
        let route = &mut listener.route(host)["route"];
        route["cluster"] = cluster.into();
        route["timeout"] = "20s".into();
        route["retry_policy"] = json!({
            "retry_on": retry_on,
            "retriable_status_codes": [503],
            "num_retries": 3,
            "retry_back_off": { "base_interval": "0.001s" },
        });
        if let Some(route) = route.as_object_mut() {
            route.shift_remove("max_stream_duration");
        }
    }
}

/// All values that the probe read of one header, in order.
fn values(stage: &Stage, tag: &str, name: &str) -> Vec<String> {
    let start = format!("head:get_{name} status=0 value=");
    stage.events(tag).iter().filter_map(|event| Some(event.strip_prefix(&start)?.to_owned())).collect()
}

fn at_service(stage: &Stage, ask: &Ask, name: &str) -> Option<String> {
    let requests = stage.spy.requests();
    let request = requests.iter().find(|request| request.target == ask.path.as_bytes()).expect("it arrived");
    request.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn deliveries(stage: &Stage, tag: &str) -> usize {
    stage.events(tag).iter().filter(|event| event.starts_with("head ")).count()
}

#[test]
fn the_receiver_sees_the_ordinal_of_each_attempt_and_the_same_request_id() {
    for stage in stages() {
        let ask =
            Ask::get().script("head get x-envoy-attempt-count|head get x-request-id|head reply 503 -1 no");
        assert_eq!(stage.ask("caller before", &ask).status, 503);
        let ordinals = values(stage, &ask.tag, "x-envoy-attempt-count");
        assert_eq!(ordinals, ["1", "2", "3", "4"]);
        let ids = values(stage, &ask.tag, "x-request-id");
        assert_eq!(ids.len(), 4);
        assert!(ids.iter().all(|id| id == &ids[0] && !id.is_empty()), "{ids:?}");
    }
}

#[test]
fn a_callers_own_attempt_count_and_request_id_are_whatever_it_says() {
    for stage in stages() {
        let ask = Ask::get()
            .script("head get x-envoy-attempt-count|head get x-request-id")
            .header("x-envoy-attempt-count", "7")
            .header("x-request-id", "chosen");
        assert_eq!(stage.ask("inbound", &ask).status, 200);
        assert_eq!(values(stage, &ask.tag, "x-envoy-attempt-count"), ["7"]);
        assert_eq!(values(stage, &ask.tag, "x-request-id"), ["chosen"]);
        // Our own router overwrites the ordinal, behind the filter.
        assert_eq!(at_service(stage, &ask, "x-envoy-attempt-count"), Some("1".to_owned()));
    }
}

#[test]
fn the_expected_timeout_is_stripped_before_the_filter_and_the_grpc_timeout_is_not() {
    const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
    for stage in stages() {
        // A proxy does send it: this one sends straight to the service.
        let direct = Ask::get();
        assert_eq!(stage.ask("caller direct", &direct).status, 200);
        assert_eq!(at_service(stage, &direct, EXPECTED), Some("20000".to_owned()));
        for listener in ["caller before", "inbound"] {
            let ask = Ask::grpc()
                .script("head get x-envoy-expected-rq-timeout-ms|head get grpc-timeout")
                .header("grpc-timeout", "9S");
            let mut stream = Stream::open(stage.addr(listener), &ask, false);
            stream.data(&[0, 0, 0, 0, 0], true);
            assert_eq!(stream.reply().status, 200);
            assert_eq!(stage.event(&ask.tag, &format!("head:get_{EXPECTED} ")), "status=1 value=");
            // Where a route limits it, Envoy spells the same time in another unit before the filter sees it.
            let told = values(stage, &ask.tag, "grpc-timeout");
            assert!(told == ["9S"] || told == ["9000m"], "{told:?}");
        }
    }
}

#[test]
fn an_empty_list_of_internal_ranges_makes_callers_internal_and_no_list_makes_none() {
    // What Envoy would obey from somebody internal.
    let own = [
        ("x-envoy-expected-rq-timeout-ms", "123"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "3"),
    ];
    for (stage, listener, internal) in
        [(&*ENVOY, "inbound", false), (&*ISTIO, "inbound", false), (&*ENVOY, "empty list", true)]
    {
        let script: Vec<String> = own.iter().map(|(name, _)| format!("head get {name}")).collect();
        let ask = Ask::get().script(&script.join("|"));
        let ask = own.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        assert_eq!(stage.ask(listener, &ask).status, 200);
        for (name, value) in own {
            let expected =
                if internal { format!("status=0 value={value}") } else { "status=1 value=".to_owned() };
            assert_eq!(stage.event(&ask.tag, &format!("head:get_{name} ")), expected, "{listener}");
        }
    }
}

#[test]
fn of_http_refusals_only_a_503_that_is_listed_and_not_marked_is_tried_again() {
    for stage in stages() {
        let cases = [
            ("caller before", "429 -1 no", 1),
            ("caller before", "503 -1 no", 4),
            ("caller before", "503 -1 no x-envoy-ratelimited=true", 1),
            ("caller today", "503 -1 no", 1),
        ];
        for (listener, reply, tries) in cases {
            let ask = Ask::get().script(&format!("head reply {reply}"));
            let status = stage.ask(listener, &ask).status;
            assert!(reply.starts_with(&status.to_string()));
            assert_eq!(deliveries(stage, &ask.tag), tries, "{listener}: {reply}");
        }
    }
}

/// A gRPC call that the probe refuses.
fn refused_grpc(stage: &Stage, listener: &str, ask: &Ask) -> Reply {
    let mut stream = Stream::open(stage.addr(listener), ask, false);
    stream.data(&[0, 0, 0, 0, 0], true);
    stream.reply()
}

fn grpc_status(reply: &Reply) -> Option<String> {
    let found = http1::header(&reply.trailers, "grpc-status").or_else(|| reply.header("grpc-status"));
    found.map(|status| String::from_utf8_lossy(status).into_owned())
}

#[test]
fn of_grpc_refusals_an_unmarked_14_is_tried_again_and_8_is_not() {
    for stage in stages() {
        for listener in ["caller before", "caller today"] {
            for (reply, status, tries) in [
                ("200 8 no", "8", 1),
                ("200 14 no", "14", 4),
                ("200 14 no x-envoy-ratelimited=true", "14", 1),
            ] {
                let ask = Ask::grpc().script(&format!("head reply {reply}"));
                assert_eq!(grpc_status(&refused_grpc(stage, listener, &ask)).as_deref(), Some(status));
                assert_eq!(deliveries(stage, &ask.tag), tries, "{listener}: {reply}");
            }
        }
    }
}

#[test]
fn an_http_reply_to_a_grpc_caller_becomes_a_grpc_status_by_envoys_table() {
    for stage in stages() {
        let table = [
            (400, "13"),
            (401, "16"),
            (403, "7"),
            (404, "12"),
            (415, "2"),
            (429, "14"),
            (500, "2"),
            (502, "14"),
            (503, "14"),
            (504, "14"),
        ];
        for (status, expected) in table {
            let ask = Ask::grpc().script(&format!("head reply {status} -1 because"));
            let reply = refused_grpc(stage, "inbound", &ask);
            assert_eq!(
                (reply.status, grpc_status(&reply).as_deref()),
                (200, Some(expected)),
                "HTTP {status}"
            );
            assert_eq!(
                reply.header("grpc-message"),
                Some(b"because".as_slice()),
                "the body becomes the message"
            );
        }
    }
}

/// Content types that look like gRPC and do not count as it for Envoy.
const NEAR_MISSES: [&[&str]; 4] = [
    &["Application/gRPC"],
    &["application/grpc-web"],
    &["application/grpc;charset=x"],
    &["application/grpc", "application/grpc"],
];

#[test]
fn a_grpc_reply_to_a_caller_that_is_nearly_grpc_becomes_http_200_with_text() {
    for stage in stages() {
        for content_types in NEAR_MISSES {
            let ask = Ask { headers: Vec::new(), ..Ask::post() };
            let ask = ask.script("head reply 200 8 refused");
            let ask = content_types.iter().fold(ask, |ask, kind| ask.header("content-type", kind));
            let reply = stage.send("inbound", ask.with_body("body")).expect_reply();
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, b"refused".as_slice()),
                "{content_types:?}"
            );
            assert_eq!(grpc_status(&reply), None, "{content_types:?}");
        }
        for kind in ["application/grpc", "application/grpc+proto"] {
            let ask = Ask::post().script("head reply 200 8 refused").header("content-type", kind);
            let reply = stage.send("inbound", ask.with_body("body")).expect_reply();
            assert_eq!(grpc_status(&reply).as_deref(), Some("8"), "{kind}");
        }
    }
}

#[test]
fn our_own_reply_to_a_caller_that_is_nearly_grpc_is_a_refusal() {
    for target in Target::ALL {
        let rig = Rig::start(target, BundleUnderTest::Demo);
        let (path, host) = (rig.profile.value("write_path").to_owned(), rig.profile.value("host").to_owned());
        for content_types in NEAR_MISSES {
            let kinds: String =
                content_types.iter().map(|kind| format!("content-type: {kind}\r\n")).collect();
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{kinds}content-length: 2\r\n\r\n{{}}");
            let reply = rig.send(request).expect_reply();
            assert_eq!(reply.status, 415, "{content_types:?}");
            assert_eq!(reply.reason().as_deref(), Some("content_type_near_grpc"), "{content_types:?}");
        }
        assert_eq!(rig.bytes_seen(), 0);
    }
}
