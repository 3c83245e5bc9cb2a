//! Changes of services, of their operations and of what requests must be like.

use super::enforcement;
use super::load;
use super::settings;
use super::validation::{self, Facts};
use super::{Area, Direction, Found, Kind};
use crate::bundle::context::{ContextField, OperationContext, ValueKind};
use crate::bundle::format::ReadOnly;
use crate::bundle::landscape::{Landscape, full_name};
use crate::bundle::openapi::{Model, Operation};
use crate::bundle::{Bundle, ServiceSettings};
use palisade_core::contract::{BodyRule, Matched, OperationClass};
use palisade_core::routes::Segment;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An operation with what policies may ask of its requests, and what its contract says of them.
#[derive(Debug, Clone, Copy)]
struct Described<'b> {
    matched: Matched<'b>,
    context: Option<&'b OperationContext>,
    declared: Option<(&'b Model, &'b Operation)>,
}

impl Described<'_> {
    fn facts(&self) -> Facts {
        self.declared.map(|(model, operation)| model.facts(operation)).unwrap_or_default()
    }
}

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let described = |service: &&ServiceSettings| format!("owner {}", service.owner);
    found.named(Area::Services, &services(before), &services(after), described, |found, name, old, new| {
        found.part(Area::Services, name, "owner", &old.owner, &new.owner);
        found.part(Area::Services, name, "workload", workload(old), workload(new));
        let read_only = |settings: &ServiceSettings| settings.read_only.word();
        if let Some(said) = found.part(Area::Services, name, "read_only", read_only(old), read_only(new)) {
            let loosened = new.read_only == ReadOnly::Accept;
            said.direction(Some(if loosened { Direction::Loosened } else { Direction::Tightened }));
        }
    });
    for (name, new) in hosts(after) {
        let old = hosts(before).remove(&name);
        for host in old.iter().flatten().filter(|host| !new.contains(*host)) {
            found.change(Area::Services, Kind::Removed, &name).what("host").before((*host).to_owned());
        }
        for host in new.iter().filter(|host| old.as_ref().is_some_and(|old| !old.contains(*host))) {
            found.change(Area::Services, Kind::Added, &name).what("host").after((*host).to_owned());
        }
    }
    let shown = |operation: &Described<'_>| shown(operation.matched);
    found.named(Area::Operations, &operations(before), &operations(after), shown, |found, name, old, new| {
        let known = found.changes.len();
        operation(found, name, old.matched, new.matched);
        context(found, name, old.context, new.context);
        validation::compare(found, name, &old.facts(), &new.facts());
        enforcement::compare(found, name, old.matched.operation, new.matched.operation);
        load::priority(found, name, old.matched.operation, new.matched.operation);
        // Nothing that is compiled into the contract may change without a word.
        if found.changes.len() == known
            && !enforcement::is_alike(old.matched.operation, new.matched.operation)
        {
            found.change(Area::Validation, Kind::Changed, name).what("rules");
        }
    });
}

fn services(bundle: &Bundle) -> BTreeMap<String, &ServiceSettings> {
    bundle.services.iter().map(|service| (service.name.clone(), service)).collect()
}

fn workload(service: &ServiceSettings) -> String {
    let labels: Vec<_> =
        service.workload.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {}", service.workload.namespace, labels.join(","))
}

fn hosts(bundle: &Bundle) -> BTreeMap<String, BTreeSet<&str>> {
    let services = bundle.contract.services().iter();
    services
        .map(|service| (service.name.to_string(), service.hosts.iter().map(AsRef::as_ref).collect()))
        .collect()
}

fn operations(bundle: &Bundle) -> BTreeMap<String, Described<'_>> {
    let landscape = Landscape::of(bundle);
    let names = bundle.services.iter().map(|service| service.name.as_str());
    let models: HashMap<&str, &Model> = names.zip(bundle.models.iter().map(AsRef::as_ref)).collect();
    let operations = landscape.operations.iter();
    operations
        .map(|matched| {
            let index = usize::try_from(matched.index.0).unwrap_or(usize::MAX);
            let declared = models.get(matched.service.name.as_ref()).copied();
            let declared =
                declared.and_then(|model| Some((model, model.operation(&matched.operation.name)?)));
            let context = bundle.contexts.get(index);
            (full_name(*matched), Described { matched: *matched, context, declared })
        })
        .collect()
}

/// `POST /orders/{orderId}/refund, write`.
fn shown(matched: Matched<'_>) -> String {
    let operation = matched.operation;
    format!("{} {}, {}", operation.method.as_str(), path(&operation.template), operation.class.as_str())
}

fn path(template: &[Segment]) -> String {
    template
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(name) => format!("/{{{name}}}"),
        })
        .collect()
}

fn operation(found: &mut Found, name: &str, old: Matched<'_>, new: Matched<'_>) {
    let (old, new) = (old.operation, new.operation);
    found.part(Area::Operations, name, "method", old.method.as_str(), new.method.as_str());
    found.part(Area::Operations, name, "path", path(&old.template), path(&new.template));
    let class = found.part(Area::Operations, name, "class", old.class.as_str(), new.class.as_str());
    if let Some(class) = class
        && new.class == OperationClass::Read
    {
        class.danger(Some("a change that counts as a read is permitted wherever reads are"));
    }
    let upgrade = |text: &Option<Box<str>>| text.as_deref().unwrap_or("none").to_owned();
    found.part(Area::Operations, name, "upgrade", upgrade(&old.upgrade), upgrade(&new.upgrade));
    match (&old.body, &new.body) {
        (None, Some(new)) => {
            found.change(Area::Validation, Kind::Added, name).what("body").after(body(new));
        }
        (Some(old), None) => {
            found.change(Area::Validation, Kind::Removed, name).what("body").before(body(old));
        }
        (Some(old), Some(new)) => body_rules(found, name, old, new),
        (None, None) => {}
    }
}

fn body(body: &BodyRule) -> String {
    format!("{}, up to {} bytes", media_types(body).join(" or "), body.bytes_max)
}

fn media_types(body: &BodyRule) -> Vec<&str> {
    body.media_types.iter().map(|known| known.essence.as_ref()).collect()
}

fn body_rules(found: &mut Found, name: &str, old: &BodyRule, new: &BodyRule) {
    let direction = |loosened: bool| Some(if loosened { Direction::Loosened } else { Direction::Tightened });
    let required = |body: &BodyRule| if body.required { "required" } else { "optional" };
    if let Some(said) = found.part(Area::Validation, name, "body", required(old), required(new)) {
        let danger = old.required.then_some("a body that had to be there may be left out");
        said.direction(direction(old.required)).danger(danger);
    }
    let bytes = |body: &BodyRule| body.bytes_max.to_string();
    if let Some(said) = found.part(Area::Validation, name, "body_bytes_max", bytes(old), bytes(new)) {
        said.direction(direction(new.bytes_max > old.bytes_max));
    }
    let (old, new) = (media_types(old), media_types(new));
    for gone in old.iter().filter(|essence| !new.contains(essence)) {
        let said = found.change(Area::Validation, Kind::Removed, name).what("content type");
        said.before((*gone).to_owned()).direction(direction(false));
    }
    for added in new.iter().filter(|essence| !old.contains(essence)) {
        let said = found.change(Area::Validation, Kind::Added, name).what("content type");
        said.after((*added).to_owned()).direction(direction(true));
    }
}

/// As it stands in the schema.
fn kind(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String => "String".to_owned(),
        ValueKind::Long => "Long".to_owned(),
        ValueKind::Bool => "Bool".to_owned(),
        ValueKind::Decimal => "decimal".to_owned(),
        ValueKind::Ip => "ipaddr".to_owned(),
        ValueKind::Set(of) => format!("Set<{}>", self::kind(of)),
    }
}

/// What policies may ask of the operation's requests.
fn context(found: &mut Found, name: &str, old: Option<&OperationContext>, new: Option<&OperationContext>) {
    let fields = |context: Option<&OperationContext>| -> BTreeMap<String, ContextField> {
        let fields = context.iter().flat_map(|context| &context.fields);
        fields
            .map(|field| (format!("context.{}.{}", field.part.name(), field.keys.join(".")), field.clone()))
            .collect()
    };
    let (old, new) = (fields(old), fields(new));
    for (key, field) in &old {
        if !new.contains_key(key) {
            found.change(Area::Validation, Kind::Removed, name).what(key).before(kind(&field.kind));
        }
    }
    for (key, field) in &new {
        match old.get(key) {
            None => {
                found.change(Area::Validation, Kind::Added, name).what(key).after(kind(&field.kind));
            }
            Some(known) => {
                let shown = |field: &ContextField| {
                    format!("{}, {}", kind(&field.kind), if field.required { "required" } else { "optional" })
                };
                found.part(Area::Validation, name, key, shown(known), shown(field));
            }
        }
        // A field that is new with its mask, or gone with it, hides and shows nothing that was otherwise before.
        if let Some(known) = old.get(key) {
            let what = format!("mask of {key}");
            settings::masked(found, (Area::Operations, name), &what, known.mask, field.mask);
        }
    }
}
