//! Schemas asked about documents: what passes, what is refused and why, and that nothing is ever too much.

mod limits;
pub(crate) mod plain;

use super::{Broken, Cause, CompiledSchemas, Keyword, SchemaTable, SchemasError};
use crate::json::{Fault, Numbers, check};
use crate::testing::{universal_properties, universal_test};
use plain::{ROOT, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

fn judge(schemas: &CompiledSchemas, document: &str) -> Result<(), Broken> {
    schemas.validate(ROOT, document.as_bytes(), Numbers::Any)
}

fn broken(keyword: Keyword, pointer: &str) -> Result<(), Broken> {
    Err(Broken { cause: Cause::Schema(keyword), pointer: pointer.to_owned() })
}

/// An order as a shop takes it.
fn order() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid", "readOnly": true},
            "customer": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-zé]+$"},
            "total": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.01},
            "kind": {"enum": ["now", "later", 3, null, {"a": [1, 2]}]},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 3},
            "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
            "pay": {"oneOf": [{"$ref": "#/$defs/card"}, {"$ref": "#/$defs/cash"}]},
            "note": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["text"]}]}
        },
        "required": ["customer", "lines"],
        "additionalProperties": false,
        "dependentRequired": {"pay": ["total"]},
        "$defs": {
            "line": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}, "parts": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
                "required": ["sku"], "unevaluatedProperties": false
            },
            "card": {"type": "object", "properties": {"card": {"type": "string"}}, "required": ["card"]},
            "cash": {"type": "object", "properties": {"cash": {"const": true}}, "required": ["cash"]}
        }
    })
}

const GOOD: &str = r#"{"customer":"zoé","total":10.10,"kind":{"a":[1.0,2]},"tags":["a","b"],
    "lines":[{"sku":"x","count":2,"parts":[{"sku":"y"}]}],"pay":{"card":"1"},"note":null}"#;

universal_test! {
    fn what_is_refused_is_told_with_its_rule_and_place() {
        let schemas = compile(&order());
        assert_eq!(judge(&schemas, GOOD), Ok(()));
        for (document, keyword, pointer) in [
            ("[]", Keyword::Type, ""),
            (r#"{"customer":"a"}"#, Keyword::Required, ""),
            (r#"{"customer":"","lines":[{"sku":""}]}"#, Keyword::MinLength, "/customer"),
            (r#"{"customer":"éééééé"}"#, Keyword::MaxLength, "/customer"),
            (r#"{"customer":"A"}"#, Keyword::Pattern, "/customer"),
            (r#"{"id":"x"}"#, Keyword::ReadOnly, "/id"),
            (r#"{"total":0}"#, Keyword::ExclusiveMinimum, "/total"),
            (r#"{"total":0.001}"#, Keyword::MultipleOf, "/total"),
            (r#"{"total":"1"}"#, Keyword::Type, "/total"),
            (r#"{"kind":"never"}"#, Keyword::Enum, "/kind"),
            (r#"{"kind":{"a":[2,1]}}"#, Keyword::Enum, "/kind"),
            (r#"{"kind":[]}"#, Keyword::Enum, "/kind"),
            (r#"{"tags":["a","b","\u0061"]}"#, Keyword::UniqueItems, "/tags"),
            (r#"{"tags":["a","b","c","d"]}"#, Keyword::MaxItems, "/tags"),
            (r#"{"tags":["a",1]}"#, Keyword::Type, "/tags/1"),
            (r#"{"lines":[]}"#, Keyword::MinItems, "/lines"),
            (r#"{"lines":[{"sku":"a","parts":[{"sku":"b"},{}]}]}"#, Keyword::Required, "/lines/0/parts/1"),
            (r#"{"lines":[{"sku":"a","count":1.5}]}"#, Keyword::Type, "/lines/0/count"),
            (r#"{"lines":[{"sku":"a","more":1}]}"#, Keyword::UnevaluatedProperties, "/lines/0/more"),
            (r#"{"customer":"a","lines":[{"sku":"a"}],"x/y":1}"#, Keyword::AdditionalProperties, "/x~1y"),
            (r#"{"customer":"a","lines":[{"sku":"a"}],"pay":{"card":""}}"#, Keyword::DependentRequired, ""),
            (r#"{"pay":{}}"#, Keyword::OneOf, "/pay"),
            (r#"{"pay":{"card":"","cash":true}}"#, Keyword::OneOf, "/pay"),
            (r#"{"note":{"x":1}}"#, Keyword::Required, "/note"),
            (r#"{"note":1}"#, Keyword::AnyOf, "/note"),
        ] {
            assert_eq!(judge(&schemas, document), broken(keyword, pointer), "{document}");
        }
    }
}

universal_test! {
    fn a_discriminator_says_whose_refusal_is_told_and_nothing_else() {
        let kinds = json!({
            "type": "object",
            "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}, {"$ref": "#/$defs/any"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/cat", "dog": "#/$defs/dog", "pack": "#/$defs/pack"}},
            "$defs": {
                "cat": {"properties": {"lives": {"maximum": 9}, "kind": {"const": "cat"}}, "required": ["lives"]},
                "dog": {"properties": {"name": {"minLength": 1}, "kind": {"const": "dog"}}, "required": ["name"]},
                "any": {"required": ["any"]},
                "pack": {"properties": {"dogs": {"items": {"$ref": "#"}}}}
            }
        });
        let schemas = compile(&kinds);
        for (document, told) in [
            (r#"{"kind":"cat","lives":9}"#, Ok(())),
            (r#"{"kind":"cat","lives":10}"#, broken(Keyword::Maximum, "/lives")),
            (r#"{"name":"","kind":"d\u006fg"}"#, broken(Keyword::MinLength, "/name")),
            (r#"{"kind":"dog"}"#, broken(Keyword::Required, "")),
            (r#"{"kind":"cow"}"#, broken(Keyword::OneOf, "")),
            (r#"{"x":{"kind":"cat"},"kind":7}"#, broken(Keyword::OneOf, "")),
            (r#"{"kind":"cat","lives":1,"any":1}"#, broken(Keyword::OneOf, "")),
            (r#"{"kind":"pack","dogs":[{"kind":"dog","name":""}]}"#, broken(Keyword::MinLength, "/dogs/0/name")),
        ] {
            assert_eq!(judge(&schemas, document), told, "{document}");
        }
    }
}

universal_test! {
    fn a_document_that_is_none_is_refused_before_its_rules() {
        let schemas = compile(&order());
        for (document, fault, pointer) in [
            ("{", Fault::Syntax, ""),
            (r#"{"customer":"a","customer":"b"}"#, Fault::DuplicateKey, "/customer"),
            (r#"{"customer":"\ud800"}"#, Fault::Encoding, "/customer"),
            (r#"{"lines":[{"sku":tru}]}"#, Fault::Syntax, "/lines/0/sku"),
        ] {
            let refused = judge(&schemas, document).unwrap_err();
            assert_eq!((refused.cause, refused.pointer.as_str()), (Cause::Json(fault), pointer), "{document}");
        }
        let number = schemas.validate(ROOT, br#"{"total":9007199254740993}"#, Numbers::Double).unwrap_err();
        assert_eq!(number, Broken { cause: Cause::Json(Fault::Number), pointer: "/total".into() });
    }
}

universal_test! {
    fn cut_lengthened_or_changed_bytes_are_refused_or_sound() {
        let bytes = plain::table(&order()).unwrap().encode().unwrap();
        for end in 0..bytes.len() {
            assert!(CompiledSchemas::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(CompiledSchemas::decode(&longer).is_err());
        let mut version = bytes.clone();
        version[5] = 2;
        assert_eq!(CompiledSchemas::decode(&version).unwrap_err(), SchemasError::UnknownVersion { found: 2 });
        for at in 0..bytes.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(table) = SchemaTable::decode(&changed) {
                    // A length may have two forms: it is what it says.
                    assert_eq!(SchemaTable::decode(&table.encode().unwrap()).as_ref(), Ok(&table), "byte {at}");
                    if let Ok(schemas) = CompiledSchemas::assemble(table) {
                        let _ = judge(&schemas, GOOD);
                        let _ = judge(&schemas, r#"{"tags":["a","a"],"customer":"abc"}"#);
                    }
                }
            }
        }
    }
}

/// Schemas that stay within a few names and values, so that documents often meet them.
pub(super) fn schema() -> impl Strategy<Value = Value> {
    let names = || prop::sample::select(vec!["a", "b", "c"]);
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"])
            .prop_map(|name| json!({"type": name})),
        document().prop_map(|value| json!({"const": value})),
        prop::collection::vec(document(), 1..4).prop_map(|values| json!({"enum": values})),
        (-3..4_i32).prop_map(|least| json!({"minimum": least})),
        (-3..4_i32).prop_map(|most| json!({"exclusiveMaximum": most})),
        prop::sample::select(vec![json!(2), json!(0.5), json!(0.1), json!(3)])
            .prop_map(|step| json!({"multipleOf": step})),
        (0..3_u32).prop_map(|least| json!({"minLength": least})),
        prop::sample::select(vec!["a", "^b", "c$", "^[ab]*$", "é"])
            .prop_map(|pattern| json!({"pattern": pattern})),
        (0..3_u32, 0..3_u32).prop_map(|(least, more)| json!({"minItems": least, "maxItems": least + more})),
        Just(json!({"uniqueItems": true})),
        prop::collection::vec(names(), 0..3).prop_map(|mut names| {
            names.sort();
            names.dedup();
            json!({"required": names})
        }),
        (names(), names()).prop_map(|(one, other)| json!({"dependentRequired": {one: [other]}})),
        (0..3_u32).prop_map(|most| json!({"maxProperties": most})),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let map = || prop::collection::btree_map(names(), inner.clone(), 0..3);
        let list = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| {
                let mut all = serde_json::Map::new();
                parts.into_iter().filter_map(|part| part.as_object().cloned()).for_each(|part| all.extend(part));
                Value::Object(all)
            }),
            2 => map().prop_map(|map| json!({"properties": map})),
            1 => (map(), inner.clone()).prop_map(|(map, rest)| json!({"properties": map, "additionalProperties": rest})),
            1 => inner.clone().prop_map(|rest| json!({"patternProperties": {"^[ab]": rest}})),
            1 => inner.clone().prop_map(|rest| json!({"propertyNames": rest})),
            1 => (names(), inner.clone()).prop_map(|(name, rest)| json!({"dependentSchemas": {name: rest}})),
            1 => inner.clone().prop_map(|rest| json!({"items": rest})),
            1 => (list(), inner.clone()).prop_map(|(list, rest)| json!({"prefixItems": list, "items": rest})),
            1 => (inner.clone(), 0..2_u32, 1..3_u32).prop_map(|(rest, least, most)| json!({"contains": rest, "minContains": least, "maxContains": most})),
            1 => list().prop_map(|list| json!({"allOf": list})),
            1 => list().prop_map(|list| json!({"anyOf": list})),
            1 => list().prop_map(|list| json!({"oneOf": list})),
            1 => inner.clone().prop_map(|rest| json!({"not": rest})),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            2 => (list(), inner.clone()).prop_map(|(list, rest)| json!({"anyOf": list, "unevaluatedProperties": rest})),
            2 => (list(), inner.clone()).prop_map(|(list, rest)| json!({"allOf": list, "unevaluatedItems": rest})),
            1 => Just(json!({"items": {"$ref": "#"}})),
            1 => Just(json!({"additionalProperties": {"$ref": "#"}})),
        ]
    })
}

pub(super) fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3..4_i32).prop_map(Value::from),
        prop::sample::select(vec![json!(1.0), json!(0.5), json!(0.3), json!(2.5), json!(-0.0)]),
        prop::sample::select(vec!["", "a", "b", "ab", "c", "é", "a\n"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c", "d"]), inner, 0..4)
                .prop_map(|map| Value::Object(
                    map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                )),
        ]
    })
}

universal_properties! {
    fn no_schema_and_no_bytes_are_too_much(schema in schema(), bytes in prop::collection::vec(any::<u8>(), 0..64), document in document()) {
        let Ok(Ok(schemas)) = plain::table(&schema).map(CompiledSchemas::assemble) else { return Ok(()) };
        prop_assert!(schemas.validate(ROOT, &bytes, Numbers::Any).is_err() || check(&bytes).is_ok());
        let mut text = document.to_string().into_bytes();
        let whole = schemas.validate(ROOT, &text, Numbers::Any);
        let spaced = serde_json::to_string_pretty(&document).unwrap();
        let again = schemas.validate(ROOT, spaced.as_bytes(), Numbers::Double);
        prop_assert_eq!(whole.as_ref().map_err(|broken| &broken.pointer), again.as_ref().map_err(|broken| &broken.pointer));
        text.pop();
        prop_assert!(schemas.validate(ROOT, &text, Numbers::Any).is_err() || check(&text).is_ok());
    }

    fn a_schema_and_its_negation_never_agree(schema in schema(), document in document()) {
        // A reference to the whole would mean another schema below the negation.
        if schema.to_string().contains("$ref") { return Ok(()) }
        let negation = json!({"not": schema});
        let [one, other] = [&schema, &negation].map(|schema| compile(schema).validate(ROOT, document.to_string().as_bytes(), Numbers::Any));
        prop_assert_ne!(one.is_ok(), other.is_ok());
    }

    fn a_value_is_worth_itself(document in document(), other in document()) {
        let schemas = compile(&json!({"const": document}));
        prop_assert!(judge(&schemas, &document.to_string()).is_ok());
        let spelled = serde_json::to_string_pretty(&document).unwrap().replace("\"a\"", "\"\\u0061\"").replace("1.0", "10e-1");
        prop_assert!(judge(&schemas, &spelled).is_ok());
        let same = judge(&compile(&json!({"uniqueItems": true})), &format!("[{document},{other}]")).is_err();
        prop_assert_eq!(judge(&schemas, &other.to_string()).is_ok(), same);
    }

    fn damaged_automata_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), pattern in prop::sample::select(vec!["^[a-z]{1,8}$", "é|b+", "\\p{Lu}x"])) {
        let mut bytes = plain::automaton(pattern).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(pattern) = super::pattern::Pattern::load(&bytes) {
            let _ = pattern.matches("aZé\u{1f600}bbbx");
        }
    }
}
