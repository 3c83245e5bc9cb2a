//! Bundles that hold, and broken ones with the report that their author reads.
//!
//! The broken ones are text: `tests/bundles/broken/*.txt`, each a few edits to the sound bundle beside them.

mod corpus;
mod mutations;

use super::Bundle;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A bundle that nothing can be said against.
fn load(directory: &Path) -> Bundle {
    let checked = Bundle::check(directory);
    assert!(checked.problems.is_empty(), "{}", checked.problems.report(false));
    checked.bundle.unwrap()
}

#[test]
fn the_bundles_that_are_shipped_hold() {
    let names = |directory: &str| {
        let bundle = load(&workspace().join(directory));
        bundle.services.into_iter().map(|service| service.name).collect::<Vec<_>>()
    };
    assert_eq!(names("policies"), ["orders", "payments"]);
    assert_eq!(names("tests/bundles/second"), ["billing", "fleet", "inbox", "telemetry"]);
    assert_eq!(names("tests/bundles/sound"), ["catalog", "loans"]);
}

#[test]
fn the_digest_follows_every_byte_that_is_read() {
    let sound = corpus::Scene::sound();
    let digest = load(sound.path()).digest;
    assert_eq!(load(corpus::Scene::sound().path()).digest, digest, "the place of the directory is no part");
    for path in sound.files() {
        let longer = corpus::Scene::sound();
        let comment = if path.ends_with(".cedar") { "//" } else { "#" };
        longer.write(&path, format!("{}{comment}\n", longer.read(&path)).as_bytes());
        assert_ne!(load(longer.path()).digest, digest, "{path}");
    }
    sound.write("NOTES.md", b"x");
    sound.write(".hidden", b"x");
    assert_eq!(load(sound.path()).digest, digest, "what is not read is no part");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = Bundle::load(Path::new("nowhere/at/all")).unwrap_err();
    assert_eq!(error.to_string(), "nowhere/at/all: there is no such directory: expected a bundle");
}
