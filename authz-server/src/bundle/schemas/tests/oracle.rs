//! Another validator is asked the same: whatever it says of a document by a schema, ours says.
//!
//! Steps of numbers are those that floats have: the other one computes with floats.

use super::{Outcome, compile};
use palisade_core::json::Numbers;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// How many documents are asked about; many more than in an ordinary run are asked for by this.
const DOCUMENTS: &str = "PALISADE_ORACLE_DOCUMENTS";
const DOCUMENTS_ORDINARY: usize = 20_000;

/// A number from which others are drawn than in an ordinary run.
const SEED: &str = "PALISADE_ORACLE_SEED";
const DOCUMENTS_OF_A_SCHEMA: usize = 25;

#[test]
fn another_validator_says_the_same() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    let asked = number(DOCUMENTS).unwrap_or(DOCUMENTS_ORDINARY);
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number(SEED).unwrap_or_default() as u64).to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let (mut documents, mut passed, mut schemas_count, mut refused) = (0, 0, 0, 0);
    while documents < asked && refused <= schemas_count + 100 {
        let schema = schema().new_tree(&mut runner).unwrap().current();
        let (ours, index) = match compile(&schema) {
            Outcome::Compiled(schemas, index) => (schemas, index),
            Outcome::Refused(_) => {
                refused += 1;
                continue;
            }
        };
        let theirs = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        schemas_count += 1;
        for _ in 0..DOCUMENTS_OF_A_SCHEMA {
            let document = document().new_tree(&mut runner).unwrap().current();
            let expected = theirs.is_valid(&document);
            let found = ours.validate(index, document.to_string().as_bytes(), Numbers::Any);
            assert_eq!(found.is_ok(), expected, "{schema}\n{document}\n{found:?}");
            documents += 1;
            passed += usize::from(expected);
        }
    }
    println!(
        "{schemas_count} schemas ({refused} refused by name), {documents} documents, of which {passed} pass"
    );
    assert!(
        passed * 10 > documents && passed * 10 < documents * 9,
        "both answers are common: {passed} of {documents}"
    );
    assert!(
        refused < schemas_count / 2,
        "most schemas are compiled: {refused} of {schemas_count} were refused"
    );
}

/// Schemas that stay within a few names and values, so that documents often meet them.
fn schema() -> impl Strategy<Value = Value> {
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
        prop::sample::select(vec![json!(2), json!(0.5), json!(0.25), json!(3)])
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

fn document() -> impl Strategy<Value = Value> {
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
