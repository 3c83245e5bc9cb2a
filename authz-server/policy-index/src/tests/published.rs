//! Cedar's published integration tests, which are fetched for this and kept by nobody: the index, Cedar and what they
//! expect agree.
//!
//! What this build cannot read, such as extensions that it leaves out, is counted and named, never passed over in silence.

use super::compare::{Both, Figures};
use crate::Person;
use crate::slice::named_in;
use cedar_policy::{
    Context, Entities, EntityUid, Expression, PolicyId, PolicySet, Request, Schema, eval_expression,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

/// Cedar's repository of tests in a directory, its archive of a corpus unpacked or not.
#[test]
#[ignore = "needs Cedar's published tests in PALISADE_CEDAR_TESTS"]
fn published_tests_come_out_as_cedar_says_and_as_they_expect() {
    let root = PathBuf::from(std::env::var_os("PALISADE_CEDAR_TESTS").unwrap());
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let mut figures = Figures::default();
    let mut unread: BTreeMap<String, u64> = BTreeMap::new();
    let mut read = 0;
    for file in &files {
        let Ok(test) = serde_json::from_str::<Value>(&std::fs::read_to_string(file).unwrap()) else {
            continue;
        };
        if test["requests"].as_array().is_none() {
            continue;
        }
        match run(&root, &test, &mut figures) {
            Ok(()) => read += 1,
            Err(Stopped::Unread(why)) => *unread.entry(why).or_default() += 1,
            Err(Stopped::Differs(how)) => panic!("{}: {how}", file.display()),
        }
    }
    println!("{read} published tests, {figures}");
    unread.iter().for_each(|(why, count)| println!("not read {count} times: {why}"));
    assert!(read > 0, "no tests below {}", root.display());
}

enum Stopped {
    Unread(String),
    Differs(String),
}

fn unread(why: impl ToString) -> Stopped {
    let why = why.to_string();
    Stopped::Unread(why.lines().next().unwrap_or_default().chars().take(70).collect())
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

fn run(root: &Path, test: &Value, figures: &mut Figures) -> Result<(), Stopped> {
    let text = |name: &str| {
        let path = root.join(test[name].as_str().unwrap_or_default());
        std::fs::read_to_string(path).map_err(|_| unread(format!("its {name} cannot be read")))
    };
    let policies =
        PolicySet::from_str(&text("policies")?).map_err(|_| unread("its policies do not parse"))?;
    let schema = Schema::from_cedarschema_str(&text("schema")?).map(|(schema, _)| schema);
    let schema = schema.map_err(|_| unread("its schema does not parse"))?;
    let entities = text("entities")?;
    // With the schema where they conform to it: it says which texts are addresses and decimals.
    let parsed = [Some(&schema), None].map(|schema| Entities::from_json_str(&entities, schema).ok());
    let entities = parsed.into_iter().flatten().next().ok_or_else(|| unread("its entities do not parse"))?;
    let entities = Arc::new(entities);
    let both = Both::new(policies.clone(), &HashSet::new(), &entities);
    for asked in test["requests"].as_array().into_iter().flatten() {
        let request = request(asked, &schema)?;
        both.declared(&request, figures).map_err(Stopped::Differs)?;
        let answer = both.index.answer(&request, crate::Caller::Declared, Some(0)).unwrap().counted;
        let decision = format!("{:?}", answer.decision).to_lowercase();
        if asked["decision"].as_str() != Some(decision.as_str())
            || listed(&asked["reason"]) != answer.determining.iter().cloned().collect()
            || listed(&asked["errors"]) != answer.errors.iter().map(|error| error.policy.clone()).collect()
        {
            return Err(Stopped::Differs(format!("{asked}\n{answer:?}")));
        }
        as_brought(&policies, &entities, &request, figures)?;
    }
    Ok(())
}

fn listed(value: &Value) -> HashSet<PolicyId> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(PolicyId::new).collect()
}

fn request(asked: &Value, schema: &Schema) -> Result<Request, Stopped> {
    let uid =
        |name: &str| EntityUid::from_json(asked[name].clone()).map_err(|_| unread("a name does not parse"));
    let action = uid("action")?;
    let parsed = [Some((schema, &action)), None]
        .map(|schema| Context::from_json_value(asked["context"].clone(), schema).ok());
    let context = parsed.into_iter().flatten().next().ok_or_else(|| unread("a context does not parse"))?;
    Request::new(uid("principal")?, action, uid("resource")?, context, None).map_err(unread)
}

/// The same principal, taken out of the store and brought by the request.
fn as_brought(
    policies: &PolicySet,
    entities: &Arc<Entities>,
    request: &Request,
    figures: &mut Figures,
) -> Result<(), Stopped> {
    let principal = request.principal().unwrap();
    // A person has no tags.
    let Some(entity) = entities.get(principal).filter(|entity| entity.tags().next().is_none()) else {
        return Ok(());
    };
    let (uid, attributes, parents) = entity.clone().into_inner();
    let person = Person::new(uid.clone(), parents, attributes).unwrap();
    let without = Entities::clone(entities).remove_entities([uid]).unwrap();
    let whole = without.clone().add_entities([person.entity().clone()], None).unwrap();
    let both = Both::new(policies.clone(), &HashSet::new(), &Arc::new(without));
    let context = Expression::from_str("context").unwrap();
    let mut named = Vec::new();
    named_in(&eval_expression(request, &Entities::empty(), &context).unwrap(), &mut named);
    both.brought(request, (&person, &named), &whole, figures).map_err(Stopped::Differs)
}
