//! Content types: one media type, and only the parameters whose meaning is sure.

use crate::reason::Reason;

/// What a body's content type says, read strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType<'a> {
    /// Envoy's exact predicate holds: the caller is answered with a gRPC status.
    Grpc,
    /// Any other media type, without its parameters, as it was sent (compare without regard to case).
    Media(&'a str),
}

impl<'a> ContentType<'a> {
    pub fn parse(value: &'a str) -> Result<ContentType<'a>, Reason> {
        if is_grpc(value) {
            return Ok(ContentType::Grpc);
        }
        if starts_like_grpc(value) {
            return Err(Reason::ContentTypeNearGrpc);
        }
        let (essence, parameters) = match value.split_once(';') {
            Some((essence, parameters)) => (essence.trim_ascii_end(), Some(parameters)),
            None => (value, None),
        };
        let (kind, subtype) = essence.split_once('/').ok_or(Reason::ContentTypeInvalid)?;
        if !is_token(kind) || !is_token(subtype) {
            return Err(Reason::ContentTypeInvalid);
        }
        parameters.map_or(Ok(()), |parameters| check_parameters(parameters, kind))?;
        Ok(ContentType::Media(essence))
    }
}

/// What Envoy's own predicate (`Grpc::Common::hasGrpcContentType`) takes for gRPC, without what it lets follow the plus:
/// near misses get an HTTP reply from it, and two types that were joined to one value are none.
fn is_grpc(value: &str) -> bool {
    match value.strip_prefix("application/grpc") {
        Some(rest) => rest.is_empty() || rest.strip_prefix('+').is_some_and(is_token),
        None => false,
    }
}

fn starts_like_grpc(value: &str) -> bool {
    value.as_bytes().get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

fn check_parameters(parameters: &str, kind: &str) -> Result<(), Reason> {
    let mut charset = false;
    let mut boundary = false;
    for parameter in parameters.split(';') {
        let (name, value) = parameter.trim_ascii().split_once('=').ok_or(Reason::ContentTypeInvalid)?;
        if name.eq_ignore_ascii_case("charset") && !charset {
            charset = true;
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            if !value.eq_ignore_ascii_case("utf-8") {
                return Err(Reason::ContentTypeInvalid);
            }
        } else if name.eq_ignore_ascii_case("boundary") && !boundary && kind.eq_ignore_ascii_case("multipart")
        {
            boundary = true;
            if !is_token(value) {
                return Err(Reason::ContentTypeInvalid);
            }
        } else {
            return Err(Reason::ContentTypeInvalid);
        }
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A form as browsers encode it.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a body of this media type must be one JSON document.
pub fn is_json(essence: &str) -> bool {
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    essence.eq_ignore_ascii_case("application/json")
        || subtype.len() >= 5
            && subtype
                .as_bytes()
                .iter()
                .rev()
                .take(5)
                .rev()
                .copied()
                .map(|b| b.to_ascii_lowercase())
                .eq(*b"+json")
}

#[cfg(test)]
mod tests {
    use super::{ContentType, is_json};
    use crate::reason::Reason;
    use crate::testing::universal_test;

    universal_test! {
        fn reads_media_types_and_refuses_doubt() {
            let check = |value, expected| assert_eq!(ContentType::parse(value), expected, "{value}");
            check("application/json", Ok(ContentType::Media("application/json")));
            check("application/json; charset=utf-8", Ok(ContentType::Media("application/json")));
            check("Application/JSON;charset=\"UTF-8\"", Ok(ContentType::Media("Application/JSON")));
            check("multipart/form-data; boundary=xyz", Ok(ContentType::Media("multipart/form-data")));
            check("application/grpc", Ok(ContentType::Grpc));
            check("application/grpc+proto", Ok(ContentType::Grpc));
            for near in ["Application/gRPC", "application/grpc-web", "application/grpc;charset=x", "application/grpcx", "application/grpc ", "application/grpc+", "application/grpc+proto,application/json", "application/grpc+proto;x=y"] {
                check(near, Err(Reason::ContentTypeNearGrpc));
            }
            for odd in ["", "json", "application/", "/json", "application/json, text/plain", "application/json; charset=utf-16", "application/json; charset=utf-8; charset=utf-8", "application/json; q=1", "application/json;", "application/ json", "text/plain; boundary=x"] {
                check(odd, Err(Reason::ContentTypeInvalid));
            }
        }
    }

    universal_test! {
        fn knows_json_by_its_suffix() {
            for json in ["application/json", "application/problem+json", "APPLICATION/JSON", "application/x+JSON"] {
                assert!(is_json(json), "{json}");
            }
            for other in ["text/json", "application/jsonl", "application/xml", "json", "application/+jso"] {
                assert!(!is_json(other), "{other}");
            }
        }
    }
}
