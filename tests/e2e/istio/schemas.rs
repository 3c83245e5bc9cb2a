//! Every generated object of Istio's holds against the schema of its resource definition.
//!
//! A field that a schema does not have is dropped in silence by the API server, and what it was to say with it. So
//! unknown fields are errors here, which matters more than all types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use tests::binaries::workspace_dir;
use tests::rig::BundleUnderTest;

use super::objects;

/// Where the definitions are, if not beside the checkout.
const DEFINITIONS: &str = "PALISADE_ISTIO_CRDS";

type Definitions = BTreeMap<(String, String), Value>;

/// By `apiVersion` and kind. `None` where this machine does not have them.
fn definitions() -> Option<Definitions> {
    let beside = || workspace_dir().join("../shared/istio/customresourcedefinitions.gen.yaml");
    let path = std::env::var_os(DEFINITIONS).map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: `{}` is not here; name Istio's definitions by {DEFINITIONS}", path.display());
        return None;
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut definitions = Definitions::new();
    for spec in documents.iter().map(|document| &document["spec"]) {
        for version in spec["versions"].as_array().unwrap() {
            let api = format!("{}/{}", spec["group"].as_str().unwrap(), version["name"].as_str().unwrap());
            let kind = spec["names"]["kind"].as_str().unwrap();
            definitions.insert((api, kind.to_owned()), version["schema"]["openAPIV3Schema"].clone());
        }
    }
    assert!(definitions.len() > 10, "these are all definitions of Istio");
    Some(definitions)
}

/// What is wrong with an object, if it is one of Istio's.
fn problems(definitions: &Definitions, object: &Value) -> Option<Vec<String>> {
    let api = object["apiVersion"].as_str().filter(|api| api.contains(".istio.io/"))?;
    let kind = object["kind"].as_str()?;
    let Some(schema) = definitions.get(&(api.to_owned(), kind.to_owned())) else {
        return Some(vec![format!("there is no `{kind}` in `{api}`")]);
    };
    let mut problems = Vec::new();
    let mut body = object.clone();
    // What every object has, and no definition repeats.
    for common in ["apiVersion", "kind", "metadata"] {
        body.as_object_mut()?.shift_remove(common);
    }
    unknown(schema, &body, "", &mut problems);
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("definition.json", schema.clone()).unwrap();
    let compiled = compiler.compile("definition.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&body, compiled) {
        problems.push(error.to_string());
    }
    Some(problems)
}

/// Fields that the schema does not declare.
fn unknown(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                unknown(&schema["items"], item, &format!("{path}/{place}"), problems);
            }
        }
        Value::Object(fields) => {
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
            for (key, field) in fields {
                let path = format!("{path}/{key}");
                match (schema["properties"].get(key), &schema["additionalProperties"]) {
                    (Some(declared), _) => unknown(declared, field, &path, problems),
                    (None, any @ Value::Object(_)) => unknown(any, field, &path, problems),
                    (None, _) if open => {}
                    (None, _) => problems.push(format!("{path}: the definition has no such field")),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_object_of_istio_is_one_by_its_definition() {
    let Some(definitions) = definitions() else { return };
    for (bundle, workloads) in [(BundleUnderTest::Demo, 2), (BundleUnderTest::Second, 4)] {
        for istio in ["1.26", "1.29", "1.30", "1.31"] {
            let mut checked = BTreeMap::new();
            for (file, object) in objects(bundle, istio) {
                let Some(problems) = problems(&definitions, &object) else { continue };
                let kind = object["kind"].as_str().unwrap().to_owned();
                assert!(problems.is_empty(), "{file}: {kind} for Istio {istio}:\n{}", problems.join("\n"));
                *checked.entry(kind).or_insert(0) += 1;
            }
            let loader = if istio < "1.30" { "WasmPlugin" } else { "TrafficExtension" };
            let expected = [
                ("AuthorizationPolicy", 2 * workloads + 1),
                ("DestinationRule", 1),
                ("EnvoyFilter", workloads),
                ("PeerAuthentication", workloads + 1),
                ("Sidecar", 1),
                ("Telemetry", workloads),
                (loader, workloads),
            ];
            let expected: BTreeMap<_, _> =
                expected.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
            assert_eq!(checked, expected, "Istio {istio}");
        }
    }
}

/// Each of these is refused, and by the check that is for it.
#[test]
fn an_object_that_is_wrong_is_refused() {
    let Some(definitions) = definitions() else { return };
    let objects = objects(BundleUnderTest::Demo, "1.30");
    let check = |kind: &str, pointer: &str, key: &str, value: Value, expected: &str| {
        let (_, object) = objects.iter().find(|(_, object)| object["kind"] == kind).unwrap();
        let mut object = object.clone();
        object.pointer_mut(pointer).unwrap()[key] = value;
        let problems = problems(&definitions, &object).unwrap().join("\n");
        assert!(problems.contains(expected), "{kind} {pointer}/{key}: {problems}");
    };
    let unknown = "the definition has no such field";
    check("TrafficExtension", "/spec/wasm", "fail_strategy", json!("FAIL_RELOAD"), unknown);
    check("TrafficExtension", "/spec/wasm/vmConfig/env/0", "valuefrom", json!("HOST"), unknown);
    check("EnvoyFilter", "/spec/configPatches/0/match", "contexts", json!("ANY"), unknown);
    check("AuthorizationPolicy", "/spec", "providers", json!([]), unknown);
    check("PeerAuthentication", "/spec/mtls", "modes", json!("STRICT"), unknown);
    check("PeerAuthentication", "", "specs", json!({}), unknown);
    check(
        "PeerAuthentication",
        "",
        "apiVersion",
        json!("security.istio.io/v9"),
        "there is no `PeerAuthentication`",
    );
    check("TrafficExtension", "/spec/wasm", "failStrategy", json!("FAIL_SOFT"), "failStrategy");
    check("TrafficExtension", "/spec", "phase", json!("FIRST"), "phase");
    check("EnvoyFilter", "/spec", "priority", json!("high"), "priority");
    check("PeerAuthentication", "/spec/mtls", "mode", json!("STRICTER"), "mode");
    // What is open by its definition stays open.
    let (_, object) = objects.iter().find(|(_, object)| object["kind"] == "TrafficExtension").unwrap();
    let mut object = object.clone();
    object["spec"]["wasm"]["pluginConfig"]["more"] = json!({ "any": 1 });
    assert_eq!(problems(&definitions, &object), Some(Vec::new()));
}
