//! One question to the policies, and their answer.
//!
//! INVARIANT: an answer is `Allow` only when Cedar allows and no policy errored; Cedar itself skips what errs.

use super::entities::uid;
use super::names;
use super::{Answer, Policies, Question};
use crate::bundle::{ContextPart, OperationContext};
use crate::identity::Identity;
use crate::value::Value;
use cedar_policy::{
    Context, Decision, EntityTypeName, EntityUid, EvaluationError, Request, RestrictedExpression,
};
use palisade_policy_index::{Caller, Conclusion, Failure};
use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The types of callers and services, parsed once.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) workload: EntityTypeName,
    pub(super) client: EntityTypeName,
    pub(super) user: EntityTypeName,
    pub(super) anonymous: EntityTypeName,
    pub(super) service: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Types, String> {
        let parse = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        Ok(Types {
            workload: parse(names::WORKLOAD)?,
            client: parse(names::CLIENT)?,
            user: parse(names::USER)?,
            anonymous: parse(names::ANONYMOUS)?,
            service: parse(names::SERVICE)?,
            action: parse(names::ACTION)?,
        })
    }

    pub(super) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }
}

/// What has been asked since the policies were loaded.
#[derive(Debug, Default)]
pub(super) struct Asked {
    requests: AtomicU64,
    candidates: AtomicU64,
}

impl Asked {
    fn count(&self, candidates: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.candidates.fetch_add(candidates as u64, Ordering::Relaxed);
    }
}

/// A question as Cedar takes it.
#[derive(Debug, Clone)]
pub struct Posed(Request);

/// A request has no equality of its own; what it prints says all of it.
impl PartialEq for Posed {
    fn eq(&self, other: &Posed) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for Posed {}

impl Policies {
    /// What the policies that count say, and what would be said if the shadows that last counted, too; and the question as
    /// it was posed, if it could be.
    pub fn answer(&self, question: Question<'_>) -> (Answer, Option<Answer>, Option<Posed>) {
        match self.request(question) {
            Ok(request) => {
                let (answer, shadow) = self.answer_to(question, &request);
                (answer, shadow, Some(Posed(request)))
            }
            Err(error) => (unasked(question, error), None, None),
        }
    }

    /// The same without what shadows say, to a question with the same method, host, path, caller, fields and values as
    /// one that the policies of another bundle were asked. It is posed as it was there, where the schema of this bundle
    /// takes it so.
    pub fn answer_again(&self, question: Question<'_>, posed: &Posed) -> Answer {
        let Posed(request) = posed;
        let is_ours = self.scope(question).is_ok_and(|(principal, action, resource)| {
            request.principal() == Some(&principal)
                && request.action() == Some(action)
                && request.resource() == Some(&resource)
        });
        if !is_ours || !self.proven.covers(question.matched.index, question.asks, question.values) {
            return self.answer(question).0;
        }
        debug_assert!(
            self.request(question).is_ok_and(|own| Posed(own) == *posed),
            "it is the same question: {request}"
        );
        self.answer_to(question, request).0
    }

    fn answer_to(&self, question: Question<'_>, request: &Request) -> (Answer, Option<Answer>) {
        let conceals = question.conceals;
        let person = match &question.caller.identity {
            Identity::User(user) => self.person(user).map(Some),
            Identity::Workload(_) | Identity::Client(_) | Identity::Anonymous => Ok(None),
        };
        let answer = person.and_then(|person| {
            let caller = match &person {
                // Nothing in a context names an entity.
                Some(person) => Caller::Brought { person, named: &[] },
                None => Caller::Declared,
            };
            let answer = self.index.answer(request, caller, question.shadows_at_ms);
            answer.map_err(|error| super::entities::with_causes(&error))
        });
        match answer {
            Ok(answer) => {
                self.asked.count(answer.candidates);
                let shadow = answer.with_shadows.map(|conclusion| concluded(conclusion, conceals));
                (concluded(answer.counted, conceals), shadow)
            }
            Err(error) => (unasked(question, error), None),
        }
    }

    /// How many requests were answered, and how many policies were evaluated for all of them.
    pub fn asked(&self) -> (u64, u64) {
        (self.asked.requests.load(Ordering::Relaxed), self.asked.candidates.load(Ordering::Relaxed))
    }

    pub(super) fn request(&self, question: Question<'_>) -> Result<Request, String> {
        let Question { caller, matched, path, host, asks, values, .. } = question;
        let (principal, action, resource) = self.scope(question)?;
        let context = context(Told {
            method: matched.operation.method.as_str(),
            host,
            path,
            workload: caller.through.as_ref().map(|workload| workload.as_str()),
            scopes: caller.scopes.as_deref(),
            asks,
            values,
        })?;
        let is_proven = self.proven.covers(matched.index, asks, values);
        let schema = (!is_proven).then_some(&self.schema);
        let request = Request::new(principal, action.clone(), resource, context, schema)
            .map_err(|error| super::entities::with_causes(&error))?;
        debug_assert!(!is_proven || self.passes(&request), "what is proven passes: {request}");
        Ok(request)
    }

    /// Who does what to what.
    fn scope(&self, question: Question<'_>) -> Result<(EntityUid, &EntityUid, EntityUid), String> {
        let Question { caller, matched, .. } = question;
        let name;
        let (kind, id) = match &caller.identity {
            Identity::Workload(id) => (&self.types.workload, id.as_str()),
            Identity::Client(name) => (&self.types.client, name.as_str()),
            Identity::User(user) => {
                name = user.name();
                (&self.types.user, name.as_str())
            }
            Identity::Anonymous => (&self.types.anonymous, names::ANYBODY),
        };
        let action = usize::try_from(matched.index.0).ok().and_then(|index| self.actions.get(index));
        let action = action.ok_or("the operation has no action")?;
        Ok((uid(kind, id), action, uid(&self.types.service, &matched.service.name)))
    }

    /// Whether the schema has nothing against a request.
    fn passes(&self, request: &Request) -> bool {
        let (Some(principal), Some(action), Some(resource), Some(context)) =
            (request.principal(), request.action(), request.resource(), request.context())
        else {
            return false;
        };
        let (principal, action, resource) = (principal.clone(), action.clone(), resource.clone());
        Request::new(principal, action, resource, context.clone(), Some(&self.schema)).is_ok()
    }
}

pub(super) const UNASKED: &str = "the policies could not be asked; why is not told where values are masked";

fn unasked(question: Question<'_>, error: String) -> Answer {
    // Cedar's own words may hold the whole context.
    let error = if question.conceals { UNASKED.to_owned() } else { error };
    Answer::Error { policies: Vec::new(), errors: vec![error] }
}

fn concluded(conclusion: Conclusion, conceals: bool) -> Answer {
    let policies = conclusion.determining.iter().map(ToString::to_string).collect();
    if !conclusion.errors.is_empty() {
        let mut errors: Vec<String> = conclusion.errors.iter().map(|error| told(error, conceals)).collect();
        errors.sort();
        return Answer::Error { policies, errors };
    }
    match conclusion.decision {
        Decision::Allow => Answer::Allow { policies },
        Decision::Deny => Answer::Deny { policies },
    }
}

/// An error of a policy in words. Cedar quotes the numbers that overflowed, and perhaps more another day.
fn told(failure: &Failure, conceals: bool) -> String {
    if !conceals {
        return failure.to_string();
    }
    let what = match &failure.error {
        EvaluationError::IntegerOverflow(_) => "an integer overflow",
        EvaluationError::EntityDoesNotExist(_) => "an entity that does not exist",
        EvaluationError::EntityAttrDoesNotExist(_) | EvaluationError::RecordAttrDoesNotExist(_) => {
            "an attribute that does not exist"
        }
        EvaluationError::TypeError(_) => "a value of another type",
        _ => "an error of its evaluation",
    };
    format!("policy `{}`: {what}; its values are not told where some are masked", failure.policy)
}

/// What a context is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) workload: Option<&'a str>,
    pub(super) scopes: Option<&'a BTreeSet<String>>,
    pub(super) asks: &'a OperationContext,
    pub(super) values: &'a [Option<Value>],
}

pub(super) fn context(told: Told<'_>) -> Result<Context, String> {
    let Told { method, host, path, workload, scopes, asks, values } = told;
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let request = [("method", text(method)), ("host", text(host)), ("path", text(path))];
    let mut pairs = Vec::with_capacity(3 + ContextPart::ALL.len());
    pairs.push(("request".to_owned(), record(request.map(|(name, value)| (name.to_owned(), value)))?));
    pairs.extend(workload.map(|workload| ("workload".to_owned(), text(workload))));
    pairs.extend(scopes.map(|scopes| {
        let scopes = scopes.iter().map(|scope| text(scope));
        ("scopes".to_owned(), RestrictedExpression::new_set(scopes))
    }));
    if !asks.fields.is_empty() {
        parts(asks, values, &mut pairs)?;
    }
    Context::from_pairs(pairs).map_err(|error| super::entities::with_causes(&error))
}

/// A field on the way down into its record, with its value.
type Placed<'a> = (&'a [String], Option<&'a Value>);

fn parts(
    asks: &OperationContext,
    values: &[Option<Value>],
    pairs: &mut Vec<(String, RestrictedExpression)>,
) -> Result<(), String> {
    if asks.fields.len() != values.len() {
        return Err("the request's values are not those that the operation declares".to_owned());
    }
    for part in ContextPart::ALL {
        let fields = asks.fields.iter().zip(values).filter(|(field, _)| field.part == part);
        let fields: Vec<Placed<'_>> =
            fields.map(|(field, value)| (field.keys.as_slice(), value.as_ref())).collect();
        if !fields.is_empty() {
            pairs.push((part.name().to_owned(), nested(&fields)?));
        }
    }
    Ok(())
}

/// The same shape as the schema's: records on the way are always there.
fn nested(fields: &[Placed<'_>]) -> Result<RestrictedExpression, String> {
    let mut groups: Vec<(&str, Vec<Placed<'_>>)> = Vec::new();
    for (keys, value) in fields {
        let Some((first, rest)) = keys.split_first() else { continue };
        match groups.last_mut() {
            Some((name, group)) if *name == first => group.push((rest, *value)),
            _ => groups.push((first, vec![(rest, *value)])),
        }
    }
    let mut pairs = Vec::new();
    for (name, group) in groups {
        match group.as_slice() {
            [([], None)] => {}
            [([], Some(value))] => pairs.push((name.to_owned(), expression(value))),
            inner => pairs.push((name.to_owned(), nested(inner)?)),
        }
    }
    record(pairs)
}

fn record(
    pairs: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(pairs).map_err(|error| error.to_string())
}

fn expression(value: &Value) -> RestrictedExpression {
    match value {
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Long(number) => RestrictedExpression::new_long(*number),
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::Decimal(text) => RestrictedExpression::new_decimal(text),
        Value::Ip(text) => RestrictedExpression::new_ip(text),
        Value::Set(items) => RestrictedExpression::new_set(items.iter().map(expression)),
    }
}
