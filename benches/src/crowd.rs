//! A bundle with as many policies as are asked for, and entities by the thousand: what deciding costs when there is much
//! to decide by.
//!
//! INVARIANT: the request of the load meets the same policies however many others there are: one that permits it, by
//! group, operation and service, and the guardrails, which are open to all.

use crate::failure::Failure;
use crate::issuer::Issuer;
use palisade::bundle::Bundle;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SERVICES: usize = 10;

/// Operations of each service; the first of the first is called by the load.
const OPERATIONS: usize = 10;

/// Callers and what they are in: with the services, 1,500 entities.
const CLIENTS: usize = 1_240;
const GROUPS: usize = 200;
const ROLES: usize = 50;

const SETTINGS: &str = "\
palisade: 1
trust_domains: [shop.example]
identity:
  jwt:
    corp:
      issuer: https://corp.example
      audiences: [shop]
      algorithms: [EdDSA]
      keys: {file: keys/corp.json}
      claims: {groups: groups}
handoff: {previous_bundle_accepted_s: 600}
ledger: {durability: {read: buffered}}
";

/// What holds for everybody, whatever else is permitted.
const GUARDRAILS: &str = "\
@id(\"pages-are-bounded\")
forbid (principal, action, resource in Tier::\"crowd\")
when { action == Action::\"orders.operation0\" && context.query has limit && context.query.limit > 100 };
@id(\"nothing-is-traced\")
forbid (principal, action, resource) when { context.request.method == \"TRACE\" };
";

/// A bundle in a directory of its own.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) directory: TempDir,
    pub(crate) bundle: Bundle,
}

impl Crowd {
    pub(crate) fn make(policies: usize, issuer: &Issuer) -> Result<Crowd, Failure> {
        let directory = tempfile::tempdir().map_err(Failure::because("no place for a bundle"))?;
        write(directory.path(), policies, issuer).map_err(Failure::because("a bundle cannot be written"))?;
        let bundle = Bundle::load(directory.path())
            .map_err(Failure::because(format!("the bundle of {policies} policies is refused")))?;
        Ok(Crowd { directory, bundle })
    }
}

fn write(home: &Path, policies: usize, issuer: &Issuer) -> std::io::Result<()> {
    let file = |path: &str, text: &str| {
        let path = home.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    file("palisade.yaml", SETTINGS)?;
    file("keys/corp.json", &issuer.keys())?;
    file("entities/all.yaml", &entities())?;
    file("guardrails.cedar", GUARDRAILS)?;
    file("permits.cedar", &permits(policies))?;
    for service in 0..SERVICES {
        let name = service_name(service);
        let settings =
            format!("hosts: [{name}]\nworkload: {{namespace: shop, labels: {{app: {name}}}}}\nowner: team\n");
        file(&format!("services/{name}/service.yaml"), &settings)?;
        file(&format!("services/{name}/openapi.yaml"), &contract())?;
    }
    Ok(())
}

fn service_name(service: usize) -> String {
    // The first one is called by the load.
    if service == 0 { "orders".to_owned() } else { format!("orders-{service}") }
}

fn entities() -> String {
    let mut text = String::from("tiers: {crowd: {}}\nroles:\n");
    // Writing into a string cannot fail.
    for role in 0..ROLES {
        let _written = writeln!(text, "  role-{role}: {{}}");
    }
    text.push_str("groups:\n");
    for group in 0..GROUPS {
        let _written = writeln!(text, "  group-{group}: {{}}");
    }
    text.push_str("services:\n");
    for service in 0..SERVICES {
        let _written = writeln!(text, "  {}: {{tiers: [crowd]}}", service_name(service));
    }
    text.push_str("clients:\n");
    for client in 0..CLIENTS {
        let _written = writeln!(
            text,
            "  client-{client}: {{groups: [group-{}], roles: [role-{}]}}",
            client % GROUPS,
            client % ROLES
        );
    }
    text
}

/// One policy for each group, service and operation, in this order of change, until there are enough.
fn permits(count: usize) -> String {
    let mut text = String::new();
    for place in 0..count {
        let (operation, service) = (place % OPERATIONS, place / OPERATIONS % SERVICES);
        let group = place / (OPERATIONS * SERVICES);
        let name = service_name(service);
        let _written = writeln!(
            text,
            "@id(\"permit-{place}\")\n\
             permit (principal in Group::\"group-{group}\", action == Action::\"{name}.operation{operation}\", resource == Service::\"{name}\")\n\
             when {{ context.request.path like \"/*\" && context.request.method != \"TRACE\" }};"
        );
    }
    text
}

fn contract() -> String {
    let mut text = String::from("openapi: 3.0.3\ninfo: {title: t, version: '1'}\npaths:\n");
    for operation in 0..OPERATIONS {
        let path = if operation == 0 { "/orders".to_owned() } else { format!("/orders-{operation}") };
        let _written = write!(
            text,
            "  {path}:
    get:
      operationId: operation{operation}
      parameters:
        - {{name: limit, in: query, schema: {{type: integer, minimum: 1}}}}
        - {{name: state, in: query, schema: {{type: string, enum: [placed, paid, sent]}}}}
      responses: {{'200': {{description: ok}}}}
"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Crowd, Issuer};

    #[test]
    fn a_crowd_is_as_large_as_it_was_asked_for() {
        let crowd = Crowd::make(120, &Issuer::new().unwrap()).unwrap();
        assert_eq!(crowd.bundle.size().policies, 122);
    }
}
