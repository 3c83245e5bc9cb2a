//! Cedar: the schema generated from contracts, the policies validated against it, and the evaluation.
//!
//! The one module that names `cedar_policy`. Principal, action and resource are words of this module; elsewhere they are
//! identity, operation and service.
//! INVARIANT: an answer is `Allow` only when Cedar allows and no policy errored; Cedar itself skips what errs.

mod annotations;
mod policies;

pub use policies::{ActionScope, Effect, EntityName, EntityScope, Mode, PolicySummary};
pub(crate) use policies::{PolicyFile, check_names, parse};

use crate::bundle::{EntityDeclarations, Place, PolicySource, Problem, Problems};
use crate::identity::{Established, Identity};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use palisade_core::contract::{Contract, Matched, OperationClass};
use policies::Named;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::str::FromStr;

mod names {
    pub(super) const WORKLOAD: &str = "Workload";
    pub(super) const CLIENT: &str = "Client";
    pub(super) const ANONYMOUS: &str = "Anonymous";
    pub(super) const GROUP: &str = "Group";
    pub(super) const SERVICE: &str = "Service";
    pub(super) const ACTION: &str = "Action";
}

/// Everything that a decision is evaluated against. Immutable.
#[derive(Debug)]
pub struct Policies {
    schema: Schema,
    schema_text: String,
    /// The policies that count.
    enforced: PolicySet,
    /// All policies, where some of them are shadows.
    with_shadows: Option<PolicySet>,
    all: Vec<PolicySummary>,
    entities: Entities,
    /// The action of each operation, by its index in the contract.
    actions: Vec<EntityUid>,
    types: Types,
}

#[derive(Debug)]
struct Types {
    workload: EntityTypeName,
    client: EntityTypeName,
    anonymous: EntityTypeName,
    service: EntityTypeName,
}

/// What is asked for one request.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub caller: &'a Established,
    pub matched: Matched<'a>,
    pub path: &'a str,
    pub host: &'a str,
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

impl Policies {
    pub(crate) fn load(
        contract: &Contract,
        declared: &EntityDeclarations,
        files: Vec<PolicyFile<'_>>,
    ) -> Result<Policies, Problems> {
        let schema_text = schema_text(contract);
        let internal = |error: String| Problems::from(Problem::new(Place::directory("services"), error));
        let (schema, _warnings) = Schema::from_cedarschema_str(&schema_text)
            .map_err(|error| internal(format!("the generated Cedar schema does not hold: {error}")))?;
        let types = Types::new().map_err(internal)?;
        let entities = entities(contract, declared, &types, &schema).map_err(internal)?;
        let mut problems = Problems::default();
        let named = policies::name_all(files, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let set = policy_set(&schema, &named)?;
        let (enforced, with_shadows) = without_shadows(set, &named)?;
        let all = named.into_iter().map(|policy| policy.summary).collect();
        let actions = all_operations(contract)
            .map(|matched| action(matched))
            .collect::<Result<_, _>>()
            .map_err(internal)?;
        Ok(Policies { schema, schema_text, enforced, with_shadows, all, entities, actions, types })
    }

    /// The schema in Cedar's own syntax.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// All policies, in the order of their files and places.
    pub fn all(&self) -> impl Iterator<Item = &PolicySummary> {
        self.all.iter()
    }

    /// What the policies that count say, and what would be said if the shadows counted, too.
    pub fn answer(&self, question: Question<'_>) -> (Answer, Option<Answer>) {
        match self.request(question) {
            Ok(request) => {
                let shadow = self.with_shadows.as_ref().map(|set| self.ask(&request, set));
                (self.ask(&request, &self.enforced), shadow)
            }
            Err(error) => (Answer::Error { policies: Vec::new(), errors: vec![error] }, None),
        }
    }

    fn ask(&self, request: &Request, set: &PolicySet) -> Answer {
        let response = Authorizer::new().is_authorized(request, set, &self.entities);
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !errors.is_empty() {
            errors.sort();
            return Answer::Error { policies, errors };
        }
        match response.decision() {
            Decision::Allow => Answer::Allow { policies },
            Decision::Deny => Answer::Deny { policies },
        }
    }

    fn request(&self, question: Question<'_>) -> Result<Request, String> {
        let Question { caller, matched, path, host } = question;
        let (kind, id) = match &caller.identity {
            Identity::Workload(id) => (&self.types.workload, id.as_str()),
            Identity::Client(name) => (&self.types.client, name.as_str()),
            Identity::Anonymous => (&self.types.anonymous, "anonymous"),
        };
        let principal = uid(kind, id);
        let action = usize::try_from(matched.index.0).ok().and_then(|index| self.actions.get(index));
        let action = action.ok_or("the operation has no action")?.clone();
        let resource = uid(&self.types.service, &matched.service.name);
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let mut pairs = vec![
            ("method".to_owned(), text(matched.operation.method.as_str())),
            ("path".to_owned(), text(path)),
            ("host".to_owned(), text(host)),
        ];
        pairs
            .extend(caller.through.as_ref().map(|workload| ("workload".to_owned(), text(workload.as_str()))));
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        Request::new(principal, action, resource, context, Some(&self.schema))
            .map_err(|error| error.to_string())
    }
}

impl Types {
    fn new() -> Result<Types, String> {
        Ok(Types {
            workload: type_name(names::WORKLOAD)?,
            client: type_name(names::CLIENT)?,
            anonymous: type_name(names::ANONYMOUS)?,
            service: type_name(names::SERVICE)?,
        })
    }
}

fn type_name(name: &str) -> Result<EntityTypeName, String> {
    EntityTypeName::from_str(name).map_err(|error| error.to_string())
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn all_operations(contract: &Contract) -> impl Iterator<Item = Matched<'_>> {
    (0..u32::MAX).map_while(|index| contract.operation(palisade_core::routes::OperationIndex(index)))
}

fn action(matched: Matched<'_>) -> Result<EntityUid, String> {
    Ok(uid(&type_name(names::ACTION)?, &action_name(matched)))
}

/// `orders.createOrder`.
fn action_name(matched: Matched<'_>) -> String {
    format!("{}.{}", matched.service.name, matched.operation.name)
}

/// The schema of a contract. Names were checked by the bundle: none holds a quote or a backslash.
fn schema_text(contract: &Contract) -> String {
    let mut out = String::from(
        "type Call = { \"method\": String, \"path\": String, \"host\": String, \"workload\"?: String };\n\
         entity Group in [Group];\n\
         entity Workload in [Group];\n\
         entity Client in [Group];\n\
         entity Anonymous in [Group];\n\
         entity Service;\n",
    );
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _written = writeln!(out, "{text}");
    };
    for class in OperationClass::ALL {
        line(format!("action \"{}\";", class.as_str()));
    }
    for service in contract.services() {
        line(format!("action \"{}\";", service.name));
    }
    for matched in all_operations(contract) {
        line(format!(
            "action \"{}\" in [Action::\"{}\", Action::\"{}\"] appliesTo {{ principal: [Workload, Client, Anonymous], resource: [Service], context: Call }};",
            action_name(matched),
            matched.operation.class.as_str(),
            matched.service.name
        ));
    }
    out
}

fn entities(
    contract: &Contract,
    declared: &EntityDeclarations,
    types: &Types,
    schema: &Schema,
) -> Result<Entities, String> {
    let group = type_name(names::GROUP)?;
    let kinds = [
        (&group, &declared.groups),
        (&types.client, &declared.clients),
        (&types.workload, &declared.workloads),
    ];
    let mut all = Vec::new();
    for (kind, members) in kinds {
        for (name, member) in members {
            let parents: HashSet<_> = member.groups.iter().map(|(parent, _)| uid(&group, parent)).collect();
            all.push(Entity::new_no_attrs(uid(kind, name), parents));
        }
    }
    all.push(Entity::new_no_attrs(uid(&types.anonymous, "anonymous"), HashSet::new()));
    let services = contract.services().iter();
    all.extend(
        services.map(|service| Entity::new_no_attrs(uid(&types.service, &service.name), HashSet::new())),
    );
    Entities::from_entities(all, Some(schema)).map_err(|error| error.to_string())
}

/// Splits off what does not count. Nothing but the mode distinguishes a shadow: it is validated like any other.
fn without_shadows(all: PolicySet, named: &[Named<'_>]) -> Result<(PolicySet, Option<PolicySet>), Problems> {
    let mut enforced = all.clone();
    let shadows = named.iter().filter(|policy| policy.summary.mode == Mode::Shadow);
    let mut some = false;
    for shadow in shadows {
        some = true;
        if let Err(error) = enforced.remove_static(shadow.policy.id().clone()) {
            return Err(Problem::new(shadow.summary.place.clone(), error.to_string()).into());
        }
    }
    Ok((enforced, some.then_some(all)))
}

/// Validates all policies strictly, together.
fn policy_set(schema: &Schema, named: &[Named<'_>]) -> Result<PolicySet, Problems> {
    let mut problems = Problems::default();
    let mut set = PolicySet::new();
    for policy in named {
        if let Err(error) = set.add(policy.policy.clone()) {
            problems.push(Problem::new(policy.summary.place.clone(), error.to_string()));
        }
    }
    let homes: HashMap<&str, &Named<'_>> =
        named.iter().map(|policy| (policy.summary.id.as_str(), policy)).collect();
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let id: &str = error.policy_id().as_ref();
        match homes.get(id) {
            Some(home) => problems.push(problem_of(home.source, error, format!("policy `{id}`: {error}"))),
            None => problems.push(Problem::new(Place::file("*.cedar"), error.to_string())),
        }
    }
    if problems.is_empty() { Ok(set) } else { Err(problems) }
}

fn problem_of(source: PolicySource<'_>, diagnostic: &dyn Diagnostic, message: String) -> Problem {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let place = match label {
        Some(label) => Place::of_range(
            source.path,
            source.text,
            label.offset()..label.offset().saturating_add(label.len()),
        ),
        None => Place::file(source.path),
    };
    let problem = Problem::new(place, message);
    match diagnostic.help() {
        Some(help) => problem.help(help.to_string()),
        None => problem,
    }
}
