//! Who callers can be, and what they belong to: the declarations of `entities/*.yaml`.
//!
//! INVARIANT: every name leads to a declaration and nothing is in itself; what attributes mean only the schema knows.

use super::files::{File, Role};
use super::format::{EntitiesFile, Member, OtherMember, Palisade, RoleMember, TierMember, UserMember};
use super::parsed::Parsed;
use super::problem::{Lines, Place, Problem, Problems};
use super::record::{Named, Placed, Read, Reader};
use super::yaml::{Key, Node, Span, Value};
use crate::cedar::EntityName;
use crate::cedar::names::{CLIENT, GROUP, ROLE, SERVICE, TIER, USER, WORKLOAD};
use crate::identity::SpiffeId;
use std::collections::{BTreeMap, BTreeSet};

/// Values of attributes, as they were written.
#[derive(Debug, Clone, Default)]
pub struct Attributes(pub(crate) Option<Node>);

impl Attributes {
    fn written(&self, file: &File) -> BTreeMap<String, String> {
        let entries = self.0.as_ref().and_then(Node::as_map).unwrap_or_default();
        let text = |node: &Node| file.text.get(node.at.range()).unwrap_or_default().trim_end().to_owned();
        entries.iter().map(|(key, value)| (key.text.clone(), text(value))).collect()
    }
}

impl Read for Attributes {
    const EXPECTED: &'static str = "a map";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => Some(Attributes(Some(node.clone()))),
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }
}

/// All entities that a bundle declares. A service that nothing is said of is not among them.
#[derive(Debug, Default)]
pub struct EntityDeclarations {
    pub groups: BTreeMap<String, Declared>,
    pub roles: BTreeMap<String, Declared>,
    pub tiers: BTreeMap<String, Declared>,
    pub clients: BTreeMap<String, Declared>,
    pub workloads: BTreeMap<String, Declared>,
    /// By issuer and subject: `corp/alice`.
    pub users: BTreeMap<String, Declared>,
    pub services: BTreeMap<String, Declared>,
    /// Of types that schema fragments declare, by type.
    pub others: BTreeMap<String, BTreeMap<String, Declared>>,
}

/// One entity.
#[derive(Debug)]
pub struct Declared {
    /// What it is in, directly.
    pub parents: Vec<EntityName>,
    /// The values of its attributes, as they were written.
    pub attributes: BTreeMap<String, String>,
    pub place: Place,
}

impl EntityDeclarations {
    /// All entities of one type, by their ids.
    pub fn of_kind(&self, kind: &str) -> Option<&BTreeMap<String, Declared>> {
        Some(match kind {
            GROUP => &self.groups,
            ROLE => &self.roles,
            TIER => &self.tiers,
            CLIENT => &self.clients,
            WORKLOAD => &self.workloads,
            USER => &self.users,
            SERVICE => &self.services,
            other => return self.others.get(other),
        })
    }

    fn of_kind_mut(&mut self, kind: &str) -> &mut BTreeMap<String, Declared> {
        match kind {
            GROUP => &mut self.groups,
            ROLE => &mut self.roles,
            TIER => &mut self.tiers,
            CLIENT => &mut self.clients,
            WORKLOAD => &mut self.workloads,
            USER => &mut self.users,
            SERVICE => &mut self.services,
            other => self.others.entry(other.to_owned()).or_default(),
        }
    }

    pub fn find(&self, name: &EntityName) -> Option<&Declared> {
        self.of_kind(&name.kind)?.get(&name.id)
    }

    pub fn ids(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.of_kind(kind).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }
}

/// One entity as it is written.
#[derive(Debug)]
pub(crate) struct EntitySource<'f> {
    pub(crate) name: EntityName,
    pub(crate) file: &'f File,
    pub(crate) at: Span,
    /// Where its type is named; the same as `at` where it has a key of its own.
    pub(crate) kind_at: Span,
    pub(crate) place: Place,
    pub(crate) parents: Vec<(EntityName, Span)>,
    pub(crate) attributes: Attributes,
}

impl EntitySource<'_> {
    pub(crate) fn place_of(&self, at: Span) -> Place {
        Place::of_range(&self.file.path, &self.file.text, at.range())
    }

    /// For messages: ``client `web` ``.
    pub(crate) fn shown(&self) -> String {
        shown(&self.name)
    }
}

pub(crate) fn shown(name: &EntityName) -> String {
    let word = match name.kind.as_str() {
        GROUP => "group",
        ROLE => "role",
        TIER => "tier",
        CLIENT => "client",
        WORKLOAD => "workload",
        USER => "user",
        SERVICE => "service",
        other => return format!("`{other}` `{}`", name.id),
    };
    format!("{word} `{}`", name.id)
}

pub(super) fn read_all<'f>(documents: &Parsed<'f>, problems: &mut Problems) -> Vec<EntitySource<'f>> {
    let mut all = Vec::new();
    for document in documents.with_role(Role::Entities) {
        let file = document.file;
        let mut reader = Reader::new(file);
        if let Some(entities) = EntitiesFile::read(&document.root, &mut reader) {
            let lines = Lines::of(&file.path, &file.text);
            all.extend(flatten(entities).into_iter().map(|((kind, kind_at), key, parents, attributes)| {
                let parents = parents.into_iter().flat_map(|(kind, names)| {
                    let name =
                        move |id: Placed<String>| (EntityName { kind: kind.clone(), id: id.value }, id.at);
                    names.into_iter().map(name)
                });
                EntitySource {
                    name: EntityName { kind, id: key.text },
                    file,
                    at: key.at,
                    kind_at: kind_at.unwrap_or(key.at),
                    place: lines.place(key.at.range()),
                    parents: parents.collect(),
                    attributes,
                }
            }));
        }
        problems.extend(reader.problems);
    }
    all
}

/// Type and where it is named, id, parents by type, attributes.
type Flat = ((String, Option<Span>), Key, Vec<(String, Vec<Placed<String>>)>, Attributes);

fn flatten(file: EntitiesFile) -> Vec<Flat> {
    let EntitiesFile { groups, roles, tiers, clients, workloads, users, services, others } = file;
    let mut all = Vec::new();
    for (kind, members) in [(GROUP, groups), (CLIENT, clients), (WORKLOAD, workloads)] {
        all.extend(members.0.into_iter().map(|(key, Member { groups, roles, tiers, attributes })| {
            let parents = [(GROUP, groups), (ROLE, roles), (TIER, tiers)];
            (
                (kind.to_owned(), None),
                key,
                parents.map(|(kind, names)| (kind.to_owned(), names)).into(),
                attributes,
            )
        }));
    }
    all.extend(users.0.into_iter().map(|(key, UserMember { groups, roles, attributes })| {
        let parents = vec![(GROUP.to_owned(), groups), (ROLE.to_owned(), roles)];
        ((USER.to_owned(), None), key, parents, attributes)
    }));
    all.extend(roles.0.into_iter().map(|(key, RoleMember { roles, attributes })| {
        ((ROLE.to_owned(), None), key, vec![(ROLE.to_owned(), roles)], attributes)
    }));
    for (kind, members) in [(TIER, tiers), (SERVICE, services)] {
        all.extend(members.0.into_iter().map(|(key, TierMember { tiers, attributes })| {
            ((kind.to_owned(), None), key, vec![(TIER.to_owned(), tiers)], attributes)
        }));
    }
    for (kind, Named(members)) in others.0 {
        all.extend(members.into_iter().map(|(key, OtherMember { parents, attributes })| {
            let parents = parents.0.into_iter().map(|(kind, names)| (kind.text, names)).collect();
            ((kind.text.clone(), Some(kind.at)), key, parents, attributes)
        }));
    }
    all
}

/// Each entity once, every name declared, every workload one that can be proven, nothing in itself.
pub(super) fn check(
    sources: &[EntitySource<'_>],
    palisade: Option<&Palisade>,
    services: Option<Vec<&str>>,
    problems: &mut Problems,
) -> EntityDeclarations {
    let mut all = EntityDeclarations::default();
    for source in sources {
        if let Some(known) = all.find(&source.name) {
            let message = format!("{} is declared twice", source.shown());
            let help = format!("the other declaration is at {}", known.place);
            problems.push(Problem::new(source.place.clone(), message).help(help));
            continue;
        }
        check_name(source, palisade, services.as_deref(), problems);
        let parents = source.parents.iter().map(|(parent, _)| parent.clone()).collect();
        let attributes = source.attributes.written(source.file);
        let declared = Declared { parents, attributes, place: source.place.clone() };
        all.of_kind_mut(&source.name.kind).insert(source.name.id.clone(), declared);
    }
    for source in sources {
        for (parent, at) in source.parents.iter().filter(|(parent, _)| all.find(parent).is_none()) {
            let message = format!("{} is in {}, which is declared nowhere", source.shown(), shown(parent));
            let problem = Problem::new(source.place_of(*at), message);
            problems.push(problem.suggest(&parent.id, all.ids(&parent.kind)).help(declare(&parent.kind)));
        }
    }
    check_cycles(sources, problems);
    all
}

/// Where something of a type is declared, for a help text.
pub(crate) fn declare(kind: &str) -> String {
    let key = match kind {
        GROUP => "groups",
        ROLE => "roles",
        TIER => "tiers",
        CLIENT => "clients",
        WORKLOAD => "workloads",
        USER => "users",
        SERVICE => return "a service is a folder under `services`".to_owned(),
        other => return format!("declare it in `entities/*.yaml` under `others`, `{other}`"),
    };
    format!("declare it in `entities/*.yaml` under `{key}`")
}

fn check_name(
    source: &EntitySource<'_>,
    palisade: Option<&Palisade>,
    services: Option<&[&str]>,
    problems: &mut Problems,
) {
    let id = source.name.id.as_str();
    match (source.name.kind.as_str(), palisade, services) {
        (WORKLOAD, Some(palisade), _) => {
            if let Err(error) = SpiffeId::parse(id, &palisade.trust_domains) {
                problems.push(Problem::new(source.place.clone(), format!("{}: {error}", source.shown())));
            }
        }
        (USER, Some(palisade), _) => {
            if let Some(wrong) = palisade.identity.no_user(id) {
                let problem =
                    Problem::new(source.place.clone(), format!("{}: {}", source.shown(), wrong.why));
                problems.push(problem.suggest(wrong.found, palisade.identity.issuers()).help(wrong.help));
            }
        }
        (SERVICE, _, Some(services)) if !services.contains(&id) => {
            let problem = Problem::new(source.place.clone(), format!("the bundle has no service `{id}`"));
            problems.push(problem.suggest(id, services.iter().copied()).help(declare(SERVICE)));
        }
        _ => {}
    }
}

/// Follows parents from each entity; one that leads back to itself is reported once, at one of its links.
fn check_cycles(sources: &[EntitySource<'_>], problems: &mut Problems) {
    let by_name: BTreeMap<&EntityName, &EntitySource<'_>> =
        sources.iter().map(|source| (&source.name, source)).collect();
    let mut settled: BTreeSet<&EntityName> = BTreeSet::new();
    for start in by_name.keys().copied() {
        // The entities on the way here, each with the number of its parents that were followed.
        let mut way: Vec<(&EntityName, usize)> = vec![(start, 0)];
        while let Some((name, followed)) = way.last_mut() {
            let name = *name;
            let next = by_name.get(name).and_then(|source| Some((source, source.parents.get(*followed)?)));
            *followed += 1;
            let Some((source, (parent, at))) = next else {
                settled.insert(name);
                way.pop();
                continue;
            };
            if let Some(from) = way.iter().position(|(known, _)| *known == parent) {
                let circle = way.iter().skip(from).map(|(name, _)| format!("`{}`", name.id));
                let circle: Vec<_> = circle.chain([format!("`{}`", parent.id)]).collect();
                let message = format!("{} is in itself: {}", shown(parent), circle.join(" in "));
                problems.push(
                    Problem::new(source.place_of(*at), message).help("remove one of these memberships"),
                );
            } else if !settled.contains(parent) && by_name.contains_key(parent) {
                way.push((parent, 0));
            }
        }
    }
}
