//! What Cedar is asked: policies, entities and one request; and the same with something changed.
//!
//! INVARIANT: a changed world conforms to the schema, or there is none: nothing is said of what could never be.

use crate::Question;
use crate::change::{Edit, Who};
use crate::expression::Expr;
use crate::path::{self, Path, Root};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Entity, EntityTypeName, EntityUid,
    EvalResult, EvaluationError, PolicyId, PolicySet, Request, Schema, eval_expression,
};
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::collections::HashSet;

#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) policies: &'a PolicySet,
    schema: Option<&'a Schema>,
    pub(crate) entities: Cow<'a, Entities>,
    request: Cow<'a, Request>,
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    context: Json,
    pub(crate) hidden: &'a [Vec<String>],
    /// Whether nobody proved who calls.
    pub(crate) anonymous: bool,
}

/// What policies say, by the same rule as the server's: what errs denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conclusion {
    Allowed(Vec<String>),
    NotPermitted,
    Forbidden(Vec<String>),
    Erred(Vec<String>),
}

/// What became of one expression.
#[derive(Debug)]
pub(crate) enum Truth {
    True,
    False,
    Error(Option<Box<EvaluationError>>),
}

impl<'a> World<'a> {
    /// `None`: the request was made for partial evaluation, and says not everything.
    pub(crate) fn of(question: Question<'a>) -> Option<World<'a>> {
        let Question { policies, entities, schema, request, anonymous, hidden } = question;
        Some(World {
            policies,
            schema,
            entities: Cow::Borrowed(entities),
            request: Cow::Borrowed(request),
            principal: request.principal()?.clone(),
            action: request.action()?.clone(),
            resource: request.resource()?.clone(),
            context: request.context()?.to_json_value().ok()?,
            hidden,
            anonymous,
        })
    }

    pub(crate) fn conclude(&self, policies: &PolicySet) -> Conclusion {
        let response = Authorizer::new().is_authorized(&self.request, policies, &self.entities);
        let sorted = |ids: Vec<&PolicyId>| {
            let mut ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
            ids.sort();
            ids.dedup();
            ids
        };
        let errors = response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        });
        let errors: Vec<&PolicyId> = errors.collect();
        if !errors.is_empty() {
            return Conclusion::Erred(sorted(errors));
        }
        let reasons: Vec<&PolicyId> = response.diagnostics().reason().collect();
        match response.decision() {
            Decision::Allow => Conclusion::Allowed(sorted(reasons)),
            Decision::Deny if reasons.is_empty() => Conclusion::NotPermitted,
            Decision::Deny => Conclusion::Forbidden(sorted(reasons)),
        }
    }

    /// Whether one policy applies here, without error.
    pub(crate) fn applies(&self, id: &PolicyId) -> Option<bool> {
        let policy = self.policies.policy(id)?;
        let effect = policy.effect();
        let alone = PolicySet::from_policies([policy.clone()]).ok()?;
        Some(match (effect, self.conclude(&alone)) {
            (Effect::Permit, Conclusion::Allowed(_)) | (Effect::Forbid, Conclusion::Forbidden(_)) => true,
            (_, Conclusion::NotPermitted) => false,
            (_, Conclusion::Allowed(_) | Conclusion::Forbidden(_) | Conclusion::Erred(_)) => return None,
        })
    }

    pub(crate) fn evaluate(&self, expression: &Expr) -> Result<EvalResult, Box<EvaluationError>> {
        eval_expression(&self.request, &self.entities, &expression.parsed).map_err(Box::new)
    }

    pub(crate) fn truth(&self, expression: &Expr) -> Truth {
        match self.evaluate(expression) {
            Ok(EvalResult::Bool(true)) => Truth::True,
            Ok(EvalResult::Bool(false)) => Truth::False,
            // Only in a policy that was never validated.
            Ok(_) => Truth::Error(None),
            Err(error) => Truth::Error(Some(error)),
        }
    }

    pub(crate) fn holds(&self, expression: &Json) -> Option<bool> {
        match self.truth(&Expr::of(expression.clone())?) {
            Truth::True => Some(true),
            Truth::False => Some(false),
            Truth::Error(_) => None,
        }
    }

    /// The value at the end of a path, in Cedar's JSON form, where it is the entity's own or the context's.
    pub(crate) fn value_at(&self, path: &Path) -> Option<Json> {
        let document = match path.root {
            Root::Context => self.context.clone(),
            Root::Principal => self.entity(&self.principal)?.get("attrs")?.clone(),
            Root::Resource => self.entity(&self.resource)?.get("attrs")?.clone(),
            Root::Action => return None,
        };
        path::find(&document, &path.keys).cloned()
    }

    fn entity(&self, uid: &EntityUid) -> Option<Json> {
        self.entities.get(uid)?.to_json_value().ok()
    }

    pub(crate) fn is_declared(&self, uid: &EntityUid) -> bool {
        self.entities.get(uid).is_some()
    }

    /// Who may call at all. `None`: nothing says so.
    pub(crate) fn principal_types(&self) -> Option<HashSet<EntityTypeName>> {
        Some(self.schema?.principals_for_action(&self.action)?.cloned().collect())
    }

    /// The same world with something else in it.
    pub(crate) fn with(&self, edits: &[Edit]) -> Option<World<'a>> {
        let mut principal = self.principal.clone();
        let mut action = self.action.clone();
        let mut context = self.context.clone();
        for edit in edits {
            match edit {
                Edit::Caller(other) => principal = other.clone(),
                Edit::Action(other) => action = other.clone(),
                Edit::Put { path, value } if path.root == Root::Context => {
                    path::put(&mut context, &path.keys, value.clone())?;
                }
                Edit::Put { .. } | Edit::Join { .. } | Edit::Leave { .. } => {}
            }
        }
        let mut entities = self.entities.clone();
        for (who, uid) in [(Who::Principal, &principal), (Who::Resource, &self.resource)] {
            if let Some(changed) = self.changed(who, uid, edits)? {
                let all = entities.into_owned().upsert_entities([changed], self.schema).ok()?;
                entities = Cow::Owned(all);
            }
        }
        let typed = self.schema.map(|schema| (schema, &action));
        let read = Context::from_json_value(context.clone(), typed).ok()?;
        let resource = self.resource.clone();
        let request =
            Request::new(principal.clone(), action.clone(), resource.clone(), read, self.schema).ok()?;
        let request = Cow::Owned(request);
        let World { policies, schema, hidden, anonymous, .. } = *self;
        Some(World {
            policies,
            schema,
            entities,
            request,
            principal,
            action,
            resource,
            context,
            hidden,
            anonymous,
        })
    }

    /// `None`: it cannot be. `Some(None)`: nothing of it changes.
    fn changed(&self, who: Who, uid: &EntityUid, edits: &[Edit]) -> Option<Option<Entity>> {
        let named =
            |uid: &EntityUid| json!({"type": uid.type_name().to_string(), "id": uid.id().unescaped()});
        let mut entity =
            self.entity(uid).unwrap_or_else(|| json!({"uid": named(uid), "attrs": {}, "parents": []}));
        let mut touched = false;
        for edit in edits {
            match edit {
                Edit::Put { path, value } if path.root == who.root() => {
                    path::put(entity.get_mut("attrs")?, &path.keys, value.clone())?;
                }
                Edit::Join { who: joining, parent } if *joining == who => {
                    entity.get_mut("parents")?.as_array_mut()?.push(named(parent));
                }
                Edit::Leave { who: leaving, parent } if *leaving == who => {
                    let parents = entity.get_mut("parents")?.as_array_mut()?;
                    let before = parents.len();
                    parents.retain(|known| EntityUid::from_json(known.clone()).ok().as_ref() != Some(parent));
                    // What it is in by way of another is not left so simply.
                    if parents.len() == before {
                        return None;
                    }
                }
                Edit::Put { .. }
                | Edit::Join { .. }
                | Edit::Leave { .. }
                | Edit::Caller(_)
                | Edit::Action(_) => {
                    continue;
                }
            }
            touched = true;
        }
        if !touched {
            return Some(None);
        }
        Some(Some(Entity::from_json_value(entity, self.schema).ok()?))
    }
}
