//! Fields of JSON bodies that `service.yaml` names by pointers.

use super::kind::{STEPS_MAX, alternatives, kind_of};
use crate::bundle::context::{ContextField, ContextPart, ListStyle, OperationContext, ValueKind};
use crate::bundle::openapi::model::{Model, Operation, SchemaId, TypeSet};
use crate::bundle::problem::Problem;
use crate::bundle::record::{Placed, Reader};
use palisade_core::media;
use std::collections::BTreeSet;

/// Deeper than people combine schemas.
const DEPTH_MAX: usize = 32;

/// A field that a pointer leads to.
struct Field {
    kind: ValueKind,
    required: bool,
}

/// Why a pointer leads to no field.
enum Stray {
    /// No field has this name; these are there.
    Unknown {
        depth: usize,
        known: BTreeSet<String>,
    },
    Other(String),
}

pub(super) fn fields(
    model: &Model,
    operation: &Operation,
    pointers: &[Placed<String>],
    reader: &mut Reader<'_>,
) -> Vec<ContextField> {
    let Some(first) = pointers.first() else { return Vec::new() };
    let media = operation.body.iter().flat_map(|body| &body.media);
    let (json, others): (Vec<_>, Vec<_>) = media.partition(|media| media::is_json(&media.essence));
    if json.is_empty() {
        let message = format!("operation `{}` has no JSON body", operation.id);
        reader.wrong(first.at, message, "only fields of JSON bodies can be asked for; remove `body`");
        return Vec::new();
    }
    let always = operation.body.as_ref().is_some_and(|body| body.required) && others.is_empty();
    let schemas: Vec<_> = json.iter().map(|media| media.schema).collect();
    let mut fields: Vec<ContextField> = Vec::new();
    for pointer in pointers {
        let Some(keys) = keys_of(pointer, reader) else { continue };
        if let Some(other) = fields.iter().find(|field| overlaps(&field.keys, &keys)) {
            let other = format!("/{}", other.keys.join("/"));
            let message = match other == pointer.value {
                true => format!("`{other}` is named twice"),
                false => format!("`{}` and `{other}` lie within each other", pointer.value),
            };
            reader.wrong(pointer.at, message, "keep one of them");
            continue;
        }
        match find(model, &schemas, &keys) {
            Ok(Field { kind, required }) => fields.push(ContextField {
                part: ContextPart::Body,
                keys,
                kind,
                required: required && always,
                list: ListStyle::default(),
                mask: None,
            }),
            Err(stray) => report(stray, operation, pointer, &keys, reader),
        }
    }
    fields
}

/// The keys of a field that a mask names: one that policies may ask for, one above these, or any other that the contract
/// declares.
pub(in crate::bundle) fn pointer(
    model: &Model,
    operation: &Operation,
    pointer: &Placed<String>,
    context: &OperationContext,
    reader: &mut Reader<'_>,
) -> Option<Vec<String>> {
    let keys = keys_of(pointer, reader)?;
    if context.part(ContextPart::Body).any(|field| field.keys.starts_with(&keys)) {
        return Some(keys);
    }
    let media = operation.body.iter().flat_map(|body| &body.media);
    let schemas: Vec<_> =
        media.filter(|media| media::is_json(&media.essence)).map(|media| media.schema).collect();
    if schemas.is_empty() {
        let message = format!("operation `{}` has no JSON body", operation.id);
        reader.wrong(pointer.at, message, "only fields of JSON bodies can be masked; remove `body`");
        return None;
    }
    match way(model, &schemas, &keys) {
        Ok(_) => Some(keys),
        Err(Stray::Other(why)) => {
            let message = format!("`{}` cannot be masked: {why}", pointer.value);
            reader.wrong(pointer.at, message, "name a field that the contract declares");
            None
        }
        Err(stray) => {
            report(stray, operation, pointer, &keys, reader);
            None
        }
    }
}

fn keys_of(pointer: &Placed<String>, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let escaped = |key: &str| key.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let keys: Option<Vec<String>> = pointer.value.strip_prefix('/').and_then(|rest| {
        rest.split('/').map(|key| escaped(key).then(|| key.replace("~1", "/").replace("~0", "~"))).collect()
    });
    if keys.is_none() {
        let message = format!("`{}` is not a pointer to a field", pointer.value);
        let problem = Problem::new(reader.place(pointer.at), message);
        let mut problem = problem.help("expected a JSON pointer such as `/amount` or `/customer/id`");
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !pointer.value.is_empty() && pointer.value.bytes().all(bare) {
            problem.suggestion = Some(format!("/{}", pointer.value.replace('.', "/")));
        }
        reader.push(problem);
    }
    keys
}

/// Whether one is the other, or leads through it.
fn overlaps(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

fn report(
    stray: Stray,
    operation: &Operation,
    pointer: &Placed<String>,
    keys: &[String],
    reader: &mut Reader<'_>,
) {
    let written = &pointer.value;
    match stray {
        Stray::Other(why) => {
            let message = format!("`{written}` cannot be asked for by policies: {why}");
            reader.wrong(
                pointer.at,
                message,
                "name single values, or lists of them, that the contract declares",
            );
        }
        Stray::Unknown { depth, known } => {
            let key = keys.get(depth).map(String::as_str).unwrap_or_default();
            let message = format!("the body of `{}` has no field `{written}` in its schema", operation.id);
            let mut problem = Problem::new(reader.place(pointer.at), message)
                .suggest(key, known.iter().map(String::as_str));
            // What is suggested stands in for the whole pointer.
            problem.suggestion = problem.suggestion.map(|near| {
                let place =
                    |(at, key): (usize, &String)| if at == depth { near.clone() } else { key.clone() };
                let keys = keys.iter().enumerate().map(place);
                keys.map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
            });
            let names: Vec<_> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
            reader.push(match names.is_empty() {
                true => {
                    problem.help("the schema declares no fields there; declare the field in the contract")
                }
                false => problem.help(format!("the fields there are {}", names.join(", "))),
            });
        }
    }
}

fn find(model: &Model, roots: &[SchemaId], keys: &[String]) -> Result<Field, Stray> {
    let (at, required) = way(model, roots, keys)?;
    let found = kind_of(model, &at).map_err(Stray::Other)?;
    Ok(Field { kind: found.kind, required: required && !found.nullable })
}

/// Where keys lead to, and whether it is always there.
fn way(model: &Model, roots: &[SchemaId], keys: &[String]) -> Result<(Vec<SchemaId>, bool), Stray> {
    let mut at = roots.to_vec();
    let mut required = true;
    for (depth, key) in keys.iter().enumerate() {
        required &= is_object_always(model, &at, depth)?;
        let mut found = Lookup::default();
        let mut everywhere = true;
        let mut steps = STEPS_MAX;
        for schema in &at {
            let mut one = Lookup::default();
            if look(model, *schema, key, &mut one, DEPTH_MAX, &mut steps).is_none() {
                return Err(Stray::Other("its schema has too many alternatives".to_owned()));
            }
            everywhere &= one.required;
            found.schemas.extend(one.schemas);
            found.known.extend(one.known);
        }
        if found.schemas.is_empty() {
            return Err(Stray::Unknown { depth, known: found.known });
        }
        required &= everywhere;
        at = found.schemas;
    }
    Ok((at, required))
}

/// Whether a field may stand in what these schemas describe, and whether that is nothing but an object.
fn is_object_always(model: &Model, schemas: &[SchemaId], depth: usize) -> Result<bool, Stray> {
    let mut types = TypeSet::NONE;
    for schema in schemas {
        for facets in alternatives(model, *schema).map_err(Stray::Other)? {
            types = types.union(facets.types);
        }
    }
    if types.meets(TypeSet::OBJECT) {
        return Ok(types == TypeSet::OBJECT);
    }
    let what = if depth == 0 { "the body" } else { "what it leads through" };
    Err(Stray::Other(if types.meets(TypeSet::ARRAY) {
        format!("{what} is a list, and no item of it has a name")
    } else {
        format!("{what} is {types}, which has no fields")
    }))
}

#[derive(Default)]
struct Lookup {
    schemas: Vec<SchemaId>,
    required: bool,
    known: BTreeSet<String>,
}

/// Looks for a property in a schema and in all that apply to the same value. `None`: there are too many.
fn look(
    model: &Model,
    id: SchemaId,
    key: &str,
    found: &mut Lookup,
    depth: usize,
    steps: &mut usize,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    *steps = steps.checked_sub(1)?;
    let schema = model.schema(id);
    if let Some(object) = &schema.object {
        found.schemas.extend(object.property(key));
        found.required |= object.requires(key);
        found.known.extend(object.properties.iter().map(|(name, _)| name.to_string()));
    }
    let Some(combined) = &schema.combined else { return Some(()) };
    for branch in &combined.all_of {
        look(model, *branch, key, found, depth, steps)?;
    }
    for choices in [&combined.one_of, &combined.any_of].into_iter().flatten() {
        let mut everywhere = !choices.is_empty();
        for choice in choices {
            let mut one = Lookup::default();
            look(model, *choice, key, &mut one, depth, steps)?;
            everywhere &= one.required;
            found.schemas.extend(one.schemas);
            found.known.extend(one.known);
        }
        found.required |= everywhere;
    }
    Some(())
}
