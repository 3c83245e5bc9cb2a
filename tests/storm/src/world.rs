//! Plays a scene: an agenda of events, and what each of them does to callers, guards and services.
//!
//! INVARIANT: time only goes forwards, and events of the same moment come in the order in which they were put down.

use crate::dice::Dice;
use crate::figures::{Look, Played, User};
use crate::guard::{Guard, Pass, Request};
use crate::policy::{Client, Outcome};
use crate::scene::{Scene, Trigger, Upset};
use crate::service::Service;
use palisade_core::contract::Priority;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How long a reply travels.
const REPLY_US: u64 = 250;

/// How often the last service is looked at.
const LOOK_US: u64 = 200_000;

/// Proxies of each service in the chain that call the next one.
const INNER_CLIENTS: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival,
    Begin { call: usize },
    Worked { service: usize, attempt: usize },
    Replied { attempt: usize, outcome: Outcome },
    AttemptLate { attempt: usize },
    CallLate { call: usize },
    TriggerOn,
    TriggerOff,
    UpsetOn,
    UpsetOff,
    Look,
}

/// One request of one client to one service, with all its tries.
#[derive(Debug)]
struct Call {
    client: usize,
    service: usize,
    user: usize,
    /// The try that this call is a part of, one service before.
    parent: Option<usize>,
    operation: usize,
    tries: u32,
    /// Its client counts it among its retries.
    retried: bool,
    live: Option<usize>,
    ends_us: u64,
    done: bool,
}

#[derive(Debug)]
struct Attempt {
    call: usize,
    pass: Option<Pass>,
}

/// What is to come.
#[derive(Debug, Default)]
struct Agenda {
    times: BinaryHeap<Reverse<(u64, usize)>>,
    events: Vec<Event>,
}

impl Agenda {
    fn put(&mut self, at_us: u64, event: Event) {
        self.times.push(Reverse((at_us, self.events.len())));
        self.events.push(event);
    }

    fn take(&mut self) -> Option<(u64, Event)> {
        let Reverse((at_us, event)) = self.times.pop()?;
        Some((at_us, self.events[event]))
    }
}

struct World<'a> {
    scene: &'a Scene,
    dice: Dice,
    now_us: u64,
    agenda: Agenda,
    guards: Vec<Guard>,
    services: Vec<Service>,
    clients: Vec<Client>,
    calls: Vec<Call>,
    attempts: Vec<Attempt>,
    users: Vec<User>,
    looks: Vec<Look>,
    triggered: bool,
}

/// Plays the whole scene.
pub fn play(scene: &Scene) -> Played {
    let mut world = World::new(scene);
    let (on_us, off_us) = scene.trigger_us();
    world.put(on_us, Event::TriggerOn);
    world.put(off_us, Event::TriggerOff);
    let middle_us = (on_us + off_us) / 2;
    world.put(middle_us, Event::UpsetOn);
    world.put(middle_us + 2_000_000, Event::UpsetOff);
    world.put(0, Event::Arrival);
    world.put(LOOK_US, Event::Look);
    while let Some((at_us, event)) = world.agenda.take() {
        world.now_us = at_us;
        world.happen(event);
    }
    Played { users: world.users, looks: world.looks, trigger_us: (on_us, off_us), end_us: scene.end_us() }
}

impl<'a> World<'a> {
    fn new(scene: &'a Scene) -> World<'a> {
        let mut clients = Vec::new();
        for callers in &scene.callers {
            clients.extend((0..callers.count).map(|_| Client::new(callers.policy)));
        }
        for _ in 1..scene.depth {
            clients.extend((0..INNER_CLIENTS).map(|_| Client::new(scene.inner)));
        }
        World {
            scene,
            dice: Dice::new(scene.seed),
            now_us: 0,
            agenda: Agenda::default(),
            guards: (0..scene.depth).map(|service| Guard::new(scene, service)).collect(),
            services: (0..scene.depth).map(|_| Service::new(scene.workers)).collect(),
            clients,
            calls: Vec::new(),
            attempts: Vec::new(),
            users: Vec::new(),
            looks: Vec::new(),
            triggered: false,
        }
    }

    fn put(&mut self, at_us: u64, event: Event) {
        self.agenda.put(at_us, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Begin { call } => self.attempt(call),
            Event::Worked { service, attempt } => self.worked(service, attempt),
            Event::Replied { attempt, outcome } => self.replied(attempt, outcome),
            Event::AttemptLate { attempt } => {
                let call = self.attempts[attempt].call;
                if self.calls[call].live == Some(attempt) {
                    self.abandon(call);
                    self.settle(call, Outcome::Late);
                }
            }
            Event::CallLate { call } => {
                if !self.calls[call].done {
                    self.abandon(call);
                    self.complete(call, Outcome::Late);
                }
            }
            Event::TriggerOn => self.trigger(true),
            Event::TriggerOff => self.trigger(false),
            Event::UpsetOn => self.upset(true),
            Event::UpsetOff => self.upset(false),
            Event::Look => self.look(),
        }
    }

    fn last(&self) -> usize {
        self.scene.depth - 1
    }

    fn trigger(&mut self, on: bool) {
        self.triggered = on;
        if let Trigger::Capacity(part) = self.scene.trigger {
            let part = if on { part } else { 1.0 };
            let last = self.last();
            self.services[last].resize((f64::from(self.scene.workers) * part) as u32);
            self.work_on(last);
        }
    }

    fn upset(&mut self, on: bool) {
        for guard in &mut self.guards {
            match self.scene.upset {
                Upset::None => {}
                Upset::ClockMs(ms) => guard.clock_off_us = if on { ms * 1_000 } else { 0 },
                Upset::Restart if on => guard.restart(),
                Upset::Renamed if on => guard.names += 1,
                Upset::Restart | Upset::Renamed => {}
            }
        }
    }

    fn look(&mut self) {
        let last = self.last();
        let levels = self.guards[last].levels();
        self.looks.push(Look { at_us: self.now_us, queued: self.services[last].queued(), levels });
        if self.now_us < self.scene.end_us() {
            self.put(self.now_us + LOOK_US, Event::Look);
        }
    }

    /// A request of a user, and the time of the next one: load does not wait for answers.
    fn arrive(&mut self) {
        let surge = match self.scene.trigger {
            Trigger::Surge(times) if self.triggered => times,
            _ => 1.0,
        };
        let pause_us = self.dice.exponential(1e6 / (self.scene.requests_per_s * surge));
        let next_us = self.now_us + pause_us as u64;
        if next_us < self.scene.end_us() {
            self.put(next_us, Event::Arrival);
        }
        let kind = self.dice.weighted(self.scene.callers.iter().map(|callers| callers.part));
        let before: usize = self.scene.callers[..kind].iter().map(|callers| callers.count).sum();
        let client = before + self.dice.below(self.scene.callers[kind].count);
        let priority = Priority::ALL[self.dice.weighted(self.scene.callers[kind].priorities)];
        let operation = self.dice.weighted(self.scene.operations.iter().map(|(part, _)| *part));
        self.users.push(User::new(self.now_us, kind, priority));
        self.call(client, 0, self.users.len() - 1, None, operation);
    }

    fn call(&mut self, client: usize, service: usize, user: usize, parent: Option<usize>, operation: usize) {
        let ends_us = self.now_us + self.clients[client].policy.overall_ms * 1_000;
        self.clients[client].began();
        let call = self.calls.len();
        self.calls.push(Call {
            client,
            service,
            user,
            parent,
            operation,
            tries: 0,
            retried: false,
            live: None,
            ends_us,
            done: false,
        });
        self.put(ends_us, Event::CallLate { call });
        self.attempt(call);
    }

    fn attempt(&mut self, call: usize) {
        if self.calls[call].done {
            return;
        }
        let attempt = self.attempts.len();
        let at = &mut self.calls[call];
        at.tries += 1;
        at.live = Some(attempt);
        let Call { client, service, user, operation, tries, ends_us, .. } = *at;
        let policy = self.clients[client].policy;
        let late_us = ends_us.min(self.now_us + policy.try_ms * 1_000);
        let request = Request {
            vm: self.vm_of(client),
            caller: client,
            operation,
            priority: self.users[user].priority,
            retry: policy.tells_attempt && tries > 1,
            timeout_us: policy.tells_timeout.then(|| late_us - self.now_us),
        };
        let last = self.last();
        self.users[user].tried(service, last);
        let admitted = self.guards[service].admit(self.now_us, &request, &mut self.dice);
        let refused = admitted.as_ref().err().copied();
        self.attempts.push(Attempt { call, pass: admitted.ok() });
        match refused {
            None => {
                self.put(late_us, Event::AttemptLate { attempt });
                self.services[service].push(attempt);
                self.work_on(service);
            }
            Some(refusal) => {
                self.users[user].refused += 1;
                self.reply(attempt, Outcome::Refused(refusal));
            }
        }
    }

    /// Connections are kept, so a client always reaches the same worker of the proxy.
    fn vm_of(&self, client: usize) -> usize {
        let mut left = (client as f64 * 0.618_034 + 0.5).fract();
        for (vm, part) in self.scene.vms.iter().enumerate() {
            left -= part;
            if left < 0.0 {
                return vm;
            }
        }
        0
    }

    fn work_on(&mut self, service: usize) {
        while let Some(attempt) = self.services[service].begin() {
            let (_, times) = self.scene.operations[self.calls[self.attempts[attempt].call].operation];
            let slow = match self.scene.trigger {
                Trigger::Slow(times) if self.triggered && service == self.last() => times,
                _ => 1.0,
            };
            let drawn = 1.0 - self.scene.spread + self.scene.spread * self.dice.exponential(1.0);
            let took_us = self.scene.work_ms * 1e3 * times * slow * drawn;
            self.put(self.now_us + took_us as u64, Event::Worked { service, attempt });
        }
    }

    fn worked(&mut self, service: usize, attempt: usize) {
        self.services[service].end();
        self.work_on(service);
        let Call { user, operation, .. } = self.calls[self.attempts[attempt].call];
        let is_last = service == self.last();
        self.users[user].executions += u32::from(is_last);
        let fails = match self.scene.trigger {
            Trigger::Errors(part) if self.triggered && is_last => self.dice.chance(part),
            _ => false,
        };
        if fails || is_last {
            self.answer(attempt, !fails);
        } else {
            let outer: usize = self.scene.callers.iter().map(|callers| callers.count).sum();
            let client = outer + service * INNER_CLIENTS + self.dice.below(INNER_CLIENTS);
            self.call(client, service + 1, user, Some(attempt), operation);
        }
    }

    /// The service answers a try, if anybody still waits for it.
    fn answer(&mut self, attempt: usize, is_good: bool) {
        let service = self.calls[self.attempts[attempt].call].service;
        let Some(pass) = self.attempts[attempt].pass.take() else { return };
        let marked = self.guards[service].answered(self.now_us, pass, is_good);
        self.reply(attempt, if is_good { Outcome::Good } else { Outcome::Failed { marked } });
    }

    fn reply(&mut self, attempt: usize, outcome: Outcome) {
        self.put(self.now_us + REPLY_US, Event::Replied { attempt, outcome });
    }

    fn replied(&mut self, attempt: usize, outcome: Outcome) {
        let call = self.attempts[attempt].call;
        if self.calls[call].live == Some(attempt) {
            self.calls[call].live = None;
            self.settle(call, outcome);
        }
    }

    /// The client no longer waits for its try. The service does not hear of it.
    fn abandon(&mut self, call: usize) {
        let Some(attempt) = self.calls[call].live.take() else { return };
        let service = self.calls[call].service;
        if let Some(pass) = self.attempts[attempt].pass.take() {
            self.guards[service].gone(self.now_us, pass);
        }
    }

    /// One try is over: another one, or the end of the call.
    fn settle(&mut self, call: usize, outcome: Outcome) {
        let Call { client, tries, ends_us, .. } = self.calls[call];
        match self.clients[client].again_ms(tries, outcome, &mut self.dice) {
            Some(after_ms) => {
                self.calls[call].retried = true;
                let at_us = self.now_us + (after_ms * 1e3) as u64;
                if at_us < ends_us {
                    self.put(at_us, Event::Begin { call });
                } else {
                    self.complete(call, outcome);
                }
            }
            None => self.complete(call, outcome),
        }
    }

    fn complete(&mut self, call: usize, outcome: Outcome) {
        self.calls[call].done = true;
        let Call { client, user, parent, retried, .. } = self.calls[call];
        self.clients[client].ended(retried, outcome);
        let is_good = outcome == Outcome::Good;
        match parent {
            Some(attempt) => self.answer(attempt, is_good),
            None => self.users[user].is_good = is_good,
        }
    }
}
