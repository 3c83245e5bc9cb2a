//! Which calls somebody asks for. Pure.
//!
//! INVARIANT: this is the one place that says whether a call is meant. What the index finds is judged here again, by
//! the entry itself.

use std::fmt;
use std::str::FromStr;

use super::call::{Call, Shape, Verdict};
use super::pattern::Pattern;

/// All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub who: Option<Pattern>,
    pub service: Option<Pattern>,
    /// `createOrder`, or with its service before it.
    pub operation: Option<Pattern>,
    pub decision: Option<Verdict>,
    pub reason: Option<Pattern>,
    /// The beginning of the place of a refusal.
    pub place: Option<String>,
    pub policy: Option<Pattern>,
    /// The shadow policies would have decided otherwise.
    pub shadow: bool,
    /// The shadow policies or the candidate bundle would have decided otherwise.
    pub differs: bool,
    /// From then on.
    pub since_ms: Option<u64>,
    /// Before then.
    pub until_ms: Option<u64>,
    /// Took so long or longer, as the proxy saw it.
    pub slow_us: Option<u64>,
    pub status: Option<Status>,
    pub id: Option<IdPart>,
}

impl Filter {
    pub(super) fn matches(&self, call: &Call) -> bool {
        let outcome = call.outcome().map(|outcome| &outcome.entry);
        self.matches_shape(&call.shape())
            && self.matches_time(call.at_ms())
            && self.place.as_ref().is_none_or(|place| call.place().is_some_and(|at| at.starts_with(place)))
            && self.slow_us.is_none_or(|slow_us| outcome.is_some_and(|ended| ended.duration_us >= slow_us))
            && self.status.is_none_or(|status| status.matches(outcome.map(|ended| ended.status)))
            && self.id.as_ref().is_none_or(|id| call.id().is_some_and(|text| id.matches(text)))
    }

    pub(super) fn matches_shape(&self, shape: &Shape) -> bool {
        let names = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        names(&self.who, &shape.who)
            && names(&self.service, &shape.service)
            && (names(&self.operation, &shape.operation)
                || names(&self.operation, &shape.operation_in_full()))
            && self.decision.is_none_or(|verdict| shape.verdict == verdict)
            && names(&self.reason, &shape.reason)
            && (!self.shadow || shape.shadow.is_some())
            && (!self.differs || shape.shadow.is_some() || shape.otherwise.is_some())
            && self
                .policy
                .as_ref()
                .is_none_or(|pattern| shape.policies.iter().any(|policy| pattern.matches(policy)))
    }

    fn matches_time(&self, at_ms: u64) -> bool {
        self.since_ms.is_none_or(|since_ms| at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| at_ms < until_ms)
    }

    /// Whether it asks for anything that many calls have in common.
    pub(super) fn has_shape(&self) -> bool {
        let Filter { who, service, operation, decision, reason, policy, shadow, differs, .. } = self;
        *shadow
            || *differs
            || decision.is_some()
            || [who, service, operation, reason, policy].into_iter().any(Option::is_some)
    }

    /// Whether a call can only be judged when it has ended.
    pub(super) fn needs_outcome(&self) -> bool {
        self.slow_us.is_some() || self.status.is_some()
    }
}

/// The HTTP status with which a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Between(u32, u32),
    /// Nothing is known of how the call ended.
    Unknown,
}

impl Status {
    fn matches(self, status: Option<u32>) -> bool {
        match (self, status) {
            (Status::Between(first, last), Some(status)) => (first..=last).contains(&status),
            (Status::Unknown, None) => true,
            (Status::Between(..), None) | (Status::Unknown, Some(_)) => false,
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Status, String> {
        let wrong = || {
            format!(
                "`{text}` is no status: expected one like `503`, a class like `5xx`, a range like `400-499`, or `none` \
                 for calls whose end is not known"
            )
        };
        let number = |text: &str| text.parse::<u32>().ok().filter(|status| *status <= 999);
        if text == "none" {
            return Ok(Status::Unknown);
        }
        if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            let class = number(class).filter(|class| (1..=5).contains(class)).ok_or_else(wrong)?;
            return Ok(Status::Between(class * 100, class * 100 + 99));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
        if first > last {
            return Err(wrong());
        }
        Ok(Status::Between(first, last))
    }
}

/// The beginning of a call id, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPart(String);

/// Ids begin with their time: fewer digits than these name more than a minute of calls.
const ID_DIGITS_MIN: usize = 8;

impl IdPart {
    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn is_whole(&self) -> bool {
        self.0.len() == 36
    }

    pub(super) fn matches(&self, id: &str) -> bool {
        id.starts_with(&self.0)
    }

    /// The hexadecimal digits without the dashes.
    pub(super) fn digits(&self) -> String {
        self.0.replace('-', "")
    }
}

impl FromStr for IdPart {
    type Err = String;

    fn from_str(text: &str) -> Result<IdPart, String> {
        let lower = text.to_ascii_lowercase();
        let has_its_place = |(index, byte): (usize, u8)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        if lower.len() > 36 || !lower.bytes().enumerate().all(has_its_place) {
            return Err(format!(
                "`{text}` is not a decision id: expected a UUID as the reply shows it, or its first {ID_DIGITS_MIN} \
                 characters or more"
            ));
        }
        if lower.len() < ID_DIGITS_MIN {
            return Err(format!(
                "`{text}` is too short: expected {ID_DIGITS_MIN} characters of the id or more"
            ));
        }
        Ok(IdPart(lower))
    }
}

impl fmt::Display for IdPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{IdPart, Status};

    #[test]
    fn statuses_are_one_a_class_a_range_or_none() {
        let parse = |text: &str| text.parse::<Status>();
        assert_eq!(parse("503"), Ok(Status::Between(503, 503)));
        assert_eq!(parse("5xx"), Ok(Status::Between(500, 599)));
        assert_eq!(parse("400-499"), Ok(Status::Between(400, 499)));
        assert_eq!(parse("none"), Ok(Status::Unknown));
        assert_eq!(parse("0"), Ok(Status::Between(0, 0)));
        for wrong in ["", "xx", "6xx", "0xx", "5x", "499-400", "1000", "-1", "ok"] {
            assert!(parse(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn an_id_may_be_cut_off_but_not_too_short_and_not_something_else() {
        let whole = "01a1fe3c-22e2-72bf-b97b-1a6e0801f315";
        let parse = |text: &str| text.parse::<IdPart>();
        assert!(parse(whole).unwrap().is_whole());
        assert!(parse(&whole.to_uppercase()).unwrap().matches(whole));
        let part = parse("01a1fe3c-22e2-7").unwrap();
        assert!(part.matches(whole) && !part.is_whole());
        assert!(parse("01a1fe3").unwrap_err().contains("too short"));
        for wrong in ["01a1fe3c2", "01a1fe3c-22e2-72bf-b97b-1a6e0801f3150", "hello-there", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
