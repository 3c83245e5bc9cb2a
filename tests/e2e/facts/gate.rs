//! What the service sees of a write that is refused at the end of its body, by what stands behind the filter.

use std::sync::LazyLock;

use palisade::build::EXT_AUTHZ_FILTER;
use serde_json::json;
use tests::rig::Target;

use super::ask::{Ask, Wire, chunk};
use super::stage::{HANG, SOON, Stage};

/// Refuses when the body is whole.
const REFUSE: &str = "end reply 422 -1 no";

/// The same, with the head held as well; Envoy must be told that this is meant.
const HOLD_AND_REFUSE: &str = "head pause|end reply 422 -1 no";

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    Stage::start("gate", Target::Envoy, |scene| {
        let wide = |listener: &mut super::stage::Listener| {
            listener.value["per_connection_buffer_limit_bytes"] = 1_048_576.into();
        };
        scene.listener("router only", |listener| {
            wide(listener);
            listener.only_router();
        });
        scene.listener("no body", |listener| {
            wide(listener);
            listener.without_gate();
        });
        scene.listener("partial", |listener| {
            wide(listener);
            listener.gate(8192);
        });
        scene.listener("whole", |listener| {
            wide(listener);
            listener.gate(8192);
            listener.ext_authz()["with_request_body"]["allow_partial_message"] = false.into();
        });
        scene.listener("buffer", |listener| {
            wide(listener);
            listener.remove(EXT_AUTHZ_FILTER);
            listener.before_router(buffer(1_000_000));
        });
        for (name, ext_authz) in [("stop", false), ("stop and ext_authz", true)] {
            scene.listener(name, |listener| {
                wide(listener);
                listener
                    .own_probe(|plugin| plugin["config"]["allow_on_headers_stop_iteration"] = true.into());
                if ext_authz {
                    listener.without_gate();
                } else {
                    listener.only_router();
                }
            });
        }
    })
});

/// Envoy's own filter that waits for a whole body.
pub(super) fn buffer(bytes_max: u64) -> serde_json::Value {
    json!({
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": bytes_max,
        },
    })
}

/// The head is at the service while the filter still waits for the end of the body, and the refusal comes after that.
fn assert_leaks(listener: &str) {
    let ask = Ask::post().script(REFUSE);
    let mut wire = Wire::open(STAGE.addr(listener));
    wire.write(ask.chunked() + &chunk("{\"first\":"));
    STAGE.event(&ask.tag, "body ");
    STAGE.wait_until_seen(&ask.tag);
    wire.write(chunk("bad") + &chunk(""));
    assert!(wire.read_until("\r\n\r\n", SOON));
    assert_eq!(wire.status(), Some(422), "{}", wire.text());
    let heads = STAGE.spy.seen();
    let head = heads.connections.iter().find(|seen| {
        tests::http1::find(&seen.bytes, ask.tag.as_bytes()).is_some()
            && tests::http1::find(&seen.bytes, b"\r\n\r\n").is_some()
    });
    assert!(head.is_some(), "the whole head is at the service");
}

/// Sends a body in pieces, each after the filter has had the one before; gives the status.
fn write_in_pieces(listener: &str, ask: &Ask, pieces: usize, piece: &str) -> Option<u16> {
    let mut wire = Wire::open(STAGE.addr(listener));
    wire.write(ask.chunked());
    for index in 0..pieces {
        wire.write(chunk(piece));
        if index == 0 {
            STAGE.event(&ask.tag, "body ");
        }
    }
    wire.write(chunk(""));
    assert!(wire.read_until("\r\n\r\n", SOON), "{:?} {:#?}", wire, STAGE.events(&ask.tag));
    wire.status()
}

fn assert_holds(listener: &str, script: &str) {
    for (pieces, piece) in [(3, "bad".to_owned()), (18, "x".repeat(10_000))] {
        let ask = Ask::post().script(script);
        assert_eq!(write_in_pieces(listener, &ask, pieces, &piece), Some(422));
        STAGE.assert_unseen(listener, &ask.tag);
        assert_eq!(STAGE.authz.checks(&ask.tag).len(), 0, "a refused write is never asked about");
    }
}

#[test]
fn with_the_router_alone_the_service_sees_the_whole_head_of_a_refused_write() {
    assert_leaks("router only");
}

#[test]
fn with_an_ext_authz_without_body_the_service_sees_the_whole_head_of_a_refused_write() {
    assert_leaks("no body");
}

#[test]
fn with_an_ext_authz_with_a_partial_body_the_service_sees_nothing_of_a_refused_write() {
    assert_holds("partial", REFUSE);
}

#[test]
fn with_an_ext_authz_with_whole_bodies_the_service_sees_nothing_and_large_bodies_get_413() {
    let ask = Ask::post().script(REFUSE);
    assert_eq!(write_in_pieces("whole", &ask, 3, "bad"), Some(422));
    STAGE.assert_unseen("whole", &ask.tag);
    // A good body that is larger than what ext_authz may ask about is lost, too.
    let large = Ask::post().script("end read");
    assert_eq!(write_in_pieces("whole", &large, 2, &"x".repeat(5_000)), Some(413));
    STAGE.assert_unseen("whole", &large.tag);
    let small = Ask::post().script("end read");
    assert_eq!(write_in_pieces("whole", &small, 2, "good"), Some(200));
}

#[test]
fn with_the_buffer_filter_the_service_sees_nothing_of_a_refused_write() {
    assert_holds("buffer", REFUSE);
}

#[test]
fn with_the_head_held_by_the_filter_the_service_sees_nothing_of_a_refused_write() {
    assert_holds("stop", HOLD_AND_REFUSE);
    assert_holds("stop and ext_authz", HOLD_AND_REFUSE);
}

#[test]
fn without_its_field_a_pause_in_the_header_phase_hangs_and_the_body_is_never_read() {
    let ask = Ask::post().script(HOLD_AND_REFUSE);
    let mut wire = Wire::open(STAGE.addr("partial"));
    wire.write(ask.chunked() + &chunk("bad") + &chunk(""));
    STAGE.event(&ask.tag, "head ");
    assert!(!wire.read_until("HTTP", HANG) && !wire.closed);
    assert_eq!(STAGE.events(&ask.tag).len(), 1, "no callback for the body: {:#?}", STAGE.events(&ask.tag));
    STAGE.assert_unseen("partial", &ask.tag);
}
