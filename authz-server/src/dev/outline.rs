//! What `palisade dev` itself must know of a bundle: its services, its clients, and the header for API keys.
//!
//! The bundle is read in earnest, with every check, by `palisade build` and `palisade serve`. This reads four
//! names out of it and tolerates everything else, so that the complaint about a wrong bundle is theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// The operations of the demo's services, which is how the demo bundle is known.
const DEMO: &[(&str, &[&str])] = &[
    ("orders", &["listOrders", "createOrder", "getOrder", "deleteOrder"]),
    ("payments", &["createPayment", "getPayment", "refundPayment"]),
];

/// The names in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub services: BTreeSet<String>,
    pub clients: BTreeSet<String>,
    /// The header that carries an API key, if the bundle allows keys.
    pub api_key_header: Option<String>,
    /// Whether it holds the services and operations of the demo.
    pub is_demo: bool,
}

/// Why a bundle cannot even be outlined.
#[derive(Debug)]
pub enum OutlineError {
    NotABundle { path: PathBuf },
    Unreadable { path: PathBuf, why: String },
}

impl fmt::Display for OutlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutlineError::NotABundle { path } => write!(
                f,
                "`{}` is not a bundle: expected a directory with a file `palisade.yaml`\n  \
                 name one with `--bundle DIR`, or start inside a checkout of Palisade for the demo's",
                path.display()
            ),
            OutlineError::Unreadable { path, why } => {
                write!(f, "`{}` could not be read: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for OutlineError {}

#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    identity: Identity,
}

#[derive(Default, Deserialize)]
struct Identity {
    api_keys: Option<ApiKeys>,
}

#[derive(Deserialize)]
struct ApiKeys {
    header: String,
}

#[derive(Deserialize)]
struct Entities {
    #[serde(default)]
    clients: BTreeMap<String, IgnoredAny>,
}

impl Outline {
    pub fn read(bundle: &Path) -> Result<Outline, OutlineError> {
        let root = bundle.join("palisade.yaml");
        if !root.is_file() {
            return Err(OutlineError::NotABundle { path: bundle.to_path_buf() });
        }
        let root: Root = read_yaml(&root)?;
        let services = names_in(&bundle.join("services"), |path| path.is_dir())?;
        let mut clients = BTreeSet::new();
        for file in names_in(&bundle.join("entities"), is_yaml)? {
            let entities: Entities = read_yaml(&bundle.join("entities").join(file))?;
            clients.extend(entities.clients.into_keys());
        }
        let is_demo = DEMO.iter().all(|(service, operations)| {
            services.contains(*service)
                && operations_of(&bundle.join("services").join(service))
                    .is_some_and(|declared| operations.iter().all(|operation| declared.contains(*operation)))
        });
        let api_key_header = root.identity.api_keys.map(|keys| keys.header);
        Ok(Outline { services, clients, api_key_header, is_demo })
    }
}

fn operations_of(service: &Path) -> Option<BTreeSet<String>> {
    let openapi: Value = read_yaml(&service.join("openapi.yaml")).ok()?;
    let items = openapi.get("paths")?.as_object()?.values();
    let operations = items.filter_map(Value::as_object).flat_map(|item| item.values());
    Some(
        operations
            .filter_map(|operation| operation.get("operationId")?.as_str().map(str::to_owned))
            .collect(),
    )
}

/// The names of the entries of a directory that `wanted` holds for; none if there is no such directory.
fn names_in(directory: &Path, wanted: fn(&Path) -> bool) -> Result<BTreeSet<String>, OutlineError> {
    let unreadable = |error: std::io::Error| OutlineError::Unreadable {
        path: directory.to_path_buf(),
        why: error.to_string(),
    };
    if !directory.is_dir() {
        return Ok(BTreeSet::new());
    }
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if wanted(&entry.path()) {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T, OutlineError> {
    let unreadable = |why| OutlineError::Unreadable { path: path.to_path_buf(), why };
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::workspace;

    #[test]
    fn the_demo_bundle_is_known_as_such() {
        let outline = Outline::read(&workspace::find().unwrap().join("policies")).unwrap();
        assert!(outline.is_demo);
        assert_eq!(outline.services, ["orders".to_owned(), "payments".to_owned()].into());
        assert_eq!(outline.clients, ["support-tool".to_owned(), "web".to_owned()].into());
        assert_eq!(outline.api_key_header.as_deref(), Some("x-api-key"));
    }

    #[test]
    fn another_bundle_with_the_demos_names_is_not_taken_for_it() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("palisade.yaml"), "palisade: 1\n").unwrap();
        for service in ["orders", "payments"] {
            let directory = bundle.path().join("services").join(service);
            fs::create_dir_all(&directory).unwrap();
            let openapi = "openapi: 3.0.3\npaths:\n  /orders:\n    get:\n      operationId: listOrders\n";
            fs::write(directory.join("openapi.yaml"), openapi).unwrap();
        }
        let outline = Outline::read(bundle.path()).unwrap();
        assert!(!outline.is_demo);
        assert_eq!(outline.services.len(), 2);
        assert_eq!(outline.api_key_header, None);
    }

    #[test]
    fn a_directory_without_a_bundle_is_refused_with_the_way_out() {
        let empty = tempfile::tempdir().unwrap();
        let message = Outline::read(empty.path()).unwrap_err().to_string();
        assert!(message.contains("is not a bundle") && message.contains("--bundle DIR"), "{message}");
    }
}
