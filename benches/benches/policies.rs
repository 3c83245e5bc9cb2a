//! What a decision costs by the number of policies: plain Cedar, prebuilt sets, and the index.
//!
//! Run by `cargo bench -p benches --bench policies`; a word after `--` chooses the arms that contain it. Every request
//! meets five policies however many there are: one of everybody's, two of its team, two links of a template for its team.
//! Rounds are interleaved: each goes through all sizes and arms. A line is the median of the rounds, with the fastest and
//! the slowest. Requests are made beforehand; what making one costs has its own lines.
#![expect(
    clippy::unwrap_used,
    reason = "a bench whose inputs do not hold must not print numbers; nothing here is on a request path"
)]

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, SlotId, Template,
};
use palisade_policy_index::{Caller, Index, Person};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hint::black_box;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(20);
/// Entities of the store: teams, callers, services.
const CALLERS: usize = 1_200;
const GROUPS: usize = 250;
const SERVICES: usize = 50;
/// Requests that each arm goes through in turn, each by another caller, so that caches hold as much at every size.
const REQUESTS: usize = 256;
const MATCHING: usize = 5;

fn main() {
    // Cargo hands on options such as `--bench`; a word without a dash is ours.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |arm: &str| words.is_empty() || words.iter().any(|word| arm.contains(word.as_str()));
    let worlds: Vec<World> = SIZES.iter().map(|size| World::new(*size)).collect();
    let mut times: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for world in &worlds {
            for (at, (name, arm)) in ARMS.iter().enumerate().filter(|(_, (name, _))| wanted(name)) {
                let us = arm(world).unwrap_or_else(|| unanswered(name));
                times.entry((at, world.size)).or_default().push(us);
            }
        }
    }
    println!("µs a decision, median of {ROUNDS} rounds (min–max); {REQUESTS} callers in turn");
    print!("{:<40}", "arm");
    SIZES.iter().for_each(|size| print!("{:>24}", format!("{size} policies")));
    println!("{:>12}", "10 → 10,000");
    for (at, (name, _)) in ARMS.iter().enumerate().filter(|(_, (name, _))| wanted(name)) {
        print!("{name:<40}");
        let mut medians = Vec::new();
        for size in SIZES {
            let mut all = times.remove(&(at, size)).unwrap_or_default();
            all.sort_by(f64::total_cmp);
            let place = |at: usize| all.get(at).copied().unwrap_or(f64::NAN);
            medians.push(place(ROUNDS / 2));
            print!("{:>24}", format!("{:.2} ({:.2}–{:.2})", place(ROUNDS / 2), place(0), place(ROUNDS - 1)));
        }
        println!("{:>11.2}×", medians.last().unwrap() / medians.first().unwrap());
    }
    for world in &worlds {
        let answers =
            world.requests.iter().map(|asked| world.index.answer(&asked.declared, Caller::Declared, Some(0)));
        let candidates: usize = answers.map(|answer| answer.unwrap().candidates).sum();
        let mean = candidates as f64 / world.requests.len() as f64;
        println!(
            "{:>6} policies: mean candidates {mean:.2}, index made in {:.1} ms",
            world.size, world.made_ms
        );
    }
}

fn unanswered(arm: &str) -> f64 {
    eprintln!("{arm}: a request was not allowed, so its time means nothing");
    std::process::exit(1)
}

/// µs a decision, if all decisions were right.
type Arm = fn(&World) -> Option<f64>;

const ARMS: [(&str, Arm); 9] = [
    ("plain Cedar", |world| {
        rotate(world, |asked| {
            Authorizer::new().is_authorized(&asked.declared, &world.policies, &world.entities).decision()
        })
    }),
    ("prebuilt sets by principal, action, resource", |world| {
        rotate(world, |asked| {
            let request = &asked.declared;
            let key = (request.principal().unwrap(), request.action().unwrap(), request.resource().unwrap());
            let set = world.prebuilt.get(&(key.0.clone(), key.1.clone(), key.2.clone())).unwrap();
            Authorizer::new().is_authorized(request, set, &world.entities).decision()
        })
    }),
    ("index, declared caller, warm", |world| {
        rotate(world, |asked| decision(&world.index, &asked.declared, Caller::Declared))
    }),
    ("index, declared caller, cold", |world| {
        cold(world, |index, asked| decision(index, &asked.declared, Caller::Declared))
    }),
    ("index, brought caller, warm", |world| {
        rotate(world, |asked| decision(&world.index, &asked.brought, asked.caller()))
    }),
    ("index, brought caller, cold", |world| {
        cold(world, |index, asked| decision(index, &asked.brought, asked.caller()))
    }),
    ("plain Cedar, brought, store cloned", |world| {
        if world.size > 100 {
            // Said once is enough: what the clone costs does not depend on the policies.
            return Some(f64::NAN);
        }
        rotate(world, |asked| {
            let entities = Entities::clone(&world.entities);
            let entities = entities.add_entities([asked.person.entity().clone()], None).unwrap();
            Authorizer::new().is_authorized(&asked.brought, &world.policies, &entities).decision()
        })
    }),
    ("making a request, no schema", |world| rotate(world, |asked| made(asked, None))),
    ("making a request, against the schema", |world| rotate(world, |asked| made(asked, Some(&world.schema)))),
];

fn decision(index: &Index, request: &Request, caller: Caller<'_>) -> Decision {
    index.answer(black_box(request), caller, Some(0)).map_or(Decision::Deny, |answer| answer.counted.decision)
}

/// All requests in turn, again and again, for the time of a slice.
fn rotate(world: &World, mut decide: impl FnMut(&Asked) -> Decision) -> Option<f64> {
    let (began, mut times) = (Instant::now(), 0_u32);
    while began.elapsed() < SLICE {
        // The clock is looked at seldom beside short decisions.
        let stride = if world.size > 1_000 { 4 } else { 32 };
        for asked in world.requests.iter().cycle().skip(times as usize % world.requests.len()).take(stride) {
            times += 1;
            if decide(asked) != Decision::Allow {
                return None;
            }
        }
    }
    Some(began.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}

/// Each request once, by an index that has answered nothing yet.
fn cold(world: &World, decide: impl Fn(&Index, &Asked) -> Decision) -> Option<f64> {
    let index = Index::new(world.policies.clone(), &HashMap::new(), Arc::clone(&world.entities)).unwrap();
    let began = Instant::now();
    let allowed = world.requests.iter().all(|asked| decide(&index, asked) == Decision::Allow);
    let us = began.elapsed().as_secs_f64() * 1e6 / world.requests.len() as f64;
    allowed.then_some(us)
}

fn made(asked: &Asked, schema: Option<&Schema>) -> Decision {
    let request = &asked.declared;
    let [principal, action, resource] =
        [request.principal(), request.action(), request.resource()].map(|uid| uid.unwrap().clone());
    let made = Request::new(principal, action, resource, context(), schema);
    made.map_or(Decision::Deny, |_| Decision::Allow)
}

struct World {
    size: usize,
    policies: PolicySet,
    entities: Arc<Entities>,
    schema: Schema,
    index: Index,
    made_ms: f64,
    prebuilt: HashMap<(EntityUid, EntityUid, EntityUid), PolicySet>,
    requests: Vec<Asked>,
}

/// A question by a caller that the store has, and the same by one who comes with the request.
struct Asked {
    declared: Request,
    brought: Request,
    person: Person,
}

impl Asked {
    fn caller(&self) -> Caller<'_> {
        Caller::Brought { person: &self.person, named: &[] }
    }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(EntityTypeName::from_str(kind).unwrap(), EntityId::new(id))
}

/// A third of the groups is in another one; callers are spread over the groups of so many teams.
fn store(teams: usize) -> Entities {
    let group = |at: usize| uid("Group", &format!("team{at}"));
    let groups = (0..GROUPS).map(|at| {
        let parents = (at % 3 == 2).then(|| group(at - 1)).into_iter().collect();
        Entity::new_no_attrs(group(at), parents)
    });
    let callers = (0..CALLERS).map(|at| {
        let level = RestrictedExpression::new_long(3);
        let parents = HashSet::from([group(at % teams.min(GROUPS))]);
        Entity::new(uid("User", &format!("user{at}")), HashMap::from([("level".to_owned(), level)]), parents)
            .unwrap()
    });
    let services = (0..SERVICES).map(|at| {
        let tier = RestrictedExpression::new_string("internal".to_owned());
        Entity::new(
            uid("Service", &format!("service{at}.0")),
            HashMap::from([("tier".to_owned(), tier)]),
            HashSet::new(),
        )
        .unwrap()
    });
    let actions = (0..SERVICES).map(|at| {
        Entity::new_no_attrs(
            uid("Action", &format!("service{at}.make")),
            HashSet::from([uid("Action", "write")]),
        )
    });
    Entities::from_entities(groups.chain(callers).chain(services).chain(actions), None).unwrap()
}

/// The team, action and service that belong together; the team's parents own nothing of the same service.
fn names(team: usize) -> (String, String, String) {
    let service = team % SERVICES;
    (
        format!("team{}", team % GROUPS),
        format!("service{service}.make"),
        format!("service{service}.{}", team / GROUPS),
    )
}

impl World {
    fn new(size: usize) -> World {
        let teams = (size - 1) / (MATCHING - 1);
        let entities = Arc::new(store(teams));
        let policies = policies(size, teams);
        let began = Instant::now();
        let index = Index::new(policies.clone(), &HashMap::new(), Arc::clone(&entities)).unwrap();
        let made_ms = began.elapsed().as_secs_f64() * 1e3;
        let requests: Vec<Asked> = (0..REQUESTS).map(|at| asked(at, teams)).collect();
        let mut prebuilt = HashMap::new();
        for asked in &requests {
            let request = &asked.declared;
            let response = Authorizer::new().is_authorized(request, &policies, &entities);
            let wanted: HashSet<PolicyId> = response.diagnostics().reason().cloned().collect();
            let mut set = PolicySet::new();
            // The one `forbid` matches every request, and determines none.
            let forbids = |policy: &&Policy| policy.effect() == cedar_policy::Effect::Forbid;
            for policy in policies.policies().filter(|policy| forbids(policy) || wanted.contains(policy.id()))
            {
                add(&mut set, &policies, policy);
            }
            assert_eq!(set.num_of_policies(), MATCHING, "of {size} policies");
            let [principal, action, resource] =
                [request.principal(), request.action(), request.resource()].map(|uid| uid.unwrap().clone());
            prebuilt.insert((principal, action, resource), set);
        }
        World { size, policies, entities, schema: schema(), index, made_ms, prebuilt, requests }
    }
}

fn add(set: &mut PolicySet, from: &PolicySet, policy: &Policy) {
    match (policy.template_id(), policy.template_links()) {
        (Some(template), Some(slots)) => {
            if set.template(template).is_none() {
                set.add_template(from.template(template).unwrap().clone()).unwrap();
            }
            set.link(template.clone(), policy.id().clone(), slots).unwrap();
        }
        _ => set.add(policy.clone()).unwrap(),
    }
}

fn policies(size: usize, teams: usize) -> PolicySet {
    let mut set = PolicySet::new();
    let mut add =
        |id: String, text: &str| set.add(Policy::parse(Some(PolicyId::new(id)), text).unwrap()).unwrap();
    add("everybody".to_owned(), "forbid (principal, action, resource) when { context.amount > 1000000 };");
    for team in 0..teams {
        let (group, action, resource) = names(team);
        add(
            format!("{team}.level"),
            &format!(
                "permit (principal in Group::\"{group}\", action == Action::\"{action}\", resource == Service::\"{resource}\") \
                 when {{ principal.level >= 2 && context.amount < 10000 }};"
            ),
        );
        add(
            format!("{team}.host"),
            &format!(
                "permit (principal is User in Group::\"{group}\", action in [Action::\"{action}\", Action::\"other\"], \
                 resource in Service::\"{resource}\") when {{ context.host like \"*.shop\" || context.urgent }};"
            ),
        );
    }
    // What does not fill a team is of somebody who never calls.
    for at in 0..(size - 1) % (MATCHING - 1) {
        add(
            format!("nobody.{at}"),
            &format!("permit (principal == User::\"nobody{at}\", action, resource);"),
        );
    }
    for (template, condition) in [("grant", "context.region == \"eu\""), ("loan", "context.hour < 20")] {
        let text = format!(
            "permit (principal in ?principal, action in Action::\"write\", resource == ?resource) when {{ {condition} }};"
        );
        let id = PolicyId::new(template);
        set.add_template(Template::parse(Some(id.clone()), &text).unwrap()).unwrap();
        for team in 0..teams {
            let (group, _, resource) = names(team);
            let slots = [
                (SlotId::principal(), uid("Group", &group)),
                (SlotId::resource(), uid("Service", &resource)),
            ];
            set.link(id.clone(), PolicyId::new(format!("{team}.{template}")), slots.into()).unwrap();
        }
    }
    assert_eq!(set.num_of_policies(), size);
    set
}

fn asked(caller: usize, teams: usize) -> Asked {
    let (group, action, resource) = names(caller % teams);
    let request = |principal: EntityUid| {
        Request::new(principal, uid("Action", &action), uid("Service", &resource), context(), None).unwrap()
    };
    let level = ("level".to_owned(), RestrictedExpression::new_long(3));
    let person =
        Person::new(uid("User", &format!("corp/{caller}")), [uid("Group", &group)], [level]).unwrap();
    Asked {
        declared: request(uid("User", &format!("user{caller}"))),
        brought: request(person.uid().clone()),
        person,
    }
}

fn context() -> Context {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let pairs = [
        ("amount", RestrictedExpression::new_long(250)),
        ("host", text("orders.shop")),
        ("path", text("/orders/17/lines")),
        ("method", text("POST")),
        ("region", text("eu")),
        ("hour", RestrictedExpression::new_long(11)),
        ("urgent", RestrictedExpression::new_bool(false)),
        ("customer", text("c-1047")),
    ];
    Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value))).unwrap()
}

fn schema() -> Schema {
    let mut text =
        "entity Group in [Group]; entity User in [Group] { level: Long }; entity Service; action write;\n\
                    type Call = { amount: Long, host: String, path: String, method: String, region: String,\n\
                    hour: Long, urgent: Bool, customer: String };\n"
            .to_owned();
    for at in 0..SERVICES {
        text.push_str(&format!(
            "action \"service{at}.make\" in write appliesTo {{ principal: User, resource: Service, context: Call }};\n"
        ));
    }
    Schema::from_cedarschema_str(&text).unwrap().0
}
