//! What a contract says of one operation, as lines that can be compared: the same contract gives the same lines, however
//! it is arranged in components, and in whatever order.

use super::{
    ArrayRules, Json, Media, Model, ObjectRules, Operation, Parameter, ParameterForm, Schema, SchemaId,
    Style, TextRules, TypeSet,
};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Public contracts have objects that contain each other without end; what is deeper is compared by a digest.
const FACTS_MAX: usize = 4_000;

impl Model {
    /// Each thing that the contract says of an operation's requests and responses, by where it stands:
    /// `body application/json /item` is `string, length 1 to 200, required`.
    pub fn facts(&self, operation: &Operation) -> BTreeMap<String, String> {
        let mut facts =
            Facts { model: self, found: BTreeMap::new(), open: VecDeque::new(), steps: Vec::new() };
        for parameter in &operation.parameters {
            facts.parameter(parameter);
        }
        if let Some(body) = &operation.body {
            let names: Vec<_> = body.media.iter().map(|media| &*media.essence).collect();
            facts.say("body", format!("{}, {}", names.join(" or "), presence(body.required)));
            facts.media("body", &body.media);
        }
        for (status, response) in &operation.responses {
            let at = format!("response {status}");
            let names: Vec<_> = response.media.iter().map(|media| &*media.essence).collect();
            facts.say(&at, if names.is_empty() { "no content".to_owned() } else { names.join(" or ") });
            for header in &response.headers {
                let at = format!("{at} header {}", header.name);
                facts.form(&at, &header.form, presence(header.required));
            }
            facts.media(&at, &response.media);
        }
        if operation.deprecated {
            facts.say("deprecated", "yes".to_owned());
        }
        facts.finish()
    }
}

fn presence(required: bool) -> &'static str {
    if required { "required" } else { "optional" }
}

struct Facts<'m> {
    model: &'m Model,
    found: BTreeMap<String, String>,
    open: VecDeque<Step>,
    /// Every schema that was met, with the step that led to it: a schema among its own ancestors ends there.
    steps: Vec<(SchemaId, Option<usize>)>,
}

/// A schema that is to be described.
struct Step {
    at: String,
    id: SchemaId,
    from: Option<usize>,
    note: &'static str,
}

impl Facts<'_> {
    fn say(&mut self, at: &str, what: String) {
        self.found.insert(at.to_owned(), what);
    }

    fn parameter(&mut self, parameter: &Parameter) {
        let at = format!("{} {}", parameter.part.as_str(), parameter.name);
        self.form(&at, &parameter.form, presence(parameter.required));
    }

    fn form(&mut self, at: &str, form: &ParameterForm, note: &'static str) {
        match form {
            ParameterForm::Content { essence, schema } => {
                self.push(format!("{at} {essence}"), *schema, None, note);
            }
            ParameterForm::Styled { style, explode, allow_reserved, schema } => {
                let usual = matches!((style, explode), (Style::Simple, false) | (Style::Form, true));
                if !usual {
                    let exploded = if *explode { ", exploded" } else { "" };
                    self.say(&format!("{at} style"), format!("{}{exploded}", style.as_str()));
                }
                if *allow_reserved {
                    self.say(&format!("{at} reserved"), "allowed".to_owned());
                }
                self.push(at.to_owned(), *schema, None, note);
            }
        }
    }

    fn media(&mut self, at: &str, media: &[Media]) {
        for media in media {
            self.push(format!("{at} {}", media.essence), media.schema, None, "");
            for (property, encoding) in &media.encoding {
                let style = encoding.style.map_or("", Style::as_str);
                let types = encoding.content_types.join(" or ");
                let what = format!("{types} {style}").trim().to_owned();
                self.say(&format!("{at} {} encoding of {property}", media.essence), what);
            }
        }
    }

    fn push(&mut self, at: String, id: SchemaId, from: Option<usize>, note: &'static str) {
        self.open.push_back(Step { at, id, from, note });
    }

    fn finish(mut self) -> BTreeMap<String, String> {
        // In breadth: where it ends early, what is near the surface is there.
        while let Some(step) = self.open.pop_front() {
            if self.found.len() >= FACTS_MAX {
                let digest = self.digest(step.id);
                self.say("…", format!("deeper parts, digest {digest:016x}"));
                break;
            }
            self.step(step);
        }
        self.found
    }

    fn step(&mut self, step: Step) {
        let schema = self.model.schema(step.id);
        if self.is_own_ancestor(&step) {
            let what = join([Some("the same again".to_owned()), note(step.note)]);
            self.say(&step.at, what);
            return;
        }
        let here = self.steps.len();
        self.steps.push((step.id, step.from));
        let what = join(describe(schema).into_iter().map(Some).chain([note(step.note)]));
        self.say(&step.at, what);
        let mut child = |at: String, id: SchemaId, note: &'static str| {
            self.open.push_back(Step { at, id, from: Some(here), note })
        };
        let at = &step.at;
        if let Some(object) = &schema.object {
            children_of_object(object, at, &mut child);
        }
        if let Some(array) = &schema.array {
            children_of_array(array, at, &mut child);
        }
        let Some(combined) = &schema.combined else { return };
        let mut list = |word: &str, ids: &[SchemaId]| {
            for (label, id) in labelled(self.model, ids) {
                self.open.push_back(Step {
                    at: format!("{at} {word} {label}"),
                    id,
                    from: Some(here),
                    note: "",
                });
            }
        };
        list("all of", &combined.all_of);
        list("any of", combined.any_of.as_deref().unwrap_or_default());
        list("one of", combined.one_of.as_deref().unwrap_or_default());
        let single = [
            ("not", combined.not),
            ("if", combined.condition),
            ("then", combined.then),
            ("else", combined.otherwise),
        ];
        for (word, id) in single {
            if let Some(id) = id {
                list(word, &[id]);
            }
        }
        if let Some(discriminator) = &combined.discriminator {
            let kinds: Vec<_> = discriminator.mapping.iter().map(|(value, _)| &**value).collect();
            let what = format!("{} {}", discriminator.property, kinds.join(", ")).trim().to_owned();
            self.say(&format!("{at} discriminator"), what);
        }
    }

    fn is_own_ancestor(&self, step: &Step) -> bool {
        let mut from = step.from;
        while let Some((id, above)) = from.and_then(|at| self.steps.get(at)) {
            if *id == step.id {
                return true;
            }
            from = *above;
        }
        false
    }

    /// Over all schemas that are left, in the order in which they are met.
    fn digest(&self, first: SchemaId) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut met: BTreeMap<SchemaId, usize> = BTreeMap::new();
        let mut open: VecDeque<_> =
            std::iter::once(first).chain(self.open.iter().map(|step| step.id)).collect();
        while let Some(id) = open.pop_front() {
            let number = met.len();
            if let Some(known) = met.get(&id) {
                known.hash(&mut hasher);
                continue;
            }
            met.insert(id, number);
            let schema = self.model.schema(id);
            describe(schema).hash(&mut hasher);
            let mut children = Vec::new();
            let mut child = |at: String, id: SchemaId, note: &'static str| {
                at.hash(&mut hasher);
                note.hash(&mut hasher);
                children.push(id);
            };
            schema.object.iter().for_each(|object| children_of_object(object, "", &mut child));
            schema.array.iter().for_each(|array| children_of_array(array, "", &mut child));
            open.extend(children);
            open.extend(schema.combined.iter().flat_map(|combined| combined.branches()));
        }
        hasher.finish()
    }
}

/// Branches by what they are, so that their order makes no difference: by name, else by number.
fn labelled(model: &Model, ids: &[SchemaId]) -> Vec<(String, SchemaId)> {
    let label = |(at, id): (usize, &SchemaId)| match model.schemas.name(*id) {
        Some(name) => (name.to_owned(), *id),
        None => ((at + 1).to_string(), *id),
    };
    ids.iter().enumerate().map(label).collect()
}

fn note(note: &str) -> Option<String> {
    (!note.is_empty()).then(|| note.to_owned())
}

fn join(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn children_of_object(
    object: &ObjectRules,
    at: &str,
    child: &mut impl FnMut(String, SchemaId, &'static str),
) {
    for (name, id) in &object.properties {
        child(format!("{at} /{name}"), *id, presence(object.requires(name)));
    }
    for (pattern, id) in &object.pattern_properties {
        child(format!("{at} /{{{}}}", pattern.written), *id, "");
    }
    let single = [("/*", object.additional), ("name", object.names), ("/unevaluated", object.unevaluated)];
    for (word, id) in single {
        if let Some(id) = id {
            child(format!("{at} {word}"), id, "");
        }
    }
    for (name, id) in &object.dependent_schemas {
        child(format!("{at} with {name}"), *id, "");
    }
}

fn children_of_array(array: &ArrayRules, at: &str, child: &mut impl FnMut(String, SchemaId, &'static str)) {
    for (place, id) in array.prefix.iter().enumerate() {
        child(format!("{at} [{place}]"), *id, "");
    }
    let single = [("[]", array.items), ("contains", array.contains), ("[unevaluated]", array.unevaluated)];
    for (word, id) in single {
        if let Some(id) = id {
            child(format!("{at} {word}"), id, "");
        }
    }
}

/// What a schema says of a value itself.
fn describe(schema: &Schema) -> Vec<String> {
    let mut parts = vec![schema.types.to_string()];
    if let Some(values) = &schema.values {
        let mut values: Vec<_> = values.iter().map(Json::to_string).collect();
        values.sort();
        parts.push(format!("one of {}", values.join(", ")));
    }
    if let Some(number) = &schema.number {
        let end = |bound: &Option<super::Bound>, open: &str| {
            bound.as_ref().map(|bound| format!("{}{}", if bound.exclusive { open } else { "" }, bound.value))
        };
        parts.extend(range("", end(&number.minimum, "above "), end(&number.maximum, "below ")));
        parts.extend(number.multiple_of.map(|step| format!("multiple of {step}")));
        parts.extend(number.format.as_ref().map(ToString::to_string));
    }
    if let Some(text) = &schema.text {
        describe_text(text, &mut parts);
    }
    if let Some(array) = &schema.array {
        parts.extend(counts("items", array.items_min, array.items_max));
        parts.extend(array.unique.then(|| "unique".to_owned()));
        if array.contains.is_some() {
            parts.extend(counts("contained", array.contains_min.unwrap_or(1), array.contains_max));
        }
    }
    if let Some(object) = &schema.object {
        parts.extend(counts("fields", object.properties_min, object.properties_max));
        let undeclared = object.required.iter().filter(|name| object.property(name).is_none());
        parts.extend(undeclared.map(|name| format!("needs {name}")));
        for dependency in &object.dependent_required {
            parts.push(format!("{} needs {}", dependency.property, dependency.needs.join(" and ")));
        }
    }
    for (holds, word) in [
        (schema.read_only, "read only"),
        (schema.write_only, "write only"),
        (schema.deprecated, "deprecated"),
    ] {
        parts.extend(holds.then(|| word.to_owned()));
    }
    if schema.types == TypeSet::ANY && parts.len() > 1 {
        parts.remove(0);
    }
    parts
}

fn describe_text(text: &TextRules, parts: &mut Vec<String>) {
    parts.extend(counts("length", text.length_min, text.length_max));
    parts.extend(text.pattern.as_ref().map(|pattern| format!("matches {}", pattern.written)));
    parts.extend(text.format.as_ref().map(ToString::to_string));
    parts.extend(text.content_encoding.as_ref().map(|encoding| format!("in {encoding}")));
    parts.extend(text.content_media_type.as_ref().map(|essence| format!("holds {essence}")));
}

fn counts(what: &str, least: u64, most: Option<u64>) -> Option<String> {
    let least = (least > 0).then(|| least.to_string());
    range(what, least, most.map(|most| most.to_string()))
}

fn range(what: &str, least: Option<String>, most: Option<String>) -> Option<String> {
    let said = match (least, most) {
        (None, None) => return None,
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("from {least}"),
        (None, Some(most)) => format!("up to {most}"),
    };
    Some(if what.is_empty() { said } else { format!("{what} {said}") })
}
