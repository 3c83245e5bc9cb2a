//! Of which kind the values of a schema are, where they are all of one that Cedar has.

use crate::bundle::context::ValueKind;
use crate::bundle::openapi::model::{Json, Model, Schema, SchemaId, TypeSet};

/// A schema of more alternatives has no single kind that anybody would expect.
const ALTERNATIVES_MAX: usize = 64;

/// Deeper than people combine schemas.
const DEPTH_MAX: usize = 32;

/// Schemas that are looked at for one value: they may be combined so that each doubles the way.
pub(super) const STEPS_MAX: usize = 4_096;

/// Cedar's decimals.
const PLACES_MAX: u32 = 4;

/// The kind of all values of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: ValueKind,
    /// Whether a value may also be `null`.
    pub(super) nullable: bool,
}

/// What is known of the values of one alternative.
#[derive(Debug, Clone)]
pub(super) struct Facets<'m> {
    pub(super) types: TypeSet,
    format: Option<&'m str>,
    /// How many digits after the point a number may have.
    places: Option<u32>,
    pub(super) items: Option<SchemaId>,
}

/// The kind of values that all of the schemas describe, or why there is none.
pub(super) fn kind_of(model: &Model, schemas: &[SchemaId]) -> Result<Found, String> {
    kind_within(model, schemas, true)
}

fn kind_within(model: &Model, schemas: &[SchemaId], lists: bool) -> Result<Found, String> {
    let mut found: Option<Found> = None;
    let mut why = None;
    for schema in schemas {
        for facets in alternatives(model, *schema)? {
            // One of several declarations that says nothing of the type leaves it to the others.
            if facets.types == TypeSet::ANY && schemas.len() > 1 {
                continue;
            }
            let nullable = facets.types.meets(TypeSet::NULL);
            let kind = match single(model, &facets, lists) {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                Err(reason) => {
                    why.get_or_insert(reason);
                    continue;
                }
            };
            match &mut found {
                None => found = Some(Found { kind, nullable }),
                Some(known) if known.kind == kind => known.nullable |= nullable,
                Some(_) => return Err("its alternatives are of different kinds".to_owned()),
            }
        }
    }
    match (found, why) {
        (_, Some(why)) => Err(why),
        (Some(found), None) => Ok(found),
        (None, None) => Err("it has no value but `null`".to_owned()),
    }
}

/// The kind of one alternative; `None`: it is only `null`.
fn single(model: &Model, facets: &Facets<'_>, lists: bool) -> Result<Option<ValueKind>, String> {
    let kind = match facets.types.without(TypeSet::NULL) {
        TypeSet::NONE => return Ok(None),
        TypeSet::STRING if matches!(facets.format, Some("ipv4" | "ipv6")) => ValueKind::Ip,
        TypeSet::STRING => ValueKind::String,
        TypeSet::INTEGER => ValueKind::Long,
        TypeSet::BOOLEAN => ValueKind::Bool,
        TypeSet::NUMBER if facets.places.is_some_and(|places| places <= PLACES_MAX) => ValueKind::Decimal,
        TypeSet::NUMBER => {
            return Err(format!(
                "it is a number that may have more than {PLACES_MAX} digits after the point, which policies cannot hold; `multipleOf: 0.01` in the contract would bound them"
            ));
        }
        TypeSet::ARRAY if lists => {
            let items = facets.items.ok_or("its items have no type")?;
            let items = kind_within(model, &[items], false)?;
            if items.nullable {
                return Err("its items may be `null`".to_owned());
            }
            ValueKind::Set(Box::new(items.kind))
        }
        TypeSet::ARRAY => return Err("its items are lists".to_owned()),
        TypeSet::OBJECT => return Err("it is an object".to_owned()),
        TypeSet::ANY => return Err("the contract does not say its type".to_owned()),
        several => return Err(format!("it may be {several}")),
    };
    Ok(Some(kind))
}

/// What the values of a schema may be: one entry for each way through its `oneOf` and `anyOf`.
pub(super) fn alternatives(model: &Model, schema: SchemaId) -> Result<Vec<Facets<'_>>, String> {
    let all = Facets { types: TypeSet::ANY, format: None, places: None, items: None };
    let mut walk = Walk { model, steps: STEPS_MAX };
    walk.narrow(schema, all, DEPTH_MAX).ok_or_else(|| "its schema has too many alternatives".to_owned())
}

struct Walk<'m> {
    model: &'m Model,
    steps: usize,
}

impl<'m> Walk<'m> {
    fn narrow(&mut self, id: SchemaId, facets: Facets<'m>, depth: usize) -> Option<Vec<Facets<'m>>> {
        let depth = depth.checked_sub(1)?;
        self.steps = self.steps.checked_sub(1)?;
        let schema = self.model.schema(id);
        let mut ways = vec![facets.with(schema)];
        let Some(combined) = &schema.combined else { return Some(ways) };
        for branch in &combined.all_of {
            ways = self.through(&ways, &[*branch], depth)?;
        }
        for choices in [&combined.one_of, &combined.any_of].into_iter().flatten() {
            ways = self.through(&ways, choices, depth)?;
        }
        Some(ways)
    }

    fn through(
        &mut self,
        ways: &[Facets<'m>],
        choices: &[SchemaId],
        depth: usize,
    ) -> Option<Vec<Facets<'m>>> {
        let mut all = Vec::new();
        for way in ways {
            for choice in choices {
                all.extend(self.narrow(*choice, way.clone(), depth)?);
                if all.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
        }
        Some(all)
    }
}

impl<'m> Facets<'m> {
    fn with(mut self, schema: &'m Schema) -> Facets<'m> {
        self.types = self.types.intersection(schema.types);
        if let Some(values) = &schema.values {
            let listed = values.iter().map(TypeSet::of).fold(TypeSet::NONE, TypeSet::union);
            self.types = self.types.intersection(listed);
            let places = values.iter().map(|value| match value {
                Json::Number(number) => number.places(),
                _ => 0,
            });
            self.fewer_places(places.max().unwrap_or(0));
        }
        if let Some(step) = schema.number.as_ref().and_then(|number| number.multiple_of) {
            self.fewer_places(step.places());
        }
        let format = schema.text.as_ref().and_then(|text| text.format.as_deref());
        self.format = self.format.or(format);
        self.items = self.items.or(schema.array.as_ref().and_then(|array| array.items));
        self
    }

    fn fewer_places(&mut self, places: u32) {
        self.places = Some(self.places.map_or(places, |known| known.min(places)));
    }
}
