//! What the gate holds, as it is rendered: of a refused write not a byte is at the service, however it was sent.

use std::sync::LazyLock;

use serde_json::json;
use tests::ports::free_addr;
use tests::rig::{BundleUnderTest, Rig, Target};

use super::ask::{Ask, Wire, chunk};
use super::gate::buffer;
use super::h2_client::Stream;
use super::stage::{HANG, SOON, Scene, Stage};

const REFUSE: &str = "end reply 422 -1 no";

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("held", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("held", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

fn prepare(scene: &mut Scene) {
    scene.cluster_like("down", "palisade-server", free_addr());
    scene.listener("gate", |listener| {
        let limit = &listener.ext_authz()["with_request_body"];
        assert_eq!(
            limit,
            &json!({ "max_request_bytes": 1, "allow_partial_message": true, "pack_as_bytes": true }),
            "the gate as rendered"
        );
    });
    scene.listener("trailers", |listener| {
        listener.manager()["http_protocol_options"]["enable_trailers"] = true.into();
    });
    scene.listener("down", |listener| {
        listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
    });
    scene.listener("allowed when down", |listener| {
        listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
        listener.ext_authz()["failure_mode_allow"] = true.into();
    });
    scene.listener("buffer behind", |listener| listener.filters().insert(1, buffer(1_000_000)));
    scene.listener("buffer last", |listener| listener.before_router(buffer(1_000_000)));
    scene.listener("limit last", |listener| {
        let second = listener.second_probe("second", "x-second");
        listener.before_router(second);
        listener.before_router(buffer(1_024));
    });
    scene.listener("second filter", |listener| {
        let second = listener.second_probe("second", "x-second");
        listener.filters().insert(1, second);
    });
}

/// A refused write in pieces over HTTP/1.1: the rest is sent when the filter has seen what came before.
fn refused_in_pieces(stage: &Stage, listener: &str, ask: &Ask, head: &str, rest: &str) {
    let mut wire = Wire::open(stage.addr(listener));
    wire.write(head);
    stage.event(&ask.tag, "head ");
    wire.write(rest);
    assert!(wire.read_until("\r\n\r\n", SOON), "{} {:#?}", wire.text(), stage.events(&ask.tag));
    assert_eq!(wire.status(), Some(422), "{}", wire.text());
    assert_refused(stage, &ask.tag);
}

fn assert_refused(stage: &Stage, tag: &str) {
    stage.assert_unseen("gate", tag);
    assert!(stage.authz.checks(tag).is_empty(), "a refused write is never asked about");
}

#[test]
fn the_gate_holds_a_chunked_write() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        let rest = chunk("{\"a\"") + &chunk("bad") + &chunk("");
        refused_in_pieces(stage, "gate", &ask, &ask.chunked(), &rest);
    }
}

#[test]
fn the_gate_holds_a_write_with_a_length() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        refused_in_pieces(stage, "gate", &ask, &(ask.head("content-length: 6") + "bad"), "bad");
    }
}

#[test]
fn the_gate_holds_http2_with_and_without_a_length() {
    for stage in stages() {
        for length in [None, Some("6")] {
            let mut ask = Ask::post().script(REFUSE);
            if let Some(length) = length {
                ask = ask.header("content-length", length);
            }
            let mut stream = Stream::open(stage.addr("gate"), &ask, false);
            stream.data(b"bad", false);
            stage.event(&ask.tag, "body size=3");
            stream.data(b"bad", true);
            assert_eq!(stream.reply().status, 422);
            assert_refused(stage, &ask.tag);
        }
    }
}

#[test]
fn the_gate_holds_a_write_with_trailers() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        let rest = chunk("bad") + "0\r\nx-sum: 1\r\n\r\n";
        refused_in_pieces(stage, "trailers", &ask, &ask.chunked(), &rest);
        let ask = Ask::post().script(REFUSE);
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stream.data(b"bad", false);
        stage.event(&ask.tag, "body size=3");
        stream.trailers(&[("x-sum", "1")]);
        assert_eq!(stream.reply().status, 422);
        assert_refused(stage, &ask.tag);
    }
}

#[test]
fn the_gate_holds_trailers_without_any_data() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stage.event(&ask.tag, "head ");
        stream.trailers(&[("x-sum", "1")]);
        assert_eq!(stream.reply().status, 422);
        assert_refused(stage, &ask.tag);
    }
}

#[test]
fn expect_100_is_answered_by_envoy_before_any_filter_and_the_gate_holds() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE).header("expect", "100-continue");
        let mut wire = Wire::open(stage.addr("gate"));
        wire.write(ask.head("content-length: 3"));
        assert!(wire.read_until("HTTP/1.1 100 Continue\r\n\r\n", SOON), "{}", wire.text());
        wire.write("bad");
        assert!(wire.read_until("HTTP/1.1 422", SOON), "{}", wire.text());
        assert_refused(stage, &ask.tag);
        // Also a head that the filter refuses at once was told to go on first.
        let ask = Ask::post().script("head reply 422 -1 no").header("expect", "100-continue");
        let mut wire = Wire::open(stage.addr("gate"));
        wire.write(ask.head("content-length: 3"));
        assert!(wire.read_until("HTTP/1.1 422", SOON), "{}", wire.text());
        assert!(wire.text().starts_with("HTTP/1.1 100 Continue\r\n\r\n"), "{}", wire.text());
        assert_refused(stage, &ask.tag);
    }
}

#[test]
fn the_gate_holds_when_empty_data_comes_first() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stream.empty_data();
        stage.event(&ask.tag, "head ");
        stage.assert_unseen("gate", &ask.tag);
        stream.data(b"bad", true);
        assert_eq!(stream.reply().status, 422);
        assert_refused(stage, &ask.tag);
    }
}

#[test]
fn the_gate_holds_a_head_after_which_nothing_comes() {
    for stage in stages() {
        let ask = Ask::post().script(REFUSE);
        let mut stream = Stream::open(stage.addr("gate"), &ask, false);
        stage.event(&ask.tag, "head ");
        assert_refused(stage, &ask.tag);
        stream.reset();
        stage.event(&ask.tag, "log");
        assert_refused(stage, &ask.tag);
    }
}

#[test]
fn the_gate_holds_when_the_caller_goes_half_way() {
    for stage in stages() {
        for head in [Ask::chunked as fn(&Ask) -> String, |ask| ask.head("content-length: 1000")] {
            let ask = Ask::post().script(REFUSE);
            let mut wire = Wire::open(stage.addr("gate"));
            wire.write(head(&ask) + &chunk("{\"half\":"));
            stage.event(&ask.tag, "body ");
            drop(wire);
            stage.event(&ask.tag, "log");
            assert_refused(stage, &ask.tag);
        }
    }
}

#[test]
fn the_gate_holds_while_the_server_is_down_also_where_failure_allows() {
    for stage in stages() {
        for (listener, good) in [("down", 403), ("allowed when down", 200)] {
            let ask = Ask::post().script(REFUSE);
            refused_in_pieces(
                stage,
                listener,
                &ask,
                &(ask.chunked() + &chunk("{")),
                &(chunk("bad") + &chunk("")),
            );
            let twin = Ask::post().script("end read");
            let reply = stage.send(listener, twin.with_body("good")).expect_reply();
            assert_eq!(reply.status, good, "a good write at `{listener}`");
            if good != 200 {
                stage.assert_unseen("gate", &twin.tag);
            }
        }
    }
}

#[test]
fn the_gate_holds_while_the_server_is_killed_or_stopped() {
    for target in Target::ALL {
        let mut rig = Rig::start(target, BundleUnderTest::Demo);
        let (path, host) = (rig.profile.value("write_path").to_owned(), rig.profile.value("host").to_owned());
        let key = rig.api_key(rig.profile.value("client")).to_owned();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        for stopped in [true, false] {
            if stopped {
                rig.server.pause();
            } else {
                rig.server.kill();
            }
            rig.reset_spies();
            let mut wire = Wire::open(rig.addr());
            wire.write(head.clone() + &chunk("{\"item\":"));
            // Nothing comes before the body has ended: neither a refusal nor a byte at the service.
            assert!(!wire.read_until("HTTP", HANG) && !wire.closed);
            assert_eq!(rig.bytes_seen(), 0);
            wire.write(chunk("oops") + &chunk(""));
            assert!(wire.read_until("json_syntax", SOON), "{}", wire.text());
            assert_eq!(rig.bytes_seen(), 0);
        }
    }
}

#[test]
fn the_gate_holds_with_another_body_filter_behind_ours() {
    for stage in stages() {
        for listener in ["buffer behind", "buffer last", "second filter"] {
            let mut ask = Ask::post().script(REFUSE);
            if listener == "second filter" {
                ask = ask.header("x-second", "end read");
            }
            refused_in_pieces(
                stage,
                listener,
                &ask,
                &(ask.chunked() + &chunk("{")),
                &(chunk("bad") + &chunk("")),
            );
            let seen_by_second = stage.events(&ask.tag).iter().any(|event| event.starts_with("second body"));
            assert!(!seen_by_second, "{:#?}", stage.events(&ask.tag));
            let twin = Ask::post().script("end read").header("x-second", "end read");
            assert_eq!(stage.send(listener, twin.with_body("good")).expect_reply().status, 200);
        }
    }
}

#[test]
fn a_limit_of_a_filter_behind_ours_does_not_bind_because_we_release_in_one_piece() {
    for stage in stages() {
        let ask = Ask::post().script("end read");
        let reply = stage.send("limit last", ask.with_body(&"x".repeat(5_000))).expect_reply();
        assert_eq!(reply.status, 200);
        // Who releases it in pieces meets the limit.
        let ask = Ask::post();
        let mut wire = Wire::open(stage.addr("limit last"));
        wire.write(ask.chunked() + &chunk(&"x".repeat(600)));
        stage.event(&ask.tag, "second body size=600");
        wire.write(chunk(&"x".repeat(600)) + &chunk(""));
        assert!(wire.read_until("HTTP/1.1 413", SOON), "{}", wire.text());
    }
}
