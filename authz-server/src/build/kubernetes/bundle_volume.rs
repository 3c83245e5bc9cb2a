//! The bundle as the server finds it in its pod: ConfigMaps, projected into one directory.
//!
//! A bundle that fits into one ConfigMap has one of a fixed name: Kubernetes then swaps the whole directory at once, and
//! the server takes the new bundle without a restart. Several ConfigMaps reach a pod one by one, and a directory of two
//! bundles must never be served: their names carry the digest, they cannot change, and pods are replaced instead.
//! INVARIANT: a directory in a pod holds the files of exactly one bundle.

use super::super::yaml::Document;
use super::APP;
use super::object::{insert, object, said};
use super::problem::KubernetesProblem;
use super::settings::Settings;
use crate::bundle::BundleFile;
use palisade_core::contract::BundleDigest;
use serde_json::{Map, Value, json};

/// Kubernetes takes 1 MiB in a ConfigMap, and etcd 1.5 MiB with everything around it.
const PART_BYTES_MAX: usize = 1_000_000;

/// Every node that runs a server holds all of it, and the API server with it: beyond this it is no configuration.
const BUNDLE_BYTES_MAX: usize = 8_000_000;

/// Kubernetes' own limit on a key.
const KEY_BYTES_MAX: usize = 253;

/// What an entry takes beside its key and text.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// A ConfigMap in the making, and where its files go.
#[derive(Debug, Default)]
struct Part {
    data: Map<String, Value>,
    items: Vec<Value>,
    bytes: usize,
}

/// The bundle in ConfigMaps.
#[derive(Debug)]
pub(super) struct BundleVolume {
    pub(super) config_maps: Vec<Document>,
    /// A volume of the server's pod; none where the image has the bundle.
    pub(super) volume: Option<Value>,
}

pub(super) fn bundle_volume(
    digest: BundleDigest,
    files: &[BundleFile],
    settings: &Settings,
) -> Result<BundleVolume, Vec<KubernetesProblem>> {
    if settings.bundle_in_image {
        return Ok(BundleVolume { config_maps: Vec::new(), volume: None });
    }
    let parts = parts(files)?;
    let digest = digest.to_string();
    let alone = parts.len() == 1;
    let mut config_maps = Vec::new();
    let mut sources = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        let name = match alone {
            true => format!("{APP}-bundle"),
            false => format!("{APP}-bundle-{}-{number}", digest.get(..12).unwrap_or(&digest)),
        };
        sources.push(json!({ "configMap": { "name": name, "items": part.items } }));
        config_maps.push(config_map(&name, alone, part.data, &digest, settings));
    }
    let volume = json!({ "name": "bundle", "projected": { "sources": sources } });
    Ok(BundleVolume { config_maps, volume: Some(volume) })
}

fn config_map(
    name: &str,
    alone: bool,
    data: Map<String, Value>,
    digest: &str,
    settings: &Settings,
) -> Document {
    let fields = if alone { json!({ "data": data }) } else { json!({ "immutable": true, "data": data }) };
    let mut map = object("v1", "ConfigMap", name, Some(&settings.namespace), fields);
    if let Some(metadata) = map.get_mut("metadata") {
        insert(metadata, "annotations", json!({ "palisade.internal/bundle": digest }));
    }
    let comment: &[&str] = if alone {
        &["The bundle. Applied anew, it is swapped whole in the running servers."]
    } else {
        &["A part of the bundle. It never changes: another bundle has other names, and pods that name them."]
    };
    said(comment, map)
}

fn parts(files: &[BundleFile]) -> Result<Vec<Part>, Vec<KubernetesProblem>> {
    let mut problems = Vec::new();
    let mut parts = vec![Part::default()];
    let mut all = 0_usize;
    for file in files {
        let key = key(&file.path);
        let bytes = key.len() + file.path.len() + file.text.len() + ENTRY_OVERHEAD_BYTES;
        all = all.saturating_add(bytes);
        if key.len() > KEY_BYTES_MAX {
            problems.push(KubernetesProblem::PathTooLong { path: file.path.clone() });
        }
        if bytes > PART_BYTES_MAX {
            problems.push(KubernetesProblem::FileTooLarge {
                path: file.path.clone(),
                found: file.text.len(),
                max: PART_BYTES_MAX,
            });
        }
        if parts.last().is_some_and(|part| part.bytes + bytes > PART_BYTES_MAX && part.bytes > 0) {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.items.push(json!({ "key": key, "path": file.path }));
            part.data.insert(key, file.text.as_str().into());
            part.bytes += bytes;
        }
    }
    if all > BUNDLE_BYTES_MAX {
        problems.push(KubernetesProblem::BundleTooLarge { found: all, max: BUNDLE_BYTES_MAX });
    }
    if problems.is_empty() { Ok(parts) } else { Err(problems) }
}

/// A key has no slash: every byte that it cannot have becomes an underscore and two digits, the underscore itself, too,
/// so that no two paths share one.
fn key(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b".-".contains(&byte) {
            key.push(char::from(byte));
        } else {
            key.push('_');
            key.push_str(&hex::encode([byte]));
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{BUNDLE_BYTES_MAX, KubernetesProblem, PART_BYTES_MAX, bundle_volume, key};
    use crate::build::kubernetes::tests::settings;
    use crate::bundle::BundleFile;
    use palisade_core::contract::BundleDigest;
    use std::collections::BTreeSet;

    fn file(path: &str, bytes: usize) -> BundleFile {
        BundleFile { path: path.to_owned(), text: "#".repeat(bytes) }
    }

    #[test]
    fn no_two_paths_share_a_key() {
        assert_eq!(key("services/orders/service.yaml"), "services_2forders_2fservice.yaml");
        let paths = ["a/b.cedar", "a_b.cedar", "a_2fb.cedar", "a.b.cedar", "a b.cedar", "ä.cedar"];
        assert_eq!(paths.iter().map(|path| key(path)).collect::<BTreeSet<_>>().len(), paths.len());
    }

    #[test]
    fn several_config_maps_never_change() {
        let digest = BundleDigest([7; 32]);
        let one = bundle_volume(digest, &[file("a.cedar", PART_BYTES_MAX / 2)], &settings()).unwrap();
        assert_eq!(one.config_maps[0].value["metadata"]["name"], "palisade-bundle");
        assert_eq!(one.config_maps[0].value.get("immutable"), None);
        let files = [file("a.cedar", PART_BYTES_MAX / 2), file("b.cedar", PART_BYTES_MAX / 2)];
        let two = bundle_volume(digest, &files, &settings()).unwrap();
        let names: Vec<_> =
            two.config_maps.iter().map(|map| map.value["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["palisade-bundle-070707070707-0", "palisade-bundle-070707070707-1"]);
        assert!(two.config_maps.iter().all(|map| map.value["immutable"] == true));
        let sources = two.volume.unwrap()["projected"]["sources"].as_array().unwrap().len();
        assert_eq!(sources, 2);
    }

    #[test]
    fn what_no_config_map_holds_is_refused_or_stands_in_the_image() {
        let digest = BundleDigest([7; 32]);
        let large = [file("a.cedar", PART_BYTES_MAX), file(&format!("{}.cedar", "p".repeat(250)), 1)];
        let problems = bundle_volume(digest, &large, &settings()).unwrap_err();
        assert!(matches!(problems[0], KubernetesProblem::FileTooLarge { .. }));
        assert!(matches!(problems[1], KubernetesProblem::PathTooLong { .. }));
        let many: Vec<_> =
            (0..10).map(|number| file(&format!("{number}.cedar"), BUNDLE_BYTES_MAX / 9)).collect();
        let problems = bundle_volume(digest, &many, &settings()).unwrap_err();
        assert!(problems.iter().any(|problem| matches!(problem, KubernetesProblem::BundleTooLarge { .. })));
        let mut settings = settings();
        settings.bundle_in_image = true;
        assert!(bundle_volume(digest, &large, &settings).unwrap().volume.is_none());
    }
}
