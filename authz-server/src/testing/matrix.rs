//! Who may do what, as the whole proxy answers: every caller that there can be, times every operation.
//!
//! The requests are those of the bundle's own tests, each made by everybody, so that a condition is met in each way in
//! which the tests meet it. INVARIANT: counted is what came out. An operation that no request reaches, and a policy that
//! determines no cell, is a gap and never an empty cell.

use super::proxy::{Answer, Proxy};
use crate::bundle::Bundle;
use crate::bundle::cases::{Caller, CaseRequest};
use crate::cedar::Mode;
use crate::check::{Decision, Judge};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Whether a caller may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    Denied,
    /// Some of the requests are allowed and some are not.
    Conditional,
    Allowed,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Access::Denied => "deny",
            Access::Conditional => "conditional",
            Access::Allowed => "allow",
        }
    }
}

/// What came out for one caller and one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cell {
    allowed: usize,
    denied: usize,
    /// Those that determined an answer; for a denial without any, the reason.
    why: BTreeSet<String>,
    /// Shadow policies that would have determined another answer.
    shadows: BTreeSet<String>,
}

impl Cell {
    fn access(&self) -> Access {
        match (self.allowed, self.denied) {
            (0, _) => Access::Denied,
            (_, 0) => Access::Allowed,
            (_, _) => Access::Conditional,
        }
    }

    fn add(&mut self, answer: &Answer) {
        let Answer { decision, policies, shadow, .. } = answer;
        match decision {
            Decision::Allow => self.allowed += 1,
            Decision::Deny { .. } => self.denied += 1,
        }
        match (decision, policies.as_slice()) {
            (Decision::Deny { reason }, []) => {
                self.why.insert(format!("({})", reason.code()));
            }
            (_, policies) => self.why.extend(policies.iter().cloned()),
        }
        if let Some(shadow) = shadow.as_ref().filter(|shadow| shadow.decision != *decision) {
            self.shadows.extend(shadow.policies.iter().cloned());
        }
    }
}

/// What a matrix says nothing of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Operations that no request of the tests reaches.
    pub operations: Vec<String>,
    /// Policies that determine no cell.
    pub policies: Vec<String>,
}

impl Gaps {
    pub fn is_empty(&self) -> bool {
        let Gaps { operations, policies } = self;
        operations.is_empty() && policies.is_empty()
    }
}

/// The answers of a bundle to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    callers: Vec<String>,
    /// By operation, in the order of the contracts; for each caller a cell.
    rows: Vec<(String, Vec<Cell>)>,
    gaps: Gaps,
}

impl Matrix {
    pub fn of(proxy: &Proxy) -> Matrix {
        let bundle = proxy.bundle();
        let callers = callers(bundle);
        let mut by_operation: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
        for request in requests(bundle) {
            let answers: Vec<Answer> = callers.iter().map(|caller| proxy.answer(caller, request)).collect();
            // What the filter refuses does so whoever calls, and says nothing of a caller.
            let asked = answers.iter().filter(|answer| answer.by == Judge::Server);
            let Some(operation) = asked.filter_map(|answer| answer.operation.clone()).next() else {
                continue;
            };
            let cells = by_operation.entry(operation).or_insert_with(|| vec![Cell::default(); callers.len()]);
            cells.iter_mut().zip(&answers).for_each(|(cell, answer)| cell.add(answer));
        }
        let names: Vec<String> = bundle
            .operations()
            .map(|(matched, _)| format!("{}.{}", matched.service.name, matched.operation.name))
            .collect();
        let gaps = gaps(bundle, &names, &by_operation);
        let rows = names.into_iter().filter_map(|name| by_operation.remove(&name).map(|cells| (name, cells)));
        let rows = rows.collect();
        Matrix { callers: callers.iter().map(ToString::to_string).collect(), rows, gaps }
    }

    pub fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    pub fn access(&self, caller: &str, operation: &str) -> Option<Access> {
        let column = self.callers.iter().position(|known| known == caller)?;
        let (_, cells) = self.rows.iter().find(|(known, _)| known == operation)?;
        cells.get(column).map(Cell::access)
    }
}

/// One line a cell, each operation under its name.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.callers.iter().map(|caller| caller.chars().count()).max().unwrap_or_default();
        for (index, (operation, cells)) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{operation}")?;
            for (caller, cell) in self.callers.iter().zip(cells) {
                let why = cell.why.iter().cloned().collect::<Vec<_>>().join(" ");
                write!(f, "  {caller:<width$}  {:<11}  {why}", cell.access().name())?;
                if !cell.shadows.is_empty() {
                    write!(f, " [shadow: {}]", cell.shadows.iter().cloned().collect::<Vec<_>>().join(" "))?;
                }
                writeln!(f)?;
            }
        }
        let Gaps { operations, policies } = &self.gaps;
        for (what, names) in
            [("operations without a request", operations), ("policies without a cell", policies)]
        {
            if !names.is_empty() {
                writeln!(f, "\n{what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Nobody, everybody who is declared, a workload of a trusted domain that is not, and who else the tests know.
fn callers(bundle: &Bundle) -> Vec<Caller> {
    let clients = bundle.entities.clients.keys().cloned();
    let clients = clients.map(|name| Caller::Client { name, scopes: None, through: None });
    let workloads = bundle.entities.workloads.keys().cloned().map(Caller::Workload);
    let mut callers = vec![Caller::Anonymous];
    callers.extend(clients.chain(workloads));
    callers.extend(super::proxy::stranger(bundle).map(Caller::Workload));
    let of_cases: BTreeSet<&Caller> =
        bundle.cases.iter().flat_map(|file| &file.cases).map(|case| &case.caller).collect();
    for caller in of_cases {
        if !callers.contains(caller) {
            callers.push(caller.clone());
        }
    }
    callers
}

/// Each request of the tests once.
fn requests(bundle: &Bundle) -> Vec<&CaseRequest> {
    let mut requests: Vec<&CaseRequest> = Vec::new();
    for case in bundle.cases.iter().flat_map(|file| &file.cases) {
        if !requests.contains(&&case.request) {
            requests.push(&case.request);
        }
    }
    requests
}

fn gaps(bundle: &Bundle, names: &[String], cells: &BTreeMap<String, Vec<Cell>>) -> Gaps {
    let all = || cells.values().flatten();
    let operations = names.iter().filter(|name| !cells.contains_key(*name)).cloned().collect();
    let is_met = |id: &String, mode: Mode| match mode {
        Mode::Enforced => all().any(|cell| cell.why.contains(id)),
        Mode::Shadow => all().any(|cell| cell.shadows.contains(id)),
    };
    let policies = bundle.policies.all().filter(|policy| !is_met(&policy.id, policy.mode));
    Gaps { operations, policies: policies.map(|policy| policy.id.clone()).collect() }
}
