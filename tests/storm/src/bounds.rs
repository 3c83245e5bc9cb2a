//! What must hold, with reasons. These stand before a run, and no run changes them.

/// From the end of a trigger to where five seconds are as good as before, nearly.
pub const RECOVERY_S_MAX: f64 = 2.0;

/// Goodput from two seconds after the trigger on, of what it was before.
pub const AFTER_MIN: f64 = 0.98;

/// So much less goodput than `adaptive_concurrency` is noise; more is worse.
pub const BELOW_RIVAL_MAX: f64 = 0.01;

/// Attempts a request where callers heed what they are told: an obeyed "no" costs none.
pub const ATTEMPTS_OBEYED_MAX: f64 = 1.05;

/// Where they do not, attempts are the callers' own. A hundredth is noise between two arms.
pub const ATTEMPTS_RIVAL_TIMES: f64 = 1.01;

/// Of their fair share, what all others keep while a quarter of callers storms at half the capacity.
pub const SHARE_MIN: f64 = 0.85;

/// Of critical operations, while sheddable ones can pay.
pub const CRITICAL_MIN: f64 = 0.99;

/// Of tries at a healthy service that is 75 % busy.
pub const FALSE_SHEDS_MAX: f64 = 0.000_1;

/// Tries at the last of four services for each request of a user, with three retries at each of them; 81 were possible.
pub const AMPLIFICATION_MAX: f64 = 1.2;

/// Of requests, while one of twenty tries fails and callers retry: what a budget must not take away.
pub const HEALED_MIN: f64 = 0.999;

/// Without anything before it the service does not come back: a scene in which nothing fails would prove nothing.
pub const COLLAPSED_MAX: f64 = 0.05;
