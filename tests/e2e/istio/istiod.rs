//! What istiod makes of the objects, as far as a listener shows it: patches in its order and by its rules of merging, a
//! CUSTOM policy as a shadow rule and an ext_authz, a DENY policy as RBAC.
//!
//! INVARIANT: nothing here knows what the objects say; it only does it.

use serde_json::{Map, Value, json};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Applies the patches of an EnvoyFilter to a listener.
///
/// istiod goes from the outside inwards, and at each place through all patches of that kind: first those that add and
/// remove, then those that merge.
pub(super) fn apply_patches(listener: &mut Value, filter: &Value) {
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let of = |kind: &str| -> Vec<&Value> {
        for patch in patches {
            assert_eq!(patch["match"]["context"], "SIDECAR_INBOUND");
        }
        patches.iter().filter(|patch| patch["applyTo"] == kind).collect()
    };
    for patch in of("LISTENER") {
        assert_eq!(patch["patch"]["operation"], "MERGE");
        merge(listener, &patch["patch"]["value"]);
    }
    let manager = &mut listener["filter_chains"][0]["filters"][0];
    assert_eq!(manager["name"], MANAGER);
    for patch in of("NETWORK_FILTER") {
        assert_eq!(patch["patch"]["operation"], "MERGE");
        assert_eq!(named(patch), MANAGER);
        merge(manager, &patch["patch"]["value"]);
    }
    let manager = &mut manager["typed_config"];
    for patch in of("HTTP_FILTER") {
        let filters = manager["http_filters"].as_array_mut().unwrap();
        match patch["patch"]["operation"].as_str().unwrap() {
            "REMOVE" => {
                let before = filters.len();
                filters.retain(|filter| filter["name"] != sub_filter(patch));
                assert_eq!(filters.len(), before - 1, "what is removed is there once");
            }
            "INSERT_FIRST" => filters.insert(0, patch["patch"]["value"].clone()),
            "MERGE" => {}
            other => panic!("no patch does `{other}`"),
        }
    }
    for patch in of("HTTP_FILTER").into_iter().filter(|patch| patch["patch"]["operation"] == "MERGE") {
        let filters = manager["http_filters"].as_array_mut().unwrap();
        for filter in filters.iter_mut().filter(|filter| filter["name"] == sub_filter(patch)) {
            merge(filter, &patch["patch"]["value"]);
        }
    }
    for patch in of("VIRTUAL_HOST") {
        assert_eq!(patch["patch"]["operation"], "ADD");
        manager["route_config"]["virtual_hosts"]
            .as_array_mut()
            .unwrap()
            .push(patch["patch"]["value"].clone());
    }
}

fn named(patch: &Value) -> &Value {
    patch.pointer("/match/listener/filterChain/filter/name").unwrap()
}

fn sub_filter(patch: &Value) -> &str {
    assert_eq!(named(patch), MANAGER);
    patch.pointer("/match/listener/filterChain/filter/subFilter/name").unwrap().as_str().unwrap()
}

/// As protocol buffers merge: what is false, zero or empty is not there, a list is appended to, a duration is one value.
fn merge(into: &mut Value, from: &Value) {
    match from {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = Map::new().into();
            }
            for (key, value) in fields {
                merge(&mut into[key.as_str()], value);
            }
        }
        Value::Array(items) => match into {
            Value::Array(known) => known.extend(items.iter().cloned()),
            _ => *into = from.clone(),
        },
        Value::Null | Value::Bool(false) => {}
        Value::Number(number) if number.as_f64() == Some(0.0) => {}
        Value::String(text) if text.is_empty() => {}
        Value::Bool(true) | Value::Number(_) | Value::String(_) => *into = from.clone(),
    }
}

/// The filter in the place that istiod gives to phase AUTHN: after CUSTOM authorization, before all other policies.
pub(super) fn inserted_extension(name: &str) -> Value {
    json!({
        "name": name,
        "config_discovery": {
            "config_source": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
            "type_urls": [
                "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            ],
        },
    })
}

/// A DENY policy with conditions on metadata that a filter left.
pub(super) fn deny_policy(policy: &Value) -> Value {
    assert_eq!(policy["spec"]["action"], "DENY");
    let mut policies = Map::new();
    for (place, rule) in policy["spec"]["rules"].as_array().unwrap().iter().enumerate() {
        assert_eq!(rule.as_object().unwrap().len(), 1, "only `when`");
        let conditions: Vec<_> = rule["when"].as_array().unwrap().iter().map(condition).collect();
        let (namespace, name) = (&policy["metadata"]["namespace"], &policy["metadata"]["name"]);
        let name =
            format!("ns[{}]-policy[{}]-rule[{place}]", namespace.as_str().unwrap(), name.as_str().unwrap());
        let built = json!({
            "permissions": [{ "and_rules": { "rules": conditions } }],
            "principals": [{ "and_ids": { "ids": [{ "any": true }] } }],
        });
        policies.insert(name, built);
    }
    rbac(json!({ "rules": { "action": "DENY", "policies": policies } }))
}

/// `experimental.envoy.filters.a.b[c]` is metadata `c` of the filter `envoy.filters.a.b`.
fn condition(when: &Value) -> Value {
    assert_eq!(when.as_object().unwrap().len(), 2, "a key and what it must not be");
    let key = when["key"].as_str().unwrap().strip_prefix("experimental.").unwrap();
    let (filter, key) = key.strip_suffix(']').unwrap().split_once('[').unwrap();
    let exact = |value: &Value| json!({ "string_match": { "exact": value } });
    let mut values: Vec<_> = when["notValues"].as_array().unwrap().iter().map(exact).collect();
    // Envoy takes an alternative of two or more; istiod writes one value by itself.
    let value = match values.len() {
        1 => values.remove(0),
        _ => json!({ "or_match": { "value_matchers": values } }),
    };
    let metadata = json!({ "filter": filter, "path": [{ "key": key }], "value": value });
    json!({ "not_rule": { "metadata": metadata } })
}

/// What the agent puts in the place of a module that cannot be had.
pub(super) fn deny_all() -> Value {
    rbac(json!({ "rules": {}, "rules_stat_prefix": "wasm-default-deny" }))["typed_config"].clone()
}

fn rbac(mut settings: Value) -> Value {
    settings["@type"] = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC".into();
    json!({ "name": "envoy.filters.http.rbac", "typed_config": settings })
}
