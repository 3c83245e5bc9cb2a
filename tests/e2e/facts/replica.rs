//! One hot replica: by which refusal the proxy of a plain HTTP caller tries another one, whatever Istio's version.

use std::sync::LazyLock;

use serde_json::json;
use tests::rig::Target;

use super::ask::Ask;
use super::retries::{BEFORE, TODAY, caller};
use super::stage::{Scene, Stage};

static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("replica", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("replica", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

/// Two replicas: one whose probe refuses as it is told, and one that has none. Callers' proxies know the first one
/// alone, or both, and then go on as Istio has them: never to a replica that was tried.
fn prepare(scene: &mut Scene) {
    let hot = scene.listener("hot", |_| {});
    let cool = scene.listener("cool", |listener| {
        listener.only_router();
        listener.filters().remove(0);
    });
    scene.cluster_like("inbound", "service-orders", hot);
    scene.cluster_like("inbound-grpc", "service-payments", hot);
    scene.cluster_like("replicas", "service-orders", hot);
    let place = "/load_assignment/endpoints/0/lb_endpoints";
    let endpoints = scene.cluster("replicas").pointer_mut(place).and_then(|value| value.as_array_mut());
    let endpoints = endpoints.expect("a rendered cluster");
    let mut second = endpoints[0].clone();
    second["endpoint"]["address"]["socket_address"]["port_value"] = cool.port().into();
    endpoints.push(second);
    for name in ["inbound", "replicas"] {
        scene.cluster(name)["circuit_breakers"] = json!({ "thresholds": [{ "max_retries": 100 }] });
    }
    for (name, retry_on) in [("caller before", BEFORE), ("caller today", TODAY)] {
        scene.listener(name, |listener| caller(listener, retry_on));
    }
    for (name, retry_on) in [("both before", BEFORE), ("both today", TODAY)] {
        scene.listener(name, |listener| {
            caller(listener, retry_on);
            let route = &mut listener.route("orders")["route"];
            route["cluster"] = "replicas".into();
            let previous = json!({
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            });
            route["retry_policy"]["retry_host_predicate"] = json!([previous]);
            route["retry_policy"]["host_selection_retry_max_attempts"] = 5.into();
        });
    }
}

fn tries(stage: &Stage, ask: &Ask) -> usize {
    stage.events(&ask.tag).iter().filter(|event| event.starts_with("head ")).count()
}

#[test]
fn a_grpc_status_of_14_lets_plain_http_be_tried_again_and_the_mark_ends_it() {
    for stage in stages() {
        let cases = [
            ("caller today", "503 -1 no", 1),
            ("caller today", "503 -1 no grpc-status=14", 4),
            ("caller before", "503 -1 no grpc-status=14", 4),
            ("caller today", "503 -1 no grpc-status=8", 1),
            ("caller today", "503 -1 no grpc-status=14 x-envoy-ratelimited=true", 1),
            ("caller before", "503 -1 no grpc-status=14 x-envoy-ratelimited=true", 1),
            // So that no refusal that is to end retries may have it.
            ("caller today", "429 -1 no grpc-status=14", 4),
            ("caller today", "429 -1 no grpc-status=14 x-envoy-ratelimited=true", 1),
        ];
        for (listener, reply, expected) in cases {
            let ask = Ask::get().script(&format!("head reply {reply}"));
            let status = stage.ask(listener, &ask).status;
            assert!(reply.starts_with(&status.to_string()), "{listener}: {reply}: {status}");
            assert_eq!(tries(stage, &ask), expected, "{listener}: {reply}");
        }
    }
}

#[test]
fn what_a_hot_replica_refuses_like_that_another_one_serves() {
    for stage in stages() {
        for listener in ["both before", "both today"] {
            let mut refused = 0;
            // The proxy takes turns, so that some of them begin at the hot replica.
            for _ in 0..4 {
                let ask = Ask::get().script("head reply 503 -1 no grpc-status=14");
                assert_eq!(stage.ask(listener, &ask).status, 200, "{listener}");
                refused += tries(stage, &ask);
            }
            assert!((1..=4).contains(&refused), "{listener}: the hot replica was asked {refused} times");
        }
    }
}
