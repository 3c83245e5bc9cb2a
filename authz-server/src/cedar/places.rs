//! Where Cedar's own messages point to, as places in a bundle.

use crate::bundle::{Place, PolicySource, Problem};
use miette::Diagnostic;
use std::ops::Range;

/// The first bytes that a message points at, wherever in its parts it says so.
pub(super) fn first_label(diagnostic: &dyn Diagnostic) -> Option<Range<usize>> {
    let own = diagnostic.labels().and_then(|mut labels| labels.next());
    let own = own.map(|label| label.offset()..label.offset().saturating_add(label.len()));
    own.or_else(|| diagnostic.related().and_then(|mut related| related.find_map(first_label)))
        .or_else(|| diagnostic.diagnostic_source().and_then(first_label))
}

/// A message of Cedar's about a text, at the place that it names.
pub(super) fn problem_at(source: PolicySource<'_>, diagnostic: &dyn Diagnostic, message: String) -> Problem {
    let place = match first_label(diagnostic) {
        Some(range) => Place::of_range(source.path, source.text, range),
        None => Place::file(source.path),
    };
    let expected = || {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        label.and_then(|label| label.label().map(ToOwned::to_owned))
    };
    let mut problem = Problem::new(place, message);
    let help = diagnostic.help().map(|help| help.to_string()).or_else(expected);
    match help.as_deref().and_then(meant) {
        Some(meant) => problem.suggestion = Some(meant.to_owned()),
        None => problem.help = help,
    }
    problem
}

/// What Cedar itself suggests, out of its sentence.
fn meant(help: &str) -> Option<&str> {
    help.strip_prefix("did you mean `")?.strip_suffix("`?").filter(|meant| !meant.contains('`'))
}
