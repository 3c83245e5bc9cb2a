//! Ten thousand policies are explained by those few that matter.

use super::bank::named;
use crate::{NEAR_MISSES_MAX, Question, explain};
use cedar_policy::{Context, Entities, PolicySet, Request};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::time::Instant;

const POLICIES: usize = 10_000;
const USERS: usize = 1_500;

fn policies() -> PolicySet {
    let mut text = String::new();
    for number in 0..POLICIES {
        let (group, action) = (number % 500, number % 100);
        writeln!(
            text,
            "@id(\"p{number:05}\") permit (principal in Group::\"g{group}\", action == Action::\"a{action}\", resource) \
             when {{ context.amount <= {number} && context.kind == \"k{number}\" }};"
        )
        .unwrap();
    }
    named(&text)
}

fn entities() -> Entities {
    let user = |number: usize| {
        let group = format!("g{}", number % 500);
        json!({"uid": {"type": "User", "id": format!("u{number}")}, "attrs": {}, "parents": [{"type": "Group", "id": group}]})
    };
    let groups = (0..500).map(
        |number| json!({"uid": {"type": "Group", "id": format!("g{number}")}, "attrs": {}, "parents": []}),
    );
    Entities::from_json_value(Json::Array(groups.chain((0..USERS).map(user)).collect()), None).unwrap()
}

#[test]
fn the_nearest_of_ten_thousand_policies_are_found() {
    let (policies, entities) = (policies(), entities());
    let context = Context::from_json_value(json!({"amount": 50, "kind": "none"}), None).unwrap();
    let uid = |text: &str| text.parse().unwrap();
    let request =
        Request::new(uid("User::\"u107\""), uid("Action::\"a7\""), uid("Service::\"s\""), context, None)
            .unwrap();
    let question = Question {
        policies: &policies,
        entities: &entities,
        schema: None,
        request: &request,
        anonymous: false,
        hidden: &[],
    };
    let began = Instant::now();
    let explanation = explain(question).unwrap();
    println!("{POLICIES} policies and {} entities explained in {:?}", USERS + 500, began.elapsed());
    let near: Vec<&str> = explanation.near_misses.iter().map(|policy| policy.id.as_str()).collect();
    // Of those for group and action, all but the last of the condition holds.
    assert_eq!(near.len(), NEAR_MISSES_MAX);
    assert_eq!(near, ["p00107", "p00607", "p01107"], "{explanation}");
    assert_eq!(
        explanation.near_misses[0].suggestions[0].change,
        "context.kind were \"k107\" (it is \"none\")"
    );
    // A permit for the action that is for other groups is further away, and all of them are counted.
    assert_eq!(explanation.further_permits, POLICIES / 100 - NEAR_MISSES_MAX);
}
