//! All schemas of a contract, ready to be asked, and why they cannot be.
//!
//! INVARIANT: every index leads to a schema or pattern, no schema contains itself without going deeper into the value, and
//! every pattern was checked to be an automaton.

use super::node::{Node, PatternIndex, SchemaIndex};
use super::pattern::Pattern;
use super::plan::{Plan, plans};
use crate::limits::{PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, PATTERNS_MAX, SCHEMAS_MAX};
use crate::wire::WireError;

/// Why schemas cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemasError {
    NotSchemas,
    UnknownVersion {
        found: u16,
    },
    Wire(WireError),
    TooMany {
        what: &'static str,
        max: usize,
    },
    /// So many schemas apply to one value of this one.
    TooManyAtOnce {
        schema: SchemaIndex,
        max: usize,
    },
    PatternTooLarge {
        pattern: PatternIndex,
        found: usize,
        max: usize,
    },
    PatternInvalid {
        pattern: PatternIndex,
    },
    /// An index that leads nowhere.
    Dangling {
        index: u32,
    },
    /// A schema that contains itself without going deeper into the value.
    Endless {
        schema: SchemaIndex,
    },
    /// What is looked up does not stand in its order.
    Disordered {
        schema: SchemaIndex,
    },
}

impl core::fmt::Display for SchemasError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            SchemasError::NotSchemas => f.write_str("these are no compiled schemas"),
            SchemasError::UnknownVersion { found } => {
                write!(f, "unknown version `{found}` of compiled schemas")
            }
            SchemasError::Wire(error) => write!(f, "the compiled schemas are damaged: {error}"),
            SchemasError::TooMany { what, max } => write!(f, "more than {max} {what}"),
            SchemasError::TooManyAtOnce { schema, max } => {
                write!(f, "more than {max} schemas apply to one value of schema {}", schema.0)
            }
            SchemasError::PatternTooLarge { pattern, found, max } => {
                write!(f, "the automaton of pattern {} has {found} bytes, and the limit is {max}", pattern.0)
            }
            SchemasError::PatternInvalid { pattern } => {
                write!(f, "pattern {} is no automaton that this build reads", pattern.0)
            }
            SchemasError::Dangling { index } => write!(f, "index {index} leads nowhere"),
            SchemasError::Endless { schema } => {
                write!(f, "schema {} contains itself without going deeper into the value", schema.0)
            }
            SchemasError::Disordered { schema } => write!(f, "schema {} is not in its order", schema.0),
        }
    }
}

impl std::error::Error for SchemasError {}

impl From<WireError> for SchemasError {
    fn from(error: WireError) -> Self {
        SchemasError::Wire(error)
    }
}

/// Schemas as a contract lists them, before anything was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaTable {
    pub nodes: Vec<Node>,
    /// Sparse automata of regex-automata, little-endian, that search forwards.
    pub patterns: Vec<Box<[u8]>>,
}

/// Schemas that can be asked.
#[derive(Debug, Clone)]
pub struct CompiledSchemas {
    pub(super) nodes: Box<[Node]>,
    pub(super) plans: Box<[Option<Box<Plan>>]>,
    pub(super) patterns: Box<[Pattern]>,
}

impl CompiledSchemas {
    pub fn assemble(table: SchemaTable) -> Result<CompiledSchemas, SchemasError> {
        let SchemaTable { nodes, patterns } = table;
        if nodes.len() > SCHEMAS_MAX {
            return Err(SchemasError::TooMany { what: "schemas", max: SCHEMAS_MAX });
        }
        check_patterns(&patterns)?;
        for (at, node) in nodes.iter().enumerate() {
            check_indices(node, nodes.len(), patterns.len())?;
            if !is_ordered(node) {
                return Err(SchemasError::Disordered {
                    schema: SchemaIndex(u32::try_from(at).unwrap_or(u32::MAX)),
                });
            }
        }
        let plans = plans(&nodes)?;
        let mut loaded = Vec::with_capacity(patterns.len());
        for (bytes, at) in patterns.iter().zip(0..) {
            let pattern = Pattern::load(bytes);
            loaded.push(pattern.ok_or(SchemasError::PatternInvalid { pattern: PatternIndex(at) })?);
        }
        Ok(CompiledSchemas { nodes: nodes.into(), plans, patterns: loaded.into() })
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn node(&self, at: SchemaIndex) -> Option<&Node> {
        self.nodes.get(at.0 as usize)
    }

    pub(super) fn plan(&self, at: SchemaIndex) -> Option<&Plan> {
        self.plans.get(at.0 as usize)?.as_deref()
    }
}

fn check_patterns(patterns: &[Box<[u8]>]) -> Result<(), SchemasError> {
    if patterns.len() > PATTERNS_MAX {
        return Err(SchemasError::TooMany { what: "patterns", max: PATTERNS_MAX });
    }
    let mut total = 0_usize;
    for (bytes, at) in patterns.iter().zip(0..) {
        if bytes.len() > PATTERN_BYTES_MAX {
            return Err(SchemasError::PatternTooLarge {
                pattern: PatternIndex(at),
                found: bytes.len(),
                max: PATTERN_BYTES_MAX,
            });
        }
        total = total.saturating_add(bytes.len());
    }
    if total > PATTERNS_BYTES_MAX {
        return Err(SchemasError::TooMany { what: "bytes of patterns", max: PATTERNS_BYTES_MAX });
    }
    Ok(())
}

fn check_indices(node: &Node, schemas: usize, patterns: usize) -> Result<(), SchemasError> {
    let discriminator = node.combined.iter().filter_map(|combined| combined.discriminator.as_ref());
    let mapped = discriminator.flat_map(|discriminator| &discriminator.mapping).map(|(_, at)| *at);
    for index in node.same_value().chain(node.inner()).chain(mapped) {
        if index.0 as usize >= schemas {
            return Err(SchemasError::Dangling { index: index.0 });
        }
    }
    let own = node.text.iter().filter_map(|text| text.pattern);
    let of_names =
        node.object.iter().flat_map(|object| &object.pattern_properties).map(|(pattern, _)| *pattern);
    for pattern in own.chain(of_names) {
        if pattern.0 as usize >= patterns {
            return Err(SchemasError::Dangling { index: pattern.0 });
        }
    }
    let Some(object) = &node.object else { return Ok(()) };
    let needs = object.dependent_required.iter().flat_map(|(name, needs)| needs.iter().chain([name]));
    let with = object.dependent_schemas.iter().map(|(name, _)| name);
    match needs.chain(with).find(|name| **name as usize >= object.names.len()) {
        Some(name) => Err(SchemasError::Dangling { index: *name }),
        None => Ok(()),
    }
}

fn is_ordered(node: &Node) -> bool {
    let names = node.object.as_ref().is_none_or(|object| {
        object.names.is_sorted_by(|one, other| (one.hash, &one.text) < (other.hash, &other.text))
    });
    names && node.values.as_ref().is_none_or(|values| values.texts.is_sorted_by(|one, other| one < other))
}
