//! Every name that an object refers to leads to an object, and each workload has all of its objects.

use super::super::{ADMIN_PORT, AUTHZ_PORT};
use super::{cases, documents, of_kind, rendered};
use crate::commands::Cli;
use clap::Parser as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("`{value}` is not a text"))
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn named<'v>(objects: &[&'v Value], wanted: &str) -> &'v Value {
    objects
        .iter()
        .find(|object| name(object) == wanted)
        .unwrap_or_else(|| panic!("nothing is called `{wanted}`"))
}

#[test]
fn each_workload_has_all_of_its_objects_under_its_own_selector() {
    for (directory, settings, _) in cases() {
        let (bundle, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let loader = if settings.istio.has_traffic_extension() { "TrafficExtension" } else { "WasmPlugin" };
        for service in &bundle.services {
            let labels = json!(service.workload.labels);
            let of_workload = |object: &&(String, Value)| {
                let spec = &object.1["spec"];
                object.1["metadata"]["namespace"] == service.workload.namespace.as_str()
                    && (spec["selector"]["matchLabels"] == labels
                        || spec["workloadSelector"]["labels"] == labels)
            };
            let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (file, object) in documents.iter().filter(of_workload) {
                let action = object["spec"]["action"].as_str().unwrap_or(text(&object["kind"]));
                kinds.entry(action).or_default().push(file.split('/').next().unwrap());
            }
            let expected = BTreeMap::from([
                ("CUSTOM", vec!["4-decide"]),
                ("DENY", vec!["2-closed"]),
                ("EnvoyFilter", vec!["3-filter"]),
                ("PeerAuthentication", vec!["2-closed"]),
                ("Telemetry", vec!["3-filter"]),
                (loader, vec!["3-filter"]),
            ]);
            assert_eq!(kinds, expected, "{}", service.name);
        }
    }
}

#[test]
fn the_filter_that_is_put_first_is_the_one_that_is_loaded() {
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let (kind, loader) = match settings.istio.has_traffic_extension() {
            true => ("trafficextension", "TrafficExtension"),
            false => ("wasmplugin", "WasmPlugin"),
        };
        let served: BTreeSet<String> = of_kind(&documents, loader)
            .iter()
            .map(|object| {
                format!(
                    "extensions.istio.io/{kind}/{}.{}",
                    text(&object["metadata"]["namespace"]),
                    name(object)
                )
            })
            .collect();
        let mut moved = BTreeSet::new();
        for object in of_kind(&documents, "EnvoyFilter") {
            let patches = object["spec"]["configPatches"].as_array().unwrap();
            let place = |operation: &str| {
                patches.iter().position(|patch| patch["patch"]["operation"] == operation).unwrap()
            };
            // The same instance, and taken out before it is put in: otherwise both would go.
            assert!(place("REMOVE") < place("INSERT_FIRST"));
            let filter = "/match/listener/filterChain/filter/subFilter/name";
            let removed = patches[place("REMOVE")].pointer(filter).unwrap();
            assert_eq!(removed, &patches[place("INSERT_FIRST")]["patch"]["value"]["name"]);
            moved.insert(text(removed).to_owned());
        }
        assert_eq!(moved, served);
    }
}

#[test]
fn no_merge_tries_what_a_merge_cannot() {
    fn check(path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| check(&format!("{path}/{key}"), value))
            }
            Value::Array(_) => panic!("{path}: a list is appended to, not replaced"),
            Value::Null | Value::Bool(false) => panic!("{path}: `{value}` would change nothing"),
            Value::Number(number) => {
                assert_ne!(number.as_u64(), Some(0), "{path}: zero would change nothing")
            }
            Value::String(text) => {
                assert!(!text.is_empty() && text != "0s", "{path}: empty would change nothing")
            }
            Value::Bool(true) => {}
        }
    }
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        for object in of_kind(&documents(&manifests), "EnvoyFilter") {
            let patches = object["spec"]["configPatches"].as_array().unwrap();
            let merges: Vec<_> =
                patches.iter().filter(|patch| patch["patch"]["operation"] == "MERGE").collect();
            assert_eq!(merges.len(), 3);
            merges.iter().for_each(|patch| check(text(&patch["applyTo"]), &patch["patch"]["value"]));
        }
    }
}

#[test]
fn providers_are_there_and_lead_to_the_server() {
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let values = &documents.iter().find(|(file, _)| file == "istiod/values.yaml").unwrap().1;
        let providers = values["meshConfig"]["extensionProviders"].as_array().unwrap();
        let provided: BTreeSet<&str> = providers.iter().map(|provider| text(&provider["name"])).collect();
        let mut used: BTreeSet<&str> = of_kind(&documents, "AuthorizationPolicy")
            .into_iter()
            .filter_map(|policy| policy["spec"]["provider"]["name"].as_str())
            .collect();
        used.extend(
            of_kind(&documents, "Telemetry")
                .iter()
                .map(|object| text(object.pointer("/spec/accessLogging/0/providers/0/name").unwrap())),
        );
        assert_eq!(provided, used);
        for one in &provided {
            // istiod tells decisions of two providers apart by the beginning of a name.
            assert!(!provided.iter().any(|other| other != one && other.starts_with(one)), "{one}");
        }
        let services = of_kind(&documents, "Service");
        for provider in providers {
            let (kind, settings) =
                provider.as_object().unwrap().iter().find(|(key, _)| *key != "name").unwrap();
            let mut host = text(&settings["service"]).split('.');
            let service = named(&services, host.next().unwrap());
            assert_eq!(service["metadata"]["namespace"], host.next().unwrap());
            assert_eq!(service["spec"]["ports"][0]["port"], settings["port"]);
            if kind == "envoyExtAuthzGrpc" {
                assert_eq!(
                    (&settings["failOpen"], &settings["statusOnError"]),
                    (&json!(false), &json!("403"))
                );
            }
        }
    }
}

#[test]
fn streams_are_decided_without_a_body_and_all_else_is_held() {
    let [_, (directory, settings, _)] = cases();
    let (_, manifests) = rendered(&directory, &settings);
    let documents = documents(&manifests);
    let provider = |service: &str| {
        let policies = of_kind(&documents, "AuthorizationPolicy");
        text(&named(&policies, &format!("palisade-{service}-decide"))["spec"]["provider"]["name"]).to_owned()
    };
    assert_eq!(["billing", "fleet"].map(provider), ["palisade-gated", "palisade-gated"]);
    assert_eq!(["inbox", "telemetry"].map(provider), ["palisade-streaming", "palisade-streaming"]);
    let values = &documents.iter().find(|(file, _)| file == "istiod/values.yaml").unwrap().1;
    let body = |place: usize| {
        let provider = &values["meshConfig"]["extensionProviders"][place]["envoyExtAuthzGrpc"];
        provider.get("includeRequestBodyInCheck").cloned()
    };
    assert_eq!(body(0), Some(json!({ "maxRequestBytes": 1, "allowPartialMessage": true })));
    assert_eq!(body(1), None);
    // A stream may last; an upgrade over HTTP/2 must be known.
    let filters = of_kind(&documents, "EnvoyFilter");
    let manager = |service: &str| {
        let filter = named(&filters, &format!("palisade-{service}"));
        filter.pointer("/spec/configPatches/1/patch/value/typed_config").unwrap()
    };
    assert_eq!(manager("fleet")["request_timeout"], "60s");
    assert_eq!(manager("inbox").get("request_timeout"), None);
    assert_eq!(manager("telemetry")["http2_protocol_options"]["allow_connect"], true);
    assert_eq!(manager("inbox")["http2_protocol_options"].get("allow_connect"), None);
}

#[test]
fn the_servers_pod_finds_all_that_it_names_and_its_command_line_is_one() {
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let [set] = of_kind(&documents, "StatefulSet")[..] else { panic!("one StatefulSet") };
        let spec = &set["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let mut arguments = vec!["palisade"];
        arguments.extend(container["args"].as_array().unwrap().iter().map(text));
        let Ok(Cli::Serve(_)) = Cli::try_parse_from(&arguments) else { panic!("{arguments:?}") };

        // Mounts and volumes are the same, and every path on the command line is below a mount.
        let list = |value: &Value, key: &str| -> Vec<String> {
            value.as_array().unwrap().iter().map(|item| text(&item[key]).to_owned()).collect()
        };
        let mounts: BTreeSet<_> = list(&container["volumeMounts"], "name").into_iter().collect();
        let mut volumes: BTreeSet<_> = list(&spec["volumes"], "name").into_iter().collect();
        volumes.insert(name(&set["spec"]["volumeClaimTemplates"][0]).to_owned());
        assert_eq!(mounts, volumes);
        let paths = list(&container["volumeMounts"], "mountPath");
        for path in arguments.iter().filter(|argument| argument.starts_with('/')) {
            assert!(paths.iter().any(|mount| path.starts_with(mount)), "{path}");
        }
        // A Secret is made by the commands of `apply.md`, with the key that is mounted.
        let apply = manifests.files.iter().find(|file| file.path == "apply.md").unwrap();
        let apply = std::str::from_utf8(&apply.bytes).unwrap();
        for secret in spec["volumes"].as_array().unwrap().iter().filter_map(|volume| volume.get("secret")) {
            let made = format!("generic {} -n {}", text(&secret["secretName"]), settings.namespace);
            let key = format!("--from-file={}", text(&secret["items"][0]["key"]));
            assert!(apply.lines().any(|line| line.contains(&made) && line.contains(&key)), "{made} {key}");
            let argument = format!("/{}", text(&secret["items"][0]["path"]));
            assert!(arguments.iter().any(|known| known.ends_with(&argument)), "{argument}");
        }
        let maps: Vec<_> = of_kind(&documents, "ConfigMap").into_iter().map(name).collect();
        for source in spec["volumes"][0]["projected"]["sources"].as_array().unwrap() {
            assert!(maps.contains(&text(&source["configMap"]["name"])));
        }

        let ports: BTreeMap<&str, &Value> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| (text(&port["name"]), &port["containerPort"]))
            .collect();
        assert_eq!(
            ports,
            BTreeMap::from([("admin", &json!(ADMIN_PORT)), ("grpc-authz", &json!(AUTHZ_PORT))])
        );
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(ports.contains_key(text(&container[probe]["httpGet"]["port"])));
        }
        let accounts = of_kind(&documents, "ServiceAccount");
        named(&accounts, text(&spec["serviceAccountName"]));
        let services = of_kind(&documents, "Service");
        named(&services, text(&set["spec"]["serviceName"]));

        // Whatever selects the server's pods selects these.
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        let selects = |selector: &Value| {
            selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        for (file, object) in documents.iter().filter(|(file, _)| file.starts_with("1-server/")) {
            let spec = &object["spec"];
            for selector in [
                &spec["selector"]["matchLabels"],
                &spec["workloadSelector"]["labels"],
                &spec["podSelector"]["matchLabels"],
            ] {
                assert!(selector.is_null() || selects(selector), "{file}");
            }
            if object["kind"] == "Service" {
                assert!(selects(&spec["selector"]), "{file}");
            }
            let namespace =
                object["metadata"]["namespace"].as_str().or_else(|| object["metadata"]["name"].as_str());
            assert!(object["kind"] == "Kustomization" || namespace == Some(&settings.namespace), "{file}");
        }
    }
}

#[test]
fn only_the_workloads_namespaces_reach_the_server() {
    for (directory, settings, _) in cases() {
        let (bundle, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let namespaces: BTreeSet<&str> =
            bundle.services.iter().map(|service| service.workload.namespace.as_str()).collect();
        let [policy] = of_kind(&documents, "NetworkPolicy")[..] else { panic!("one NetworkPolicy") };
        let below: BTreeSet<&str> = policy["spec"]["ingress"][0]["from"]
            .as_array()
            .unwrap()
            .iter()
            .map(|from| {
                text(from.pointer("/namespaceSelector/matchLabels/kubernetes.io~1metadata.name").unwrap())
            })
            .collect();
        assert_eq!(below, namespaces);
        let policies = of_kind(&documents, "AuthorizationPolicy");
        let source = named(&policies, "palisade").pointer("/spec/rules/0/from/0/source").unwrap();
        let expected: Vec<_> =
            namespaces.iter().map(|name| format!("{}/ns/{name}/sa/*", settings.trust_domain)).collect();
        assert_eq!(source, &json!({ "principals": expected }));
    }
}

#[test]
fn stages_list_their_files_and_the_whole_lists_the_stages() {
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        let documents = documents(&manifests);
        let mut listed = BTreeSet::new();
        for (file, object) in documents.iter().filter(|(_, object)| object["kind"] == "Kustomization") {
            let below = file.strip_suffix("kustomization.yaml").unwrap();
            listed.extend(
                object["resources"].as_array().unwrap().iter().map(|name| format!("{below}{}", text(name))),
            );
        }
        let stages = ["1-server", "2-closed", "3-filter", "4-decide"];
        let mut expected: BTreeSet<String> = stages.iter().map(|stage| (*stage).to_owned()).collect();
        let of_stage = |file: &&(String, Value)| stages.iter().any(|stage| file.0.starts_with(stage));
        let files = documents.iter().filter(of_stage).map(|(file, _)| file.clone());
        expected.extend(files.filter(|file| !file.ends_with("kustomization.yaml")));
        assert_eq!(listed, expected);
    }
}

#[test]
fn the_order_names_what_there_is() {
    for (directory, settings, _) in cases() {
        let (_, manifests) = rendered(&directory, &settings);
        let apply = manifests.files.iter().find(|file| file.path == "apply.md").unwrap();
        let apply = std::str::from_utf8(&apply.bytes).unwrap();
        assert!(!apply.contains('@'), "every placeholder has its name");
        let applied = |verb: &str| -> Vec<&str> {
            apply.lines().filter_map(|line| line.strip_prefix(verb)?.strip_prefix(" -k ")).collect()
        };
        let stages = ["1-server", "2-closed", "3-filter", "4-decide"];
        assert_eq!(applied("kubectl apply --server-side"), stages);
        assert_eq!(applied("kubectl delete"), ["4-decide", "3-filter", "2-closed"]);
        for word in apply
            .split([' ', '`', '\n'])
            .filter(|word| word.ends_with(".yaml") || word.starts_with("images/"))
        {
            assert!(manifests.files.iter().any(|file| file.path == word), "{word}");
        }
    }
}
