//! Arrays and objects: what each live schema asks of their parts, and what is decided at their end.

use super::track::Track;
use super::{Bound, Failure, Frame, Kind, Machine, Role, Scalar, Stop, Target};
use crate::schema::keyword::Keyword;
use crate::schema::node::{ArrayRules, Barred, Node, ObjectRules, SchemaIndex, Types};
use crate::schema::value::Digest;

impl Machine<'_> {
    pub(super) fn open(&mut self, kind: Kind) -> Result<(), Stop> {
        let (roots, links) = self.gather()?;
        let sums = self.frames.last().is_some_and(|frame| frame.collects);
        let frame = Frame {
            kind,
            at: self.at,
            live: self.live.len(),
            roots,
            links,
            seen: self.seen.len(),
            tracks: self.tracks.len(),
            digests: self.digests.len(),
            collects: sums,
            sums,
            unique: false,
            count: 0,
        };
        self.frames.push(frame);
        for at in roots..self.roots.len() {
            let Some(root) = self.roots.get_mut(at) else { continue };
            root.first = self.live.len();
            let (schema, critical) = (root.schema, root.critical);
            match self.schemas.plan(schema) {
                None => self.enter(schema, critical, self.node(schema)?.has_unevaluated())?,
                Some(plan) => {
                    for entry in &plan.entries {
                        self.enter(entry.schema, critical && entry.must, entry.tracked)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One schema more for the container that begins here.
    fn enter(&mut self, schema: SchemaIndex, critical: bool, tracked: bool) -> Result<(), Stop> {
        self.charge(1)?;
        let node = self.node(schema)?;
        let at = self.push_live(schema, None)?;
        let Some(live) = self.live.last_mut() else { return Ok(()) };
        live.critical = critical;
        let Some(frame) = self.frames.last_mut() else { return Err(self.bound(Bound::Internal)) };
        let kind = frame.kind;
        let types = match kind {
            Kind::Array => Types::ARRAY,
            Kind::Object => Types::OBJECT,
        };
        let compounds = node.values.as_ref().map(|values| !values.compounds.is_empty());
        if compounds == Some(true) {
            (frame.collects, frame.sums) = (true, true);
        }
        if kind == Kind::Array && node.array.as_ref().is_some_and(|array| array.unique) {
            (frame.collects, frame.unique) = (true, true);
        }
        if tracked {
            live.track = Some(self.tracks.len());
            self.tracks.push(Track::default());
        }
        if let Some(object) = node.object.as_ref().filter(|object| kind == Kind::Object && object.remembers())
        {
            live.seen = self.seen.len();
            let words = object.names.len().div_ceil(64);
            self.charge(words as u64)?;
            self.seen.resize(self.seen.len().saturating_add(words), 0);
        }
        if !node.types.meets(types) {
            let keyword = if node.is_never() { Keyword::False } else { Keyword::Type };
            let failure = self.here(keyword);
            return self.fail(at, failure);
        }
        if compounds == Some(false) {
            let failure = self.here(Keyword::Enum);
            return self.fail(at, failure);
        }
        Ok(())
    }

    /// The live schemas of the innermost container that may still hold.
    fn holding(&self, at: usize) -> Option<SchemaIndex> {
        self.live.get(at).filter(|live| live.failure.is_none()).map(|live| live.schema)
    }

    /// Asks the live schemas what they say of an item.
    pub(super) fn item(&mut self) -> Result<(), Stop> {
        let internal = self.bound(Bound::Internal);
        let frame = self.frames.last_mut().ok_or(internal)?;
        let index = frame.count;
        frame.count = frame.count.saturating_add(1);
        for at in frame.live..self.live.len() {
            let Some(schema) = self.holding(at) else { continue };
            self.charge(1)?;
            if let Some(array) = &self.node(schema)?.array {
                self.item_of(at, array, index)?;
            }
        }
        Ok(())
    }

    fn item_of(&mut self, at: usize, array: &ArrayRules, index: usize) -> Result<(), Stop> {
        if array.items_max.is_some_and(|most| index as u64 >= most) {
            return self.fail_frame(at, Keyword::MaxItems);
        }
        if let Some(contains) = array.contains {
            self.ask(at, contains, Role::Contains, Keyword::Contains);
        }
        if let Some(schema) = array.prefix.get(index) {
            self.ask(at, *schema, Role::Must, Keyword::PrefixItems);
        } else if let Some(schema) = array.items {
            self.ask(at, schema, Role::Must, Keyword::Items);
        } else {
            if let Some(schema) = array.unevaluated {
                self.ask(at, schema, Role::Unevaluated, Keyword::UnevaluatedItems);
            }
            return Ok(());
        }
        self.mark(at)
    }

    fn ask(&mut self, parent: usize, schema: SchemaIndex, role: Role, keyword: Keyword) {
        self.targets.push(Target { schema, parent: Some(parent), role, keyword });
    }

    /// Fails because of the container as a whole.
    fn fail_frame(&mut self, at: usize, keyword: Keyword) -> Result<(), Stop> {
        let begin = self.frames.last().map_or(self.at, |frame| frame.at);
        self.fail(at, Failure { at: begin, keyword, choice: None })
    }

    /// Asks the live schemas what they say of a property.
    pub(super) fn key(&mut self, key: &str, hash: u64) -> Result<(), Stop> {
        self.digest_scalar(&Scalar::Text(key))?;
        let internal = self.bound(Bound::Internal);
        let frame = self.frames.last_mut().ok_or(internal)?;
        frame.count = frame.count.saturating_add(1);
        let (first, end, count) = (frame.live, self.live.len(), frame.count);
        for at in first..end {
            let Some(schema) = self.holding(at) else { continue };
            self.charge(1)?;
            if let Some(object) = &self.node(schema)?.object {
                if object.properties_max.is_some_and(|most| count as u64 > most) {
                    self.fail_frame(at, Keyword::MaxProperties)?;
                    continue;
                }
                self.property(at, object, key, hash)?;
            }
        }
        Ok(())
    }

    fn property(&mut self, at: usize, object: &ObjectRules, key: &str, hash: u64) -> Result<(), Stop> {
        let mut known = false;
        if let Some((place, name)) = object.find(hash, key) {
            if object.remembers() {
                self.remember(at, place);
            }
            if let Some(barred) = name.barred {
                let keyword = match barred {
                    Barred::ReadOnly => Keyword::ReadOnly,
                    Barred::WriteOnly => Keyword::WriteOnly,
                };
                let failure = self.here(keyword);
                return self.fail(at, failure);
            }
            if let Some(schema) = name.schema {
                known = true;
                self.ask(at, schema, Role::Must, Keyword::Properties);
            }
        }
        for (pattern, schema) in &object.pattern_properties {
            self.charge((key.len() as u64 / 8).saturating_add(1))?;
            let internal = self.bound(Bound::Internal);
            let pattern = self.schemas.patterns.get(pattern.0 as usize).ok_or(internal)?;
            if pattern.matches(key).map_err(|_| internal)? {
                known = true;
                self.ask(at, *schema, Role::Must, Keyword::PatternProperties);
            }
        }
        if let Some(schema) = object.property_names {
            let keyword = Keyword::PropertyNames;
            let refused = self.judge_scalar(schema, &Scalar::Text(key))?.is_some();
            if refused {
                let failure = self.here(keyword);
                return self.fail(at, failure);
            }
        }
        match (known, object.additional, object.unevaluated) {
            (true, _, _) => {}
            (false, Some(schema), _) => self.ask(at, schema, Role::Must, Keyword::AdditionalProperties),
            (false, None, Some(schema)) => {
                self.ask(at, schema, Role::Unevaluated, Keyword::UnevaluatedProperties);
                return Ok(());
            }
            (false, None, None) => return Ok(()),
        }
        self.mark(at)
    }

    fn remember(&mut self, at: usize, place: usize) {
        let start = self.live.get(at).map_or(0, |live| live.seen);
        if let Some(word) = self.seen.get_mut(start.saturating_add(place / 64)) {
            *word |= 1 << (place % 64);
        }
    }

    /// Whether the property at this place among a schema's names came.
    pub(super) fn came(&self, at: usize, place: usize) -> bool {
        let start = self.live.get(at).map_or(0, |live| live.seen);
        let word = self.seen.get(start.saturating_add(place / 64));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn close(&mut self) -> Result<(), Stop> {
        let frame = self.frames.last().copied().ok_or(self.bound(Bound::Internal))?;
        let (own, unique) = self.sum_up(&frame);
        for at in frame.live..self.live.len() {
            let Some(schema) = self.holding(at) else { continue };
            self.charge(1)?;
            let node = self.node(schema)?;
            if let Some(keyword) = self.broken_at_end(at, node, &frame, own, unique) {
                self.fail_frame(at, keyword)?;
            }
        }
        for at in frame.roots..self.roots.len() {
            let Some(root) = self.roots.get(at).copied() else { continue };
            match self.schemas.plan(root.schema) {
                None => self.conclude(root.first, frame.kind)?,
                Some(plan) => self.combine(root.first, plan, frame.at, Some(frame.kind))?,
            }
            let failure = self.live.get(root.first).and_then(|live| live.failure);
            self.roots.get_mut(at).into_iter().for_each(|root| root.failure = failure);
        }
        self.frames.pop();
        self.live.truncate(frame.live);
        self.seen.truncate(frame.seen);
        self.forget_tracks(frame.tracks);
        self.digests.truncate(frame.digests);
        if let Some(own) = own.filter(|_| self.frames.last().is_some_and(|frame| frame.collects)) {
            self.push_digest(own)?;
        }
        self.hand_over(frame.roots, frame.links)
    }

    /// What the container is worth, where that is asked, and whether no item is there twice.
    fn sum_up(&mut self, frame: &Frame) -> (Option<Digest>, bool) {
        let parts = self.digests.get_mut(frame.digests..).unwrap_or_default();
        let own = frame.sums.then(|| match frame.kind {
            Kind::Array => Digest::of_array(parts),
            Kind::Object => Digest::of_object(parts),
        });
        if !frame.unique {
            return (own, true);
        }
        parts.sort_unstable();
        let twice = parts.iter().zip(parts.iter().skip(1)).any(|(one, other)| one == other);
        (own, !twice)
    }

    fn broken_at_end(
        &self,
        at: usize,
        node: &Node,
        frame: &Frame,
        own: Option<Digest>,
        unique: bool,
    ) -> Option<Keyword> {
        let is_other = |known: &[Digest]| own.is_none_or(|own| !known.contains(&own));
        if node.values.as_ref().is_some_and(|values| is_other(&values.compounds)) {
            return Some(Keyword::Enum);
        }
        let count = frame.count as u64;
        match frame.kind {
            Kind::Array => {
                let array = node.array.as_ref()?;
                let contained = self.live.get(at).map_or(0, |live| live.contained);
                if count < array.items_min {
                    Some(Keyword::MinItems)
                } else if array.unique && !unique {
                    Some(Keyword::UniqueItems)
                } else if array.contains.is_some() {
                    is_contained(array, contained)
                } else {
                    None
                }
            }
            Kind::Object => {
                let object = node.object.as_ref()?;
                let came = |place: &u32| self.came(at, *place as usize);
                let misses = |(place, name): (usize, &crate::schema::node::Name)| {
                    name.required && !self.came(at, place)
                };
                let lacks = |(name, needs): &(u32, Box<[u32]>)| came(name) && !needs.iter().all(came);
                if object.remembers() && object.names.iter().enumerate().any(misses) {
                    Some(Keyword::Required)
                } else if count < object.properties_min {
                    Some(Keyword::MinProperties)
                } else if object.dependent_required.iter().any(lacks) {
                    Some(Keyword::DependentRequired)
                } else {
                    None
                }
            }
        }
    }
}

fn is_contained(array: &ArrayRules, contained: u64) -> Option<Keyword> {
    if contained < array.contains_min {
        // One is what `contains` itself asks for.
        return Some(if array.contains_min == 1 { Keyword::Contains } else { Keyword::MinContains });
    }
    array.contains_max.filter(|most| contained > *most).map(|_| Keyword::MaxContains)
}
