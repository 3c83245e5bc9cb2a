//! What the strict reader accepts and refuses.

use super::check;
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
