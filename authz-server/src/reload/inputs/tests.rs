//! Each way in which files change is noticed, without notification too; what is read is whole or it is not read.

use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

const PALISADE: &str =
    "palisade: 1\ntrust_domains: []\nidentity: {}\nhandoff: {previous_bundle_accepted_s: 60}\n";

fn write_bundle(directory: &Path, note: &str) {
    fs::create_dir_all(directory.join("services/shop")).unwrap();
    fs::write(directory.join("palisade.yaml"), format!("{PALISADE}# {note}\n")).unwrap();
    let rules = "hosts: [shop]\nowner: x\nworkload: {namespace: n, labels: {app: x}}\n";
    fs::write(directory.join("services/shop/service.yaml"), rules).unwrap();
    let openapi = "openapi: 3.0.3\ninfo: {title: x, version: '1'}\npaths:\n  /a:\n    get:\n      operationId: getA\n      responses: {'200': {description: x}}\n";
    fs::write(directory.join("services/shop/openapi.yaml"), openapi).unwrap();
    fs::write(directory.join("a.cedar"), "@id(\"a\") permit (principal, action, resource);\n").unwrap();
}

/// A place with a bundle as a ConfigMap mounts it, a secret beside, and a watch that is blind: scans alone must do.
struct Place {
    home: TempDir,
    inputs: Inputs,
    watch: Watch,
}

impl Place {
    fn new() -> Place {
        let home = tempfile::tempdir().unwrap();
        write_bundle(&home.path().join("bundle"), "one");
        fs::write(home.path().join("secret"), "01".repeat(32)).unwrap();
        let inputs = Inputs {
            bundle: home.path().join("bundle"),
            candidate: None,
            handoff_secrets: home.path().join("secret"),
            api_keys: None,
            issuer_keys: std::collections::BTreeMap::new(),
        };
        Place { home, inputs, watch: Watch::new().unwrap() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn scan(&mut self) -> Stamp {
        self.inputs.scan(&mut self.watch)
    }

    fn content(&self) -> Content {
        match self.inputs.read_bundle(None) {
            Reading::Good(_, content) | Reading::Bad(_, content) => content,
            Reading::Same | Reading::Unsettled => panic!("nothing else writes here"),
        }
    }

    fn fault(&self) -> String {
        match self.inputs.read_bundle(None) {
            Reading::Bad(faults, _) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_change_of_a_bundle_is_seen_by_stamp_and_by_content() {
    let mut place = Place::new();
    let mut check = |what: &str, change: &dyn Fn(&Place)| {
        let (stamp, content) = (place.scan(), place.content());
        assert_eq!(place.scan(), stamp, "nothing was done");
        change(&place);
        assert_ne!(place.scan(), stamp, "{what}");
        assert_ne!(place.content(), content, "{what}");
    };
    check("written in place", &|place| write_bundle(&place.at("bundle"), "two"));
    check("an editor's rename", &|place| {
        fs::write(place.at("bundle/.palisade.yaml.new"), format!("{PALISADE}# 3\n")).unwrap();
        fs::rename(place.at("bundle/.palisade.yaml.new"), place.at("bundle/palisade.yaml")).unwrap();
    });
    check("a file more", &|place| {
        fs::write(place.at("bundle/b.cedar"), "@id(\"b\") permit (principal, action, resource);\n").unwrap();
    });
    check("a file less", &|place| fs::remove_file(place.at("bundle/b.cedar")).unwrap());
    check("a directory that nobody may list", &|place| {
        // Whoever runs this may be allowed everything, so a link that leads nowhere stands for it.
        symlink("nowhere", place.at("bundle/gone.cedar")).unwrap();
    });
    check("gone again", &|place| fs::remove_file(place.at("bundle/gone.cedar")).unwrap());
    check("the directory itself is gone", &|place| {
        fs::rename(place.at("bundle"), place.at("aside")).unwrap();
    });
    check("and comes back", &|place| fs::rename(place.at("aside"), place.at("bundle")).unwrap());
    check("another takes its place", &|place| {
        write_bundle(&place.at("other"), "other");
        fs::rename(place.at("bundle"), place.at("aside")).unwrap();
        fs::rename(place.at("other"), place.at("bundle")).unwrap();
    });
}

#[test]
fn a_config_map_is_swapped_by_its_hidden_link() {
    let mut place = Place::new();
    fs::remove_dir_all(place.at("bundle")).unwrap();
    for (folder, note) in [("bundle/..one", "one"), ("bundle/..two", "two")] {
        write_bundle(&place.at(folder), note);
    }
    symlink("..one", place.at("bundle/..data")).unwrap();
    for name in ["palisade.yaml", "services", "a.cedar"] {
        symlink(format!("..data/{name}"), place.at("bundle").join(name)).unwrap();
    }
    let (stamp, content) = (place.scan(), place.content());
    symlink("..two", place.at("bundle/..data_tmp")).unwrap();
    fs::rename(place.at("bundle/..data_tmp"), place.at("bundle/..data")).unwrap();
    assert!(place.watch.wait(true, std::time::Duration::from_secs(10)).by_files, "the kernel tells, too");
    assert_ne!(place.scan(), stamp);
    assert_ne!(place.content(), content);
}

#[test]
fn modes_are_part_of_a_stamp_and_notes_of_an_editor_are_not() {
    let mut place = Place::new();
    let stamp = place.scan();
    fs::write(place.at("bundle/.a.cedar.swp"), "x").unwrap();
    assert_eq!(place.scan(), stamp);
    fs::set_permissions(place.at("bundle/a.cedar"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(place.scan(), stamp);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let place = Place::new();
    fs::write(place.at("bundle/palisade.yaml"), format!("{PALISADE}surprise: 1\n")).unwrap();
    assert!(place.fault().starts_with("palisade.yaml:5:1: "), "{}", place.fault());
    fs::remove_file(place.at("bundle/palisade.yaml")).unwrap();
    assert!(place.fault().contains("no `palisade.yaml`"), "{}", place.fault());
    fs::remove_dir_all(place.at("bundle")).unwrap();
    assert!(place.fault().contains("there is no such directory"), "{}", place.fault());
}

#[test]
fn what_was_read_last_is_not_understood_again() {
    let place = Place::new();
    let content = place.content();
    assert!(matches!(place.inputs.read_bundle(Some(content)), Reading::Same));
    fs::write(place.at("bundle/a.cedar"), "no policy").unwrap();
    let bad = place.content();
    assert_ne!(bad, content);
    assert!(matches!(place.inputs.read_bundle(Some(bad)), Reading::Same));
}

#[test]
fn secrets_are_read_and_a_bad_file_says_what_is_wrong_and_not_what_is_in_it() {
    let place = Place::new();
    assert!(matches!(place.inputs.read_secrets(None), Reading::Good(..)));
    assert!(place.inputs.read_api_keys(None).is_none());
    let half = "5e".repeat(20);
    fs::write(place.at("secret"), &half).unwrap();
    let Reading::Bad(faults, _) = place.inputs.read_secrets(None) else { panic!("half a secret") };
    let told = format!("{faults:?}");
    assert!(told.contains("line 1 is not a secret") && !told.contains(&half), "{told}");
}
