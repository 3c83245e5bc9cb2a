//! Path templates, whole: the base path of the servers and the path itself.

use super::Reading;
use crate::bundle::yaml::Span;
use palisade_core::limits::{NAME_BYTES_MAX, PATH_SEGMENTS_MAX};
use palisade_core::path::Target;
use palisade_core::routes::Segment;
use std::collections::BTreeSet;

impl Reading<'_> {
    /// The segments of a path as the contract has it. `None`: what is wrong was reported.
    pub(super) fn template(&mut self, at: Span, path: &str) -> Option<Vec<Segment>> {
        let Some(rest) = path.strip_prefix('/') else {
            let message = format!("path `{path}` does not begin with a slash");
            self.wrong(at, message, "paths are absolute: `/orders`");
            return None;
        };
        for (mark, what) in [('?', "a query"), ('#', "a fragment")] {
            if path.contains(mark) {
                let message = format!(
                    "path `{path}` has {what}, and operations are told apart by method and path alone"
                );
                let help = match mark {
                    '?' => {
                        "declare the query's parameters, and make one operation of those that only differ by them"
                    }
                    _ => "nothing behind `#` is ever sent; make one operation of those that share the path",
                };
                self.wrong(at, message, help);
                return None;
            }
        }
        let mut names = BTreeSet::new();
        let mut template = Vec::new();
        for segment in rest.split('/') {
            let Some(segment) = parse(segment) else {
                let message = format!("segment `{segment}` of path `{path}` mixes text and a parameter");
                self.wrong(at, message, help_for(segment));
                return None;
            };
            if let Segment::Parameter(name) = &segment
                && !names.insert(name.clone())
            {
                let message = format!("path `{path}` has two parameters `{name}`");
                self.wrong(at, message, "give each its own name");
                return None;
            }
            template.push(segment);
        }
        Some(template)
    }

    /// A whole template must be one that some request can have.
    pub(super) fn check_whole(&mut self, at: Span, path: &str, template: &[Segment]) -> bool {
        if template.len() > PATH_SEGMENTS_MAX {
            let message = format!("path `{path}` has more than {PATH_SEGMENTS_MAX} segments");
            self.wrong(at, message, "no request with so many is let through");
            return false;
        }
        let text = |segment: &Segment| match segment {
            Segment::Literal(text) => text.len(),
            Segment::Parameter(name) => name.len(),
        };
        if template.iter().map(text).any(|bytes| bytes > NAME_BYTES_MAX) {
            let message = format!("a segment of path `{path}` has more than {NAME_BYTES_MAX} bytes");
            self.wrong(at, message, "shorten it");
            return false;
        }
        let sample: String = template
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter(_) => "/x".to_owned(),
            })
            .collect();
        // A route that no accepted path can have would only look like protection.
        if let Err(reason) = Target::parse(sample.as_bytes()) {
            let message = format!("no request can have path `{path}`: {}", reason.explains());
            self.wrong(at, message, "change the path, or serve it without Palisade");
            return false;
        }
        true
    }
}

fn parse(segment: &str) -> Option<Segment> {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Some(Segment::Parameter(name.into())),
        Some(_) => None,
        None if segment.contains(['{', '}']) => None,
        None => Some(Segment::Literal(segment.into())),
    }
}

fn help_for(segment: &str) -> String {
    let balanced = segment.matches('{').count() == segment.matches('}').count();
    let words = segment.split(|character: char| !character.is_ascii_alphanumeric());
    let mut name = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        let first =
            letters.next().map(|first| if name.is_empty() { first } else { first.to_ascii_uppercase() });
        name.extend(first);
        name.extend(letters);
    }
    if balanced && !name.is_empty() {
        format!(
            "a parameter takes a whole segment: write `{{{name}}}` and give it a `pattern` that holds the text, too"
        )
    } else {
        "a parameter takes a whole segment: `/orders/{orderId}`".to_owned()
    }
}
