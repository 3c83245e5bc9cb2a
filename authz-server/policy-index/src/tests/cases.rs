//! What random worlds would not think of.

use super::world::uid;
use crate::{Caller, CallerError, Conclusion, Index, Person};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::Arc;

fn index(policies: &str, entities: Vec<Entity>) -> Index {
    let policies = PolicySet::from_str(policies).unwrap();
    Index::new(policies, &HashMap::new(), Arc::new(Entities::from_entities(entities, None).unwrap())).unwrap()
}

fn request(principal: &EntityUid) -> Request {
    let context = Context::from_pairs([("n".to_owned(), RestrictedExpression::new_long(1))]).unwrap();
    Request::new(principal.clone(), uid("Action", "read"), uid("Doc", "d"), context, None).unwrap()
}

fn ann(parents: &[&str], level: i64) -> Person {
    let parents = parents.iter().map(|group| uid("Group", group));
    let level = ("level".to_owned(), RestrictedExpression::new_long(level));
    Person::new(uid("User", "x/ann"), parents, [level]).unwrap()
}

fn decide(index: &Index, person: &Person) -> Decision {
    let caller = Caller::Brought { person, named: &[] };
    index.answer(&request(person.uid()), caller, Some(0)).unwrap().counted.decision
}

#[test]
fn only_policies_whose_scope_matches_are_candidates() {
    let others: String =
        (0..500).map(|at| format!("permit (principal == User::\"u{at}\", action, resource);")).collect();
    let index =
        index(&format!("{others} permit (principal == User::\"ann\", action, resource);"), Vec::new());
    let answer = index.answer(&request(&uid("User", "ann")), Caller::Declared, Some(0)).unwrap();
    assert_eq!((answer.counted.decision, answer.candidates), (Decision::Allow, 1));
    let answer = index.answer(&request(&uid("User", "bob")), Caller::Declared, Some(0)).unwrap();
    assert_eq!((answer.counted.decision, answer.candidates), (Decision::Deny, 0));
}

#[test]
fn a_person_with_other_groups_or_attributes_is_another_one() {
    let index = index(
        "permit (principal in Group::\"top\", action, resource) when { principal.level > 2 };",
        vec![Entity::new_no_attrs(uid("Group", "sub"), HashSet::from([uid("Group", "top")]))],
    );
    // Twice, so that the second is answered from the cache.
    for _ in 0..2 {
        assert_eq!(decide(&index, &ann(&["sub"], 3)), Decision::Allow);
        assert_eq!(decide(&index, &ann(&["sub"], 2)), Decision::Deny);
        assert_eq!(decide(&index, &ann(&[], 3)), Decision::Deny);
        assert_eq!(decide(&index, &ann(&["top"], 3)), Decision::Allow);
    }
}

#[test]
fn who_is_declared_is_who_comes_and_nobody_brings_somebody_else() {
    let policies = r#"permit (principal in Group::"g", action, resource);"#;
    let index = index(policies, vec![Entity::with_uid(uid("User", "x/ann"))]);
    let decision = |groups: &[&str]| {
        let person = ann(groups, 1);
        let caller = Caller::Brought { person: &person, named: &[] };
        index.answer(&request(person.uid()), caller, Some(0)).unwrap().counted.decision
    };
    assert_eq!(decision(&["g"]), Decision::Allow);
    assert_eq!(decision(&[]), Decision::Deny);
    let person = ann(&[], 1);
    let caller = Caller::Brought { person: &person, named: &[] };
    let another = index.answer(&request(&uid("User", "bob")), caller, Some(0));
    assert!(matches!(another, Err(CallerError::Another { .. })), "{another:?}");
}

#[test]
fn a_person_in_what_is_in_the_person_is_refused() {
    let group = Entity::new_no_attrs(uid("Group", "g"), HashSet::from([uid("User", "x/ann")]));
    let index = index("permit (principal, action, resource);", vec![group]);
    let person = ann(&["g"], 1);
    let circle =
        index.answer(&request(person.uid()), Caller::Brought { person: &person, named: &[] }, Some(0));
    assert!(matches!(circle, Err(CallerError::Entities(_))), "{circle:?}");
}

#[test]
fn a_condition_that_is_no_condition_is_told_as_cedar_tells_it() {
    let policies = "permit (principal, action, resource) when { 1 }; permit (principal, action, resource);";
    let index = index(policies, Vec::new());
    let request = request(&uid("User", "ann"));
    let answer = index.answer(&request, Caller::Declared, Some(0)).unwrap();
    let response = Authorizer::new().is_authorized(&request, index.policies(), index.entities());
    assert_eq!(answer.counted, Conclusion::from(&response));
    let words: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
    assert_eq!(answer.counted.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), words);
    assert_eq!(words.len(), 1, "{words:?}");
}

/// What a slice lacks, scopes may ask for: nothing names the action in a condition.
#[test]
fn such_a_condition_for_a_person_is_told_over_the_whole_store() {
    let action = Entity::new_no_attrs(uid("Action", "read"), HashSet::from([uid("Action", "all")]));
    let index = index("permit (principal, action in Action::\"all\", resource) when { 1 };", vec![action]);
    let person = ann(&[], 1);
    let answer =
        index.answer(&request(person.uid()), Caller::Brought { person: &person, named: &[] }, Some(0));
    assert_eq!(answer.unwrap().counted.errors.len(), 1);
}

#[test]
fn a_slice_stays_small_whatever_the_store_holds() {
    let store = (0..1500).map(|at| Entity::with_uid(uid("Group", &format!("g{at}"))));
    let policies: String = (0..1500)
        .map(|at| format!("permit (principal, action, resource) when {{ principal in Group::\"g{at}\" }};"))
        .collect();
    let index = index(&policies, store.collect());
    assert_eq!(index.slice_of(&ann(&["g7", "g8"], 1)), 3, "the person and its groups");
}

#[test]
fn a_shadow_is_asked_until_it_ends() {
    let policies = PolicySet::from_str("permit (principal, action, resource);").unwrap();
    let shadows = policies.policies().map(|policy| (policy.id().clone(), 10)).collect();
    let index = Index::new(policies, &shadows, Arc::new(Entities::empty())).unwrap();
    let shadowed = |at_ms| {
        let answer = index.answer(&request(&uid("User", "ann")), Caller::Declared, at_ms).unwrap();
        assert_eq!(answer.counted.decision, Decision::Deny);
        answer.with_shadows.map(|conclusion| conclusion.decision)
    };
    assert_eq!(shadowed(Some(9)), Some(Decision::Allow));
    assert_eq!(shadowed(Some(10)), None);
    assert_eq!(shadowed(None), None);
}
