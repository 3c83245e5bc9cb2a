//! Random policies, entities, callers and requests, small enough that they meet each other.

use super::words::Dice;
use crate::Person;
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet, Request,
    RestrictedExpression, SlotId, Template,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::Arc;

pub(super) struct World {
    pub(super) policies: PolicySet,
    pub(super) shadows: HashSet<PolicyId>,
    pub(super) entities: Arc<Entities>,
    /// With the store that each would stand in.
    pub(super) people: Vec<(Person, Entities)>,
    /// For a failure's report.
    pub(super) text: String,
}

pub(super) fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(EntityTypeName::from_str(kind).unwrap(), EntityId::new(id))
}

/// Names that policies, entities and requests share. Some of them no store has.
const USERS: [&str; 5] = ["ann", "bob", "cid", "dot", "eve"];
const PEOPLE: [&str; 3] = ["x/ann", "x/bob", "x/cid"];
const GROUPS: [&str; 6] = ["g0", "g1", "g2", "g3", "g4", "g5"];
const DOCS: [&str; 5] = ["d0", "d1", "d2", "d3", "d4"];
const ACTIONS: [&str; 5] = ["read", "list", "write", "drop", "ping"];
const CLASSES: [&str; 3] = ["reads", "writes", "all"];

impl World {
    pub(super) fn new(dice: &mut Dice) -> World {
        let entities = Arc::new(entities(dice));
        let people = (0..3).map(|at| person(dice, PEOPLE[at], &entities)).collect();
        let mut world = World {
            policies: PolicySet::new(),
            shadows: HashSet::new(),
            entities,
            people,
            text: String::new(),
        };
        let count = 4 + dice.below(14);
        for at in 0..count {
            world.policy(dice, at);
        }
        if dice.percent(50) {
            let ids: Vec<PolicyId> = world.policies.policies().map(|policy| policy.id().clone()).collect();
            world.shadows = ids.into_iter().filter(|_| dice.percent(20)).collect();
        }
        world
    }

    fn policy(&mut self, dice: &mut Dice, at: usize) {
        let effect = if dice.percent(70) { "permit" } else { "forbid" };
        let linked = dice.percent(25);
        let (principal, slots) = if linked && dice.percent(70) {
            (
                one(
                    dice,
                    &[
                        "principal == ?principal",
                        "principal in ?principal",
                        "principal is User in ?principal",
                    ],
                ),
                1,
            )
        } else {
            (principal_scope(dice), 0)
        };
        let resource_slot = linked && (slots == 0 || dice.percent(40));
        let resource = if resource_slot {
            one(dice, &["resource == ?resource", "resource in ?resource", "resource is Doc in ?resource"])
        } else {
            resource_scope(dice)
        };
        let mut text = format!("{effect} ({principal}, {}, {resource})", action_scope(dice));
        for _ in 0..dice.below(3) {
            let word = if dice.percent(75) { "when" } else { "unless" };
            text.push_str(&format!(" {word} {{ {} }}", condition(dice, 3)));
        }
        text.push(';');
        self.text.push_str(&format!("// p{at}\n{text}\n"));
        if !linked {
            let policy = cedar_policy::Policy::parse(Some(PolicyId::new(format!("p{at}"))), &text).unwrap();
            return self.policies.add(policy).unwrap();
        }
        let template = PolicyId::new(format!("t{at}"));
        self.policies.add_template(Template::parse(Some(template.clone()), &text).unwrap()).unwrap();
        for link in 0..1 + dice.below(3) {
            let mut slots_filled = HashMap::new();
            if slots == 1 {
                slots_filled.insert(SlotId::principal(), somebody(dice));
            }
            if resource_slot {
                slots_filled.insert(SlotId::resource(), something(dice));
            }
            self.text.push_str(&format!("// p{at}.{link}: {slots_filled:?}\n"));
            let id = PolicyId::new(format!("p{at}.{link}"));
            self.policies.link(template.clone(), id, slots_filled).unwrap();
        }
    }

    /// A request by a declared caller, or by nobody that the store knows; or by a person, with its place.
    pub(super) fn request(&self, dice: &mut Dice) -> (Request, Option<usize>, Vec<EntityUid>) {
        let person = dice.percent(50).then(|| dice.below(self.people.len()));
        let principal = match person {
            Some(at) => self.people[at].0.uid().clone(),
            None => somebody(dice),
        };
        let action = uid("Action", if dice.percent(95) { one(dice, &ACTIONS) } else { one(dice, &CLASSES) });
        let (context, named) = context(dice);
        (Request::new(principal, action, something(dice), context, None).unwrap(), person, named)
    }
}

fn one(dice: &mut Dice, of: &[&'static str]) -> &'static str {
    dice.one(of)
}

fn somebody(dice: &mut Dice) -> EntityUid {
    match dice.below(10) {
        0..6 => uid("User", one(dice, &USERS)),
        6..8 => uid("User", one(dice, &PEOPLE)),
        8 => uid("Client", one(dice, &USERS)),
        _ => uid("Group", one(dice, &GROUPS)),
    }
}

fn something(dice: &mut Dice) -> EntityUid {
    match dice.below(10) {
        0..8 => uid("Doc", one(dice, &DOCS)),
        8 => uid("Group", one(dice, &GROUPS)),
        _ => uid("User", one(dice, &PEOPLE)),
    }
}

fn principal_scope(dice: &mut Dice) -> &'static str {
    one(
        dice,
        &[
            "principal",
            "principal",
            "principal",
            "principal",
            "principal is User",
            "principal is User",
            "principal is Client",
            "principal == User::\"ann\"",
            "principal == User::\"x/ann\"",
            "principal in User::\"bob\"",
            "principal in Group::\"g0\"",
            "principal in Group::\"g1\"",
            "principal in Group::\"g5\"",
            "principal is User in Group::\"g2\"",
            "principal is Client in Group::\"g2\"",
            "principal is Group in Group::\"g3\"",
        ],
    )
}

fn action_scope(dice: &mut Dice) -> &'static str {
    one(
        dice,
        &[
            "action",
            "action",
            "action",
            "action",
            "action == Action::\"read\"",
            "action == Action::\"write\"",
            "action in Action::\"reads\"",
            "action in Action::\"all\"",
            "action in Action::\"list\"",
            "action in [Action::\"read\", Action::\"writes\"]",
            "action in [Action::\"drop\", Action::\"ping\", Action::\"drop\"]",
            "action in []",
        ],
    )
}

fn resource_scope(dice: &mut Dice) -> &'static str {
    one(
        dice,
        &[
            "resource",
            "resource",
            "resource",
            "resource",
            "resource",
            "resource is Doc",
            "resource is Doc",
            "resource is Group",
            "resource == Doc::\"d0\"",
            "resource == Doc::\"d1\"",
            "resource in Group::\"g0\"",
            "resource in Group::\"g4\"",
            "resource in User::\"x/ann\"",
            "resource is Doc in Group::\"g1\"",
            "resource is Doc in Doc::\"d2\"",
        ],
    )
}

/// A condition. About one in a few asks for what may not be there, or is of the wrong type, or overflows.
fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 || dice.percent(35) {
        return leaf(dice);
    }
    let inner = |dice: &mut Dice| condition(dice, depth - 1);
    match dice.below(6) {
        0 | 1 => format!("({} && {})", inner(dice), inner(dice)),
        2 | 3 => format!("({} || {})", inner(dice), inner(dice)),
        4 => format!("!({})", inner(dice)),
        _ => format!("(if {} then {} else {})", inner(dice), inner(dice), inner(dice)),
    }
}

fn leaf(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => format!("{}.level {} {}", entity(dice, 2), one(dice, &["<", "==", ">="]), dice.below(4)),
        1 => format!("{} in {}", entity(dice, 2), group(dice)),
        2 => format!("{} has {}", entity(dice, 2), one(dice, &["level", "owner", "friends", "dept"])),
        3 => format!("{} == {}", entity(dice, 1), entity(dice, 1)),
        4 => format!("{}.friends.contains({})", entity(dice, 1), entity(dice, 1)),
        5 => format!("{} is {}", entity(dice, 2), one(dice, &["User", "Doc", "Group in Group::\"g0\""])),
        6 => format!(
            "{}.{}",
            entity(dice, 1),
            one(dice, &["hasTag(\"boss\")", "getTag(\"boss\") in Group::\"g1\""])
        ),
        _ => one(
            dice,
            &[
                "true",
                "false",
                "context.n > 2",
                "context has who",
                "context.s like \"a*\"",
                "context.n + 9223372036854775807 > 0",
                "context.s > 1",
                "context.n",
                "1",
                "context.ip.isInRange(ip(\"10.0.0.0/8\"))",
                "action in Action::\"reads\"",
                "[Action::\"read\", Action::\"drop\"].contains(action)",
                "principal.address.city == \"lyon\"",
            ],
        )
        .to_owned(),
    }
}

/// An expression whose value is an entity, where it has one.
fn entity(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.percent(25) {
        let inner = entity(dice, depth - 1);
        return match dice.below(4) {
            0 | 1 => format!("{inner}.owner"),
            2 => format!("(if {} then {inner} else {})", leaf_of_context(dice), entity(dice, depth - 1)),
            _ => format!("{{held: {inner}}}.held"),
        };
    }
    match dice.below(14) {
        0..6 => "principal".to_owned(),
        6..9 => "resource".to_owned(),
        9 => "action".to_owned(),
        10 => "context.who".to_owned(),
        11 if dice.percent(40) => format!("User::\"{}\"", one(dice, &PEOPLE)),
        11 => format!("User::\"{}\"", one(dice, &USERS)),
        12 => format!("Group::\"{}\"", one(dice, &GROUPS)),
        _ => format!("Doc::\"{}\"", one(dice, &DOCS)),
    }
}

fn leaf_of_context(dice: &mut Dice) -> &'static str {
    one(dice, &["context has who", "context.n > 2", "context.flag"])
}

fn group(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => format!("[Group::\"{}\", User::\"{}\"]", one(dice, &GROUPS), one(dice, &PEOPLE)),
        1 => "principal".to_owned(),
        2 => "resource".to_owned(),
        3 => "resource.owner".to_owned(),
        _ => format!("Group::\"{}\"", one(dice, &GROUPS)),
    }
}

fn context(dice: &mut Dice) -> (Context, Vec<EntityUid>) {
    let mut pairs = Vec::new();
    let mut named = Vec::new();
    if dice.percent(80) {
        pairs.push(("n".to_owned(), RestrictedExpression::new_long(dice.below(5) as i64)));
    }
    if dice.percent(80) {
        pairs.push(("s".to_owned(), RestrictedExpression::new_string(one(dice, &["abc", "b"]).to_owned())));
    }
    if dice.percent(80) {
        pairs.push(("flag".to_owned(), RestrictedExpression::new_bool(dice.percent(50))));
    }
    if dice.percent(60) {
        pairs.push(("ip".to_owned(), RestrictedExpression::new_ip(one(dice, &["10.1.2.3", "192.168.0.1"]))));
    }
    if dice.percent(60) {
        let who = if dice.percent(70) { somebody(dice) } else { something(dice) };
        named.push(who.clone());
        pairs.push(("who".to_owned(), RestrictedExpression::new_entity_uid(who)));
    }
    (Context::from_pairs(pairs).unwrap(), named)
}

/// A store: actions in classes, groups in later groups, so that there is no circle; users and documents in some of them,
/// and some of what is named not there.
fn entities(dice: &mut Dice) -> Entities {
    let mut all = Vec::new();
    let classes =
        [("read", "reads"), ("list", "reads"), ("write", "writes"), ("drop", "writes"), ("reads", "all")];
    for (action, class) in classes {
        all.push(Entity::new_no_attrs(uid("Action", action), HashSet::from([uid("Action", class)])));
    }
    for (at, group) in GROUPS.iter().enumerate().filter(|_| dice.percent(85)).collect::<Vec<_>>() {
        let mut parents: HashSet<EntityUid> =
            GROUPS[at + 1..].iter().filter(|_| dice.percent(30)).map(|group| uid("Group", group)).collect();
        if at == 2 && dice.percent(10) {
            // Nobody that the store has: who comes with a request may be it.
            parents.insert(uid("User", PEOPLE[2]));
        }
        all.push(filled(dice, uid("Group", group), parents));
    }
    for user in USERS.iter().filter(|_| dice.percent(80)).collect::<Vec<_>>() {
        let parents = groups(dice);
        all.push(filled(dice, uid("User", user), parents));
    }
    for doc in DOCS.iter().filter(|_| dice.percent(85)).collect::<Vec<_>>() {
        let mut parents = groups(dice);
        if dice.percent(10) {
            parents.insert(uid("User", PEOPLE[0]));
        }
        all.push(filled(dice, uid("Doc", doc), parents));
    }
    // Who comes with a request may be declared, too, and as somebody else.
    for name in PEOPLE.iter().filter(|_| dice.percent(30)).collect::<Vec<_>>() {
        // The last one has groups in it: it is in none, lest there be a circle.
        let parents = if *name == PEOPLE[2] { HashSet::new() } else { groups(dice) };
        all.push(filled(dice, uid("User", name), parents));
    }
    Entities::from_entities(all, None).unwrap()
}

fn groups(dice: &mut Dice) -> HashSet<EntityUid> {
    let chosen = GROUPS.iter().filter(|_| dice.percent(25)).collect::<Vec<_>>();
    chosen.into_iter().map(|group| uid("Group", group)).collect()
}

fn attributes(dice: &mut Dice) -> HashMap<String, RestrictedExpression> {
    let mut attributes = HashMap::new();
    if dice.percent(80) {
        attributes.insert("level".to_owned(), RestrictedExpression::new_long(dice.below(4) as i64));
    }
    if dice.percent(70) {
        let owner = if dice.percent(50) { somebody(dice) } else { something(dice) };
        attributes.insert("owner".to_owned(), RestrictedExpression::new_entity_uid(owner));
    }
    if dice.percent(60) {
        let friends: Vec<_> =
            (0..dice.below(3)).map(|_| RestrictedExpression::new_entity_uid(somebody(dice))).collect();
        attributes.insert("friends".to_owned(), RestrictedExpression::new_set(friends));
    }
    if dice.percent(40) {
        let keeper = RestrictedExpression::new_entity_uid(somebody(dice));
        let city = RestrictedExpression::new_string(one(dice, &["lyon", "oslo"]).to_owned());
        let record = [("city".to_owned(), city), ("keeper".to_owned(), keeper)];
        attributes.insert("address".to_owned(), RestrictedExpression::new_record(record).unwrap());
    }
    attributes
}

fn filled(dice: &mut Dice, uid: EntityUid, parents: HashSet<EntityUid>) -> Entity {
    let mut tags = Vec::new();
    if dice.percent(50) {
        tags.push(("boss".to_owned(), RestrictedExpression::new_entity_uid(somebody(dice))));
    }
    Entity::new_with_tags(uid, attributes(dice), parents, tags).unwrap()
}

/// A person, and the store with it. Where the store has something in the person, the person is in no group, lest there
/// be a circle.
fn person(dice: &mut Dice, name: &str, store: &Entities) -> (Person, Entities) {
    let uid = uid("User", name);
    let mut parents = groups(dice);
    if dice.percent(10) {
        parents.insert(self::uid("Group", "unheard-of"));
    }
    let free = |parent: &EntityUid| !store.is_ancestor_of(&uid, parent);
    parents.retain(free);
    let person = Person::new(uid.clone(), parents, attributes(dice)).unwrap();
    let whole = store.clone().upsert_entities([person.entity().clone()], None).unwrap();
    (person, whole)
}
