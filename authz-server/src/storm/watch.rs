//! Where attempts, sheds and load are observed, and what becomes of a storm: a metric, a line in the log, an entry.
//!
//! INVARIANT: nothing here waits, and nothing here changes a decision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::levels::Levels;
use super::metrics::{mode, reason_label};
use super::view::{CallerView, ServiceView, ShedView, View};
use super::{Counts, Detector, FADE_MS, FADED, Faded, Finding, Flow, UNKNOWN};
use crate::ledger::{Admin, AdminEvent, Decision, Entry, Load, Refusal, Sheds, Storm, Verdict};
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
    begun_ms: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    detector: Detector,
    /// By service, reason and whether it is in shadow: what came since the last look, and what is left of all before.
    sheds: BTreeMap<(Box<str>, &'static str, bool), (u64, f64)>,
    levels: Levels,
    looked_ms: u64,
}

impl Default for StormWatch {
    fn default() -> StormWatch {
        let state = Mutex::default();
        StormWatch(Arc::new(Shared { begun: Instant::now(), begun_ms: now_ms(), state }))
    }
}

impl StormWatch {
    /// Observes an attempt that was decided, whatever was decided.
    pub fn decided(&self, decision: &Decision, is_retry: bool) {
        let Decision { service, operation, workload, .. } = decision;
        // What no contract claims has no budget either.
        if !service.is_empty() {
            let caller = workload.as_deref().unwrap_or(UNKNOWN);
            self.state().detector.observe(Flow { caller, service, operation }, Counts::attempts(is_retry, 1));
        }
    }

    /// Observes what a filter refused, once it is durable.
    pub fn refused(&self, refusal: &Refusal, is_critical: bool, metrics: &Metrics) {
        let Refusal { verdict, reason, service, operation, peer, retry, attempt, .. } = refusal;
        match verdict {
            // It never came to the question of load.
            Verdict::Reject => {}
            Verdict::Shed => {
                metrics.load.shed_critical(u64::from(is_critical));
                let is_retry = *retry || attempt.is_some_and(|attempt| attempt > 1);
                self.shed(peer.as_deref(), (service, operation), (reason, is_retry, false), (1, metrics));
            }
        }
    }

    /// Observes what a filter shed, once it is durable.
    pub fn sheds(&self, sheds: &Sheds, is_critical: bool, metrics: &Metrics) {
        let Sheds { reason, retry, shadow, service, operation, peer, count, .. } = sheds;
        if is_critical && !shadow {
            metrics.load.shed_critical(*count);
        }
        self.shed(peer.as_deref(), (service, operation), (reason, *retry, *shadow), (*count, metrics));
    }

    fn shed(
        &self,
        peer: Option<&str>,
        (service, operation): (&str, &str),
        (reason, retry, shadow): (&str, bool, bool),
        (count, metrics): (u64, &Metrics),
    ) {
        let reason = reason_label(reason);
        metrics.load.shed((service, operation), reason, shadow, count);
        // What is several together, or of a bundle that is not here, stays a number.
        if service.is_empty() {
            return;
        }
        let mut state = self.state();
        let (fresh, _) = state.sheds.entry((service.into(), reason, shadow)).or_default();
        *fresh = fresh.saturating_add(count);
        // In shadow it went on, and is counted when it is decided.
        if !shadow {
            let flow = Flow { caller: peer.unwrap_or(UNKNOWN), service, operation };
            state.detector.observe(flow, Counts { sheds: count, ..Counts::attempts(retry, count) });
        }
    }

    /// Takes note of what a filter let through, once it is durable.
    pub fn load(&self, load: &Load, metrics: &Metrics) {
        load.counts.iter().for_each(|count| metrics.load.passed(count));
        let now_ms = self.0.elapsed_ms();
        let mut state = self.state();
        for level in load.levels.iter().filter(|level| !level.service.is_empty()) {
            state.levels.told(&load.vm, level, now_ms);
        }
    }

    /// Looks what became of the counts; what is news.
    fn look(&self, metrics: &Metrics) -> Vec<Finding> {
        let now_ms = self.0.elapsed_ms();
        let mut state = self.state();
        let state = &mut *state;
        let passed_ms = now_ms.saturating_sub(state.looked_ms);
        state.looked_ms = now_ms;
        let factor = (-(passed_ms as f64) / FADE_MS as f64).exp();
        state.sheds.retain(|_, (fresh, faded)| {
            *faded = faded.mul_add(factor, std::mem::take(fresh) as f64);
            *faded > FADED
        });
        state.levels.forget(now_ms);
        let mut findings = state.detector.tick(now_ms, |Flow { service, operation, .. }, counts| {
            metrics.load.attempted((service, operation), counts.firsts, counts.retries);
        });
        for finding in &mut findings {
            let (Finding::Begins(storm) | Finding::Ends(storm)) = finding;
            storm.since_ms = storm.since_ms.saturating_add(self.0.begun_ms);
        }
        findings
    }

    /// How things stand, with so many callers.
    pub fn view(&self, callers_max: usize) -> View {
        let state = self.state();
        let mut services = BTreeMap::<&str, (Faded, ServiceView)>::new();
        let mut callers = Vec::new();
        for (flow, rate) in state.detector.rates() {
            let (sum, _) = services.entry(flow.service).or_default();
            sum.firsts += rate.firsts;
            sum.retries += rate.retries;
            callers.push((flow, rate));
        }
        for ((service, reason, shadow), (_, faded)) in &state.sheds {
            let per_s = rounded(faded * 1000.0 / FADE_MS as f64);
            let shed = ShedView { reason: (*reason).to_owned(), mode: mode(*shadow).to_owned(), per_s };
            services.entry(service).or_default().1.sheds.push(shed);
        }
        for (service, level) in state.levels.by_service() {
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
        let since_epoch = |storm: &Storm| {
            let since_ms = storm.since_ms.saturating_add(self.0.begun_ms);
            Storm { since_ms, ..storm.clone() }
        };
        View {
            at_ms: now_ms(),
            services: services.collect(),
            callers: callers.collect(),
            storms: state.detector.storms().map(since_epoch).collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts that were held while something panicked are still counts.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
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
        for finding in service.metrics().storms.look(service.metrics()) {
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
