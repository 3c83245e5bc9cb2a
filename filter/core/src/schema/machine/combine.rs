//! What comes of `allOf`, `anyOf` and their like at the end of a value, when every branch has its result.

use super::{Bound, Failure, Kind, Machine, Stop};
use crate::schema::keyword::Keyword;
use crate::schema::node::{Node, SchemaIndex};
use crate::schema::plan::Plan;

impl Machine<'_> {
    /// Draws the conclusions of a plan, from those that lead to nothing up to the schema that was asked for.
    ///
    /// `at` is where the value begins; `kind` is what it is, if it has parts.
    pub(super) fn combine(
        &mut self,
        first: usize,
        plan: &Plan,
        at: usize,
        kind: Option<Kind>,
    ) -> Result<(), Stop> {
        for (place, entry) in plan.entries.iter().enumerate().rev() {
            let live = first.saturating_add(place);
            self.charge(1)?;
            if self.live.get(live).is_none_or(|live| live.failure.is_some()) {
                continue;
            }
            let node = self.node(entry.schema)?;
            let edges = plan.edges(entry).map(|place| first.saturating_add(place));
            let edges: &mut dyn Iterator<Item = usize> = &mut { edges };
            let mut refused = self.refused_by_branches(live, edges, node, at)?;
            if refused.is_none() && kind == Some(Kind::Object) {
                refused = self.refused_by_dependents(live, edges, node)?;
            }
            match (refused, kind) {
                (Some(failure), _) => self.fail(live, failure)?,
                (None, Some(kind)) => self.conclude(live, kind)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// With all known that looked at the value's parts, refuses those that nobody looked at.
    pub(super) fn conclude(&mut self, live: usize, kind: Kind) -> Result<(), Stop> {
        let Some(own) = self.live.get(live).filter(|live| live.failure.is_none()) else { return Ok(()) };
        let Some(track) = own.track else { return Ok(()) };
        let node = self.node(own.schema)?;
        if !node.has_unevaluated() {
            return Ok(());
        }
        if let Some(failure) = self.tracks.get(track).and_then(|track| track.refused()) {
            return self.fail(live, failure);
        }
        let closes = match kind {
            Kind::Array => node.array.as_ref().is_some_and(|array| array.unevaluated.is_some()),
            Kind::Object => node.object.as_ref().is_some_and(|object| object.unevaluated.is_some()),
        };
        if closes && let Some(track) = self.tracks.get_mut(track) {
            track.all = true;
        }
        Ok(())
    }

    /// What refuses a schema's value among what it leads to. What holds shares what it has looked at.
    fn refused_by_branches(
        &mut self,
        live: usize,
        edges: &mut dyn Iterator<Item = usize>,
        node: &Node,
        at: usize,
    ) -> Result<Option<Failure>, Stop> {
        let Some(combined) = &node.combined else { return Ok(None) };
        let schema = self.live.get(live).map(|live| live.schema);
        let choice = |keyword| Failure { at, keyword, choice: schema };
        // Which branch was meant the discriminator says.
        let guesses = combined.discriminator.is_none();
        for branch in edges.take(combined.all_of.len()) {
            if let Some(failure) = self.share(live, branch)? {
                return Ok(Some(failure));
            }
        }
        if let Some(any_of) = &combined.any_of {
            let (held, refused) = self.try_branches(live, &mut edges.take(any_of.len()), at)?;
            if held == 0 {
                let refused = refused.filter(|_| guesses);
                return Ok(Some(refused.unwrap_or(choice(Keyword::AnyOf))));
            }
        }
        if let Some(one_of) = &combined.one_of {
            let (held, refused) = self.try_branches(live, &mut edges.take(one_of.len()), at)?;
            if held != 1 {
                let refused = refused.filter(|_| guesses && held == 0);
                return Ok(Some(refused.unwrap_or(choice(Keyword::OneOf))));
            }
        }
        let mut next = |schema: Option<SchemaIndex>| schema.and_then(|_| edges.next());
        let (not, condition) = (next(combined.not), next(combined.condition));
        let (then, otherwise) = (next(combined.then), next(combined.otherwise));
        if let Some(not) = not
            && self.outcome(not)?.is_none()
        {
            return Ok(Some(choice(Keyword::Not)));
        }
        let Some(condition) = condition else { return Ok(None) };
        let branch = if self.share(live, condition)?.is_none() { then } else { otherwise };
        branch.map_or(Ok(None), |branch| self.share(live, branch))
    }

    fn refused_by_dependents(
        &mut self,
        live: usize,
        edges: &mut dyn Iterator<Item = usize>,
        node: &Node,
    ) -> Result<Option<Failure>, Stop> {
        let dependent = node.object.iter().flat_map(|object| &object.dependent_schemas);
        for ((name, _), branch) in dependent.zip(edges) {
            if self.came(live, *name as usize)
                && let Some(failure) = self.share(live, branch)?
            {
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    /// What refuses a branch; one that holds shares what it has looked at.
    fn share(&mut self, live: usize, branch: usize) -> Result<Option<Failure>, Stop> {
        let refused = self.outcome(branch)?;
        if refused.is_none() {
            self.merge(live, branch)?;
        }
        Ok(refused)
    }

    fn outcome(&self, live: usize) -> Result<Option<Failure>, Stop> {
        self.live.get(live).map(|live| live.failure).ok_or(self.bound(Bound::Internal))
    }

    /// How many branches hold; and where only one of them was for such a value at all, what refused it there.
    fn try_branches(
        &mut self,
        live: usize,
        branches: &mut dyn Iterator<Item = usize>,
        at: usize,
    ) -> Result<(usize, Option<Failure>), Stop> {
        let (mut held, mut meant, mut refused) = (0_usize, 0_usize, None);
        for branch in branches {
            self.charge(1)?;
            match self.share(live, branch)? {
                None => held = held.saturating_add(1),
                Some(failure) => {
                    let other = matches!(failure.keyword, Keyword::Type | Keyword::Enum | Keyword::False);
                    if !(other && failure.at == at) {
                        meant = meant.saturating_add(1);
                        refused = Some(failure);
                    }
                }
            }
        }
        Ok((held, refused.filter(|_| meant == 1)))
    }
}
