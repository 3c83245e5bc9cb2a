//! The rules of an operation for the head of a request, and what is to be done with its body.

use crate::contract::{BodyRule, GRPC, Matched, MediaType};
use crate::head::RequestHead;
use crate::media::ContentType;
use crate::reason::Reason;

/// What the body phase has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// The request has no body, or must not have one: any byte is a refusal.
    Absent,
    /// Hold all of it, then judge it.
    Judge { bytes_max: u32, json: bool, required: bool },
    /// A stream (gRPC, or a declared upgrade): only the head has rules.
    Stream,
}

/// Judges a head by its operation. `ends_here`: the proxy saw the end of the request with its head.
pub fn check_head(matched: Matched<'_>, head: &RequestHead<'_>, ends_here: bool) -> Result<BodyPlan, Reason> {
    let operation = matched.operation;
    // First of all: an upgraded request is not held by the gate, so that no later rule could be kept.
    if let Some(protocol) = head.upgrade {
        let declared = operation.upgrade.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(protocol));
        return if declared { Ok(BodyPlan::Stream) } else { Err(Reason::UpgradeNotDeclared) };
    }
    let Some(rule) = &operation.body else {
        return match head.content_length {
            Some(1..) => Err(Reason::BodyNotDeclared),
            // No gate holds this head until we know whether a body comes, so that what may bring one is refused at once.
            None if !ends_here && matched.service.is_ungated() => Err(Reason::BodyNotDeclared),
            Some(0) | None => Ok(BodyPlan::Absent),
        };
    };
    if ends_here {
        return if rule.required { Err(Reason::BodyMissing) } else { Ok(BodyPlan::Absent) };
    }
    check_body_head(rule, head)
}

fn check_body_head(rule: &BodyRule, head: &RequestHead<'_>) -> Result<BodyPlan, Reason> {
    if head.content_encoded {
        return Err(Reason::ContentEncodingNotAllowed);
    }
    let content_type = head.content_type.ok_or(Reason::ContentTypeMissing)?;
    let declared = rule.media_types.iter().find(|known| accepts(known, content_type));
    let media_type = declared.ok_or(Reason::ContentTypeNotDeclared)?;
    if content_type == ContentType::Grpc {
        return Ok(BodyPlan::Stream);
    }
    if head.content_length.is_some_and(|length| length > u64::from(rule.bytes_max)) {
        return Err(Reason::BodyTooLarge);
    }
    Ok(BodyPlan::Judge { bytes_max: rule.bytes_max, json: media_type.json, required: rule.required })
}

fn accepts(declared: &MediaType, content_type: ContentType<'_>) -> bool {
    match content_type {
        ContentType::Grpc => declared.essence.as_ref() == GRPC,
        ContentType::Media(essence) => declared.essence.eq_ignore_ascii_case(essence),
    }
}
