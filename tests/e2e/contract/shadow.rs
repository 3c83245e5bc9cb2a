//! Rules in shadow: broken, they let the request through and are counted; past their day they refuse.

use super::Everything;
use tests::rig::Target;

const JSON: &str = "content-type: application/json\r\nx-tenant: t-1\r\n";
const GOOD: &str = r#"{"name":"a"}"#;

#[test]
fn what_is_in_shadow_goes_on_and_what_is_ambiguous_does_not() {
    for target in Target::ALL {
        let all = Everything::start(target);
        all.passes("PUT", "/things/1", JSON, GOOD);
        for (path, headers, body) in [
            ("/things/1001", JSON, GOOD),
            ("/things/1?limit=0", JSON, GOOD),
            ("/things/1?other=1", JSON, GOOD),
            ("/things/1", "content-type: application/json\r\n", GOOD),
            ("/things/1", "content-type: application/json\r\nx-tenant: 1\r\n", GOOD),
            ("/things/1", "content-type: application/json\r\nx-tenant: t-1\r\ncookie: session=x\r\n", GOOD),
            ("/things/1", "content-type: text/plain\r\nx-tenant: t-1\r\n", "anything"),
            ("/things/1", JSON, r#"{"name":1,"other":2}"#),
        ] {
            all.passes("PUT", path, headers, body);
        }
        for (path, body, reason) in [
            ("/things/1", r#"{"name":1,"name":2}"#, "json_duplicate_key"),
            ("/things/1", r#"{"name":1"#, "json_syntax"),
            ("/things/1?limit=1&limit=2", GOOD, "parameter_malformed"),
            ("/things/1%2F2", GOOD, "path_encoded_separator"),
        ] {
            all.refused("PUT", path, JSON, body, reason);
        }
        // Policies may ask for the parameters of path and query, and a value of another type is none to ask for.
        all.refused("PUT", "/things/x", JSON, GOOD, "parameter_malformed");
        // Its day is past.
        all.passes("PATCH", "/things/1", JSON, GOOD);
        all.refused("PATCH", "/things/1", JSON, r#"{"name":1}"#, "schema_type");
    }
}
