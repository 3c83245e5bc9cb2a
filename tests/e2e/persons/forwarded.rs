//! A forwarded certificate is the word of whoever forwards it: believed of those that the bundle names, and of nobody else.

use palisade::ledger::Proof;
use tests::rig::{Options, Rig};

use super::{ALLOWED, Scene, Told, WEB, decision, read_orders, refused, told};

const GATEWAY: &str = "spiffe://shop.example/ns/edge/sa/gateway";

const OTHER: &str = "spiffe://shop.example/ns/shop/sa/other";

fn read_through(rig: &Rig, workload: &str, forwarded: &str) -> Told {
    let name = workload.rsplit('/').next().unwrap_or(workload);
    let identity = rig.pki().client(name, &[workload]);
    let headers = if forwarded.is_empty() {
        String::new()
    } else {
        format!("x-forwarded-client-cert: {forwarded}\r\n")
    };
    told(rig, || rig.send_as(Some(&identity), read_orders(&headers)).expect_reply())
}

/// A rig whose bundle believes this one, and the bundle, which lives as long.
fn start(believed: &str) -> (Rig, Scene) {
    let scene = Scene::new(&format!("  forwarded_client_cert:\n    from: [\"{believed}\"]\n"));
    (scene.start(Options::default().tls()), scene)
}

#[test]
fn the_gateway_speaks_for_the_workload_before_it() {
    let (rig, _scene) = start(GATEWAY);
    let denied = refused(403, "policy_denied");
    let of = |uri: &str| format!("By={GATEWAY};URI={uri}");
    assert_eq!(read_through(&rig, GATEWAY, &of(WEB)), ALLOWED);
    let allowed = decision(&rig, 1);
    assert_eq!((allowed.principal.as_str(), allowed.proof), (WEB, Proof::Mtls));
    assert_eq!(allowed.workload.as_deref(), Some(GATEWAY));
    assert_eq!(read_through(&rig, GATEWAY, &of(OTHER)), denied);
    assert_eq!(read_through(&rig, GATEWAY, ""), denied, "for itself it may do nothing");
    assert_eq!(
        read_through(&rig, GATEWAY, &format!("{},{}", of(WEB), of(OTHER))),
        denied,
        "the last one counts"
    );
    assert_eq!(read_through(&rig, GATEWAY, &format!("{},{}", of(OTHER), of(WEB))), ALLOWED);
    let invalid = refused(401, "identity_invalid");
    for unsound in ["URI=", "x", &format!("URI={WEB};URI={OTHER}"), &format!("By={OTHER};URI={WEB}")] {
        assert_eq!(read_through(&rig, GATEWAY, unsound), invalid, "{unsound}");
    }
    // From anybody else it changes nothing, sound or not.
    for claim in [of(WEB), format!("By={OTHER};URI={WEB}"), "x".to_owned()] {
        assert_eq!(read_through(&rig, OTHER, &claim), denied, "{claim}");
        assert_eq!(read_through(&rig, WEB, &claim), ALLOWED, "{claim}");
    }
    assert_eq!(read_through(&rig, WEB, &of(OTHER)), ALLOWED, "nor does it take anything away");
}

#[test]
fn where_another_one_is_believed_the_gateway_is_not() {
    let (rig, _scene) = start(OTHER);
    let claim = format!("By={GATEWAY};URI={WEB}");
    assert_eq!(read_through(&rig, GATEWAY, &claim), refused(403, "policy_denied"));
    assert_eq!(decision(&rig, 1).principal, GATEWAY);
    assert_eq!(read_through(&rig, OTHER, &format!("By={OTHER};URI={WEB}")), ALLOWED);
}
