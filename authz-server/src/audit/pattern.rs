//! What a person types to name a caller, an operation or a reason. Pure.
//!
//! INVARIANT: the same text always means the same: no match depends on what else stands in the ledger.

use std::fmt;

/// Text that names other texts. Case does not matter, but behind `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    written: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Somewhere in the text; in lower case.
    Part(String),
    /// The whole text; in lower case.
    Whole(String),
    /// The whole text, where `*` is anything and `?` is any one character; in lower case.
    Glob(Vec<char>),
    /// The whole text, to the letter.
    Exactly(String),
}

impl Pattern {
    /// Without wildcards it names every text that it is a part of.
    pub fn part(written: &str) -> Pattern {
        Pattern::parse(written, Form::Part)
    }

    /// Without wildcards it names the text that it is.
    pub fn whole(written: &str) -> Pattern {
        Pattern::parse(written, Form::Whole)
    }

    fn parse(written: &str, plain: impl FnOnce(String) -> Form) -> Pattern {
        let lower = written.to_ascii_lowercase();
        let form = match written.strip_prefix('=') {
            Some(exact) => Form::Exactly(exact.to_owned()),
            None if written.contains(['*', '?']) => Form::Glob(lower.chars().collect()),
            None => plain(lower),
        };
        Pattern { written: written.to_owned(), form }
    }

    /// No text is named by what is empty: where nothing is known, nothing matches.
    pub fn matches(&self, text: &str) -> bool {
        if text.is_empty() {
            return false;
        }
        match &self.form {
            Form::Part(part) => text.to_ascii_lowercase().contains(part),
            Form::Whole(whole) => text.eq_ignore_ascii_case(whole),
            Form::Glob(glob) => {
                glob_matches(glob, &text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>())
            }
            Form::Exactly(exact) => text == exact,
        }
    }

    /// The text without its marks, to be compared with what there is.
    pub(super) fn bare(&self) -> &str {
        self.written.trim_start_matches('=').trim_matches('*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Each star first stands for nothing; where the rest then fails, the last star takes one character more.
fn glob_matches(mut glob: &[char], mut text: &[char]) -> bool {
    let mut retry: Option<(&[char], &[char])> = None;
    loop {
        match (glob.split_first(), text.split_first()) {
            (None, None) => return true,
            (Some(('*', rest)), _) => {
                retry = Some((rest, text));
                glob = rest;
            }
            (Some((expected, glob_rest)), Some((found, text_rest)))
                if *expected == '?' || expected == found =>
            {
                (glob, text) = (glob_rest, text_rest);
            }
            (Some(_) | None, _) => {
                let Some((after_star, taken)) = retry else { return false };
                let Some((_, shorter)) = taken.split_first() else { return false };
                retry = Some((after_star, shorter));
                (glob, text) = (after_star, shorter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_part_is_found_anywhere_and_a_whole_only_as_such() {
        let check = |pattern: Pattern, named: &[&str], not: &[&str]| {
            named.iter().for_each(|text| assert!(pattern.matches(text), "{pattern} names {text}"));
            not.iter().for_each(|text| assert!(!pattern.matches(text), "{pattern} does not name {text}"));
        };
        check(Pattern::part("web"), &["web", "spiffe://shop.example/web", "WebHook"], &["wbe", ""]);
        check(Pattern::part("=web"), &["web"], &["Web", "webhook", ""]);
        check(Pattern::part("w?b"), &["web", "WOB"], &["webs", "wb"]);
        check(Pattern::part("spiffe://*/web"), &["spiffe://a/web", "spiffe://a/b/web"], &["spiffe://a/webs"]);
        check(Pattern::whole("json_*"), &["json_syntax", "json_"], &["a_json_syntax", "json"]);
        check(Pattern::whole("getOrder"), &["getorder", "getOrder"], &["getOrders", "getOrde"]);
        check(Pattern::whole("*a*b"), &["ab", "xaxbb", "aab"], &["ba", "abx"]);
        check(Pattern::whole("*"), &["a"], &[""]);
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let pattern = Pattern::whole(&format!("{}b", "a*".repeat(50)));
        assert!(!pattern.matches(&"a".repeat(20_000)));
    }
}
