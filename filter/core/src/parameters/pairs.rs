//! Parameters that come as names with values: the query, and cookies.
//!
//! INVARIANT: every pair is looked at, in whatever order they come, and each belongs to one parameter or to none.

use super::names::{Belonging, find, find_open};
use super::written::{self, Encoding, Unread, Written};
use super::{Judging, malformed};
use crate::contract::{Between, Parameter, Part, Properties, Rule, Scalars, Writing};
use crate::json::push_step;
use crate::limits::{PARAMETERS_MAX, QUERY_PAIRS_MAX};
use crate::path::{self, Target};
use crate::reason::Reason;
use crate::violation::Violation;
use std::borrow::Cow;

/// What came of the parameters of one part.
#[derive(Default)]
struct Came<'q> {
    seen: [u64; PARAMETERS_MAX.div_ceil(64)],
    /// Of values that are spread over several pairs: the parameter's place, its property if it has any, and the text.
    spread: Vec<(usize, Option<String>, &'q str)>,
}

impl<'q> Came<'q> {
    /// Whether it is the first time.
    fn see(&mut self, at: usize) -> bool {
        let Some(word) = self.seen.get_mut(at / 64) else { return false };
        let bit = 1_u64.rotate_left(u32::try_from(at % 64).unwrap_or(0));
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }

    fn has_seen(&self, at: usize) -> bool {
        let bit = 1_u64.rotate_left(u32::try_from(at % 64).unwrap_or(0));
        self.seen.get(at / 64).is_some_and(|word| word & bit != 0)
    }

    /// The texts of one parameter, each with its property.
    fn of(&self, at: usize) -> impl Iterator<Item = (Option<&str>, &'q str)> {
        let spread = self.spread.iter().filter(move |(of, _, _)| *of == at);
        spread.map(|(_, property, text)| (property.as_deref(), *text))
    }

    /// Judges what is spread, now that all of it came, and tells what is missing.
    fn finish(
        &self,
        judging: &mut Judging<'_, '_>,
        declared: &[Parameter],
        encoding: Encoding,
    ) -> Result<(), Violation> {
        for (at, parameter) in declared.iter().enumerate() {
            if !self.has_seen(at) {
                judging.absent(parameter)?;
            } else if self.of(at).next().is_some() {
                let length = self.of(at).fold(0_usize, |sum, (_, text)| sum.saturating_add(text.len()));
                judging.value(parameter, self.gather(at, &parameter.writing, encoding), length)?;
            }
        }
        Ok(())
    }

    fn gather<'w>(
        &'w self,
        at: usize,
        writing: &'w Writing,
        encoding: Encoding,
    ) -> Result<Written<'w>, Unread> {
        match writing {
            Writing::List { items, .. } => {
                let texts = self.of(at).map(|(_, text)| encoding.decode(text));
                written::list(texts.collect::<Result<_, _>>()?, *items)
            }
            Writing::Object { properties, .. } => {
                let member = |(name, text): (Option<&'w str>, &'w str)| {
                    Ok((Cow::Borrowed(name.unwrap_or_default()), encoding.decode(text)?))
                };
                let members: Vec<_> = self.of(at).map(member).collect::<Result<_, _>>()?;
                check_others(&members, properties)?;
                written::object(members, properties)
            }
            Writing::Json | Writing::Scalar(_) => Err(Unread::Ambiguous),
        }
    }
}

/// Names that no contract lists can be alike each other.
fn check_others(members: &[(Cow<'_, str>, Cow<'_, str>)], properties: &Properties) -> Result<(), Unread> {
    if properties.others == Scalars::NONE {
        return Ok(());
    }
    let mut names: Vec<Vec<u8>> = members.iter().map(|(name, _)| path::leniently(name).collect()).collect();
    names.sort_unstable();
    if names.is_sorted_by(|one, other| one < other) { Ok(()) } else { Err(Unread::Ambiguous) }
}

pub(super) fn query(
    judging: &mut Judging<'_, '_>,
    declared: &[Parameter],
    target: &Target<'_>,
) -> Result<(), Violation> {
    let mut came = Came::default();
    for (count, (raw, value)) in target.query_pairs().enumerate() {
        if count >= QUERY_PAIRS_MAX {
            return Err(Reason::QueryTooMany.into());
        }
        let name = Encoding::Query.decode(raw).ok();
        match find_open(declared, raw, name.as_ref()) {
            Belonging::Whole(at) => {
                let Some(parameter) = declared.get(at) else { return Err(Reason::Internal.into()) };
                let is_first = came.see(at);
                match (value, &parameter.writing) {
                    (None | Some(""), _) if is_first && parameter.allow_empty => {}
                    (Some(text), Writing::List { between: Between::Repeated, .. }) => {
                        came.spread.push((at, None, text));
                    }
                    (Some(text), _) if is_first => judging.text(parameter, text, Encoding::Query)?,
                    _ => return Err(malformed(parameter)),
                }
            }
            Belonging::Property(at, property) => {
                came.see(at);
                let text = value.ok_or_else(|| undeclared(raw, Reason::ParameterMalformed, None))?;
                came.spread.push((at, Some(property), text));
            }
            Belonging::Alike => return Err(undeclared(raw, Reason::ParameterMalformed, None)),
            Belonging::Unknown => {
                let rule = Some(Rule::QueryNotDeclared);
                judging.watched.found(undeclared(raw, Reason::QueryNotDeclared, rule))?;
            }
        }
    }
    came.finish(judging, declared, Encoding::Query)
}

/// At a name that no contract has.
fn undeclared(raw: &str, reason: Reason, rule: Option<Rule>) -> Violation {
    let mut place = Part::Query.as_str().to_owned();
    push_step(&mut place, &path::read(raw).unwrap_or(Cow::Borrowed(raw)));
    Violation { reason, place: place.into(), rule }
}

pub(super) fn cookies<'p>(
    judging: &mut Judging<'_, '_>,
    declared: &[Parameter],
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>,
) -> Result<(), Violation> {
    if declared.is_empty() {
        return Ok(());
    }
    let mut came = Came::default();
    let mut count = 0_usize;
    for (_, header) in pairs.filter(|(name, _)| *name == b"cookie") {
        let header = core::str::from_utf8(header).map_err(|_| ambiguous())?;
        for cookie in header.split(';') {
            count = count.saturating_add(1);
            if count > QUERY_PAIRS_MAX {
                return Err(ambiguous());
            }
            self::cookie(judging, declared, &mut came, cookie)?;
        }
    }
    came.finish(judging, declared, Encoding::Cookie)
}

fn cookie<'q>(
    judging: &mut Judging<'_, '_>,
    declared: &[Parameter],
    came: &mut Came<'q>,
    cookie: &'q str,
) -> Result<(), Violation> {
    // Of a quoted text that has a semicolon in it, only some readers see what stands behind that.
    if cookie.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        return Err(ambiguous());
    }
    let cookie = cookie.strip_prefix(' ').unwrap_or(cookie);
    let (name, value) = match cookie.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (cookie, None),
    };
    // Some services trim and decode names.
    let trimmed = name.trim_matches([' ', '\t']);
    let exact = (trimmed == name && Encoding::Cookie.decode(name).is_ok()).then_some(Cow::Borrowed(name));
    // Anybody may set cookies that no contract knows, so that an object has only the properties that it lists.
    let (at, property) = match find(declared, trimmed, exact.as_ref()) {
        Belonging::Whole(at) => (at, None),
        Belonging::Property(at, property) => (at, Some(property)),
        Belonging::Alike => return Err(ambiguous()),
        Belonging::Unknown => return Ok(()),
    };
    let Some(parameter) = declared.get(at) else { return Err(Reason::Internal.into()) };
    let text = value.ok_or_else(|| malformed(parameter))?;
    let is_first = came.see(at);
    match property {
        Some(property) => came.spread.push((at, Some(property), text)),
        None if is_first => judging.text(parameter, text, Encoding::Cookie)?,
        None => return Err(malformed(parameter)),
    }
    Ok(())
}

/// A cookie header that readers take apart in different ways.
fn ambiguous() -> Violation {
    Violation { reason: Reason::ParameterMalformed, place: Part::Cookie.as_str().into(), rule: None }
}
