//! The order in which a contract lists things, and how it arranges them in components, make no difference.

use crate::bundle::files::{File, Role};
use crate::bundle::openapi::{self, Model};
use crate::bundle::parsed::Document;
use crate::bundle::yaml;
use std::collections::BTreeMap;

fn read(text: &str) -> Model {
    let file = File { path: "openapi.yaml".to_owned(), text: text.to_owned(), role: Role::OpenApi };
    let root = yaml::parse(&file).unwrap_or_else(|problem| panic!("{problem}"));
    let (model, problems) = openapi::read(&Document { file: &file, root }, None);
    assert!(problems.is_empty(), "{problems}");
    model.unwrap()
}

fn facts(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let model = read(text);
    model.operations.iter().map(|operation| (operation.id.to_string(), model.facts(operation))).collect()
}

const ONE: &str = r##"
openapi: 3.1.0
paths:
  /a:
    post:
      operationId: a
      parameters:
        - {name: q, in: query, schema: {type: string, maxLength: 3}}
        - $ref: "#/components/parameters/H"
      requestBody:
        content:
          application/json: {schema: {$ref: "#/components/schemas/Body"}}
          text/plain: {}
      responses:
        "200": {description: Done.}
        4XX: {description: No.}
components:
  parameters:
    H: {name: X-H, in: header, required: true, schema: {type: integer}}
  schemas:
    Body:
      type: object
      required: [b, a]
      properties:
        a: {type: string, enum: [x, y]}
        b: {$ref: "#/components/schemas/Body"}
        c: {oneOf: [{$ref: "#/components/schemas/One"}, {$ref: "#/components/schemas/Two"}]}
    One: {type: string}
    Two: {type: integer}
"##;

const OTHER: &str = r##"{"components": {"schemas": {
    "Two": {"type": "integer"}, "One": {"type": "string"}, "Values": {"enum": ["y", "x"], "type": "string"},
    "Body": {"properties": {
      "c": {"oneOf": [{"$ref": "#/components/schemas/Two"}, {"$ref": "#/components/schemas/One"}]},
      "b": {"$ref": "#/components/schemas/Body"}, "a": {"$ref": "#/components/schemas/Values"}
    }, "required": ["a", "b"], "type": "object"}
  }, "requestBodies": {"B": {"content": {
    "text/plain": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Body"}}
  }}}},
  "paths": {"/a": {"parameters": [{"schema": {"type": "integer"}, "required": true, "in": "header", "name": "x-h"}],
    "post": {"responses": {"4XX": {"description": "Never."}, "200": {"description": "Well."}},
      "requestBody": {"$ref": "#/components/requestBodies/B"},
      "parameters": [{"in": "query", "name": "q", "schema": {"maxLength": 3, "type": "string"}}],
      "operationId": "a"}}},
  "openapi": "3.1.1"}"##;

#[test]
fn facts_do_not_depend_on_order_or_arrangement() {
    assert_eq!(facts(ONE), facts(OTHER));
    assert_eq!(facts(ONE)["a"]["query q"], "string, length up to 3, optional");
    assert_ne!(facts(ONE), facts(&ONE.replace("maxLength: 3", "maxLength: 4")));
}

#[test]
fn what_is_too_deep_to_be_listed_is_still_compared() {
    let chain = |last: &str| {
        let mut text = String::from(
            "openapi: 3.1.0\npaths: {/a: {post: {operationId: a, requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/S0'}}}}}}}\ncomponents:\n  schemas:\n",
        );
        for depth in 0..14 {
            let next = format!("{{$ref: '#/components/schemas/S{}'}}", depth + 1);
            text += &format!("    S{depth}: {{type: object, properties: {{a: {next}, b: {next}}}}}\n");
        }
        text + &format!("    S14: {{type: {last}}}\n")
    };
    let model = read(&chain("string"));
    let operation = model.operations.first().unwrap();
    assert!(model.facts(operation).len() < 5_000, "2^14 fields are not listed");
    assert_eq!(facts(&chain("string")), facts(&chain("string")));
    assert_ne!(facts(&chain("string")), facts(&chain("integer")));
}

#[test]
fn a_thousand_references_in_a_row_are_no_depth() {
    let mut text = String::from(
        "openapi: 3.1.0\npaths: {/a: {post: {operationId: a, requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/S0'}}}}}}}\ncomponents:\n  schemas:\n",
    );
    for depth in 0..5_000 {
        text += &format!(
            "    S{depth}: {{type: object, allOf: [{{$ref: '#/components/schemas/S{}'}}]}}\n",
            depth + 1
        );
    }
    text += "    S5000: {type: object}\n";
    let model = read(&text);
    let operation = model.operations.first().unwrap();
    assert!(model.facts(operation).len() > 1_000);
}
