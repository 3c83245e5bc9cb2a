//! The schema of both bundles as it is printed, and that validating a policy only where it must be finds what
//! validating it everywhere finds.

use super::Question;
use super::needs::Needed;
use super::policies::{self, Named};
use super::schema::Writer;
use super::{fragments, proven, validate};
use crate::bundle::{
    Bundle, ContextField, ContextPart, ListStyle, OperationContext, PolicySource, Problems, ValueKind,
};
use crate::identity::Established;
use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use palisade_core::contract::{BundleDigest, Contract, Operation, OperationClass, Service};
use palisade_core::method::Method;
use palisade_core::routes::Segment;
use palisade_core::schema::SchemaTable;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_schema_of_both_bundles_is_the_checked_in_one() {
    for (bundle, golden) in [("policies", "demo"), ("tests/bundles/second", "second")] {
        let policies = Bundle::load(&workspace().join(bundle)).unwrap().policies;
        let path = workspace().join(format!("tests/golden/schema/{golden}.cedarschema"));
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, policies.schema_text()).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            policies.schema_text(),
            expected,
            "{golden}: look at what changed, then set PALISADE_BLESS=1"
        );
        let json = policies.schema_json().unwrap();
        assert!(json.pointer("//actions").is_some_and(|actions| actions.get("read").is_some()), "{json}");
    }
}

fn field(part: ContextPart, keys: &[&str], kind: ValueKind, required: bool) -> ContextField {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    ContextField { part, keys, kind, required, list: ListStyle::default(), mask: None }
}

/// Two services whose operations have contexts that are alike, nearly alike, and not alike.
fn world() -> (Contract, Vec<OperationContext>) {
    use ContextPart::{Body, Path, Query};
    use ValueKind::{Long, String};
    let contexts: [(&str, OperationClass, Vec<ContextField>); 4] = [
        ("list", OperationClass::Read, vec![field(Query, &["limit"], Long, false)]),
        ("find", OperationClass::Read, vec![field(Query, &["limit"], String, false)]),
        ("get", OperationClass::Read, vec![field(Path, &["id"], String, true)]),
        (
            "make",
            OperationClass::Write,
            vec![field(Body, &["a", "b"], Long, true), field(Body, &["a", "c"], String, false)],
        ),
    ];
    let mut all = Vec::new();
    let services = ["one", "two"].map(|name| {
        let operations = contexts.iter().map(|(operation, class, fields)| {
            let mut fields = fields.clone();
            if name == "two" {
                // Only one of the services demands it.
                fields.iter_mut().for_each(|field| field.required = true);
            }
            all.push(OperationContext::new(fields));
            Operation::new(operation, Method::Get, *class, vec![Segment::Literal((*operation).into())])
        });
        Service {
            name: name.into(),
            hosts: vec![name.into()],
            operations: operations.collect(),
            shedding: None,
        }
    });
    let contract =
        Contract::assemble(BundleDigest([0; 32]), Vec::new(), services.into(), SchemaTable::default());
    (contract.unwrap(), all)
}

fn named(text: &str) -> Vec<Named<'_>> {
    let mut problems = Problems::default();
    let files = policies::parse([PolicySource { path: "p.cedar", text }], &mut problems);
    let named = policies::name_all(files, &mut problems);
    assert!(problems.is_empty(), "{problems}");
    named
}

/// The policies with errors, and those that can never apply: as the server finds them, and as Cedar does by itself.
fn both_ways(text: &str) -> [BTreeSet<String>; 4] {
    let (contract, contexts) = world();
    let own = fragments::OwnAttributes::read(&[], &mut Problems::default());
    let writer = Writer::new(&contract, &contexts, &own, &[]);
    let named = named(text);
    let (mut errors, mut warnings) = (Problems::default(), Problems::default());
    let mut needed = Needed::new(&contract, &contexts);
    validate::validate(&named, &mut needed, &writer, &mut errors, &mut warnings);
    let ids = |problems: &Problems| {
        let id = |text: &str| text.split('`').nth(1).map(ToOwned::to_owned);
        problems.iter().filter_map(|problem| id(&problem.message)).collect()
    };
    let (schema, _) = Schema::from_cedarschema_str(&writer.whole().text).unwrap();
    let set = PolicySet::from_policies(named.iter().map(|policy| policy.policy.clone())).unwrap();
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    [
        ids(&errors),
        result.validation_errors().map(|error| error.policy_id().to_string()).collect(),
        ids(&warnings),
        result.validation_warnings().map(|warning| warning.policy_id().to_string()).collect(),
    ]
}

#[test]
fn one_operation_stands_for_others_only_where_they_answer_alike() {
    let policies = [
        // Each of these holds for some operations of its scope and not for others.
        r#"permit (principal, action in Action::"read", resource) when { context.query.limit == 1 };"#,
        r#"permit (principal, action in Action::"read", resource) when { context.query has limit && context.query.limit > 1 };"#,
        r#"permit (principal, action in [Action::"one.list", Action::"one.find"], resource) when { context.query has limit && context.query.limit > 1 };"#,
        r#"permit (principal, action == Action::"one.list", resource) when { context.query has limit && context.query.limit > 1 };"#,
        r#"permit (principal, action == Action::"one.list", resource) when { context.query.limit > 1 };"#,
        r#"permit (principal, action == Action::"two.list", resource) when { context.query.limit > 1 };"#,
        r#"permit (principal, action, resource) when { context has body && context.body.a.b > 1 };"#,
        r#"permit (principal, action, resource) when { context has body && context.body.a.c like "x*" };"#,
        r#"permit (principal, action, resource) when { context has body && context.body.a has c && context.body.a.c like "x*" };"#,
        r#"permit (principal, action, resource) when { context has path && context.path == {id: "x"} };"#,
        r#"permit (principal, action, resource) when { {a: context}.a.request.host == "x" };"#,
        r#"permit (principal, action, resource) when { action == Action::"one.make" && context.body.a.b > 1 };"#,
        r#"permit (principal, action, resource) when { action in Action::"one" && context.query.limit == 1 };"#,
        r#"permit (principal, action, resource) when { [Action::"one.make"].contains(action) };"#,
        r#"permit (principal, action in Action::"delete", resource) when { context.nothing };"#,
        r#"permit (principal is Anonymous, action in Action::"delete", resource);"#,
        r#"permit (principal in Grup::"x", action in Action::"delete", resource);"#,
        r#"permit (principal in Service::"x", action, resource);"#,
        r#"permit (principal, action == Action::"one.nothing", resource);"#,
        r#"permit (principal, action, resource) when { action == Action::"nothing" };"#,
        r#"permit (principal, action, resource == Group::"x");"#,
        r#"permit (principal, action, resource) when { resource in [Service::"one", principal] };"#,
        r#"permit (principal, action, resource) unless { context.request.host };"#,
        r#"permit (principal, action, resource) when { if context has query then context.query has limit else context.path.id == "x" };"#,
    ];
    let text: String =
        policies.iter().enumerate().map(|(index, text)| format!("@id(\"p{index}\")\n{text}\n")).collect();
    let [found, expected, odd, expected_odd] = both_ways(&text);
    assert_eq!(found, expected);
    assert_eq!(odd, expected_odd);
    assert!((5..policies.len() - 5).contains(&found.len()), "both kinds must be there: {found:?}");
    assert!(!odd.is_empty());
}

/// A condition that may be wrong in many ways.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "context.query.limit == 1",
        "context.query has limit",
        "context has query",
        "context has body",
        "context.query.limit like \"x\"",
        "context.body.a.b > 2",
        "context.body.a has c",
        "context.body.a.c == \"x\"",
        "context.path.id == \"x\"",
        "context.path == {id: \"x\"}",
        "context.request.host == \"x\"",
        "context has workload",
        "context.workload == \"x\"",
        "action == Action::\"one.list\"",
        "action in Action::\"two\"",
        "action in [Action::\"write\", Action::\"one.get\"]",
        "principal is Client",
        "principal in Group::\"g\"",
        "resource == Service::\"one\"",
        "true",
        "false",
        "1 == 2",
    ])
    .prop_map(ToOwned::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} && {other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} || {other})")),
            inner.clone().prop_map(|one| format!("!({one})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(one, two, three)| format!("(if {one} then {two} else {three})")),
        ]
    })
}

fn policy() -> impl Strategy<Value = String> {
    let principals =
        ["principal", "principal is Client", "principal in Group::\"g\"", "principal == Client::\"c\""];
    let actions = [
        "action",
        "action == Action::\"one.list\"",
        "action in Action::\"read\"",
        "action in Action::\"two\"",
        "action in [Action::\"one.make\", Action::\"two.list\"]",
        "action in Action::\"delete\"",
    ];
    let resources = ["resource", "resource == Service::\"one\"", "resource is Service"];
    let select = |from: &[&'static str]| prop::sample::select(from.to_vec());
    (select(&principals), select(&actions), select(&resources), condition()).prop_map(
        |(principal, action, resource, when)| {
            format!("permit ({principal}, {action}, {resource}) when {{ {when} }};")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The claim on which the speed of the validation rests.
    #[test]
    fn validating_where_it_matters_finds_what_validating_everywhere_finds(
        policies in prop::collection::vec(policy(), 12)
    ) {
        let text: String =
            policies.iter().enumerate().map(|(index, text)| format!("@id(\"p{index}\")\n{text}\n")).collect();
        let [found, expected, odd, expected_odd] = both_ways(&text);
        prop_assert_eq!(found, expected, "{}", text);
        prop_assert_eq!(odd, expected_odd, "{}", text);
    }
}

/// A candidate answers a question as it was posed to the bundle in force: only one that it would have posed so itself.
#[test]
fn a_question_that_was_posed_for_somebody_or_something_else_is_posed_anew() {
    let bundle = Bundle::load(&workspace().join("policies")).unwrap();
    let callers =
        [Established::client("web"), Established::client("support-tool"), Established::by_connection(None)];
    let operations: Vec<_> = bundle.operations().collect();
    let values: Vec<Vec<_>> = operations
        .iter()
        .map(|(_, asks)| asks.fields.iter().map(|field| Some(proven::full(&field.kind))).collect())
        .collect();
    let questions: Vec<Question<'_>> = callers
        .iter()
        .flat_map(|caller| {
            operations.iter().zip(&values).map(move |((matched, asks), values)| Question {
                caller,
                matched: *matched,
                path: "/",
                host: "here",
                asks,
                values,
                conceals: false,
                shadows_at_ms: None,
            })
        })
        .collect();
    let answers: Vec<_> = questions.iter().map(|question| bundle.policies.answer(*question)).collect();
    let words: BTreeSet<_> = answers.iter().map(|(answer, ..)| format!("{answer:?}")).collect();
    assert!(words.len() > 3, "an answer to another question would be seen: {words:?}");
    for (_, _, posed) in &answers {
        for (question, (answer, ..)) in questions.iter().zip(&answers) {
            assert_eq!(bundle.policies.answer_again(*question, posed.as_ref().unwrap()), *answer);
        }
    }
    // Nor is one whose values the schema would refuse.
    let place = questions.iter().position(|question| question.asks.fields.iter().any(|field| field.required));
    let (question, (_, _, posed)) = (questions[place.unwrap()], &answers[place.unwrap()]);
    let nothing = vec![None; question.values.len()];
    let question = Question { values: &nothing, ..question };
    let refused = bundle.policies.answer_again(question, posed.as_ref().unwrap());
    assert!(matches!(refused, super::Answer::Error { .. }), "{refused:?}");
}
