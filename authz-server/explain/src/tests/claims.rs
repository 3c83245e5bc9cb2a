//! Every "would be allowed if" is read as a person reads it, done, and put before Cedar.
//!
//! INVARIANT: nothing of the package under test is used to make the change; its words alone are.

use super::bank::{Asked, Bank, table};
use crate::{Explanation, Suggestion};
use cedar_policy::{Authorizer, Decision, Entities, Entity, EntityUid};
use serde_json::{Value as Json, json};

const REQUESTS: usize = 400;

/// What a sentence asks to be done.
struct Deed<'b> {
    bank: &'b Bank,
    asked: Asked,
    context: Json,
    entities: Entities,
}

impl Deed<'_> {
    fn resource(&self) -> EntityUid {
        let service = self.asked.resource.as_deref().unwrap_or(self.asked.action.split_once('.').unwrap().0);
        format!("Service::\"{service}\"").parse().unwrap()
    }

    fn edit(&mut self, uid: &EntityUid, edit: impl FnOnce(&mut Json)) {
        let named = json!({"type": uid.type_name().to_string(), "id": uid.id().unescaped()});
        let mut entity = match self.entities.get(uid) {
            Some(entity) => entity.to_json_value().unwrap(),
            None => json!({"uid": named, "attrs": {}, "parents": []}),
        };
        edit(&mut entity);
        let entity = Entity::from_json_value(entity, Some(&self.bank.schema)).unwrap();
        self.entities = self.entities.clone().upsert_entities([entity], Some(&self.bank.schema)).unwrap();
    }

    /// Puts a value where a path such as `context.header["x-region"]` leads.
    fn put(&mut self, path: &str, value: Option<Json>) {
        let path = path.replace("[\"", ".").replace("\"]", "");
        let (root, keys) = path.split_once('.').unwrap();
        let principal = self.asked.principal.parse().unwrap();
        let set = |document: &mut Json| {
            let (way, last) = match keys.rsplit_once('.') {
                Some((way, last)) => (way.split('.').collect(), last),
                None => (Vec::new(), keys),
            };
            let holder = way.into_iter().fold(document, |document, key| &mut document[key]);
            match value {
                Some(value) => holder[last] = value,
                None => drop(holder.as_object_mut().unwrap().remove(last)),
            }
        };
        match root {
            "context" => set(&mut self.context),
            "principal" => self.edit(&principal, |entity| set(&mut entity["attrs"])),
            "resource" => self.edit(&self.resource(), |entity| set(&mut entity["attrs"])),
            other => panic!("{other}"),
        }
    }

    fn is_allowed(&self) -> bool {
        let Some(request) = self.bank.request(&self.asked, self.context.clone()) else { return false };
        let response = Authorizer::new().is_authorized(&request, &self.bank.policies, &self.entities);
        response.decision() == Decision::Allow && response.diagnostics().errors().next().is_none()
    }
}

/// `Group "staff"`.
fn entity(words: &str) -> EntityUid {
    let (kind, id) = words.split_once(' ').unwrap();
    format!("{kind}::{id}").parse().unwrap_or_else(|error| panic!("{words}: {error}"))
}

fn value(words: &str) -> Json {
    let whole = serde_json::from_str(words).ok().filter(|value: &Json| !value.is_f64());
    whole.unwrap_or_else(|| {
        let function = if words.matches('.').count() > 1 { "ip" } else { "decimal" };
        json!({"__extn": {"fn": function, "arg": words}})
    })
}

/// A number just inside of a bound, or at it.
fn bound(words: &str, step: i64) -> Json {
    match value(words) {
        Json::Number(number) => json!(number.as_i64().unwrap() + step),
        other => other,
    }
}

fn found_at<'j>(context: &'j Json, path: &str) -> Option<&'j Json> {
    path.strip_prefix("context.")?.split('.').try_fold(context, |document, key| document.get(key))
}

/// Does what one wish says. Some say that any of several will do: `choice` takes one.
fn grant(deed: &mut Deed<'_>, wish: &str, choice: usize) {
    // What is there now stands at the end, in parentheses.
    let wish = wish.split_once(" (it ").map_or(wish, |(wish, _)| wish);
    let principal: EntityUid = deed.asked.principal.parse().unwrap();
    let join = |parent: &str| {
        let parent = entity(parent);
        let parent = json!({"type": parent.type_name().to_string(), "id": parent.id().unescaped()});
        move |entity: &mut Json| entity["parents"].as_array_mut().unwrap().push(parent)
    };
    let one_of = |words: &str| {
        let all: Vec<String> =
            words.trim_start_matches("one of ").split(", ").map(ToOwned::to_owned).collect();
        all[choice % all.len()].clone()
    };
    if let Some(parent) = wish.strip_prefix("the principal were not in ") {
        let parent = entity(parent);
        deed.edit(&principal, |entity| {
            entity["parents"]
                .as_array_mut()
                .unwrap()
                .retain(|known| EntityUid::from_json(known.clone()).unwrap() != parent);
        });
    } else if let Some(parent) = wish.strip_prefix("the principal were in ") {
        deed.edit(&principal, join(parent));
    } else if let Some(parent) = wish.strip_prefix("the principal were declared, in ") {
        deed.edit(&principal, join(parent));
    } else if let Some(parent) = wish.strip_prefix("the resource were in ") {
        let resource = deed.resource();
        deed.edit(&resource, join(parent));
    } else if let Some(who) = wish.strip_prefix("the caller were ") {
        deed.asked.principal = entity(&one_of(who)).to_string();
    } else if let Some(who) = wish.strip_prefix("the caller proved to be ") {
        deed.asked.principal = entity(&one_of(who)).to_string();
    } else if let Some(action) = wish.strip_prefix("the action were ") {
        // The service stays what it was asked at.
        let service = deed.resource().id().unescaped().to_owned();
        deed.asked.resource = Some(service);
        deed.asked.action = entity(&one_of(action)).id().unescaped().to_owned();
    } else if let Some(workload) = wish.strip_prefix("the call had come through workload ") {
        deed.put("context.workload", Some(value(workload)));
    } else if let Some(scope) = wish.strip_prefix("the credential had scope ") {
        deed.put("context.scopes", Some(json!([value(scope)])));
    } else if let Some(path) = wish.strip_suffix(" were left out").or(wish.strip_suffix(" were not set")) {
        deed.put(path, None);
    } else if let Some((path, bound_words)) = wish.split_once(" were at most ") {
        deed.put(path, Some(bound(bound_words, 0)));
    } else if let Some((path, bound_words)) = wish.split_once(" were at least ") {
        deed.put(path, Some(bound(bound_words, 0)));
    } else if let Some((path, bound_words)) = wish.split_once(" were less than ") {
        deed.put(path, Some(bound(bound_words, -1)));
    } else if let Some((path, bound_words)) = wish.split_once(" were more than ") {
        deed.put(path, Some(bound(bound_words, 1)));
    } else if let Some((path, range)) = wish.split_once(" were in ") {
        deed.put(path, Some(value(range.split_once('/').unwrap().0)));
    } else if let Some((path, words)) = wish.split_once(" were ") {
        deed.put(path, Some(value(&one_of(words))));
    } else if let Some((path, _pattern)) = wish.split_once(" did not match ") {
        deed.put(path, Some(json!("something else")));
    } else if let Some((path, pattern)) = wish.split_once(" matched ") {
        let pattern: String = serde_json::from_str(pattern).unwrap();
        deed.put(path, Some(json!(pattern.replace('*', "any"))));
    } else if let Some((path, words)) = wish.split_once(" contained ") {
        let more = match value(words.trim_start_matches("all of ")) {
            Json::Array(items) => items,
            one => vec![one],
        };
        let now = found_at(&deed.context, path).and_then(Json::as_array).cloned().unwrap_or_default();
        deed.put(path, Some(Json::Array(now.into_iter().chain(more).collect())));
    } else {
        panic!("nobody knows how to do this: {wish}");
    }
}

/// All that is said to lead to an allow, kept to its words.
fn check(bank: &Bank, asked: &Asked) -> usize {
    let explanation: Explanation = bank.explain(asked);
    let of_policies = explanation.policies.iter().chain(&explanation.near_misses);
    let all = of_policies.flat_map(|policy| &policy.suggestions).chain(&explanation.suggestions);
    let claims: Vec<&Suggestion> = all.filter(|suggestion| suggestion.allowed).collect();
    for claim in &claims {
        for choice in 0..3 {
            let entities = bank.entities.clone();
            let mut deed = Deed { bank, asked: asked.clone(), context: bank.context(asked), entities };
            let wishes = claim.change.trim_start_matches("the principal were declared, and ");
            wishes.split(" and ").for_each(|wish| grant(&mut deed, wish, choice));
            assert!(deed.is_allowed(), "{asked:?}\nis not allowed although {}", claim.change);
        }
    }
    claims.len()
}

#[test]
fn every_claim_of_the_table_is_true() {
    let bank = Bank::new();
    // Where values are hidden, the words do not hold what has to be done.
    let table = table();
    let claims: usize =
        table.iter().filter(|asked| asked.hidden.is_empty()).map(|asked| check(&bank, asked)).sum();
    assert!(claims > 50, "{claims}");
}

/// A sequence that looks random and is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())].clone()
    }

    fn sometimes(&mut self, into: &mut Json, key: &str, all: &[Json]) {
        if self.roll(2) == 0 {
            into[key] = self.pick(all);
        }
    }
}

fn random(bank: &Bank, dice: &mut Dice) -> Asked {
    let callers: Vec<String> = {
        let kinds = ["Client", "Workload", "User", "Anonymous"];
        let all = bank.entities.iter().map(|entity| entity.uid());
        let all = all.filter(|uid| kinds.contains(&uid.type_name().to_string().as_str()));
        let mut all: Vec<String> = all.map(|uid| uid.to_string()).collect();
        all.extend(["User::\"idp/new\"".to_owned(), "Client::\"new\"".to_owned()]);
        all.sort();
        all
    };
    let actions: Vec<String> = table().into_iter().map(|asked| asked.action).collect();
    let (mut query, mut header, mut body, mut context) = (json!({}), json!({}), json!({}), json!({}));
    dice.sometimes(&mut query, "limit", &[json!(5), json!(100), json!(101), json!(501)]);
    dice.sometimes(&mut query, "deep", &[json!(true), json!(false)]);
    dice.sometimes(&mut header, "x-region", &[json!("eu"), json!("us"), json!("apac")]);
    dice.sometimes(&mut body, "amount_cents", &[json!(0), json!(4_000), json!(25_000), json!(1_000_000)]);
    dice.sometimes(&mut body, "currency", &[json!("EUR"), json!("USD")]);
    dice.sometimes(&mut body, "urgent", &[json!(true), json!(false)]);
    dice.sometimes(&mut body, "tags", &[json!(["reviewed"]), json!(["pinned"]), json!([])]);
    dice.sometimes(&mut body, "note", &[json!("[notice] x"), json!("<script>"), json!("hello")]);
    let rates = ["0.5", "1.75"].map(|rate| json!({"__extn": {"fn": "decimal", "arg": rate}}));
    dice.sometimes(&mut body, "rate", &rates);
    let peers = ["10.20.1.1", "192.0.2.1"].map(|peer| json!({"__extn": {"fn": "ip", "arg": peer}}));
    dice.sometimes(&mut body, "peer", &peers);
    dice.sometimes(&mut context, "workload", &[json!("spiffe://bank.example/ns/pay/sa/front"), json!("x")]);
    dice.sometimes(&mut context, "scopes", &[json!(["orders"]), json!(["quotes"])]);
    let resource = ["payments", "accounts", "reports", "notices"].map(ToOwned::to_owned);
    Asked {
        principal: dice.pick(&callers),
        action: dice.pick(&actions),
        resource: (dice.roll(4) == 0).then(|| dice.pick(&resource)),
        query,
        header,
        body,
        context,
        ..Asked::default()
    }
}

#[test]
fn every_claim_about_random_requests_is_true() {
    let bank = Bank::new();
    let mut dice = Dice(7);
    let claims: usize = (0..REQUESTS).map(|_| check(&bank, &random(&bank, &mut dice))).sum();
    println!("{claims} claims about {REQUESTS} requests, all true");
    assert!(claims * 2 > REQUESTS, "{claims}");
}
