//! Schemas of both dialects in one form, in a table where each that is written twice stands once.
//!
//! `nullable` and `const` are gone: the first is a type, the second a list of one value. A boolean `exclusiveMinimum` is
//! a bound. A reference is the id of what it leads to, so that a schema may contain itself.
//! INVARIANT: an id that leads nowhere is the schema that accepts nothing.

use super::json::{Decimal, Json};
use std::collections::BTreeMap;

/// A schema's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub(crate) u32);

/// All schemas of a contract.
#[derive(Debug, Default)]
pub struct Schemas {
    pub(crate) all: Vec<Schema>,
    /// Those that the contract names under `components`.
    pub(crate) names: BTreeMap<SchemaId, Box<str>>,
}

static NOTHING: Schema = Schema {
    types: TypeSet::NONE,
    values: None,
    number: None,
    text: None,
    array: None,
    object: None,
    combined: None,
    read_only: false,
    write_only: false,
    deprecated: false,
};

impl Schemas {
    pub fn schema(&self, id: SchemaId) -> &Schema {
        usize::try_from(id.0).ok().and_then(|at| self.all.get(at)).unwrap_or(&NOTHING)
    }

    /// What the contract calls it, where it has a name.
    pub fn name(&self, id: SchemaId) -> Option<&str> {
        self.names.get(&id).map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn ids(&self) -> impl Iterator<Item = SchemaId> + use<> {
        (0..u32::try_from(self.all.len()).unwrap_or(u32::MAX)).map(SchemaId)
    }
}

/// What a value must be. Every rule says nothing about values of other types than its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schema {
    pub types: TypeSet,
    /// `enum` and `const`: the value is one of these.
    pub values: Option<Box<[Json]>>,
    pub number: Option<Box<NumberRules>>,
    pub text: Option<Box<TextRules>>,
    pub array: Option<Box<ArrayRules>>,
    pub object: Option<Box<ObjectRules>>,
    pub combined: Option<Box<Combined>>,
    pub read_only: bool,
    pub write_only: bool,
    pub deprecated: bool,
}

impl Schema {
    /// Accepts everything.
    pub fn is_any(&self) -> bool {
        *self == Schema::default()
    }
}

/// JSON's types. `number` contains `integer`: whoever accepts numbers accepts whole ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeSet(u8);

impl TypeSet {
    pub const NONE: TypeSet = TypeSet(0);
    pub const NULL: TypeSet = TypeSet(1);
    pub const BOOLEAN: TypeSet = TypeSet(2);
    pub const INTEGER: TypeSet = TypeSet(4);
    pub const NUMBER: TypeSet = TypeSet(4 | 8);
    pub const STRING: TypeSet = TypeSet(16);
    pub const ARRAY: TypeSet = TypeSet(32);
    pub const OBJECT: TypeSet = TypeSet(64);
    pub const ANY: TypeSet = TypeSet(127);

    /// Each type with its name, `null` at the end as people say it.
    pub const NAMED: [(&'static str, TypeSet); 7] = [
        ("boolean", TypeSet::BOOLEAN),
        ("integer", TypeSet::INTEGER),
        ("number", TypeSet::NUMBER),
        ("string", TypeSet::STRING),
        ("array", TypeSet::ARRAY),
        ("object", TypeSet::OBJECT),
        ("null", TypeSet::NULL),
    ];

    pub fn parse(name: &str) -> Option<TypeSet> {
        TypeSet::NAMED.iter().find(|(known, _)| *known == name).map(|(_, types)| *types)
    }

    #[must_use]
    pub const fn union(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 | other.0)
    }

    #[must_use]
    pub const fn intersection(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 & other.0)
    }

    #[must_use]
    pub const fn without(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 & !other.0)
    }

    pub const fn contains(self, other: TypeSet) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn meets(self, other: TypeSet) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, without `integer` where `number` says it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        TypeSet::NAMED
            .into_iter()
            .filter(move |(_, types)| self.contains(*types))
            .filter(move |(name, _)| *name != "integer" || !self.contains(TypeSet::NUMBER))
            .map(|(name, _)| name)
    }
}

impl TypeSet {
    /// What a value is.
    pub fn of(value: &Json) -> TypeSet {
        match value {
            Json::Null => TypeSet::NULL,
            Json::Bool(_) => TypeSet::BOOLEAN,
            Json::Number(number) if number.is_whole() => TypeSet::INTEGER,
            Json::Number(_) => TypeSet::NUMBER.without(TypeSet::INTEGER),
            Json::Text(_) => TypeSet::STRING,
            Json::List(_) => TypeSet::ARRAY,
            Json::Object(_) => TypeSet::OBJECT,
        }
    }
}

/// A schema that says nothing of types accepts all.
impl Default for TypeSet {
    fn default() -> Self {
        TypeSet::ANY
    }
}

impl std::fmt::Display for TypeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            TypeSet::ANY => f.write_str("any"),
            TypeSet::NONE => f.write_str("nothing"),
            some => f.write_str(&some.names().collect::<Vec<_>>().join(" or ")),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NumberRules {
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<Decimal>,
    pub format: Option<Box<str>>,
}

/// An end of a range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    pub value: Decimal,
    /// Whether the value itself is outside.
    pub exclusive: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TextRules {
    /// In characters.
    pub length_min: u64,
    pub length_max: Option<u64>,
    pub pattern: Option<Pattern>,
    pub format: Option<Box<str>>,
    /// `contentEncoding` and `contentMediaType`.
    pub content_encoding: Option<Box<str>>,
    pub content_media_type: Option<Box<str>>,
}

/// A pattern of ECMA-262 that was found to be one, without look-around and back-references.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    pub written: Box<str>,
    /// The same in the syntax of `regex-syntax`, with ECMA-262's meaning of `\d`, `\w`, `\s`, `\b` and `.`. It matches
    /// anywhere in a text, as it does there.
    pub translated: Box<str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ArrayRules {
    /// The schemas of the first items, one each.
    pub prefix: Box<[SchemaId]>,
    /// Of all items after them.
    pub items: Option<SchemaId>,
    pub items_min: u64,
    pub items_max: Option<u64>,
    pub unique: bool,
    pub contains: Option<SchemaId>,
    pub contains_min: Option<u64>,
    pub contains_max: Option<u64>,
    pub unevaluated: Option<SchemaId>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ObjectRules {
    /// In the order of their names.
    pub properties: Box<[(Box<str>, SchemaId)]>,
    /// In the order of their names.
    pub required: Box<[Box<str>]>,
    pub pattern_properties: Box<[(Pattern, SchemaId)]>,
    pub additional: Option<SchemaId>,
    pub names: Option<SchemaId>,
    pub properties_min: u64,
    pub properties_max: Option<u64>,
    pub dependent_required: Box<[Dependency]>,
    pub dependent_schemas: Box<[(Box<str>, SchemaId)]>,
    pub unevaluated: Option<SchemaId>,
}

/// Where one property is there, others must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency {
    pub property: Box<str>,
    /// In the order of their names.
    pub needs: Box<[Box<str>]>,
}

impl ObjectRules {
    pub fn property(&self, name: &str) -> Option<SchemaId> {
        let at = self.properties.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        self.properties.get(at).map(|(_, id)| *id)
    }

    pub fn requires(&self, name: &str) -> bool {
        self.required.binary_search_by(|known| known.as_ref().cmp(name)).is_ok()
    }
}

/// Schemas that apply to the same value. A `$ref` with siblings is one of `all_of`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Combined {
    pub all_of: Box<[SchemaId]>,
    pub any_of: Option<Box<[SchemaId]>>,
    pub one_of: Option<Box<[SchemaId]>>,
    pub not: Option<SchemaId>,
    pub condition: Option<SchemaId>,
    pub then: Option<SchemaId>,
    pub otherwise: Option<SchemaId>,
    pub discriminator: Option<Discriminator>,
}

impl Combined {
    /// All that apply to the value itself.
    pub fn branches(&self) -> impl Iterator<Item = SchemaId> {
        let single = [self.not, self.condition, self.then, self.otherwise];
        let lists = [Some(&self.all_of), self.any_of.as_ref(), self.one_of.as_ref()];
        lists.into_iter().flatten().flatten().copied().chain(single.into_iter().flatten())
    }
}

/// Which property says what kind of object it is, and which schema each of its values means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Discriminator {
    pub property: Box<str>,
    /// Written out; values that are not here are names of schemas.
    pub mapping: Box<[(Box<str>, SchemaId)]>,
}
