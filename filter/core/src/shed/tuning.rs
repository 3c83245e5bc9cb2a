//! Every number that the shedder is tuned by, with its reason.
//!
//! INVARIANT: nothing here is about one service: what is particular about it is measured.

/// A window is closed after this time at the earliest: some dozens of answers for most services.
pub(super) const WINDOW_US: u64 = 100_000;

/// Answers without which a window says nothing: a median of fewer is luck.
pub(super) const WINDOW_SAMPLES_MIN: u32 = 16;

/// A window that did not see enough after this time is forgotten: its answers are of different times.
pub(super) const WINDOW_STALE_US: u64 = 2_000_000;

/// Between two calls nothing longer than this is believed to have passed: a longer pause is a clock that was set, or a
/// service that nobody uses, and neither says anything of load.
pub(super) const PAUSE_US_MAX: u64 = 1_000_000;

/// What a worker of the proxy begins with, before it knows anything, and what a limit that was cut grows back to in good
/// times. With 50, a small healthy service with long tails was shed from three times as often.
pub(super) const LIMIT_START: f64 = 60.0;

/// Below it nothing would be measured any more.
pub(super) const LIMIT_MIN: f64 = 4.0;

/// The same for cuts that latency alone is the reason of: one worker and a short queue.
pub(super) const LIMIT_MIN_LATENCY: f64 = 8.0;

/// More streams than one worker of a proxy holds.
pub(super) const LIMIT_MAX: f64 = 65_536.0;

/// The limit grows where load comes over this part of it, so that it stands at twice the healthy peaks.
pub(super) const LIMIT_USED: f64 = 0.5;

/// Requests whose end has not come are nobody's work yet, and count for at most this part of the limit: else whoever begins
/// many and ends none would leave no room for others, before anybody asked who it is.
pub(super) const ARRIVING_PART: f64 = 0.1;

/// Who gives up before this part of the base leaves no work behind: the service has hardly seen it, if it was let on at all.
pub(super) const GHOST_BASES: f64 = 0.25;

/// Added to a latency and to its base before they are compared: what schedulers and networks add is no queue.
pub(super) const SLACK_US: f64 = 4_000.0;

/// A median so many times its base is a queue.
pub(super) const STRESS_CUT: f64 = 2.5;

/// Up to here the limit may grow.
pub(super) const STRESS_GROW: f64 = 2.0;

/// Up to here a service is as it always is, and its bases are learned.
pub(super) const STRESS_CALM: f64 = 1.5;

/// What came before a cut has left most services after this time.
pub(super) const DRAIN_US: u64 = 500_000;

/// Callers that gave up, as a part of all ends, from which the limit is cut.
pub(super) const GIVEN_UP_MAX: f64 = 0.05;

/// One caller that gave up is no sign, however few answers there are.
pub(super) const GIVEN_UP_MIN: u32 = 3;

/// What a cut for callers that gave up leaves of the limit.
pub(super) const GIVEN_UP_CUT: f64 = 0.7;

/// Giving up before so many times the base says something of the caller, and nothing of the service.
pub(super) const GIVEN_UP_BASES: f64 = 2.0;

/// The same while the limit is used up, where bases may have been learned in bad times only.
pub(super) const GIVEN_UP_BASES_PRESSED: f64 = 1.2;

/// What a cut for latency leaves at least: a median of few answers is not trusted further.
pub(super) const CUT_MIN: f64 = 0.2;

/// Latency never cuts the limit below so many times what was in the service in good times.
pub(super) const CALM_TIMES: f64 = 2.5;

/// How much each calm window counts in what is called good times: about the last five seconds.
pub(super) const CALM_PART: f64 = 0.02;

/// A probe raises the limit by this, and expects half of it more of answers if there is no queue.
pub(super) const PROBE_RAISE: f64 = 1.5;
pub(super) const PROBE_GAIN: f64 = 1.25;

/// With a queue, latency rises as the limit does.
pub(super) const PROBE_LATENCY: f64 = 1.2;

/// Answers for one rate: two of them differ by a quarter by chance in less than one of a hundred cases.
pub(super) const PROBE_ANSWERS: f64 = 200.0;

/// The first probe comes after so long under stress, and each that finds a queue doubles the time to the next.
pub(super) const PROBE_WAIT_US: f64 = 1_000_000.0;
pub(super) const PROBE_WAIT_MAX: f64 = 16_000_000.0;

/// Operations whose base is remembered: sets of ways.
pub(super) const BASE_SETS: usize = 32;
pub(super) const BASE_WAYS: usize = 8;

/// Each answer moves its operation's base by this part towards the median.
pub(super) const BASE_STEP: f64 = 0.02;

/// The first answers move it further: a first guess may be far off.
pub(super) const BASE_FIRST: u8 = 16;
pub(super) const BASE_FIRST_STEP: f64 = 0.15;

/// Under load, bases this much longer than the median were learned in worse times.
pub(super) const BASE_TOO_LONG: f64 = 0.75;

/// A service that is slow at a low load for long is a slow service: the step of its bases then.
pub(super) const BASE_CREEP: f64 = 0.001;

/// Tokens for each first attempt that was answered well. Of a chain of four, 1.04 to the fourth power is 1.17.
pub(super) const BUDGET_DEPOSIT: f64 = 0.04;

/// While less than this part fails, three retries heal nearly all of it, at 1.11 tries a request. With 0.12, simulated
/// chains of four came to 1.204.
pub(super) const FAILED_HEALED: f64 = 0.10;

/// How much each answer counts in what failed lately: about the last hundred.
pub(super) const FAILED_PART: f64 = 0.01;

/// Retries that may come at once after a good time, and that a new worker begins with.
pub(super) const BUDGET_MAX: f64 = 10.0;

/// Parts of the limit up to which requests are let in: first of callers above their share, then of all callers. Within
/// a class shares count, and no class yields to one below it. Critical operations have room above the limit, because a
/// limit may be small, and arrivals come in bunches.
pub(super) const ROOM_SHEDDABLE: (f64, f64) = (0.5, 0.6);
pub(super) const ROOM_DEFAULT: (f64, f64) = (0.65, 0.8);
pub(super) const ROOM_CRITICAL: (f64, f64) = (1.0, 1.25);

/// The same for retries, whatever their class.
pub(super) const ROOM_RETRY: f64 = 0.55;

/// A caller may be so much above its share before it yields.
pub(super) const SHARE_SLACK: f64 = 1.15;

/// Callers that are counted one by one: sets of ways.
pub(super) const CALLER_SETS: usize = 32;
pub(super) const CALLER_WAYS: usize = 8;

/// Counts are halved about every 0.7 s.
pub(super) const DECAY_US: f64 = 1_000_000.0;

/// An estimate of the latency now is believed so long.
pub(super) const ESTIMATE_US: u64 = 1_000_000;

/// Fewer sheds in about a second are never a deep overload, however little is served.
pub(super) const DEEP_SHED_MIN: f64 = 10.0;

/// When a caller may come again, in a mild overload.
pub(super) const LATER_MS_MIN: u32 = 1_000;
pub(super) const LATER_MS_SPREAD: u32 = 2_000;

const _: () =
    assert!(STRESS_CALM < STRESS_GROW && STRESS_GROW < STRESS_CUT, "growing must not lead to a cut");
const _: () = assert!(LIMIT_USED <= ROOM_RETRY, "load that is let in must be able to make the limit grow");
const _: () = assert!(ROOM_SHEDDABLE.0 < ROOM_RETRY && ROOM_RETRY < ROOM_SHEDDABLE.1, "who yields first");
const _: () =
    assert!(ROOM_SHEDDABLE.1 < ROOM_DEFAULT.0 && ROOM_DEFAULT.1 < ROOM_CRITICAL.0, "who yields first");
const _: () = assert!(PROBE_GAIN < PROBE_RAISE && PROBE_LATENCY < PROBE_RAISE, "what a probe can tell apart");
