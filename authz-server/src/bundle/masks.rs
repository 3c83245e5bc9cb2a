//! Which values of requests do not stand in entries: `mask` in `service.yaml`, `ledger.mask` in `palisade.yaml`.
//!
//! INVARIANT: a mask that names nothing is an error: whoever wrote it believes that something is masked. Where two speak
//! of one value, the stricter one counts.

use super::context::{ContextPart, OperationContext};
use super::files::Role;
use super::format::{Mask, MaskEverywhere, MaskRules};
use super::openapi::{self, Model, Operation, ParameterPart};
use super::parsed::Parsed;
use super::problem::{Problem, Problems};
use super::record::{Named, Placed, Reader};
use super::recording::ALWAYS_RECORDED;
use super::service::ServiceRead;
use super::yaml::Key;
use crate::ledger::HeaderName;
use std::collections::BTreeSet;

/// Puts the masks of one operation into its context.
pub(super) fn of_operation(
    (model, operation): (&Model, &Operation),
    rules: &MaskRules,
    credentials: &[Box<str>],
    context: &mut OperationContext,
    reader: &mut Reader<'_>,
) {
    for (part, masks) in [(ParameterPart::Header, &rules.headers), (ParameterPart::Query, &rules.query)] {
        for (key, mask) in &masks.0 {
            let Some(name) = name_of(part, key, credentials, reader) else { continue };
            let declared = || parameters(operation, part);
            if !declared().any(|known| known == name) && !is_always_there(part, &name) {
                let message = format!("operation `{}` declares no {} `{name}`", operation.id, words(part));
                let problem = Problem::new(reader.place(key.at), message).suggest(&name, declared());
                reader.push(problem.help(UNMASKED));
                continue;
            }
            mask_parameter(context, part, &name, *mask);
        }
    }
    for (key, mask) in &rules.body.0 {
        let pointer = Placed { value: key.text.clone(), at: key.at };
        let Some(keys) = openapi::body_pointer(model, operation, &pointer, context, reader) else { continue };
        let below = context.fields.iter_mut().filter(|field| field.part == ContextPart::Body);
        for field in below.filter(|field| field.keys.starts_with(&keys)) {
            field.mask = field.mask.max(Some(*mask));
        }
    }
}

/// Puts the masks of all operations into their contexts. Where contracts have errors, a name that is in none of them may
/// be in what could not be read.
pub(super) fn of_all(
    documents: &Parsed<'_>,
    rules: &MaskEverywhere,
    credentials: &[Box<str>],
    (services, are_whole): (&mut [ServiceRead], bool),
    problems: &mut Problems,
) {
    let Some(document) = documents.with_role(Role::Palisade).next() else { return };
    let mut reader = Reader::new(document.file);
    for (part, masks) in [(ParameterPart::Header, &rules.headers), (ParameterPart::Query, &rules.query)] {
        for (key, mask) in &masks.0 {
            let Some(name) = name_of(part, key, credentials, &mut reader) else { continue };
            let operations = services.iter().flat_map(|service| &service.model.operations);
            let declared: BTreeSet<&str> =
                operations.flat_map(|operation| parameters(operation, part)).collect();
            if are_whole && !declared.contains(name.as_str()) && !is_always_there(part, &name) {
                let message = format!("no contract declares a {} `{name}`", words(part));
                let problem = Problem::new(reader.place(key.at), message).suggest(&name, declared);
                reader.push(problem.help(UNMASKED));
                continue;
            }
            for context in services.iter_mut().flat_map(|service| &mut service.contexts) {
                mask_parameter(context, part, &name, *mask);
            }
        }
    }
    problems.extend(reader.problems);
}

/// What a header that every entry holds becomes where no operation is known.
pub(super) fn everywhere(masks: &Named<Mask>, header: &str) -> Option<Mask> {
    masks.0.iter().filter(|(key, _)| key.text.eq_ignore_ascii_case(header)).map(|(_, mask)| *mask).max()
}

const UNMASKED: &str =
    "a mask of something that is not there would mask nothing; remove it, or mend the name";

fn name_of(
    part: ParameterPart,
    key: &Key,
    credentials: &[Box<str>],
    reader: &mut Reader<'_>,
) -> Option<String> {
    if part != ParameterPart::Header {
        return Some(key.text.clone());
    }
    match HeaderName::new(&key.text, credentials) {
        Ok(name) => Some(name.into()),
        Err(error) => {
            reader.wrong(key.at, error.to_string(), "remove it here: there is nothing to mask");
            None
        }
    }
}

fn mask_parameter(context: &mut OperationContext, part: ParameterPart, name: &str, mask: Mask) {
    let stands = match part {
        ParameterPart::Header => ContextPart::Header,
        _ => ContextPart::Query,
    };
    for field in &mut context.fields {
        if field.part == stands && field.keys.iter().eq([name]) {
            field.mask = field.mask.max(Some(mask));
        }
    }
    if part == ParameterPart::Header
        && let Some((_, known)) = context.always_recorded.iter_mut().find(|(header, _)| *header == name)
    {
        *known = (*known).max(Some(mask));
    }
}

fn parameters(operation: &Operation, part: ParameterPart) -> impl Iterator<Item = &str> {
    operation
        .parameters
        .iter()
        .filter(move |parameter| parameter.part == part)
        .map(|parameter| &*parameter.name)
}

fn is_always_there(part: ParameterPart, name: &str) -> bool {
    part == ParameterPart::Header && ALWAYS_RECORDED.contains(&name)
}

fn words(part: ParameterPart) -> &'static str {
    match part {
        ParameterPart::Header => "header",
        ParameterPart::Query => "query parameter",
        ParameterPart::Path => "path parameter",
        ParameterPart::Cookie => "cookie",
    }
}
