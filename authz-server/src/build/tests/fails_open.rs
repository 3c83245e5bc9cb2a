//! What is generated where a class is declared open, and what is not.

use super::super::fails_open::settings_mut;
use super::*;
use palisade_core::contract::{Contract, OperationClass};

const PATHS: &str = "  /notes: {get: {operationId: list, responses: {}}, post: {operationId: add, requestBody: {content: {application/json: {}}}, responses: {}}}\n";

fn rendered(settings: &str) -> Rendered {
    let wiring = wiring(Target::Envoy, &[("chat", "127.0.0.1:8081")]);
    render(&chat_with(settings, PATHS, ""), &wiring).unwrap()
}

fn decision_filters(rendered: &mut Rendered) -> Vec<Value> {
    let filters = rendered.http_filters_mut().unwrap();
    filters.iter().filter(|filter| filter["name"] == "envoy.filters.http.ext_authz").cloned().collect()
}

#[test]
fn two_filters_differ_in_their_fail_mode_and_no_call_meets_both() {
    let mut rendered = rendered("failure: {read: open}\n");
    let [mut closed, mut open] = <[Value; 2]>::try_from(decision_filters(&mut rendered)).unwrap();
    let matcher = "/typed_config/xds_matcher/matcher_list/matchers/0";
    let predicate = |filter: &Value| find(filter, &format!("{matcher}/predicate")).clone();
    assert_eq!(predicate(&open), json!({ "not_matcher": predicate(&closed) }));
    for filter in [&closed, &open] {
        let action = find(filter, &format!("{matcher}/on_match/action/typed_config/@type"));
        assert_eq!(
            action,
            "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
        );
    }
    let (closed, open) = (settings_mut(&mut closed).unwrap(), settings_mut(&mut open).unwrap());
    assert_eq!((&closed["failure_mode_allow"], &open["failure_mode_allow"]), (&json!(false), &json!(true)));
    open["failure_mode_allow"] = false.into();
    assert_eq!(open.as_object_mut().unwrap().shift_remove("emit_filter_state_stats"), Some(json!(true)));
    assert_eq!(closed, open);
    // What nobody answers nobody strips, but for the routes.
    let routes = find(manager(&rendered), "/route_config");
    assert_eq!(routes["request_headers_to_remove"], json!(["x-palisade-handoff"]));
    let mut gateless = rendered.clone().without_gate().unwrap();
    for mut filter in decision_filters(&mut gateless) {
        assert_eq!(settings_mut(&mut filter).unwrap().get("with_request_body"), None);
    }
    assert!(decision_filters(&mut rendered.without_ext_authz().unwrap()).is_empty());
}

#[test]
fn where_all_is_closed_there_is_one() {
    for settings in ["", "failure: {read: closed}\n", "failure: {delete: closed}\n"] {
        let mut rendered = rendered(settings);
        let [filter] = <[Value; 1]>::try_from(decision_filters(&mut rendered)).unwrap();
        assert_eq!(filter["typed_config"]["failure_mode_allow"], false);
        assert_eq!(find(manager(&rendered), "/route_config").get("request_headers_to_remove"), None);
    }
}

#[test]
fn the_filter_knows_which_operations_go_on_and_the_canary_never_does() {
    let contract = Contract::decode(&rendered("failure: {read: open}\n").contract).unwrap();
    for service in contract.services() {
        let is_canary = service.name.as_ref() == palisade_core::canary::SERVICE;
        for operation in &service.operations {
            let expected = operation.class == OperationClass::Read && !is_canary;
            assert_eq!(operation.fails_open, expected, "{}", operation.name);
        }
    }
}

#[test]
fn istio_has_one_fail_mode_for_a_workload_and_says_so() {
    let bundle = chat_with("failure: {read: open}\n", PATHS, "");
    let found = problems(&bundle, &wiring(Target::Sidecar, &[("chat", "127.0.0.1:8081")]));
    let expected =
        WiringProblem::FailsOpen { class: "read", service: "chat".to_owned(), operation: "list".to_owned() };
    assert_eq!(found, [expected]);
    let text = found[0].to_string();
    assert!(text.starts_with("`failure: {read: open}` cannot hold in Istio"), "{text}");
}
