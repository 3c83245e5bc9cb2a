//! What `service.yaml` says of load: `shedding`, `limits`, and an operation's `priority`.

use super::super::record::{Placed, Read, Reader, choice, record};
use super::super::yaml::{Node, Value};
use palisade_core::contract::Priority;
use palisade_core::limits::RATE_REQUESTS_MAX;

record! {
    /// `shedding`: what becomes of requests when more come than the service can serve.
    pub struct SheddingSettings {
        /// Whether requests are refused, only counted, or let through as they come.
        required mode: ShedModeWord,
        /// What is overloaded when a proxy sheds. Absent: `service`.
        optional scope: Option<Placed<ShedScopeWord>>,
        /// The most requests in work at once, for each worker of a proxy; 0 lets nothing pass. Absent: what the service's
        /// latency says.
        optional concurrency_max: Option<Placed<u32>>,
    }
}

choice! {
    /// What becomes of requests that are too many.
    pub enum ShedModeWord: "`off`, `shadow` or `enforce`" {
        /// Nobody looks.
        Off = "off",
        /// They go on, and are counted.
        Shadow = "shadow",
        /// They are refused.
        Enforce = "enforce",
    }
}

choice! {
    /// What a refusal says of the load elsewhere.
    pub enum ShedScopeWord: "`service` or `replica`" {
        /// The whole service has too much, and a retry would meet the same: callers are told not to.
        Service = "service",
        /// This replica alone: the caller's proxy may try another one, once.
        Replica = "replica",
    }
}

choice! {
    /// Who goes first when not all can.
    pub enum PriorityWord: "`critical`, `default` or `sheddable`" {
        /// Before all others.
        Critical = "critical",
        /// After what is critical.
        Default = "default",
        /// Refused first.
        Sheddable = "sheddable",
    }
}

impl PriorityWord {
    pub(in crate::bundle) const fn compiled(self) -> Priority {
        match self {
            PriorityWord::Critical => Priority::Critical,
            PriorityWord::Default => Priority::Default,
            PriorityWord::Sheddable => Priority::Sheddable,
        }
    }
}

record! {
    /// An item of `limits`: how many requests of one kind may come in a time.
    pub struct LimitSettings {
        /// Its name, for refusals, metrics and the ledger.
        required name: Placed<String>,
        /// How many requests in a second, a minute or an hour: `100/s`, `20/m`, `5/h`; `0/s` lets nothing pass.
        required rate: Placed<Rate>,
        /// How many may come at once after a pause, not for `scope: global`. Absent: the rate of one second, at least 1.
        optional burst: Option<Placed<u32>>,
        /// What has an allowance of its own: any of `caller`, `operation` and `header:NAME`; each combination has one.
        /// Absent: all requests share one.
        optional by: Vec<Placed<String>>,
        /// The operations that are counted. Absent: all of the service.
        optional operations: Option<Placed<Vec<Placed<String>>>>,
        /// Who counts. Absent: `proxy`.
        optional scope: Option<Placed<LimitScope>>,
        /// Whether requests are refused or only counted. Absent: `enforce`.
        optional mode: Option<Placed<LimitMode>>,
    }
}

choice! {
    /// Who counts the requests of a limit.
    pub enum LimitScope: "`proxy` or `global`" {
        /// The filter, each worker of each proxy for itself.
        Proxy = "proxy",
        /// One limiter for all proxies, by Envoy's rate limit protocol: `rate_limit_service` in `palisade.yaml`.
        Global = "global",
    }
}

choice! {
    /// What becomes of requests beyond a limit.
    pub enum LimitMode: "`enforce` or `shadow`" {
        /// They are refused.
        Enforce = "enforce",
        /// They go on, and are counted.
        Shadow = "shadow",
    }
}

/// Requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub per: RatePeriod,
}

/// The times that a rate can be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePeriod {
    Second,
    Minute,
    Hour,
}

impl RatePeriod {
    pub(crate) const fn seconds(self) -> u32 {
        match self {
            RatePeriod::Second => 1,
            RatePeriod::Minute => 60,
            RatePeriod::Hour => 60 * 60,
        }
    }

    const fn letter(self) -> char {
        match self {
            RatePeriod::Second => 's',
            RatePeriod::Minute => 'm',
            RatePeriod::Hour => 'h',
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.requests, self.per.letter())
    }
}

impl Read for Rate {
    const EXPECTED: &'static str = "a rate such as `100/s`, `20/m` or `5/h`";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Rate> {
        if let Value::Number(written) = &node.value {
            let message = format!("`{written}` does not say in which time");
            reader.wrong(node.at, message, format!("write `{written}/s`, `{written}/m` or `{written}/h`"));
            return None;
        }
        let parts = node.as_text().and_then(|text| text.split_once('/'));
        let period = parts.and_then(|(_, letter)| match letter {
            "s" => Some(RatePeriod::Second),
            "m" => Some(RatePeriod::Minute),
            "h" => Some(RatePeriod::Hour),
            _ => None,
        });
        let digits = parts.map(|(count, _)| count).filter(|count| is_number(count));
        let (Some(digits), Some(per)) = (digits, period) else {
            reader.expected::<Rate>(node);
            return None;
        };
        match digits.parse() {
            Ok(requests) if requests <= RATE_REQUESTS_MAX => Some(Rate { requests, per }),
            _ => {
                let message = format!("`{digits}` requests are over the limit of {RATE_REQUESTS_MAX}");
                reader.wrong(node.at, message, "no proxy could serve as many: leave the limit away");
                None
            }
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
