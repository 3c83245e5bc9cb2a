//! A sidecar's listener after istiod has read the objects, in a real Envoy: the filter is first, the server is asked, and
//! nothing passes when any part is missing.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::rig::{BundleUnderTest, Options, Rig, Target};

use super::istiod::{apply_patches, deny_all, deny_policy, inserted_extension};
use super::objects;

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
const RBAC: &str = "envoy.filters.http.rbac";
const ROUTER: &str = "envoy.filters.http.router";

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The EnvoyFilter: the extension stays where its phase puts it.
    Placement,
    /// The CUSTOM policy, as when it was deleted.
    Custom,
    /// The provider's refusal to fail open.
    FailClosed,
    /// The same, and the default denial with it.
    FailClosedAndDefaultDeny,
    /// The image cannot be had.
    Module,
}

fn manager(config: &mut Value) -> &mut Value {
    config.pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap()
}

fn names(config: &mut Value) -> Vec<String> {
    let filters = manager(config)["http_filters"].as_array().unwrap();
    filters.iter().map(|filter| filter["name"].as_str().unwrap().to_owned()).collect()
}

/// Makes of the sidecar-shaped configuration what istiod would, from the objects of one workload.
fn as_istiod_would(config: &mut Value, bundle: BundleUnderTest, workload: &str, without: Without) {
    let objects = objects(bundle, "1.30");
    let find = |kind: &str, name: &str| {
        let named = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects.iter().map(|(_, object)| object).find(named).unwrap_or_else(|| panic!("no {kind} `{name}`"))
    };
    let name = format!("palisade-{workload}");
    let extension = find("TrafficExtension", &name);
    let namespace = extension["metadata"]["namespace"].as_str().unwrap();
    let resource = format!("extensions.istio.io/trafficextension/{namespace}.{name}");

    // Back to what istiod has before any EnvoyFilter: no filter of ours in front, nothing merged, no canary.
    let filters = manager(config)["http_filters"].as_array_mut().unwrap();
    let rendered = filters.remove(0);
    let authz = filters.iter_mut().find(|filter| filter["name"] == EXT_AUTHZ).unwrap();
    authz["typed_config"].as_object_mut().unwrap().shift_remove("include_peer_certificate").unwrap();
    if matches!(without, Without::FailClosed | Without::FailClosedAndDefaultDeny) {
        authz["typed_config"]["failure_mode_allow"] = true.into();
    }
    if without == Without::Custom {
        filters.retain(|filter| filter["name"] == ROUTER);
    }
    let hosts = manager(config)["route_config"]["virtual_hosts"].as_array_mut().unwrap();
    hosts.retain(|host| host["name"] != "palisade-canary");

    let filters = manager(config)["http_filters"].as_array_mut().unwrap();
    let router = filters.len() - 1;
    filters.insert(router, inserted_extension(&resource));
    if without != Without::FailClosedAndDefaultDeny {
        let deny = find("AuthorizationPolicy", &format!("{name}-default-deny"));
        filters.insert(router + 1, deny_policy(deny));
    }
    if without != Without::Placement {
        let listener = config.pointer_mut("/static_resources/listeners/0").unwrap();
        apply_patches(listener, find("EnvoyFilter", &name));
    }

    // istiod and the agent serve the extension; here a file does.
    let source = rendered["config_discovery"]["config_source"].clone();
    let file = PathBuf::from(source["path_config_source"]["path"].as_str().unwrap());
    let filters = manager(config)["http_filters"].as_array_mut().unwrap();
    let ours = filters.iter_mut().find(|filter| filter["name"] == *resource).unwrap();
    assert_eq!(ours["config_discovery"]["type_urls"], rendered["config_discovery"]["type_urls"]);
    ours["config_discovery"]["config_source"] = source;
    let mut discovery: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let served = &mut discovery["resources"][0];
    served["name"] = resource.into();
    let text = serde_json::to_string(&extension["spec"]["wasm"]["pluginConfig"]).unwrap();
    let configuration = &mut served["typed_config"]["config"]["configuration"]["value"];
    assert!(configuration.is_string());
    *configuration = text.into();
    if without == Without::Module {
        served["typed_config"] = deny_all();
    }
    fs::write(&file, discovery.to_string()).unwrap();
}

fn options(bundle: BundleUnderTest, workload: &'static str, without: Without) -> Options {
    Options::default().edit(move |config| as_istiod_would(config, bundle, workload, without))
}

/// A rig whose canary is not to be waited for.
fn broken(without: Without) -> Rig {
    let options = options(BundleUnderTest::Demo, "orders", without).unready();
    let mut rig = Rig::start_with(Target::Istio, BundleUnderTest::Demo, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    rig
}

/// Status and reason of requests that would pass where everything is there; none may be seen by a service.
fn assert_refused_unseen(rig: &Rig, expected: (u16, Option<&str>)) {
    rig.reset_spies();
    for request in [rig.read_request(), rig.write_request()] {
        let reply = rig.send(request).expect_reply();
        assert_eq!((reply.status, reply.reason().as_deref()), expected, "{reply:?}");
    }
    assert_eq!(rig.bytes_seen(), 0, "{:?}", rig.requests_seen());
}

#[test]
fn the_filter_comes_first_and_the_default_denial_last() {
    let mut options = Options::default();
    let (sent, read) = std::sync::mpsc::channel();
    options = options.edit(move |config| {
        as_istiod_would(config, BundleUnderTest::Demo, "orders", Without::Nothing);
        sent.send((names(config), manager(config).clone())).unwrap();
    });
    let rig = Rig::start_with(Target::Istio, BundleUnderTest::Demo, options);
    let (names, manager) = read.recv().unwrap();
    let ours = "extensions.istio.io/trafficextension/shop.palisade-orders";
    assert_eq!(names, [ours, RBAC, EXT_AUTHZ, RBAC, ROUTER]);
    assert_eq!(manager["common_http_protocol_options"]["headers_with_underscores_action"], "REJECT_REQUEST");
    assert_eq!(manager["stream_idle_timeout"], "300s");
    let authz = &manager["http_filters"][2]["typed_config"];
    assert_eq!(
        (&authz["include_peer_certificate"], &authz["failure_mode_allow"]),
        (&json!(true), &json!(false))
    );

    // The rig has seen the canary denied by the server. What is good passes.
    for request in [rig.read_request(), rig.write_request()] {
        assert_eq!(rig.send(request).expect_reply().status, 200);
    }
    assert!(rig.bytes_seen() > 0);
    // Filter and gate: a body that breaks off is refused before the server is asked, and the service sees nothing.
    rig.reset_spies();
    let canary = "host: canary.palisade.internal\r\n";
    let refused = |request: String| {
        let reply = rig.send(request).expect_reply();
        (reply.status, reply.reason().unwrap_or_default())
    };
    let unknown = refused(format!("GET /.palisade/unknown HTTP/1.1\r\n{canary}\r\n"));
    assert_eq!(unknown, (404, "operation_unknown".to_owned()));
    let head = format!("POST /.palisade/canary HTTP/1.1\r\n{canary}content-type: application/json\r\n");
    let cut = refused(format!("{head}content-length: 2\r\n\r\n{{\""));
    assert_eq!(cut, (400, "json_syntax".to_owned()));
    let underscore = rig.read_request().replace("\r\n\r\n", "\r\nx_user: 1\r\n\r\n");
    assert_eq!(refused(underscore), (400, String::new()), "Envoy itself refuses it");
    assert_eq!(rig.bytes_seen(), 0);
}

#[test]
fn a_workload_is_believed_by_the_certificate_that_the_patch_passes_on() {
    let request = |rig: &Rig| {
        let (path, host) = (rig.profile.value("read_path"), rig.profile.value("host"));
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-client-cert: URI=spiffe://forged\r\n\r\n")
    };
    let read_as_web = |rig: &Rig| {
        let web = rig.pki().client("web", &["spiffe://shop.example/ns/shop/sa/web"]);
        let reply = rig.send_as(Some(&web), request(rig)).expect_reply();
        (reply.status, reply.reason())
    };
    let rig = Rig::start_with(
        Target::Istio,
        BundleUnderTest::Demo,
        options(BundleUnderTest::Demo, "orders", Without::Nothing).tls(),
    );
    assert_eq!(read_as_web(&rig), (200, None));
    // The service sees the certificate of the connection, and not what the caller told of.
    let seen = rig.spy().requests();
    let told = String::from_utf8_lossy(seen[0].header("x-forwarded-client-cert").unwrap()).into_owned();
    assert!(told.contains("sa/web") && !told.contains("forged"), "{told}");
}

#[test]
fn left_where_its_phase_puts_it_the_filter_is_too_late_and_everything_is_denied() {
    assert_refused_unseen(&broken(Without::Placement), (403, Some("handoff_missing")));
}

#[test]
fn without_a_custom_policy_the_default_denial_stands() {
    assert_refused_unseen(&broken(Without::Custom), (403, None));
}

#[test]
fn a_provider_that_fails_open_opens_nothing() {
    let mut rig = broken(Without::FailClosed);
    rig.wait_until_guarded();
    assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);
    rig.server.kill();
    assert_refused_unseen(&rig, (403, None));
}

/// The twin of the test above: it is the default denial that holds there, and nothing else.
#[test]
fn a_provider_that_fails_open_opens_everything_without_the_default_denial() {
    let mut rig = broken(Without::FailClosedAndDefaultDeny);
    rig.wait_until_guarded();
    rig.server.kill();
    rig.reset_spies();
    let reply = rig.send(rig.read_request()).expect_reply();
    assert_eq!(reply.reason().as_deref(), Some("decision_missing"), "the filter notices, and it is too late");
    assert!(rig.bytes_seen() > 0);
}

#[test]
fn a_module_that_cannot_be_had_denies_everything() {
    assert_refused_unseen(&broken(Without::Module), (403, None));
}

#[test]
fn the_second_bundle_is_guarded_the_same_way() {
    let options = options(BundleUnderTest::Second, "fleet", Without::Nothing);
    let rig = Rig::start_with(Target::Istio, BundleUnderTest::Second, options);
    for request in [rig.read_request(), rig.write_request()] {
        assert_eq!(rig.send(request).expect_reply().status, 200);
    }
}
