//! Random values in every part and style: what is read out of a text passes exactly where the schema accepts the value
//! that was written. Forms are among them: they read fields in the same ways.

use super::{Asked, ROOT, colour, list, parameter, percent};
use crate::contract::{
    Between, Form, ObjectWriting, Operation, Parameter, Part, Properties, Scalars, Writing,
};
use crate::json::Numbers;
use crate::rules::Watched;
use crate::schema::CompiledSchemas;
use crate::schema::tests::plain::compile;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    In(Part),
    Form,
}

const STANDS: [Stand; 5] = [
    Stand::In(Part::Path),
    Stand::In(Part::Query),
    Stand::In(Part::Header),
    Stand::In(Part::Cookie),
    Stand::Form,
];

/// Everything between the types, with the type that each has in a schema.
const KINDS: [(Scalars, &str); 4] = [
    (Scalars::TEXT, "string"),
    (Scalars::INTEGER, "integer"),
    (Scalars::NUMBER, "number"),
    (Scalars::BOOLEAN, "boolean"),
];

/// A value and how it is to be written.
#[derive(Debug, Clone)]
struct Case {
    stand: Stand,
    writing: Writing,
    schema: Value,
    value: Value,
}

fn scalar(stand: Stand, kind: Scalars, (which, number, text): &(u8, i16, String)) -> Value {
    let plain = match stand {
        Stand::In(Part::Path) => "abé&+",
        Stand::In(Part::Query) | Stand::Form => "abé&+/%",
        Stand::In(Part::Header) => "abé&+/%",
        Stand::In(Part::Cookie) => "ab&/",
    };
    let mut text: String = text.chars().filter(|character| plain.contains(*character)).collect();
    text.push('z');
    match which {
        _ if kind == Scalars::TEXT => json!(text),
        0 => json!(text),
        1 => json!(number % 2 == 0),
        2 => json!(f64::from(*number) + 0.5),
        _ => json!(number),
    }
}

fn case() -> impl Strategy<Value = Case> {
    let scalar_parts = (0..8_u8, -150..150_i16, "[abé&+/%]{0,4}");
    let parts = (
        prop::sample::select(&STANDS[..]),
        0..9_usize,
        prop::sample::select(&KINDS[..]),
        prop::collection::vec(scalar_parts, 1..4),
    );
    parts.prop_filter_map("not every style stands everywhere", |(stand, shape, (kind, name), seeds)| {
        let one_text = matches!(shape, 0 | 2 | 5 | 6);
        let is_writable = match stand {
            Stand::In(Part::Path | Part::Header) => one_text,
            Stand::In(Part::Cookie) => one_text || shape >= 7,
            Stand::In(Part::Query) | Stand::Form => true,
        };
        let is_closed = shape == 7 && stand != Stand::In(Part::Query);
        if !is_writable || (is_closed && seeds.len() > 2) {
            return None;
        }
        let mut values: Vec<Value> = seeds.iter().map(|seed| scalar(stand, kind, seed)).collect();
        let item = json!({"type": name, "maximum": 99, "maxLength": 3});
        let array = json!({"type": "array", "items": item, "uniqueItems": true, "maxItems": 2});
        let object = json!({"type": "object", "properties": {"a": item, "b": item}, "required": ["b"], "additionalProperties": item, "maxProperties": 2});
        let known = ["a", "b"].map(|name| (name.into(), kind));
        let properties = Properties { known: known.into(), others: kind };
        let written = [ObjectWriting::Commas, ObjectWriting::Assignments, ObjectWriting::Exploded, ObjectWriting::Deep];
        Some(match shape {
            0 => Case { stand, writing: Writing::Scalar(kind), schema: item, value: values.remove(0) },
            1..=4 => Case { stand, writing: list(kind, Between::ALL[shape - 1]), schema: array, value: values.into() },
            _ => {
                let members = ["a", "b", "c"].into_iter().map(ToOwned::to_owned).zip(values);
                let writing = Writing::Object { properties, written: written[shape - 5] };
                Case { stand, writing, schema: object, value: Value::Object(members.collect::<Map<_, _>>()) }
            }
        })
    })
}

impl Case {
    fn text(&self, value: &Value) -> String {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        match self.stand {
            Stand::In(Part::Path | Part::Query) | Stand::Form => percent(&text),
            Stand::In(Part::Header | Part::Cookie) => text,
        }
    }

    /// Each pair that is written under the name of the value, or instead of it.
    fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let whole = |texts: Vec<String>, between: &str| vec![(name.to_owned(), texts.join(between))];
        match (&self.writing, &self.value) {
            (Writing::List { between, .. }, Value::Array(items)) => {
                let texts: Vec<String> = items.iter().map(|item| self.text(item)).collect();
                match between {
                    Between::Repeated => texts.into_iter().map(|text| (name.to_owned(), text)).collect(),
                    Between::Comma => whole(texts, ","),
                    Between::Space => whole(texts, "%20"),
                    Between::Pipe => whole(texts, "%7C"),
                }
            }
            (Writing::Object { written, .. }, Value::Object(members)) => {
                let members = members.iter().map(|(key, value)| (key.clone(), self.text(value)));
                match written {
                    ObjectWriting::Commas => {
                        whole(members.map(|(key, text)| format!("{key},{text}")).collect(), ",")
                    }
                    ObjectWriting::Assignments => {
                        whole(members.map(|(key, text)| format!("{key}={text}")).collect(), ",")
                    }
                    ObjectWriting::Exploded => members.collect(),
                    ObjectWriting::Deep => {
                        members.map(|(key, text)| (format!("{name}[{key}]"), text)).collect()
                    }
                }
            }
            (_, value) => whole(vec![self.text(value)], ""),
        }
    }

    fn told(&self) -> String {
        let joined = |pairs: Vec<(String, String)>, between: &str| {
            pairs.into_iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(between)
        };
        let Stand::In(part) = self.stand else {
            let schema = json!({"properties": {"p": self.schema}, "required": ["p"]});
            let form = Form { fields: [("p".into(), self.writing.clone())].into() };
            return form_told(&compile(&schema), &form, joined(self.pairs("p"), "&").as_bytes());
        };
        let asked = Asked::one(part, self.writing.clone(), &self.schema);
        let text = || self.pairs("p").remove(0).1;
        match part {
            Part::Path => asked.told(&format!("/things/{}", text()), &[]),
            Part::Query => asked.told(&format!("/things/x?{}", joined(self.pairs("p"), "&")), &[]),
            Part::Header => asked.told("/things/x", &[("p", &text())]),
            Part::Cookie => asked.told("/things/x", &[("cookie", &joined(self.pairs("p"), "; "))]),
        }
    }
}

fn form_told(schemas: &CompiledSchemas, form: &Form, body: &[u8]) -> String {
    let operation =
        Operation::new("ask", crate::method::Method::Post, crate::contract::OperationClass::Write, vec![]);
    let mut watched = Watched::new(&operation, 0);
    let judged = crate::forms::judge(schemas, form, ROOT, body, &mut watched);
    judged
        .err()
        .map(|violation| format!("{} {}", violation.reason.code(), violation.place))
        .unwrap_or_default()
}

/// Parameters of each kind that a query can have.
fn mixed() -> Vec<Parameter> {
    vec![
        parameter(Part::Query, "p", Writing::Scalar(Scalars::INTEGER.with(Scalars::TEXT))),
        parameter(Part::Query, "l", list(Scalars::TEXT, Between::Repeated)),
        parameter(Part::Query, "d", colour(ObjectWriting::Deep, Scalars::TEXT)),
        parameter(Part::Query, "o", colour(ObjectWriting::Exploded, Scalars::TEXT)),
        parameter(Part::Query, "j", Writing::Json),
        parameter(Part::Cookie, "p", Writing::Scalar(Scalars::TEXT)),
        parameter(Part::Cookie, "d", colour(ObjectWriting::Deep, Scalars::TEXT)),
        parameter(Part::Header, "p", list(Scalars::NUMBER, Between::Comma)),
        parameter(Part::Header, "o", colour(ObjectWriting::Assignments, Scalars::TEXT)),
    ]
}

const PIECES: [&str; 22] = [
    "p=1", "p=", "p", "P=1", "l=1", "l=2", "l", "d[a]=1", "d[R]=2", "d[a]=3", "d=1", "d[]=1", "R=1", "G=x",
    "r=1", "x=1", "X=1", "x.y=1", "x_y=1", "%70=1", "j=[1]", "j=+",
];

universal_test! {
    fn the_random_values_are_of_both_kinds_in_each_place() {
        let mut runner = TestRunner::deterministic();
        let mut met = BTreeMap::<(usize, bool), usize>::new();
        for _ in 0..600 {
            let case = case().new_tree(&mut runner).unwrap().current();
            let place = STANDS.iter().position(|stand| *stand == case.stand).unwrap();
            *met.entry((place, case.told().is_empty())).or_default() += 1;
        }
        assert_eq!(met.len(), 2 * STANDS.len(), "{met:?}");
        assert!(met.values().all(|count| *count >= 10), "{met:?}");
    }
}

universal_properties! {
    fn what_is_written_passes_where_its_value_does(case in case()) {
        let passes = compile(&case.schema).validate(ROOT, case.value.to_string().as_bytes(), Numbers::Any).is_ok();
        let told = case.told();
        prop_assert_eq!(told.is_empty(), passes, "{} {:?}", told, case.pairs("p"));
    }

    fn the_order_of_pairs_decides_nothing(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6)) {
        let asked = Asked::new(mixed(), &json!({}));
        let reversed: Vec<&str> = pieces.iter().rev().copied().collect();
        let told = |pieces: &[&str]| asked.told(&format!("/things/x?{}", pieces.join("&")), &[]).is_empty();
        prop_assert_eq!(told(&pieces), told(&reversed));
    }

    fn any_text_is_read_without_panic(text in "[ -~é]{0,40}", pieces in prop::collection::vec("[pldoj]?[a-zRGB\\[\\]=,%+0-9\";|]{0,6}", 0..6)) {
        let asked = Asked::new(mixed(), &json!({"maxProperties": 2, "maxItems": 2}));
        let query = percent(&pieces.join("&")).replace("%26", "&").replace("%3D", "=").replace("%2C", ",").replace("%2B", "+");
        if crate::path::Target::parse(format!("/things/x?{query}").as_bytes()).is_ok() {
            let _ = asked.told(&format!("/things/x?{query}"), &[("p", &text), ("o", &text)]);
        }
        let _ = asked.told("/things/x", &[("cookie", &text), ("cookie", &pieces.join(";"))]);
        let fields = mixed().into_iter().filter(|parameter| parameter.part == Part::Query);
        let mut fields: Vec<_> = fields.map(|parameter| (parameter.name, parameter.writing)).collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let form = Form { fields: fields.into() };
        let schemas = compile(&json!({"maxProperties": 3}));
        let _ = form_told(&schemas, &form, text.as_bytes());
        let _ = form_told(&schemas, &form, pieces.join("&").as_bytes());
    }
}
