//! Global limits as they are asked for and as limiters read them.

use super::super::kubernetes;
use super::super::kubernetes::tests::settings;
use super::*;

/// The demo bundle with limits of payments, and more of it.
fn limited(limiter: &str, limits: &str, workload: &str) -> (tempfile::TempDir, Bundle) {
    let directory = tempfile::tempdir().unwrap();
    let source = workspace().join("policies");
    for path in [
        "palisade.yaml",
        "shop.cedarschema",
        "storefront.cedar",
        "guardrails.cedar",
        "support.cedar",
        "entities/people.yaml",
        "keys/staff.json",
        "services/orders/openapi.yaml",
        "services/orders/service.yaml",
        "services/payments/openapi.yaml",
        "services/payments/service.yaml",
    ] {
        let mut text = fs::read_to_string(source.join(path)).unwrap();
        match path {
            "palisade.yaml" => text.push_str(&format!("rate_limit_service: {limiter}\n")),
            "services/payments/service.yaml" => {
                text = text.replace("app: payments", workload);
                text.push_str(&format!("limits:\n{limits}"));
            }
            _ => {}
        }
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let bundle = Bundle::load(directory.path()).unwrap_or_else(|problems| panic!("{problems}"));
    (directory, bundle)
}

const LIMITS: &str = "  - {name: quota, rate: 100/h, by: [caller, 'header:x-tenant'], scope: global}
  - {name: all, rate: 0/s, operations: [createPayment], scope: global}
  - {name: watched, rate: 5/m, by: [operation], scope: global, mode: shadow}
";

const UPSTREAMS: [(&str, &str); 2] = [("orders", "127.0.0.1:8081"), ("payments", "127.0.0.1:8082")];

const RATELIMIT: &str = "domain: shop
descriptors:
- key: limit
  value: payments.quota
  descriptors:
  - key: caller
    descriptors:
    - key: header.x-tenant
      rate_limit:
        unit: hour
        requests_per_unit: 100
- key: limit
  value: payments.all
  rate_limit:
    unit: second
    requests_per_unit: 0
- key: limit
  value: payments.watched
  descriptors:
  - key: operation
    rate_limit:
      unit: minute
      requests_per_unit: 5
";

#[test]
fn limiters_get_the_same_limits_that_proxies_ask_for() {
    let (_directory, bundle) = limited("{address: '127.0.0.1:8083', domain: shop}", LIMITS, "app: payments");
    let rendered = render(&bundle, &wiring(Target::Envoy, &UPSTREAMS)).unwrap();
    let file = |name: &str| {
        let files = rendered.files().unwrap();
        let file = files.into_iter().find(|file| file.name == name).unwrap();
        yaml::read_all(std::str::from_utf8(&file.bytes).unwrap()).remove(0)
    };
    assert_eq!(file("ratelimit.yaml"), yaml::read_all(RATELIMIT).remove(0));
    let limit = |name: &str, max_value: u32, seconds: u32, place: usize, variables: &[&str]| {
        json!({
            "namespace": "shop",
            "name": format!("payments.{name}"),
            "max_value": max_value,
            "seconds": seconds,
            "conditions": [format!("size(descriptors) > {place} && descriptors[{place}]['limit'] == 'payments.{name}'")],
            "variables": variables,
        })
    };
    let expected = json!([
        limit("quota", 100, 3600, 0, &["descriptors[0]['caller']", "descriptors[0]['header.x-tenant']"]),
        limit("all", 0, 1, 1, &[]),
        limit("watched", 5, 60, 0, &["descriptors[0]['operation']"]),
    ]);
    assert_eq!(file("limitador.yaml"), expected);
}

#[test]
fn a_bundle_without_global_limits_asks_nobody() {
    let own = "  - {name: own, rate: 5/s}\n";
    let (_directory, bundle) = limited("{address: '127.0.0.1:8083'}", own, "app: payments");
    let rendered = render(&bundle, &wiring(Target::Envoy, &UPSTREAMS)).unwrap();
    let text = serde_json::to_string(&rendered.bootstrap).unwrap();
    assert!(!text.contains("ratelimit") && !text.contains("palisade-limiter"), "{text}");
    assert_eq!(rendered.limits, []);
}

#[test]
fn the_limiter_is_asked_last_and_only_for_the_service_that_has_limits() {
    let (_directory, bundle) =
        limited("{address: 'unix:/run/limiter.sock', fail: open, timeout_ms: 20}", LIMITS, "app: payments");
    for target in [Target::Envoy, Target::Sidecar] {
        let rendered = render(&bundle, &wiring(target, &UPSTREAMS)).unwrap();
        let filters = find(manager(&rendered), "/http_filters").as_array().unwrap();
        let names: Vec<_> =
            filters.iter().rev().take(4).map(|filter| filter["name"].as_str().unwrap()).collect();
        let expected = [
            "envoy.filters.http.router",
            "palisade-limits-in-shadow",
            "envoy.filters.http.ratelimit",
            "envoy.filters.http.ext_authz",
        ];
        assert_eq!(names, expected, "{target:?}");
        let asking = &filters[filters.len() - 3]["typed_config"];
        assert_eq!(asking["failure_mode_deny"], false);
        assert_eq!(asking["timeout"], "0.020s");
        let hosts = find(manager(&rendered), "/route_config/virtual_hosts").as_array().unwrap();
        for host in hosts {
            let asked = host.get("rate_limits").and_then(Value::as_array).map_or(0, Vec::len);
            // With the tenant and without, and the two others.
            let expected = if host["name"] == "payments" { 4 } else { 0 };
            assert_eq!(asked, expected, "{target:?}: {}", host["name"]);
        }
    }
}

/// What stands for a limit that the server told nothing of, for each list of actions.
#[track_caller]
fn check_untold(limits: &str, expected: &[(&str, Option<&str>)]) {
    let (directory, bundle) = limited(
        "{address: 'ratelimit.limits.svc.cluster.local:8081', plaintext: true}",
        limits,
        "app: payments",
    );
    let untold = |asked: &Value| -> Vec<(String, Option<String>)> {
        let of = |one: &Value| {
            let named = find(one, "/actions/0/metadata");
            let name = find(named, "/metadata_key/path/1/key").as_str().unwrap().to_owned();
            (name, named.get("default_value").map(|value| value.as_str().unwrap().to_owned()))
        };
        asked.as_array().unwrap().iter().map(of).collect()
    };
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), value.map(ToOwned::to_owned))).collect();
    let rendered = render(&bundle, &wiring(Target::Envoy, &UPSTREAMS)).unwrap();
    let hosts = find(manager(&rendered), "/route_config/virtual_hosts").as_array().unwrap();
    let host = hosts.iter().find(|host| host["name"] == "payments").unwrap();
    assert_eq!(untold(&host["rate_limits"]), expected);
    // In a mesh the requests of a port may be of several services, and each of them is decided.
    let files = bundle.files(directory.path()).unwrap();
    let manifests = kubernetes::render(&bundle, &files, &settings()).unwrap();
    let file = manifests.files.iter().find(|file| file.path == "3-filter/shop.payments.yaml").unwrap();
    let text = std::str::from_utf8(&file.bytes).unwrap();
    assert!(text.contains("payments.") && !text.contains("default_value: payments."), "{text}");
}

#[test]
fn a_limit_of_all_operations_counts_what_passes_undecided() {
    check_untold(
        "  - {name: quota, rate: 100/h, by: [caller], scope: global}\n",
        &[("payments.quota", Some("payments.quota"))],
    );
    check_untold(
        "  - {name: some, rate: 1/s, operations: [createPayment], scope: global}\n",
        &[("payments.some", None)],
    );
    check_untold(
        LIMITS,
        &[
            ("payments.quota", Some("payments.quota")),
            ("payments.quota", Some("payments.quota")),
            ("payments.all", Some("-")),
            ("payments.watched", Some("payments.watched")),
        ],
    );
}

#[test]
fn the_way_to_a_limiter_is_protected_or_its_plaintext_asked_for() {
    let render = |limiter: &str| {
        let (_directory, bundle) = limited(limiter, LIMITS, "app: payments");
        render(&bundle, &wiring(Target::Envoy, &UPSTREAMS)).map(drop)
    };
    let Err(BuildError::Wiring(problems)) = render("{address: 'limiter:8081'}") else {
        panic!("plaintext over a network");
    };
    assert_eq!(problems, [WiringProblem::LimiterInPlaintext]);
    render("{address: 'limiter:8081', plaintext: true}").unwrap();
    render("{address: '127.0.0.1:8081'}").unwrap();
}

#[test]
fn in_a_mesh_the_limiter_is_a_service_and_has_the_limits_of_one() {
    let render = |limiter: &str, limits: &str, workload: &str| {
        let (directory, bundle) = limited(limiter, limits, workload);
        let files = bundle.files(directory.path()).unwrap();
        kubernetes::render(&bundle, &files, &settings())
    };
    let name = "{address: 'ratelimit.limits.svc.cluster.local:8081'}";
    let manifests = render(name, LIMITS, "app: payments").unwrap();
    let has = |path: &str| manifests.files.iter().any(|file| file.path == path);
    assert!(has("ratelimit.yaml") && has("limitador.yaml"));
    let filters: Vec<_> = manifests
        .files
        .iter()
        .filter(|file| file.path.starts_with("3-filter/"))
        .map(|file| (file.path.as_str(), std::str::from_utf8(&file.bytes).unwrap()))
        .collect();
    let asks = |text: &str| text.contains("outbound|8081||ratelimit.limits.svc.cluster.local");
    let asking: Vec<_> = filters.iter().filter(|(_, text)| asks(text)).map(|(path, _)| *path).collect();
    assert_eq!(asking, ["3-filter/shop.payments.yaml"]);

    let error = render("{address: 'unix:/run/limiter.sock'}", LIMITS, "app: payments").unwrap_err();
    let expected = "service `payments` has global limits, and the limiter's address `unix:/run/limiter.sock` is no service of the mesh: write its full name into `rate_limit_service`, such as `ratelimit.limits.svc.cluster.local:8081`, so that the mesh protects the way to it";
    assert_eq!(error.to_string(), expected);
}
