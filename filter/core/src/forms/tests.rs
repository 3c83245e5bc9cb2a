//! Forms: what is one object to everybody, what the object's schema says, and what is no such form.

use super::judge;
use crate::contract::{
    Between, Form, ObjectWriting, Operation, OperationClass, Properties, Rule, Scalars, Shadows, Writing,
};
use crate::method::Method;
use crate::rules::Watched;
use crate::schema::CompiledSchemas;
use crate::schema::tests::plain::{ROOT, compile};
use crate::testing::universal_test;
use serde_json::{Value, json};

/// A form with a field of each writing.
fn form() -> Form {
    let known = [("max".into(), Scalars::INTEGER), ("min".into(), Scalars::INTEGER)];
    let properties = Properties { known: known.into(), others: Scalars::NONE };
    let deep = Writing::Object { properties, written: ObjectWriting::Deep };
    let list = |between| Writing::List { items: Scalars::TEXT, between };
    let mut fields = vec![
        ("age".into(), Writing::Scalar(Scalars::INTEGER)),
        ("range".into(), deep),
        ("tags".into(), list(Between::Repeated)),
        ("words".into(), list(Between::Comma)),
        ("extra".into(), Writing::Json),
        ("name".into(), Writing::Scalar(Scalars::TEXT)),
    ];
    fields.sort_by(|(one, _): &(Box<str>, _), (other, _)| one.cmp(other));
    Form { fields: fields.into() }
}

struct Asked {
    form: Form,
    schemas: CompiledSchemas,
    operation: Operation,
}

impl Asked {
    fn new(form: Form, schema: &Value) -> Asked {
        let operation = Operation::new("ask", Method::Post, OperationClass::Write, vec![]);
        Asked { form, schemas: compile(schema), operation }
    }

    /// What is told: the reason and the place, with `!` before what no shadow covers, and what was only watched behind it.
    fn check(&self, body: impl AsRef<[u8]>, told: &str) {
        let body = body.as_ref();
        let mut watched = Watched::new(&self.operation, 9);
        let refused = judge(&self.schemas, &self.form, ROOT, body, &mut watched).err().map(|violation| {
            let firm = if violation.rule.is_none() { "!" } else { "" };
            format!("{firm}{} {}", violation.reason.code(), violation.place)
        });
        let watched = watched.found.iter().map(|found| format!("~{} {}", found.reason.code(), found.place));
        let found = refused.into_iter().chain(watched).collect::<Vec<_>>().join(", ");
        assert_eq!(found, told, "{}", body.escape_ascii());
    }
}

universal_test! {
    fn a_form_is_the_object_that_it_stands_for() {
        let schema = json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {
                "name": {"const": "zoë +1&"}, "age": {"maximum": 99}, "words": {"maxItems": 2},
                "tags": {"items": {"maxLength": 2}, "maxItems": 3, "minItems": 2},
                "range": {"required": ["min"], "properties": {"max": {"maximum": 9}}},
                "extra": {"properties": {"deep": {"items": {"type": "string"}}}}, "other": {"maxLength": 3}
            }
        });
        let asked = Asked::new(form(), &schema);
        const NAME: &str = "name=zo%C3%AB+%2B1%26";
        for rest in ["", "&age=7", "&tags=a&tags=b+", "&tags=&tags=a&age=1&tags=b", "&words=a,b", "&range[min]=1&range%5Bmax%5D=9", "&extra=%7B%22deep%22%3A[%22x%22]%7D", "&other=abc", "&other="] {
            asked.check(format!("{NAME}{rest}"), "");
        }
        asked.check("name=zoë%20%2b1%26", "");
        asked.check("", "schema_required body");
        asked.check("name=x", "schema_value body/name");
        for (rest, told) in [
            ("age=100", "schema_number body/age"),
            ("age=", "schema_type body/age"),
            ("age=1.0", "schema_type body/age"),
            ("tags=a", "schema_items body/tags"),
            ("tags=a&tags=bcd", "schema_length body/tags/1"),
            ("words=a,b,c", "schema_items body/words"),
            ("range[max]=1", "schema_required body/range"),
            ("range[max]=10&range[min]=1", "schema_number body/range/max"),
            ("range[x]=1", "schema_type body/range/x"),
            ("extra=%7B%22deep%22%3A[%22x%22,1]%7D", "schema_type body/extra/deep/1"),
            ("other=abcd", "schema_length body/other"),
            ("more=1", "schema_undeclared body/more"),
            // An encoded control byte is data; a place is told without it.
            ("a%2Fb%0a=1", "schema_undeclared body/a~1b\u{fffd}"),
        ] {
            asked.check(format!("{NAME}&{rest}"), told);
        }
    }
}

universal_test! {
    fn a_form_has_one_reading_or_none() {
        let mut asked = Asked::new(form(), &json!({}));
        asked.operation.shadows = Shadows::new(Rule::ALL.iter().map(|rule| (*rule, 10)).collect());
        for (body, field) in [
            ("name=a&name=a", "name"), ("age=1&%61ge=1", "age"), ("words=a&words=b", "words"), ("x=1&x=2", "x"), ("name", "name"), ("x&y=1", "x"),
            ("range=1", "range"), ("range[]=1", "range[]"), ("range[min]=1&range[min]=1", "range"), ("range[min][x]=1", "range[min][x]"),
            ("NAME=1", "NAME"), ("name[]=1", "name[]"), ("+name=1", " name"), ("tags[]=a&tags[]=b", "tags[]"), ("x=1&X=2", "x"), ("a.b=1&a_b=1", "a_b"),
            ("a+b=1&a.b=2", "a.b"), ("words=a,,b", "words"), ("words=a%2Cb", "words"), ("words=", "words"), ("a=1&", ""), ("&a=1", ""), ("a=1&&b=1", ""), ("=1", ""), ("&", ""),
        ] {
            asked.check(body, &format!("!form_ambiguous body/{field}"));
        }
        for body in ["name=%", "name=%4", "name=%zz", "%=1", "name=%00", "a=b\r\n", "a=b\n", "a;b=1", "a=1;b=2", "a=\0", "%ff=1"] {
            asked.check(body, "!form_syntax ");
        }
        for (body, field) in [("name=%ff", "name"), ("x=%c0%af", "x"), ("tags=a&tags=%ed%a0%80", "tags")] {
            asked.check(body, &format!("!form_syntax body/{field}"));
        }
        asked.check(b"name=\xff", "!form_syntax ");
        for body in ["_method=DELETE", "a=1&%5fMETHOD=x", "_method", ".method=1", "+_method=1", "_method[]=x", "x-http-method-override=PUT"] {
            asked.check(body, "!form_method_override ");
        }
        for (body, told) in [("extra=%7B", "!json_syntax body/extra"), ("extra=%7B%22a%22:1,%22a%22:2%7D", "!json_duplicate_key body/extra/a"), ("extra=1e400", "!json_number body/extra")] {
            asked.check(body, told);
        }
    }
}

universal_test! {
    fn what_is_in_shadow_is_still_a_form() {
        let mut asked = Asked::new(form(), &json!({"properties": {"age": {"maximum": 9}}}));
        asked.operation.shadows = Shadows::new(vec![(Rule::Body, 10)]);
        asked.check("age=10&x=1", "~schema_number body/age");
        asked.check("age=x", "~schema_type body/age");
        asked.check("age=10&x=1&x=1", "!form_ambiguous body/x");
    }
}

universal_test! {
    fn fields_that_are_an_objects_properties_make_that_object() {
        let known = [("max".into(), Scalars::INTEGER), ("min".into(), Scalars::INTEGER)];
        let properties = Properties { known: known.into(), others: Scalars::NONE };
        let writing = Writing::Object { properties, written: ObjectWriting::Exploded };
        let form = Form { fields: [("range".into(), writing)].into() };
        let asked = Asked::new(form, &json!({"properties": {"range": {"required": ["min"], "properties": {"max": {"maximum": 9}}}}, "maxProperties": 2}));
        asked.check("min=1&max=9&x=1", "");
        asked.check("max=10&min=1", "schema_number body/range/max");
        asked.check("max=1", "schema_required body/range");
        asked.check("min=1&min=1", "!form_ambiguous body/range");
        asked.check("range=1", "!form_ambiguous body/range");
        asked.check("MIN=1", "!form_ambiguous body/MIN");
    }
}

universal_test! {
    fn a_form_has_a_bounded_number_of_fields() {
        let asked = Asked::new(form(), &json!({}));
        asked.check(vec!["tags=1"; 1000].join("&"), "");
        asked.check(vec!["tags=1"; 1001].join("&"), "!form_too_many ");
    }
}
