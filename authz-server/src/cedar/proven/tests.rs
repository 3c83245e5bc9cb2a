//! That nothing is taken for proven that the schema refuses, and that what the bundles have is proven.

use super::{Against, Proven};
use crate::bundle::{Bundle, ContextField, ContextPart, ListStyle, OperationContext, Problems, ValueKind};
use crate::cedar::entities::uid;
use crate::cedar::evaluate::{Told, Types, context};
use crate::cedar::fragments::OwnAttributes;
use crate::cedar::schema::Writer;
use crate::value::Value;
use cedar_policy::{Context, EntityUid, Request, Schema};
use palisade_core::contract::{BundleDigest, Contract, Operation, OperationClass, Service};
use palisade_core::method::Method;
use palisade_core::routes::{OperationIndex, Segment};
use palisade_core::schema::SchemaTable;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

const FIRST: OperationIndex = OperationIndex(0);

/// A contract with one operation, `s.op`.
fn contract() -> Contract {
    let template = vec![Segment::Literal("things".into())];
    let operation = Operation::new("op", Method::Get, OperationClass::Read, template);
    let service =
        Service { name: "s".into(), hosts: vec!["s".into()], operations: vec![operation], shedding: None };
    Contract::assemble(BundleDigest([0; 32]), Vec::new(), vec![service], SchemaTable::default()).unwrap()
}

/// The schema that is written for the operation, and what is proven by it.
struct World {
    contract: Contract,
    contexts: Vec<OperationContext>,
    types: Types,
    action: EntityUid,
    schema: String,
}

impl World {
    fn new(fields: Vec<ContextField>) -> World {
        let (contract, contexts) = (contract(), vec![OperationContext::new(fields)]);
        let own = OwnAttributes::read(&[], &mut Problems::default());
        let schema = Writer::new(&contract, &contexts, &own, &[]).whole().text;
        let types = Types::new().unwrap();
        World { action: types.action("s.op"), contract, contexts, types, schema }
    }

    /// The same with another schema.
    fn with(mut self, change: (&str, &str)) -> World {
        let changed = self.schema.replace(change.0, change.1);
        assert_ne!(changed, self.schema, "`{}` is in it", change.0);
        self.schema = changed;
        self
    }

    fn schema(&self) -> Schema {
        Schema::from_cedarschema_str(&self.schema).unwrap().0
    }

    fn proven(&self, schema: &Schema) -> Proven {
        let against = Against { schema, types: &self.types, actions: std::slice::from_ref(&self.action) };
        Proven::of(&self.contract, &self.contexts, against)
    }

    fn is_proven(&self) -> bool {
        self.proven(&self.schema()).counts() == (1, 1)
    }

    fn passes(&self, schema: &Schema, principal: EntityUid, context: Context) -> bool {
        let resource = uid(&self.types.service, "s");
        Request::new(principal, self.action.clone(), resource, context, Some(schema)).is_ok()
    }
}

fn field(part: ContextPart, keys: &[&str], kind: ValueKind, required: bool) -> ContextField {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    ContextField { part, keys, kind, required, list: ListStyle::default(), mask: None }
}

#[test]
fn every_operation_of_every_bundle_is_proven() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for bundle in ["policies", "tests/bundles/second", "benches/bundle"] {
        let bundle = Bundle::load(&workspace.join(bundle)).unwrap();
        let (operations, proven) = bundle.policies.proven.counts();
        assert_eq!((operations, proven), (bundle.operations().count(), bundle.operations().count()));
    }
}

/// Each of these schemas refuses some request that the operation may have.
#[test]
fn a_schema_that_is_not_what_it_should_be_proves_nothing() {
    let world = || {
        World::new(vec![
            field(ContextPart::Path, &["id"], ValueKind::String, true),
            field(ContextPart::Query, &["all"], ValueKind::Set(Box::new(ValueKind::Long)), false),
            field(ContextPart::Query, &["limit"], ValueKind::Long, false),
            field(ContextPart::Body, &["a", "ip"], ValueKind::Ip, true),
            field(ContextPart::Body, &["a", "price"], ValueKind::Decimal, false),
        ])
    };
    assert!(world().is_proven());
    for change in [
        // Of another type.
        ("id: String", "id: Long"),
        ("limit?: Long", "limit?: String"),
        ("all?: Set<Long>", "all?: Set<String>"),
        ("all?: Set<Long>", "all?: Long"),
        ("ip: ipaddr", "ip: String"),
        ("price?: decimal", "price?: Long"),
        ("method: String", "method: Long"),
        ("workload?: String", "workload?: Workload"),
        ("scopes?: Set<String>", "scopes?: Set<Set<String>>"),
        // Required, though it may be missing.
        ("limit?: Long", "limit: Long"),
        ("price?: decimal", "price: decimal"),
        ("workload?: String", "workload: String"),
        ("scopes?: Set<String>", "scopes: Set<String>"),
        ("path: String", "path: String, tenant: String"),
        // Not known.
        ("host: String, ", ""),
        ("price?: decimal", "cost?: decimal"),
        (", scopes?: Set<String>", ""),
        // For others.
        ("principal: [Workload, Client, User, Anonymous]", "principal: [Workload, Client, User]"),
        ("principal: [Workload, Client, User, Anonymous]", "principal: [Client, User, Anonymous]"),
        ("resource: Service", "resource: Tier"),
        ("\"s.op\"", "\"s.another\""),
        // Closed.
        ("entity Client in [Group, Role, Tier]", "entity Client enum [\"one\", \"two\"]"),
        ("entity Anonymous", "entity Anonymous enum [\"somebody\"]"),
        ("entity Service in [Tier]", "entity Service enum [\"another\"]"),
    ] {
        assert!(!world().with(change).is_proven(), "{change:?}");
    }
    for change in [("host: String", "host?: String"), ("id: String", "id?: String")] {
        assert!(world().with(change).is_proven(), "{change:?}: what is always there may be optional");
    }
}

#[test]
fn another_operation_and_other_fields_are_not_covered() {
    let fields = vec![field(ContextPart::Query, &["limit"], ValueKind::Long, false)];
    let world = World::new(fields.clone());
    let proven = world.proven(&world.schema());
    let covers = |operation, fields: &[ContextField], values: &[Option<Value>]| {
        proven.covers(operation, &OperationContext::new(fields.to_vec()), values)
    };
    assert!(covers(FIRST, &fields, &[None]) && covers(FIRST, &fields, &[Some(Value::Long(7))]));
    assert!(!covers(OperationIndex(1), &fields, &[None]), "the canary");
    assert!(!covers(OperationIndex(u32::MAX), &fields, &[None]));
    assert!(
        !covers(FIRST, &fields, &[]) && !covers(FIRST, &fields, &[None, None]) && !covers(FIRST, &[], &[])
    );
    let others = [
        field(ContextPart::Header, &["limit"], ValueKind::Long, false),
        field(ContextPart::Query, &["most"], ValueKind::Long, false),
        field(ContextPart::Query, &["limit"], ValueKind::Bool, false),
        field(ContextPart::Query, &["limit"], ValueKind::Long, true),
    ];
    assert!(others.iter().all(|other| !covers(FIRST, std::slice::from_ref(other), &[None])));
}

fn leaf() -> impl Strategy<Value = ValueKind> {
    prop_oneof![
        Just(ValueKind::String),
        Just(ValueKind::Long),
        Just(ValueKind::Bool),
        Just(ValueKind::Decimal),
        Just(ValueKind::Ip),
    ]
}

fn kind() -> impl Strategy<Value = ValueKind> {
    leaf().prop_recursive(2, 3, 1, |inner| inner.prop_map(|kind| ValueKind::Set(Box::new(kind))))
}

fn value_of(kind: &ValueKind) -> BoxedStrategy<Value> {
    match kind {
        ValueKind::String => any::<String>().prop_map(Value::String).boxed(),
        ValueKind::Long => any::<i64>().prop_map(Value::Long).boxed(),
        ValueKind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ValueKind::Decimal => {
            (any::<i32>(), 0..10_000_u32).prop_map(|(a, b)| Value::Decimal(format!("{a}.{b:04}"))).boxed()
        }
        ValueKind::Ip => any::<std::net::Ipv4Addr>().prop_map(|ip| Value::Ip(ip.to_string())).boxed(),
        ValueKind::Set(element) => {
            prop::collection::vec(value_of(element), 0..4).prop_map(Value::Set).boxed()
        }
    }
}

fn fields() -> impl Strategy<Value = Vec<ContextField>> {
    let places: Vec<(ContextPart, &[&str])> = vec![
        (ContextPart::Path, &["id"]),
        (ContextPart::Path, &["order-id"]),
        (ContextPart::Query, &["limit"]),
        (ContextPart::Query, &["in"]),
        (ContextPart::Header, &["x-tenant"]),
        (ContextPart::Body, &["a"]),
        (ContextPart::Body, &["b", "c"]),
        (ContextPart::Body, &["b", "d"]),
        (ContextPart::Body, &["e", "f", "g"]),
        (ContextPart::Body, &["e", "f", "h"]),
    ];
    let all = places.len();
    prop::sample::subsequence(places, 0..=all).prop_flat_map(|places| {
        let fields = places.into_iter().map(|(part, keys)| {
            (kind(), any::<bool>()).prop_map(move |(kind, required)| field(part, keys, kind, required))
        });
        fields.collect::<Vec<_>>()
    })
}

/// Mostly what the contract would let through.
fn asked() -> impl Strategy<Value = (Vec<ContextField>, Vec<Option<Value>>)> {
    fields().prop_flat_map(|fields| {
        let values: Vec<_> = fields
            .iter()
            .map(|field| {
                let absent = if field.required { 1 } else { 12 };
                prop_oneof![
                    40 => value_of(&field.kind).prop_map(Some),
                    absent => Just(None),
                    2 => kind().prop_flat_map(|other| value_of(&other)).prop_map(Some),
                ]
            })
            .collect();
        (Just(fields), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In both directions: nothing passes unseen that the schema refuses, and nothing is seen twice for nothing.
    #[test]
    fn a_request_is_covered_exactly_when_the_schema_takes_it(
        (fields, values) in asked(),
        (who, id) in (0..4_usize, any::<String>()),
        (method, host, path) in any::<(String, String, String)>(),
        workload in any::<Option<String>>(),
        scopes in any::<Option<BTreeSet<String>>>(),
    ) {
        let world = World::new(fields);
        let schema = world.schema();
        let proven = world.proven(&schema);
        prop_assert_eq!(proven.counts(), (1, 1), "{}", world.schema);
        let asks = &world.contexts[0];
        let told = Told {
            method: &method, host: &host, path: &path, workload: workload.as_deref(), scopes: scopes.as_ref(),
            asks, values: &values,
        };
        let Types { workload, client, user, anonymous, .. } = &world.types;
        let principal = uid([workload, client, user, anonymous][who], &id);
        let passes = world.passes(&schema, principal, context(told).unwrap());
        prop_assert_eq!(proven.covers(FIRST, asks, &values), passes);
    }
}
