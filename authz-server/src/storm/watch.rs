//! Where attempts, sheds and load are observed, and what becomes of a storm: a metric, a line in the log, an entry.
//!
//! INVARIANT: nothing here waits, and nothing here changes a decision.
//! INVARIANT: the lock that decisions take is held for one place in a map, never for work that grows with what was counted.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::fresh::{Fresh, ShedKey};
use super::levels::Levels;
use super::metrics::{mode, reason_label};
use super::view::{CallerView, ServiceView, ShedView, View};
use super::{Counts, Detector, FADE_MS, FADED, Faded, Finding, Flow, UNKNOWN};
use crate::check::{Concluded, HandoffState};
use crate::ledger::{Admin, AdminEvent, Entry, Load, Refusal, Sheds, Storm, Verdict};
use crate::serve::service::{Service, now_ms};
use crate::telemetry::Metrics;

/// How often it is looked what became of the counts.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// The watch of a server; clones are the same one.
#[derive(Clone, Debug)]
pub struct StormWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// What came since the last look.
    fresh: Mutex<Fresh>,
    /// What became of all before. Only looks and views take it.
    known: Mutex<Known>,
    /// What filters tell of now and then.
    levels: Mutex<Levels>,
}

#[derive(Debug, Default)]
struct Known {
    detector: Detector,
    /// When storms that are under way began, as it was told: by caller and service. Told once, so that a storm's end says
    /// the same, whatever became of the clock.
    began: BTreeMap<(String, String), u64>,
    /// What is left of sheds.
    sheds: BTreeMap<ShedKey, f64>,
    looked_ms: u64,
}

/// Now, by both clocks: times are kept by the one that nobody sets, and told by the other.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// Since the watch began.
    ms: u64,
    /// Since the Unix epoch.
    epoch_ms: u64,
}

impl Now {
    /// When a time of ours was, as the clock of the day goes now: it may have been set since the server began.
    const fn told(self, ms: u64) -> u64 {
        self.epoch_ms.saturating_sub(self.ms.saturating_sub(ms))
    }

    /// How long ago another machine says that something was. What it says is ahead of us is new.
    const fn age_ms(self, at_ms: u64) -> u64 {
        self.epoch_ms.saturating_sub(at_ms)
    }

    /// How much of what came between two times came lately, taken as even.
    fn lately(self, (first_at_ms, last_at_ms): (u64, u64), count: u64) -> u64 {
        let (oldest_ms, newest_ms) = (self.age_ms(first_at_ms), self.age_ms(last_at_ms));
        if newest_ms >= FADE_MS {
            return 0;
        }
        let (all_ms, late_ms) = (oldest_ms.saturating_sub(newest_ms), FADE_MS.saturating_sub(newest_ms));
        if all_ms <= late_ms {
            return count;
        }
        // Less than the count, so that it fits.
        let lately = u128::from(count) * u128::from(late_ms) / u128::from(all_ms);
        u64::try_from(lately).unwrap_or(count)
    }
}

impl Default for StormWatch {
    fn default() -> StormWatch {
        let (fresh, known, levels) = (Mutex::default(), Mutex::default(), Mutex::default());
        StormWatch(Arc::new(Shared { begun: Instant::now(), fresh, known, levels }))
    }
}

impl StormWatch {
    /// Observes an attempt that was decided, whatever was decided.
    pub fn decided(&self, concluded: &Concluded) {
        let Concluded { record, handoff, is_retry, .. } = concluded;
        // What no contract claims has no budget either.
        if record.service.is_empty() {
            return;
        }
        // Who does not come by a filter of ours is who they say, and a storm would be told under another's name.
        let is_proven = handoff.is_genuine() || *handoff == HandoffState::NotRequired;
        let caller = record.workload.as_deref().filter(|_| is_proven).unwrap_or(UNKNOWN);
        let flow = Flow { caller, service: &record.service, operation: &record.operation };
        locked(&self.0.fresh).observe(flow, Counts::attempts(*is_retry, 1));
    }

    /// Observes what a filter refused, once it is durable.
    pub fn refused(&self, refusal: &Refusal, is_critical: bool, metrics: &Metrics) {
        let Refusal { verdict, reason, service, operation, peer, retry, attempt, at_ms, .. } = refusal;
        match verdict {
            // It never came to the question of load.
            Verdict::Reject => {}
            Verdict::Shed => {
                metrics.load.shed_critical(u64::from(is_critical));
                let retry = *retry || attempt.is_some_and(|attempt| attempt > 1);
                let shed = Shed { service, operation, reason, retry, shadow: false, count: 1 };
                self.shed(peer.as_deref(), &shed, (*at_ms, *at_ms), (self.now(), metrics));
            }
        }
    }

    /// Observes what a filter shed, once it is durable.
    pub fn sheds(&self, sheds: &Sheds, is_critical: bool, metrics: &Metrics) {
        let Sheds { reason, service, operation, peer, first_at_ms, last_at_ms, .. } = sheds;
        let Sheds { retry, shadow, count, .. } = *sheds;
        if is_critical && !shadow {
            metrics.load.shed_critical(count);
        }
        let shed = Shed { service, operation, reason, retry, shadow, count };
        self.shed(peer.as_deref(), &shed, (*first_at_ms, *last_at_ms), (self.now(), metrics));
    }

    /// All of it is counted; what came lately is a sign of the present. Filters keep what they shed while they cannot tell
    /// of it, and that is no storm of the moment in which they can.
    fn shed(
        &self,
        peer: Option<&str>,
        shed: &Shed<'_>,
        between_ms: (u64, u64),
        (now, metrics): (Now, &Metrics),
    ) {
        let Shed { service, operation, reason, retry, shadow, count } = *shed;
        let reason = reason_label(reason);
        metrics.load.shed((service, operation), reason, shadow, count);
        // What is several together, or of a bundle that is not here, stays a number.
        if service.is_empty() {
            return;
        }
        let lately = now.lately(between_ms, count);
        if !shadow {
            let Counts { firsts, retries, .. } = Counts::attempts(retry, count.saturating_sub(lately));
            metrics.load.attempted((service, operation), firsts, retries);
        }
        if lately == 0 {
            return;
        }
        let mut fresh = locked(&self.0.fresh);
        fresh.shed(service, reason, shadow, lately);
        // In shadow it went on, and is counted when it is decided.
        if !shadow {
            let flow = Flow { caller: peer.unwrap_or(UNKNOWN), service, operation };
            fresh.observe(flow, Counts { sheds: lately, ..Counts::attempts(retry, lately) });
        }
    }

    /// Takes note of what a filter let through, once it is durable.
    pub fn load(&self, load: &Load, metrics: &Metrics) {
        load.counts.iter().for_each(|count| metrics.load.passed(count));
        let now = self.now();
        let mut levels = locked(&self.0.levels);
        for level in load.levels.iter().filter(|level| !level.service.is_empty()) {
            levels.told(&load.vm, level, now.ms, now.age_ms(load.at_ms));
        }
    }

    /// Looks what became of the counts; what is news.
    fn look(&self, now: Now, metrics: &Metrics) -> Vec<Finding> {
        let (flows, sheds) = {
            let mut fresh = locked(&self.0.fresh);
            (std::mem::take(&mut fresh.flows), std::mem::take(&mut fresh.sheds))
        };
        locked(&self.0.levels).forget(now.ms);
        let mut known = locked(&self.0.known);
        let known = &mut *known;
        let passed_ms = now.ms.saturating_sub(known.looked_ms);
        known.looked_ms = now.ms;
        let factor = (-(passed_ms as f64) / FADE_MS as f64).exp();
        known.sheds.values_mut().for_each(|faded| *faded *= factor);
        for (key, fresh) in sheds {
            *known.sheds.entry(key).or_default() += fresh as f64;
        }
        known.sheds.retain(|_, faded| *faded > FADED);
        let mut findings = known.detector.tick(now.ms, flows, |Flow { service, operation, .. }, counts| {
            metrics.load.attempted((service, operation), counts.firsts, counts.retries);
        });
        for finding in &mut findings {
            match finding {
                Finding::Begins(storm) => {
                    storm.since_ms = now.told(storm.since_ms);
                    known.began.insert(names(storm), storm.since_ms);
                }
                Finding::Ends(storm) => {
                    let began = known.began.remove(&names(storm));
                    storm.since_ms = began.unwrap_or_else(|| now.told(storm.since_ms));
                }
            }
        }
        findings
    }

    /// How things stand, with so many callers.
    pub fn view(&self, callers_max: usize) -> View {
        let now = self.now();
        let known = locked(&self.0.known);
        let mut services = BTreeMap::<&str, (Faded, ServiceView)>::new();
        let mut callers = Vec::new();
        for (flow, rate) in known.detector.rates() {
            let (sum, _) = services.entry(flow.service).or_default();
            sum.firsts += rate.firsts;
            sum.retries += rate.retries;
            callers.push((flow, rate));
        }
        for ((service, reason, shadow), faded) in &known.sheds {
            let per_s = rounded(faded * 1000.0 / FADE_MS as f64);
            let shed = ShedView { reason: (*reason).to_owned(), mode: mode(*shadow).to_owned(), per_s };
            services.entry(service).or_default().1.sheds.push(shed);
        }
        let levels = locked(&self.0.levels);
        for (service, level) in levels.by_service() {
            let view = &mut services.entry(service).or_default().1;
            (view.limit, view.load) = (level.limit, level.load);
            (view.retry_tokens, view.vms) = (level.retry_tokens, level.vms);
        }
        let services = services.into_iter().map(|(service, (rate, view))| ServiceView {
            service: service.to_owned(),
            attempts_per_s: rounded(rate.attempts()),
            retries_per_s: rounded(rate.retries),
            amplification: rate.told_amplification(),
            ..view
        });
        callers.sort_by(|(one_flow, one), (other_flow, other)| {
            let by_trouble = other.trouble().total_cmp(&one.trouble());
            let by_attempts = other.attempts().total_cmp(&one.attempts());
            by_trouble.then(by_attempts).then_with(|| one_flow.names().cmp(&other_flow.names()))
        });
        let callers = callers.into_iter().take(callers_max).map(|(flow, rate)| CallerView {
            caller: flow.caller.to_owned(),
            service: flow.service.to_owned(),
            operation: flow.operation.to_owned(),
            attempts_per_s: rounded(rate.attempts()),
            retries_per_s: rounded(rate.retries),
            sheds_per_s: rounded(rate.sheds),
            amplification: rate.told_amplification(),
        });
        let began = |storm: &Storm| known.began.get(&names(storm)).copied();
        let told = |storm: &Storm| {
            let since_ms = began(storm).unwrap_or_else(|| now.told(storm.since_ms));
            Storm { since_ms, ..storm.clone() }
        };
        View {
            at_ms: now.epoch_ms,
            services: services.collect(),
            callers: callers.collect(),
            storms: known.detector.storms().map(told).collect(),
        }
    }

    /// Attempts that came since the last look.
    #[cfg(test)]
    pub(crate) fn unlooked(&self) -> u64 {
        let fresh = locked(&self.0.fresh);
        fresh.flows.values().map(|flow| flow.counts.firsts + flow.counts.retries).sum()
    }

    fn now(&self) -> Now {
        let ms = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { ms, epoch_ms: now_ms() }
    }
}

/// What a filter shed of one kind.
#[derive(Clone, Copy, Debug)]
struct Shed<'a> {
    service: &'a str,
    operation: &'a str,
    reason: &'a str,
    retry: bool,
    shadow: bool,
    count: u64,
}

/// What tells storms apart that are under way.
fn names(storm: &Storm) -> (String, String) {
    (storm.caller.clone(), storm.service.clone())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts that were held while something panicked are still counts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faded {
    /// Rates are of a second, and less than one first attempt in it is still several in ten.
    fn told_amplification(&self) -> f64 {
        let seconds = FADE_MS as f64 / 1000.0;
        let Faded { firsts, retries, sheds } = *self;
        let whole = Faded { firsts: firsts * seconds, retries: retries * seconds, sheds: sheds * seconds };
        if whole.attempts() < FADED { 1.0 } else { rounded(whole.amplification().max(1.0)) }
    }
}

/// Hundredths are all that anybody reads.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Looks regularly, for as long as the service is there.
pub async fn watch(service: Weak<Service>) {
    let mut ticks = tokio::time::interval(LOOKED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(service) = service.upgrade() else { return };
        let storms = &service.metrics().storms;
        for finding in storms.look(storms.now(), service.metrics()) {
            tell(finding, &service);
        }
    }
}

/// Tells of a storm in every way that there is.
fn tell(finding: Finding, service: &Service) {
    let (Finding::Begins(storm) | Finding::Ends(storm)) = &finding;
    let Storm { caller, service: of, operation, duration_ms, .. } = storm;
    let Storm { first_attempts, retries, sheds, amplification_percent, .. } = storm;
    let detail = detail(&finding);
    let event = match &finding {
        Finding::Begins(storm) => {
            service.metrics().load.storm();
            tracing::warn!(
                caller,
                service = of,
                operation,
                first_attempts,
                retries,
                sheds,
                amplification_percent,
                "a retry storm: one caller asks far more often again than at first"
            );
            AdminEvent::StormBegan(storm.clone())
        }
        Finding::Ends(storm) => {
            tracing::info!(
                caller,
                service = of,
                duration_ms,
                first_attempts,
                retries,
                sheds,
                amplification_percent,
                "a retry storm is over"
            );
            AdminEvent::StormEnded(storm.clone())
        }
    };
    let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail });
    if let Err(error) = service.ledger().append_soon(&entry)
        && !error.is_told_by_the_ledger()
    {
        tracing::warn!(%error, "a storm could not be stored");
    }
}

fn detail(finding: &Finding) -> String {
    let (Finding::Begins(storm) | Finding::Ends(storm)) = finding;
    let Storm { caller, service, operation, first_attempts, retries, sheds, .. } = storm;
    let times = format!("{}.{:02}", storm.amplification_percent / 100, storm.amplification_percent % 100);
    let counts = format!("{first_attempts} first attempts, {retries} retries, {sheds} shed");
    match finding {
        Finding::Begins(_) => {
            format!("`{caller}` makes {times} attempts of each request at {service}.{operation}: {counts}")
        }
        Finding::Ends(_) => format!(
            "`{caller}` at {service} after {} s: {counts}, at most {times} attempts of each request, at {operation}",
            storm.duration_ms / 1000
        ),
    }
}
