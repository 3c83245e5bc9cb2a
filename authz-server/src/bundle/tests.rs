//! Bundles that hold, and broken ones with the message that their author reads.

use super::Bundle;
use std::path::Path;

/// A small sound bundle, as files.
const SOUND: [(&str, &str); 5] = [
    (
        "palisade.yaml",
        "palisade: 1\ntrust_domains: [shop.example]\nidentity:\n  api_keys:\n    header: x-api-key\nhandoff:\n  previous_bundle_accepted_s: 600\n",
    ),
    (
        "services/orders/service.yaml",
        "hosts: [orders]\nworkload:\n  namespace: shop\n  labels: {app: orders}\nowner: team-orders\noperations:\n  createOrder: {body_bytes_max: 100}\n",
    ),
    (
        "services/orders/openapi.yaml",
        "openapi: 3.0.3\npaths:\n  /orders:\n    get:\n      operationId: listOrders\n    post:\n      operationId: createOrder\n      requestBody:\n        content:\n          application/json: {}\n  /orders/{id}:\n    parameters:\n      - {name: id, in: path, required: true, schema: {type: string}}\n    delete:\n      operationId: deleteOrder\n",
    ),
    (
        "entities/people.yaml",
        "groups:\n  staff: {}\nclients:\n  web: {groups: [staff]}\nworkloads:\n  spiffe://shop.example/web: {groups: [staff]}\n",
    ),
    (
        "shop.cedar",
        "@id(\"staff-reads\")\npermit (principal in Group::\"staff\", action in Action::\"read\", resource);\n",
    ),
];

fn load_with(changes: &[(&str, &str)]) -> Result<Bundle, String> {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in SOUND.iter().chain(changes) {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for (path, text) in changes {
        if text.is_empty() {
            std::fs::remove_file(directory.path().join(path)).unwrap();
        }
    }
    Bundle::load(directory.path()).map_err(|problems| problems.to_string())
}

/// One part of one file of the sound bundle replaced.
fn check(file: &str, from: &str, to: &str, expected: &str) {
    let (_, text) = SOUND.iter().find(|(path, _)| *path == file).unwrap();
    assert!(text.contains(from), "{from}");
    let error = load_with(&[(file, &text.replacen(from, to, 1))]).unwrap_err();
    assert!(error.starts_with(expected), "found:    {error}\nexpected: {expected}");
}

#[test]
fn a_sound_bundle_loads_and_its_digest_follows_every_byte() {
    let sound = load_with(&[]).unwrap();
    assert_eq!(sound.services.len(), 1);
    assert_eq!(load_with(&[]).unwrap().digest, sound.digest);
    for (path, text) in SOUND {
        let longer = format!("{text}{}\n", if path.ends_with("cedar") { "//" } else { "#" });
        assert_ne!(load_with(&[(path, &longer)]).unwrap().digest, sound.digest, "{path}");
    }
    assert_eq!(load_with(&[("NOTES.md", "x"), (".hidden", "x")]).unwrap().digest, sound.digest);
}

#[test]
fn the_demo_bundle_loads() {
    let demo = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")).unwrap();
    assert_eq!(
        demo.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(),
        ["orders", "payments"]
    );
}

#[test]
fn the_layout_has_a_version() {
    check(
        "palisade.yaml",
        "palisade: 1",
        "palisade: 2",
        "palisade.yaml: unknown bundle version `2`\n    help: this build reads `palisade: 1`; use the release that wrote the bundle",
    );
}

#[test]
fn nothing_about_trust_has_a_default() {
    check(
        "palisade.yaml",
        "trust_domains: [shop.example]\n",
        "",
        "palisade.yaml:5:1: missing field `trust_domains`",
    );
    check(
        "palisade.yaml",
        "handoff:\n  previous_bundle_accepted_s: 600\n",
        "",
        "palisade.yaml:3:1: missing field `handoff`",
    );
    check(
        "palisade.yaml",
        "    header: x-api-key\n",
        "    {}\n",
        "palisade.yaml:5:5: missing field `header`",
    );
}

#[test]
fn unknown_keys_and_files_are_errors_with_their_place() {
    check(
        "palisade.yaml",
        "trust_domains:",
        "trust_domain:",
        "palisade.yaml:2:1: unknown field `trust_domain`",
    );
    check(
        "services/orders/service.yaml",
        "owner:",
        "ownr:",
        "services/orders/service.yaml:5:1: unknown field `ownr`",
    );
    check(
        "services/orders/service.yaml",
        "body_bytes_max",
        "body_max",
        "services/orders/service.yaml:7:17: unknown field `body_max`",
    );
    let error = load_with(&[("services/orders/extra.txt", "x")]).unwrap_err();
    assert!(
        error.starts_with("services/orders/extra.txt: this file has no role in a bundle\n    help: expected"),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_hold_are_refused() {
    check(
        "palisade.yaml",
        "shop.example",
        "Shop.example",
        "palisade.yaml: `Shop.example` is not a trust domain",
    );
    check("palisade.yaml", "x-api-key", "X_Key", "palisade.yaml: `X_Key` cannot carry an API key");
    check(
        "palisade.yaml",
        "x-api-key",
        "x-palisade-key",
        "palisade.yaml: `x-palisade-key` cannot carry an API key",
    );
    check(
        "palisade.yaml",
        "600",
        "90000",
        "palisade.yaml: `previous_bundle_accepted_s: 90000` is longer than a day",
    );
    check(
        "services/orders/service.yaml",
        "[orders]",
        "[Orders]",
        "services/orders/service.yaml: `Orders` is not a host",
    );
    check(
        "services/orders/service.yaml",
        "[orders]",
        "['orders:80']",
        "services/orders/service.yaml: `orders:80` is not a host",
    );
    check(
        "services/orders/service.yaml",
        "[orders]",
        "['[::1]']",
        "services/orders/service.yaml: `[::1]` is not a host",
    );
    check("services/orders/service.yaml", "[orders]", "[]", "services/orders/service.yaml: `hosts` is empty");
    check(
        "services/orders/service.yaml",
        "[orders]",
        "[canary.palisade.internal]",
        "services/: host `canary.palisade.internal` belongs to two services",
    );
    check(
        "services/orders/service.yaml",
        "createOrder:",
        "createOrders:",
        "services/orders/service.yaml: operation `createOrders` is not in `openapi.yaml`",
    );
    check(
        "services/orders/service.yaml",
        "createOrder: {body_bytes_max: 100}",
        "listOrders: {body_bytes_max: 100}",
        "services/orders/service.yaml: operation `listOrders`: `body_bytes_max` on an operation whose contract has no request body",
    );
    check(
        "services/orders/service.yaml",
        "100",
        "2000000",
        "services/orders/service.yaml: operation `createOrder`: `body_bytes_max: 2000000` is over the limit of",
    );
    check(
        "services/orders/service.yaml",
        "{body_bytes_max: 100}",
        "{upgrade: websocket}",
        "services/orders/service.yaml: operation `createOrder`: an upgraded request is not held",
    );
}

#[test]
fn policies_are_parsed_named_and_validated() {
    let file = "shop.cedar";
    check(file, "@id(\"staff-reads\")\n", "", "shop.cedar:1:1: a policy has no `@id`");
    check(file, "permit (", "permitt (", "shop.cedar:2:1: ");
    check(file, "Action::\"read\"", "Action::\"orders.listOrder\"", "shop.cedar:2:");
    check(file, "resource);", "resource) when { context.nothing == 1 };", "shop.cedar:2:");
    check(
        file,
        "principal in Group::\"staff\"",
        "principal == ?principal",
        "shop.cedar: a template has slots that nothing fills",
    );
    let error = load_with(&[("more.cedar", "@id(\"staff-reads\")\nforbid (principal, action, resource);\n")])
        .unwrap_err();
    assert!(error.contains("policy `staff-reads` is in `more.cedar` already"), "{error}");
}

#[test]
fn entities_lead_somewhere() {
    let file = "entities/people.yaml";
    check(
        file,
        "web: {groups: [staff]}",
        "web: {groups: [stuff]}",
        "entities/people.yaml: client `web` is in group `stuff`, which is declared nowhere",
    );
    check(
        file,
        "spiffe://shop.example/web",
        "spiffe://other.example/web",
        "entities/people.yaml: workload `spiffe://other.example/web`: trust domain `other.example` is not listed",
    );
    let error = load_with(&[("entities/more.yaml", "clients:\n  web: {}\n")]).unwrap_err();
    assert!(
        error.starts_with("entities/people.yaml: client `web` is declared in `entities/more.yaml` already"),
        "{error}"
    );
}

#[test]
fn all_mistakes_are_told_together() {
    let error = load_with(&[
        ("palisade.yaml", "palisade: 1\n"),
        ("services/orders/service.yaml", "hosts: 7\n"),
        ("entities/people.yaml", "group: {}\n"),
    ])
    .unwrap_err();
    for file in ["palisade.yaml:", "services/orders/service.yaml:", "entities/people.yaml:"] {
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn missing_parts_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = Bundle::load(empty.path()).unwrap_err().to_string();
    assert!(
        error.contains("the bundle has no `palisade.yaml`") && error.contains("the bundle has no services"),
        "{error}"
    );
    let error = Bundle::load(&empty.path().join("none")).unwrap_err().to_string();
    assert!(error.ends_with("there is no such directory: expected a bundle"), "{error}");
    let error = load_with(&[("services/orders/openapi.yaml", "")]).unwrap_err();
    assert!(
        error.starts_with("services/orders/openapi.yaml: service `orders` has no `openapi.yaml`"),
        "{error}"
    );
}
