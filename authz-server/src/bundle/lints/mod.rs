//! Lints: what is allowed in a bundle and rarely meant. Each has a name, a place, a reason, and a way to allow it.
//!
//! INVARIANT: lints judge only bundles without errors, and their work grows with what is written, never with policies
//! times operations times callers.

mod allowed;
mod callers;
mod contracts;
mod ledger;
mod load;
mod places;
mod policies;
mod reach;
mod shadows;

pub use allowed::{Allowance, LintSettings};

use super::Bundle;
use super::format::{HandoffMode, HandoffSettings};
use super::landscape::Landscape;
use super::parsed::Parsed;
use super::problem::{Place, Problem, Problems};
use super::record::choice;
use crate::serve::service::now_ms;
use places::Places;

choice! {
    /// The name of a lint.
    pub enum Lint: "the name of a lint" {
        /// A permit without principal, action and resource lets everybody do everything, also what is added later.
        PermitWithoutScope = "permit-without-scope",
        /// A policy whose scope holds no caller or no operation says something that never counts.
        PolicyNeverApplies = "policy-never-applies",
        /// Letters that look like others make a policy say something else than is read.
        MisleadingText = "misleading-text",
        /// A permit under a forbid that always wins permits nothing.
        PermitAlwaysForbidden = "permit-always-forbidden",
        /// Two policies that say the same: whoever changes one will believe that it counts.
        SamePolicyTwice = "same-policy-twice",
        /// A write that nobody must prove an identity for is the first thing that is abused.
        AnyoneMayWrite = "anyone-may-write",
        /// A service without any permit is only a name that answers no.
        ServiceNobodyMayCall = "service-nobody-may-call",
        /// An operation that no policy speaks of is refused to everybody: perhaps a policy was forgotten.
        OperationNobodyMayCall = "operation-nobody-may-call",
        /// A policy may name a group without members, and nobody notices that it holds for no one.
        EmptyGroup = "empty-group",
        /// A group that no policy names gives its members nothing.
        UnusedGroup = "unused-group",
        /// A caller whom no policy permits anything is either forgotten or left over.
        CallerWithoutPermit = "caller-without-permit",
        /// A change that counts as a read is permitted, recorded and answered under failure like a read.
        ChangeAsRead = "change-as-read",
        /// A change that is answered before it is on disk can have happened and be found nowhere.
        BufferedChange = "buffered-change",
        /// A change that nobody decided on passes where the server cannot decide in time; without its allowance it is an error.
        OpenChange = "open-change",
        /// A call that did not come through the filter is judged without what only the filter can do.
        HandoffOptional = "handoff-optional",
        /// What is in such a body is for the service alone to judge: the contract says nothing of it that could be checked.
        BodyNotJudged = "body-not-judged",
        /// A format that nobody knows is kept by every text: JSON Schema says so, and its author may believe otherwise.
        FormatNotChecked = "format-not-checked",
        /// Which of two paths takes a request is decided by their literals from left to right; readers may expect another.
        AmbiguousRoutes = "ambiguous-routes",
        /// `nullable` speaks of the `type` beside it; where there is none, `null` is what it was without it.
        NullableWithoutType = "nullable-without-type",
        /// An `enum` names all values, and `nullable` adds none to it: `null` stays refused.
        NullableEnum = "nullable-enum",
        /// A default that the schema itself refuses is a mistake in one of the two.
        DefaultRefused = "default-refused",
        /// A required name that is nearly a property's, and none, is probably misspelt.
        RequiredUndeclared = "required-undeclared",
        /// A rule for texts on a number, or the like, is kept by every value.
        RuleWithoutEffect = "rule-without-effect",
        /// Rules for fields are kept by every value that is no object: a list, a text.
        PropertiesWithoutType = "properties-without-type",
        /// OpenAPI lets no parameter describe `accept`, `content-type` or `authorization`.
        HeaderIgnored = "header-ignored",
        /// Paths that differ in upper and lower case only are one path to some services.
        PathCase = "path-case",
        /// A shadow that nobody ends is a rule that everybody takes for one, and that never holds.
        ShadowWithoutEnd = "shadow-without-end",
        /// Past its day a shadow policy is asked no more, and a rule that was in shadow is enforced: the words are left over.
        ShadowExpired = "shadow-expired",
        /// A rule in shadow for a part that the operation does not have watches nothing.
        ShadowOfNothing = "shadow-of-nothing",
        /// What no response may carry is looked for where responses are looked at.
        NeverNotLookedFor = "never-not-looked-for",
        /// A limit or a maximum of zero refuses all that it speaks of: a switch that somebody may forget.
        NothingPasses = "nothing-passes",
        /// A limit beside a stricter one is never reached, and whoever changes it will believe that it counts.
        LimitNeverBites = "limit-never-bites",
        /// Whoever sends a new value of a header with each request has a new allowance each time.
        LimitCanBeDodged = "limit-can-be-dodged",
        /// Which operation a call is of only the server tells: a global limit of some counts nothing that passes while it is
        /// away.
        LimitGoneWhenOpen = "limit-gone-when-open",
        /// Priorities say who goes first when load is shed: where none is, or all have the same, they say nothing.
        PriorityForNothing = "priority-for-nothing",
        /// What is allowed and found nowhere hides what is found there later.
        AllowedForNothing = "allowed-for-nothing",
    }
}

/// Looks at a sound bundle, and leaves out what its `lints.allow` allows.
pub(super) fn look(bundle: &Bundle, documents: &Parsed<'_>, problems: &mut Problems) {
    let landscape = Landscape::of(bundle);
    let places = Places::of(documents);
    let mut found = Found::default();
    policies::look(&landscape, &mut found);
    reach::look(&landscape, &places, &mut found);
    callers::look(&landscape, &mut found);
    contracts::look(&landscape, &places, &mut found);
    ledger::look(&bundle.palisade, &places, &mut found);
    shadows::look(&landscape, &places, now_ms(), &mut found);
    load::look(&landscape, &places, &mut found);
    handoff(&bundle.palisade.handoff, &places, &mut found);
    found.problems.extend(bundle.models.iter().flat_map(|model| model.habits.iter().cloned()));
    found.cedar(bundle.policies.warnings());
    problems.extend(allowed::without_allowed(found.problems, &bundle.palisade.lints, &places));
}

fn handoff(settings: &HandoffSettings, places: &Places<'_>, found: &mut Found) {
    if settings.mode.value == HandoffMode::Optional {
        let message = "calls may come without the filter".to_owned();
        let help = "nothing proves then that a body was held until it was judged, no response is judged, no load is shed and no refusal is reported";
        found.warn(Lint::HandoffOptional, "handoff", places.in_palisade(settings.mode.at), message, help);
    }
}

/// What lints have found.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<Problem>,
}

impl Found {
    /// What Cedar warns of, where it was not found already.
    fn cedar(&mut self, warnings: &Problems) {
        for warning in warnings.sorted() {
            let same = |known: &Problem| (known.lint, &known.subject) == (warning.lint, &warning.subject);
            if !self.problems.iter().any(same) {
                self.problems.push(warning.clone());
            }
        }
    }

    /// The subject is what `lints.allow` names to allow this one finding.
    fn warn(&mut self, lint: Lint, subject: &str, place: Place, message: String, help: impl Into<String>) {
        let problem = Problem::lint(place, lint, message).subject(subject).help(help);
        self.problems.push(problem);
    }
}
