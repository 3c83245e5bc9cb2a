//! The text of a policy as words: what it says, whatever its layout, comments and annotations.
//!
//! INVARIANT: two policies with the same statement decide the same; the reverse does not hold, and nothing relies on it.

/// A policy's text without annotations, comments and the white space between words: what it says.
pub(crate) fn statement(text: &str) -> String {
    let words = words(text);
    let from = words.iter().position(|word| word == "permit" || word == "forbid").unwrap_or(0);
    words.get(from..).unwrap_or_default().join(" ")
}

/// Whether the conditions ask anything of the caller. The scope names the principal once.
pub(crate) fn asks_who_calls(text: &str) -> bool {
    let words = words(text);
    let from = words.iter().position(|word| word == "permit").unwrap_or(0);
    let words = words.get(from..).unwrap_or_default();
    words.iter().filter(|word| *word == "principal").count() > 1
        || words.iter().any(|word| word == "workload")
}

/// The words, texts and signs of a policy; comments are none.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '/' && rest.peek() == Some(&'/') {
            rest.by_ref().find(|character| *character == '\n');
        } else if character == '"' {
            let mut word = String::from('"');
            while let Some(character) = rest.next() {
                word.push(character);
                match character {
                    '\\' => word.extend(rest.next()),
                    '"' => break,
                    _ => {}
                }
            }
            words.push(word);
        } else if character.is_alphanumeric() || character == '_' {
            let mut word = String::from(character);
            while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                word.push(next);
            }
            words.push(word);
        } else if !character.is_whitespace() {
            words.push(character.to_string());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{asks_who_calls, statement};

    #[test]
    fn what_a_policy_says_has_no_annotations_and_no_layout() {
        let one = "@id(\"a // b\")\npermit (principal, action, resource) // all\nwhen { context.path == \"a  \\\" b\" };";
        let other = "@id(\"permit\") @reason(\"x\") permit(principal,action,resource) when {context.path==\"a  \\\" b\"};";
        assert_eq!(statement(one), statement(other));
        assert_ne!(statement(one), statement(&other.replace("a  ", "a ")));
    }

    #[test]
    fn a_condition_on_the_caller_is_seen() {
        let asks = |condition: &str| {
            asks_who_calls(&format!("@id(\"principal\") permit (principal, action, resource) {condition};"))
        };
        assert!(!asks(""));
        assert!(!asks("when { context.host == \"principal\" } // principal"));
        assert!(asks("when { principal in Group::\"a\" }"));
        assert!(asks("unless { context has workload }"));
    }
}
