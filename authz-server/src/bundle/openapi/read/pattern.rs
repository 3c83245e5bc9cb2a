//! Patterns of ECMA-262, translated into the syntax of `regex-syntax` and proven to be bounded automata.
//!
//! What differs between dialects means here what ECMA-262 says: `\d`, `\w` and `\b` are ASCII, `\s` has its list of
//! blanks, `.` is all but four line ends, `$` is the end of the text, a `[` within a class is a bracket. `(?i)`, `(?s)`
//! and `(?m)` are read as other engines do. INVARIANT: a pattern without that one meaning, and one that would need
//! look-around, back-references or too much memory, is refused; matching costs time in proportion to the text.

#[cfg(test)]
mod tests;

use super::Reading;
use crate::bundle::openapi::model::Pattern;
use crate::bundle::yaml::{Node, Span};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// What one pattern's automaton may take. A class of all letters, a hundred times, takes less.
const AUTOMATON_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Deeper than any pattern that a person wrote.
const NESTED_MAX: u32 = 64;

/// Why a pattern is none that can be kept, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    why: String,
    help: &'static str,
}

fn refused<T>(why: impl Into<String>, help: &'static str) -> Result<T, Refused> {
    Err(Refused { why: why.into(), help })
}

impl<'d> Reading<'d> {
    pub(super) fn pattern(&mut self, node: &'d Node) -> Option<Pattern> {
        let written = self.text(node)?;
        self.pattern_of(node.at, written)
    }

    pub(super) fn pattern_of(&mut self, at: Span, written: &'d str) -> Option<Pattern> {
        let known = self.known.patterns.entry(written).or_insert_with(|| compile(written));
        match known.clone() {
            Ok(pattern) => Some(pattern),
            Err(Refused { why, help }) => {
                self.wrong(at, format!("the pattern `{written}` {why}"), help);
                None
            }
        }
    }
}

fn compile(written: &str) -> Result<Pattern, Refused> {
    if written.starts_with("/^") {
        return refused(
            "begins with a slash before `^`, so that nothing matches it",
            "write it without the slashes",
        );
    }
    let mut translation =
        Translation { rest: written.chars().peekable(), out: String::new(), repeatable: false };
    translation.run()?;
    let translated = translation.out;
    let config = thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX)).utf8(false);
    let syntax = syntax::Config::new().utf8(false).nest_limit(NESTED_MAX);
    let built = thompson::Compiler::new().configure(config).syntax(syntax).build(&translated);
    match built {
        Ok(_) => Ok(Pattern { written: written.into(), translated: translated.into() }),
        Err(error) if error.size_limit().is_some() => refused(
            format!("needs an automaton of more than {AUTOMATON_BYTES_MAX} bytes"),
            "repeat less often, or bound the length by `maxLength`",
        ),
        Err(error) => {
            let detail =
                std::error::Error::source(&error).map_or(error.to_string(), |source| source.to_string());
            let detail = detail.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refused(format!("cannot be read: {detail}"), "expected a pattern of ECMA-262")
        }
    }
}

/// White space and line ends of ECMA-262.
const BLANKS: &str =
    r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

struct Translation<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Whether something stands before that a quantifier may repeat.
    repeatable: bool,
}

/// What stands in a class: a character, which may begin a range, or a class of its own.
enum Item {
    Character(char),
    Class(String),
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), Refused> {
        while let Some(character) = self.rest.next() {
            match character {
                '\\' => {
                    let item = self.escape()?;
                    match item {
                        Item::Character(character) => self.literal(character),
                        Item::Class(class) => self.atom(&class, true),
                    }
                }
                '[' => self.class()?,
                '(' => self.group()?,
                ')' => self.atom(")", true),
                '.' => self.atom(r"[^\n\r\u{2028}\u{2029}]", true),
                '^' => self.atom("^", false),
                '$' => self.atom("$", false),
                '|' => self.atom("|", false),
                '*' | '+' | '?' => self.quantifier(&character.to_string())?,
                '{' => self.braces()?,
                other => self.literal(other),
            }
        }
        Ok(())
    }

    fn atom(&mut self, text: &str, repeatable: bool) {
        self.out.push_str(text);
        self.repeatable = repeatable;
    }

    fn literal(&mut self, character: char) {
        let mut bytes = [0; 4];
        let escaped = regex_syntax::escape(character.encode_utf8(&mut bytes));
        self.atom(&escaped, true);
    }

    fn quantifier(&mut self, text: &str) -> Result<(), Refused> {
        if !self.repeatable {
            return refused(
                format!("has `{text}` where nothing stands that could be repeated"),
                "write a backslash before it if the character itself is meant",
            );
        }
        self.atom(text, false);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(())
    }

    /// `{2,5}`, or a brace that is only a brace.
    fn braces(&mut self) -> Result<(), Refused> {
        let mut ahead = self.rest.clone();
        let inside: String = ahead.by_ref().take_while(|character| *character != '}').collect();
        let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_quantifier = !inside.is_empty() && digits(least) && digits(most);
        if !is_quantifier {
            self.literal('{');
            return Ok(());
        }
        if least.is_empty() {
            return refused(
                format!("has `{{{inside}}}`, which some engines take for a repetition and ECMA-262 for text"),
                "write the least number, too: `{0,5}`",
            );
        }
        self.rest = ahead;
        self.quantifier(&format!("{{{inside}}}"))
    }

    fn group(&mut self) -> Result<(), Refused> {
        self.repeatable = false;
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            return Ok(());
        }
        let ahead: String = self.rest.clone().take(2).collect();
        match ahead.as_str() {
            _ if ahead.starts_with('=') || ahead.starts_with('!') || ahead == "<=" || ahead == "<!" => {
                refused(
                    format!("looks around by `(?{}`", ahead.trim_end_matches(|c: char| !"<=!".contains(c))),
                    "an automaton cannot look around: say what the whole text may be, or use `allOf` and `not` with two patterns",
                )
            }
            _ if ahead.starts_with('<') => {
                self.rest.next();
                let name: String = self.rest.by_ref().take_while(|character| *character != '>').collect();
                self.out.push_str("(?:");
                if name.is_empty() {
                    refused("has a group without a name", "write `(?:…)`")
                } else {
                    Ok(())
                }
            }
            _ => self.flags(),
        }
    }

    /// `(?:`, `(?i)` and `(?i:`.
    fn flags(&mut self) -> Result<(), Refused> {
        let mut flags = String::new();
        for flag in self.rest.by_ref() {
            match flag {
                'i' | 's' | 'm' | '-' => flags.push(flag),
                ':' | ')' => {
                    let _ = write!(self.out, "(?{flags}{flag}");
                    return Ok(());
                }
                _ => break,
            }
        }
        refused("has a kind of group that ECMA-262 does not have", "write `(?:…)` or `(…)`")
    }

    /// What a backslash means outside of a class, and mostly within one.
    fn escape(&mut self) -> Result<Item, Refused> {
        let Some(character) = self.rest.next() else {
            return refused("ends in a backslash", "write two for the character itself");
        };
        let class = |text: &str| Ok(Item::Class(text.to_owned()));
        match character {
            'd' => class("[0-9]"),
            'D' => class("[^0-9]"),
            'w' => class("[0-9A-Za-z_]"),
            'W' => class("[^0-9A-Za-z_]"),
            's' => Ok(Item::Class(format!("[{BLANKS}]"))),
            'S' => Ok(Item::Class(format!("[^{BLANKS}]"))),
            'b' => class(r"(?-u:\b)"),
            'B' => class(r"(?-u:\B)"),
            't' => Ok(Item::Character('\t')),
            'n' => Ok(Item::Character('\n')),
            'v' => Ok(Item::Character('\u{b}')),
            'f' => Ok(Item::Character('\u{c}')),
            'r' => Ok(Item::Character('\r')),
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => Ok(Item::Character('\0')),
            '0'..='9' | 'k' => refused(
                "refers back to what a group matched",
                "an automaton cannot compare two parts of a text; write the parts out, or leave the check to the service",
            ),
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    Ok(Item::Character(char::from(u8::try_from(letter).unwrap_or(0) % 32)))
                }
                _ => refused(r"has `\c` without a letter", "write the character itself"),
            },
            'x' => self.hexadecimal(2),
            'u' => self.unicode(),
            'p' | 'P' => self.property(character),
            other if other.is_ascii_alphabetic() => refused(
                format!("has `\\{other}`, which is no escape of ECMA-262"),
                "write `^` and `$` for the ends of the text, and a class for sets of characters",
            ),
            other => Ok(Item::Character(other)),
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<Item, Refused> {
        match self.code(digits).and_then(char::from_u32) {
            Some(character) => Ok(Item::Character(character)),
            None => refused("has an escape that is no character", r"expected `\x41`, `\u0041` or `\u{41}`"),
        }
    }

    fn code(&mut self, digits: usize) -> Option<u32> {
        let text: String = self.rest.by_ref().take(digits).collect();
        (text.len() == digits).then(|| u32::from_str_radix(&text, 16).ok()).flatten()
    }

    /// `\u0041`, `\u{1F600}`, or two halves of a pair.
    fn unicode(&mut self) -> Result<Item, Refused> {
        let no_character = || refused("has an escape that is no character", r"expected `\u0041` or `\u{41}`");
        if self.rest.next_if_eq(&'{').is_some() {
            let text: String = self.rest.by_ref().take_while(|character| *character != '}').collect();
            let code = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
            return code.map_or_else(no_character, |character| Ok(Item::Character(character)));
        }
        let Some(code) = self.code(4) else { return no_character() };
        let code = match code {
            0xd800..0xdc00 if self.rest.clone().take(2).eq(['\\', 'u']) => {
                self.rest.next();
                self.rest.next();
                match self.code(4) {
                    Some(low @ 0xdc00..0xe000) => 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                    _ => return no_character(),
                }
            }
            code => code,
        };
        char::from_u32(code).map_or_else(no_character, |character| Ok(Item::Character(character)))
    }

    fn property(&mut self, letter: char) -> Result<Item, Refused> {
        if self.rest.next_if_eq(&'{').is_none() {
            return refused(format!("has `\\{letter}` without braces"), r"write `\p{L}`");
        }
        let name: String = self.rest.by_ref().take_while(|character| *character != '}').collect();
        Ok(Item::Class(format!("\\{letter}{{{name}}}")))
    }

    fn class(&mut self) -> Result<(), Refused> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut out = String::from(if negated { "[^" } else { "[" });
        let mut empty = true;
        while let Some(item) = self.class_item()? {
            empty = false;
            let Item::Character(first) = item else {
                if let Item::Class(class) = item {
                    out.push_str(&class);
                }
                continue;
            };
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
            push_in_class(&mut out, first);
            if is_range {
                self.rest.next();
                match self.class_item()? {
                    Some(Item::Character(last)) if first <= last => {
                        out.push('-');
                        push_in_class(&mut out, last);
                    }
                    Some(Item::Character(last)) => {
                        return refused(
                            format!("has the range `{first}-{last}`, which is empty"),
                            "exchange its ends, or write a backslash before the hyphen",
                        );
                    }
                    // `[a-\d]`: the hyphen is a hyphen.
                    Some(Item::Class(class)) => {
                        out.push_str("\\-");
                        out.push_str(&class);
                    }
                    None => {}
                }
            }
        }
        out.push(']');
        match (empty, negated) {
            (true, true) => self.atom("(?s:.)", true),
            (true, false) => {
                return refused("has an empty class", "a class without characters matches nothing");
            }
            (false, _) => self.atom(&out, true),
        }
        Ok(())
    }

    /// The next of a class; `None` at its end.
    fn class_item(&mut self) -> Result<Option<Item>, Refused> {
        match self.rest.next() {
            None => refused("has a class that is never closed", "write `]`, or a backslash before `[`"),
            Some(']') => Ok(None),
            Some('[') if self.rest.peek() == Some(&':') => refused(
                "has a class in the manner of POSIX, which ECMA-262 takes for single characters",
                "write the characters out: `[A-Za-z0-9]`",
            ),
            Some('\\') if self.rest.peek() == Some(&'b') => {
                self.rest.next();
                Ok(Some(Item::Character('\u{8}')))
            }
            Some('\\') if self.rest.peek() == Some(&'B') => {
                refused(r"has `\B` in a class", "it stands only between characters")
            }
            Some('\\') => self.escape().map(Some),
            Some(character) => Ok(Some(Item::Character(character))),
        }
    }
}

/// Whatever the character may mean in a class elsewhere, here it is itself.
fn push_in_class(out: &mut String, character: char) {
    // With a backslash these two are ends of words.
    if character.is_ascii_punctuation() && !matches!(character, '<' | '>') {
        out.push('\\');
    }
    out.push(character);
}
