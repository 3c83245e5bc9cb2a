//! Rules that are only watched, until a day that their owner named.
//!
//! INVARIANT: only what a contract says can be in shadow. What makes a request ambiguous is always refused.

/// A part of a contract whose breaches can be counted instead of refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rule {
    /// What the contract says of path parameters.
    Path = 0,
    /// What it says of query parameters that it declares.
    Query = 1,
    /// That there are no others.
    QueryNotDeclared = 2,
    Header = 3,
    Cookie = 4,
    /// That the content type is a declared one.
    ContentType = 5,
    /// What the schema says of the body. That it is one document that everybody reads alike is no such rule.
    Body = 6,
}

impl Rule {
    pub const ALL: [Rule; 7] = [
        Rule::Path,
        Rule::Query,
        Rule::QueryNotDeclared,
        Rule::Header,
        Rule::Cookie,
        Rule::ContentType,
        Rule::Body,
    ];
}

/// The rules of an operation that are watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shadows(Vec<(Rule, u64)>);

impl Shadows {
    /// Each with the moment from which it is enforced, in milliseconds since 1970.
    pub fn new(mut rules: Vec<(Rule, u64)>) -> Shadows {
        rules.sort_unstable();
        rules.dedup_by_key(|(rule, _)| *rule);
        Shadows(rules)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Rule, u64)> {
        self.0.iter().copied()
    }

    /// Whether a breach is only counted, now.
    pub fn hold(&self, rule: Rule, now_ms: u64) -> bool {
        self.0.iter().any(|(known, until_ms)| *known == rule && now_ms < *until_ms)
    }
}
