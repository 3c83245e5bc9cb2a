//! The rules of an operation for a response: its head, and then its body.
//!
//! INVARIANT: whatever is wrong with a response is told to `broken`, which alone says whether that ends it. What cannot be
//! judged (a body that is encoded, or too large) is told, too, and never counts as good.

use crate::contract::{Content, Enforcement, Part, ResponseRule, ResponseRules};
use crate::json::{Event, Events};
use crate::limits::HEADERS_MAX;
use crate::media::ContentType;
use crate::parameters;
use crate::reason::Reason;
use crate::schema::{CompiledSchemas, check_document};
use crate::violation::Violation;

/// Where the rule of a response's body stands in its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRuleAt {
    declared: usize,
    media: usize,
}

/// What the body phase of a response has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePlan {
    /// Nothing of it is judged.
    Pass,
    /// A copy is judged after it went out.
    Copy(BodyRuleAt),
    /// It is held until it was judged.
    Hold(BodyRuleAt),
}

/// What of a response's head its rules speak of.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead<'a> {
    pub status: u16,
    content_type: Option<&'a str>,
    is_encoded: bool,
    has_body: bool,
}

impl<'a> ResponseHead<'a> {
    /// `ends_here`: there is no body.
    pub fn parse(
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends_here: bool,
    ) -> Result<ResponseHead<'a>, Reason> {
        let mut head = ResponseHead { has_body: !ends_here, ..ResponseHead::default() };
        for (count, (name, value)) in pairs.enumerate() {
            if count >= HEADERS_MAX {
                return Err(Reason::HeaderTooMany);
            }
            match name {
                b":status" => {
                    let status = core::str::from_utf8(value).ok().and_then(|status| status.parse().ok());
                    head.status = status.ok_or(Reason::ResponseNotDeclared)?;
                }
                b"content-type" => {
                    let text = core::str::from_utf8(value).map_err(|_| Reason::ResponseContentType)?;
                    head.content_type = Some(text);
                }
                b"content-encoding" => head.is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
                b"content-length" => head.has_body &= value != b"0",
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Judges a response's head, and says what is to be done with its body.
pub fn check_head<'a>(
    rules: &ResponseRules,
    schemas: &CompiledSchemas,
    head: &ResponseHead<'a>,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    mut broken: impl FnMut(Enforcement, Violation) -> Result<(), Violation>,
) -> Result<ResponsePlan, Violation> {
    // Another response follows, or a protocol that nobody judges.
    if head.status < 200 {
        return Ok(ResponsePlan::Pass);
    }
    if rules.head != Enforcement::Off {
        for name in &rules.never_headers {
            if pairs.clone().any(|(known, _)| known == name.as_bytes()) {
                broken(rules.head, Violation::at(Part::Header, name, Reason::ResponseForbidden))?;
            }
        }
    }
    let found = rules.declared.iter().position(|(statuses, _)| statuses.covers(head.status));
    let rule = found.and_then(|declared| Some((declared, &rules.declared.get(declared)?.1)));
    // A body that no rule is known for cannot be judged: where bodies are enforced, that is no pass.
    let unknown = if head.has_body { rules.head.max(rules.body) } else { rules.head };
    let Some((declared, rule)) = rule else {
        // A contract that says nothing of responses is broken by none, unless their bodies must be judged.
        let is_told = unknown == Enforcement::Enforce || !rules.declared.is_empty();
        if is_told && unknown != Enforcement::Off {
            let place = format!("status/{}", head.status).into();
            broken(unknown, Violation { place, ..Reason::ResponseNotDeclared.into() })?;
        }
        return Ok(ResponsePlan::Pass);
    };
    if rules.head != Enforcement::Off {
        check_headers(rule, schemas, pairs, |violation| broken(rules.head, violation))?;
    }
    let media = match media_of(rule, head) {
        Ok(media) => media,
        Err(reason) => {
            if unknown != Enforcement::Off {
                broken(unknown, reason.into())?;
            }
            None
        }
    };
    let looked_into = media.filter(|(_, content)| matches!(content, Content::Json { .. }));
    let Some((media, _)) = looked_into.filter(|_| rules.body != Enforcement::Off) else {
        return Ok(ResponsePlan::Pass);
    };
    if head.is_encoded {
        broken(rules.body, Reason::ResponseEncoded.into())?;
        return Ok(ResponsePlan::Pass);
    }
    let at = BodyRuleAt { declared, media };
    Ok(if rules.body == Enforcement::Enforce { ResponsePlan::Hold(at) } else { ResponsePlan::Copy(at) })
}

fn check_headers<'a>(
    rule: &ResponseRule,
    schemas: &CompiledSchemas,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    mut broken: impl FnMut(Violation) -> Result<(), Violation>,
) -> Result<(), Violation> {
    for header in &rule.headers {
        let name = header.name.as_bytes();
        let mut values = pairs.clone().filter(|(known, _)| *known == name).map(|(_, value)| value).peekable();
        if header.required && values.peek().is_none() {
            broken(Violation::at(Part::Header, &header.name, Reason::ParameterMissing))?;
        }
        for value in values {
            if let Err(violation) = parameters::judge_response_header(schemas, header, value) {
                broken(violation)?;
            }
        }
    }
    Ok(())
}

/// The declared media type of a response that has a body.
fn media_of<'r>(
    rule: &'r ResponseRule,
    head: &ResponseHead<'_>,
) -> Result<Option<(usize, &'r Content)>, Reason> {
    if !head.has_body {
        return Ok(None);
    }
    let essence = match head.content_type.map(ContentType::parse) {
        Some(Ok(ContentType::Media(essence))) => essence,
        Some(Ok(ContentType::Grpc)) => crate::contract::GRPC,
        // Whoever sends more parameters than we know still says what it is.
        Some(Err(_)) => {
            head.content_type.and_then(|whole| whole.split(';').next()).unwrap_or_default().trim_ascii()
        }
        None => return Err(Reason::ResponseContentType),
    };
    let found = rule.media.iter().position(|media| covers(&media.range, essence));
    let found = found.and_then(|at| Some((at, &rule.media.get(at)?.content)));
    found.map(Some).ok_or(Reason::ResponseContentType)
}

fn covers(range: &str, essence: &str) -> bool {
    match range.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => essence.split_once('/').is_some_and(|(known, _)| known.eq_ignore_ascii_case(kind)),
        None => range.eq_ignore_ascii_case(essence),
    }
}

/// Judges a whole body.
pub fn check_body(
    rules: &ResponseRules,
    at: BodyRuleAt,
    schemas: &CompiledSchemas,
    body: &[u8],
    mut broken: impl FnMut(Violation) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let rule = rules.declared.get(at.declared).and_then(|(_, rule)| rule.media.get(at.media));
    let Some(Content::Json { schema }) = rule.map(|media| &media.content) else {
        return Err(Reason::Internal.into());
    };
    if !rules.never_properties.is_empty()
        && let Some(violation) = forbidden(rules, body)
    {
        broken(violation)?;
    }
    let judged = match schema {
        Some(schema) => schemas.validate(*schema, body, rules.numbers),
        None => check_document(body, rules.numbers),
    };
    match judged {
        Ok(()) => Ok(()),
        Err(found) => broken(Violation::in_body(&found)),
    }
}

/// The first property that must never leave, wherever it stands.
fn forbidden(rules: &ResponseRules, body: &[u8]) -> Option<Violation> {
    // What is no document is told by whoever judges it as one.
    let mut events = Events::new(body, rules.numbers).ok()?;
    let mut scratch = String::new();
    while let Some(event) = events.next().ok()? {
        if let Event::Key(key, _) = event {
            let key = key.decode(&mut scratch);
            if let Some(name) = rules.never_properties.iter().find(|name| ***name == *key) {
                let place = ["body/**/", name].concat().into();
                return Some(Violation { place, ..Reason::ResponseForbidden.into() });
            }
        }
    }
    None
}

/// Which responses are looked at, where one of so many is.
#[derive(Debug, Clone, Default)]
pub struct Sampler(Vec<u32>);

impl Sampler {
    /// The first one of each operation, and then each that comes in its turn.
    pub fn takes(&mut self, operation: usize, one_in: u32) -> bool {
        if self.0.len() <= operation {
            self.0.resize(operation.saturating_add(1), 0);
        }
        let Some(count) = self.0.get_mut(operation) else { return true };
        let takes = *count == 0;
        *count = if count.saturating_add(1) >= one_in { 0 } else { count.saturating_add(1) };
        takes
    }
}

#[cfg(test)]
mod tests;
