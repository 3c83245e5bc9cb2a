//! The entities that an evaluation can read where the principal comes with the request: never the whole store.
//!
//! A slice holds the principal, and what is reached from it, from the request and from what conditions look into by name,
//! over attributes and tags; and all ancestors of these, because Cedar finds out anew who is in what. INVARIANT: every
//! condition evaluates over a slice as it does over the store with the principal in it.

use crate::memo::Memo;
use crate::person::Person;
use crate::reach::Reach;
use crate::scope::{ScopeId, Side};
use cedar_policy::entities_errors::EntitiesError;
use cedar_policy::{Entities, Entity, EntityUid, EvalResult};
use hashlink::LruCache;
use std::collections::HashSet;
use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

/// Persons whose slices are kept.
const PERSONS_MAX: usize = 4096;
/// Slices that are kept of one person: what is called of resources and operations that conditions look into.
const SLICES_OF_ONE_MAX: usize = 8;

/// Why a caller's entity cannot stand beside those of the store.
#[derive(Debug)]
pub enum CallerError {
    /// The request asks about somebody else.
    Another { asked: Box<EntityUid>, brought: Box<EntityUid> },
    /// Together they are no hierarchy.
    Entities(Box<EntitiesError>),
}

/// Everything that slices of one store are cut from.
#[derive(Debug)]
pub(crate) struct Slices {
    store: Arc<Entities>,
    /// What conditions look into by name, with all that is reached from there.
    base: Entities,
    /// Whether conditions look into the action or the resource of a request.
    action: bool,
    resource: bool,
    /// What entities of the store are in.
    above: HashSet<EntityUid>,
    persons: Memo<Arc<Person>, Arc<Brought>>,
}

/// A person beside the store.
pub(crate) struct Brought {
    person: Arc<Person>,
    /// The scopes that match it.
    pub(crate) scopes: Vec<ScopeId>,
    slices: Mutex<LruCache<Vec<EntityUid>, Arc<Entities>, RandomState>>,
}

impl Slices {
    pub(crate) fn new(store: Arc<Entities>, reach: &Reach) -> Result<Slices, Box<EntitiesError>> {
        let mut within = Within::new(&store);
        within.reach(reach.literals.iter().cloned());
        let base = Entities::from_entities(within.finish(), None)?;
        let above = store.iter().flat_map(|entity| store.ancestors(&entity.uid()).into_iter().flatten());
        let above = above.cloned().collect();
        Ok(Slices {
            base,
            action: reach.action,
            resource: reach.resource,
            above,
            persons: Memo::new(PERSONS_MAX),
            store,
        })
    }

    /// The person beside the store, found or made.
    pub(crate) fn brought(&self, person: &Person, principals: &Side) -> Result<Arc<Brought>, CallerError> {
        if let Some(found) = self.persons.find(person) {
            return Ok(found);
        }
        let above =
            person.parents().iter().flat_map(|parent| self.store.ancestors(parent).into_iter().flatten());
        let scopes = principals.matching(person.uid(), person.parents().iter().chain(above));
        let person = Arc::new(person.clone());
        let slices = LruCache::with_hasher(SLICES_OF_ONE_MAX, RandomState::new());
        let brought = Arc::new(Brought { person: Arc::clone(&person), scopes, slices: Mutex::new(slices) });
        self.persons.insert(person, Arc::clone(&brought));
        Ok(brought)
    }

    /// Whether something of the store is in this person, so that who it is decides what that is in.
    pub(crate) fn is_above(&self, person: &Person) -> bool {
        self.above.contains(person.uid())
    }

    /// All entities that an evaluation for this person can read. `named` is what the context names.
    pub(crate) fn slice(
        &self,
        brought: &Brought,
        action: &EntityUid,
        resource: &EntityUid,
        named: &[EntityUid],
    ) -> Result<Arc<Entities>, CallerError> {
        let always = self.is_above(&brought.person);
        let mut roots = named.to_vec();
        roots.extend((self.action || always).then(|| action.clone()));
        roots.extend((self.resource || always).then(|| resource.clone()));
        let slices = || brought.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = slices().get(&roots) {
            return Ok(Arc::clone(found));
        }
        let person = &brought.person;
        // What is in the person whom the store has is, there, in all that one is in: only the whole store can forget it.
        let takes_a_place = always && self.store.get(person.uid()).is_some();
        let slice = Arc::new(if takes_a_place { self.whole(person)? } else { self.cut(person, &roots)? });
        slices().insert(roots, Arc::clone(&slice));
        Ok(slice)
    }

    /// The whole store with the person in it. Slow, and never asked for where conditions were validated.
    pub(crate) fn whole(&self, person: &Person) -> Result<Entities, CallerError> {
        let whole = Entities::clone(&self.store).upsert_entities([person.entity().clone()], None);
        whole.map_err(|error| CallerError::Entities(Box::new(error)))
    }

    fn cut(&self, person: &Person, roots: &[EntityUid]) -> Result<Entities, CallerError> {
        let mut within = Within::new(&self.store);
        within.above(person.parents().iter().cloned());
        within.reach(roots.iter().cloned().chain(entities_in(person.entity())));
        // The person takes the place of what the store has under the same name.
        let missing = within
            .finish()
            .into_iter()
            .filter(|entity| self.base.get(&entity.uid()).is_none() && entity.uid() != *person.uid());
        let slice = self.base.clone().upsert_entities(missing.chain([person.entity().clone()]), None);
        slice.map_err(|error| CallerError::Entities(Box::new(error)))
    }
}

/// What has been found in a store so far.
struct Within<'s> {
    store: &'s Entities,
    /// Whose attributes and tags have been followed.
    followed: HashSet<EntityUid>,
    /// Who is needed, followed or not.
    needed: HashSet<EntityUid>,
}

impl<'s> Within<'s> {
    fn new(store: &'s Entities) -> Within<'s> {
        Within { store, followed: HashSet::new(), needed: HashSet::new() }
    }

    /// Follows attributes and tags.
    fn reach(&mut self, roots: impl IntoIterator<Item = EntityUid>) {
        let mut open: Vec<EntityUid> = roots.into_iter().collect();
        while let Some(uid) = open.pop() {
            let Some(entity) = self.store.get(&uid) else { continue };
            if self.followed.insert(uid.clone()) {
                open.extend(entities_in(entity));
                self.above([uid]);
            }
        }
    }

    /// These with all their ancestors.
    fn above(&mut self, uids: impl IntoIterator<Item = EntityUid>) {
        for uid in uids {
            self.needed.extend(self.store.ancestors(&uid).into_iter().flatten().cloned());
            self.needed.insert(uid);
        }
    }

    fn finish(self) -> Vec<Entity> {
        self.needed.iter().filter_map(|uid| self.store.get(uid)).cloned().collect()
    }
}

/// What an entity's attributes and tags name.
fn entities_in(entity: &Entity) -> Vec<EntityUid> {
    let mut found = Vec::new();
    for (_, value) in entity.attrs().chain(entity.tags()) {
        if let Ok(value) = value {
            named_in(&value, &mut found);
        }
    }
    found
}

pub(crate) fn named_in(value: &EvalResult, found: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => found.push(uid.clone()),
        EvalResult::Set(items) => items.iter().for_each(|item| named_in(item, found)),
        EvalResult::Record(fields) => fields.iter().for_each(|(_, field)| named_in(field, found)),
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::ExtensionValue(_) => {
        }
    }
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brought").field("person", &self.person).finish_non_exhaustive()
    }
}

impl fmt::Display for CallerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallerError::Another { asked, brought } => {
                write!(f, "`{brought}` was brought, but `{asked}` is asked about")
            }
            CallerError::Entities(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CallerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallerError::Entities(error) => Some(error),
            CallerError::Another { .. } => None,
        }
    }
}
