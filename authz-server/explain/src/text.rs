//! An explanation as people read it in a terminal.
//!
//! INVARIANT: every line is bounded and holds no control character, and what is to be done stands behind an arrow.

use crate::clauses::{Clause, Outcome, Part, Piece};
use crate::explain::{Explained, Explanation, Mend, Suggestion, Verdict};
use std::fmt::{self, Display, Formatter};

/// How many clauses that are met are shown of one policy.
const MET_MAX: usize = 8;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Forbidden => "denied: a policy forbids it",
            Verdict::NotPermitted => "denied: no policy permits it",
            Verdict::PolicyError => "denied: a policy could not be evaluated",
        };
        writeln!(f, "{head}")?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for policy in &self.policies {
            let what = match self.verdict {
                Verdict::Allowed | Verdict::Forbidden => "applies",
                Verdict::NotPermitted | Verdict::PolicyError => "cannot be evaluated",
            };
            policy.write(f, what, self.verdict)?;
        }
        if let Some(otherwise) = &self.otherwise {
            writeln!(f, "  → {otherwise}")?;
        }
        suggestions(
            f,
            &self.suggestions,
            if self.policies.len() > 1 { "these would not apply" } else { "this would not apply" },
        )?;
        if self.verdict == Verdict::Forbidden && !self.near_misses.is_empty() {
            writeln!(f, "\nbeside that, no policy permits it")?;
        }
        for policy in &self.near_misses {
            policy.write(f, "does not apply", Verdict::NotPermitted)?;
        }
        match (self.further_permits, self.near_misses.len()) {
            (0, _) => Ok(()),
            (1, 1..) => writeln!(f, "\n1 more permit for this action is further away"),
            (more, 1..) => writeln!(f, "\n{more} more permits for this action are further away"),
            (_, 0) => Ok(()),
        }
    }
}

impl Explained {
    fn write(&self, f: &mut Formatter<'_>, what: &str, verdict: Verdict) -> fmt::Result {
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        writeln!(f, "\n{} `{}`{place} {what}", self.effect, self.id)?;
        if let Some(reason) = &self.reason {
            writeln!(f, "  {reason}")?;
        }
        let mut met: usize = 0;
        for clause in &self.clauses {
            if clause.outcome == Outcome::Met {
                met = met.saturating_add(1);
            }
            if clause.outcome != Outcome::Met || met <= MET_MAX {
                clause.write(f, verdict)?;
            }
        }
        let left_out = met.saturating_sub(MET_MAX);
        if left_out > 0 {
            writeln!(f, "  ✓ and {left_out} more")?;
        }
        if self.further_clauses > 0 {
            writeln!(f, "  … and {} clauses that were not looked at", self.further_clauses)?;
        }
        if let Some(Mend { why, how, .. }) = &self.mend {
            writeln!(f, "  → {why}: {how}")?;
        }
        suggestions(f, &self.suggestions, "this would apply")?;
        for (name, value) in [("owner", &self.owner), ("runbook", &self.runbook)] {
            if let Some(value) = value {
                writeln!(f, "  {name}: {value}")?;
            }
        }
        Ok(())
    }
}

impl Clause {
    fn write(&self, f: &mut Formatter<'_>, verdict: Verdict) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Met => "✓",
            Outcome::Missed => "✗",
            Outcome::Error => "!",
            Outcome::NotReached => "?",
        };
        let before = match self.part {
            Part::Principal | Part::Action | Part::Resource => "",
            Part::When => "when ",
            Part::Unless => "unless ",
        };
        let after = match (self.part, self.outcome) {
            (Part::Unless, Outcome::Met) => "  (does not hold)",
            (Part::Unless, Outcome::Missed) => "  (holds)",
            (_, Outcome::NotReached) => "  (not reached)",
            (_, Outcome::Met | Outcome::Missed | Outcome::Error) => "",
        };
        writeln!(f, "  {mark} {before}{}{after}", self.text)?;
        let conditional = matches!(self.part, Part::When | Part::Unless);
        // What did not stop a policy needs no numbers, unless the policy is what stopped the request.
        let shows = match self.outcome {
            Outcome::Met => conditional && verdict == Verdict::Forbidden,
            Outcome::Missed | Outcome::Error => true,
            Outcome::NotReached => false,
        };
        if !shows {
            return Ok(());
        }
        for Piece { text, holds } in &self.pieces {
            let holds = match holds {
                Some(true) => "holds",
                Some(false) => "does not hold",
                None => "cannot be evaluated",
            };
            writeln!(f, "      {text}: {holds}")?;
        }
        let values = self.values.iter().map(|value| format!("{} is {}", value.name, value.value));
        let values: Vec<String> = values.collect();
        if values.is_empty() { Ok(()) } else { writeln!(f, "      {}", values.join(", ")) }
    }
}

fn suggestions(f: &mut Formatter<'_>, all: &[Suggestion], partly: &str) -> fmt::Result {
    let mut before = "would be allowed";
    for Suggestion { change, allowed, obstacle } in all {
        match obstacle {
            Some(obstacle) if !allowed => writeln!(f, "  → if {change}, {partly}, but {obstacle}")?,
            Some(_) | None => writeln!(f, "  → {before} if {change}")?,
        }
        before = "or";
    }
    Ok(())
}
