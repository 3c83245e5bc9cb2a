//! Parameters in each part of a request and each style: what is read, what is refused, and what only seems to be declared.

mod oracle;

use super::judge;
use crate::contract::{
    Between, ObjectWriting, Operation, OperationClass, Parameter, Part, Properties, Rule, Scalars, Shadows,
    Writing,
};
use crate::method::Method;
use crate::path::Target;
use crate::routes::Segment;
use crate::rules::Watched;
use crate::schema::CompiledSchemas;
use crate::schema::tests::plain::{ROOT, compile};
use crate::testing::universal_test;
use serde_json::{Value, json};

const TEXT: Writing = Writing::Scalar(Scalars::TEXT);
const INTEGER: Writing = Writing::Scalar(Scalars::INTEGER);
const NUMBER: Writing = Writing::Scalar(Scalars::NUMBER);

const fn list(items: Scalars, between: Between) -> Writing {
    Writing::List { items, between }
}

/// A colour of three numbers.
fn colour(written: ObjectWriting, others: Scalars) -> Writing {
    let known = ["B", "G", "R"].map(|name| (name.into(), Scalars::INTEGER));
    Writing::Object { properties: Properties { known: known.into(), others }, written }
}

fn parameter(part: Part, name: &str, writing: Writing) -> Parameter {
    Parameter { part, name: name.into(), required: false, allow_empty: false, writing, schema: ROOT }
}

/// `/things/{id}` with parameters that all have one schema.
struct Asked {
    operation: Operation,
    schemas: CompiledSchemas,
}

impl Asked {
    fn new(mut parameters: Vec<Parameter>, schema: &Value) -> Asked {
        let template = vec![Segment::Literal("things".into()), Segment::Parameter("id".into())];
        let mut operation = Operation::new("ask", Method::Get, OperationClass::Read, template);
        parameters.sort_by(|one, other| (one.part, &one.name).cmp(&(other.part, &other.name)));
        operation.parameters = parameters.into();
        Asked { operation, schemas: compile(schema) }
    }

    fn one(part: Part, writing: Writing, schema: &Value) -> Asked {
        let name = if part == Part::Path { "id" } else { "p" };
        Asked::new(vec![parameter(part, name, writing)], schema)
    }

    fn in_shadow(mut self, rules: &[Rule]) -> Asked {
        self.operation.shadows = Shadows::new(rules.iter().map(|rule| (*rule, 10)).collect());
        self
    }

    /// What is told: the reason and the place, with `!` before what no shadow covers, and what was only watched behind it.
    fn told(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let target = Target::parse(target.as_bytes()).unwrap();
        let pairs = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut watched = Watched::new(&self.operation, 9);
        let judged = judge(&self.schemas, &self.operation, &target, pairs, &mut watched);
        let refused = judged.err().map(|violation| {
            let firm = if violation.rule.is_none() { "!" } else { "" };
            format!("{firm}{} {}", violation.reason.code(), violation.place)
        });
        let watched = watched.found.iter().map(|found| format!("~{} {}", found.reason.code(), found.place));
        refused.into_iter().chain(watched).collect::<Vec<_>>().join(", ")
    }

    fn check(&self, target: &str, headers: &[(&str, &str)], told: &str) {
        assert_eq!(self.told(target, headers), told, "{target} {headers:?}");
    }

    fn path(&self, segment: &str, told: &str) {
        self.check(&format!("/things/{segment}"), &[], told);
    }

    fn query(&self, query: &str, told: &str) {
        self.check(&format!("/things/x?{query}"), &[], told);
    }

    fn header(&self, value: &str, told: &str) {
        self.check("/things/x", &[("p", value)], told);
    }

    fn cookie(&self, value: &str, told: &str) {
        self.check("/things/x", &[("cookie", value)], told);
    }
}

universal_test! {
    fn a_segment_is_decoded_and_judged() {
        let whole = Asked::one(Part::Path, INTEGER, &json!({"type": "integer", "maximum": 99}));
        for segment in ["0", "17", "-17"] {
            whole.path(segment, "");
        }
        whole.path("100", "schema_number path/id");
        for segment in ["017", "+17", "1.0", "1e1", "0x11", "x", "true", "-0", "-", "%20", "17%20", "%D9%A3"] {
            whole.path(segment, "schema_type path/id");
        }
        let text = Asked::one(Part::Path, TEXT, &json!({"type": "string", "maxLength": 3}));
        for segment in ["a", "a+b", "a,b", "%C3%A4%20x", "100", "a=b"] {
            text.path(segment, "");
        }
        text.path("abcd", "schema_length path/id");
        let texts = Asked::one(Part::Path, list(Scalars::TEXT, Between::Comma), &json!({"items": {"maxLength": 2}, "maxItems": 2}));
        texts.path("a,b", "");
        texts.path("a,bcd", "schema_length path/id/1");
        texts.path("a,b,c", "schema_items path/id");
        for segment in ["a,,b", "a,", "a%2Cb", "a,b%2cc"] {
            texts.path(segment, "!parameter_malformed path/id");
        }
    }
}

universal_test! {
    fn a_query_parameter_has_one_reading_or_none() {
        let whole = Asked::one(Part::Query, INTEGER, &json!({"type": "integer", "maximum": 99}));
        for query in ["", "p=5", "%70=5", "p=%35", "&p=5&", "p=-5"] {
            whole.query(query, "");
        }
        whole.query("p=100", "schema_number query/p");
        for query in ["p=", "p=x", "p=05", "p=5,6", "p=%2B5", "p=%205"] {
            whole.query(query, "schema_type query/p");
        }
        for query in ["p", "p=5&p=5", "p=5&%70=6", "p=+5", "p=5+", "p=%ff", "p=%c0%af", "p=5&p"] {
            whole.query(query, "!parameter_malformed query/p");
        }
        for (query, place) in [("P=5", "P"), ("p[]=5", "p[]"), ("p%5B%5D=5", "p[]"), ("p=5&P=6", "P"), ("%20p=5", " p"), ("+p=5", "+p"), ("p[x", "p[x")] {
            whole.query(query, &format!("!parameter_malformed query/{place}"));
        }
        for (query, place) in [("q=1", "q"), ("q", "q"), ("=1", ""), ("q%0a=1", "q\u{fffd}"), ("p.x=1", "p.x"), ("%ff=1", "%ff"), ("a/b=1", "a~1b")] {
            whole.query(query, &format!("query_not_declared query/{place}"));
        }
        whole.query(&format!("{}=1", "a".repeat(100)), &format!("query_not_declared query/{}…", "a".repeat(64)));
    }
}

universal_test! {
    fn a_query_has_a_bounded_number_of_parameters() {
        let texts = Asked::one(Part::Query, list(Scalars::TEXT, Between::Repeated), &json!({}));
        let query = |count| vec!["p=1"; count].join("&");
        texts.query(&query(512), "");
        texts.query(&query(513), "!query_too_many ");
    }
}

universal_test! {
    fn what_has_no_parameters_has_no_query() {
        let none = Asked::new(vec![], &json!({}));
        none.query("", "");
        none.path("x", "");
        none.query("a=1", "query_not_declared query/a");
        none.in_shadow(&[Rule::QueryNotDeclared]).query("a=1&b", "~query_not_declared query/a, ~query_not_declared query/b");
    }
}

universal_test! {
    fn what_is_required_must_be_there_and_what_may_be_empty_need_not_be_judged() {
        for (part, told) in [(Part::Query, "query/p"), (Part::Header, "header/p"), (Part::Cookie, "cookie/p")] {
            let mut required = parameter(part, "p", INTEGER);
            required.required = true;
            Asked::new(vec![required], &json!({"type": "integer"})).path("x", &format!("parameter_missing {told}"));
        }
        let mut empty = parameter(Part::Query, "p", INTEGER);
        (empty.required, empty.allow_empty) = (true, true);
        let empty = Asked::new(vec![empty], &json!({"type": "integer"}));
        for query in ["p", "p=", "p=5"] {
            empty.query(query, "");
        }
        empty.query("p&p=5", "!parameter_malformed query/p");
        empty.query("p=x", "schema_type query/p");
        empty.query("", "parameter_missing query/p");
    }
}

universal_test! {
    fn lists_are_taken_apart_once() {
        let schema = json!({"type": "array", "items": {"type": "string", "maxLength": 2}, "uniqueItems": true, "maxItems": 2});
        let asked = |between| Asked::one(Part::Query, list(Scalars::TEXT, between), &schema);
        let (repeated, commas) = (asked(Between::Repeated), asked(Between::Comma));
        let (spaces, pipes) = (asked(Between::Space), asked(Between::Pipe));
        for query in ["p=a&p=b", "p=a", "p=a&p=", "p=,&p=%20"] {
            repeated.query(query, "");
        }
        repeated.query("p=a&p=bcd", "schema_length query/p/1");
        repeated.query("p=a&p=a", "schema_unique query/p");
        repeated.query("p=a&p=b&p=c", "schema_items query/p");
        for query in ["p=a&p", "p=a+b", "p=a&p=%ff"] {
            repeated.query(query, "!parameter_malformed query/p");
        }
        commas.query("p=a,b", "");
        commas.query("p=a,bcd", "schema_length query/p/1");
        for query in ["p=", "p=,", "p=a,", "p=a,,b", "p=a%2Cb", "p=a&p=b", "p=a,b+c"] {
            commas.query(query, "!parameter_malformed query/p");
        }
        spaces.query("p=a%20b", "");
        spaces.query("p=a%20bcd", "schema_length query/p/1");
        for query in ["p=a+b", "p=a%20", "p=a%20%20b", "p=a&p=b"] {
            spaces.query(query, "!parameter_malformed query/p");
        }
        pipes.query("p=a%7Cb", "");
        pipes.query("p=a%7cbcd", "schema_length query/p/1");
        pipes.query("p=a%7C%7Cb", "!parameter_malformed query/p");
    }
}

universal_test! {
    fn objects_are_written_in_four_ways() {
        let schema = json!({"type": "object", "required": ["R"], "properties": {"R": {"maximum": 255}}, "additionalProperties": {"maximum": 99}});
        let asked = |written| Asked::one(Part::Query, colour(written, Scalars::NONE), &schema);
        let commas = asked(ObjectWriting::Commas);
        commas.query("p=R,100,G,20", "");
        commas.query("p=G,20,R,100", "");
        commas.query("p=R,300", "schema_number query/p/R");
        commas.query("p=G,20", "schema_required query/p");
        commas.query("p=X,20", "schema_type query/p/X");
        for query in ["p=R,100,R,100", "p=R", "p=R,100,G", "p=", "p=R,,G,1", "p=R%2C100"] {
            commas.query(query, "!parameter_malformed query/p");
        }
        let assignments = asked(ObjectWriting::Assignments);
        assignments.query("p=R=100,G=20", "");
        assignments.query("p=R=x", "schema_type query/p/R");
        for query in ["p=R=100,R=100", "p=R", "p=R=1=2", "p==1", "p=R%3D1", "p=", "p=R=100,"] {
            assignments.query(query, "!parameter_malformed query/p");
        }
        let exploded = asked(ObjectWriting::Exploded);
        exploded.query("R=100&G=20", "");
        exploded.query("G=100&R=20", "schema_number query/p/G");
        exploded.query("R=100&X=20", "query_not_declared query/X");
        exploded.query("R=100&p=20", "query_not_declared query/p");
        exploded.query("R=100&R=100", "!parameter_malformed query/p");
        exploded.query("r=100", "!parameter_malformed query/r");
        exploded.query("R", "!parameter_malformed query/R");
        let deep = asked(ObjectWriting::Deep);
        deep.query("p[R]=100&p%5BG%5D=20", "");
        deep.query("p[G]=20", "schema_required query/p");
        deep.query("p[R]=1&p[X]=20", "schema_type query/p/X");
        deep.query("p[R]=1&p[R]=1", "!parameter_malformed query/p");
        for (query, place) in [("p=1", "p"), ("p[]=1", "p[]"), ("p[R][x]=1", "p[R][x]"), ("p[R=1", "p[R"), ("P[R]=1", "P[R]"), ("p[R]", "p[R]")] {
            deep.query(query, &format!("!parameter_malformed query/{place}"));
        }
    }
}

universal_test! {
    fn names_with_brackets_can_be_declared_one_by_one() {
        let names = ["filter[state]", "filter[kind]"].map(|name| parameter(Part::Query, name, TEXT));
        let asked = Asked::new(names.into(), &json!({"maxLength": 2}));
        asked.query("filter[state]=a&filter%5Bkind%5D=b", "");
        asked.query("filter[state]=abc", "schema_length query/filter[state]");
        for name in ["filter[x]", "filter", "filter[]", "Filter[state]", "filter[state][x]"] {
            asked.query(&format!("{name}=1"), &format!("!parameter_malformed query/{name}"));
        }
    }
}

universal_test! {
    fn an_open_object_takes_all_names_that_nobody_declared() {
        let open = || vec![parameter(Part::Query, "p", colour(ObjectWriting::Exploded, Scalars::TEXT)), parameter(Part::Query, "q", TEXT)];
        let asked = Asked::new(open(), &json!({"properties": {"R": {"type": "integer"}}, "maxProperties": 2}));
        asked.query("R=1&x=y&q=z", "");
        asked.query("R=x", "schema_type query/p/R");
        asked.query("R=1&x=y&z=1", "schema_properties query/p");
        for query in ["x=1&x=1", "x=1&X=1", "x.y=1&x_y=1"] {
            asked.query(query, "!parameter_malformed query/p");
        }
        for (query, place) in [("x[y]=1", "x[y]"), ("Q=1", "Q"), ("=1", ""), ("a+b=1", "a+b")] {
            asked.query(query, &format!("!parameter_malformed query/{place}"));
        }
    }
}

universal_test! {
    fn a_document_in_a_parameter_is_judged_as_one() {
        let asked = || Asked::one(Part::Query, Writing::Json, &json!({"properties": {"a": {"maximum": 9}}}));
        asked().query("p=%7B%22a%22:1%7D", "");
        asked().query("p=%7B%22a%22:10%7D", "schema_number query/p/a");
        asked().query("p=%7B%22a%22:1,%22a%22:1%7D", "!json_duplicate_key query/p/a");
        asked().query("p=%7B", "!json_syntax query/p");
        asked().query("p=9007199254740993", "!json_number query/p");
        asked().query("p=1+", "!parameter_malformed query/p");
        let shadow = asked().in_shadow(&[Rule::Query]);
        shadow.query("p=%7B%22a%22:10%7D", "~schema_number query/p/a");
        shadow.query("p=%7B%22a%22:10", "!json_syntax query/p/a");
        Asked::one(Part::Header, Writing::Json, &json!({"type": "array"})).header("[1, 2]", "");
    }
}

universal_test! {
    fn a_header_comes_once_and_its_lists_have_commas() {
        let whole = Asked::one(Part::Header, INTEGER, &json!({"type": "integer"}));
        whole.header("17", "");
        whole.header("x", "schema_type header/p");
        whole.header("1,2", "!parameter_malformed header/p");
        whole.check("/things/x", &[("p", "1"), ("q", "x"), ("p", "1")], "!parameter_malformed header/p");
        whole.check("/things/x", &[("q", "x")], "");
        let text = Asked::one(Part::Header, TEXT, &json!({"minLength": 1}));
        for value in ["ä", "a b", "100%", "a+b"] {
            text.header(value, "");
        }
        text.header("", "schema_length header/p");
        let numbers = Asked::one(Part::Header, list(Scalars::INTEGER, Between::Comma), &json!({"items": {"maximum": 9}}));
        numbers.header("1, 2\t,3", "");
        numbers.header("1, 20", "schema_number header/p/1");
        numbers.header("1, x", "schema_type header/p/1");
        for value in ["", "1,", "1, ,2"] {
            numbers.header(value, "!parameter_malformed header/p");
        }
        Asked::one(Part::Header, colour(ObjectWriting::Assignments, Scalars::NONE), &json!({})).header("R=1, G=2", "");
    }
}

universal_test! {
    fn a_declared_cookie_is_read_by_everybody_alike() {
        let text = Asked::one(Part::Cookie, TEXT, &json!({"maxLength": 3}));
        for cookie in ["", "p=abc", "q=1; p=abc", "p=abc;q=1", "q; p=a", "p=a=b", "p=", "q=\"x\"; p=a", "q=%; p=a", "Q=1; q=2; q=3", "p.x=1"] {
            text.cookie(cookie, "");
        }
        text.cookie("p=abcd", "schema_length cookie/p");
        text.check("/things/x", &[("cookie", "q=1"), ("cookie", "p=abcd")], "schema_length cookie/p");
        for cookie in ["p=a; p=a", "p", "p=\"a\"", "p=%41", "p=a+", "p=a,b", "p=a b", "p=a ", "p=ä", "p=a\\"] {
            text.cookie(cookie, "!parameter_malformed cookie/p");
        }
        text.check("/things/x", &[("cookie", "p=a"), ("cookie", "p=a")], "!parameter_malformed cookie/p");
        for cookie in ["P=a", "p=a; P=b", "%70=a", "p =a", "  p=a", "p[]=a", "q=\"; p=a; r=\"", "q=\"; p=a"] {
            text.cookie(cookie, "!parameter_malformed cookie");
        }
        text.cookie(&"q;".repeat(600), "!parameter_malformed cookie");
        let numbers = Asked::one(Part::Cookie, list(Scalars::INTEGER, Between::Comma), &json!({}));
        numbers.cookie("p=1,2", "");
        numbers.cookie("p=1,x", "schema_type cookie/p/1");
        let exploded = Asked::one(Part::Cookie, colour(ObjectWriting::Exploded, Scalars::TEXT), &json!({"required": ["R"]}));
        exploded.cookie("R=1; X=2; %=3; G=4", "");
        exploded.cookie("G=1", "schema_required cookie/p");
        exploded.cookie("R=x", "schema_type cookie/p/R");
    }
}

universal_test! {
    fn a_text_is_the_narrowest_that_its_letters_allow() {
        let all = Scalars::NULL.with(Scalars::BOOLEAN).with(Scalars::INTEGER).with(Scalars::NUMBER);
        for (scalars, types, texts, others) in [
            (Scalars::BOOLEAN, json!("boolean"), &["true", "false"][..], &["TRUE", "1", "", "null"][..]),
            (Scalars::NUMBER, json!("number"), &["0", "-0", "1.50", "1e3", "1E+3", "-0.5e-7"], &["01", ".5", "1.", "+1", "1e", "NaN", "1 ", "\n1", "0x1", ""]),
            (Scalars::INTEGER, json!("integer"), &["9007199254740993", "9223372036854775807", "-1"], &["1.0", "1e3", "-0", "٣"]),
            (Scalars::NULL.with(Scalars::INTEGER), json!(["null", "integer"]), &["null", "1"], &["", "nil", "NULL"]),
            (Scalars::NULL.with(Scalars::TEXT), json!("string"), &["null", ""], &[]),
            (all, json!(["null", "boolean", "number"]), &["null", "true", "1.5"], &["x", ""]),
            (all.with(Scalars::TEXT), json!("string"), &["x", "", "1x", "null", "01"], &["true", "1"]),
        ] {
            let asked = Asked::one(Part::Query, Writing::Scalar(scalars), &json!({"type": types}));
            for text in texts {
                asked.query(&format!("p={}", percent(text)), "");
            }
            for text in others {
                asked.query(&format!("p={}", percent(text)), "schema_type query/p");
            }
        }
        let number = Asked::one(Part::Query, NUMBER, &json!({})).in_shadow(&[Rule::Query]);
        for text in ["9007199254740993", "0.1234567890123456789", "1e400"] {
            number.query(&format!("p={text}"), "!parameter_malformed query/p");
        }
        let numbers = Asked::one(Part::Query, list(Scalars::NUMBER, Between::Comma), &json!({})).in_shadow(&[Rule::Query]);
        numbers.query("p=x,1e400", "!parameter_malformed query/p");
    }
}

universal_test! {
    fn what_is_in_shadow_does_not_hide_what_is_not() {
        let parameters = || vec![parameter(Part::Path, "id", INTEGER), parameter(Part::Query, "p", INTEGER), parameter(Part::Header, "p", INTEGER)];
        let shadow = |rules: &[Rule]| Asked::new(parameters(), &json!({"type": "integer"})).in_shadow(rules);
        let both = shadow(&[Rule::Path, Rule::Query]);
        both.check("/things/x?p=y", &[("p", "1")], "~schema_type path/id, ~schema_type query/p");
        both.check("/things/x?p=y", &[("p", "z")], "schema_type header/p, ~schema_type path/id, ~schema_type query/p");
        both.check("/things/x?p=1&p=1", &[], "!parameter_malformed query/p, ~schema_type path/id");
        both.check("/things/1?q=1", &[], "query_not_declared query/q");
        shadow(&[Rule::Query, Rule::QueryNotDeclared]).check("/things/1?q=1&P=1", &[], "!parameter_malformed query/P, ~query_not_declared query/q");
    }
}

/// With what a target cannot hold as it is.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
