//! Objects for both bundles: as checked in, joined to each other, and refused where they would not hold.

mod joined;
mod refused;

use super::{Manifests, Settings, render};
use crate::build::yaml;
use crate::bundle::Bundle;
use palisade_core::contract::Contract;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Set to write the checked-in files anew.
const BLESS: &str = "PALISADE_BLESS";

/// Settings of the demo's examples. The digests are those of nothing.
pub(in crate::build) fn settings() -> Settings {
    let image = |name: &str, digit: &str| {
        format!("registry.example/palisade/{name}@sha256:{}", digit.repeat(64)).parse().unwrap()
    };
    Settings {
        istio: "1.30".parse().unwrap(),
        filter_image: image("filter", "a"),
        server_image: image("server", "b"),
        namespace: "palisade-system".to_owned(),
        root_namespace: "istio-system".to_owned(),
        trust_domain: "shop.example".to_owned(),
        replicas: 3,
        bundle_in_image: false,
    }
}

/// The second bundle goes to another mesh: an older one, with other names.
fn other_settings() -> Settings {
    let mut settings = settings();
    settings.istio = "1.29".parse().unwrap();
    settings.namespace = "access".to_owned();
    settings.root_namespace = "mesh".to_owned();
    settings.trust_domain = "harbor.test".to_owned();
    settings.replicas = 2;
    settings
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Bundle, settings, and where its objects are checked in.
fn cases() -> [(PathBuf, Settings, PathBuf); 2] {
    let root = workspace();
    [
        (root.join("policies"), settings(), root.join("envoy/istio")),
        (root.join("tests/bundles/second"), other_settings(), root.join("tests/golden/istio/second")),
    ]
}

fn rendered(directory: &Path, settings: &Settings) -> (Bundle, Manifests) {
    let bundle = Bundle::load(directory).unwrap_or_else(|problems| panic!("{problems}"));
    let files = bundle.files(directory).unwrap_or_else(|problems| panic!("{problems}"));
    let manifests = render(&bundle, &files, settings).unwrap_or_else(|error| panic!("{error}"));
    (bundle, manifests)
}

/// All documents of the YAML files, with the file of each.
fn documents(manifests: &Manifests) -> Vec<(String, Value)> {
    let yaml = manifests.files.iter().filter(|file| file.path.ends_with(".yaml"));
    yaml.flat_map(|file| {
        let documents = yaml::read_all(std::str::from_utf8(&file.bytes).unwrap());
        documents.into_iter().map(|document| (file.path.clone(), document))
    })
    .collect()
}

fn of_kind<'v>(documents: &'v [(String, Value)], kind: &str) -> Vec<&'v Value> {
    documents.iter().map(|(_, document)| document).filter(|document| document["kind"] == kind).collect()
}

/// All files below a directory, by their path inside of it.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(directory: &Path, above: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = format!("{above}{}", entry.file_name().to_str().unwrap());
            match entry.path().is_dir() {
                true => walk(&entry.path(), &format!("{path}/"), found),
                false => drop(found.insert(path, fs::read(entry.path()).unwrap())),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, "", &mut found);
    found
}

#[test]
fn both_bundles_give_what_is_checked_in() {
    for (bundle, settings, golden) in cases() {
        let (_, manifests) = rendered(&bundle, &settings);
        if std::env::var_os(BLESS).is_some() {
            super::write(&manifests, &golden).unwrap();
        }
        let fresh = tempfile::tempdir().unwrap();
        super::write(&manifests, fresh.path()).unwrap();
        let (expected, kept) = (tree(fresh.path()), tree(&golden));
        let differ: Vec<_> = expected
            .keys()
            .chain(kept.keys())
            .filter(|path| expected.get(*path) != kept.get(*path))
            .collect();
        assert!(
            differ.is_empty(),
            "below `{}`, {differ:?} are not what the bundle gives: look at what changed, then run the test with {BLESS}=1",
            golden.strip_prefix(workspace()).unwrap().display()
        );
    }
}

#[test]
fn the_same_bundle_gives_the_same_bytes_wherever_it_stands() {
    for (bundle, settings, _) in cases() {
        let (_, first) = rendered(&bundle, &settings);
        let copy = tempfile::tempdir().unwrap();
        // Written in another order, so that nothing hangs on the order of a directory.
        for (path, bytes) in tree(&bundle).into_iter().rev() {
            let path = copy.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let (_, second) = rendered(copy.path(), &settings);
        assert_eq!(first.files, second.files);
    }
}

#[test]
fn what_goes_into_a_pod_is_the_bundle() {
    for (directory, settings, _) in cases() {
        let (bundle, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let [map] = of_kind(&documents, "ConfigMap")[..] else { panic!("one ConfigMap") };
        let [set] = of_kind(&documents, "StatefulSet")[..] else { panic!("one StatefulSet") };
        let items = set.pointer("/spec/template/spec/volumes/0/projected/sources/0/configMap/items").unwrap();
        let mounted = tempfile::tempdir().unwrap();
        for item in items.as_array().unwrap() {
            let path = mounted.path().join(item["path"].as_str().unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, map["data"][item["key"].as_str().unwrap()].as_str().unwrap()).unwrap();
        }
        assert_eq!(map["data"].as_object().unwrap().len(), items.as_array().unwrap().len());
        let read = Bundle::load(mounted.path()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(read.digest, bundle.digest);
    }
}

#[test]
fn what_the_filter_gets_is_the_contract() {
    for (directory, settings, _) in cases() {
        let (bundle, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let kind = if settings.istio.has_traffic_extension() { "TrafficExtension" } else { "WasmPlugin" };
        let loaders = of_kind(&documents, kind);
        assert_eq!(loaders.len(), bundle.services.len());
        for loader in loaders {
            let module = if kind == "WasmPlugin" { &loader["spec"] } else { &loader["spec"]["wasm"] };
            // As istiod hands it on: JSON text.
            let text = serde_json::to_string(&module["pluginConfig"]).unwrap();
            let contract = Contract::decode(text.as_bytes()).unwrap();
            assert_eq!(contract.encode().unwrap(), bundle.contract.encode().unwrap());
            let fails = if kind == "WasmPlugin" { "FAIL_CLOSE" } else { "FAIL_RELOAD" };
            assert_eq!(module["failStrategy"], fails);
            assert_eq!(module["url"], format!("oci://{}", settings.filter_image));
            assert_eq!(loader["spec"]["match"], serde_json::json!([{ "mode": "SERVER" }]));
        }
    }
}
