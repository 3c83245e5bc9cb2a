//! Cedar with an index by scope: the bench's own, to show what evaluation costs when only fitting policies are asked.
//! The one file here that names `cedar_policy`.
//!
//! INVARIANT: a policy whose scope is not three equalities is in every set, so that the index never changes an answer.

use crate::failure::Failure;
use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid,
    PolicySet, PrincipalConstraint, Request, ResourceConstraint, RestrictedExpression,
};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr as _;

/// Callers, operations and services; each triple has a policy: a thousand in all.
const EACH: usize = 10;

/// The caller whose key the requests carry.
pub(crate) const CALLER: &str = "caller-7";

type Scope = (EntityUid, EntityUid, EntityUid);

#[derive(Debug)]
pub(crate) struct Indexed {
    by_scope: HashMap<Scope, PolicySet>,
    /// Asked where no triple fits.
    unscoped: PolicySet,
    client: EntityTypeName,
    action: EntityTypeName,
    service: EntityTypeName,
    entities: Entities,
    authorizer: Authorizer,
}

impl Indexed {
    pub(crate) fn of_a_thousand() -> Result<Indexed, Failure> {
        let mut text = String::new();
        for (caller, operation, service) in triples() {
            // Writing into a string cannot fail.
            let _written = writeln!(
                text,
                "permit (principal == Client::\"caller-{caller}\", action == Action::\"{}\", resource == Service::\"{}\") \
                 when {{ context.path like \"/*\" && context.method != \"TRACE\" }};",
                operation_name(operation),
                service_name(service),
            );
        }
        let all =
            PolicySet::from_str(&text).map_err(Failure::because("the rival's policies do not parse"))?;
        let mut unscoped = PolicySet::new();
        let mut by_scope: HashMap<Scope, PolicySet> = HashMap::new();
        for policy in all.policies() {
            let set = match (
                policy.principal_constraint(),
                policy.action_constraint(),
                policy.resource_constraint(),
            ) {
                (PrincipalConstraint::Eq(one), ActionConstraint::Eq(two), ResourceConstraint::Eq(three)) => {
                    by_scope.entry((one, two, three)).or_default()
                }
                _ => &mut unscoped,
            };
            set.add(policy.clone()).map_err(Failure::because("the rival's index cannot be made"))?;
        }
        for set in by_scope.values_mut() {
            for policy in unscoped.policies() {
                set.add(policy.clone()).map_err(Failure::because("the rival's index cannot be made"))?;
            }
        }
        let kind =
            |name| EntityTypeName::from_str(name).map_err(Failure::because("the rival's types do not parse"));
        Ok(Indexed {
            by_scope,
            unscoped,
            client: kind("Client")?,
            action: kind("Action")?,
            service: kind("Service")?,
            entities: Entities::empty(),
            authorizer: Authorizer::new(),
        })
    }

    pub(crate) fn allows(&self, caller: &str, method: &str, path: &str, host: &str) -> bool {
        let uid = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let operation = match (method, path) {
            ("GET", "/orders") => operation_name(0),
            _ => "unknown".to_owned(),
        };
        let scope = (uid(&self.client, caller), uid(&self.action, &operation), uid(&self.service, host));
        let set = self.by_scope.get(&scope).unwrap_or(&self.unscoped);
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let context = Context::from_pairs([
            ("method".to_owned(), text(method)),
            ("path".to_owned(), text(path)),
            ("host".to_owned(), text(host)),
        ]);
        let (principal, action, resource) = scope;
        let request = context.map_err(|error| error.to_string()).and_then(|context| {
            Request::new(principal, action, resource, context, None).map_err(|error| error.to_string())
        });
        let Ok(request) = request else { return false };
        let response = self.authorizer.is_authorized(&request, set, &self.entities);
        response.decision() == Decision::Allow && response.diagnostics().errors().next().is_none()
    }
}

fn triples() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..EACH).flat_map(|one| (0..EACH).flat_map(move |two| (0..EACH).map(move |three| (one, two, three))))
}

fn operation_name(operation: usize) -> String {
    if operation == 0 { "listOrders".to_owned() } else { format!("operation-{operation}") }
}

fn service_name(service: usize) -> String {
    if service == 0 { "orders".to_owned() } else { format!("service-{service}") }
}

#[cfg(test)]
mod tests {
    use super::{CALLER, EACH, Indexed};

    #[test]
    fn the_index_holds_every_policy_and_answers_like_cedar() {
        let policies = Indexed::of_a_thousand().unwrap();
        assert_eq!(policies.by_scope.len(), EACH * EACH * EACH);
        assert!(policies.allows(CALLER, "GET", "/orders", "orders"));
        assert!(!policies.allows("nobody", "GET", "/orders", "orders"));
        assert!(!policies.allows(CALLER, "GET", "/orders", "elsewhere"));
        assert!(!policies.allows(CALLER, "DELETE", "/orders", "orders"));
    }
}
