//! What is told of denials: sixty and more, each with the text that an operator reads.
//!
//! The table is `denials/denials.json`, the world is `denials/bank.*`. `PALISADE_BLESS=1` writes the texts anew.

use cedar_policy::{
    Context, Entities, EntityUid, PolicyId, PolicySet, Request, Schema,
};
use palisade_explain::{Explanation, Question, Verdict, explain};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Denial {
    name: String,
    principal: String,
    action: String,
    resource: Option<String>,
    #[serde(default)]
    query: Json,
    #[serde(default)]
    header: Json,
    #[serde(default)]
    body: Json,
    #[serde(default)]
    context: Json,
    #[serde(default)]
    hidden: Vec<Vec<String>>,
}

struct Bank {
    policies: PolicySet,
    schema: Schema,
    entities: Entities,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/denials")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// Each policy under its own `@id`.
fn named(text: &str) -> PolicySet {
    let set: PolicySet = text.parse().unwrap();
    PolicySet::from_policies(
        set.policies().map(|policy| policy.new_id(PolicyId::new(policy.annotation("id").unwrap()))),
    )
    .unwrap()
}

fn bank() -> Bank {
    let (schema, warnings) = Schema::from_cedarschema_str(&read("bank.cedarschema")).unwrap();
    assert_eq!(warnings.count(), 0);
    let entities = Entities::from_json_str(&read("bank.entities.json"), Some(&schema)).unwrap();
    Bank { policies: named(&read("bank.cedar")), schema, entities }
}

fn denials() -> Vec<Denial> {
    serde_json::from_str(&read("denials.json")).unwrap()
}

fn merge(into: &mut Json, from: &Json) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into.as_object_mut().unwrap().insert(key.clone(), value.clone());
    }
}

fn request(bank: &Bank, denial: &Denial) -> Request {
    let mut body = json!({"amount_cents": 100});
    merge(&mut body, &denial.body);
    let or_empty = |value: &Json| if value.is_null() { json!({}) } else { value.clone() };
    let mut context = json!({
        "request": {"method": "POST", "host": "bank.example", "path": "/"}, "path": {"account": "7"},
        "query": or_empty(&denial.query), "header": or_empty(&denial.header), "body": body,
    });
    merge(&mut context, &denial.context);
    let action: EntityUid = format!("Action::\"{}\"", denial.action).parse().unwrap();
    let service = denial.resource.as_deref().unwrap_or(denial.action.split_once('.').unwrap().0);
    let resource = format!("Service::\"{service}\"").parse().unwrap();
    let context = Context::from_json_value(context, Some((&bank.schema, &action))).unwrap();
    Request::new(denial.principal.parse().unwrap(), action, resource, context, Some(&bank.schema)).unwrap()
}

fn explained(bank: &Bank, denial: &Denial) -> Explanation {
    let request = request(bank, denial);
    let question = Question {
        policies: &bank.policies,
        entities: &bank.entities,
        schema: Some(&bank.schema),
        request: &request,
        anonymous: denial.principal.starts_with("Anonymous"),
        hidden: &denial.hidden,
    };
    explain(question).unwrap()
}

/// Compares what is told of one denial with what somebody has read and found good.
fn check(name: &str, told: &str) {
    let path = folder().join(format!("{name}.txt"));
    if std::env::var_os("PALISADE_BLESS").is_some() {
        fs::write(path, told).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == told, "{name}: read what changed, then set PALISADE_BLESS=1\n{told}");
}

#[test]
fn every_denial_is_told_as_it_was_read_and_found_good() {
    let bank = bank();
    let denials = denials();
    assert!(denials.len() >= 60, "{}", denials.len());
    for denial in &denials {
        let explanation = explained(&bank, denial);
        assert_ne!(explanation.verdict, Verdict::Allowed, "{}", denial.name);
        check(&denial.name, &explanation.to_string());
    }
}

#[test]
fn what_is_hidden_is_told_nowhere() {
    let bank = bank();
    let mut hidden = 0;
    for denial in denials().iter().filter(|denial| !denial.hidden.is_empty()) {
        let explanation = explained(&bank, denial);
        let whole = format!("{explanation}{}", serde_json::to_string(&explanation).unwrap());
        for value in ["5500", "25000", "my password"] {
            assert!(!whole.contains(value), "{}: {whole}", denial.name);
        }
        hidden += 1;
    }
    assert!(hidden >= 3);
}
