//! From an entry back to the question that its decision answered.
//!
//! INVARIANT: a masked value that no policy reads is filled in by some value of its kind, and nothing else is made up.

use super::bundles::Loaded;
use crate::bundle::{ContextField, OperationContext, RecordedField, Slot, ValueKind};
use crate::check::{Judgement, told};
use crate::identity::{self, ClaimValue, Established, Identity, SpiffeId, User};
use crate::ledger::{self, Conclusion, Proof};
use crate::value::Value;
use palisade_core::authority::Authority;
use palisade_core::contract::Matched;
use palisade_explain::Explanation;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What two decisions must have in common to be the same one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Concluded {
    decision: Conclusion,
    reason: String,
    policies: Vec<String>,
    /// What the shadows would have decided, where that is something else.
    shadow: Option<(Conclusion, Vec<String>)>,
}

impl Concluded {
    pub(super) fn recorded(decision: &ledger::Decision) -> Concluded {
        let shadow = decision.shadow.as_ref();
        Concluded {
            decision: decision.decision,
            reason: decision.reason.clone(),
            policies: decision.policies.clone(),
            shadow: shadow.map(|shadow| (shadow.decision, shadow.policies.clone())),
        }
    }

    pub(super) fn of(judgement: Judgement) -> Concluded {
        let shadow = judgement.disagreement();
        let (decision, reason) = told(judgement.decision);
        Concluded {
            decision,
            reason,
            policies: judgement.policies,
            shadow: shadow.map(|shadow| (shadow.decision, shadow.policies)),
        }
    }
}

impl fmt::Display for Concluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |conclusion: &Conclusion| match conclusion {
            Conclusion::Allow => "allowed",
            Conclusion::Deny => "denied",
        };
        let by = |policies: &[String]| match policies {
            [] => "no policy".to_owned(),
            some => some.join(", "),
        };
        write!(f, "{} ({}) by {}", word(&self.decision), self.reason, by(&self.policies))?;
        if let Some((decision, policies)) = &self.shadow {
            write!(f, "; with shadows {} by {}", word(decision), by(policies))?;
        }
        Ok(())
    }
}

/// What policies were asked.
struct Again<'l> {
    caller: Established,
    matched: Matched<'l>,
    host: String,
    asks: &'l OperationContext,
    values: Vec<Option<Value>>,
}

/// Asks the policies again.
pub(super) fn ask(
    loaded: &Loaded,
    decision: &ledger::Decision,
    asked: &ledger::Asked,
) -> Result<Judgement, String> {
    let Again { caller, matched, host, asks, values } = again(loaded, decision, asked)?;
    Ok(loaded.bundle.ask(&caller, matched, (&host, &decision.path), (asks, values), decision.at_ms))
}

/// Why they answered as they did.
pub(super) fn explain(
    loaded: &Loaded,
    decision: &ledger::Decision,
    asked: &ledger::Asked,
) -> Result<Explanation, String> {
    let Again { caller, matched, host, values, .. } = again(loaded, decision, asked)?;
    loaded.bundle.explain_values(&caller, matched, (&host, &decision.path), &values)
}

fn again<'l>(
    loaded: &'l Loaded,
    decision: &ledger::Decision,
    asked: &ledger::Asked,
) -> Result<Again<'l>, String> {
    let bundle = &loaded.bundle;
    let index = loaded.operation(&decision.service, &decision.operation);
    let matched = index.and_then(|index| bundle.contract.operation(index));
    let matched = matched.ok_or_else(|| {
        format!("the bundle has no operation `{}.{}`", decision.service, decision.operation)
    })?;
    let asks = usize::try_from(matched.index.0).ok().and_then(|index| bundle.contexts.get(index));
    let asks = asks.ok_or("the operation has no context")?;
    let recording = bundle.recordings.operation(Some(matched.index));
    let fields = asks.fields.iter().zip(&recording.fields);
    let values =
        fields.map(|(field, recorded)| value_of(field, recorded, asked)).collect::<Result<_, _>>()?;
    let caller = caller(decision, &bundle.palisade.trust_domains)?;
    let host = Authority::parse(decision.host.as_bytes()).map_err(|_| "its host is none".to_owned())?;
    Ok(Again { caller, matched, host: host.host().to_owned(), asks, values })
}

fn caller(decision: &ledger::Decision, trust_domains: &[impl AsRef<str>]) -> Result<Established, String> {
    let workload = |name: &str| SpiffeId::parse(name, trust_domains).map_err(|error| error.to_string());
    match decision.proof {
        Proof::Mtls => Ok(Established::by_connection(Some(workload(&decision.principal)?))),
        Proof::ApiKey => {
            let through = decision.workload.as_deref().map(workload).transpose()?;
            let scopes = decision.credential.as_ref().map(scopes).transpose()?.flatten();
            Ok(Established { through, scopes, ..Established::client(&decision.principal) })
        }
        Proof::Jwt | Proof::Introspection => {
            let told = decision.credential.as_ref();
            let told = told.ok_or("what the token said is not in its entry")?;
            let through = decision.workload.as_deref().map(workload).transpose()?;
            let identity = Identity::User(Arc::new(user(&decision.principal, told)?));
            let proof = match decision.proof {
                Proof::Introspection => identity::Proof::Introspection,
                _ => identity::Proof::Jwt,
            };
            Ok(Established {
                identity,
                through,
                proof,
                scopes: scopes(told)?,
                ..Established::by_connection(None)
            })
        }
        Proof::None => Ok(Established::by_connection(None)),
    }
}

fn scopes(told: &ledger::Credential) -> Result<Option<Arc<BTreeSet<String>>>, String> {
    if told.masked.contains_key("scopes") {
        return Err("what the credential was good for is not in its entry".to_owned());
    }
    Ok(told.scopes.as_ref().map(|scopes| Arc::new(scopes.iter().cloned().collect())))
}

/// Whatever policies ask of a person, all of it must be there.
fn user(principal: &str, told: &ledger::Credential) -> Result<User, String> {
    if let Some(name) = told.masked.keys().next() {
        return Err(format!("`{name}` of the token is not in its entry"));
    }
    let issuer = told.issuer.clone().ok_or("its issuer is not in its entry")?;
    let subject = principal.strip_prefix(&issuer).and_then(|rest| rest.strip_prefix('/'));
    let subject = subject.ok_or("its principal is no user of its issuer")?.to_owned();
    let attributes = told.attributes.iter().map(|(name, value)| {
        let value = claim(value).ok_or_else(|| format!("`{name}` is not what a token could say"))?;
        Ok((name.clone(), value))
    });
    Ok(User {
        issuer,
        subject,
        groups: told.groups.iter().cloned().collect(),
        roles: told.roles.iter().cloned().collect(),
        attributes: attributes.collect::<Result<_, String>>()?,
    })
}

fn claim(json: &Json) -> Option<ClaimValue> {
    let text = |json: &Json| json.as_str().map(ToOwned::to_owned);
    match json {
        Json::String(text) => Some(ClaimValue::Text(text.clone())),
        Json::Number(number) => number.as_i64().map(ClaimValue::Long),
        Json::Bool(value) => Some(ClaimValue::Bool(*value)),
        Json::Array(items) => items.iter().map(text).collect::<Option<_>>().map(ClaimValue::Texts),
        Json::Null | Json::Object(_) => None,
    }
}

fn value_of(
    field: &ContextField,
    recorded: &RecordedField,
    asked: &ledger::Asked,
) -> Result<Option<Value>, String> {
    if asked.masked.contains_key(&recorded.label) {
        return Ok(Some(any(&field.kind)));
    }
    let json = match &recorded.slot {
        Slot::Path(name) => asked.path.get(name),
        Slot::Query(name) => asked.query.get(name),
        Slot::Header(name) => asked.header.get(name),
        Slot::Body(name) => asked.body.get(name),
    };
    let value = json.map(|json| {
        read(json, &field.kind).ok_or_else(|| format!("`{}` is not what the bundle declares", recorded.label))
    });
    value.transpose()
}

fn read(json: &Json, kind: &ValueKind) -> Option<Value> {
    let text = || json.as_str().map(ToOwned::to_owned);
    match kind {
        ValueKind::String => text().map(Value::String),
        ValueKind::Long => json.as_i64().map(Value::Long),
        ValueKind::Bool => json.as_bool().map(Value::Bool),
        ValueKind::Decimal => text().map(Value::Decimal),
        ValueKind::Ip => text().map(Value::Ip),
        ValueKind::Set(element) => {
            let items = json.as_array()?.iter().map(|item| read(item, element));
            items.collect::<Option<_>>().map(Value::Set)
        }
    }
}

/// Some value of a kind, for a field that must be there and that no policy reads.
fn any(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::String => Value::String(String::new()),
        ValueKind::Long => Value::Long(0),
        ValueKind::Bool => Value::Bool(false),
        ValueKind::Decimal => Value::Decimal("0.0".to_owned()),
        ValueKind::Ip => Value::Ip("0.0.0.0".to_owned()),
        ValueKind::Set(_) => Value::Set(Vec::new()),
    }
}
