//! A difference as people read it: in a terminal, or under a proposed change.

use super::{Access, AccessChange, Area, Change, Difference, Direction, Kind};
use std::fmt::Write as _;

/// How many names of a list are written out.
const NAMES_MAX: usize = 8;

/// How many changes of one thing are written out.
const CHANGES_MAX: usize = 20;

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn kind(self, kind: Kind, text: &str) -> String {
        let code = match kind {
            Kind::Added => "32",
            Kind::Removed => "31",
            Kind::Changed => "33",
        };
        self.with(code, text)
    }

    fn danger(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn title(self, text: &str) -> String {
        self.with("1", text)
    }
}

impl Area {
    fn title(self) -> &'static str {
        match self {
            Area::Settings => "settings",
            Area::Services => "services",
            Area::Operations => "operations",
            Area::Validation => "validation",
            Area::Schema => "schema fragments",
            Area::Policies => "policies",
            Area::Entities => "callers and groups",
            Area::Tests => "tests",
        }
    }
}

impl Difference {
    /// For a terminal.
    pub fn text(&self, colours: bool) -> String {
        let paint = Paint(colours);
        let mut out =
            format!("bundle {} → {}\n", short(&self.before.to_string()), short(&self.after.to_string()));
        let mut area = None;
        for changes in self.by_subject() {
            let Some(first) = changes.first() else { continue };
            if area.replace(first.area) != Some(first.area) {
                line(&mut out, &format!("\n{}", paint.title(first.area.title())));
            }
            changes.iter().take(CHANGES_MAX).for_each(|change| write_change(&mut out, change, paint));
            if let Some(more) = more(changes) {
                line(&mut out, &format!("    {more}"));
            }
        }
        if !self.access.is_empty() {
            line(&mut out, &format!("\n{}", paint.title("who may do what")));
        }
        for change in &self.access {
            let text = format!("  {} {}", sign(change.kind()), change.sentence());
            line(&mut out, &paint.kind(change.kind(), &text));
            write_danger(&mut out, change.danger, paint);
        }
        line(&mut out, "");
        for note in &self.notes {
            line(&mut out, &format!("note: {note}"));
        }
        line(&mut out, &self.summary());
        out
    }

    /// For a comment under a proposed change.
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "**Palisade bundle** `{}` → `{}`\n",
            short(&self.before.to_string()),
            short(&self.after.to_string())
        );
        line(&mut out, &format!("\n{}", self.summary()));
        let mut area = None;
        for changes in self.by_subject() {
            let Some(first) = changes.first() else { continue };
            if area.replace(first.area) != Some(first.area) {
                line(&mut out, &format!("\n### {}\n", capital(first.area.title())));
            }
            changes.iter().take(CHANGES_MAX).for_each(|change| write_item(&mut out, change));
            if let Some(more) = more(changes) {
                line(&mut out, &format!("- {more}"));
            }
        }
        if !self.access.is_empty() {
            line(&mut out, "\n### Who may do what\n");
        }
        for change in &self.access {
            line(&mut out, &format!("- {}{}", change.sentence(), warned(change.danger)));
        }
        for note in &self.notes {
            line(&mut out, &format!("\n> {note}"));
        }
        out
    }

    /// Changes of one thing beside each other; they are sorted so.
    fn by_subject(&self) -> impl Iterator<Item = &[Change]> {
        self.changes.chunk_by(|one, other| (one.area, &one.subject) == (other.area, &other.subject))
    }

    fn summary(&self) -> String {
        let count = self.changes.len() + self.access.len();
        match (count, self.dangers()) {
            (0, _) if self.before == self.after => "the bundles are the same".to_owned(),
            (0, _) => "the files differ, and nothing that is decided".to_owned(),
            (1, 0) => "1 change".to_owned(),
            (count, 0) => format!("{count} changes"),
            (1, _) => "1 change, and it is to be looked at twice".to_owned(),
            (count, dangers) => format!("{count} changes, {dangers} of them to be looked at twice"),
        }
    }
}

impl AccessChange {
    fn kind(&self) -> Kind {
        match self.before.cmp(&self.after) {
            std::cmp::Ordering::Less => Kind::Added,
            std::cmp::Ordering::Greater => Kind::Removed,
            std::cmp::Ordering::Equal => Kind::Changed,
        }
    }

    /// `client web: orders.deleteOrder: denied → allowed, by staff-deletes`.
    fn sentence(&self) -> String {
        let change = if self.before == self.after {
            "under other conditions".to_owned()
        } else {
            format!("{} → {}", self.before.name(), self.after.name())
        };
        let by = match (self.after, self.policies.as_slice()) {
            (Access::Denied, []) => ", nothing permits it".to_owned(),
            (_, []) => String::new(),
            (_, policies) => format!(", by {}", listed(policies)),
        };
        format!("{}: {}: {change}{by}", listed(&self.callers), listed(&self.operations))
    }
}

/// What is left out of many changes of one thing.
fn more(changes: &[Change]) -> Option<String> {
    let more = changes.len().checked_sub(CHANGES_MAX).filter(|more| *more > 0)?;
    Some(format!("… and {more} more of this: `--json` has all of them"))
}

fn write_item(out: &mut String, change: &Change) {
    let (verb, details) = (verb(change.kind), details(change, "`"));
    let danger = warned(change.danger.as_deref());
    line(out, &format!("- {verb} `{}`{details}{danger}", change.subject));
    if is_policy_text(change) {
        let text = indented(&text_lines(change), "  ");
        line(out, &format!("\n  ```diff\n{text}  ```"));
    }
}

fn write_change(out: &mut String, change: &Change, paint: Paint) {
    let text = format!("  {} {}{}", sign(change.kind), change.subject, details(change, ""));
    line(out, &paint.kind(change.kind, &text));
    if is_policy_text(change) {
        for text in text_lines(change).lines() {
            let kind = if text.starts_with('-') { Kind::Removed } else { Kind::Added };
            line(out, &paint.kind(kind, &format!("      {text}")));
        }
    }
    write_danger(out, change.danger.as_deref(), paint);
}

fn write_danger(out: &mut String, danger: Option<&str>, paint: Paint) {
    if let Some(danger) = danger {
        line(out, &format!("      {}", paint.danger(&format!("! {danger}"))));
    }
}

/// What changed of a subject, on the same line.
fn details(change: &Change, quote: &str) -> String {
    let what = change.what.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
    let quoted = |text: &String| format!("{quote}{text}{quote}");
    let values = match (&change.before, &change.after) {
        _ if is_policy_text(change) => String::new(),
        (Some(before), Some(after)) => format!(": {} → {}", quoted(before), quoted(after)),
        (Some(one), None) | (None, Some(one)) => format!(": {}", quoted(one)),
        (None, None) => String::new(),
    };
    let direction = match change.direction {
        Some(Direction::Tightened) => " (tightened)",
        Some(Direction::Loosened) => " (loosened)",
        None => "",
    };
    format!("{what}{values}{direction}")
}

fn is_policy_text(change: &Change) -> bool {
    change.area == Area::Policies && matches!(change.what.as_deref(), None | Some("statement"))
}

/// The lines of a policy that are gone and that came; those that stayed are left out.
fn text_lines(change: &Change) -> String {
    let lines = |text: &Option<String>| -> Vec<String> {
        text.iter().flat_map(|text| text.lines()).map(ToOwned::to_owned).collect()
    };
    let (before, after) = (lines(&change.before), lines(&change.after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}\n"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}

fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

fn warned(danger: Option<&str>) -> String {
    danger.map(|danger| format!(" **⚠ {danger}**")).unwrap_or_default()
}

fn sign(kind: Kind) -> &'static str {
    match kind {
        Kind::Added => "+",
        Kind::Removed => "-",
        Kind::Changed => "~",
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Added => "added",
        Kind::Removed => "removed",
        Kind::Changed => "changed",
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn listed(names: &[String]) -> String {
    let shown = names.get(..NAMES_MAX).unwrap_or(names);
    let mut text = shown.join(", ");
    if shown.len() < names.len() {
        let _written = write!(text, " and {} more", names.len() - shown.len());
    }
    text
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
