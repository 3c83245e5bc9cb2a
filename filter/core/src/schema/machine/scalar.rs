//! Values that have no parts: each rule is decided at once.

use super::{Bound, Failure, Machine, Scalar, Stop};
use crate::number::Number;
use crate::schema::keyword::Keyword;
use crate::schema::node::{self, Node, NumberRules, SchemaIndex, TextRules, Types, Values};
use crate::schema::pattern::Undecided;
use crate::schema::table::CompiledSchemas;
use crate::schema::value::Digest;
use core::cmp::Ordering;

impl Machine<'_> {
    /// A scalar is judged at once by each that asks for it: it needs none of what an open value does.
    pub(super) fn scalar(&mut self, value: &Scalar<'_>) -> Result<(), Stop> {
        self.begin()?;
        self.digest_scalar(value)?;
        let mut targets = core::mem::take(&mut self.targets);
        for target in targets.drain(..) {
            let refused = match self.judge_scalar(target.schema, value)? {
                Some(_) if self.node(target.schema)?.is_never() => Some(self.here(target.keyword)),
                refused => refused,
            };
            self.deliver(&target, refused)?;
        }
        self.targets = targets;
        Ok(())
    }

    /// Where the container needs to know what its parts are worth.
    pub(super) fn digest_scalar(&mut self, value: &Scalar<'_>) -> Result<(), Stop> {
        if !self.frames.last().is_some_and(|frame| frame.collects) {
            return Ok(());
        }
        let digest = Digest::of_scalar(value, &mut self.bytes);
        self.push_digest(digest)
    }

    pub(super) fn judge_scalar(
        &mut self,
        schema: SchemaIndex,
        value: &Scalar<'_>,
    ) -> Result<Option<Failure>, Stop> {
        let Some(plan) = self.schemas.plan(schema) else { return self.check_scalar(schema, value) };
        let first = self.live.len();
        for entry in &plan.entries {
            let failure = self.check_scalar(entry.schema, value)?;
            self.push_live(entry.schema, failure)?;
        }
        self.combine(first, plan, self.at, None)?;
        let failure = self.live.get(first).and_then(|live| live.failure);
        self.live.truncate(first);
        Ok(failure)
    }

    /// What a schema says by itself.
    fn check_scalar(&mut self, schema: SchemaIndex, value: &Scalar<'_>) -> Result<Option<Failure>, Stop> {
        let node = self.node(schema)?;
        let length = match value {
            Scalar::Text(text) if node.text.is_some() => text.len() as u64 / 8,
            Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Text(_) => 0,
        };
        self.charge(length.saturating_add(1))?;
        match check(node, value, self.schemas) {
            Ok(keyword) => Ok(keyword.map(|keyword| self.here(keyword))),
            Err(Undecided) => Err(self.bound(Bound::Internal)),
        }
    }
}

fn check(node: &Node, value: &Scalar<'_>, schemas: &CompiledSchemas) -> Result<Option<Keyword>, Undecided> {
    if !node.types.meets(type_of(value)) {
        return Ok(Some(if node.is_never() { Keyword::False } else { Keyword::Type }));
    }
    if node.values.as_ref().is_some_and(|values| !holds(values, value)) {
        return Ok(Some(Keyword::Enum));
    }
    match value {
        Scalar::Number(number) => Ok(node.number.as_ref().and_then(|rules| check_number(rules, number))),
        Scalar::Text(text) => node.text.as_ref().map_or(Ok(None), |rules| check_text(rules, text, schemas)),
        Scalar::Null | Scalar::Bool(_) => Ok(None),
    }
}

const fn type_of(value: &Scalar<'_>) -> Types {
    match value {
        Scalar::Null => Types::NULL,
        Scalar::Bool(_) => Types::BOOLEAN,
        Scalar::Number(number) if number.is_whole() => Types::INTEGER,
        Scalar::Number(_) => Types::FRACTION,
        Scalar::Text(_) => Types::STRING,
    }
}

fn holds(values: &Values, value: &Scalar<'_>) -> bool {
    match value {
        Scalar::Null => values.null,
        Scalar::Bool(true) => values.yes,
        Scalar::Bool(false) => values.no,
        Scalar::Number(number) => values.numbers.iter().any(|known| number.compare(known) == Ordering::Equal),
        Scalar::Text(text) => values.texts.binary_search_by(|known| (**known).cmp(*text)).is_ok(),
    }
}

fn check_number(rules: &NumberRules, number: &Number<'_>) -> Option<Keyword> {
    let is_outside = |bound: &node::Bound, outside: Ordering| {
        let found = number.compare(&bound.value);
        found == outside || bound.exclusive && found == Ordering::Equal
    };
    if let Some(bound) = rules.minimum.as_ref().filter(|bound| is_outside(bound, Ordering::Less)) {
        return Some(if bound.exclusive { Keyword::ExclusiveMinimum } else { Keyword::Minimum });
    }
    if let Some(bound) = rules.maximum.as_ref().filter(|bound| is_outside(bound, Ordering::Greater)) {
        return Some(if bound.exclusive { Keyword::ExclusiveMaximum } else { Keyword::Maximum });
    }
    if rules.multiple_of.as_ref().is_some_and(|step| !number.is_multiple_of(step)) {
        return Some(Keyword::MultipleOf);
    }
    let format = rules.format.as_ref()?;
    let within = number.compare(&format.least) != Ordering::Less
        && number.compare(&format.most) != Ordering::Greater
        && (!format.whole || number.is_whole());
    (!within).then_some(Keyword::Format)
}

fn check_text(
    rules: &TextRules,
    text: &str,
    schemas: &CompiledSchemas,
) -> Result<Option<Keyword>, Undecided> {
    // A character has one to four bytes, so that most texts need no counting.
    let bytes = text.len() as u64;
    if rules.length_min > 0
        && (bytes / 4 < rules.length_min)
        && (text.chars().count() as u64) < rules.length_min
    {
        return Ok(Some(Keyword::MinLength));
    }
    if rules.length_max.is_some_and(|most| bytes > most && text.chars().count() as u64 > most) {
        return Ok(Some(Keyword::MaxLength));
    }
    if let Some(pattern) = rules.pattern {
        let pattern = schemas.patterns.get(pattern.0 as usize).ok_or(Undecided)?;
        if !pattern.matches(text)? {
            return Ok(Some(Keyword::Pattern));
        }
    }
    Ok(rules.format.filter(|format| !format.is_met_by(text)).map(|_| Keyword::Format))
}
