//! An object of Kubernetes in the making.

use super::super::yaml::Document;
use super::APP;
use serde_json::{Map, Value, json};

/// An object with its name, labels and the fields that its kind has at the top.
pub(super) fn object(api: &str, kind: &str, name: &str, namespace: Option<&str>, fields: Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.into());
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    metadata.insert("labels".to_owned(), json!({ "app.kubernetes.io/managed-by": APP }));
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api.into());
    object.insert("kind".to_owned(), kind.into());
    object.insert("metadata".to_owned(), metadata.into());
    if let Value::Object(mut fields) = fields {
        object.append(&mut fields);
    }
    object.into()
}

/// A document under what should be known of it.
pub(super) fn said(comment: &[&str], value: Value) -> Document {
    Document { comment: comment.iter().map(|line| (*line).to_owned()).collect(), value }
}

/// Inserts where the value is an object; the values made here are.
pub(super) fn insert(value: &mut Value, key: &str, inserted: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), inserted);
    }
}
