//! What is generated for a cluster: valid by Istio's own schemas, and doing in Envoy what it says.

mod bootstraps;
mod images;
mod istiod;
mod listener;
mod schemas;

use palisade::build::kubernetes::{Manifests, Settings, render};
use palisade::bundle::Bundle;
use serde_json::Value;
use tests::binaries::workspace_dir;
use tests::corpus::profile::Profile;
use tests::rig::BundleUnderTest;

fn settings(istio: &str) -> Settings {
    let image =
        |digit: &str| format!("registry.example/palisade@sha256:{}", digit.repeat(64)).parse().unwrap();
    Settings {
        istio: istio.parse().unwrap(),
        filter_image: image("a"),
        server_image: image("b"),
        namespace: "palisade-system".to_owned(),
        root_namespace: "istio-system".to_owned(),
        trust_domain: "shop.example".to_owned(),
        replicas: 3,
        bundle_in_image: false,
    }
}

fn manifests(bundle: BundleUnderTest, istio: &str) -> Manifests {
    let directory = workspace_dir().join(Profile::load(bundle).bundle);
    let bundle = Bundle::load(&directory).unwrap_or_else(|problems| panic!("{problems}"));
    let files = bundle.files(&directory).unwrap_or_else(|problems| panic!("{problems}"));
    render(&bundle, &files, &settings(istio)).unwrap_or_else(|error| panic!("{error}"))
}

/// Every object, with the file that it stands in.
fn objects(bundle: BundleUnderTest, istio: &str) -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for file in manifests(bundle, istio).files.iter().filter(|file| file.path.ends_with(".yaml")) {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(std::str::from_utf8(&file.bytes).unwrap()).unwrap();
        objects.extend(documents.into_iter().map(|document| (file.path.clone(), document)));
    }
    objects
}
