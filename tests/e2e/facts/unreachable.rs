//! Two ext_authz of one name, of which filter state chooses one: what becomes of calls where the server cannot be reached.

use std::sync::LazyLock;

use palisade::build::{EXT_AUTHZ_FILTER, closed_and_open};
use serde_json::json;
use tests::ports::free_addr;
use tests::raw_client::RawConnection;
use tests::rig::Target;

use super::ask::{Ask, Wire, chunk};
use super::stage::{DECISION, HANG, Listener, SOON, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("unreachable", Target::Envoy, prepare));

/// The mark that our filter sets on calls of operations that fail open.
const MARK: &str = "head state palisade_fails_open 1";

/// What is left of a Check, whatever came of it.
const CHECKED: &str = "filter_state/envoy.filters.http.ext_authz";

fn prepare(scene: &mut Scene) {
    scene.cluster_like("down", "palisade-server", free_addr());
    scene.listener("up", both);
    scene.listener("down", |listener| {
        listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
        both(listener);
    });
    scene.listener("nobody asks", Listener::only_router);
    scene.listener("rendered", |_| {});
    scene.listener("stripped", |listener| {
        listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
        both(listener);
        listener.manager()["route_config"]["request_headers_to_remove"] = json!(["x-handoff"]);
    });
    scene.listener("whole bodies", |listener| {
        both(listener);
        let gate = json!({ "max_request_bytes": 4000, "allow_partial_message": true, "pack_as_bytes": true });
        let per_route = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": { "with_request_body": gate },
        });
        listener.host("orders")["typed_per_filter_config"] = json!({ EXT_AUTHZ_FILTER: per_route });
    });
}

/// Puts two in the place of the one.
fn both(listener: &mut Listener) {
    let one = listener.ext_authz().clone();
    listener.remove(EXT_AUTHZ_FILTER);
    closed_and_open(one).into_iter().for_each(|filter| listener.before_router(filter));
}

fn marked(ask: Ask, script: &str) -> Ask {
    ask.script(&format!("{MARK}{script}"))
}

#[test]
fn a_marked_call_goes_on_where_a_check_fails_and_no_other_does() {
    // Nobody listens; the server answers with an error; it takes the Check and never answers.
    for (listener, answer) in [("down", "allow"), ("up", "error"), ("up", "hang")] {
        let open = marked(Ask::get(), "").answer(answer);
        assert_eq!(ENVOY.ask(listener, &open).status, 200, "{listener} {answer}");
        ENVOY.wait_until_seen(&open.tag);
        for script in ["head read", "head state palisade_fails_open 2", "head state palisade_fails_open 11"] {
            let closed = Ask::get().script(script).answer(answer);
            assert_eq!(ENVOY.ask(listener, &closed).status, 403, "{listener} {answer} {script}");
            ENVOY.assert_unseen("rendered", &closed.tag);
        }
    }
}

#[test]
fn each_call_meets_one_of_the_two_and_a_denial_is_one_in_both() {
    for (answer, status) in [("allow", 200), ("deny", 403)] {
        for script in [MARK, "head read"] {
            let ask = Ask::get().script(&format!("{script}|rhead property {DECISION}")).answer(answer);
            assert_eq!(ENVOY.ask("up", &ask).status, status, "{answer} {script}");
            assert_eq!(ENVOY.authz.checks(&ask.tag).len(), 1, "{answer} {script}");
            // Both leave metadata under the one name.
            let read = ENVOY.event(&ask.tag, &format!("rhead:property_{DECISION} "));
            assert_eq!(read, format!("status=0 value={answer}"));
        }
    }
}

#[test]
fn a_mark_is_of_one_request_and_not_of_its_connection() {
    let mut connection = RawConnection::open(ENVOY.addr("down")).expect("connect to a listener");
    for (script, status) in [(MARK, 200), ("head read", 403), (MARK, 200), ("head read", 403)] {
        let ask = Ask::get().script(script);
        assert_eq!(connection.exchange(ask.head("").as_bytes()).expect_reply().status, status, "{script}");
    }
}

#[test]
fn the_gate_holds_a_marked_write_until_its_body_was_judged() {
    for listener in ["up", "down"] {
        let ask = marked(Ask::post(), "|end reply 422 -1 no");
        let mut wire = Wire::open(ENVOY.addr(listener));
        wire.write(ask.chunked() + &chunk("half"));
        assert!(!wire.read_until("HTTP", HANG) && !wire.closed);
        wire.write(chunk("bad") + &chunk(""));
        assert!(wire.read_until("HTTP/1.1 422", SOON), "{}", wire.text());
        ENVOY.assert_unseen("rendered", &ask.tag);
        let good = marked(Ask::post(), "|end read");
        assert_eq!(ENVOY.send(listener, good.with_body("good")).expect_reply().status, 200);
    }
}

#[test]
fn settings_of_routes_hold_for_both() {
    for script in [MARK, "head read"] {
        let ask = Ask::post().script(&format!("{script}|end read"));
        assert_eq!(ENVOY.send("whole bodies", ask.with_body("a whole body")).expect_reply().status, 200);
        assert_eq!(ENVOY.authz.check(&ask.tag).http().raw_body, b"a whole body", "{script}");
        let ask = Ask::post().script(&format!("{script}|end read"));
        assert_eq!(ENVOY.send("up", ask.with_body("a whole body")).expect_reply().status, 200);
        assert_ne!(ENVOY.authz.check(&ask.tag).header("x-envoy-auth-partial-body").as_deref(), Some("false"));
    }
}

#[test]
fn what_is_left_of_a_check_is_there_where_one_was_made_and_nowhere_else() {
    let script = format!("|rhead property {CHECKED}|rhead property {DECISION}");
    for (listener, answer, checked, decision) in [
        ("down", "allow", "status=0", "status=1"),
        ("up", "error", "status=0", "status=1"),
        ("up", "allow", "status=0", "status=0"),
        ("nobody asks", "allow", "status=1", "status=1"),
    ] {
        let ask = marked(Ask::get(), &script).answer(answer);
        assert_eq!(ENVOY.ask(listener, &ask).status, 200);
        for (property, status) in [(CHECKED, checked), (DECISION, decision)] {
            let read = ENVOY.event(&ask.tag, &format!("rhead:property_{property} "));
            assert!(read.starts_with(status), "{listener} {answer} {property}: {read}");
        }
    }
}

#[test]
fn a_header_that_routes_remove_is_in_the_check_and_not_at_the_service() {
    let at_service = |ask: &Ask| {
        let requests = ENVOY.spy.requests();
        let request =
            requests.iter().find(|request| request.target == ask.path.as_bytes()).expect("it arrived");
        request.header("x-handoff").is_some()
    };
    for (listener, arrives) in [("down", true), ("stripped", false)] {
        let ask = marked(Ask::get(), "|head set x-handoff told");
        assert_eq!(ENVOY.ask(listener, &ask).status, 200);
        assert_eq!(at_service(&ask), arrives, "{listener}");
    }
}
