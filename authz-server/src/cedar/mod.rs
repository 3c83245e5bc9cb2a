//! Cedar: the schema generated from contracts, the policies validated against it, and the evaluation.
//!
//! The one module of this package that names `cedar_policy`. Principal, action and resource are words of this module;
//! elsewhere they are identity, operation and service.
//! `policies` and `fragments` parse → `schema` is written from the contracts → `entities`, `references` and `validate`
//! check everything against it → `proven` finds the operations whose requests cannot fail it → `evaluate` answers.
//! INVARIANT: what exists was validated strictly as a whole.

mod annotations;
mod entities;
mod evaluate;
mod explain;
mod fragments;
mod needs;
mod persons;
mod places;
mod policies;
mod proven;
mod references;
mod schema;
#[cfg(test)]
mod tests;
mod types;
mod validate;
mod values;

pub use evaluate::Posed;
pub use persons::UserAttribute;
pub use policies::{ActionScope, Effect, EntityName, EntityScope, Mode, PolicySummary};

use crate::bundle::format::Palisade;
use crate::bundle::{
    EntityDeclarations, EntitySource, OperationContext, Place, PolicySource, Problem, Problems,
};
use crate::identity::Established;
use crate::value::Value;
use cedar_policy::{Entities, EntityUid, PolicySet, Schema, SchemaFragment};
use fragments::{Fragment, OwnAttributes};
use needs::Needed;
use palisade_core::contract::{Contract, Matched};
use palisade_core::routes::OperationIndex;
use palisade_policy_index::Index;
use policies::{Named, PolicyFile};
use proven::{Against, Proven};
use schema::{SchemaText, Writer};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use types::Types;

/// The names of our own entity types, and of the one entity that everybody without a credential is.
pub(crate) mod names {
    pub(crate) const WORKLOAD: &str = "Workload";
    pub(crate) const CLIENT: &str = "Client";
    pub(crate) const USER: &str = "User";
    pub(crate) const ANONYMOUS: &str = "Anonymous";
    pub(crate) const ANYBODY: &str = "anonymous";
    pub(crate) const GROUP: &str = "Group";
    pub(crate) const ROLE: &str = "Role";
    pub(crate) const TIER: &str = "Tier";
    pub(crate) const SERVICE: &str = "Service";
    pub(crate) const ACTION: &str = "Action";
}

/// Everything that a decision is evaluated against. Immutable.
#[derive(Debug)]
pub struct Policies {
    schema: Schema,
    schema_text: String,
    all: Vec<PolicySummary>,
    /// All policies and entities, found by what a request asks about.
    index: Index,
    asked: evaluate::Asked,
    persons: persons::Persons,
    /// The action of each operation, by its index in the contract.
    actions: Vec<EntityUid>,
    types: evaluate::Types,
    /// Whose requests need not be put to the schema.
    proven: Proven,
    /// The places in an operation's context of masked values that policies ask for.
    masked_and_read: HashMap<OperationIndex, Vec<usize>>,
    /// What forbids that count let callers know, by their ids.
    advice: HashMap<String, Arc<str>>,
    /// What persons can have, by the fragments.
    user_attributes: BTreeMap<String, UserAttribute>,
    warnings: Problems,
}

/// What is asked for one request.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub caller: &'a Established,
    pub matched: Matched<'a>,
    pub path: &'a str,
    pub host: &'a str,
    /// What the operation's context has, and the request's value for each of its fields.
    pub asks: &'a OperationContext,
    pub values: &'a [Option<Value>],
    /// Whether errors may not quote values.
    pub conceals: bool,
    /// Which shadows are asked as well: those that last at that time. `None`: none of them.
    pub shadows_at_ms: Option<u64>,
}

/// Cedar's conclusion, with the policies that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Allow {
        policies: Vec<String>,
    },
    /// No policies: none permits. Else those that forbid.
    Deny {
        policies: Vec<String>,
    },
    /// A policy could not be evaluated, or the question could not be asked.
    Error {
        policies: Vec<String>,
        errors: Vec<String>,
    },
}

/// The Cedar files of a bundle, parsed.
#[derive(Debug)]
pub(crate) struct CedarFiles<'f> {
    policies: Vec<PolicyFile<'f>>,
    fragments: Vec<Fragment<'f>>,
}

impl<'f> CedarFiles<'f> {
    /// Parses all files. Each that cannot be parsed is reported with its first mistake.
    pub(crate) fn parse(
        policies: impl IntoIterator<Item = PolicySource<'f>>,
        fragments: impl IntoIterator<Item = PolicySource<'f>>,
        problems: &mut Problems,
    ) -> CedarFiles<'f> {
        CedarFiles {
            policies: policies::parse(policies, problems),
            fragments: fragments::parse(fragments, problems),
        }
    }

    /// Judges what needs no contract: the annotations of all policies and their names.
    pub(crate) fn check_names(self, problems: &mut Problems) {
        let _named = policies::name_all(self.policies, problems);
    }
}

/// What policies are validated and evaluated against, beside the Cedar files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) contexts: &'a [OperationContext],
    pub(crate) entities: &'a [EntitySource<'a>],
    pub(crate) declared: &'a EntityDeclarations,
    /// Whether nothing was wrong with the entities so far.
    pub(crate) entities_hold: bool,
    /// Where it could be read.
    pub(crate) palisade: Option<&'a Palisade>,
}

impl Policies {
    pub(crate) fn load(world: World<'_>, files: CedarFiles<'_>) -> Result<Policies, Problems> {
        let World { contract, contexts, entities, declared, entities_hold, .. } = world;
        let CedarFiles { policies, fragments } = files;
        let mut problems = Problems::default();
        let cedar_types = Types::of(&fragments);
        let own = OwnAttributes::read(&fragments, &mut problems);
        let named = policies::name_all(policies, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let writer = Writer::new(contract, contexts, &own, &fragments);
        let whole = writer.whole();
        let schema = read_schema(&whole, &fragments)?;
        let entities = entities::read(contract, entities, declared, &cedar_types, &mut problems);
        // One mistake in an entity would only echo from what Cedar says of all of them.
        let entities = if entities_hold && !problems.has_errors() {
            entities::conform(entities, &schema, world.entities, &mut problems)
        } else {
            Entities::empty()
        };
        references::check(&named, &references::Known::new(&world, &cedar_types), &mut problems);
        let mut warnings = Problems::default();
        let mut needed = Needed::new(contract, contexts);
        validate::validate(&named, &mut needed, &writer, &mut problems, &mut warnings);
        let evaluate_types = evaluate::Types::new();
        let evaluate_types = problems.keep(evaluate_types.map_err(|error| internal(error).into()));
        let index = problems.keep(index(&named, entities));
        let (Some(types), Some(index), false) = (evaluate_types, index, problems.has_errors()) else {
            return Err(problems);
        };
        let user_attributes = persons::attributes(&cedar_types);
        let actions = schema::operations(contract).map(|matched| types.action(&schema::action_name(matched)));
        let actions: Vec<_> = actions.collect();
        let against = Against { schema: &schema, types: &types, actions: &actions };
        let proven = Proven::of(contract, contexts, against);
        let masked_and_read = needs::masked_and_read(contract, contexts, &named);
        Ok(Policies {
            advice: explain::advice(&named),
            actions,
            proven,
            schema,
            schema_text: whole.text,
            all: named.into_iter().map(|policy| policy.summary).collect(),
            index,
            asked: evaluate::Asked::default(),
            persons: persons::Persons::default(),
            types,
            masked_and_read,
            user_attributes,
            warnings,
        })
    }

    /// The schema in Cedar's own syntax.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// The schema in Cedar's JSON form.
    pub fn schema_json(&self) -> Result<serde_json::Value, String> {
        let (fragment, _warnings) =
            SchemaFragment::from_cedarschema_str(&self.schema_text).map_err(|error| error.to_string())?;
        fragment.to_json_value().map_err(|error| error.to_string())
    }

    /// All policies, in the order of their files and places.
    pub fn all(&self) -> impl Iterator<Item = &PolicySummary> {
        self.all.iter()
    }

    /// The places in an operation's context of values that are masked, and that a policy which may apply to it asks for.
    pub(crate) fn masked_and_read(&self, operation: OperationIndex) -> &[usize] {
        self.masked_and_read.get(&operation).map(Vec::as_slice).unwrap_or_default()
    }

    /// What persons can have.
    pub(crate) fn user_attributes(&self) -> &BTreeMap<String, UserAttribute> {
        &self.user_attributes
    }

    /// What Cedar finds odd in policies that hold: that one can never apply, that a text is not what it looks like.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }
}

fn internal(error: String) -> Problem {
    Problem::new(Place::directory("services"), error)
}

/// The schema as a whole. What is wrong with it is wrong with a fragment.
fn read_schema(whole: &SchemaText, fragments: &[Fragment<'_>]) -> Result<Schema, Problems> {
    let error = match Schema::from_cedarschema_str(&whole.text) {
        Ok((schema, _warnings)) => return Ok(schema),
        Err(error) => error,
    };
    let label = places::first_label(&error);
    let home = label.as_ref().and_then(|label| {
        let (fragment, range) =
            fragments.iter().zip(&whole.fragments).find(|(_, range)| range.contains(&label.start))?;
        Some((fragment, label.start - range.start..label.end - range.start))
    });
    let place = match (home, fragments) {
        (Some((fragment, range)), _) => Place::of_range(fragment.source.path, fragment.source.text, range),
        (None, [only]) => Place::file(only.source.path),
        (None, []) => {
            return Err(internal(format!("the generated Cedar schema does not hold: {error}")).into());
        }
        (None, _) => Place::file("*.cedarschema"),
    };
    let problem = Problem::new(place, places::plain(&entities::with_causes(&error)));
    Err(match miette::Diagnostic::help(&error) {
        Some(help) => problem.help(help.to_string()).into(),
        None => problem.into(),
    })
}

/// Nothing but the mode distinguishes a shadow: it is validated like any other.
fn index(named: &[Named<'_>], entities: Entities) -> Result<Index, Problems> {
    let wrong = |error: String| Problems::from(Problem::new(Place::file("*.cedar"), error));
    let policies = PolicySet::from_policies(named.iter().map(|policy| policy.policy.clone()))
        .map_err(|error| wrong(error.to_string()))?;
    let shadows = named.iter().filter(|policy| policy.summary.mode == Mode::Shadow);
    let shadows = shadows.map(|policy| (policy.policy.id().clone(), policy.summary.ends_ms())).collect();
    Index::new(policies, &shadows, Arc::new(entities)).map_err(|error| wrong(error.to_string()))
}
