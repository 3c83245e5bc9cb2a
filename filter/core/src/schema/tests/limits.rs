//! Documents and schemas made to cost: each ends in a refusal, and just below it is judged.

use super::judge;
use super::plain::{self, ROOT, compile};
use crate::json::Numbers;
use crate::limits::{LIVE_DIGESTS_MAX, SCHEMA_PLAN_MAX};
use crate::schema::{Cause, CompiledSchemas, Exceeded, SchemasError};
use crate::testing::universal_test;
use serde_json::{Value, json};

fn exceeds(schemas: &CompiledSchemas, document: &str) -> Option<Exceeded> {
    match judge(schemas, document).map_err(|broken| broken.cause) {
        Err(Cause::Exceeds(bound)) => Some(bound),
        Err(Cause::Json(_) | Cause::Schema(_)) | Ok(()) => None,
    }
}

universal_test! {
    fn a_schema_that_doubles_with_each_level_is_asked_once_for_each_value() {
        let twice = json!({"allOf": [
            {"properties": {"c": {"$ref": "#"}}}, {"properties": {"c": {"$ref": "#"}}, "maxProperties": 1},
            {"anyOf": [{"properties": {"c": {"$ref": "#"}}}, {"type": "null"}]}
        ]});
        let schemas = compile(&twice);
        let deep = |inner: &str| format!("{}{inner}{}", "{\"c\":".repeat(60), "}".repeat(60));
        assert_eq!(judge(&schemas, &deep("1")), Ok(()));
        assert!(judge(&schemas, &deep("{\"c\":1,\"d\":1}")).is_err());
    }
}

universal_test! {
    fn too_many_schemas_for_one_value_are_refused_when_they_are_assembled() {
        let branches: Vec<Value> = (0..SCHEMA_PLAN_MAX).map(|least| json!({"minimum": least})).collect();
        let table = plain::table(&json!({"allOf": branches})).unwrap();
        assert_eq!(CompiledSchemas::assemble(table).unwrap_err(), SchemasError::TooManyAtOnce { schema: ROOT, max: SCHEMA_PLAN_MAX });
        let table = plain::table(&json!({"allOf": branches[1..]})).unwrap();
        assert!(CompiledSchemas::assemble(table).is_ok());
        let endless = plain::table(&json!({"anyOf": [{"allOf": [{"$ref": "#"}]}, true]})).unwrap();
        assert!(matches!(CompiledSchemas::assemble(endless).unwrap_err(), SchemasError::Endless { .. }));
    }
}

universal_test! {
    fn each_bound_is_a_refusal_and_never_a_pass() {
        let branches: Vec<Value> = (0..600).map(|most| json!({"maxItems": 600_000 + most})).collect();
        let wide = compile(&json!({"items": {"$ref": "#"}, "oneOf": branches, "contains": {"not": {"anyOf": branches}}}));
        assert_eq!(exceeds(&wide, &format!("{}{}", "[".repeat(20), "]".repeat(20))), Some(Exceeded::Schemas));
        let slow = compile(&json!({"items": {"anyOf": branches}}));
        assert_eq!(exceeds(&slow, &format!("[{}[]]", "[],".repeat(10_000))), Some(Exceeded::Steps));
        let unique = compile(&json!({"uniqueItems": true}));
        let numbers = |count: usize| format!("[{}]", (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join(","));
        assert_eq!(judge(&unique, &numbers(LIVE_DIGESTS_MAX)), Ok(()));
        assert_eq!(exceeds(&unique, &numbers(LIVE_DIGESTS_MAX + 1)), Some(Exceeded::Digests));
        let marks = compile(&json!({"unevaluatedItems": false, "contains": {"type": "null"}}));
        assert_eq!(exceeds(&marks, &numbers(40_000)), Some(Exceeded::Marks));
        assert_eq!(exceeds(&compile(&json!({"minimum": 0})), "1e1000000001"), Some(Exceeded::Exponent));
    }
}

universal_test! {
    fn numbers_of_a_million_digits_are_judged() {
        let schemas = compile(&json!({"multipleOf": 7, "minimum": 10}));
        let long = format!("{}e5", "7".repeat(1_000_000));
        assert_eq!(schemas.validate(ROOT, long.as_bytes(), Numbers::Any), Ok(()));
    }
}
