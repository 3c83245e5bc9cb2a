//! What filter and ext_authz tell each other: metadata, headers that switch a decision off, filter state.

use std::sync::LazyLock;

use palisade::build::EXT_AUTHZ_FILTER;
use serde_json::{Value, json};
use tests::ports::free_addr;
use tests::raw_client::Outcome;
use tests::rig::Target;

use super::ask::{Ask, Wire, chunk};
use super::h2_client::Stream;
use super::stage::{DECISION, Listener, SOON, Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("metadata", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("metadata", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

const READ_DECISION: &str = "rhead property metadata/filter_metadata/envoy.filters.http.ext_authz/decision";

/// The header of a remembered verdict, and the value that stands in the configuration.
const HEADER: &str = "x-verdict";
const VALUE: &str = "known";

fn prepare(scene: &mut Scene) {
    scene.cluster_like("down", "palisade-server", free_addr());
    scene.listener("rendered", |listener| {
        // Which route a request takes can depend on what the filter sets.
        let routes = listener.host("orders")["routes"].as_array_mut().expect("routes");
        let matched = json!({ "prefix": "/", "headers": [{ "name": "x-route", "string_match": { "exact": "other" } }] });
        routes.insert(0, json!({ "match": matched, "direct_response": { "status": 418 } }));
    });
    scene.listener("allowed when down", |listener| {
        listener.ext_authz()["grpc_service"]["envoy_grpc"]["cluster_name"] = "down".into();
        listener.ext_authz()["failure_mode_allow"] = true.into();
    });
    scene.listener("state", |listener| {
        listener.ext_authz()["grpc_service"]["initial_metadata"] =
            json!([{ "key": "x-from-state", "value": "%FILTER_STATE(wasm.handoff:PLAIN)%" }]);
    });
    scene.listener("remembered", remembering);
    scene.listener("stripped", |listener| {
        remembering(listener);
        let last = listener.second_probe("last", "x-last");
        listener.before_router(last);
    });
    scene.listener("unmatched", |listener| {
        shadow_rule(listener, json!({ "header": { "name": HEADER, "string_match": { "exact": "nobody" } } }));
    });
}

/// CUSTOM authorization as istiod renders it, for requests that do not carry the header of a remembered verdict.
fn remembering(listener: &mut Listener) {
    listener.manager()["stat_prefix"] = "remembered".into();
    let known = json!({ "header": { "name": HEADER, "string_match": { "exact": VALUE } } });
    shadow_rule(listener, json!({ "not_id": { "or_ids": { "ids": [known] } } }));
}

/// Changes whom the shadow rule is about; in our own Envoy, which has none, the pair comes in first.
fn shadow_rule(listener: &mut Listener, principal: Value) {
    const RBAC: &str = "envoy.filters.http.rbac";
    if !listener.filters().iter().any(|filter| filter["name"] == RBAC) {
        let place = listener
            .filters()
            .iter()
            .position(|filter| filter["name"] == EXT_AUTHZ_FILTER)
            .expect("ext_authz");
        let rbac = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "shadow_rules": { "action": "DENY", "policies": { "custom": { "permissions": [{ "any": true }], "principals": [] } } },
            "shadow_rules_stat_prefix": "istio_ext_authz_",
        });
        listener.filters().insert(place, json!({ "name": RBAC, "typed_config": rbac }));
        listener.ext_authz()["filter_enabled_metadata"] = json!({
            "filter": RBAC,
            "path": [{ "key": "istio_ext_authz_shadow_effective_policy_id" }],
            "value": { "string_match": { "prefix": "custom" } },
        });
    }
    let policies =
        listener.filter(RBAC)["shadow_rules"]["policies"].as_object_mut().expect("shadow policies");
    let policy = policies.values_mut().next().expect("the rendered policy");
    policy["principals"] = json!([{ "and_ids": { "ids": [principal] } }]);
}

fn is_asked(stage: &Stage, listener: &str, ask: &Ask) -> bool {
    assert_eq!(stage.ask(listener, ask).status, 200, "{:#?}", stage.events(&ask.tag));
    !stage.authz.checks(&ask.tag).is_empty()
}

fn at_service(stage: &Stage, ask: &Ask, name: &str) -> Vec<String> {
    let requests = stage.spy.requests();
    let request = requests.iter().find(|request| request.target == ask.path.as_bytes()).expect("it arrived");
    let named = request.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn the_filter_reads_the_decision_on_the_way_back_also_of_a_denial() {
    for stage in stages() {
        for (answer, status, decision) in [("allow", 200, "allow"), ("deny", 403, "deny")] {
            let ask = Ask::get().script(READ_DECISION).answer(answer);
            assert_eq!(stage.ask("rendered", &ask).status, status);
            let read = stage.event(&ask.tag, &format!("rhead:property_{DECISION} "));
            assert_eq!(read, format!("status=0 value={decision}"));
        }
    }
}

#[test]
fn without_an_answer_of_the_server_there_is_no_decision_to_read() {
    for stage in stages() {
        let error = Ask::get().script(READ_DECISION).answer("error");
        assert_eq!(stage.ask("rendered", &error).status, 403);
        let allowed = Ask::get().script(READ_DECISION);
        assert_eq!(stage.ask("allowed when down", &allowed).status, 200);
        for tag in [&error.tag, &allowed.tag] {
            let read = stage.event(tag, &format!("rhead:property_{DECISION} "));
            assert_eq!(read, "status=1 value=", "{:#?}", stage.events(tag));
        }
    }
}

#[test]
fn a_header_that_the_filter_sets_and_the_custom_policy_excludes_disables_ext_authz() {
    for stage in stages() {
        let disabled = || stage.stat("http.remembered.ext_authz.disabled");
        assert!(is_asked(stage, "remembered", &Ask::get()));
        let before = disabled();
        let remembered = Ask::get().script("head set x-verdict known");
        assert!(!is_asked(stage, "remembered", &remembered));
        assert!(disabled() > before, "the statistic counts it");
        assert_eq!(at_service(stage, &remembered, HEADER), [VALUE], "without a Check nobody strips it");
    }
}

#[test]
fn a_request_that_skips_ext_authz_opens_the_gate() {
    for stage in stages() {
        let ask = Ask::post().script("head set x-verdict known|end reply 422 -1 no");
        let mut wire = Wire::open(stage.addr("remembered"));
        wire.write(ask.chunked() + &chunk("half"));
        stage.wait_until_seen(&ask.tag);
        wire.write(chunk("bad") + &chunk(""));
        assert!(wire.read_until("HTTP/1.1 422", SOON), "{}", wire.text());
    }
}

#[test]
fn a_caller_cannot_forge_the_header_of_a_remembered_verdict_that_the_filter_removes() {
    for stage in stages() {
        let forged: [&[(&str, &str)]; 5] = [
            &[(HEADER, VALUE)],
            &[(HEADER, VALUE), (HEADER, VALUE)],
            &[("X-Verdict", VALUE), ("x-VERDICT", VALUE), (HEADER, "other")],
            &[(HEADER, VALUE), ("connection", HEADER)],
            &[(HEADER, VALUE), ("connection", "close, X-Verdict")],
        ];
        for headers in forged {
            let ask = Ask::get().script("head remove x-verdict");
            let ask = headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
            assert!(is_asked(stage, "remembered", &ask), "{headers:?}");
            assert!(at_service(stage, &ask, HEADER).is_empty());
        }
        let trailers = Ask::post().script("head remove x-verdict|end read");
        let mut stream = Stream::open(stage.addr("remembered"), &trailers, false);
        stream.data(b"body", false);
        stream.trailers(&[(HEADER, VALUE)]);
        assert_eq!(stream.reply().status, 200);
        assert_eq!(stage.authz.checks(&trailers.tag).len(), 1);
    }
}

#[test]
fn a_caller_cannot_remove_the_header_that_the_filter_sets() {
    for stage in stages() {
        let tried: [&[(&str, &str)]; 3] = [
            &[("connection", HEADER)],
            &[(HEADER, "other"), ("X-Verdict", "another")],
            &[("connection", "X-Verdict, close")],
        ];
        for headers in tried {
            let ask = Ask::get().script("head set x-verdict known");
            let ask = headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
            assert!(!is_asked(stage, "remembered", &ask), "{headers:?}");
            assert_eq!(at_service(stage, &ask, HEADER), [VALUE], "{headers:?}");
        }
    }
}

#[test]
fn the_underscore_twin_passes_in_istio_and_is_refused_where_we_render_reject() {
    let ask = Ask::get().script("head remove x-verdict").header("x_verdict", VALUE);
    assert!(is_asked(&ISTIO, "remembered", &ask), "it is no match for the policy");
    assert_eq!(at_service(&ISTIO, &ask, "x_verdict"), [VALUE], "but a service may take it for the header");
    let ask = Ask::get().header("x_verdict", VALUE);
    let outcome = ENVOY.send("remembered", ask.head(""));
    assert!(matches!(&outcome, Outcome::Reply(reply) if reply.status == 400), "{outcome:?}");
    assert!(!ENVOY.events(&ask.tag).iter().any(|event| event.starts_with("head ")));
}

#[test]
fn a_remembered_verdict_is_stripped_by_a_second_plugin_behind_ext_authz() {
    for stage in stages() {
        let ask = Ask::get().script("head set x-verdict known").header("x-last", "head remove x-verdict");
        assert!(!is_asked(stage, "stripped", &ask));
        assert!(at_service(stage, &ask, HEADER).is_empty());
    }
}

#[test]
fn a_header_that_the_reply_to_the_check_names_for_removal_does_not_reach_the_service() {
    for stage in stages() {
        let ask = Ask::get().script("head set x-handoff told").answer("remove x-handoff");
        assert!(is_asked(stage, "rendered", &ask));
        assert_eq!(stage.authz.check(&ask.tag).header("x-handoff").as_deref(), Some("told"));
        assert!(at_service(stage, &ask, "x-handoff").is_empty());
    }
}

#[test]
fn a_custom_policy_that_does_not_match_means_allowed() {
    for stage in stages() {
        let ask = Ask::get().answer("deny");
        assert!(!is_asked(stage, "unmatched", &ask));
    }
}

#[test]
fn filter_state_reaches_the_server_as_initial_metadata_and_nobody_else() {
    for stage in stages() {
        for (script, told) in [("head state handoff early", "early"), ("end state handoff late", "late")] {
            let ask = Ask::post().script(script).header("x-from-state", "forged");
            assert_eq!(stage.send("state", ask.with_body("body")).expect_reply().status, 200);
            let check = stage.authz.check(&ask.tag);
            assert_eq!(check.metadata.get("x-from-state").map(String::as_str), Some(told));
            assert_eq!(
                at_service(stage, &ask, "x-from-state"),
                ["forged"],
                "the caller's own is only a header"
            );
        }
        let unset = Ask::get();
        assert_eq!(stage.ask("state", &unset).status, 200);
        assert_eq!(
            stage.authz.check(&unset.tag).metadata.get("x-from-state"),
            None,
            "what is not set is not sent"
        );
    }
}

#[test]
fn a_header_that_the_filter_sets_clears_the_route_cache() {
    for stage in stages() {
        assert_eq!(stage.ask("rendered", &Ask::get().script("head set x-harmless 1")).status, 200);
        assert_eq!(stage.ask("rendered", &Ask::get().script("head set x-route other")).status, 418);
    }
}
