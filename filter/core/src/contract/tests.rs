//! The compiled contract: round trips, unknown versions, damaged bytes.

use super::{
    BodyRule, BundleDigest, Content, Contract, ContractError, MediaType, Operation, OperationClass, Service,
    Unmatched,
};
use crate::canary;
use crate::json::Numbers;
use crate::method::Method;
use crate::routes::Segment;
use crate::schema::SchemaTable;
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
    };
    Contract::assemble(BundleDigest([7; 32]), vec!["x-api-key".into()], vec![service], SchemaTable::default())
        .unwrap()
}

universal_test! {
    fn both_forms_are_read_back_equal() {
        let contract = sample();
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

universal_test! {
    fn the_bytes_of_version_2_are_fixed() {
        let hex: String = sample().encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("fixture-v2.hex").trim_end());
    }
}

universal_test! {
    fn unknown_versions_are_refused_clearly() {
        let mut bytes = sample().encode().unwrap();
        bytes[5] = 1;
        let error = Contract::decode(&bytes).unwrap_err();
        assert_eq!(error, ContractError::UnknownVersion { found: 1 });
        assert_eq!(error.to_string(), "unknown contract version `1`: this build reads version 2; use filter, server and `palisade build` of one release");
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
        let bytes = sample().encode().unwrap();
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
        let bytes = sample().encode().unwrap();
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
