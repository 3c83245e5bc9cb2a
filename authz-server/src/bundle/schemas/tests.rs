//! Contracts' schemas, read, compiled and asked about documents.

mod oracle;
mod public;
mod suite;

use super::{Compiled, Compiler, Direction, Located, Misdirected, Origin, Refused, Unchecked};
use crate::bundle::files::{File, Role};
use crate::bundle::openapi;
use crate::bundle::parsed::Document;
use crate::bundle::yaml;
use palisade_core::json::Numbers;
use palisade_core::schema::{Cause, CompiledSchemas, SchemaIndex};
use serde_json::{Value, json};

/// What becomes of a schema on its way to whoever asks it.
#[derive(Debug)]
pub(super) enum Outcome {
    Compiled(CompiledSchemas, SchemaIndex),
    /// What its author is told.
    Refused(Vec<String>),
}

/// A schema as the schema `S` of a contract of OpenAPI 3.1. Its references lead into itself.
pub(super) fn compile(schema: &Value) -> Outcome {
    compile_for(schema, Direction::Request)
}

fn compile_for(schema: &Value, direction: Direction) -> Outcome {
    let mut schema = schema.clone();
    lead_into(&mut schema);
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "a schema", "version": "1"},
        "paths": {"/s": {"get": {"operationId": "s", "responses": {"200": {"description": "s"}}}}},
        "components": {"schemas": {"S": schema}},
    });
    let file = File { path: "openapi.yaml".to_owned(), text: document.to_string(), role: Role::OpenApi };
    let root = match yaml::parse(&file) {
        Ok(root) => root,
        Err(problem) => return Outcome::Refused(vec![problem.message]),
    };
    let (model, problems) = openapi::read(&Document { file: &file, root }, None);
    if problems.has_errors() {
        return Outcome::Refused(problems.iter().map(|problem| problem.message.clone()).collect());
    }
    let model = model.unwrap();
    let whole = model.schemas.ids().find(|id| model.schemas.name(*id) == Some("S")).unwrap();
    let mut compiler = Compiler::default();
    let service = compiler.service(&model, Misdirected::Refused);
    let origin = Origin::Component("S".into());
    let index = compiler.schema(whole, direction, &Located { service, origin, way: "the schema".to_owned() });
    let Compiled { table, unchecked } = compiler.finish();
    if !unchecked.is_empty() {
        let told =
            |found: &Unchecked| format!("{}: the format `{}` is not kept to", found.at.way, found.format);
        return Outcome::Refused(unchecked.iter().map(told).collect());
    }
    match table {
        Ok(table) => {
            let bytes = table.encode().unwrap();
            let schemas = CompiledSchemas::decode(&bytes).unwrap();
            Outcome::Compiled(schemas, index)
        }
        Err(refused) => Outcome::Refused(
            refused
                .into_iter()
                .map(|Refused { at, message, .. }| {
                    format!("{}: {message}", at.map(|at| at.way).unwrap_or_default())
                })
                .collect(),
        ),
    }
}

/// Makes references into the schema references into the contract.
fn lead_into(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &mut *value) {
                    ("$ref", Value::String(target)) => {
                        if let Some(rest) =
                            target.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'))
                        {
                            *target = format!("#/components/schemas/S{rest}");
                        }
                    }
                    ("const" | "enum" | "default" | "examples", _) => {}
                    _ => lead_into(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lead_into),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn judge(schema: &Value, direction: Direction, document: &Value) -> String {
    match compile_for(schema, direction) {
        Outcome::Refused(why) => why.join("; "),
        Outcome::Compiled(schemas, index) => {
            match schemas.validate(index, document.to_string().as_bytes(), Numbers::Any) {
                Ok(()) => "passes".to_owned(),
                Err(broken) => match broken.cause {
                    Cause::Schema(keyword) => format!("{} at {}", keyword.as_str(), broken.pointer),
                    cause => format!("{cause:?}"),
                },
            }
        }
    }
}

#[test]
fn what_cannot_be_kept_to_is_refused_by_name_and_place() {
    let check = |schema: Value, expected: &str| {
        assert_eq!(judge(&schema, Direction::Request, &Value::Null), expected);
    };
    check(
        json!({"properties": {"a": {"type": "array", "items": {"type": "string", "format": "regex"}}}}),
        "schema `S`, property `a`, `items`: the format `regex` is not kept to",
    );
    check(json!({"type": "string", "format": "phone"}), "schema `S`: the format `phone` is not kept to");
    check(
        json!({"patternProperties": {"a[ab]{20}$": true}}),
        "schema `S`: the pattern `a[ab]{20}$` needs too large an automaton",
    );
}

#[test]
fn formats_that_are_silent_or_speak_of_numbers() {
    let request = |schema: Value, document: Value| judge(&schema, Direction::Request, &document);
    assert_eq!(request(json!({"type": "string", "format": "password"}), json!("x")), "passes");
    let int32 = json!({"type": "integer", "format": "int32"});
    assert_eq!(request(int32.clone(), json!(2_147_483_647)), "passes");
    assert_eq!(request(int32, json!(2_147_483_648_u32)), "format at ");
    let int64 = json!({"type": "number", "format": "int64"});
    assert_eq!(request(int64.clone(), json!(i64::MIN)), "passes");
    assert_eq!(request(int64.clone(), json!(u64::MAX)), "format at ");
    assert_eq!(request(int64, json!(0.5)), "format at ");
    let float = json!({"type": "number", "format": "float"});
    assert_eq!(request(float.clone(), json!(3.4028235e38)), "passes");
    assert_eq!(request(float, json!(3.41e38)), "format at ");
    assert_eq!(request(json!({"type": "number", "format": "double"}), json!(f64::MAX)), "passes");
}

#[test]
fn what_belongs_in_one_direction_is_not_asked_for_in_the_other() {
    let schema = json!({
        "type": "object",
        "properties": {"id": {"type": "string", "readOnly": true}, "secret": {"type": "string", "writeOnly": true}},
        "required": ["id", "secret"],
    });
    let check =
        |direction, document, expected: &str| assert_eq!(judge(&schema, direction, &document), expected);
    check(Direction::Request, json!({"secret": "x"}), "passes");
    check(Direction::Request, json!({"secret": "x", "id": "1"}), "readOnly at /id");
    check(Direction::Request, json!({}), "required at ");
    check(Direction::Response, json!({"id": "1"}), "passes");
    check(Direction::Response, json!({"secret": "x", "id": "1"}), "writeOnly at /secret");
}
