//! Schema fragments: what a bundle adds to the generated schema in `*.cedarschema` files.
//!
//! A fragment may declare entity types and common types. The attributes of our own types are common types with fixed
//! names, `WorkloadAttributes` and so on, because Cedar has no way to extend a declaration.
//! INVARIANT: a fragment changes nothing that is ours but those attributes; requests mean the same with and without it.

use super::names;
use super::places::{first_label, plain, problem_at};
use crate::bundle::{Place, PolicySource, Problem, Problems};
use cedar_policy::SchemaFragment;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One file, parsed.
#[derive(Debug)]
pub(crate) struct Fragment<'f> {
    pub(super) source: PolicySource<'f>,
    /// Its declarations in Cedar's JSON form.
    json: Value,
}

/// Our own entity types as they are declared, with the attributes that fragments give them.
#[derive(Debug)]
pub(super) struct OwnAttributes {
    declarations: BTreeMap<&'static str, String>,
}

/// Each of our types, what it can be in, and whether fragments may give it attributes.
const OWN: [(&str, &[&str], bool); 8] = [
    (names::GROUP, &[names::GROUP, names::ROLE, names::TIER], true),
    (names::ROLE, &[names::ROLE], true),
    (names::TIER, &[names::TIER], true),
    (names::WORKLOAD, &[names::GROUP, names::ROLE, names::TIER], true),
    (names::CLIENT, &[names::GROUP, names::ROLE, names::TIER], true),
    (names::USER, &[names::GROUP, names::ROLE], true),
    // Nobody declares it, so nobody could give it values.
    (names::ANONYMOUS, &[], false),
    (names::SERVICE, &[names::TIER], true),
];

/// Common types of ours, and Cedar's own names, which a declaration would hide.
const RESERVED: [&str; 10] =
    ["Request", "Call", "Action", "String", "Long", "Bool", "decimal", "ipaddr", "datetime", "duration"];

/// What the common types are called that give our own types their attributes.
pub(super) const ATTRIBUTES: &str = "Attributes";

/// Parses all fragments. Each that cannot be parsed is reported with its first mistake.
pub(crate) fn parse<'f>(
    sources: impl IntoIterator<Item = PolicySource<'f>>,
    problems: &mut Problems,
) -> Vec<Fragment<'f>> {
    let mut fragments = Vec::new();
    for source in sources {
        let parsed = SchemaFragment::from_cedarschema_str(source.text)
            .map_err(|error| problem_at(source, &error, plain(&error.to_string())))
            .and_then(|(fragment, _warnings)| {
                fragment.to_json_value().map_err(|error| problem_at(source, &error, error.to_string()))
            });
        match parsed {
            Ok(json) => fragments.push(Fragment { source, json }),
            Err(problem) => problems.push(problem),
        }
    }
    fragments
}

impl Fragment<'_> {
    fn declarations(&self, namespace: &str, part: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.json
            .get(namespace)
            .and_then(|all| all.get(part))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    }

    fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.json.as_object().into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Where something is declared: the parser itself says it, when the same is declared once more.
    fn place_of(&self, namespace: &str, again: &str) -> Place {
        let source = self.source;
        let again = if namespace.is_empty() {
            again.to_owned()
        } else {
            format!("namespace {namespace} {{ {again} }}")
        };
        let doubled = format!("{}\n{again}", source.text);
        let error = SchemaFragment::from_cedarschema_str(&doubled).err();
        let range =
            error.and_then(|error| first_label(&error)).filter(|range| range.end <= source.text.len());
        match range {
            Some(range) => Place::of_range(source.path, source.text, range),
            None => Place::file(source.path),
        }
    }

    /// Refuses what is not a fragment's to say.
    fn check(&self, problems: &mut Problems) {
        for namespace in self.namespaces() {
            for (name, _) in self.declarations(namespace, "actions") {
                let place = self.place_of(namespace, &format!("action \"{}\";", name.escape_debug()));
                let problem = Problem::new(place, format!("a fragment declares action `{name}`"));
                problems.push(problem.help("actions come from the contracts: declare an operation there"));
            }
        }
        let own = |name: &str| OWN.iter().any(|(kind, ..)| *kind == name) || RESERVED.contains(&name);
        for (part, what, again) in [("entityTypes", "entity", ";"), ("commonTypes", "type", " = Long;")] {
            for (name, _) in self.declarations("", part).filter(|(name, _)| own(name)) {
                let place = self.place_of("", &format!("{what} {name}{again}"));
                let problem = Problem::new(place, format!("`{name}` is declared by Palisade already"));
                problems.push(match OWN.iter().find(|(kind, ..)| kind == name) {
                    Some((_, _, true)) => problem
                        .help(format!("to give it attributes, declare `type {name}{ATTRIBUTES} = {{ … }};`")),
                    _ => problem.help("choose another name"),
                });
            }
        }
    }
}

impl OwnAttributes {
    /// Checks all fragments and takes out of them what they say of our own types.
    pub(super) fn read(fragments: &[Fragment<'_>], problems: &mut Problems) -> OwnAttributes {
        for fragment in fragments {
            fragment.check(problems);
        }
        let mut declarations = BTreeMap::new();
        for (kind, parents, extensible) in OWN {
            let written = format!("{kind}{ATTRIBUTES}");
            let found = fragments
                .iter()
                .flat_map(|fragment| {
                    fragment.declarations("", "commonTypes").map(move |declared| (fragment, declared))
                })
                .find(|(_, (name, _))| **name == written);
            let mut shape = json!({ "type": "Record", "attributes": {} });
            if let Some((fragment, (_, declared))) = found {
                let place = || fragment.place_of("", &format!("type {written} = Long;"));
                if !extensible {
                    let problem = Problem::new(place(), format!("`{kind}` has no attributes"));
                    problems.push(problem.help("nothing could give it values"));
                } else if declared.get("type").and_then(Value::as_str) == Some("Record") {
                    shape = declared.clone();
                } else {
                    let problem = Problem::new(place(), format!("`{written}` is not a record"));
                    problems.push(problem.help(format!("write `type {written} = {{ name: String }};`")));
                }
            }
            declarations.insert(kind, declaration(kind, parents, &shape));
        }
        OwnAttributes { declarations }
    }

    pub(super) fn declaration(&self, kind: &str) -> &str {
        self.declarations.get(kind).map_or("", String::as_str)
    }
}

/// Whether an entity type is one of ours.
pub(super) fn is_own(kind: &str) -> bool {
    OWN.iter().any(|(own, ..)| *own == kind)
}

/// What our types can be in, for entities.
pub(super) fn parents_of(kind: &str) -> Option<&'static [&'static str]> {
    OWN.iter().find(|(own, ..)| *own == kind).map(|(_, parents, _)| *parents)
}

/// An entity type in Cedar's own syntax, written by Cedar.
fn declaration(kind: &str, parents: &[&str], shape: &Value) -> String {
    let declared = json!({ "": {
        "entityTypes": { kind: { "memberOfTypes": parents, "shape": shape } },
        "actions": {},
    }});
    let written = SchemaFragment::from_json_value(declared).ok().and_then(|one| one.to_cedarschema().ok());
    // A shape that cannot be written was reported by whoever reads the fragment as a whole.
    written.map_or_else(|| format!("entity {kind};"), |text| text.trim().to_owned())
}

/// All declarations of all fragments: namespace, part (`entityTypes`, `commonTypes`), name, declaration.
pub(super) fn all<'a>(
    fragments: &'a [Fragment<'_>],
    part: &'static str,
) -> Vec<(&'a str, &'a str, &'a Value)> {
    let mut found = Vec::new();
    for fragment in fragments {
        for namespace in fragment.namespaces() {
            let declared = fragment.declarations(namespace, part);
            found.extend(declared.map(|(name, value)| (namespace, name.as_str(), value)));
        }
    }
    found
}
