//! Persons through workloads: a policy can require both, and a service can have it that its callers are proven in one way.

use palisade::ledger::Proof;
use palisade::mint::Mint;
use tests::rig::{Options, Rig, Target};

use super::{
    ALLOWED, Scene, Told, WEB, ask, bearer, claims, decision, read_orders, read_payment, refused, token, told,
};

fn ask_through(rig: &Rig, workload: &str, request: &str) -> Told {
    let name = workload.rsplit('/').next().unwrap_or(workload);
    let identity = rig.pki().client(name, &[workload]);
    told(rig, || rig.send_as(Some(&identity), request).expect_reply())
}

#[test]
fn a_person_needs_the_workload_and_the_workload_the_person() {
    Target::ALL.into_iter().for_each(check);
}

fn check(target: Target) {
    let mint = Mint::new("a").expect("make a key");
    let scene = Scene::with_mint(&mint);
    let rig = scene.start_as(target, Options::default().tls());
    let cashier = read_payment(&bearer(&token(&mint, &claims("alice", &["cashiers"]))));
    let other = read_payment(&bearer(&token(&mint, &claims("alice", &["staff"]))));
    assert_eq!(ask_through(&rig, WEB, &cashier), ALLOWED);
    let allowed = decision(&rig, 1);
    assert_eq!((allowed.principal.as_str(), allowed.proof), ("corp/alice", Proof::Jwt));
    assert_eq!(allowed.workload.as_deref(), Some(WEB));
    assert_eq!(allowed.policies, ["cashiers-by-web"]);

    let denied = refused(403, "policy_denied");
    assert_eq!(ask_through(&rig, "spiffe://shop.example/ns/shop/sa/other", &cashier), denied);
    assert_eq!(decision(&rig, 2).principal, "corp/alice");
    assert_eq!(ask_through(&rig, WEB, &other), denied, "another group");
    assert_eq!(ask_through(&rig, WEB, &read_payment("")), denied, "the workload alone");
    assert_eq!(ask_through(&rig, WEB, &cashier), ALLOWED);
}

#[test]
fn a_service_for_workloads_alone_takes_no_token_and_no_key() {
    let mint = Mint::new("a").expect("make a key");
    let scene = Scene::with_mint(&mint);
    scene.edit("services/payments/service.yaml", "owner:", "identity: [mtls]\nowner:");
    // Whoever may read orders may read payments, so that what refuses is nothing but the way.
    scene.write("all.cedar", "@id(\"all-read\") permit (principal, action in Action::\"read\", resource);\n");
    let rig = scene.start(Options::default().tls());
    let person = bearer(&token(&mint, &claims("alice", &["staff"])));
    let key = format!("x-api-key: {}\r\n", rig.api_key("support-tool"));
    for credential in [&person, &key] {
        assert_eq!(ask(&rig, &read_orders(credential)), ALLOWED, "{credential}");
        assert_eq!(ask(&rig, &read_payment(credential)), refused(401, "identity_not_accepted"));
    }
    assert_eq!(ask_through(&rig, WEB, &read_payment(&person)), refused(401, "identity_not_accepted"));
    assert_eq!(ask_through(&rig, WEB, &read_payment("")), ALLOWED);
}
