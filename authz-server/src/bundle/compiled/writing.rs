//! How the value of a parameter, of a header or of a field of a form stands in text.
//!
//! INVARIANT: a value of which no text has one reading (a list of lists, an object in an object) is refused by name.

use crate::bundle::openapi::{Model, ObjectRules, ParameterForm, Schema, SchemaId, Style, TypeSet};
use palisade_core::contract::{Between, ObjectWriting, Properties, Scalars, Writing};
use palisade_core::media;
use std::collections::BTreeMap;

/// Deeper than people combine schemas.
const DEPTH_MAX: usize = 16;

/// The writing of a parameter, or why it has none.
pub(super) fn writing(model: &Model, form: &ParameterForm) -> Result<Writing, String> {
    match form {
        ParameterForm::Content { essence, .. } if media::is_json(essence) => Ok(Writing::Json),
        ParameterForm::Content { essence, .. } => Err(format!("nothing reads `{essence}` in a parameter")),
        ParameterForm::Styled { style, explode, schema, .. } => styled(model, *style, *explode, *schema),
    }
}

pub(super) fn styled(
    model: &Model,
    style: Style,
    explode: bool,
    schema: SchemaId,
) -> Result<Writing, String> {
    let types = types_of(model, schema);
    if style == Style::DeepObject {
        return object(model, schema, ObjectWriting::Deep);
    }
    // A list of one item is written like the item itself.
    if types != TypeSet::ANY && types.meets(TypeSet::ARRAY) {
        let between = match (style, explode) {
            (Style::Form | Style::SpaceDelimited | Style::PipeDelimited, true) => Between::Repeated,
            (Style::SpaceDelimited, false) => Between::Space,
            (Style::PipeDelimited, false) => Between::Pipe,
            (Style::Simple | Style::Form | Style::DeepObject, _) => Between::Comma,
        };
        return Ok(Writing::List { items: items(model, schema)?, between });
    }
    if types != TypeSet::ANY && types.meets(TypeSet::OBJECT) {
        let written = match (style, explode) {
            (Style::Simple | Style::Form, false) => ObjectWriting::Commas,
            (Style::Simple, true) => ObjectWriting::Assignments,
            (Style::Form, true) => ObjectWriting::Exploded,
            (Style::SpaceDelimited | Style::PipeDelimited | Style::DeepObject, _) => {
                return Err(format!("an object has no style `{}`", style.as_str()));
            }
        };
        return object(model, schema, written);
    }
    Ok(Writing::Scalar(scalars(types)))
}

/// What a text can be read as. A schema that says nothing of types is a text.
fn scalars(types: TypeSet) -> Scalars {
    if types == TypeSet::ANY {
        return Scalars::TEXT;
    }
    let known = [
        (TypeSet::NULL, Scalars::NULL),
        (TypeSet::BOOLEAN, Scalars::BOOLEAN),
        (TypeSet::STRING, Scalars::TEXT),
        (TypeSet::INTEGER, Scalars::INTEGER),
        (TypeSet::NUMBER, Scalars::NUMBER),
    ];
    let met = known.into_iter().filter(|(known, _)| types.contains(*known));
    met.fold(Scalars::NONE, |all, (_, one)| all.with(one))
}

/// What one value inside of another can be read as.
fn inner(model: &Model, schema: SchemaId, what: &str) -> Result<Scalars, String> {
    let types = types_of(model, schema);
    if types != TypeSet::ANY && types.meets(TypeSet::ARRAY.union(TypeSet::OBJECT)) {
        return Err(format!("{what} is a list or an object, and no text of one has one reading"));
    }
    Ok(scalars(types))
}

fn items(model: &Model, schema: SchemaId) -> Result<Scalars, String> {
    let mut all = Scalars::NONE;
    let mut found = false;
    each_part(model, schema, DEPTH_MAX, &mut |part| {
        let Some(array) = &part.array else { return Ok(()) };
        for id in array.prefix.iter().copied().chain(array.items) {
            found = true;
            all = all.with(inner(model, id, "an item")?);
        }
        Ok(())
    })?;
    Ok(if found { all } else { Scalars::TEXT })
}

fn object(model: &Model, schema: SchemaId, written: ObjectWriting) -> Result<Writing, String> {
    let mut known: BTreeMap<Box<str>, Scalars> = BTreeMap::new();
    let mut others = Scalars::TEXT;
    each_part(model, schema, DEPTH_MAX, &mut |part| {
        let Some(rules) = part.object.as_deref() else { return Ok(()) };
        let ObjectRules { properties, additional, .. } = rules;
        for (name, id) in properties {
            let scalars = inner(model, *id, &format!("property `{name}`"))?;
            let slot = known.entry(name.clone()).or_default();
            *slot = slot.with(scalars);
        }
        if let Some(id) = additional {
            others = match types_of(model, *id) {
                // Where its properties are parameters of their own, all others are none of it; else its schema says so.
                TypeSet::NONE if written == ObjectWriting::Exploded => Scalars::NONE,
                TypeSet::NONE => Scalars::TEXT,
                _ => inner(model, *id, "a further property")?,
            };
        }
        Ok(())
    })?;
    Ok(Writing::Object { properties: Properties { known: known.into_iter().collect(), others }, written })
}

/// The properties that a value may have, by all that apply to it.
pub(super) fn properties(model: &Model, schema: SchemaId) -> Vec<(Box<str>, SchemaId)> {
    let mut found = Vec::new();
    // What is too deep to be read is too deep to be judged, which is said where it is compiled.
    let _deep = each_part(model, schema, DEPTH_MAX, &mut |part| {
        let object = part.object.iter().flat_map(|object| &object.properties);
        found.extend(object.cloned());
        Ok(())
    });
    found
}

/// The schema, and all that apply to the same value.
fn each_part(
    model: &Model,
    schema: SchemaId,
    depth: usize,
    look: &mut impl FnMut(&Schema) -> Result<(), String>,
) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("its schema is too deep")?;
    let schema = model.schema(schema);
    look(schema)?;
    let Some(combined) = &schema.combined else { return Ok(()) };
    let lists = [Some(&combined.all_of), combined.any_of.as_ref(), combined.one_of.as_ref()];
    lists.into_iter().flatten().flatten().try_for_each(|id| each_part(model, *id, depth, look))
}

/// The types that a value may be of, as far as they are said. Where schemas are combined too deeply, all of them.
pub(super) fn types_of(model: &Model, schema: SchemaId) -> TypeSet {
    types_within(model, schema, DEPTH_MAX)
}

fn types_within(model: &Model, schema: SchemaId, depth: usize) -> TypeSet {
    let Some(depth) = depth.checked_sub(1) else { return TypeSet::ANY };
    let schema = model.schema(schema);
    let mut types = schema.types;
    if let Some(values) = &schema.values {
        types = types.intersection(values.iter().map(TypeSet::of).fold(TypeSet::NONE, TypeSet::union));
    }
    let Some(combined) = &schema.combined else { return types };
    for id in &combined.all_of {
        types = types.intersection(types_within(model, *id, depth));
    }
    for choices in [&combined.any_of, &combined.one_of].into_iter().flatten() {
        let any =
            choices.iter().map(|id| types_within(model, *id, depth)).fold(TypeSet::NONE, TypeSet::union);
        types = types.intersection(any);
    }
    types
}
