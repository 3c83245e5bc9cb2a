//! What is rendered from the demo bundle is what is checked in, and each rule of the rendering by a bundle that needs it.

use super::{
    Address, BuildError, MutualTls, PALISADE_FILTER, Rendered, SECRET_VARIABLE, Server, ServerLink, Target,
    Upstream, UpstreamProtocol, Wiring, WiringProblem, render, yaml,
};
use crate::bundle::Bundle;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

mod fails_open;
mod limits;

/// Set to write the checked-in examples anew.
const BLESS: &str = "PALISADE_BLESS";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn upstream(address: &str) -> Upstream {
    address.parse().unwrap()
}

fn wiring(target: Target, upstreams: &[(&str, &str)]) -> Wiring {
    Wiring {
        target,
        listen: "127.0.0.1:10000".parse().unwrap(),
        listener_tls: None,
        envoy_admin: "127.0.0.1:9901".parse().unwrap(),
        node_id: "palisade".to_owned(),
        server: Server { address: "unix:/run/palisade/authz.sock".parse().unwrap(), link: ServerLink::Local },
        filter: "/usr/lib/palisade/palisade_filter.wasm".into(),
        upstreams: upstreams.iter().map(|(name, address)| ((*name).to_owned(), upstream(address))).collect(),
        out: "/etc/palisade".into(),
    }
}

fn mutual(place: &str) -> MutualTls {
    let file = |name: &str| PathBuf::from(format!("/etc/palisade/{place}/{name}.pem"));
    MutualTls { certificate: file("certificate"), key: file("key"), peer_ca: file("ca") }
}

fn demo(target: Target) -> Rendered {
    let bundle = Bundle::load(&workspace().join("policies")).unwrap_or_else(|problems| panic!("{problems}"));
    let mut wiring = wiring(target, &[("orders", "127.0.0.1:8081"), ("payments", "127.0.0.1:8082")]);
    wiring.listener_tls = Some(mutual("listener"));
    render(&bundle, &wiring).unwrap()
}

/// A bundle with one service, `chat`, whose contract has these paths.
fn chat(paths: &str, rules: &str) -> Bundle {
    chat_with("", paths, rules)
}

/// The same with more of `palisade.yaml`.
fn chat_with(settings: &str, paths: &str, rules: &str) -> Bundle {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file(
        "palisade.yaml",
        &format!(
            "palisade: 1\ntrust_domains: []\nidentity: {{}}\nhandoff: {{previous_bundle_accepted_s: 0}}\n{settings}"
        ),
    );
    let service = "hosts: [chat]\nworkload: {namespace: shop, labels: {app: chat}}\nowner: team-chat\n";
    file("services/chat/service.yaml", &format!("{service}operations: {{{rules}}}\n"));
    let openapi = "openapi: 3.0.3\ninfo: {title: Chat, version: 1.0.0}\npaths:\n";
    file("services/chat/openapi.yaml", &format!("{openapi}{paths}"));
    Bundle::load(directory.path()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What a path with the parameter `p` says of it.
const P: &str = "parameters: [{name: p, in: path, required: true, schema: {type: string}}]";
const JSON: &str = "requestBody: {content: {application/json: {}}}, responses: {}";
const GRPC: &str = "requestBody: {content: {application/grpc: {}}}, responses: {}";
const BOTH: &str = "requestBody: {content: {application/json: {}, application/grpc: {}}}, responses: {}";

fn find<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer} in {value:#}"))
}

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

fn manager(rendered: &Rendered) -> &Value {
    find(&rendered.bootstrap, MANAGER)
}

/// The routes of the first service: what each matches, and whether the gate is off there.
fn routes(rendered: &Rendered) -> Vec<(String, bool)> {
    let routes = find(manager(rendered), "/route_config/virtual_hosts/0/routes").as_array().unwrap();
    let shown = |route: &Value| {
        let matcher = &route["match"];
        let path = matcher["path"].as_str().or_else(|| matcher.pointer("/safe_regex/regex")?.as_str());
        let how = if matcher.get("grpc").is_some() {
            " grpc"
        } else if matcher["headers"][1]["name"] == "upgrade" {
            " upgrade"
        } else {
            ""
        };
        (format!("{}{how}", path.unwrap_or("/*")), route.get("typed_per_filter_config").is_some())
    };
    // The first is the guard against second spellings, which every service has.
    routes.iter().skip(1).map(shown).collect()
}

#[test]
fn the_demo_is_rendered_as_it_is_checked_in() {
    for (target, directory) in [(Target::Envoy, "standalone"), (Target::Sidecar, "istio-sidecar")] {
        let directory = workspace().join("envoy").join(directory);
        for file in demo(target).files().unwrap().into_iter().filter(|file| file.name.ends_with(".yaml")) {
            let path = directory.join(file.name);
            if std::env::var_os(BLESS).is_some() {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&path, &file.bytes).unwrap();
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert!(
                kept == file.bytes,
                "`envoy/{}` is not what the demo bundle gives: look at what changed, then run the test with {BLESS}=1",
                path.strip_prefix(workspace().join("envoy")).unwrap().display()
            );
        }
    }
}

#[test]
fn what_is_written_as_yaml_is_what_was_rendered() {
    for target in [Target::Envoy, Target::Sidecar] {
        let rendered = demo(target);
        let directory = tempfile::tempdir().unwrap();
        let written = rendered.write(directory.path()).unwrap();
        // The bootstrap names the others, so it comes last.
        assert_eq!(written.last().unwrap(), &directory.path().join("envoy.yaml"));
        let read = |name: &str| yaml::read(&fs::read_to_string(directory.path().join(name)).unwrap());
        assert_eq!(read("envoy.yaml"), rendered.bootstrap);
        if let Some(extension) = &rendered.extension {
            assert_eq!(&read("ecds.yaml"), extension);
        }
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            written.len(),
            "nothing unfinished stays"
        );
    }
}

#[test]
fn each_drill_takes_its_part_and_nothing_else() {
    for target in [Target::Envoy, Target::Sidecar] {
        let whole = demo(target).http_filters_mut().unwrap().len();
        let count = |mut rendered: Rendered| rendered.http_filters_mut().unwrap().len();
        assert_eq!(count(demo(target).without_filter().unwrap()), whole - 1);
        assert_eq!(count(demo(target).without_ext_authz().unwrap()), whole - 1);
        let mut open = demo(target).without_gate().unwrap();
        assert_eq!(open.ext_authz_mut().unwrap().get("with_request_body"), None);
        assert_eq!(count(open.clone()), whole);
        assert!(matches!(open.without_gate(), Err(BuildError::PartMissing { part: "gate" })));
    }
}

#[test]
fn our_filter_is_before_ext_authz_and_that_before_the_router() {
    let names = |target| -> Vec<String> {
        let mut rendered = demo(target);
        let filters = rendered.http_filters_mut().unwrap();
        filters.iter().map(|filter| filter["name"].as_str().unwrap().to_owned()).collect()
    };
    let authz = "envoy.filters.http.ext_authz";
    let router = "envoy.filters.http.router";
    assert_eq!(names(Target::Envoy), [PALISADE_FILTER, authz, router]);
    assert_eq!(names(Target::Sidecar), [PALISADE_FILTER, "envoy.filters.http.rbac", authz, router]);
}

#[test]
fn nothing_rewrites_a_request_and_nobody_is_internal() {
    let rendered = demo(Target::Envoy);
    let manager = manager(&rendered);
    assert_eq!(manager["normalize_path"], false);
    assert_eq!(manager["merge_slashes"], false);
    assert_eq!(manager["path_with_escaped_slashes_action"], "KEEP_UNCHANGED");
    assert_eq!(manager["use_remote_address"], true);
    // Envoy takes an empty one for "all private addresses".
    assert_eq!(manager.get("internal_address_config"), None);
    for absent in ["strip_matching_host_port", "strip_any_host_port", "strip_trailing_host_dot"] {
        assert_eq!(manager.get(absent), None);
    }
}

#[test]
fn no_secret_is_ever_rendered() {
    for target in [Target::Envoy, Target::Sidecar] {
        for file in demo(target).files().unwrap() {
            let text = String::from_utf8_lossy(&file.bytes).into_owned();
            // As a key it would have a value; as an item of a list it is only a name.
            let is_given = [format!("{SECRET_VARIABLE}:"), format!("{SECRET_VARIABLE}\":")]
                .iter()
                .any(|key| text.contains(key));
            assert!(!is_given, "the secret comes from the proxy's own environment");
        }
    }
}

#[test]
fn only_requests_of_streams_pass_without_the_gate() {
    let gate = |expected: &[(&str, bool)], paths: &str, rules: &str| {
        let wiring = wiring(Target::Envoy, &[("chat", "h2c://127.0.0.1:8081")]);
        let found = routes(&render(&chat(paths, rules), &wiring).unwrap());
        let found: Vec<_> = found.iter().map(|(path, open)| (path.as_str(), *open)).collect();
        assert_eq!(found, expected);
    };
    gate(&[("/*", false)], &format!("  /a: {{post: {{operationId: a, {JSON}}}}}\n"), "");
    gate(
        &[("/a.B/Talk grpc", true), ("/*", false)],
        &format!("  /a.B/Talk: {{post: {{operationId: talk, {BOTH}}}}}\n"),
        "",
    );
    gate(
        &[("/live upgrade", true), ("/*", false)],
        "  /live: {get: {operationId: live, responses: {}}}\n",
        "live: {upgrade: websocket}",
    );
    // A path with a literal is another operation's, and goes before; another method's is never reached.
    gate(
        &[("/rpc/plain", false), (r"/rpc/[^/]+ grpc", true), ("/*", false)],
        &format!(
            "  /rpc/{{p}}: {{{P}, post: {{operationId: talk, {GRPC}}}}}\n  /rpc/plain: {{post: {{operationId: plain, {JSON}}}, put: {{operationId: put, {JSON}}}}}\n"
        ),
        "",
    );
    gate(
        &[(r"/a_b\.c\*/[^/]+ grpc", true), ("/*", false)],
        &format!("  /a_b.c*/{{p}}: {{{P}, post: {{operationId: a, {GRPC}}}}}\n"),
        "",
    );
    // Two streams that meet: the first one's other requests must not fall to the second.
    gate(
        &[
            ("/a.b/x grpc", true),
            ("/a.b/x", false),
            (r"/[^/]+/x grpc", true),
            (r"/[^/]+/x", false),
            ("/*", false),
        ],
        &format!(
            "  /{{p}}/x: {{{P}, post: {{operationId: any, {BOTH}}}}}\n  /a.b/x: {{post: {{operationId: one, {BOTH}}}}}\n"
        ),
        "",
    );
}

#[test]
fn buffers_hold_the_largest_body_and_limits_follow() {
    let paths = format!("  /a: {{post: {{operationId: a, {JSON}}}}}\n");
    let wiring = wiring(Target::Envoy, &[("chat", "127.0.0.1:8081")]);
    let buffer = |rules: &str| {
        let rendered = render(&chat(&paths, rules), &wiring).unwrap();
        let window = find(manager(&rendered), "/http2_protocol_options/initial_stream_window_size");
        let listener = find(&rendered.bootstrap, "/static_resources/listeners/0");
        assert_eq!(&listener["per_connection_buffer_limit_bytes"], window);
        window.as_u64().unwrap()
    };
    assert_eq!(buffer(""), 256 * 1024);
    assert_eq!(buffer("a: {body_bytes_max: 1000000}"), 1_000_000 + 64 * 1024);
}

#[test]
fn a_stream_may_last_and_upgrades_are_known_only_where_declared() {
    let wiring = wiring(Target::Envoy, &[("chat", "127.0.0.1:8081")]);
    let paths = "  /live: {get: {operationId: live, responses: {}}}\n";
    let rendered = |rules: &str| render(&chat(paths, rules), &wiring).unwrap();
    let plain = rendered("");
    assert_eq!(manager(&plain)["request_timeout"], "60s");
    assert_eq!(manager(&plain).get("upgrade_configs"), None);
    assert_eq!(manager(&plain)["http2_protocol_options"].get("allow_connect"), None);
    let upgraded = rendered("live: {upgrade: websocket}");
    assert_eq!(manager(&upgraded).get("request_timeout"), None);
    assert_eq!(manager(&upgraded)["upgrade_configs"], json!([{ "upgrade_type": "websocket" }]));
    assert_eq!(manager(&upgraded)["http2_protocol_options"]["allow_connect"], true);
}

#[test]
fn services_get_http2_by_contract_or_by_name() {
    let protocol = |paths: &str, address: &str| {
        let rendered = render(&chat(paths, ""), &wiring(Target::Envoy, &[("chat", address)])).unwrap();
        let options = "/static_resources/clusters/0/typed_extension_protocol_options";
        let options =
            format!("{options}/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/explicit_http_config");
        find(&rendered.bootstrap, &options).as_object().unwrap().keys().next().unwrap().clone()
    };
    let grpc = format!("  /a: {{post: {{operationId: a, {GRPC}}}}}\n");
    let json = format!("  /a: {{post: {{operationId: a, {JSON}}}}}\n");
    assert_eq!(protocol(&grpc, "127.0.0.1:1"), "http2_protocol_options");
    assert_eq!(protocol(&json, "127.0.0.1:1"), "http_protocol_options");
    assert_eq!(protocol(&json, "h2c://127.0.0.1:1"), "http2_protocol_options");
}

fn problems(bundle: &Bundle, wiring: &Wiring) -> Vec<WiringProblem> {
    match render(bundle, wiring) {
        Err(BuildError::Wiring(problems)) => problems,
        other => panic!("expected problems of the wiring, found {other:?}"),
    }
}

#[test]
fn istio_refuses_a_stream_beside_body_rules_and_takes_it_alone() {
    let wiring = wiring(Target::Sidecar, &[("chat", "h2c://127.0.0.1:8081")]);
    let talk = format!("  /talk: {{post: {{operationId: talk, {GRPC}}}}}\n");
    let say = format!("  /say: {{post: {{operationId: say, {JSON}}}}}\n");
    let conflict = WiringProblem::StreamBesideBody {
        service: "chat".to_owned(),
        stream: "talk".to_owned(),
        body: "say".to_owned(),
    };
    assert_eq!(problems(&chat(&format!("{talk}{say}"), ""), &wiring), [conflict]);
    let alone = render(&chat(&talk, ""), &wiring).unwrap();
    let host = find(manager(&alone), "/route_config/virtual_hosts/0");
    assert!(host.get("typed_per_filter_config").is_some(), "its own sidecar would not hold bodies");
    let canary = find(manager(&alone), "/route_config/virtual_hosts/1");
    assert!(canary.get("typed_per_filter_config").is_none(), "the canary's body is held");
}

#[test]
fn all_problems_of_a_wiring_are_reported_together() {
    let bundle = chat(&format!("  /a: {{post: {{operationId: a, {BOTH}}}}}\n"), "");
    let mut wiring = wiring(Target::Envoy, &[("chat", "127.0.0.1:1"), ("chit", "127.0.0.1:2")]);
    wiring.envoy_admin = "192.0.2.1:9901".parse().unwrap();
    wiring.server.address = "authz.shop:9000".parse().unwrap();
    let expected = [
        WiringProblem::AdminNotLocal { address: wiring.envoy_admin },
        WiringProblem::ServerInPlaintext,
        WiringProblem::GrpcOverHttp1 { service: "chat".to_owned(), operation: "a".to_owned() },
        WiringProblem::UpstreamUnknown { service: "chit".to_owned() },
    ];
    assert_eq!(problems(&bundle, &wiring), expected);
    wiring.upstreams.clear();
    assert!(
        problems(&bundle, &wiring).contains(&WiringProblem::UpstreamMissing { service: "chat".to_owned() })
    );
}

#[test]
fn the_server_is_known_by_its_own_name() {
    let bundle = chat(&format!("  /a: {{post: {{operationId: a, {JSON}}}}}\n"), "");
    let context = |server_name: &str| {
        let mut wiring = wiring(Target::Envoy, &[("chat", "127.0.0.1:1")]);
        wiring.server = Server {
            address: "authz.shop:9000".parse().unwrap(),
            link: ServerLink::Mutual { tls: mutual("server"), server_name: server_name.to_owned() },
        };
        let rendered = render(&bundle, &wiring).unwrap();
        find(&rendered.bootstrap, "/static_resources/clusters/1/transport_socket/typed_config").clone()
    };
    let name = "/common_tls_context/validation_context/match_typed_subject_alt_names/0";
    let workload = context("spiffe://shop.example/ns/shop/sa/authz");
    assert_eq!(find(&workload, name)["san_type"], "URI");
    assert_eq!(workload.get("sni"), None);
    let host = context("authz.shop");
    assert_eq!(find(&host, name), &json!({ "san_type": "DNS", "matcher": { "exact": "authz.shop" } }));
    assert_eq!(host["sni"], "authz.shop");
}

#[test]
fn addresses_are_read_strictly() {
    let check = |text: &str, expected: Address| assert_eq!(text.parse(), Ok(expected), "{text}");
    check("127.0.0.1:80", Address::Socket("127.0.0.1:80".parse().unwrap()));
    check("[::1]:80", Address::Socket("[::1]:80".parse().unwrap()));
    check("authz.shop:80", Address::Name { host: "authz.shop".to_owned(), port: 80 });
    check("unix:run/authz.sock", Address::Unix("run/authz.sock".into()));
    check("/run/authz.sock", Address::Unix("/run/authz.sock".into()));
    for text in ["", "authz", "authz:", "authz:0", "authz:65536", ":80", "unix:", "http://authz:80", "::1:80"]
    {
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`{text}` is not an address: expected `HOST:PORT`, `unix:PATH` or an absolute path")
        );
    }
    assert_eq!(upstream("h2c://127.0.0.1:1").protocol, UpstreamProtocol::Http2);
}
