//! A bundle of many operations and policies is checked in seconds and little memory. Full size: `just scale`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use tests::binaries::palisade;

const GROUPS: usize = 200;

/// What a run is made of: `PALISADE_SCALE` is the number of policies, ten for each operation.
fn policies() -> usize {
    let asked = std::env::var("PALISADE_SCALE").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(400)
}

#[test]
fn many_operations_and_policies_are_checked() {
    let policies = policies();
    let operations = policies / 10;
    let services = operations.div_ceil(20);
    let home = tempfile::tempdir().expect("make a directory");
    write_bundle(home.path(), services, policies);
    let program = palisade();
    let begun = Instant::now();
    let output = Command::new(program)
        .args(["check", "--json"])
        .arg(home.path())
        .output()
        .expect("run palisade check");
    let elapsed = begun.elapsed();
    let checked: Value = serde_json::from_slice(&output.stdout).expect("read what the check says");
    let errors: Vec<_> = checked["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|problem| problem["severity"] == "error")
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let size = (checked["operations"].as_u64(), checked["policies"].as_u64());
    assert_eq!(size, (Some(services as u64 * 20), Some(policies as u64)));
    println!("{} operations and {policies} policies were checked in {elapsed:?}", services * 20);
}

pub(crate) fn write_bundle(home: &Path, services: usize, policies: usize) {
    let write = |path: &str, text: &str| {
        let path = home.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file of the bundle");
    };
    write(
        "palisade.yaml",
        "palisade: 1\ntrust_domains: [shop.example]\nidentity: {api_keys: {header: x-api-key}}\nhandoff: {previous_bundle_accepted_s: 600}\n",
    );
    let groups: String = (0..GROUPS).map(|group| format!("  g{group}: {{}}\n")).collect();
    let clients: String = (0..GROUPS).map(|group| format!("  c{group}: {{groups: [g{group}]}}\n")).collect();
    write("entities/callers.yaml", &format!("groups:\n{groups}clients:\n{clients}"));
    for service in 0..services {
        let folder = format!("services/svc-{service}");
        let settings = format!(
            "hosts: [svc-{service}]\nworkload: {{namespace: shop, labels: {{app: svc-{service}}}}}\nowner: team\n"
        );
        write(&format!("{folder}/service.yaml"), &settings);
        write(&format!("{folder}/openapi.yaml"), &contract());
        let mine = (0..policies).filter(|policy| policy % services == service);
        let text: String = mine.map(|policy| policy_text(policy, services)).collect();
        write(&format!("policies/svc-{service}.cedar"), &text);
    }
}

/// Twenty operations.
fn contract() -> String {
    let mut text = String::from("openapi: 3.0.3\ninfo: {title: t, version: '1'}\npaths:\n");
    for route in 0..10 {
        let written = write!(
            text,
            "  /r{route}/{{id}}:
    parameters: [{{name: id, in: path, required: true, schema: {{type: string}}}}]
    get:
      operationId: get{route}
      parameters: [{{name: limit, in: query, schema: {{type: integer, minimum: 1, maximum: 100}}}}]
      responses: {{'200': {{description: ok}}}}
    put:
      operationId: put{route}
      requestBody: {{required: true, content: {{application/json: {{schema: {{type: object}}}}}}}}
      responses: {{'200': {{description: ok}}}}
"
        );
        written.expect("write to a text");
    }
    text
}

/// A mix: half plain permits, some with conditions, on groups of operations, and now and then a forbid for all services.
fn policy_text(policy: usize, services: usize) -> String {
    let (service, route, group) = (policy % services, (policy / services) % 10, policy % GROUPS);
    let on = format!("resource == Service::\"svc-{service}\"");
    let get = format!("Action::\"svc-{service}.get{route}\"");
    let member = format!("principal in Group::\"g{group}\"");
    let text = match policy % 10 {
        0..5 => format!("permit ({member}, action == {get}, {on});"),
        5..7 => format!(
            "permit ({member}, action == {get}, {on}) when {{ context.query has limit && context.query.limit < {} }};",
            policy % 100 + 1
        ),
        7 => format!(
            "permit ({member}, action in [{get}, Action::\"svc-{service}.put{route}\"], {on}) when {{ context.path.id != \"x{policy}\" }};"
        ),
        8 => format!(
            "permit (principal == Client::\"c{group}\", action in Action::\"svc-{service}\", {on}) when {{ context.request.method == \"GET\" }};"
        ),
        _ if policy % 100 == 9 => format!(
            "forbid ({member}, action in Action::\"write\", resource) when {{ context.request.host == \"h{policy}\" }};"
        ),
        _ => format!(
            "forbid ({member}, action in Action::\"svc-{service}\", {on}) when {{ context.request.host == \"h{policy}\" }};"
        ),
    };
    format!("@id(\"p{policy}\")\n{text}\n")
}
