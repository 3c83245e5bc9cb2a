//! Parameters of a request, headers of a response and fields of a form: where each stands, and how its value is written.
//!
//! A text becomes a value before a schema judges it. INVARIANT: a text has one reading. Of several types that a value
//! may have, it is read as the narrowest that its letters allow: a number, or a truth value, or else a text; as `null`
//! only where it can be no text.

use crate::schema::SchemaIndex;

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Part {
    Path = 0,
    Query = 1,
    Header = 2,
    Cookie = 3,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Path, Part::Query, Part::Header, Part::Cookie];

    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Path => "path",
            Part::Query => "query",
            Part::Header => "header",
            Part::Cookie => "cookie",
        }
    }
}

/// One value that is written as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub part: Part,
    /// Headers in lower case, the rest as the contract spells it.
    pub name: Box<str>,
    pub required: bool,
    /// Query only: sent without a value, or with an empty one, it counts as sent and is not judged.
    pub allow_empty: bool,
    pub writing: Writing,
    pub schema: SchemaIndex,
}

/// Types that a text can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scalars(u8);

impl Scalars {
    pub const NONE: Scalars = Scalars(0);
    pub const NULL: Scalars = Scalars(1);
    pub const BOOLEAN: Scalars = Scalars(2);
    pub const INTEGER: Scalars = Scalars(4);
    /// Any number, the whole ones among them.
    pub const NUMBER: Scalars = Scalars(8);
    pub const TEXT: Scalars = Scalars(16);

    #[must_use]
    pub const fn with(self, other: Scalars) -> Scalars {
        Scalars(self.0 | other.0)
    }

    pub const fn contains(self, other: Scalars) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn from_bits(bits: u8) -> Option<Scalars> {
        if bits < 32 { Some(Scalars(bits)) } else { None }
    }
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writing {
    /// One document.
    Json,
    Scalar(Scalars),
    List {
        items: Scalars,
        between: Between,
    },
    Object {
        properties: Properties,
        written: ObjectWriting,
    },
}

/// What stands between the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Between {
    /// Each item comes under the name of the list: `a=1&a=2`.
    Repeated = 0,
    Comma = 1,
    Space = 2,
    Pipe = 3,
}

impl Between {
    pub const ALL: [Between; 4] = [Between::Repeated, Between::Comma, Between::Space, Between::Pipe];
}

/// How an object stands in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectWriting {
    /// `R,100,G,200`.
    Commas = 0,
    /// `R=100,G=200`.
    Assignments = 1,
    /// Each property is a parameter of its own: `R=100&G=200`.
    Exploded = 2,
    /// `color[R]=100&color[G]=200`.
    Deep = 3,
}

impl ObjectWriting {
    pub const ALL: [ObjectWriting; 4] =
        [ObjectWriting::Commas, ObjectWriting::Assignments, ObjectWriting::Exploded, ObjectWriting::Deep];
}

/// What the properties of a written object can be read as. Which of them may be there, its schema says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// In the order of their names.
    pub known: Box<[(Box<str>, Scalars)]>,
    /// All others.
    pub others: Scalars,
}

impl Properties {
    pub fn scalars(&self, name: &str) -> Scalars {
        match self.known.binary_search_by(|(known, _)| known.as_ref().cmp(name)) {
            Ok(at) => self.known.get(at).map_or(self.others, |(_, scalars)| *scalars),
            Err(_) => self.others,
        }
    }
}
