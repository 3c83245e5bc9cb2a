//! The compiled contract: round trips, unknown versions, damaged bytes.

use super::{
    Between, BodyRule, BundleDigest, Content, Contract, ContractError, Enforcement, Form, MediaType,
    ObjectWriting, Operation, OperationClass, Parameter, Part, Priority, Properties, RateKey, RateLimit,
    ResponseMedia, ResponseRule, ResponseRules, Rule, Scalars, Service, Shadows, ShedMode, ShedScope,
    Shedding, Status, Unmatched, Writing,
};
use crate::canary;
use crate::json::Numbers;
use crate::method::Method;
use crate::routes::Segment;
use crate::schema::{Node, SchemaIndex, SchemaTable, Types};
use crate::testing::universal_test;

pub(crate) fn sample() -> Contract {
    let literal = |text: &str| Segment::Literal(text.into());
    let json = MediaType { essence: "application/json".into(), content: Content::Json { schema: None } };
    let grpc = MediaType { essence: "application/grpc".into(), content: Content::Opaque };
    let operation = |name: &str, method, class, template, body| Operation {
        body,
        ..Operation::new(name, method, class, template)
    };
    let orders = vec![literal("orders")];
    let order = vec![literal("orders"), Segment::Parameter("id".into())];
    let body = BodyRule { required: true, bytes_max: 100, numbers: Numbers::Any, media_types: vec![json] };
    let stream = BodyRule { required: false, bytes_max: 100, numbers: Numbers::Any, media_types: vec![grpc] };
    let mut socket = operation("watch", Method::Get, OperationClass::Read, vec![literal("watch")], None);
    socket.upgrade = Some("websocket".into());
    let service = Service {
        name: "orders".into(),
        hosts: vec!["orders".into(), "orders.localhost".into()],
        operations: vec![
            operation("listOrders", Method::Get, OperationClass::Read, orders.clone(), None),
            operation("createOrder", Method::Post, OperationClass::Write, orders, Some(body)),
            operation("deleteOrder", Method::Delete, OperationClass::Delete, order, None),
            operation(
                "stream",
                Method::Post,
                OperationClass::Write,
                vec![literal("pkg.Svc"), literal("Call")],
                Some(stream),
            ),
            socket,
        ],
        shedding: None,
    };
    Contract::assemble(BundleDigest([7; 32]), vec!["x-api-key".into()], vec![service], SchemaTable::default())
        .unwrap()
}

/// A contract with something of everything that there is.
pub(crate) fn rich() -> Contract {
    let text = Scalars::TEXT;
    let properties = Properties { known: Box::new([("a".into(), Scalars::INTEGER)]), others: Scalars::NONE };
    let parameter = |part, name: &str, writing| Parameter {
        part,
        name: name.into(),
        required: part == Part::Path,
        allow_empty: part == Part::Query,
        writing,
        schema: SchemaIndex(0),
    };
    let list = |between| Writing::List { items: text.with(Scalars::NULL), between };
    let object = |written| Writing::Object { properties: properties.clone(), written };
    let mut operation = Operation::new(
        "put",
        Method::Put,
        OperationClass::Write,
        vec![Segment::Literal("things".into()), Segment::Parameter("id".into())],
    );
    operation.parameters = Box::new([
        parameter(Part::Path, "id", Writing::Scalar(Scalars::NUMBER.with(Scalars::BOOLEAN))),
        parameter(Part::Query, "deep", object(ObjectWriting::Deep)),
        parameter(Part::Query, "list", list(Between::Repeated)),
        parameter(Part::Header, "x-list", list(Between::Comma)),
        parameter(Part::Cookie, "document", Writing::Json),
    ]);
    let form = Form { fields: Box::new([("a".into(), list(Between::Pipe)), ("b".into(), Writing::Json)]) };
    let form = Content::Form { form: Box::new(form), schema: SchemaIndex(1) };
    let json = Content::Json { schema: Some(SchemaIndex(1)) };
    operation.body = Some(BodyRule {
        required: false,
        bytes_max: 70_000,
        numbers: Numbers::Double,
        media_types: vec![
            MediaType { essence: "application/json".into(), content: json.clone() },
            MediaType { essence: "application/x-www-form-urlencoded".into(), content: form },
        ],
    });
    let header = parameter(Part::Header, "etag", Writing::Scalar(text));
    let media = ResponseMedia { range: "*/*".into(), content: json };
    operation.responses = Box::new(ResponseRules {
        head: Enforcement::Enforce,
        body: Enforcement::Report,
        sample: 16,
        bytes_max: 1000,
        numbers: Numbers::Any,
        declared: vec![
            (Status::Exact(200), ResponseRule { headers: vec![header], media: vec![media] }),
            (Status::Class(4), ResponseRule::default()),
            (Status::Other, ResponseRule::default()),
        ],
        never_headers: vec!["x-internal".into()],
        never_properties: vec!["secret".into()],
    });
    operation.shadows = Shadows::new(vec![(Rule::Body, 1_800_000_000_000), (Rule::Query, 1)]);
    operation.priority = Priority::Critical;
    operation.fails_open = true;
    let service = Service {
        name: "things".into(),
        hosts: vec!["things".into()],
        operations: vec![operation],
        shedding: Some(Box::new(shedding())),
    };
    let nodes = vec![Node { types: Types::STRING, ..Node::default() }, Node::default()];
    let schemas = SchemaTable { nodes, patterns: Vec::new() };
    Contract::assemble(BundleDigest([7; 32]), vec!["x-api-key".into()], vec![service], schemas).unwrap()
}

fn shedding() -> Shedding {
    let limit = RateLimit {
        name: "per-caller".into(),
        requests: 100,
        per_ms: 60_000,
        burst: 5,
        by: Box::new([RateKey::Caller, RateKey::Header("x-tenant".into())]),
        operations: Box::new(["put".into()]),
        mode: ShedMode::Enforce,
    };
    let nothing = RateLimit {
        name: "nothing".into(),
        requests: 0,
        burst: 0,
        by: Box::new([RateKey::Operation]),
        operations: Box::default(),
        mode: ShedMode::Shadow,
        ..limit.clone()
    };
    Shedding {
        mode: ShedMode::Shadow,
        scope: ShedScope::Replica,
        concurrency_max: Some(0),
        limits: Box::new([limit, nothing]),
    }
}

universal_test! {
    fn what_could_not_be_judged_by_is_not_assembled() {
        let check = |change: fn(&mut Operation), expected: &str| {
            let contract = rich();
            let mut service = contract.services()[0].clone();
            change(&mut service.operations[0]);
            let table = SchemaTable { nodes: vec![Node::default(); 2], patterns: Vec::new() };
            let error = Contract::assemble(contract.digest(), Vec::new(), vec![service], table).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(|put| put.parameters[0].schema = SchemaIndex(2), "operation `put` names schema 2, which is not there");
        check(|put| put.parameters.swap(1, 2), "a list of operation `put` is not in its order");
        check(|put| put.parameters = vec![put.parameters[0].clone(); 257].into(), "257 parameters are over the limit of 256");
        check(|put| put.responses.declared.swap(0, 1), "a list of operation `put` is not in its order");
        check(
            |put| put.parameters[3].writing = Writing::List { items: Scalars::TEXT, between: Between::Repeated },
            "parameter `x-list` of operation `put` cannot be written where it stands",
        );
        check(
            |put| put.body.as_mut().unwrap().media_types[0].content = Content::Json { schema: Some(SchemaIndex(9)) },
            "operation `put` names schema 9, which is not there",
        );
    }
}

universal_test! {
    fn a_limit_that_nobody_could_keep_to_is_not_assembled() {
        let assemble = |change: &dyn Fn(&mut [RateLimit])| {
            let contract = rich();
            let mut service = contract.services()[0].clone();
            change(&mut service.shedding.as_mut().unwrap().limits);
            let table = SchemaTable { nodes: vec![Node::default(); 2], patterns: Vec::new() };
            let headers = vec!["x-api-key".into()];
            Contract::assemble(contract.digest(), headers, vec![service], table).map_err(|error| error.to_string())
        };
        let check = |change: fn(&mut RateLimit), why: &str| {
            let error = assemble(&|limits| change(&mut limits[0])).unwrap_err();
            assert_eq!(error, format!("limit `per-caller` of service `things` {why}"));
        };
        let header = |name: &str| RateKey::Header(name.into());
        for sound in [header("x-tenant"), header("a"), RateKey::Caller] {
            assemble(&|limits| limits[0].by = Box::new([sound.clone()])).unwrap();
        }
        for name in ["", "X-Tenant", "x_tenant", "x tenant", ":path", "x-palisade-handoff", "x\0"] {
            let error = assemble(&|limits| limits[0].by = Box::new([header(name)])).unwrap_err();
            assert_eq!(error, "limit `per-caller` of service `things` counts by a header that no request can have", "{name}");
        }
        check(|limit| limit.per_ms = 0, "counts in no time");
        check(|limit| limit.per_ms = 3_600_001, "counts in more than an hour");
        check(|limit| limit.requests = 100_000_001, "lets more pass than can be counted");
        check(|limit| limit.burst = u32::MAX, "lets more pass than can be counted");
        check(|limit| limit.requests = 0, "has a burst that does not fit its rate");
        check(|limit| limit.burst = 0, "has a burst that does not fit its rate");
        check(|limit| limit.mode = ShedMode::Off, "is off, and does not belong into a compiled contract");
        check(|limit| limit.by = vec![RateKey::Caller; 5].into(), "has too many keys");
        check(|limit| limit.by = vec![RateKey::Caller; 2].into(), "has a key twice");
        check(|limit| limit.by = Box::new([RateKey::Header("x-api-key".into())]), "counts by a header that carries an identity");
        check(|limit| limit.operations = Box::new(["other".into()]), "names an operation that is not there");
        check(|limit| limit.operations = Box::new(["put".into(), "put".into()]), "names operations out of their order");
        let unnamed = assemble(&|limits| limits[0].name = "".into()).unwrap_err();
        assert_eq!(unnamed, "limit `` of service `things` has no name");
        let twice = assemble(&|limits| limits[1].name = "per-caller".into()).unwrap_err();
        assert_eq!(twice, "limit `per-caller` of service `things` is declared twice");
    }
}

universal_test! {
    fn a_service_has_at_most_32_limits() {
        let assemble = |count: usize| {
            let mut service = rich().services()[0].clone();
            let shedding = service.shedding.as_mut().unwrap();
            let limit = |at: usize| RateLimit { name: at.to_string().into(), ..shedding.limits[0].clone() };
            shedding.limits = (0..count).map(limit).collect();
            let table = SchemaTable { nodes: vec![Node::default(); 2], patterns: Vec::new() };
            Contract::assemble(BundleDigest([0; 32]), vec![], vec![service], table)
        };
        assert!(assemble(32).is_ok());
        assert_eq!(assemble(33).unwrap_err().to_string(), "33 rate limits are over the limit of 32");
    }
}

universal_test! {
    fn both_forms_are_read_back_equal() {
      for contract in [sample(), rich()] {
        let bytes = contract.encode().unwrap();
        let carrier = contract.encode_carrier().unwrap();
        for form in [&bytes[..], carrier.as_bytes()] {
            let read = Contract::decode(form).unwrap();
            assert_eq!(read.services(), contract.services());
            assert_eq!(read.digest(), contract.digest());
            assert_eq!(read.identity_headers(), contract.identity_headers());
            assert_eq!(read.encode().unwrap(), bytes);
        }
      }
    }
}

universal_test! {
    fn the_bytes_of_version_3_are_fixed() {
        let hex: String = rich().encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("fixture-v3.hex").trim_end());
    }
}

universal_test! {
    fn unknown_versions_are_refused_clearly() {
        let mut bytes = sample().encode().unwrap();
        bytes[5] = 1;
        let error = Contract::decode(&bytes).unwrap_err();
        assert_eq!(error, ContractError::UnknownVersion { found: 1 });
        assert_eq!(error.to_string(), "unknown contract version `1`: this build reads version 3; use filter, server and `palisade build` of one release");
        let error = Contract::decode(br#"{"palisade":2,"contract":""}"#).unwrap_err();
        assert_eq!(error.to_string(), "unknown version `2` of the contract's JSON carrier: this build reads version 1");
        assert_eq!(Contract::decode(b"").unwrap_err(), ContractError::NotAContract);
        assert_eq!(Contract::decode(b"PLSX\0\x01").unwrap_err(), ContractError::NotAContract);
        assert!(matches!(Contract::decode(b"{}").unwrap_err(), ContractError::Carrier { .. }));
        assert!(matches!(Contract::decode(br#"{"palisade":1,"contract":"","x":1}"#).unwrap_err(), ContractError::Carrier { .. }));
    }
}

universal_test! {
    fn cut_lengthened_or_lying_bytes_are_refused() {
        let bytes = rich().encode().unwrap();
        for end in 0..bytes.len() {
            assert!(Contract::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Contract::decode(&longer).is_err());
        // A count that promises more than the bytes hold must not cost memory.
        let mut lie = bytes;
        lie[38..42].copy_from_slice(&[0xff; 4]);
        assert!(Contract::decode(&lie).is_err());
    }
}

universal_test! {
    fn every_flipped_byte_is_refused_or_a_sound_contract() {
        let bytes = rich().encode().unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(contract) = Contract::decode(&changed) {
                    assert_eq!(contract.encode().unwrap(), changed, "byte {at}");
                }
            }
        }
    }
}

universal_test! {
    fn finds_operations_and_says_what_is_unknown() {
        let contract = sample();
        let find = |host, method, path: &'static str| {
            contract.find(host, method, path.split('/').skip(1)).map(|matched| matched.operation.name.to_string())
        };
        assert_eq!(find("ORDERS", Method::Get, "/orders"), Ok("listOrders".into()));
        assert_eq!(find("orders.localhost", Method::Delete, "/orders/7"), Ok("deleteOrder".into()));
        assert_eq!(find("orders", Method::Put, "/orders"), Err(Unmatched::Method));
        assert_eq!(find("orders", Method::Get, "/other"), Err(Unmatched::Path));
        assert_eq!(find("other", Method::Get, "/orders"), Err(Unmatched::Host));
        assert_eq!(find(canary::HOST, Method::Get, canary::PATH), Ok("head".into()), "the canary is in every contract");
    }
}

universal_test! {
    fn what_would_be_ambiguous_is_not_assembled() {
        let sample = sample();
        let service = sample.services()[0].clone();
        let assemble = |services| Contract::assemble(BundleDigest([0; 32]), vec![], services, SchemaTable::default()).unwrap_err().to_string();
        let renamed = Service { name: "other".into(), ..service.clone() };
        assert_eq!(assemble(vec![service.clone(), renamed]), "host `orders` belongs to two services");
        assert_eq!(assemble(vec![service.clone(), service.clone()]), "service `orders` is declared twice");
        let mut doubled = service.clone();
        doubled.operations.push(Operation { name: "again".into(), ..service.operations[0].clone() });
        assert_eq!(assemble(vec![doubled]), "operation `again` of service `orders` has the method and route of another operation");
        let taken = Service { hosts: vec![canary::HOST.into()], ..service };
        assert_eq!(assemble(vec![taken]), "host `canary.palisade.internal` belongs to two services");
    }
}
