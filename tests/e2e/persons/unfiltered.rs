//! Calls of an Envoy without the filter, where the bundle lets them come: the server judges head and body by itself.

use palisade::mint::Mint;
use tests::rig::{Options, Rig};

use super::{ALLOWED, Scene, Told, ask, bearer, claims, read_orders, refused, token};
use crate::canary::remove_http_filters;

fn post(rig: &Rig, host: &str, path: &str, client: &str, body: &str) -> Told {
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {}\r\n", rig.api_key(client));
    let length = body.len();
    ask(rig, &format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[test]
fn the_server_judges_alone_what_comes_without_the_filter() {
    let mint = Mint::new("a").expect("make a key");
    let scene = Scene::with_mint(&mint);
    scene.edit("palisade.yaml", "handoff:\n", "handoff:\n  mode: optional\n");
    let without = |config: &mut serde_json::Value| remove_http_filters(config, "palisade");
    let rig = scene.start(Options::default().edit(without));
    let person = |groups: &[&str]| ask(&rig, &read_orders(&bearer(&token(&mint, &claims("alice", groups)))));
    let denied = refused(403, "policy_denied");
    assert_eq!(person(&["staff"]), ALLOWED);
    assert_eq!(person(&["strangers"]), denied);
    assert_eq!(ask(&rig, &read_orders("")), denied);
    let decisions = rig.decisions_when(3);
    assert!(decisions.iter().all(|decision| decision.handoff == "not_required"), "{decisions:?}");

    let refund = |body: &str| post(&rig, "payments", "/payments/p-1/refund", "support-tool", body);
    assert_eq!(refund(r#"{"amount_cents":100}"#), ALLOWED);
    assert_eq!(refund(r#"{"amount_cents":10001}"#), denied, "beyond its limit");
    for (body, reason) in [
        (r#"{"amount_cents":100"#, "json_syntax"),
        (r#"{"amount_cents":100,"amount_cents":10001}"#, "json_duplicate_key"),
        (r#"{"amount_cents":100,"more":1}"#, "schema_undeclared"),
    ] {
        assert_eq!(refund(body), refused(400, reason), "{body}");
    }
    // Nobody has to see the body of this one.
    assert_eq!(post(&rig, "orders", "/orders", "web", r#"{"item":"mug","quantity":1}"#), ALLOWED);
    let undeclared =
        ask(&rig, &super::get("orders", "/invoices", &bearer(&token(&mint, &claims("alice", &["staff"])))));
    assert_eq!(undeclared, refused(404, "operation_unknown"));
    // A handoff that is sent must hold all the same.
    let forged =
        format!("x-palisade-handoff: AAAA\r\n{}", bearer(&token(&mint, &claims("alice", &["staff"]))));
    assert_eq!(ask(&rig, &read_orders(&forged)), refused(403, "handoff_forged"));
}

#[test]
fn where_the_bundle_does_not_say_so_nothing_comes_without_the_filter() {
    let mint = Mint::new("a").expect("make a key");
    let without = |config: &mut serde_json::Value| remove_http_filters(config, "palisade");
    // The canary itself is refused for want of the handoff.
    let scene = Scene::with_mint(&mint);
    let mut rig = scene.start(Options::default().edit(without).unready());
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    let read = read_orders(&bearer(&token(&mint, &claims("alice", &["staff"]))));
    assert_eq!(ask(&rig, &read), refused(403, "handoff_missing"));
}
