//! A missing part is noticed: without filter, gate or secret no request passes, and the canary says which part it is.

use serde_json::Value;
use tests::deadline::eventually;
use tests::raw_client::{Outcome, Piece, Reply, Then, send_pieces};
use tests::rig::{BundleUnderTest, Options, Rig, START_TIMEOUT, Target, admin};

const CANARY: &str = "canary.palisade.internal";

fn start(options: Options) -> Rig {
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options.unready());
    rig.wait_until_server_is_ready();
    rig
}

/// Waits until the listener answers this request at all.
fn answer(rig: &Rig, pieces: &[Piece]) -> Reply {
    eventually("the listener answers the canary", START_TIMEOUT, || match send_pieces(rig.addr(), pieces) {
        Outcome::Reply(reply) => Some(reply),
        Outcome::Closed | Outcome::TimedOut => None,
    })
}

fn read(rig: &Rig, path: &str) -> Reply {
    let bytes = format!("GET {path} HTTP/1.1\r\nhost: {CANARY}\r\n\r\n").into_bytes();
    answer(rig, &[Piece { bytes, then: Then::Continue }])
}

/// The body comes only when nothing was said to the head: without the gate the server has spoken by then.
fn broken_write(rig: &Rig) -> Reply {
    let head =
        format!("POST /.palisade/canary HTTP/1.1\r\nhost: {CANARY}\r\ncontent-type: application/json\r\n");
    let head =
        Piece { bytes: format!("{head}content-length: 10\r\n\r\n").into_bytes(), then: Then::AwaitReaction };
    answer(rig, &[head, Piece { bytes: b"{\"canary\":".to_vec(), then: Then::Continue }])
}

/// What the three canaries say: unknown path, broken body, good request.
fn canaries(rig: &Rig) -> [(u16, Option<String>); 3] {
    [read(rig, "/.palisade/unknown"), broken_write(rig), read(rig, "/.palisade/canary")]
        .map(|reply| (reply.status, reply.reason()))
}

fn said(status: u16, reason: &str) -> (u16, Option<String>) {
    (status, Some(reason.to_owned()))
}

/// Removes the HTTP filters whose name contains `name` from every chain.
pub(crate) fn remove_http_filters(config: &mut Value, name: &str) {
    each_http_filters(config, &mut |filters| {
        filters.retain(|filter| !filter["name"].as_str().is_some_and(|known| known.contains(name)));
    });
}

fn each_http_filters(value: &mut Value, change: &mut impl FnMut(&mut Vec<Value>)) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("http_filters", Value::Array(filters)) => change(filters),
                    (_, field) => each_http_filters(field, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_http_filters(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn remove_gate(config: &mut Value) {
    each_http_filters(config, &mut |filters| {
        for filter in filters {
            if let Some(Value::Object(fields)) = filter.get_mut("typed_config") {
                fields.remove("with_request_body");
            }
        }
    });
}

/// Nothing that is asked for is served.
fn assert_nothing_is_served(rig: &Rig) {
    for request in [rig.read_request(), rig.write_request()] {
        if let Outcome::Reply(reply) = rig.send(&request) {
            assert_ne!(reply.status, 200);
        }
    }
}

#[test]
fn with_all_parts_the_canary_is_refused_where_it_should_be() {
    for target in Target::ALL {
        let rig = Rig::start(target, BundleUnderTest::Second);
        assert_eq!(
            canaries(&rig),
            [said(404, "operation_unknown"), said(400, "json_syntax"), said(403, "canary")]
        );
    }
}

#[test]
fn without_the_filter_the_server_denies() {
    let rig = start(Options::default().edit(|config| remove_http_filters(config, "palisade")));
    assert_eq!(read(&rig, "/.palisade/canary").reason().as_deref(), Some("handoff_missing"));
    assert_nothing_is_served(&rig);
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn without_the_gate_the_broken_body_reaches_the_server_first() {
    let rig = start(Options::default().edit(remove_gate));
    let [_, broken, good] = canaries(&rig);
    assert_eq!((broken.1.as_deref(), good.1.as_deref()), (Some("canary"), Some("canary")));
}

#[test]
fn with_another_secret_the_server_denies() {
    let other = tests::rig::random_hex();
    let rig = start(Options::default().envoy_secret(&other));
    assert_eq!(read(&rig, "/.palisade/canary").reason().as_deref(), Some("handoff_forged"));
    assert_nothing_is_served(&rig);
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn without_a_secret_the_listener_never_comes_up() {
    let mut rig = start(Options::default().envoy_secret(""));
    let end = tests::deadline::poll(START_TIMEOUT, || {
        let refused = admin(rig.envoy_admin(), "/stats")
            .map(|reply| String::from_utf8_lossy(&reply.body).into_owned())
            .is_some_and(|stats| !stats.contains("listener_manager.total_listeners_active: 1"));
        (rig.envoy.has_exited().is_some() || refused).then_some(())
    });
    assert!(end.is_some(), "Envoy runs with a listener although the filter has no secret");
    assert_eq!(rig.send(rig.read_request()), Outcome::Closed);
}

#[test]
fn without_the_authorization_filter_no_answer_of_a_service_comes_back() {
    let rig = start(Options::default().edit(|config| remove_http_filters(config, "ext_authz")));
    let good = read(&rig, "/.palisade/canary");
    assert_ne!(good.status, 200);
    let reply = rig.send(rig.read_request()).expect_reply();
    assert_eq!((reply.status, reply.reason()), said(500, "decision_missing"));
}
