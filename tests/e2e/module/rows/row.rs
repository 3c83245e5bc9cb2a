//! One row: a VM, its roots and streams, and what happens to them until it ends.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use tests::dice::Dice;
use tests::module::{Action, Host, Trap, Vm};

use super::super::scene::compiled;
use super::inputs;
use super::model::{Known, Part};

const STEPS_MAX: usize = 80;

/// How far a stream has come, in a proxy's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Head,
    Body,
    Ended,
}

struct Open {
    root: u32,
    known: Known,
    phase: Phase,
    response_begun: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Root {
    configured: bool,
    demo: bool,
}

/// What all rows did, so that a run which never came anywhere is seen.
#[derive(Debug, Default)]
pub(super) struct Totals(BTreeMap<String, u64>);

impl Totals {
    fn count(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn assert_varied(&self) {
        for what in [
            "head Continue",
            "head Pause",
            "body Continue",
            "body Pause",
            "trailers Continue",
            "trailers Pause",
            "response Continue",
            "response Pause",
            "lies",
            "reports",
            "answers",
            "configured",
            "not configured",
        ] {
            assert!(self.0.get(what).is_some_and(|count| *count >= 20), "too few `{what}`: {self}");
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&parts.join(", "))
    }
}

pub(super) struct Row {
    seed: u64,
    dice: Dice,
    /// Whether callbacks keep a proxy's order.
    orderly: bool,
    /// Whether most requests are good ones.
    tame: bool,
    lied: Rc<Cell<bool>>,
    next_context: u32,
    roots: BTreeMap<u32, Root>,
    streams: BTreeMap<u32, Open>,
    steps: Vec<String>,
}

impl Row {
    pub(super) fn new(seed: u64) -> Row {
        Row {
            seed,
            dice: Dice::new(seed),
            orderly: seed.is_multiple_of(2),
            tame: seed.is_multiple_of(3),
            lied: Rc::default(),
            next_context: 1,
            roots: BTreeMap::new(),
            streams: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    /// The error has all that repeats it.
    pub(super) fn run(mut self, totals: &mut Totals) -> Result<(), String> {
        self.play(totals).map_err(|broken| {
            let order = if self.orderly { "a proxy's order" } else { "any order" };
            format!("seed {} ({order}): {broken}\nafter:\n  {}", self.seed, self.steps.join("\n  "))
        })
    }

    fn play(&mut self, totals: &mut Totals) -> Result<(), String> {
        let mut host = Host::new(inputs::environment(&mut self.dice), self.seed);
        let once_in = self.dice.one_of(&[0, 0, 40, 8]);
        host.faults = inputs::faults(Dice::new(self.seed ^ 0xfa), once_in, self.lied.clone());
        let mut vm = Vm::start(compiled(), host).map_err(text)?;
        self.new_root(&mut vm, totals).map_err(text)?;
        for _ in 0..STEPS_MAX {
            self.lied.set(false);
            match self.dice.below(20) {
                0 | 1 => self.new_stream(&mut vm).map_err(text)?,
                2 => self.on_root(&mut vm, totals).map_err(text)?,
                3 => self.answer(&mut vm, totals).map_err(text)?,
                4 => self.end_one(&mut vm).map_err(text)?,
                5 => {
                    vm.host_mut().time_ns = match self.dice.below(8) {
                        0 => self.dice.any(),
                        _ => vm.host().time_ns.wrapping_add(self.dice.any() % 20_000_000_000),
                    }
                }
                _ => self.on_stream(&mut vm, totals)?,
            }
            if self.lied.get() {
                totals.count("lies");
            }
        }
        let reports = vm.host().calls.len() as u64;
        *totals.0.entry("reports".to_owned()).or_default() += reports;
        Ok(())
    }

    fn told(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn new_context(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context - 1
    }

    fn new_root(&mut self, vm: &mut Vm, totals: &mut Totals) -> Result<(), Trap> {
        let root = self.new_context();
        self.told(format!("root {root}"));
        vm.create_root(root)?;
        self.roots.insert(root, Root::default());
        if self.dice.once_in(12) { Ok(()) } else { self.configure(vm, root, totals) }
    }

    fn configure(&mut self, vm: &mut Vm, root: u32, totals: &mut Totals) -> Result<(), Trap> {
        let (bytes, demo) = inputs::configuration(&mut self.dice);
        self.told(format!("configure {root} with {} bytes, good: {demo}", bytes.len()));
        self.lied.set(false);
        let taken = vm.configure(root, bytes)?;
        totals.count(if taken { "configured" } else { "not configured" });
        if taken {
            // What the host damaged on the way may be another contract.
            self.roots.insert(root, Root { configured: true, demo: demo && !self.lied.get() });
        }
        Ok(())
    }

    fn on_root(&mut self, vm: &mut Vm, totals: &mut Totals) -> Result<(), Trap> {
        let roots: Vec<u32> = self.roots.keys().copied().collect();
        let root = self.dice.one_of(&roots);
        match self.dice.below(8) {
            0 => self.new_root(vm, totals),
            1 => self.configure(vm, root, totals),
            // A root goes with its last stream.
            2 if roots.len() > 1 && self.streams.values().all(|open| open.root != root) => {
                self.told(format!("root {root} ends"));
                self.roots.remove(&root);
                vm.on(root, "proxy_on_done", &[])?;
                vm.on(root, "proxy_on_delete", &[]).map(drop)
            }
            _ => {
                self.told(format!("tick {root}"));
                vm.on(root, "proxy_on_tick", &[]).map(drop)
            }
        }
    }

    /// The end of a call that was begun, or of one that was not.
    fn answer(&mut self, vm: &mut Vm, totals: &mut Totals) -> Result<(), Trap> {
        let calls = vm.host().calls.len();
        let token = match calls {
            0 => 1,
            _ => vm.host().calls[self.dice.below(calls)].token,
        };
        let root = *self.roots.keys().next().expect("a row has a root");
        totals.count("answers");
        if self.dice.once_in(3) {
            let status = self.dice.one_of(&[0, 2, 4, 14, 99]);
            self.told(format!("call {token} ends with {status}"));
            return vm.on(root, "proxy_on_grpc_close", &[token, status]).map(drop);
        }
        let answer = inputs::grpc_answer(&mut self.dice);
        self.told(format!("call {token} is answered by {} bytes", answer.len()));
        let size = answer.len() as u32;
        vm.host_mut().grpc_answer = answer;
        vm.on(root, "proxy_on_grpc_receive", &[token, size]).map(drop)
    }

    fn new_stream(&mut self, vm: &mut Vm) -> Result<(), Trap> {
        let roots: Vec<u32> = self.roots.keys().copied().collect();
        let root = self.dice.one_of(&roots);
        let context = self.new_context();
        self.told(format!("stream {context} of root {root}"));
        vm.create(context, root)?;
        let of = self.roots[&root];
        let known = Known { configured: of.configured, demo: of.demo, ..Known::default() };
        self.streams.insert(context, Open { root, known, phase: Phase::Head, response_begun: false });
        Ok(())
    }

    fn end_one(&mut self, vm: &mut Vm) -> Result<(), Trap> {
        let Some(context) = self.any_stream() else { return Ok(()) };
        self.told(format!("stream {context} ends"));
        self.streams.remove(&context);
        let rows: [&[&str]; 4] = [&["done", "log"], &["log", "done"], &["done"], &["log", "done", "log"]];
        for callback in self.dice.one_of(&rows) {
            vm.on(context, &format!("proxy_on_{callback}"), &[])?;
        }
        vm.on(context, "proxy_on_delete", &[])?;
        vm.host_mut().streams.remove(&context);
        Ok(())
    }

    fn any_stream(&mut self) -> Option<u32> {
        let contexts: Vec<u32> = self.streams.keys().copied().collect();
        (!contexts.is_empty()).then(|| self.dice.one_of(&contexts))
    }

    fn on_stream(&mut self, vm: &mut Vm, totals: &mut Totals) -> Result<(), String> {
        let Some(context) = self.any_stream() else { return self.new_stream(vm).map_err(text) };
        let (phase, refused) = (self.streams[&context].phase, self.streams[&context].known.refused);
        if self.dice.once_in(4) {
            return self.response(vm, context, totals);
        }
        let choice = self.dice.below(4);
        match (self.orderly, phase, choice) {
            // A proxy tells no more of a request that was refused.
            (true, Phase::Ended, _) => self.response(vm, context, totals),
            (true, _, _) if refused => self.response(vm, context, totals),
            (true, Phase::Head, _) | (false, _, 0) => self.head(vm, context, totals),
            (true, Phase::Body, 0) | (false, _, 1) => {
                self.told(format!("trailers of {context}"));
                self.open(context).phase = Phase::Ended;
                self.step(vm, context, "trailers", "proxy_on_request_trailers", &[1], Part::Trailers, totals)
            }
            (true, Phase::Body, _) | (false, _, _) => self.body(vm, context, totals),
        }
    }

    fn open(&mut self, context: u32) -> &mut Open {
        self.streams.get_mut(&context).expect("the stream is open")
    }

    fn head(&mut self, vm: &mut Vm, context: u32, totals: &mut Totals) -> Result<(), String> {
        let (pairs, ends) = match self.tame && !self.dice.once_in(8) {
            true => inputs::good_head(&mut self.dice),
            false => (inputs::request_head(&mut self.dice), self.dice.once_in(3)),
        };
        self.told(format!("head of {context}, ends: {ends}: {}", shown(&pairs)));
        let count = pairs.len() as u32;
        let stream = vm.stream(context);
        stream.request_headers = pairs;
        stream.headers_set.clear();
        stream.change_failed = false;
        self.open(context).phase = if ends { Phase::Ended } else { Phase::Body };
        let given = [count, ends.into()];
        self.step(vm, context, "head", "proxy_on_request_headers", &given, Part::Head, totals)
    }

    fn body(&mut self, vm: &mut Vm, context: u32, totals: &mut Totals) -> Result<(), String> {
        let waiting = vm.stream(context).request_body.len();
        let (body, ends) = match self.tame && !self.dice.once_in(8) {
            true => inputs::good_piece(&mut self.dice, waiting),
            false => (inputs::body(&mut self.dice), self.dice.once_in(2)),
        };
        let stream = vm.stream(context);
        stream.request_body.extend(&body);
        // More than any proxy of ours would hold says nothing more.
        stream.request_body.truncate(300_000);
        let held = stream.request_body.len() as u32;
        self.told(format!(
            "body of {context}, ends: {ends}, {held} held: {}",
            body[..body.len().min(80)].escape_ascii()
        ));
        if ends {
            self.open(context).phase = Phase::Ended;
        }
        let (given, part) = ([held, ends.into()], Part::Body { ends });
        self.step(vm, context, "body", "proxy_on_request_body", &given, part, totals)
    }

    fn response(&mut self, vm: &mut Vm, context: u32, totals: &mut Totals) -> Result<(), String> {
        let begun = self.open(context).response_begun;
        if !begun || (!self.orderly && self.dice.once_in(2)) {
            self.open(context).response_begun = true;
            let stream = vm.stream(context);
            stream.response_headers = inputs::response_head(&mut self.dice);
            let source = self.dice.one_of(&["via_upstream", "via_upstream", "ext_authz_denied", ""]);
            stream.properties.insert(b"response\0code_details".to_vec(), source.into());
            self.told(format!("response of {context} by `{source}`"));
            let given = [3, self.dice.once_in(2).into()];
            return self.step(
                vm,
                context,
                "response",
                "proxy_on_response_headers",
                &given,
                Part::Response,
                totals,
            );
        }
        let (callback, size) = match self.dice.below(3) {
            0 => ("proxy_on_response_trailers", vec![1]),
            _ => {
                let body = inputs::body(&mut self.dice);
                let size = body.len() as u32;
                vm.stream(context).response_body = body;
                ("proxy_on_response_body", vec![size, self.dice.once_in(2).into()])
            }
        };
        self.told(format!("{callback} of {context}"));
        // What becomes of a response's body is a rule of its own; that it ends the module is not one.
        vm.step(context, callback, &size).map(drop).map_err(text)
    }

    #[expect(clippy::too_many_arguments, reason = "what a callback is called, and what it is given")]
    fn step(
        &mut self,
        vm: &mut Vm,
        context: u32,
        what: &str,
        callback: &str,
        given: &[u32],
        part: Part,
        totals: &mut Totals,
    ) -> Result<(), String> {
        let before = vm.stream(context).replies.len();
        vm.stream(context).body_given = None;
        self.lied.set(false);
        let action = vm.step(context, callback, given).map_err(text)?;
        totals.count(&format!("{what} {action:?}"));
        let lied = self.lied.get();
        let stream = vm.stream(context).clone();
        self.open(context).known.after(part, action, &stream, before, lied)?;
        if action == Action::Continue && matches!(part, Part::Body { .. } | Part::Trailers) {
            // Released: it waits here no more.
            vm.stream(context).request_body.clear();
        }
        Ok(())
    }
}

fn text(trap: Trap) -> String {
    trap.to_string()
}

fn shown(pairs: &[(Vec<u8>, Vec<u8>)]) -> String {
    let all: Vec<_> = pairs
        .iter()
        .take(20)
        .map(|(name, value)| {
            format!("{}={}", name.escape_ascii(), value[..value.len().min(60)].escape_ascii())
        })
        .collect();
    all.join(" ")
}
