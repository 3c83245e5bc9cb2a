//! What the contract says of proving who a caller is. It is kept to be shown and compared; nothing is enforced by it,
//! because identities are the bundle's matter and not each service's.

use super::references::Kind;
use super::{Fields, Reading, keys};
use crate::bundle::openapi::model::{ParameterPart, SecurityRequirement, SecurityScheme};
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Node, Span};
use std::collections::BTreeMap;

const TYPES: [&str; 5] = ["apiKey", "http", "mutualTLS", "oauth2", "openIdConnect"];

impl<'d> Reading<'d> {
    pub(super) fn security_schemes(&mut self, components: Fields<'d>) -> BTreeMap<Box<str>, SecurityScheme> {
        let mut schemes = BTreeMap::new();
        for (name, node) in self.named(components.find("securitySchemes"), "the security schemes") {
            let scheme = self.follow(node, Kind::SecurityScheme).and_then(|node| self.security_scheme(node));
            schemes.extend(scheme.map(|scheme| (name.text.as_str().into(), scheme)));
        }
        schemes
    }

    fn security_scheme(&mut self, node: &'d Node) -> Option<SecurityScheme> {
        let fields = self.object(node, &keys::SECURITY_SCHEME)?;
        let kind = self.needed(fields, "type")?;
        match kind {
            "apiKey" => {
                let name = self.needed(fields, "name")?.into();
                let part = match self.needed(fields, "in")? {
                    "query" => ParameterPart::Query,
                    "header" => ParameterPart::Header,
                    "cookie" => ParameterPart::Cookie,
                    other => {
                        let at = fields.find("in").map_or(fields.at, |node| node.at);
                        let message = format!("no API key stands in `{other}`");
                        self.wrong(at, message, "expected `header`, `query` or `cookie`");
                        return None;
                    }
                };
                Some(SecurityScheme::ApiKey { part, name })
            }
            "http" => {
                let scheme = self.needed(fields, "scheme")?.to_ascii_lowercase().into();
                Some(SecurityScheme::Http { scheme })
            }
            "mutualTLS" => Some(SecurityScheme::MutualTls),
            "oauth2" => Some(SecurityScheme::OAuth2),
            "openIdConnect" => {
                Some(SecurityScheme::OpenIdConnect { url: self.needed(fields, "openIdConnectUrl")?.into() })
            }
            other => {
                let at = fields.find("type").map_or(fields.at, |node| node.at);
                let problem =
                    Problem::new(self.place(at), format!("unknown type `{other}` of a security scheme"));
                let names = TYPES.map(|name| format!("`{name}`")).join(", ");
                self.push(problem.suggest(other, TYPES).help(format!("expected one of {names}")));
                None
            }
        }
    }

    fn needed(&mut self, fields: Fields<'d>, key: &str) -> Option<&'d str> {
        match fields.find(key) {
            Some(node) => self.text(node),
            None => {
                let place = self.place(Span::start_of(fields.at));
                self.push(Problem::new(place, format!("this security scheme has no `{key}`")));
                None
            }
        }
    }

    /// The `security` of a document or an operation. `None`: it has none of its own.
    pub(super) fn requirements(&mut self, fields: Fields<'d>) -> Option<Vec<SecurityRequirement>> {
        let node = fields.find("security")?;
        let mut requirements = Vec::new();
        for item in self.list(node)? {
            let mut schemes = BTreeMap::new();
            for (name, scopes) in self.map(item, "a security requirement").unwrap_or_default() {
                if self.components.find(Kind::SecurityScheme, &name.text).is_none() {
                    let message = format!("there is no security scheme `{}`", name.text);
                    let problem = Problem::new(self.place(name.at), message)
                        .suggest(&name.text, self.components.names(Kind::SecurityScheme))
                        .help("declare it under `components`, `securitySchemes`");
                    self.push(problem);
                }
                let scopes = self.texts(scopes).into_iter().map(|(scope, _)| scope.into()).collect();
                schemes.insert(name.text.as_str().into(), scopes);
            }
            requirements.push(SecurityRequirement { schemes });
        }
        Some(requirements)
    }
}
