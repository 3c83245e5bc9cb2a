//! Where the gate does not hold, and what it costs: upgrades open it, and streams wait for a byte.

use std::sync::LazyLock;

use serde_json::json;
use tests::raw_client::Outcome;
use tests::rig::Target;

use super::ask::{Ask, Wire};
use super::h2_client::Stream;
use super::stage::{HANG, SOON, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("escapes", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("escapes", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

/// One gRPC message of five bytes: its head and no more.
const FIRST_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

fn prepare(scene: &mut Scene) {
    scene.listener("gate", |_| {});
    scene.listener("upgrades", |listener| {
        listener.allow_upgrades();
        listener.gate(8192);
    });
    scene.listener("8192", |listener| listener.gate(8192));
    scene.listener("freed", |listener| {
        listener.route("payments")["typed_per_filter_config"] = json!({
            "envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": { "disable_request_body_buffering": true },
            },
        });
    });
}

#[test]
fn an_upgrade_with_a_body_opens_the_gate() {
    for stage in stages() {
        let ask = Ask::post()
            .script("end reply 422 -1 no")
            .header("connection", "upgrade")
            .header("upgrade", "websocket");
        let mut wire = Wire::open(stage.addr("upgrades"));
        wire.write(ask.head("content-length: 100") + "half");
        // The body has not ended, and yet the server was asked and the service has the head.
        stage.wait_until_seen(&ask.tag);
        assert_eq!(stage.authz.check(&ask.tag).http().raw_body, b"", "the Check has no body");
        assert!(wire.read_until("101 Switching Protocols", SOON), "{}", wire.text());
    }
}

#[test]
fn an_extended_connect_looks_like_an_upgrade_by_get_and_opens_the_gate() {
    for stage in stages() {
        let ask = Ask::new("CONNECT").script("head get :method|head get upgrade|head get :protocol");
        let mut stream = Stream::connect(stage.addr("upgrades"), &ask, "websocket");
        assert_eq!(stage.event(&ask.tag, "head:get_:method "), "status=0 value=GET");
        assert_eq!(stage.event(&ask.tag, "head:get_upgrade "), "status=0 value=websocket");
        assert_eq!(stage.event(&ask.tag, "head:get_:protocol "), "status=1 value=");
        stage.wait_until_seen(&ask.tag);
        let check = stage.authz.check(&ask.tag).http();
        assert_eq!((check.method.as_str(), check.body.as_str()), ("GET", ""));
        stream.reset();
    }
}

#[test]
fn an_upgrade_that_the_listener_does_not_allow_is_refused_before_any_filter() {
    let ask = Ask::get().header("connection", "upgrade").header("upgrade", "websocket");
    let reply = ENVOY.ask("gate", &ask);
    assert_eq!(reply.status, 403);
    let judged = ENVOY.events(&ask.tag).iter().any(|event| event.starts_with("head "));
    assert!(!judged, "{:#?}", ENVOY.events(&ask.tag));
    // Istio opens websocket on every route.
    let ask = Ask::post().header("connection", "upgrade").header("upgrade", "websocket");
    let mut wire = Wire::open(ISTIO.addr("gate"));
    wire.write(ask.head("content-length: 100") + "half");
    ISTIO.wait_until_seen(&ask.tag);
}

#[test]
fn an_open_grpc_stream_with_a_small_first_message_hangs_at_8192_and_goes_at_1() {
    for stage in stages() {
        let ask = Ask::grpc();
        let mut stream = Stream::open(stage.addr("8192"), &ask, false);
        stream.data(FIRST_MESSAGE, false);
        stage.event(&ask.tag, "body size=5");
        assert!(stage.authz.check_within(&ask.tag, HANG).is_none(), "8192 bytes are waited for");
        stream.reset();
        let ask = Ask::grpc();
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stream.data(FIRST_MESSAGE, false);
        stage.authz.check(&ask.tag);
        stream.data(b"", true);
        assert_eq!(stream.reply().status, 200);
    }
}

#[test]
fn a_stream_whose_server_speaks_first_hangs_with_any_gate() {
    for stage in stages() {
        for listener in ["8192", "gate"] {
            let ask = Ask::grpc();
            let mut stream = Stream::open(stage.addr(listener), &ask, false);
            stage.event(&ask.tag, "head ");
            assert_eq!(stream.reply_within(HANG), Outcome::TimedOut);
            assert!(stage.authz.checks(&ask.tag).is_empty(), "at `{listener}`");
        }
    }
}

#[test]
fn a_route_without_body_buffering_frees_a_stream_whose_server_speaks_first() {
    for stage in stages() {
        let ask = Ask::grpc();
        let mut stream = Stream::open(stage.addr("freed"), &ask, false);
        let check = stage.authz.check(&ask.tag);
        assert_eq!(check.http().raw_body, b"");
        stream.data(FIRST_MESSAGE, true);
        assert_eq!(stream.reply().status, 200);
        let arrived = stage.grpc_spy.requests();
        assert!(arrived.iter().any(|request| request.target == ask.path.as_bytes()), "{arrived:?}");
        // Where the gate is off for one route it still holds for the others.
        let held = Ask::post().script("end reply 422 -1 no");
        let mut wire = Wire::open(stage.addr("freed"));
        wire.write(held.head("content-length: 6") + "bad");
        stage.event(&held.tag, "body ");
        wire.write("bad");
        assert!(wire.read_until("HTTP/1.1 422", SOON), "{}", wire.text());
        stage.assert_unseen("gate", &held.tag);
    }
}
