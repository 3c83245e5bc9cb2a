//! Problems as a person reads them in a terminal: the line, the place in it, what to do.

use super::{Problem, Problems, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

impl Problems {
    /// All problems, each with its line. Colours only where a terminal shows them.
    pub fn report(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let blocks: Vec<_> =
            self.sorted().into_iter().map(|problem| renderer.render(&[problem.group()])).collect();
        blocks.join("\n\n")
    }
}

impl Problem {
    fn group(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(self.message.as_str());
        if let Some(lint) = self.lint {
            title = title.id(lint.word());
        }
        let mut group = match (&self.place.excerpt, self.place.line, self.place.column) {
            (Some(excerpt), Some(line), Some(_)) => title.element(
                Snippet::source(excerpt.text.as_str())
                    .line_start(usize::try_from(line).unwrap_or(usize::MAX))
                    .path(self.place.file.as_str())
                    .annotation(AnnotationKind::Primary.span(excerpt.from..excerpt.to)),
            ),
            _ => title.element(Origin::path(self.place.file.as_str())),
        };
        if let Some(suggestion) = &self.suggestion {
            group = group.element(Level::HELP.message(format!("did you mean `{suggestion}`?")));
        }
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Problem, Problems};

    #[test]
    fn a_problem_shows_its_line_and_what_was_meant() {
        let text = "hosts: [a]\nowmer: b\n";
        let place = Place::of_range("services/a/service.yaml", text, 11..16);
        let problem = Problem::new(place, "unknown key `owmer`").suggest("owmer", ["owner"]);
        let expected = "\
error: unknown key `owmer`
 --> services/a/service.yaml:2:1
  |
2 | owmer: b
  | ^^^^^
  |
  = help: did you mean `owner`?";
        assert_eq!(Problems::from(problem).report(false), expected);
    }
}
