//! What the Containerfiles copy is what the commands in them make.

use tests::binaries;
use tests::rig::BundleUnderTest;

use super::manifests;

fn containerfile(name: &str) -> String {
    let manifests = manifests(BundleUnderTest::Demo, "1.30");
    let path = format!("images/Containerfile.{name}");
    let file = manifests.files.into_iter().find(|file| file.path == path).unwrap();
    String::from_utf8(file.bytes).unwrap()
}

/// From where to where, with the context that the comment names.
fn copied(text: &str) -> Vec<(&str, &str)> {
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    copies.map(|copy| copy.split_once(' ').unwrap()).collect()
}

#[test]
fn the_filters_image_is_the_module_that_cargo_builds() {
    let text = containerfile("filter");
    // The agent takes an image of one layer with a file of this name.
    assert_eq!(copied(&text), [("palisade_filter.wasm", "./plugin.wasm")]);
    assert!(text.contains("-p palisade-filter --target wasm32-wasip1 --profile filter\n"));
    let built = binaries::filter();
    assert_eq!(built.file_name().unwrap(), "palisade_filter.wasm");
    // The context is named from the checkout; the target directory of a test run may stand elsewhere.
    assert!(built.parent().unwrap().ends_with("wasm32-wasip1/filter"));
    assert!(text.contains("target/wasm32-wasip1/filter as its context"));
}

#[test]
fn the_servers_image_is_the_one_program_and_nobodys() {
    let text = containerfile("server");
    assert_eq!(copied(&text), [("palisade", "/palisade")]);
    assert_eq!(binaries::palisade().file_name().unwrap(), "palisade");
    assert!(text.contains("\nFROM scratch\n") && text.contains("\nUSER 65532:65532\n"));
    assert!(text.ends_with("ENTRYPOINT [\"/palisade\"]\n"));
}
