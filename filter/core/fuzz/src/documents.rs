//! The reader of documents, and compiled schemas that judge them.

use palisade_core::json::{Event, Events, Numbers, Text, check};
use palisade_core::schema::{CompiledSchemas, SchemaIndex, SchemaTable};
use serde_json::{Map, Value};

/// A document: what is accepted is accepted by serde_json, with the same structure and the same texts.
pub fn json(bytes: &[u8]) {
    let accepted = check(bytes).is_ok();
    let ours = read(bytes, Numbers::Any);
    assert_eq!(accepted, ours.is_some());
    let double = read(bytes, Numbers::Double);
    assert!(double.is_none() || double == ours, "which numbers are let through changes nothing else");
    let Some(ours) = ours else { return };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut theirs) => {
            forget_numbers(&mut theirs);
            assert_eq!(ours, theirs);
        }
        // It has no value for a number beyond a double, which is still a number.
        Err(error) => assert!(error.to_string().contains("number out of range"), "{error}"),
    }
}

/// A document as a tree, in which all numbers are zero.
fn read(bytes: &[u8], numbers: Numbers) -> Option<Value> {
    enum Open {
        Array(Vec<Value>),
        Object(Map<String, Value>, String),
    }
    let mut events = Events::new(bytes, numbers).ok()?;
    let mut open = Vec::new();
    let mut whole = None;
    let meaning = |text: Text<'_>| text.decode(&mut String::new()).to_owned();
    while let Some(event) = events.next().ok()? {
        let value = match event {
            Event::ArrayStart => {
                open.push(Open::Array(Vec::new()));
                continue;
            }
            Event::ObjectStart => {
                open.push(Open::Object(Map::new(), String::new()));
                continue;
            }
            Event::Key(text, _) => {
                let Some(Open::Object(members, key)) = open.last_mut() else { panic!("a key of no object") };
                *key = meaning(text);
                assert!(!members.contains_key(key), "a key came twice: {key}");
                continue;
            }
            Event::ArrayEnd | Event::ObjectEnd => match open.pop().expect("what ends was begun") {
                Open::Array(items) => Value::Array(items),
                Open::Object(members, _) => Value::Object(members),
            },
            Event::Text(text) => Value::String(meaning(text)),
            Event::Number(_) => Value::from(0),
            Event::Bool(value) => Value::Bool(value),
            Event::Null => Value::Null,
        };
        match open.last_mut() {
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(members, key)) => drop(members.insert(std::mem::take(key), value)),
            None => assert!(whole.replace(value).is_none(), "two values in one document"),
        }
    }
    whole
}

fn forget_numbers(value: &mut Value) {
    match value {
        Value::Number(_) => *value = Value::from(0),
        Value::Array(items) => items.iter_mut().for_each(forget_numbers),
        Value::Object(members) => members.values_mut().for_each(forget_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The length of a table in four bytes, the table, and a document: what is read is written as it was; each schema has one
/// verdict on the document, and none on what is no document.
pub fn schemas(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let Some((table, document)) = rest.split_at_checked(length) else { return };
    let Ok(table) = SchemaTable::decode(table) else { return };
    let written = table.encode().expect("a table that was read can be written");
    assert_eq!(SchemaTable::decode(&written).as_ref(), Ok(&table));
    let Ok(schemas) = CompiledSchemas::assemble(table) else { return };
    // An automaton is written as it was understood, which may leave out what did not matter.
    let understood = schemas.encode().expect("schemas that were assembled can be written");
    let again = CompiledSchemas::decode(&understood).expect("and read");
    assert_eq!(again.encode(), Ok(understood));
    for at in (0..schemas.len()).take(64) {
        let schema = SchemaIndex(u32::try_from(at).expect("there are few"));
        let verdict = schemas.validate(schema, document, Numbers::Any);
        assert_eq!(verdict, schemas.validate(schema, document, Numbers::Any), "one verdict");
        if verdict.is_ok() {
            assert_eq!(check(document), Ok(()), "accepted, and no document");
        }
    }
}
