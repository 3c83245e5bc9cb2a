//! Spreading adds nothing and leaves nothing out; a change is given to Envoy in the order in which it is safe.

use super::*;
use crate::build::{self, Address, Rendered, Server, ServerLink, Target, Upstream, UpstreamProtocol, Wiring};
use crate::bundle::Bundle;
use std::collections::BTreeMap;

fn rendered(target: Target, services: &[&str]) -> Rendered {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let bundle = Bundle::load(&policies).unwrap();
    let upstream = || Upstream {
        address: Address::Socket("127.0.0.1:9".parse().unwrap()),
        protocol: UpstreamProtocol::ByContract,
    };
    let wiring = Wiring {
        target,
        listen: "127.0.0.1:1".parse().unwrap(),
        listener_tls: None,
        envoy_admin: "127.0.0.1:2".parse().unwrap(),
        node_id: "t".to_owned(),
        server: Server { address: Address::Socket("127.0.0.1:3".parse().unwrap()), link: ServerLink::Local },
        filter: "f.wasm".into(),
        upstreams: services.iter().map(|name| ((*name).to_owned(), upstream())).collect::<BTreeMap<_, _>>(),
        out: "out".into(),
    };
    build::render(&bundle, &wiring).unwrap_or_else(|error| panic!("{error}"))
}

fn spread(target: Target) -> (Rendered, Generated) {
    let rendered = rendered(target, &["orders", "payments"]);
    let generated =
        Generated::spread(rendered.bootstrap.clone(), rendered.extension.clone(), Path::new("watched"))
            .unwrap();
    (rendered, generated)
}

/// The parts put together again.
fn rejoined(generated: &Generated) -> Value {
    let mut bootstrap = generated.bootstrap.clone();
    bootstrap.as_object_mut().unwrap().remove("dynamic_resources").unwrap();
    let mut listeners = generated.listeners.resources.clone();
    let manager = listeners[0].pointer_mut(MANAGER).unwrap().as_object_mut().unwrap();
    manager.remove("rds").unwrap();
    manager.insert("route_config".to_owned(), generated.routes.resources[0].clone());
    for filter in manager["http_filters"].as_array_mut().unwrap() {
        let found = [&generated.filter, &generated.authorization].into_iter().flatten();
        let found = found.map(|file| &file.resources[0]).find(|known| known["name"] == filter["name"]);
        if let Some(found) = found {
            filter.as_object_mut().unwrap().remove("config_discovery").unwrap();
            filter["typed_config"] = found["typed_config"].clone();
        }
    }
    let clusters = generated.clusters.resources.clone().into_iter();
    let own = bootstrap["static_resources"]["clusters"].as_array().unwrap().clone();
    bootstrap["static_resources"]["clusters"] = clusters.chain(own).collect();
    bootstrap["static_resources"]["listeners"] = listeners.into();
    bootstrap
}

#[test]
fn the_parts_together_are_what_was_generated() {
    for target in [Target::Envoy, Target::Sidecar] {
        let (mut rendered, generated) = spread(target);
        if let Some(extension) = &rendered.extension {
            // In Istio's shape the filter is discovered already; its configuration is found in the other file.
            let settings = extension.pointer("/resources/0/typed_config").unwrap().clone();
            let filter = &mut rendered.http_filters_mut().unwrap()[0];
            filter.as_object_mut().unwrap().remove("config_discovery").unwrap();
            filter["typed_config"] = settings;
        }
        assert_eq!(rejoined(&generated), rendered.bootstrap);
        let text = generated.listeners.resources[0].to_string();
        assert!(
            text.contains("watched/filter.json") && text.contains("watched/authorization.json"),
            "{text}"
        );
        assert!(!text.contains("out/ecds.yaml"), "{text}");
        // The contract goes only where connections that are open take it from.
        assert!(!text.contains("BytesValue") && !text.contains("StringValue"), "{text}");
    }
}

#[test]
fn a_filter_that_a_drill_has_taken_is_not_discovered() {
    let rendered = rendered(Target::Envoy, &["orders", "payments"]).without_filter().unwrap();
    let generated = Generated::spread(rendered.bootstrap, None, Path::new("w")).unwrap();
    assert_eq!(generated.filter, None);
    assert!(generated.authorization.is_some());
}

#[test]
fn only_what_changed_is_written_and_old_clusters_go_last() {
    let directory = tempfile::tempdir().unwrap();
    let (_, before) = spread(Target::Envoy);
    before.write(directory.path(), "1").unwrap();
    let written = |after: &Generated| after.write_changes(&before, directory.path(), "2").unwrap();
    assert_eq!(written(&before), [] as [&str; 0]);

    let mut after = before.clone();
    after.filter.as_mut().unwrap().resources[0]["typed_config"]["x"] = 1.into();
    assert_eq!(written(&after), ["filter.json"]);
    assert_eq!(read(&directory.path().join("filter.json")).unwrap()["version_info"], "2");
    assert_eq!(read(&directory.path().join("routes.json")).unwrap()["version_info"], "1");

    after.routes.resources[0]["x"] = 1.into();
    after.clusters.resources[0]["name"] = "service-new".into();
    let names = written(&after);
    assert_eq!(names, ["clusters.json", "routes.json", "filter.json", "clusters.json"]);
    let clusters = read(&directory.path().join("clusters.json")).unwrap();
    let left: Vec<_> =
        clusters["resources"].as_array().unwrap().iter().map(|cluster| &cluster["name"]).collect();
    assert_eq!(left, ["service-new", "service-payments"]);

    let mut fewer = before.clone();
    fewer.clusters.resources.pop();
    assert_eq!(written(&fewer), ["clusters.json"]);
}

#[test]
fn a_configuration_of_another_shape_is_refused() {
    for text in [
        "{}",
        r#"{"static_resources":{"clusters":[]}}"#,
        r#"{"static_resources":{"listeners":[{}],"clusters":[]}}"#,
    ] {
        let bootstrap: Value = serde_json::from_str(text).unwrap();
        assert!(Generated::spread(bootstrap, None, Path::new("w")).is_err(), "{text}");
    }
}
