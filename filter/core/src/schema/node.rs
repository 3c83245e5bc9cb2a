//! One compiled schema: what a value must be, in the form in which it is asked.
//!
//! Every rule says nothing about values of other types than its own. INVARIANT: what is looked up is sorted, and an
//! index that leads nowhere never gets past `assemble`.

use super::format::Format;
use super::value::Digest;
use crate::json::text_hash;
use crate::number::Decimal;

/// A schema's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaIndex(pub u32);

/// A pattern's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternIndex(pub u32);

/// JSON's types. A whole number is an `INTEGER`, any other one a `FRACTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Types(pub u8);

impl Types {
    pub const NONE: Types = Types(0);
    pub const NULL: Types = Types(1);
    pub const BOOLEAN: Types = Types(2);
    pub const INTEGER: Types = Types(4);
    pub const FRACTION: Types = Types(8);
    pub const STRING: Types = Types(16);
    pub const ARRAY: Types = Types(32);
    pub const OBJECT: Types = Types(64);
    pub const ANY: Types = Types(127);

    pub const fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub const fn union(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub types: Types,
    pub values: Option<Box<Values>>,
    pub number: Option<Box<NumberRules>>,
    pub text: Option<Box<TextRules>>,
    pub array: Option<Box<ArrayRules>>,
    pub object: Option<Box<ObjectRules>>,
    pub combined: Option<Box<Combined>>,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            types: Types::ANY,
            values: None,
            number: None,
            text: None,
            array: None,
            object: None,
            combined: None,
        }
    }
}

impl Node {
    /// Accepts nothing.
    pub const fn is_never(&self) -> bool {
        self.types.0 == Types::NONE.0
    }

    /// Accepts everything, and says nothing of it.
    pub const fn is_any(&self) -> bool {
        self.types.0 == Types::ANY.0
            && self.values.is_none()
            && self.number.is_none()
            && self.text.is_none()
            && self.array.is_none()
            && self.object.is_none()
            && self.combined.is_none()
    }

    /// The schemas that apply to the same value, in the order in which plans list them.
    pub(super) fn same_value(&self) -> impl Iterator<Item = SchemaIndex> {
        let combined = self.combined.iter().flat_map(|combined| combined.branches());
        combined.chain(self.object.iter().flat_map(|object| &object.dependent_schemas).map(|(_, at)| *at))
    }

    /// The schemas that apply to what is in a value.
    pub(super) fn inner(&self) -> impl Iterator<Item = SchemaIndex> {
        let array = self.array.iter().flat_map(|array| {
            let single = [array.items, array.contains, array.unevaluated];
            array.prefix.iter().copied().chain(single.into_iter().flatten())
        });
        let object = self.object.iter().flat_map(|object| {
            let named = object.names.iter().filter_map(|name| name.schema);
            let patterns = object.pattern_properties.iter().map(|(_, at)| *at);
            let single = [object.additional, object.property_names, object.unevaluated];
            named.chain(patterns).chain(single.into_iter().flatten())
        });
        array.chain(object)
    }

    pub(super) fn has_unevaluated(&self) -> bool {
        self.array.as_ref().is_some_and(|array| array.unevaluated.is_some())
            || self.object.as_ref().is_some_and(|object| object.unevaluated.is_some())
    }
}

/// `enum` and `const`: the value is one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    pub null: bool,
    pub yes: bool,
    pub no: bool,
    pub numbers: Box<[Decimal]>,
    /// In their order.
    pub texts: Box<[Box<str>]>,
    /// Arrays and objects.
    pub compounds: Box<[Digest]>,
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub value: Decimal,
    /// Whether the value itself is outside.
    pub exclusive: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberRules {
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<Decimal>,
    /// The ends that a format such as `int32` means, and that the value is whole.
    pub format: Option<NumberFormat>,
}

/// A format of numbers: all of them are ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFormat {
    pub whole: bool,
    pub least: Decimal,
    pub most: Decimal,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRules {
    /// In characters.
    pub length_min: u64,
    pub length_max: Option<u64>,
    pub pattern: Option<PatternIndex>,
    pub format: Option<Format>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArrayRules {
    pub prefix: Box<[SchemaIndex]>,
    pub items: Option<SchemaIndex>,
    pub items_min: u64,
    pub items_max: Option<u64>,
    pub unique: bool,
    pub contains: Option<SchemaIndex>,
    pub contains_min: u64,
    pub contains_max: Option<u64>,
    pub unevaluated: Option<SchemaIndex>,
}

/// A property that may not be sent in this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    ReadOnly,
    WriteOnly,
}

/// A property that a schema knows by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) hash: u64,
    pub(super) text: Box<str>,
    pub(super) schema: Option<SchemaIndex>,
    pub(super) required: bool,
    pub(super) barred: Option<Barred>,
}

/// A dependency: where this name is there, these must be.
pub(super) type Needs = (u32, Box<[u32]>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRules {
    /// In the order of hash, then text.
    pub(super) names: Box<[Name]>,
    pub pattern_properties: Box<[(PatternIndex, SchemaIndex)]>,
    pub additional: Option<SchemaIndex>,
    pub property_names: Option<SchemaIndex>,
    pub properties_min: u64,
    pub properties_max: Option<u64>,
    /// By place among the names.
    pub(super) dependent_required: Box<[Needs]>,
    pub(super) dependent_schemas: Box<[(u32, SchemaIndex)]>,
    pub unevaluated: Option<SchemaIndex>,
}

/// The rules of an object that go by name, as a contract lists them.
#[derive(Debug, Clone, Default)]
pub struct NamedRules {
    pub properties: Vec<(Box<str>, SchemaIndex)>,
    pub barred: Vec<(Box<str>, Barred)>,
    pub required: Vec<Box<str>>,
    pub dependent_required: Vec<(Box<str>, Vec<Box<str>>)>,
    pub dependent_schemas: Vec<(Box<str>, SchemaIndex)>,
}

impl ObjectRules {
    /// Rules that go by name, and none else.
    pub fn named(rules: NamedRules) -> ObjectRules {
        let NamedRules { properties, barred, required, dependent_required, dependent_schemas } = rules;
        let needed = dependent_required.iter().flat_map(|(_, needs)| needs);
        let mut texts: Vec<&str> = Vec::new();
        texts.extend(properties.iter().map(|(name, _)| &**name));
        texts.extend(barred.iter().map(|(name, _)| &**name));
        texts.extend(required.iter().chain(needed).map(|name| &**name));
        texts.extend(dependent_required.iter().map(|(name, _)| &**name));
        texts.extend(dependent_schemas.iter().map(|(name, _)| &**name));
        let mut keys: Vec<_> = texts.into_iter().map(|text| (text_hash(text), text)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut names: Box<[Name]> = keys
            .iter()
            .map(|(hash, text)| Name {
                hash: *hash,
                text: (*text).into(),
                schema: None,
                required: false,
                barred: None,
            })
            .collect();
        let place = |text: &str| keys.binary_search(&(text_hash(text), text)).unwrap_or(usize::MAX);
        let index = |text: &str| u32::try_from(place(text)).unwrap_or(u32::MAX);
        for (name, schema) in &properties {
            names.get_mut(place(name)).into_iter().for_each(|known| known.schema = Some(*schema));
        }
        for name in &required {
            names.get_mut(place(name)).into_iter().for_each(|known| known.required = true);
        }
        for (name, why) in &barred {
            names.get_mut(place(name)).into_iter().for_each(|known| known.barred = Some(*why));
        }
        let needs = |needs: &[Box<str>]| needs.iter().map(|name| index(name)).collect();
        ObjectRules {
            dependent_required: dependent_required
                .iter()
                .map(|(name, all)| (index(name), needs(all)))
                .collect(),
            dependent_schemas: dependent_schemas.iter().map(|(name, at)| (index(name), *at)).collect(),
            names,
            ..ObjectRules::default()
        }
    }

    pub(super) fn find(&self, hash: u64, text: &str) -> Option<(usize, &Name)> {
        let first = self.names.partition_point(|name| name.hash < hash);
        let alike = self.names.iter().enumerate().skip(first).take_while(|(_, name)| name.hash == hash);
        alike.into_iter().find(|(_, name)| *name.text == *text)
    }

    /// Whether it must be remembered which names came.
    pub(super) fn remembers(&self) -> bool {
        !self.dependent_required.is_empty()
            || !self.dependent_schemas.is_empty()
            || self.names.iter().any(|name| name.required)
    }
}

/// Schemas that apply to the same value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Combined {
    pub all_of: Box<[SchemaIndex]>,
    pub any_of: Option<Box<[SchemaIndex]>>,
    pub one_of: Option<Box<[SchemaIndex]>>,
    pub not: Option<SchemaIndex>,
    pub condition: Option<SchemaIndex>,
    pub then: Option<SchemaIndex>,
    pub otherwise: Option<SchemaIndex>,
    pub discriminator: Option<Discriminator>,
}

impl Combined {
    fn branches(&self) -> impl Iterator<Item = SchemaIndex> {
        let lists = [Some(&self.all_of), self.any_of.as_ref(), self.one_of.as_ref()];
        let single = [self.not, self.condition, self.then, self.otherwise];
        lists.into_iter().flatten().flatten().copied().chain(single.into_iter().flatten())
    }
}

/// Which branch a value of a property means. It accepts and refuses nothing: it says whose refusal is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discriminator {
    pub property: Box<str>,
    pub mapping: Box<[(Box<str>, SchemaIndex)]>,
}
