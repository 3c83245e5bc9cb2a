//! The rules of an operation for a request: its head, and then its body.
//!
//! INVARIANT: a broken rule ends the request unless it is in shadow; then it is remembered, and the next rule is asked.

use crate::contract::{BodyRule, Content, GRPC, Matched, MediaType, Operation, Rule, Shadows};
use crate::head::RequestHead;
use crate::json::Numbers;
use crate::media::ContentType;
use crate::reason::Reason;
use crate::schema::{CompiledSchemas, check_document};
use crate::violation::Violation;
use crate::{forms, parameters};

/// What the body phase has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// The request has no body, or must not have one: any byte is a refusal.
    Absent,
    /// Hold all of it, then judge it.
    Judge {
        bytes_max: u32,
        required: bool,
        /// Its media type's place among those of the operation. None: an undeclared one, which is in shadow.
        media: Option<usize>,
    },
    /// A stream (gRPC, or a declared upgrade): only the head has rules.
    Stream,
}

/// Rules that were broken and are in shadow, for whoever counts them.
#[derive(Debug)]
pub struct Watched<'a> {
    now_ms: u64,
    pub found: Vec<Violation>,
    shadows: &'a Shadows,
}

impl<'a> Watched<'a> {
    pub const fn new(operation: &'a Operation, now_ms: u64) -> Watched<'a> {
        Watched { now_ms, found: Vec::new(), shadows: &operation.shadows }
    }

    /// Ends the request with a violation, unless its rule is in shadow.
    pub fn found(&mut self, violation: Violation) -> Result<(), Violation> {
        match violation.rule {
            Some(rule) if self.shadows.hold(rule, self.now_ms) => {
                self.found.push(violation);
                Ok(())
            }
            _ => Err(violation),
        }
    }
}

/// Judges a head by its operation. `ends_here`: the proxy saw the end of the request with its head.
pub fn check_head<'p>(
    matched: Matched<'_>,
    head: &RequestHead<'_>,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    schemas: &CompiledSchemas,
    ends_here: bool,
    watched: &mut Watched<'_>,
) -> Result<BodyPlan, Violation> {
    let operation = matched.operation;
    // First of all: an upgraded request is not held by the gate, so that no later rule could be kept.
    if let Some(protocol) = head.upgrade {
        let declared = operation.upgrade.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(protocol));
        if !declared {
            return Err(Reason::UpgradeNotDeclared.into());
        }
    }
    let plan = match (&operation.body, head.upgrade) {
        (_, Some(_)) => BodyPlan::Stream,
        (None, None) => check_absent(matched, head, ends_here)?,
        (Some(rule), None) if ends_here && rule.required => return Err(Reason::BodyMissing.into()),
        (Some(_), None) if ends_here => BodyPlan::Absent,
        (Some(rule), None) => check_body_head(rule, head, watched)?,
    };
    parameters::judge(schemas, operation, &head.target, pairs, watched)?;
    Ok(plan)
}

fn check_absent(matched: Matched<'_>, head: &RequestHead<'_>, ends_here: bool) -> Result<BodyPlan, Reason> {
    match head.content_length {
        Some(1..) => Err(Reason::BodyNotDeclared),
        // No gate holds this head until we know whether a body comes, so that what may bring one is refused at once.
        None if !ends_here && matched.service.is_ungated() => Err(Reason::BodyNotDeclared),
        Some(0) | None => Ok(BodyPlan::Absent),
    }
}

fn check_body_head(
    rule: &BodyRule,
    head: &RequestHead<'_>,
    watched: &mut Watched<'_>,
) -> Result<BodyPlan, Violation> {
    if head.content_encoded {
        return Err(Reason::ContentEncodingNotAllowed.into());
    }
    let declared = match head.content_type {
        Some(content_type) => {
            let media = rule.media_types.iter().position(|known| accepts(known, content_type));
            media.ok_or((Reason::ContentTypeNotDeclared, content_type == ContentType::Grpc))
        }
        None => Err((Reason::ContentTypeMissing, false)),
    };
    let media = match declared {
        Ok(media) => Some(media),
        // A stream is not held, so that nothing of it could be judged.
        Err((reason, true)) => return Err(reason.into()),
        Err((reason, false)) => {
            watched.found(Violation { rule: Some(Rule::ContentType), ..reason.into() })?;
            None
        }
    };
    if media.is_some() && head.is_grpc() {
        return Ok(BodyPlan::Stream);
    }
    if head.content_length.is_some_and(|length| length > u64::from(rule.bytes_max)) {
        return Err(Reason::BodyTooLarge.into());
    }
    Ok(BodyPlan::Judge { bytes_max: rule.bytes_max, required: rule.required, media })
}

/// Judges a whole body.
pub fn check_body(
    rule: &BodyRule,
    media: Option<usize>,
    schemas: &CompiledSchemas,
    body: &[u8],
    watched: &mut Watched<'_>,
) -> Result<(), Violation> {
    let Some(media) = media else { return Ok(()) };
    let media = rule.media_types.get(media).ok_or(Reason::Internal)?;
    match &media.content {
        Content::Opaque => Ok(()),
        Content::Json { schema: None } => check_json(body, rule.numbers),
        Content::Json { schema: Some(schema) } => match schemas.validate(*schema, body, rule.numbers) {
            Ok(()) => Ok(()),
            Err(broken) => {
                watched.found(Violation::in_body(&broken))?;
                // What is in shadow says only what a document means, and it must still be one.
                check_json(body, rule.numbers)
            }
        },
        Content::Form { form, schema } => forms::judge(schemas, form, *schema, body, watched),
    }
}

fn check_json(body: &[u8], numbers: Numbers) -> Result<(), Violation> {
    check_document(body, numbers).map_err(|broken| Violation::in_body(&broken))
}

fn accepts(declared: &MediaType, content_type: ContentType<'_>) -> bool {
    match content_type {
        ContentType::Grpc => declared.essence.as_ref() == GRPC,
        ContentType::Media(essence) => declared.essence.eq_ignore_ascii_case(essence),
    }
}
