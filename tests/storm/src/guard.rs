//! What stands before one service: our shedder in each worker of its proxy, or a rival.
//!
//! INVARIANT: our part calls the shedder as the filter does, in every detail that counts: the caller only when it is
//! asked for, and a new worker knows no ticket of the old one.

use crate::dice::Dice;
use crate::policy::{Again, Refusal};
use crate::rivals::{AdaptiveConcurrency, AdmissionControl, LocalRateLimit};
use crate::scene::{Arm, Scene};
use palisade_core::contract::Priority;
use palisade_core::shed::{Answer, Ask, CallerKey, Level, OperationKey, Pushback, Shedder, Ticket};

/// What a proxy sees of one request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub vm: usize,
    pub caller: usize,
    pub operation: usize,
    pub priority: Priority,
    pub retry: bool,
    pub timeout_us: Option<u64>,
}

/// Kept while a request is in the service.
#[derive(Debug)]
pub struct Pass {
    began_us: u64,
    vm: usize,
    life: u32,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
enum Kind {
    Nothing,
    AdmissionControl(Vec<AdmissionControl>),
    LocalRateLimit(LocalRateLimit),
    Adaptive(AdaptiveConcurrency),
    Ours(Vec<Shedder>),
}

#[derive(Debug)]
pub struct Guard {
    kind: Kind,
    vms: usize,
    /// How often the workers began anew.
    life: u32,
    /// How often configurations named all operations anew.
    pub names: u32,
    /// How far the host's clock is off.
    pub clock_off_us: i64,
}

impl Guard {
    pub fn new(scene: &Scene, service: usize) -> Guard {
        let vms = scene.vms.len();
        // What half of requests take at most: the operation that most of them are of.
        let own_us = scene.operations.first().map_or(1.0, |(_, times)| times * scene.work_ms * 1e3);
        // A service that calls others is as slow as all of them together.
        let base_us = own_us * (scene.depth - service) as f64;
        let kind = match scene.arm {
            Arm::Nothing => Kind::Nothing,
            Arm::AdmissionControl => {
                Kind::AdmissionControl((0..vms).map(|_| AdmissionControl::default()).collect())
            }
            Arm::LocalRateLimit => Kind::LocalRateLimit(LocalRateLimit::at(scene.capacity_per_s())),
            Arm::AdaptiveIdeal => Kind::Adaptive(AdaptiveConcurrency::ideal(base_us)),
            Arm::AdaptiveMeasuring(floor) => Kind::Adaptive(AdaptiveConcurrency::measuring(f64::from(floor))),
            Arm::Ours => Kind::Ours((0..vms).map(|_| Shedder::default()).collect()),
        };
        Guard { kind, vms, life: 0, names: 0, clock_off_us: 0 }
    }

    pub fn admit(&mut self, now_us: u64, request: &Request, dice: &mut Dice) -> Result<Pass, Refusal> {
        let now_us = self.host_us(now_us);
        let mut pass = Pass { began_us: now_us, vm: request.vm, life: self.life, ticket: None };
        let unavailable = Refusal { unavailable: true, ratelimited: false, again: Again::NotSaid };
        let admitted = match &mut self.kind {
            Kind::Nothing => true,
            Kind::AdmissionControl(vms) => vms[request.vm].admit(now_us, dice),
            Kind::Adaptive(adaptive) => adaptive.admit(now_us),
            Kind::LocalRateLimit(limit) => {
                let limited = Refusal { unavailable: false, ratelimited: true, again: Again::NotSaid };
                return if limit.admit(now_us) { Ok(pass) } else { Err(limited) };
            }
            Kind::Ours(vms) => {
                pass.ticket = Some(ask_ours(&mut vms[request.vm], now_us, request, self.names, dice)?);
                true
            }
        };
        if admitted { Ok(pass) } else { Err(unavailable) }
    }

    /// The service answered; whether its failure goes out marked.
    pub fn answered(&mut self, now_us: u64, pass: Pass, is_good: bool) -> bool {
        let now_us = self.host_us(now_us);
        match &mut self.kind {
            Kind::Nothing | Kind::LocalRateLimit(_) => false,
            Kind::AdmissionControl(vms) => {
                vms[pass.vm].ended(now_us, is_good);
                false
            }
            Kind::Adaptive(adaptive) => {
                adaptive.ended(now_us, Some((now_us.saturating_sub(pass.began_us)) as f64));
                false
            }
            Kind::Ours(vms) => {
                let shedder = &mut vms[pass.vm];
                if let Some(mut ticket) = pass.ticket.filter(|_| pass.life == self.life) {
                    let answer = if is_good { Answer::Good } else { Answer::Failed };
                    shedder.answered(now_us, &mut ticket, answer);
                    shedder.gone(now_us, ticket);
                }
                !is_good && shedder.tells_no_retry()
            }
        }
    }

    /// The caller gave up.
    pub fn gone(&mut self, now_us: u64, pass: Pass) {
        let now_us = self.host_us(now_us);
        match &mut self.kind {
            Kind::Nothing | Kind::LocalRateLimit(_) => {}
            Kind::AdmissionControl(vms) => vms[pass.vm].ended(now_us, false),
            Kind::Adaptive(adaptive) => adaptive.ended(now_us, None),
            Kind::Ours(vms) => {
                if let Some(ticket) = pass.ticket.filter(|_| pass.life == self.life) {
                    vms[pass.vm].gone(now_us, ticket);
                }
            }
        }
    }

    /// The VMs of all workers begin anew. Rivals live in the proxy itself, and go on.
    pub fn restart(&mut self) {
        if let Kind::Ours(vms) = &mut self.kind {
            self.life += 1;
            *vms = (0..self.vms).map(|_| Shedder::default()).collect();
        }
    }

    /// How our shedders stand.
    pub fn levels(&self) -> Vec<Level> {
        match &self.kind {
            Kind::Ours(vms) => vms.iter().map(Shedder::level).collect(),
            Kind::Nothing | Kind::AdmissionControl(_) | Kind::LocalRateLimit(_) | Kind::Adaptive(_) => {
                Vec::new()
            }
        }
    }

    fn host_us(&self, now_us: u64) -> u64 {
        // A clock begins somewhere, so that it can be set back.
        (now_us + 1_000_000_000_000).saturating_add_signed(self.clock_off_us)
    }
}

fn ask_ours(
    shedder: &mut Shedder,
    now_us: u64,
    request: &Request,
    names: u32,
    dice: &mut Dice,
) -> Result<Ticket, Refusal> {
    let ask = Ask {
        priority: request.priority,
        retry: request.retry,
        operation: OperationKey::named(&format!("operation {} of {names}", request.operation)),
        timeout_us: request.timeout_us,
        concurrency_max: None,
    };
    let caller = || CallerKey(Dice::new(request.caller as u64).any());
    match shedder.admit(now_us, &ask, caller) {
        Ok(mut ticket) => {
            shedder.sent(now_us, &mut ticket);
            Ok(ticket)
        }
        Err(_cause) => {
            let again = match shedder.pushback((dice.any() >> 32) as u32) {
                Pushback::Later(ms) => Again::AfterMs(ms),
                Pushback::Never => Again::Never,
            };
            Err(Refusal { unavailable: false, ratelimited: true, again })
        }
    }
}
