//! Where in a document something stands: found by reading it once more, so that reading itself keeps no account of it.

use super::events::{Event, Events, Numbers};
use super::text::Text;
use crate::limits::{POINTER_BYTES_MAX, POINTER_STEP_CHARACTERS_MAX};

/// A step on the way to a place.
enum Step<'a> {
    /// The object is open, and none of its keys was read.
    Object,
    Key(Text<'a>),
    Item(usize),
}

/// The JSON pointer of the value or key that begins at this offset; of a document that is broken there or before it, the
/// pointer of the value that was being read.
///
/// Long keys are cut, and so is a long pointer, because callers choose them: then it ends in `…`.
pub fn pointer_to(bytes: &[u8], offset: usize) -> String {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let Ok(mut events) = Events::new(bytes, Numbers::Any) else { return String::new() };
    while let Ok(Some(event)) = events.next() {
        let begins_value = !matches!(event, Event::Key(..) | Event::ObjectEnd | Event::ArrayEnd);
        if begins_value && let Some(Step::Item(next)) = steps.last_mut() {
            *next = next.wrapping_add(1);
        }
        if let (Event::Key(key, _), Some(step)) = (event, steps.last_mut()) {
            *step = Step::Key(key);
        }
        if events.start() >= offset {
            break;
        }
        match event {
            Event::ObjectStart => steps.push(Step::Object),
            // The first item makes it zero.
            Event::ArrayStart => steps.push(Step::Item(usize::MAX)),
            Event::ObjectEnd | Event::ArrayEnd => drop(steps.pop()),
            Event::Key(..) | Event::Text(_) | Event::Number(_) | Event::Bool(_) | Event::Null => {}
        }
    }
    write(&steps)
}

fn write(steps: &[Step<'_>]) -> String {
    let (mut pointer, mut scratch) = (String::new(), String::new());
    for step in steps {
        let begin = pointer.len();
        match step {
            Step::Object | Step::Item(usize::MAX) => break,
            Step::Item(index) => pointer.push_str(&format!("/{index}")),
            Step::Key(key) => push_step(&mut pointer, key.decode(&mut scratch)),
        }
        if pointer.len() > POINTER_BYTES_MAX {
            pointer.truncate(begin);
            pointer.push_str("/…");
            break;
        }
    }
    pointer
}

/// Goes one step further by a key, of which no more is told than may be.
pub(crate) fn push_step(pointer: &mut String, key: &str) {
    pointer.push('/');
    let mut characters = key.chars();
    for character in characters.by_ref().take(POINTER_STEP_CHARACTERS_MAX) {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            // Pointers stand in logs and terminals.
            control if control.is_control() => pointer.push('\u{fffd}'),
            other => pointer.push(other),
        }
    }
    if characters.next().is_some() {
        pointer.push('…');
    }
}
