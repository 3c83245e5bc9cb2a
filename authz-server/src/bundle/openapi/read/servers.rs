//! The base path of a contract: what its servers' URLs have before each path.
//!
//! Hosts come from `service.yaml`; of a URL only the path counts. INVARIANT: servers that disagree about it are an error,
//! because operations would be matched at one of several places without anybody saying at which.

use super::{Reading, keys};
use crate::bundle::yaml::{Node, Span};
use palisade_core::routes::Segment;

/// What stands before the paths of some operations: segments without parameters.
#[derive(Debug, Clone, Default)]
pub(in crate::bundle) struct BasePath {
    /// `/v1`; empty where there is none.
    pub(super) text: String,
    pub(super) segments: Vec<Segment>,
}

/// How to say which of several base paths counts.
const OVERRIDE: &str = "write `base_path` into `service.yaml`, which then counts instead of `servers`";

impl<'d> Reading<'d> {
    /// The base path of a list of servers. `None`: there is no list here.
    pub(super) fn base_path(&mut self, servers: Option<&'d Node>) -> Option<BasePath> {
        let node = servers?;
        let mut first: Option<(String, BasePath)> = None;
        for server in self.list(node).unwrap_or_default() {
            let Some((url, at)) = self.server(server) else { continue };
            let Some(path) = self.path_of(&url, at, server) else { continue };
            match &first {
                None => first = Some((url, path)),
                Some((_, known)) if known.text == path.text => {}
                Some((known, _)) => {
                    let message = format!("servers `{known}` and `{url}` have different base paths");
                    self.wrong(at, message, OVERRIDE);
                }
            }
        }
        first.map(|(_, path)| path)
    }

    fn server(&mut self, node: &'d Node) -> Option<(String, Span)> {
        let fields = self.object(node, &keys::SERVER)?;
        for (_, variable) in self.named(fields.find("variables"), "the variables") {
            self.object(variable, &keys::SERVER_VARIABLE);
        }
        let Some(url) = fields.find("url") else {
            self.wrong(
                node.at,
                "this server has no `url`",
                "expected one such as `https://api.example.com/v1`",
            );
            return None;
        };
        Some((self.text(url)?.to_owned(), url.at))
    }

    /// The path of a server's URL, its variables replaced by their defaults.
    fn path_of(&mut self, url: &str, at: Span, server: &'d Node) -> Option<BasePath> {
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or(""),
            None if url.is_empty() || url.starts_with('/') => url,
            None => {
                let message = format!("server `{url}` is neither a URL nor an absolute path");
                self.wrong(at, message, "expected `https://api.example.com/v1` or `/v1`");
                return None;
            }
        };
        let path = self.without_variables(path, at, server)?;
        self.base_path_of(at, &path)
    }

    fn without_variables(&mut self, path: &str, at: Span, server: &'d Node) -> Option<String> {
        let mut out = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            let variable = server.find("variables").and_then(|variables| variables.find(name));
            let choices = variable.and_then(|variable| variable.find("enum")).and_then(Node::as_list);
            let default = variable.and_then(|variable| variable.find("default")).and_then(scalar);
            if choices.is_some_and(|choices| choices.len() > 1) {
                let message = format!("the base path of this server depends on its variable `{name}`");
                self.wrong(at, message, OVERRIDE);
                return None;
            }
            let Some(default) = default else {
                let message = format!("the variable `{name}` of this server has no default");
                self.wrong(at, message, "declare it under `variables`, with a `default`");
                return None;
            };
            out.push_str(before);
            out.push_str(default);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }

    /// A base path as it is written in a URL or in `service.yaml`.
    pub(super) fn base_path_of(&mut self, at: Span, path: &str) -> Option<BasePath> {
        let text = path.trim_end_matches('/');
        if text.is_empty() {
            return Some(BasePath::default());
        }
        let segments = self.template(at, text)?;
        if segments.iter().any(|segment| matches!(segment, Segment::Parameter(_))) {
            let message = format!("base path `{text}` has a parameter");
            self.wrong(at, message, "write the paths with it, or name its one value");
            return None;
        }
        self.check_whole(at, text, &segments).then(|| BasePath { text: text.to_owned(), segments })
    }
}

/// A text, or a number that was meant as one: `default: 1.0` is a version.
fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        crate::bundle::yaml::Value::Text(text) | crate::bundle::yaml::Value::Number(text) => Some(text),
        _ => None,
    }
}
