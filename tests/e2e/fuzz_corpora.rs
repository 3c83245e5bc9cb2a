//! The corpora of the fuzz targets as ordinary tests, each file as it is and damaged at random; `just fuzz` lets libFuzzer
//! look for more. Full size of the damage: `PALISADE_FUZZ_DAMAGE`, so many times each file.
//!
//! Seeds in our own formats are made here: `PALISADE_BLESS=1` writes them anew when a format changes.

#[expect(unreachable_pub, reason = "a library of its own for cargo-fuzz")]
#[path = "../../filter/core/fuzz/src/lib.rs"]
mod targets;

use std::path::PathBuf;
use std::{fs, panic};

use palisade::bundle::Bundle;
use palisade_core::report::{Batch, Item, ServerId, VmId, write_message, write_reply};
use tests::binaries::workspace_dir;
use tests::dice::Dice;

fn corpus(target: &str) -> PathBuf {
    workspace_dir().join("filter/core/fuzz/corpus").join(target)
}

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let listed =
        fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("no corpus of `{target}`: {error}"));
    let mut files: Vec<_> = listed
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn every_target_bears_its_corpus_and_what_is_nearly_that() {
    let asked = std::env::var("PALISADE_FUZZ_DAMAGE").ok().and_then(|text| text.parse().ok());
    let damaged = asked.unwrap_or(300);
    for (name, target) in targets::TARGETS {
        let files = files(name);
        assert!(files.len() >= 3, "the corpus of `{name}` is small");
        for (path, bytes) in &files {
            target(bytes);
            for seed in 0..damaged {
                let bytes = Dice::new(seed).damaged(bytes);
                let held = panic::catch_unwind(|| target(&bytes)).is_ok();
                assert!(
                    held,
                    "`{name}` does not bear {} damaged by {seed}: {}",
                    path.display(),
                    bytes.escape_ascii()
                );
            }
        }
        println!("{name}: {} files, each damaged {damaged} times", files.len());
    }
}

/// A claim about what is accepted says nothing where nothing is.
#[test]
fn what_is_good_is_accepted() {
    for query in [
        "limit=5",
        "flag=true&text=abc&tags=a&tags=b&list=1,2,3",
        "deep[a]=1&deep[b]=x",
        "limit=1\nsession=ab",
    ] {
        assert!(targets::accepts_query(query.as_bytes(), b""), "{query}");
    }
    for form in ["name=tea", "name=t%C3%A9&count=2&price=1.50&flag=true&tags=a&tags=b"] {
        assert!(targets::accepts_form(form.as_bytes(), b""), "{form}");
    }
}

#[test]
fn the_seeds_are_of_the_formats_of_today() {
    let blesses = std::env::var_os("PALISADE_BLESS").is_some();
    let mut stale = Vec::new();
    for (path, bytes) in seeds() {
        let path = corpus("").join(path);
        if blesses {
            fs::write(&path, bytes).unwrap();
        } else if fs::read(&path).ok() != Some(bytes) {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "write these anew with PALISADE_BLESS=1: {stale:?}");
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let bundle =
        Bundle::load(&workspace_dir().join("policies")).unwrap_or_else(|problems| panic!("{problems}"));
    let things = Bundle::load(&workspace_dir().join("filter/core/fuzz/bundle"));
    let things = things.unwrap_or_else(|problems| panic!("{problems}"));
    let carrier = bundle.contract.encode_carrier().unwrap().into_bytes();
    let mut seeds = vec![
        ("contract/demo".to_owned(), bundle.contract.encode().unwrap()),
        ("contract/things".to_owned(), things.contract.encode().unwrap()),
        ("contract/demo-carried".to_owned(), carrier),
        ("handoff/genuine".to_owned(), targets::genuine_handoff().into_bytes()),
        ("report/answer".to_owned(), write_reply(ServerId([7; 16]))),
        ("report/batch".to_owned(), batch()),
        ("report/batch-carried".to_owned(), write_message(&batch())),
    ];
    for (of, bundle) in [("demo", &bundle), ("things", &things)] {
        let table = bundle.contract.schemas().encode().unwrap();
        for (name, document) in [
            ("order", r#"{"item":"tea","quantity":2}"#),
            ("nested", r#"{"orders":[{"id":"o-1","item":"tea","quantity":1001},{"id":"o-x"}]}"#),
        ] {
            let length = (table.len() as u32).to_be_bytes();
            let seed = [&length[..], &table, document.as_bytes()].concat();
            seeds.push((format!("schemas/{of}-{name}"), seed));
        }
    }
    seeds
}

fn batch() -> Vec<u8> {
    let batch = Batch {
        vm: VmId([3; 16]),
        bundle: palisade_core::contract::BundleDigest([4; 32]),
        acknowledged_by: ServerId([5; 16]),
        sent_at_ms: targets::NOW_MS,
        first: 12,
        items: vec![Item::Lost(vec![("json_syntax".into(), 3), ("path_dot_segment".into(), 1)])],
    };
    batch.encode(&targets::secret()).unwrap()
}
