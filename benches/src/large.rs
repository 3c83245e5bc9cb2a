//! A bundle of a thousand operations, made when it is needed.
//!
//! INVARIANT: it answers the same read as the others, and is read by the same code.

use crate::failure::Failure;
use palisade::bundle::Bundle;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const SERVICES: usize = 50;

/// Two operations each.
const ROUTES: usize = 10;

const SETTINGS: &str = "\
palisade: 1
trust_domains: [shop.example]
identity: {api_keys: {header: x-api-key}}
handoff: {previous_bundle_accepted_s: 600}
";

pub(crate) fn load() -> Result<Bundle, Failure> {
    let home = tempfile::tempdir().map_err(Failure::because("no place for a bundle"))?;
    write(home.path()).map_err(Failure::because("a bundle cannot be written"))?;
    Bundle::load(home.path()).map_err(Failure::because("the bundle of a thousand operations is refused"))
}

fn write(home: &Path) -> std::io::Result<()> {
    let file = |path: String, text: &str| {
        let path = home.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    file("palisade.yaml".to_owned(), SETTINGS)?;
    file("entities/callers.yaml".to_owned(), "clients:\n  web: {}\n")?;
    file("all.cedar".to_owned(), "@id(\"everything\")\npermit (principal, action, resource);\n")?;
    for service in 0..SERVICES {
        // The first one is called by the load.
        let name = if service == 0 { "orders".to_owned() } else { format!("orders-{service}") };
        let settings =
            format!("hosts: [{name}]\nworkload: {{namespace: shop, labels: {{app: {name}}}}}\nowner: team\n");
        file(format!("services/{name}/service.yaml"), &settings)?;
        file(format!("services/{name}/openapi.yaml"), &contract())?;
    }
    Ok(())
}

fn contract() -> String {
    let mut text = String::from("openapi: 3.0.3\ninfo: {title: t, version: '1'}\npaths:\n");
    for route in 0..ROUTES {
        let path = if route == 0 { "/orders".to_owned() } else { format!("/orders-{route}") };
        // Writing into a string cannot fail.
        let _written = write!(
            text,
            "  {path}:
    get:
      operationId: list{route}
      parameters: [{{name: limit, in: query, schema: {{type: integer, minimum: 1, maximum: 100}}}}]
      responses: {{'200': {{description: ok, content: {{application/json: {{schema: {{$ref: '#/components/schemas/Order{route}'}}}}}}}}}}
    put:
      operationId: place{route}
      requestBody: {{required: true, content: {{application/json: {{schema: {{$ref: '#/components/schemas/Order{route}'}}}}}}}}
      responses: {{'200': {{description: ok, content: {{application/json: {{schema: {{$ref: '#/components/schemas/Order{route}'}}}}}}}}}}
"
        );
    }
    text.push_str("components:\n  schemas:\n");
    for route in 0..ROUTES {
        let _written = write!(
            text,
            "    Order{route}:
      type: object
      additionalProperties: false
      required: [id, item{route}, quantity]
      properties:
        id: {{type: string, pattern: '^o{route}-[0-9]{{1,18}}$'}}
        item{route}: {{type: string, minLength: 1, maxLength: 200}}
        quantity: {{type: integer, minimum: 1, maximum: 1000}}
        placed: {{type: string, format: date-time}}
        state: {{type: string, enum: [placed, paid, sent]}}
        tags: {{type: array, maxItems: 8, uniqueItems: true, items: {{type: string, maxLength: 20}}}}
"
        );
    }
    text
}
