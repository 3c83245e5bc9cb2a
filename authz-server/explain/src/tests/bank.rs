//! A bank with its policies, callers and requests.

use crate::{Explanation, Question, explain};
use cedar_policy::{Context, Entities, EntityUid, PolicyId, PolicySet, Request, Schema};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A request, as the table has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) principal: String,
    pub(super) action: String,
    pub(super) resource: Option<String>,
    pub(super) query: Json,
    pub(super) header: Json,
    pub(super) body: Json,
    pub(super) context: Json,
    pub(super) hidden: Vec<Vec<String>>,
}

pub(super) struct Bank {
    pub(super) policies: PolicySet,
    pub(super) schema: Schema,
    pub(super) entities: Entities,
}

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

pub(super) fn table() -> Vec<Asked> {
    serde_json::from_str(&read("denials.json")).unwrap()
}

/// Each policy under its own `@id`.
pub(super) fn named(text: &str) -> PolicySet {
    let set: PolicySet = text.parse().unwrap();
    let named = set.policies().map(|policy| policy.new_id(PolicyId::new(policy.annotation("id").unwrap())));
    PolicySet::from_policies(named).unwrap()
}

impl Bank {
    pub(super) fn new() -> Bank {
        let (schema, warnings) = Schema::from_cedarschema_str(&read("bank/schema.cedarschema")).unwrap();
        assert_eq!(warnings.count(), 0);
        let entities = Entities::from_json_str(&read("bank/entities.json"), Some(&schema)).unwrap();
        Bank { policies: named(&read("bank/policies.cedar")), schema, entities }
    }

    pub(super) fn context(&self, asked: &Asked) -> Json {
        let or_empty = |value: &Json| if value.is_null() { json!({}) } else { value.clone() };
        let mut body = json!({"amount_cents": 100});
        merge(&mut body, &asked.body);
        let mut context = json!({
            "request": {"method": "POST", "host": "bank.example", "path": "/"}, "path": {"account": "7"},
            "query": or_empty(&asked.query), "header": or_empty(&asked.header), "body": body,
        });
        merge(&mut context, &asked.context);
        context
    }

    /// `None`: it does not conform to the schema.
    pub(super) fn request(&self, asked: &Asked, context: Json) -> Option<Request> {
        let action: EntityUid = format!("Action::\"{}\"", asked.action).parse().unwrap();
        let service = asked.resource.as_deref().unwrap_or(asked.action.split_once('.').unwrap().0);
        let resource = format!("Service::\"{service}\"").parse().unwrap();
        let context = Context::from_json_value(context, Some((&self.schema, &action))).ok()?;
        Request::new(asked.principal.parse().unwrap(), action, resource, context, Some(&self.schema)).ok()
    }

    pub(super) fn explain(&self, asked: &Asked) -> Explanation {
        let request = self.request(asked, self.context(asked)).unwrap();
        let question = Question {
            policies: &self.policies,
            entities: &self.entities,
            schema: Some(&self.schema),
            request: &request,
            anonymous: asked.principal.starts_with("Anonymous"),
            hidden: &asked.hidden,
        };
        explain(question).unwrap()
    }
}

fn merge(into: &mut Json, from: &Json) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into.as_object_mut().unwrap().insert(key.clone(), value.clone());
    }
}
