//! Lints of what contracts and the rules beside them say.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::landscape::{Landscape, full_name};
use crate::bundle::openapi::{Model, Operation};
use palisade_core::contract::{Matched, OperationClass};
use palisade_core::media;
use palisade_core::method::Method;
use palisade_core::routes::Segment;
use std::collections::BTreeMap;

pub(super) fn look(landscape: &Landscape<'_>, places: &Places<'_>, found: &mut Found) {
    // Only templates of one service, one method and one length can take the same request.
    let mut rivals: BTreeMap<(&str, &str, usize), Vec<Matched<'_>>> = BTreeMap::new();
    for matched in &landscape.operations {
        change_as_read(*matched, places, found);
        let Matched { service, operation, .. } = *matched;
        let key = (service.name.as_ref(), operation.method.as_str(), operation.template.len());
        rivals.entry(key).or_default().push(*matched);
    }
    for rivals in rivals.into_values() {
        ambiguous(&rivals, places, found);
    }
    let bundle = landscape.bundle;
    for (settings, model) in bundle.services.iter().zip(&bundle.models) {
        for operation in &model.operations {
            if let Some(matched) = landscape.operation(&settings.name, &operation.id) {
                body_not_judged(model, operation, matched, places, found);
            }
        }
    }
}

/// A change whose body no schema describes. An upgrade says by itself that nothing of it is judged.
fn body_not_judged(
    model: &Model,
    operation: &Operation,
    matched: Matched<'_>,
    places: &Places<'_>,
    found: &mut Found,
) {
    if matched.operation.class == OperationClass::Read {
        return;
    }
    let open: Vec<String> = operation
        .body
        .iter()
        .flat_map(|body| &body.media)
        .filter(|media| !is_read(&media.essence) || model.schema(media.schema).is_any())
        .map(|media| format!("`{}`", media.essence))
        .collect();
    if !open.is_empty() {
        let name = full_name(matched);
        let message = format!("nothing judges what is in a body of `{name}`: {}", open.join(" or "));
        let help = "of JSON and of forms, a schema can be judged; of anything else the head and the size are";
        let place = places.operation(&matched.service.name, &operation.id);
        found.warn(Lint::BodyNotJudged, &name, place, message, help);
    }
}

/// Whether bodies of a media type are looked into.
fn is_read(essence: &str) -> bool {
    media::is_json(essence) || essence == media::FORM
}

fn change_as_read(matched: Matched<'_>, places: &Places<'_>, found: &mut Found) {
    let Matched { service, operation, .. } = matched;
    let changes = matches!(operation.method, Method::Put | Method::Patch | Method::Delete);
    if changes && operation.class == OperationClass::Read {
        let place = places.rule(&service.name, &operation.name, "class");
        let place = place.unwrap_or_else(|| places.operation(&service.name, &operation.name));
        let method = operation.method.as_str();
        let message = format!("`{}` counts as a read, and its method is {method}", full_name(matched));
        let help = format!(
            "{method} changes something, says HTTP: leave `class` away, or let it be `write` or `delete`"
        );
        found.warn(Lint::ChangeAsRead, &full_name(matched), place, message, help);
    }
}

/// Pairs of templates that both take some path, and neither of which is the more specific one.
fn ambiguous(rivals: &[Matched<'_>], places: &Places<'_>, found: &mut Found) {
    // A template without parameters is more specific than any other.
    let open: Vec<_> =
        rivals.iter().filter(|matched| literals(matched) < matched.operation.template.len()).collect();
    for (index, one) in open.iter().enumerate() {
        for other in open.get(index + 1..).unwrap_or_default() {
            let Some((path, first_wins)) = overlap(&one.operation.template, &other.operation.template) else {
                continue;
            };
            let (winner, loser) = if first_wins { (one, other) } else { (other, one) };
            let place = places.path(&loser.service.name, &loser.operation.name);
            let message = format!(
                "`{} {path}` could be `{}` or `{}`",
                loser.operation.method.as_str(),
                full_name(**loser),
                full_name(**winner)
            );
            let help = format!(
                "it is `{}`, whose first literal stands further left; rename one path to make it plain",
                full_name(**winner)
            );
            found.warn(Lint::AmbiguousRoutes, &full_name(**loser), place, message, help);
        }
    }
}

fn literals(matched: &Matched<'_>) -> usize {
    matched.operation.template.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
}

/// A path that both templates take where neither is more specific, and whether the first of them is found for it.
fn overlap(one: &[Segment], other: &[Segment]) -> Option<(String, bool)> {
    let mut path = String::new();
    let (mut one_first, mut other_first) = (None, None);
    for (at, pair) in one.iter().zip(other).enumerate() {
        let text = match pair {
            (Segment::Literal(one), Segment::Literal(other)) if one == other => one,
            (Segment::Literal(_), Segment::Literal(_)) => return None,
            (Segment::Literal(text), Segment::Parameter(_)) => {
                one_first.get_or_insert(at);
                text
            }
            (Segment::Parameter(_), Segment::Literal(text)) => {
                other_first.get_or_insert(at);
                text
            }
            (Segment::Parameter(name), Segment::Parameter(_)) => {
                path.push_str(&format!("/{{{name}}}"));
                continue;
            }
        };
        path.push_str(&format!("/{text}"));
    }
    let (one_first, other_first) = (one_first?, other_first?);
    Some((path, one_first < other_first))
}

#[cfg(test)]
mod tests {
    use super::overlap;
    use palisade_core::routes::Segment;

    #[test]
    fn two_templates_are_ambiguous_where_each_has_a_literal_that_the_other_lacks() {
        let template = |text: &str| -> Vec<Segment> {
            let segment = |part: &str| match part.strip_prefix('{') {
                Some(name) => Segment::Parameter(name.trim_end_matches('}').into()),
                None => Segment::Literal(part.into()),
            };
            text.split('/').skip(1).map(segment).collect()
        };
        let check = |one: &str, other: &str| overlap(&template(one), &template(other));
        assert_eq!(check("/a/{x}", "/a/b"), None, "the literal is more specific");
        assert_eq!(check("/a/{x}/c", "/b/{x}/c"), None, "no path is of both");
        assert_eq!(check("/a/{x}/c", "/{y}/b/c"), Some(("/a/b/c".to_owned(), true)));
        assert_eq!(check("/{y}/b/{z}", "/a/{x}/{z}"), Some(("/a/b/{z}".to_owned(), false)));
    }
}
