//! Refusals of each kind, with all that is known of them; and a filter that cannot report works all the same.

use std::collections::BTreeSet;

use palisade::ledger::{Refusal, Verdict};
use palisade_core::report::CLUSTER_VARIABLE;
use serde_json::Value;
use tests::deadline::eventually;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

use super::{SOON, Told, all_told};

/// What is expected of an entry: reason, operation, method, host, path, attempt.
type Expected = (&'static str, &'static str, &'static str, &'static str, &'static str, Option<u32>);

fn requests() -> Vec<(String, Expected)> {
    let json = "content-type: application/json\r\n";
    vec![
        (
            "GET /nowhere?token=secret HTTP/1.1\r\nhost: orders\r\nx-envoy-attempt-count: 3\r\n\r\n"
                .to_owned(),
            ("operation_unknown", "", "GET", "orders", "/nowhere", Some(3)),
        ),
        (
            "GET /orders HTTP/1.1\r\nhost: nobody.example\r\n\r\n".to_owned(),
            ("host_unknown", "", "GET", "nobody.example", "/orders", None),
        ),
        (
            "GET /a;b HTTP/1.1\r\nhost: orders\r\n\r\n".to_owned(),
            ("path_matrix_parameter", "", "GET", "orders", "/a;b", None),
        ),
        (
            "POST /orders HTTP/1.1\r\nhost: orders\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            ("content_type_missing", "createOrder", "POST", "orders", "/orders", None),
        ),
        (
            format!(
                "POST /orders?token=secret HTTP/1.1\r\nhost: orders\r\nx-envoy-attempt-count: 2\r\n{json}content-length: 8\r\n\r\n{{\"a\": 1 "
            ),
            ("query_not_declared", "createOrder", "POST", "orders", "/orders", Some(2)),
        ),
        (
            format!(
                "POST /orders HTTP/1.1\r\nhost: orders\r\n{json}transfer-encoding: chunked\r\n\r\n8\r\n{{\"item\":\r\n0\r\nx-a: b\r\n\r\n"
            ),
            ("json_syntax", "createOrder", "POST", "orders", "/orders", None),
        ),
    ]
}

fn assert_is(refusal: &Refusal, expected: Expected, rig: &Rig) {
    let found = (
        refusal.reason.as_str(),
        refusal.operation.as_str(),
        refusal.method.as_str(),
        refusal.host.as_str(),
        refusal.path.as_str(),
        refusal.attempt,
    );
    assert_eq!(found, expected, "{refusal:?}");
    assert_eq!(refusal.service, if refusal.operation.is_empty() { "" } else { "orders" }, "{refusal:?}");
    assert_eq!(refusal.verdict, Verdict::Reject);
    assert!(rig.server.log().contains(&refusal.bundle_digest), "the server's own bundle: {refusal:?}");
    assert!(refusal.at_ms > 1_700_000_000_000, "{refusal:?}");
}

fn every_kind(target: Target) {
    let rig = Rig::start_with(target, BundleUnderTest::Demo, Options::default().tls());
    let replies: Vec<(Reply, Expected)> = requests()
        .into_iter()
        .map(|(request, expected)| (rig.send(request).expect_reply(), expected))
        .collect();
    for (reply, expected) in &replies {
        assert_eq!(reply.reason().as_deref(), Some(expected.0), "{reply:?}");
    }
    let ids: BTreeSet<String> =
        replies.iter().map(|(reply, _)| reply.decision_id().expect("an id")).collect();
    let told = all_told(&rig, &ids, SOON);
    told.assert_without_holes();
    for (reply, expected) in &replies {
        let id = reply.decision_id().expect("an id");
        let refusal = told.refusals.iter().find(|refusal| refusal.call_id == id).expect("it is stored");
        assert_is(refusal, *expected, &rig);
        // The rig's own callers show this certificate.
        assert_eq!(refusal.peer.as_deref(), Some("spiffe://shop.example/ns/none/sa/nobody"), "{refusal:?}");
    }
}

#[test]
fn refusals_of_each_kind_are_stored_on_envoy() {
    every_kind(Target::Envoy);
}

#[test]
fn refusals_of_each_kind_are_stored_on_istio() {
    every_kind(Target::Istio);
}

/// Every HTTP filter in every chain.
fn each_filters(value: &mut Value, change: &impl Fn(&mut Vec<Value>)) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("http_filters", Value::Array(filters)) => change(filters),
                    (_, field) => each_filters(field, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_filters(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The environment that is given to the filter's VM, in a configuration for an Envoy of our own.
fn environment(config: &mut Value, change: &impl Fn(&mut Value)) {
    each_filters(config, &|filters| {
        for filter in filters.iter_mut().filter(|filter| filter["name"] == "palisade") {
            change(&mut filter["typed_config"]["config"]["vm_config"]["environment_variables"]["key_values"]);
        }
    });
}

#[test]
fn a_refusal_of_an_answer_is_stored_too() {
    let options = Options::default().unready().edit(|config| {
        each_filters(config, &|filters| {
            filters.retain(|filter| filter["name"] != "envoy.filters.http.ext_authz");
        });
    });
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    let reply = rig.send(rig.read_request()).expect_reply();
    assert_eq!(reply.reason().as_deref(), Some("decision_missing"));
    let told = all_told(&rig, &BTreeSet::from([reply.decision_id().expect("an id")]), SOON);
    assert_is(&told.refusals[0], ("decision_missing", "listOrders", "GET", "orders", "/orders", None), &rig);
}

#[test]
fn without_a_cluster_nothing_is_reported_and_everything_else_works() {
    let options =
        Options::default().edit(|config| environment(config, &|values| *values = serde_json::json!({})));
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    assert_eq!(rig.send(rig.write_request()).expect_reply().status, 200);
    super::flood(&rig, 10, 1);
    assert!(rig.envoy.log().contains("refusals are not reported to the server"), "it says so");
    let written = rig.decisions_when(1).len();
    assert_eq!((written, Told::of(&rig).refusals.len()), (1, 0));
}

#[test]
fn a_cluster_that_is_not_there_is_told_and_harms_nobody() {
    let options = Options::default()
        .edit(|config| environment(config, &|values| values[CLUSTER_VARIABLE] = "nowhere".into()));
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    super::flood(&rig, 5_000, 2);
    eventually("the filter says so", SOON, || {
        rig.envoy.log().contains("the proxy cannot reach cluster `nowhere`").then_some(())
    });
    assert_eq!(rig.send(rig.write_request()).expect_reply().status, 200);
    super::flood(&rig, 10, 2);
}
