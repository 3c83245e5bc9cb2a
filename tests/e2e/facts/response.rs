//! What a filter can refuse on the way back: there is no gate, unless it may hold the head.

use std::sync::LazyLock;

use tests::rig::Target;

use super::ask::{Ask, Wire};
use super::stage::{HANG, SOON, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("response", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("response", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

fn prepare(scene: &mut Scene) {
    scene.listener("rendered", |_| {});
    scene.listener("held", |listener| {
        listener.own_probe(|plugin| plugin["config"]["allow_on_headers_stop_iteration"] = true.into());
    });
}

#[test]
fn a_status_or_header_of_a_response_can_be_refused_by_a_local_reply() {
    for stage in stages() {
        let ask = Ask::get()
            .script("rhead get :status|rhead get content-type|rhead reply 502 -1 refused x-why=type");
        let reply = stage.ask("rendered", &ask);
        assert_eq!((reply.status, reply.body.as_slice()), (502, b"refused".as_slice()));
        assert_eq!(reply.header("x-why"), Some(b"type".as_slice()));
        assert_eq!(stage.event(&ask.tag, "rhead:get_:status "), "status=0 value=200");
        assert_eq!(stage.event(&ask.tag, "rhead:get_content-type "), "status=0 value=application/json");
    }
}

#[test]
fn a_refused_response_body_leaves_the_status_with_the_caller_and_cuts_the_connection() {
    for stage in stages() {
        let ask = Ask::get().script("rend reply 502 -1 refused");
        let mut wire = Wire::open(stage.addr("rendered"));
        wire.write(ask.head(""));
        assert!(wire.read_until_closed(SOON), "{}", wire.text());
        assert_eq!(wire.status(), Some(200), "{}", wire.text());
        assert!(
            wire.text().contains("content-length: 3") && wire.text().ends_with("\r\n\r\n"),
            "a head without its body: {}",
            wire.text()
        );
    }
}

#[test]
fn a_held_response_head_hangs_where_the_filter_may_not_hold_it() {
    for stage in stages() {
        let ask = Ask::get().script("rhead pause|rend reply 502 -1 refused");
        let mut wire = Wire::open(stage.addr("rendered"));
        wire.write(ask.head(""));
        stage.event(&ask.tag, "rhead ");
        assert!(!wire.read_until("HTTP", HANG) && !wire.closed, "{}", wire.text());
    }
}

#[test]
fn a_held_response_head_gives_a_clean_refusal_where_the_filter_may_hold_it() {
    for stage in stages() {
        let ask = Ask::get().script("rhead pause|rend reply 502 -1 refused");
        let reply = stage.ask("held", &ask);
        assert_eq!((reply.status, reply.body.as_slice()), (502, b"refused".as_slice()));
        let good = Ask::get().script("rhead pause|rend read");
        let reply = stage.ask("held", &good);
        assert_eq!(reply.status, 200);
    }
}
