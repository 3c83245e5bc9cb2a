//! Routes that would meet: no request may lead to two operations, nor to one by a spelling and to another by the next.

use super::Reading;
use super::document::Placeable;
use crate::bundle::lints::Lint;
use crate::bundle::yaml::Span;
use palisade_core::method::Method;
use palisade_core::routes::Segment;
use std::collections::HashMap;

/// A template without the names of its parameters.
type Shape<'o> = Vec<Option<&'o str>>;

fn shape(template: &[Segment]) -> Shape<'_> {
    template
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_ref()),
            Segment::Parameter(_) => None,
        })
        .collect()
}

impl Reading<'_> {
    pub(super) fn check_routes(&mut self, operations: &[Placeable]) {
        let mut taken: HashMap<(Method, Shape<'_>), &Placeable> = HashMap::new();
        for placeable in operations {
            let operation = &placeable.operation;
            if let Some(first) = taken.insert((operation.method, shape(&operation.template)), placeable) {
                let line = self.place(first.at).line.unwrap_or_default();
                let message = format!(
                    "`{} {}` is the route of operation `{}` in line {line}, too",
                    operation.method.as_str(),
                    operation.path,
                    first.operation.id
                );
                let help =
                    "the names of parameters make no difference to a request; make one operation of the two";
                self.wrong(placeable.at, message, help);
            }
        }
        self.check_spellings(operations);
    }

    /// `/caf%C3%A9` beside `/caf%c3%a9`: some services take both for one.
    fn check_spellings(&mut self, operations: &[Placeable]) {
        let mut known: HashMap<(Shape<'_>, String), (&str, Span)> = HashMap::new();
        for Placeable { operation, at } in operations {
            let whole = shape(&operation.template);
            for (depth, segment) in operation.template.iter().enumerate() {
                let Segment::Literal(text) = segment else { continue };
                let before = whole.iter().take(depth).copied().collect();
                let (first, _) = *known.entry((before, text.to_ascii_lowercase())).or_insert((text, *at));
                if first == &**text {
                    continue;
                }
                let message = format!("segment `{text}` of `{}` stands beside `{first}`", operation.path);
                if same_escapes(first, text) {
                    let help =
                        "a service that makes no difference between upper and lower case would mix them up";
                    self.lint(*at, Lint::PathCase, message, help);
                } else {
                    self.wrong(*at, message, "the two are one text in two spellings; keep one");
                }
            }
        }
    }
}

/// Whether two texts that are equal but for case have their escapes, if any, in the same case.
fn same_escapes(one: &str, other: &str) -> bool {
    let escapes = |text: &str| -> Vec<String> {
        text.split('%').skip(1).map(|rest| rest.chars().take(2).collect()).collect()
    };
    escapes(one) == escapes(other)
}
