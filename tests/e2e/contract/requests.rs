//! Requests that keep to the contract, and each with one thing wrong.

use super::Everything;
use tests::rig::Target;

const TENANT: &str = "x-tenant: t-1\r\n";
const JSON: &str = "content-type: application/json\r\n";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// What passes as parameters of one read.
const GOOD_TARGETS: [&str; 18] = [
    "/things/1",
    "/things/1000",
    "/things/1?limit=1",
    "/things/1?limit=100",
    "/things/1?ratio=0.5",
    "/things/1?ratio=-1e2",
    "/things/1?open=true&state=paid",
    "/things/1?since=2026-11-21",
    "/things/1?tag=a&tag=b&tag=c",
    "/things/1?ids=1,2,3",
    "/things/1?names=a%7Cb",
    "/things/1?filter%5Bkind%5D=big",
    "/things/1?filter[kind]=small&filter[min]=3",
    "/things/1?where=%7B%22a%22%3A1%7D",
    "/things/1?state=new&limit=7",
    "/things/1?limit=7&state=new",
    "/things/1?tag=a&limit=7&tag=b",
    "/things/1?",
];

/// The same, each with one thing wrong.
const BAD_TARGETS: [(&str, &str); 31] = [
    ("/things/x", "schema_type"),
    ("/things/01", "schema_type"),
    ("/things/1.0", "schema_type"),
    ("/things/0", "schema_number"),
    ("/things/1001", "schema_number"),
    ("/things/1?limit=0", "schema_number"),
    ("/things/1?limit=101", "schema_number"),
    ("/things/1?limit=1e1", "schema_type"),
    ("/things/1?limit=", "schema_type"),
    ("/things/1?limit", "parameter_malformed"),
    ("/things/1?limit=1&limit=1", "parameter_malformed"),
    ("/things/1?Limit=1", "parameter_malformed"),
    ("/things/1?limit%5B%5D=1", "parameter_malformed"),
    ("/things/1?limit=1&page=2", "query_not_declared"),
    ("/things/1?ratio=1.5", "schema_number"),
    ("/things/1?ratio=0.10000000000000000001", "parameter_malformed"),
    ("/things/1?open=yes", "schema_type"),
    ("/things/1?state=old", "schema_value"),
    ("/things/1?since=2026-13-01", "schema_format"),
    ("/things/1?tag=a&tag=b&tag=c&tag=d", "schema_items"),
    ("/things/1?tag=A", "schema_pattern"),
    ("/things/1?ids=1,1", "schema_unique"),
    ("/things/1?ids=1,,2", "parameter_malformed"),
    ("/things/1?ids=1%2C2", "parameter_malformed"),
    ("/things/1?filter[kind]=huge", "schema_value"),
    ("/things/1?filter[min]=3", "schema_required"),
    ("/things/1?filter[kind]=big&filter[max]=3", "schema_undeclared"),
    ("/things/1?filter=big", "parameter_malformed"),
    ("/things/1?where=%7B%22a%22%3A1%2C%22a%22%3A2%7D", "json_duplicate_key"),
    ("/things/1?where=%7B%22b%22%3A1%7D", "schema_undeclared"),
    ("/things/1?state=new+", "parameter_malformed"),
];

#[test]
fn parameters_are_what_the_contract_says_or_nothing_reaches_the_service() {
    for target in Target::ALL {
        let all = Everything::start(target);
        for good in GOOD_TARGETS {
            all.passes("GET", good, TENANT, "");
        }
        for (bad, reason) in BAD_TARGETS {
            all.refused("GET", bad, TENANT, "", reason);
        }
        for good in [
            "x-list: 1,2\r\n",
            "x-list: 1\r\n",
            "cookie: session=abcdefgh\r\n",
            "cookie: other=1; session=abcdefgh\r\n",
        ] {
            all.passes("GET", "/things/1", &format!("{TENANT}{good}"), "");
        }
        for (bad, reason) in [
            ("x-list: 1,2,3\r\n", "schema_items"),
            ("x-list: a\r\n", "schema_type"),
            ("x-list: 1,,2\r\n", "parameter_malformed"),
            ("cookie: session=short\r\n", "schema_length"),
            ("cookie: session=abcdefgh; session=abcdefgh\r\n", "parameter_malformed"),
            ("cookie: session=%61bcdefgh\r\n", "parameter_malformed"),
        ] {
            all.refused("GET", "/things/1", &format!("{TENANT}{bad}"), "", reason);
        }
        all.refused("GET", "/things/1", "", "", "parameter_missing");
        all.refused("GET", "/things/1", "x-tenant: 1\r\n", "", "schema_pattern");
        all.refused("GET", "/things/1", "x-tenant: t-1\r\nx-tenant: t-2\r\n", "", "parameter_malformed");
    }
}

#[test]
fn bodies_are_what_the_contract_says_or_nothing_reaches_the_service() {
    for target in Target::ALL {
        let all = Everything::start(target);
        for good in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","price":0.01,"when":"2026-11-21T10:00:00Z","tags":["x","y"],"kind":"big"}"#,
            r#"{"name":"a","contact":{"email":"a@b.example"},"labels":{"x":"1","y":"2"}}"#,
            "{\"name\":\"\\u00e4\"}",
        ] {
            all.passes("POST", "/things", JSON, good);
        }
        for (bad, reason) in [
            ("{}", "schema_required"),
            ("[]", "schema_type"),
            (r#"{"name":1}"#, "schema_type"),
            (r#"{"name":""}"#, "schema_length"),
            (r#"{"name":"12345678901"}"#, "schema_length"),
            (r#"{"name":"<"}"#, "schema_pattern"),
            (r#"{"name":"a","x":1}"#, "schema_undeclared"),
            (r#"{"name":"a","id":"1"}"#, "schema_read_only"),
            (r#"{"name":"a","price":0}"#, "schema_number"),
            (r#"{"name":"a","price":0.015}"#, "schema_number"),
            (r#"{"name":"a","price":1e400}"#, "json_number"),
            (r#"{"name":"a","price":9007199254740993}"#, "json_number"),
            (r#"{"name":"a","when":"yesterday"}"#, "schema_format"),
            (r#"{"name":"a","tags":["x","x"]}"#, "schema_unique"),
            (r#"{"name":"a","tags":["a","b","c","d"]}"#, "schema_items"),
            (r#"{"name":"a","kind":"huge"}"#, "schema_value"),
            (r#"{"name":"a","contact":{}}"#, "schema_choice"),
            (r#"{"name":"a","contact":{"email":"a@b.example","phone":"1"}}"#, "schema_choice"),
            (r#"{"name":"a","labels":{"x":"1","y":"2","z":"3"}}"#, "schema_properties"),
            (r#"{"name":"a","name":"b"}"#, "json_duplicate_key"),
            (r#"{"name":"\ud800"}"#, "json_encoding"),
        ] {
            all.refused("POST", "/things", JSON, bad, reason);
        }
        // Which numbers are let through is said for each operation.
        all.passes("PUT", "/things", JSON, r#"{"name":"a","price":90071992547409.93}"#);
        all.passes("PUT", "/things", JSON, r#"{"name":"a","price":9007199254740993}"#);
        for good in
            ["name=a", "name=a+b", "name=%C3%A4&count=5&tag=x&tag=y", "name=a&place=%7B%22x%22%3A1%7D"]
        {
            all.passes("POST", "/things", FORM, good);
        }
        for (bad, reason) in [
            ("count=1", "schema_required"),
            ("name=", "schema_length"),
            ("name=a&count=6", "schema_number"),
            ("name=a&count=x", "schema_type"),
            ("name=a&other=1", "schema_undeclared"),
            ("name=a&name=b", "form_ambiguous"),
            ("name=a&_method=DELETE", "form_method_override"),
            ("name=%zz", "form_syntax"),
            ("name=a&place=%7B%22y%22%3A1%7D", "schema_undeclared"),
        ] {
            all.refused("POST", "/things", FORM, bad, reason);
        }
        all.passes("POST", "/files", "content-type: application/octet-stream\r\n", "anything");
        all.refused("POST", "/things", "content-type: text/plain\r\n", "x", "content_type_not_declared");
    }
}
