//! What edge rules cost: bodies, answers, and a large contract, as differences of arms of the same round.
//!
//! INVARIANT: what is subtracted did all the same work but the named part.

use crate::arms::{
    ALL_BACK, ALLOW, CEDAR, DECIDE_1K, DECIDE_10, DECIDE_10K, DECIDE_COLD, DECIDE_SHADOW, ENVOY, ENVOY_1K,
    ENVOY_1M, ENVOY_LARGE, FILTER, FILTER_1K, FILTER_1M, FILTER_CALM, FILTER_CEDAR, FILTER_LARGE,
    FILTER_SHEDDING, FLOOR, FLOOR_1K, FLOOR_1M, NO_FILTER_BACK, NONE_BACK, SAMPLED_BACK,
};
use crate::report::Round;

/// One difference, and what it may be at most.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) limit: Option<f64>,
    pub(crate) of: fn(&Round<'_>) -> Option<f64>,
}

/// In µs of Envoy's processor time.
const BODY_1K_US_MAX: f64 = 25.0;
const BODY_1M_US_MAX: f64 = 15_000.0;

/// For a contract of a thousand operations.
const LOAD_MS_MAX: f64 = 300.0;
const LINEAR_MB_MAX: f64 = 32.0 * 1.048_576;

/// What deciding may cost, in servers that only ask an index of policies.
const DECISION_PER_CEDAR_MAX: f64 = 1.3;
const DECISION_P50_MAX: f64 = 1.15;
const POLICIES_MAX: f64 = 1.3;
const SHADOW_MAX: f64 = 1.25;

/// What the shedder may cost a healthy service.
const SHEDDING_US_MAX: f64 = 0.5;
const SHEDDING_P99_US_MAX: f64 = 300.0;

pub(crate) const ALL: [Figure; 18] = [
    Figure {
        what: "a JSON body of 1 kB adds to a head alone, µs",
        limit: Some(BODY_1K_US_MAX),
        of: |round| Some(added_us(round, FILTER_1K, ENVOY_1K)? - added_us(round, FILTER, ENVOY)?),
    },
    Figure {
        what: "the floor filter: a body of 1 kB, held and read, µs",
        limit: None,
        of: |round| Some(added_us(round, FLOOR_1K, ENVOY_1K)? - added_us(round, FLOOR, ENVOY)?),
    },
    Figure {
        what: "filter − floor, both with a body of 1 kB, µs",
        limit: None,
        of: |round| added_us(round, FILTER_1K, FLOOR_1K),
    },
    Figure {
        what: "a JSON body of 1 MB adds to a head alone, µs",
        limit: Some(BODY_1M_US_MAX),
        of: |round| Some(added_us(round, FILTER_1M, ENVOY_1M)? - added_us(round, FILTER, ENVOY)?),
    },
    Figure {
        what: "filter − floor, both with a body of 1 MB, µs",
        limit: None,
        of: |round| added_us(round, FILTER_1M, FLOOR_1M),
    },
    Figure {
        what: "our filter, no answer looked at, adds to a call with 1 kB back, µs",
        limit: None,
        of: |round| added_us(round, NONE_BACK, NO_FILTER_BACK),
    },
    Figure {
        what: "one answer of sixteen looked at adds to that, µs a call",
        limit: None,
        of: |round| added_us(round, SAMPLED_BACK, NONE_BACK),
    },
    Figure {
        what: "each answer looked at adds to that, µs a call",
        limit: None,
        of: |round| added_us(round, ALL_BACK, NONE_BACK),
    },
    Figure {
        what: "the shedder adds to a call, µs",
        limit: Some(SHEDDING_US_MAX),
        of: |round| added_us(round, FILTER_SHEDDING, FILTER_CALM),
    },
    Figure {
        what: "the shedder adds to p99 at the fixed rate, µs",
        limit: Some(SHEDDING_P99_US_MAX),
        of: |round| Some(round(FILTER_SHEDDING)?.open_p99_us - round(FILTER_CALM)?.open_p99_us),
    },
    Figure {
        what: "1,000 operations: time to ready beyond the demo's, both VMs, ms",
        limit: Some(2.0 * LOAD_MS_MAX),
        of: |round| {
            let ready_ms = |ours, base| Some(round(ours)?.ready_ms - round(base)?.ready_ms);
            Some(ready_ms(FILTER_LARGE, ENVOY_LARGE)? - ready_ms(FILTER, ENVOY)?)
        },
    },
    Figure {
        what: "1,000 operations: linear memory of the largest VM, MB",
        limit: Some(LINEAR_MB_MAX),
        of: |round| Some(round(FILTER_LARGE)?.linear_bytes? as f64 / 1e6),
    },
    Figure {
        what: "a decision ÷ Cedar by index: server's CPU, token known",
        limit: Some(DECISION_PER_CEDAR_MAX),
        of: |round| server_ratio(round, DECIDE_1K, CEDAR),
    },
    Figure {
        what: "the same with every token verified",
        limit: None,
        of: |round| server_ratio(round, DECIDE_COLD, CEDAR),
    },
    Figure {
        what: "a decision ÷ Cedar by index behind our filter: p50 at the fixed rate",
        limit: Some(DECISION_P50_MAX),
        of: |round| Some(round(DECIDE_1K)?.open_p50_us / round(FILTER_CEDAR)?.open_p50_us),
    },
    Figure {
        what: "10,000 policies ÷ 10: server's CPU",
        limit: Some(POLICIES_MAX),
        of: |round| server_ratio(round, DECIDE_10K, DECIDE_10),
    },
    Figure {
        what: "with a candidate ÷ without: server's CPU",
        limit: Some(SHADOW_MAX),
        of: |round| server_ratio(round, DECIDE_SHADOW, DECIDE_1K),
    },
    Figure {
        what: "always allow ÷ Cedar by index: server's CPU, the floor of a tonic server",
        limit: None,
        of: |round| server_ratio(round, ALLOW, CEDAR),
    },
];

fn added_us(round: &Round<'_>, ours: &str, base: &str) -> Option<f64> {
    Some(round(ours)?.envoy_us - round(base)?.envoy_us)
}

fn server_ratio(round: &Round<'_>, ours: &str, rival: &str) -> Option<f64> {
    Some(round(ours)?.server_us? / round(rival)?.server_us?)
}
