//! Judges a value while it is read: for each value that is open, the schemas that apply to it side by side.
//!
//! A schema is asked once for each value, whoever refers to it. The first rule that the whole value must keep and that is
//! broken ends it; what only a branch must keep is kept with the branch. INVARIANT: what is remembered is bounded by
//! `limits`, and a bound that is met is a refusal.

mod combine;
mod containers;
mod scalar;
mod track;

use super::keyword::Keyword;
use super::node::{Node, SchemaIndex};
use super::table::CompiledSchemas;
use super::value::Digest;
use crate::json::{Event, Text};
use crate::limits::{LIVE_DIGESTS_MAX, LIVE_SCHEMAS_MAX};
use crate::number::Number;
use track::Track;

/// A value that has no parts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'v> {
    Null,
    Bool(bool),
    Number(Number<'v>),
    Text(&'v str),
}

/// A rule that was broken, and where what broke it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) at: usize,
    pub(super) keyword: Keyword,
    /// Whose branches all refused, or too many of them held.
    pub(super) choice: Option<SchemaIndex>,
}

/// What a document would need more of than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Schemas that apply at the same time.
    Schemas,
    /// Questions for each byte.
    Steps,
    /// Parts whose worth must be remembered.
    Digests,
    /// Properties and items of which must be remembered whether they were looked at.
    Marks,
    /// A power of ten beyond what is computed with.
    Exponent,
    /// A state that cannot be.
    Internal,
}

/// Why judging ended before the value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Broken(Failure),
    Bound { bound: Bound, at: usize },
}

/// What a result does to the schema that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Must,
    Contains,
    /// It must hold unless another schema has looked at this part of the value.
    Unevaluated,
}

/// A schema for the value that comes next. `parent: None` is whoever asked for the whole.
#[derive(Debug, Clone, Copy)]
struct Target {
    schema: SchemaIndex,
    parent: Option<usize>,
    role: Role,
    keyword: Keyword,
}

/// A schema that applies to an open value.
#[derive(Debug, Clone, Copy)]
struct Live {
    schema: SchemaIndex,
    failure: Option<Failure>,
    /// Whether the document is refused when this schema refuses.
    critical: bool,
    contained: u64,
    /// Where the marks of the names that came begin.
    seen: usize,
    track: Option<usize>,
}

/// A schema that was asked for by name of a place; others apply to the same value because of it.
#[derive(Debug, Clone, Copy)]
struct Root {
    schema: SchemaIndex,
    /// The first of its plan among the live ones.
    first: usize,
    critical: bool,
    failure: Option<Failure>,
}

/// Who asked for a root.
#[derive(Debug, Clone, Copy)]
struct Link {
    root: usize,
    target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
}

/// An open array or object. Numbers say where its part of each stack begins.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    at: usize,
    live: usize,
    roots: usize,
    links: usize,
    seen: usize,
    tracks: usize,
    digests: usize,
    /// Whether the worth of each part is kept.
    collects: bool,
    /// Whether its own worth is asked for.
    sums: bool,
    unique: bool,
    /// Properties or items until now.
    count: usize,
}

/// The state of judging one document.
#[derive(Debug)]
pub(super) struct Machine<'s> {
    schemas: &'s CompiledSchemas,
    frames: Vec<Frame>,
    live: Vec<Live>,
    roots: Vec<Root>,
    links: Vec<Link>,
    targets: Vec<Target>,
    seen: Vec<u64>,
    tracks: Vec<Track>,
    /// Words that the tracks hold.
    marks: usize,
    digests: Vec<Digest>,
    steps_left: u64,
    /// What an escaped string means, and a number in canonical form.
    text: String,
    bytes: Vec<u8>,
    /// Where the current event begins.
    at: usize,
}

impl<'s> Machine<'s> {
    pub(super) fn new(schemas: &'s CompiledSchemas, schema: SchemaIndex, steps: u64) -> Machine<'s> {
        let whole = Target { schema, parent: None, role: Role::Must, keyword: Keyword::False };
        Machine {
            schemas,
            frames: Vec::new(),
            live: Vec::new(),
            roots: Vec::new(),
            links: Vec::new(),
            targets: vec![whole],
            seen: Vec::new(),
            tracks: Vec::new(),
            marks: 0,
            digests: Vec::new(),
            steps_left: steps,
            text: String::new(),
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// Events come as a document has them: nothing but what `Events` gives.
    pub(super) fn event(&mut self, event: Event<'_>, at: usize) -> Result<(), Stop> {
        self.at = at;
        match event {
            Event::ObjectStart => self.open(Kind::Object),
            Event::ArrayStart => self.open(Kind::Array),
            Event::ObjectEnd | Event::ArrayEnd => self.close(),
            Event::Key(key, hash) => self.with_text(key, |machine, key| machine.key(key, hash)),
            Event::Text(text) => self.with_text(text, |machine, text| machine.scalar(&Scalar::Text(text))),
            Event::Number(written) => {
                let number = Number::parse(written).ok_or(self.bound(Bound::Exponent))?;
                self.charge(written.len() as u64 / 16)?;
                self.scalar(&Scalar::Number(number))
            }
            Event::Bool(value) => self.scalar(&Scalar::Bool(value)),
            Event::Null => self.scalar(&Scalar::Null),
        }
    }

    fn with_text(
        &mut self,
        text: Text<'_>,
        judge: impl FnOnce(&mut Self, &str) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut scratch = core::mem::take(&mut self.text);
        let result = judge(self, text.decode(&mut scratch));
        self.text = scratch;
        result
    }

    const fn bound(&self, bound: Bound) -> Stop {
        Stop::Bound { bound, at: self.at }
    }

    fn charge(&mut self, steps: u64) -> Result<(), Stop> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or(self.bound(Bound::Steps))?;
        Ok(())
    }

    fn node(&self, schema: SchemaIndex) -> Result<&'s Node, Stop> {
        self.schemas.node(schema).ok_or(self.bound(Bound::Internal))
    }

    fn here(&self, keyword: Keyword) -> Failure {
        Failure { at: self.at, keyword, choice: None }
    }

    /// A live schema refuses its value.
    fn fail(&mut self, live: usize, failure: Failure) -> Result<(), Stop> {
        let internal = self.bound(Bound::Internal);
        let live = self.live.get_mut(live).ok_or(internal)?;
        if live.critical {
            return Err(Stop::Broken(failure));
        }
        live.failure.get_or_insert(failure);
        Ok(())
    }

    fn push_live(&mut self, schema: SchemaIndex, failure: Option<Failure>) -> Result<usize, Stop> {
        if self.live.len() >= LIVE_SCHEMAS_MAX {
            return Err(self.bound(Bound::Schemas));
        }
        let live = Live { schema, failure, critical: false, contained: 0, seen: 0, track: None };
        self.live.push(live);
        Ok(self.live.len().saturating_sub(1))
    }

    fn push_digest(&mut self, digest: Digest) -> Result<(), Stop> {
        if self.digests.len() >= LIVE_DIGESTS_MAX {
            return Err(self.bound(Bound::Digests));
        }
        self.digests.push(digest);
        Ok(())
    }

    /// A value begins: what is asked of a property was asked with its key, of an item it is asked now.
    fn begin(&mut self) -> Result<(), Stop> {
        match self.frames.last() {
            Some(frame) if frame.kind == Kind::Array => self.item(),
            Some(_) | None => Ok(()),
        }
    }

    /// Turns what was asked of the value that begins here into roots, each schema once.
    fn gather(&mut self) -> Result<(usize, usize), Stop> {
        self.begin()?;
        let (roots, links) = (self.roots.len(), self.links.len());
        let mut targets = core::mem::take(&mut self.targets);
        for target in targets.drain(..) {
            let node = self.node(target.schema)?;
            if node.is_any() {
                self.deliver(&target, None)?;
                continue;
            }
            if node.is_never() {
                let failure = self.here(target.keyword);
                self.deliver(&target, Some(failure))?;
                continue;
            }
            let critical = target.role == Role::Must
                && target.parent.is_none_or(|parent| self.live.get(parent).is_some_and(|live| live.critical));
            let known = self.roots.get_mut(roots..).unwrap_or_default();
            let same = known.iter_mut().enumerate().find(|(_, root)| root.schema == target.schema);
            let place = match same {
                Some((place, root)) => {
                    root.critical |= critical;
                    place
                }
                None => {
                    let place = known.len();
                    self.charge(place as u64 / 8)?;
                    self.roots.push(Root { schema: target.schema, first: 0, critical, failure: None });
                    place
                }
            };
            self.links.push(Link { root: roots.saturating_add(place), target });
        }
        self.targets = targets;
        Ok((roots, links))
    }

    /// Tells those who asked for the roots from here on what came of them, and forgets these.
    fn hand_over(&mut self, roots: usize, links: usize) -> Result<(), Stop> {
        for at in links..self.links.len() {
            let link = self.links.get(at).copied();
            let root = link.and_then(|link| self.roots.get(link.root).copied());
            if let (Some(link), Some(root)) = (link, root) {
                self.deliver(&link.target, root.failure)?;
            }
        }
        self.links.truncate(links);
        self.roots.truncate(roots);
        Ok(())
    }

    fn deliver(&mut self, target: &Target, failure: Option<Failure>) -> Result<(), Stop> {
        let Some(parent) = target.parent else {
            return failure.map_or(Ok(()), |failure| Err(Stop::Broken(failure)));
        };
        match (target.role, failure) {
            (Role::Must, Some(failure)) => self.fail(parent, failure),
            (Role::Contains, None) => {
                if let Some(live) = self.live.get_mut(parent) {
                    live.contained = live.contained.saturating_add(1);
                }
                self.mark(parent)
            }
            (Role::Unevaluated, Some(failure)) => self.suspect(parent, failure),
            (Role::Must | Role::Unevaluated, None) | (Role::Contains, Some(_)) => Ok(()),
        }
    }
}

/// What a document is worth, without a schema: for the values of an `enum`.
#[derive(Debug, Default)]
pub(super) struct Worth {
    /// Where the parts of each open container begin.
    open: Vec<usize>,
    digests: Vec<Digest>,
    bytes: Vec<u8>,
}

impl Worth {
    /// `None`: a number is beyond what is computed with.
    pub(super) fn event(&mut self, event: Event<'_>) -> Option<()> {
        let mut scratch = String::new();
        let scalar = match event {
            Event::ObjectStart | Event::ArrayStart => {
                self.open.push(self.digests.len());
                return Some(());
            }
            Event::ObjectEnd | Event::ArrayEnd => {
                let begin = self.open.pop()?;
                let parts = self.digests.get(begin..)?;
                let whole =
                    if event == Event::ArrayEnd { Digest::of_array(parts) } else { Digest::of_object(parts) };
                self.digests.truncate(begin);
                self.digests.push(whole);
                return Some(());
            }
            Event::Key(text, _) | Event::Text(text) => Scalar::Text(text.decode(&mut scratch)),
            Event::Number(written) => Scalar::Number(Number::parse(written)?),
            Event::Bool(value) => Scalar::Bool(value),
            Event::Null => Scalar::Null,
        };
        self.digests.push(Digest::of_scalar(&scalar, &mut self.bytes));
        Some(())
    }

    pub(super) fn finish(mut self) -> Option<Digest> {
        self.digests.pop().filter(|_| self.digests.is_empty())
    }
}
