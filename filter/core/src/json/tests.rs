//! What the strict reader accepts and refuses.

use super::{Event, Events, Fault, Numbers, check, pointer_to, text_hash};
use crate::reason::Reason;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;
use serde_json::Value;

fn refused(reason: Reason, documents: &[&str]) {
    for document in documents {
        assert_eq!(check(document.as_bytes()), Err(reason), "{document}");
    }
}

universal_test! {
    fn accepts_every_form_of_value() {
        for document in [
            "{}", "[]", "\"\"", "0", "-0", "1.5e+10", "12E-3", "true", "false", "null", " \t\r\n[1 , 2]\n",
            r#"{"a":{"b":[{},[],"x\u00e4\n\"\\\/\b\f\r\t",-1.0,true,false,null]},"c":1}"#,
            r#""\ud83d\ude00""#, "\"\u{e4}\u{1f600}\"", "9007199254740993", r#"{"a":1,"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#,
        ] {
            assert_eq!(check(document.as_bytes()), Ok(()), "{document}");
        }
    }
}

universal_test! {
    fn refuses_what_is_not_one_document() {
        refused(Reason::JsonSyntax, &[
            "", " ", "{", "}", "[", "]", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}",
            "{\"a\":1 \"b\":2}", "1 2", "{} {}", "[]]", "[}", "{]", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "NaN",
            "Infinity", "-Infinity", "nul", "True", "\"a", "\"\t\"", "\"\\x\"", "\"\\u12\"", "\"\\u12G4\"", "// x\n1",
            "/* x */ 1", "1 // x", "\u{feff}{}", "[1]x", "\"a\0b\"", "\"\u{1f}\"", "tru", "{\"a\":1}}", "-a", "--1",
        ]);
    }
}

universal_test! {
    fn refuses_keys_that_are_equal_once_decoded() {
        refused(Reason::JsonDuplicateKey, &[
            r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"a":{"b":1,"c":2,"b":3}}"#, r#"{"":1,"":2}"#,
            r#"{"\ud83d\ude00":1,"😀":2}"#, r#"[{"x":1,"y":{},"x":1}]"#,
        ]);
        let members: Vec<_> = (0..40).map(|key| format!("\"k{key}\":0")).collect();
        assert_eq!(check(format!("{{{}}}", members.join(",")).as_bytes()), Ok(()));
        for again in [0, 10, 20, 39] {
            let document = format!("{{{},\"k{again}\":1}}", members.join(","));
            assert_eq!(check(document.as_bytes()), Err(Reason::JsonDuplicateKey), "k{again}");
        }
    }
}

universal_test! {
    fn refuses_text_that_is_not_unicode() {
        refused(Reason::JsonEncoding, &[r#""\ud800""#, r#""\ud800x""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud83d\n""#]);
        for bytes in [&b"\"\xff\""[..], b"\"\xc3\"", b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\""] {
            assert_eq!(check(bytes), Err(Reason::JsonEncoding));
        }
    }
}

universal_test! {
    fn the_depth_is_bounded_exactly() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(64).as_bytes()), Ok(()));
        assert_eq!(check(nested(65).as_bytes()), Err(Reason::JsonDepth));
        assert_eq!(check("[".repeat(100_000).as_bytes()), Err(Reason::JsonDepth));
        assert_eq!(check("{\"a\":".repeat(65).as_bytes()), Err(Reason::JsonDepth));
    }
}

/// What serde_json's tree says of the same bytes, and what the events say, as one notation.
fn retold(bytes: &[u8]) -> Result<String, Fault> {
    let mut events = Events::new(bytes, Numbers::Any)?;
    let mut out = String::new();
    let mut scratch = String::new();
    while let Some(event) = events.next()? {
        match event {
            Event::ObjectStart => out.push('{'),
            Event::ObjectEnd => out.push('}'),
            Event::ArrayStart => out.push('['),
            Event::ArrayEnd => out.push(']'),
            Event::Key(key, hash) => {
                let key = key.decode(&mut scratch);
                assert_eq!(hash, text_hash(key));
                out.push_str(&format!("{key:?}:"));
            }
            Event::Text(text) => out.push_str(&format!("{:?},", text.decode(&mut scratch))),
            Event::Number(number) => out.push_str(&format!("{number},")),
            Event::Bool(value) => out.push_str(&format!("{value},")),
            Event::Null => out.push_str("null,"),
        }
    }
    Ok(out)
}

fn told(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => format!("{value},"),
        Value::String(text) => format!("{text:?},"),
        Value::Array(items) => format!("[{}]", items.iter().map(told).collect::<String>()),
        Value::Object(map) => {
            format!(
                "{{{}}}",
                map.iter().map(|(key, value)| format!("{key:?}:{}", told(value))).collect::<String>()
            )
        }
    }
}

universal_test! {
    fn a_place_is_told_as_a_pointer() {
        let document = r#" {"a":[1,{"b~/\u0041":[]}],"c":{},"d":"x"}"#;
        for (found, pointer) in [
            ("{", ""), ("\"a\"", "/a"), ("[1", "/a"), ("1", "/a/0"), ("{\"b", "/a/1"), ("[]", "/a/1/b~0~1A"),
            ("\"b~", "/a/1/b~0~1A"), ("{}", "/c"), ("\"x", "/d"),
        ] {
            assert_eq!(pointer_to(document.as_bytes(), document.find(found).unwrap()), pointer, "{found}");
        }
        assert_eq!(pointer_to(b"[0,[1,2,nul]]", 8), "/1/1", "broken: the last value that was read");
        assert_eq!(pointer_to(b"\xff", 0), "");
        let long = format!("{{\"{}\":1}}", "k".repeat(70));
        assert_eq!(pointer_to(long.as_bytes(), 1), format!("/{}…", "k".repeat(64)));
        let deep = format!("{}1{}", format!("{{\"{}\":", "k".repeat(60)).repeat(20), "}".repeat(20));
        assert!(pointer_to(deep.as_bytes(), deep.find('1').unwrap()).ends_with("/…"));
    }
}

universal_test! {
    fn numbers_that_a_double_would_change_are_refused_where_asked() {
        let check = |text: &str, numbers| {
            let mut events = Events::new(text.as_bytes(), numbers).unwrap();
            loop {
                match events.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(fault) => return Err(fault),
                }
            }
        };
        for text in ["[9007199254740993]", "1e400", "{\"a\":3.141592653589793238}"] {
            assert_eq!(check(text, Numbers::Any), Ok(()), "{text}");
            assert_eq!(check(text, Numbers::Double), Err(Fault::Number), "{text}");
        }
        assert_eq!(check("[0.1, 1e300, 9007199254740992]", Numbers::Double), Ok(()));
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bytes that often make something like JSON.
fn near_json() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"{}[]\":,\\u0019aef.-+ntrls \xc3\xa4".to_vec()), 0..40)
}

/// Whether serde_json reads it, numbers beyond a double apart: these are left to the contract.
fn another_parser_accepts(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => true,
        Err(error) => error.to_string().contains("number out of range"),
    }
}

universal_properties! {
    fn what_a_serializer_writes_is_accepted(value in value()) {
        prop_assert_eq!(check(value.to_string().as_bytes()), Ok(()));
    }

    fn the_events_tell_what_was_written(value in value()) {
        prop_assert_eq!(retold(value.to_string().as_bytes()), Ok(told(&value)));
        let spaced = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(retold(spaced.as_bytes()), Ok(told(&value)));
    }

    fn an_escaped_string_means_what_another_parser_says(units in prop::collection::vec(any::<char>(), 0..20)) {
        let escape = |character: char| -> String {
            character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        };
        let document: String = format!("\"{}\"", units.iter().enumerate().map(|(at, unit)| {
            if at % 2 == 0 || *unit < ' ' || matches!(unit, '"' | '\\') { escape(*unit) } else { unit.to_string() }
        }).collect::<String>());
        let told: String = serde_json::from_str(&document).unwrap();
        prop_assert_eq!(retold(document.as_bytes()), Ok(format!("{told:?},")));
    }

    fn what_is_accepted_another_parser_accepts(bytes in near_json()) {
        prop_assert!(check(&bytes).is_err() || another_parser_accepts(&bytes));
    }

    fn a_broken_document_is_not_accepted_alone(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = value.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert!(check(&bytes).is_err() || another_parser_accepts(&bytes));
    }
}
