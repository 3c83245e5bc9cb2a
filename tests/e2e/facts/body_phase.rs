//! What a filter and a server get of a body, and how large one may be.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::rig::Target;

use super::ask::{Ask, Wire, chunk};
use super::h2_client::Stream;
use super::stage::{SOON, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("body", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("body", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

/// What the host says of a map that is not at hand.
const BAD_ARGUMENT: &str = "status=2 value=";

/// Whether a Check has a part of the body only.
const PARTIAL: &str = "x-envoy-auth-partial-body";

fn prepare(scene: &mut Scene) {
    scene.listener("gate", |listener| {
        listener.manager()["http_protocol_options"]["enable_trailers"] = true.into();
    });
    scene.listener("partial", |listener| listener.gate(10));
    scene.listener("default buffer", |listener| {
        if let Some(listener) = listener.value.as_object_mut() {
            listener.shift_remove("per_connection_buffer_limit_bytes");
        }
        let hosts = listener.manager().pointer_mut("/route_config/virtual_hosts");
        for host in hosts.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(host) = host.as_object_mut() {
                host.shift_remove("request_body_buffer_limit");
            }
        }
        if let Some(options) = listener.manager()["http2_protocol_options"].as_object_mut() {
            options.shift_remove("initial_stream_window_size");
            options.shift_remove("initial_connection_window_size");
        }
    });
    // Whoever renders retries gets them, whatever stands before the router.
    if let Some(limits) = scene.cluster("service-orders").pointer_mut("/circuit_breakers/thresholds/0") {
        limits["max_retries"] = 10.into();
    }
    let failing = scene.listener("failing service", |listener| {
        listener.only_router();
        let second = listener.second_probe("service", "x-service");
        listener.filters()[0] = second;
    });
    scene.cluster_like("failing", "service-orders", failing);
    scene.listener("retrying", |listener| {
        let route = &mut listener.route("orders")["route"];
        route["cluster"] = "failing".into();
        route["retry_policy"] =
            json!({ "retry_on": "5xx", "num_retries": 2, "retry_back_off": { "base_interval": "0.001s" } });
    });
}

#[test]
fn after_a_header_phase_that_went_on_request_headers_can_neither_be_read_nor_written() {
    for stage in stages() {
        let ask = Ask::post().script(
            "head get x-tag|end get x-tag|end set x-late 1|end remove x-tag|end headers|rhead get-request x-tag",
        );
        assert_eq!(stage.send("gate", ask.with_body("body")).expect_reply().status, 200);
        assert_eq!(stage.event(&ask.tag, "head:get_x-tag "), format!("status=0 value={}", ask.tag));
        for action in ["end:get_x-tag", "end:set_x-late_1", "end:remove_x-tag", "rhead:get-request_x-tag"] {
            assert_eq!(stage.event(&ask.tag, &format!("{action} ")), BAD_ARGUMENT, "{action}");
        }
        // The whole map is worse: success, and nothing in it.
        assert_eq!(stage.event(&ask.tag, "end:headers "), "status=0 value=");
    }
}

#[test]
fn what_the_proxy_knows_of_a_request_is_gone_with_its_head_too() {
    const KNOWN: [(&str, &str); 3] = [("method", "POST"), ("host", "orders"), ("headers/x-known", "7")];
    for stage in stages() {
        let read = |phase| KNOWN.map(|(name, _)| format!("{phase} property request/{name}")).join("|");
        let script = [read("head"), read("end"), read("rhead")].join("|");
        let ask = Ask::post().script(&script).header("x-known", "7");
        assert_eq!(stage.send("gate", ask.with_body("body")).expect_reply().status, 200);
        for (name, value) in KNOWN {
            let found = |phase: &str| stage.event(&ask.tag, &format!("{phase}:property_request/{name} "));
            assert_eq!(found("head"), format!("status=0 value={value}"), "{name}");
            assert_eq!([found("end"), found("rhead")], ["status=1 value="; 2], "{name}");
        }
    }
}

#[test]
fn the_check_has_only_the_first_bytes_of_a_body_and_says_so_in_a_header() {
    for stage in stages() {
        let partial = Ask::post().script("end read").header(PARTIAL, "false");
        assert_eq!(stage.send("partial", partial.with_body("0123456789abcdef")).expect_reply().status, 200);
        let check = stage.authz.check(&partial.tag);
        assert_eq!(check.http().raw_body, b"0123456789");
        assert_eq!(check.header(PARTIAL).as_deref(), Some("true"));
        let whole = Ask::post().script("end read").header(PARTIAL, "true");
        assert_eq!(stage.send("partial", whole.with_body("0123456")).expect_reply().status, 200);
        let check = stage.authz.check(&whole.tag);
        assert_eq!(check.http().raw_body, b"0123456");
        assert_eq!(check.header(PARTIAL).as_deref(), Some("false"));
        let none = Ask::get().header(PARTIAL, "false");
        assert_eq!(stage.ask("partial", &none).status, 200);
        assert_eq!(stage.authz.check(&none.tag).header(PARTIAL), None, "without a body nothing is said");
        // The caller's own word reaches the service, and never the server.
        for (ask, said) in [(&partial, b"false".as_slice()), (&whole, b"true"), (&none, b"false")] {
            let seen = stage.spy.requests();
            let seen = seen.iter().find(|request| request.target == ask.path.as_bytes()).expect("it arrived");
            assert_eq!(seen.header(PARTIAL), Some(said));
        }
        let generated = Ask::post().script("end read");
        assert_eq!(stage.send("gate", generated.with_body("secret")).expect_reply().status, 200);
        assert_eq!(
            stage.authz.check(&generated.tag).http().raw_body,
            b"s",
            "with the gate alone, bodies do not travel to the server"
        );
    }
}

#[test]
fn with_trailers_the_body_callback_never_says_that_the_body_has_ended() {
    for stage in stages() {
        let ask = Ask::post().script("end read");
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stream.data(b"first", false);
        stage.event(&ask.tag, "body size=5");
        stream.data(b"last", false);
        stream.trailers(&[("x-sum", "1")]);
        assert_eq!(stream.reply().status, 200);
        let http1 = Ask::post().script("end read");
        let request = http1.chunked() + &chunk("first") + &chunk("last") + "0\r\nx-sum: 1\r\n\r\n";
        assert_eq!(stage.send("gate", request).expect_reply().status, 200);
        for tag in [&ask.tag, &http1.tag] {
            let events = stage.events(tag);
            assert!(events.iter().any(|event| event.starts_with("body ")), "{events:#?}");
            assert!(
                !events.iter().any(|event| event.starts_with("body ") && event.ends_with("end=true")),
                "{events:#?}"
            );
            assert_eq!(
                events.iter().filter(|event| event.starts_with("trailers ")).count(),
                1,
                "{events:#?}"
            );
            assert_eq!(stage.event(tag, "end:read "), "status=0 value=9 bytes");
        }
    }
}

#[test]
fn trailers_can_come_without_any_body_callback() {
    for stage in stages() {
        let ask = Ask::post().script("end read");
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stage.event(&ask.tag, "head ");
        stream.trailers(&[("x-sum", "1")]);
        assert_eq!(stream.reply().status, 200);
        let events = stage.events(&ask.tag);
        assert!(events.iter().any(|event| event == "trailers count=1"), "{events:#?}");
        assert!(!events.iter().any(|event| event.starts_with("body ")), "{events:#?}");
    }
}

#[test]
fn body_callbacks_come_with_zero_bytes() {
    for stage in stages() {
        let ask = Ask::post().script("end read");
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stage.event(&ask.tag, "head ");
        stream.empty_data();
        stream.data(b"", true);
        assert_eq!(stream.reply().status, 200);
        stage.event(&ask.tag, "body size=0 end=false");
        stage.event(&ask.tag, "body size=0 end=true");
        // And on the way back, where the body was complete before.
        stage.event(&ask.tag, "rbody size=0 end=true");
    }
}

/// The status of a held body of this size over HTTP/1.1, and whether the connection was closed after it.
fn held_http1(stage: &Stage, listener: &str, size: usize) -> (Option<u16>, bool) {
    let ask = Ask::post().script("end read");
    let mut wire = Wire::open(stage.addr(listener));
    wire.write(ask.with_body(&"x".repeat(size)));
    assert!(wire.read_until("\r\n\r\n", SOON), "{:#?}", stage.events(&ask.tag));
    let status = wire.status();
    if status == Some(200) {
        return (status, false);
    }
    stage.assert_unseen("gate", &ask.tag);
    (status, wire.read_until_closed(SOON))
}

#[test]
fn http1_holds_exactly_the_buffer_limit_and_one_byte_more_is_a_413_that_closes() {
    for stage in stages() {
        assert_eq!(held_http1(stage, "default buffer", 1_048_576), (Some(200), false));
        assert_eq!(held_http1(stage, "default buffer", 1_048_577), (Some(413), true));
    }
    // What our own Envoy is given is more than the largest body of any contract: the filter counts, and refuses first.
    let generated = 4 << 20;
    assert_eq!(held_http1(&ENVOY, "gate", generated), (Some(200), false));
    assert_eq!(held_http1(&ENVOY, "gate", generated + 1), (Some(413), true));
}

#[test]
fn http2_holds_a_stream_window_which_is_sixteen_mebibytes_by_default() {
    // What our own Envoy is given is the same as over HTTP/1.1.
    for (stage, limit) in [(&*ISTIO, 16 << 20), (&*ENVOY, 4 << 20)] {
        for (size, status) in [(limit, 200), (limit + 1, 413)] {
            let ask = Ask::post().script("end read");
            let mut stream = Stream::open(stage.addr("gate"), &ask, false);
            // A peer that has refused reads no further.
            stream.data(&vec![b'x'; size], true);
            assert_eq!(stream.reply().status, status, "{size} bytes");
            if status == 413 {
                stage.assert_unseen("gate", &ask.tag);
            }
        }
    }
}

#[test]
fn retries_of_the_router_deliver_again_without_a_new_check() {
    for stage in stages() {
        let ask = Ask::post().script("end read").header("x-service", "head reply 503 -1 no");
        let reply = stage.send("retrying", ask.with_body("body")).expect_reply();
        assert_eq!(reply.status, 503);
        let events = stage.events(&ask.tag);
        let deliveries = events.iter().filter(|event| event.starts_with("service head ")).count();
        assert_eq!((stage.authz.checks(&ask.tag).len(), deliveries), (1, 3), "{events:#?}");
    }
}
