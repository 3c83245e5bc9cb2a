//! Where a value comes from: a variable, and the attributes on the way down.
//!
//! INVARIANT: a path is read off Cedar's own JSON form of an expression, never off its text.

use serde_json::{Map, Value as Json, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Principal,
    Action,
    Resource,
    Context,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) root: Root,
    pub(crate) keys: Vec<String>,
}

impl Root {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Root::Principal => "principal",
            Root::Action => "action",
            Root::Resource => "resource",
            Root::Context => "context",
        }
    }
}

impl Path {
    /// The path that an expression is, if it is one.
    pub(crate) fn of(expression: &Json) -> Option<Path> {
        match operation(expression)? {
            ("Var", Json::String(name)) => {
                let all = [Root::Principal, Root::Action, Root::Resource, Root::Context];
                let root = all.into_iter().find(|root| root.word() == name)?;
                Some(Path { root, keys: Vec::new() })
            }
            (".", arguments) => {
                let path = Path::of(arguments.get("left")?)?;
                Some(path.to(arguments.get("attr")?.as_str()?))
            }
            _ => None,
        }
    }

    pub(crate) fn to(mut self, key: &str) -> Path {
        self.keys.push(key.to_owned());
        self
    }

    pub(crate) fn expression(&self) -> Json {
        let start = json!({"Var": self.root.word()});
        self.keys.iter().fold(start, |left, key| json!({".": {"left": left, "attr": key}}))
    }

    /// Whether it leads to a value that may not be told, or to a record that holds one.
    pub(crate) fn is_hidden(&self, hidden: &[Vec<String>]) -> bool {
        self.root == Root::Context
            && hidden.iter().any(|hidden| hidden.iter().zip(&self.keys).all(|(hidden, key)| hidden == key))
    }

    /// Who calls and how is nobody's to change: these are facts of the call.
    pub(crate) fn is_fixed(&self) -> bool {
        match self.root {
            Root::Action => true,
            Root::Principal | Root::Resource => self.keys.is_empty(),
            Root::Context => {
                self.keys.is_empty() || self.keys.first().is_some_and(|first| first == "request")
            }
        }
    }

    pub(crate) fn is_workload(&self) -> bool {
        self.root == Root::Context && self.keys == ["workload"]
    }

    pub(crate) fn is_scopes(&self) -> bool {
        self.root == Root::Context && self.keys == ["scopes"]
    }
}

/// The one operation of an expression in Cedar's JSON form, with its arguments.
pub(crate) fn operation(expression: &Json) -> Option<(&str, &Json)> {
    let (name, arguments) = expression.as_object()?.iter().next()?;
    Some((name, arguments))
}

/// The values that an expression reads, each the longest path that it takes, in the order of the text.
pub(crate) fn all(expression: &Json) -> Vec<Path> {
    let mut found = Vec::new();
    collect(expression, &mut found);
    found
}

fn collect(expression: &Json, found: &mut Vec<Path>) {
    // What stands before a `has` is a whole record or entity, of which only a part is asked for.
    if let Some(("has" | "hasTag", arguments)) = operation(expression)
        && arguments.get("left").and_then(Path::of).is_some()
    {
        return;
    }
    if let Some(path) = Path::of(expression) {
        if !found.contains(&path) {
            found.push(path);
        }
        return;
    }
    match expression {
        Json::Object(map) => order(map).for_each(|inner| collect(inner, found)),
        Json::Array(items) => items.iter().for_each(|inner| collect(inner, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Left before right, however the map is kept.
fn order(map: &Map<String, Json>) -> impl Iterator<Item = &Json> {
    let first = ["left", "if", "then"];
    let early = first.into_iter().filter_map(|key| map.get(key));
    early.chain(map.iter().filter(move |(key, _)| !first.contains(&key.as_str())).map(|(_, inner)| inner))
}

/// The value at the end of the keys. A reference to an entity is an end: what lies behind it is another entity's.
pub(crate) fn find<'j>(document: &'j Json, keys: &[String]) -> Option<&'j Json> {
    keys.iter().try_fold(document, |value, key| value.as_object().filter(|map| !is_escape(map))?.get(key))
}

/// Puts a value at the end of the keys, or takes it away. `None`: there is no such place.
pub(crate) fn put(document: &mut Json, keys: &[String], value: Option<Json>) -> Option<()> {
    let (last, way) = keys.split_last()?;
    let mut place = document;
    for key in way {
        let map = place.as_object_mut().filter(|map| !is_escape(map))?;
        place = map.entry(key).or_insert_with(|| json!({}));
    }
    let map = place.as_object_mut().filter(|map| !is_escape(map))?;
    match value {
        Some(value) => map.insert(last.clone(), value),
        None => map.remove(last),
    };
    Some(())
}

fn is_escape(map: &Map<String, Json>) -> bool {
    map.contains_key("__entity") || map.contains_key("__extn")
}
