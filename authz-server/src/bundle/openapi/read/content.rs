//! `content`: media types, what is in them, and how forms write single properties.

use super::references::Kind;
use super::{Fields, Reading, keys};
use crate::bundle::openapi::model::{Encoding, Header, Media, SchemaId};
use crate::bundle::yaml::{Key, Node, Span};
use palisade_core::limits::{MEDIA_TYPES_MAX, NAME_BYTES_MAX};

/// How the properties of a form are written, by name.
type Encodings = Vec<(Box<str>, Encoding)>;

impl<'d> Reading<'d> {
    /// What a request may have: each media type by its own name, because a filter compares names.
    pub(super) fn content_of_request(&mut self, node: &'d Node) -> Option<Vec<Media>> {
        let mut media: Vec<Media> = Vec::new();
        let mut complete = true;
        for (key, object) in self.named(Some(node), "`content`") {
            let read = self.media(object);
            let Some(essence) = self.essence_of_request(key) else {
                complete = false;
                continue;
            };
            if media.iter().any(|known| *known.essence == *essence) {
                let message = format!("media type `{essence}` is declared twice");
                self.wrong(
                    key.at,
                    message,
                    "upper and lower case, and `charset=utf-8`, make no difference; keep one",
                );
                complete = false;
                continue;
            }
            media.extend(read.map(|(schema, encoding)| Media { essence, schema, encoding }));
        }
        if media.len() > MEDIA_TYPES_MAX {
            let message =
                format!("a body of {} media types is over the limit of {MEDIA_TYPES_MAX}", media.len());
            self.wrong(node.at, message, "name those that are used");
        }
        if media.is_empty() && complete {
            let at = Span::start_of(node.at);
            self.wrong(
                at,
                "the request body has no media types",
                "name each accepted type: `application/json`",
            );
        }
        media.sort_by(|one, other| one.essence.cmp(&other.essence));
        (!media.is_empty() && complete).then_some(media)
    }

    /// What a response may have, ranges such as `image/*` among it.
    pub(super) fn content_of_response(&mut self, node: &'d Node) -> Vec<Media> {
        let mut media = Vec::new();
        for (key, object) in self.named(Some(node), "`content`") {
            let essence = self.essence(key);
            let read = self.media(object);
            media.extend(essence.zip(read).map(|(essence, (schema, encoding))| Media {
                essence,
                schema,
                encoding,
            }));
        }
        media.sort_by(|one, other| one.essence.cmp(&other.essence));
        media
    }

    pub(super) fn content_of_parameter(&mut self, node: &'d Node) -> Vec<Media> {
        self.content_of_response(node)
    }

    fn essence_of_request(&mut self, key: &Key) -> Option<Box<str>> {
        let written = key.text.as_str();
        let (essence, parameters) = written.split_once(';').unwrap_or((written, ""));
        let parameters = parameters.trim().to_ascii_lowercase();
        let plain =
            parameters.is_empty() || matches!(parameters.as_str(), "charset=utf-8" | "charset=\"utf-8\"");
        if !plain {
            let message = format!("media type `{written}` has a parameter that no request may have");
            self.wrong(key.at, message, format!("write `{}`", essence.trim()));
            return None;
        }
        if essence.contains('*') {
            let message = format!("`{written}` is not one media type");
            let help = "name each accepted type, such as `application/json`: what a body is must be known to judge it";
            self.wrong(key.at, message, help);
            return None;
        }
        self.essence(key)
    }

    /// In lower case, without parameters.
    fn essence(&mut self, key: &Key) -> Option<Box<str>> {
        let written = key.text.as_str();
        let essence = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_token = |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        };
        let sound =
            essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
        if !sound || essence.len() > NAME_BYTES_MAX {
            let message = format!("`{written}` is not a media type");
            self.wrong(key.at, message, "expected one such as `application/json`");
            return None;
        }
        Some(essence.into())
    }

    fn media(&mut self, node: &'d Node) -> Option<(SchemaId, Encodings)> {
        let fields = self.object(node, &keys::MEDIA_TYPE)?;
        let schema = self.schema_in(fields);
        let mut encoding = Vec::new();
        for (property, node) in self.named(fields.find("encoding"), "`encoding`") {
            let read = self.object(node, &keys::ENCODING).map(|fields| self.encoding(fields));
            encoding.extend(read.map(|encoding| (property.text.as_str().into(), encoding)));
        }
        encoding.sort_by(|(one, _), (other, _): &(Box<str>, Encoding)| one.cmp(other));
        Some((schema, encoding))
    }

    fn encoding(&mut self, fields: Fields<'d>) -> Encoding {
        let content_types = fields.find("contentType").and_then(|node| self.text(node)).unwrap_or_default();
        Encoding {
            content_types: content_types
                .split(',')
                .map(|essence| essence.trim().to_ascii_lowercase())
                .filter(|essence| !essence.is_empty())
                .map(Into::into)
                .collect(),
            style: self.encoding_style(fields),
            explode: fields.has("explode").then(|| self.flag(fields, "explode")),
            allow_reserved: self.flag(fields, "allowReserved"),
            headers: self.headers(fields),
        }
    }

    pub(super) fn headers(&mut self, fields: Fields<'d>) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::new();
        for (key, node) in self.named(fields.find("headers"), "the headers") {
            let content = self.follow(node, Kind::Header).and_then(|node| self.header(node));
            let name = self.header_name(key.at, &key.text);
            let Some((name, content)) = name.zip(content) else { continue };
            if headers.iter().any(|known| known.name == name) {
                let message = format!("header `{name}` is declared twice");
                self.wrong(key.at, message, "upper and lower case make no difference; keep one");
                continue;
            }
            // OpenAPI ignores it here: it follows from the media types.
            if &*name != "content-type" {
                headers.push(Header { name, required: content.required, form: content.form });
            }
        }
        headers.sort_by(|one, other| one.name.cmp(&other.name));
        headers
    }
}
