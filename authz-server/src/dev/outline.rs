//! What `palisade dev` itself must know of a bundle: its services, its clients, its issuers of tokens, and the headers for
//! credentials.
//!
//! INVARIANT: it comes from a bundle that was checked whole, so what is wrong with one is said before anything
//! else takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use palisade_core::contract::{BundleDigest, Operation, Service};

use crate::bundle::{Bundle, Problems};
use crate::identity::Algorithm;
use crate::mint::TokenForm;

/// The operations of the demo's services, which is how the demo bundle is known.
const DEMO: &[(&str, &[&str])] = &[
    ("orders", &["listOrders", "createOrder", "getOrder", "deleteOrder"]),
    ("payments", &["createPayment", "getPayment", "refundPayment"]),
];

/// The names in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub digest: BundleDigest,
    pub services: BTreeSet<String>,
    /// Those that take gRPC, which needs HTTP/2.
    pub grpc_services: BTreeSet<String>,
    pub clients: BTreeSet<String>,
    /// The header that carries an API key, if the bundle allows keys.
    pub api_key_header: Option<String>,
    /// Issuers of signed tokens, by what the bundle calls them.
    pub issuers: BTreeMap<String, IssuerOutline>,
    /// The header that carries a token, if the bundle has an issuer.
    pub token_header: Option<String>,
    /// Whether it holds the services and operations of the demo.
    pub is_demo: bool,
}

/// What must be known of an issuer to stand in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerOutline {
    pub form: TokenForm,
    /// By which its keys may sign.
    pub algorithms: Vec<Algorithm>,
}

/// Why a bundle cannot be run.
#[derive(Debug)]
pub enum OutlineError {
    NotABundle { path: PathBuf },
    Problems { path: PathBuf, problems: Problems },
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
            OutlineError::Problems { path, problems } => {
                write!(f, "the bundle `{}` is refused:", path.display())?;
                write!(f, "\n\n{}", problems.in_directory(path).report(false))
            }
        }
    }
}

impl std::error::Error for OutlineError {}

impl Outline {
    /// Reads and checks the bundle in `directory`.
    pub fn read(directory: &Path) -> Result<Outline, OutlineError> {
        if !directory.join("palisade.yaml").is_file() {
            return Err(OutlineError::NotABundle { path: directory.to_path_buf() });
        }
        Bundle::load(directory)
            .map(|bundle| Outline::of(&bundle))
            .map_err(|problems| OutlineError::Problems { path: directory.to_path_buf(), problems })
    }

    /// What `palisade build` is told of a service that listens there.
    pub fn upstream(&self, service: &str, address: SocketAddr) -> String {
        let protocol = if self.grpc_services.contains(service) { "h2c://" } else { "" };
        format!("{protocol}{address}")
    }

    fn of(bundle: &Bundle) -> Outline {
        let services = bundle.contract.services();
        Outline {
            digest: bundle.digest,
            services: bundle.services.iter().map(|service| service.name.clone()).collect(),
            grpc_services: services
                .iter()
                .filter(|service| service.operations.iter().any(Operation::takes_grpc))
                .map(|service| service.name.to_string())
                .collect(),
            clients: bundle.entities.ids("Client").map(ToOwned::to_owned).collect(),
            api_key_header: bundle.palisade.identity.api_keys.as_ref().map(|keys| keys.header.value.clone()),
            issuers: issuers(bundle),
            token_header: bundle.palisade.identity.token_header().map(ToOwned::to_owned),
            is_demo: DEMO.iter().all(|(name, operations)| {
                services.iter().any(|service| &*service.name == *name && has_operations(service, operations))
            }),
        }
    }
}

fn issuers(bundle: &Bundle) -> BTreeMap<String, IssuerOutline> {
    let mut forms = TokenForm::of(bundle);
    let settings = bundle.issuers(&BTreeMap::new(), &BTreeMap::new()).issuers.into_iter();
    let outlined = settings.filter_map(|settings| {
        let form = forms.remove(&settings.name)?;
        Some((settings.name, IssuerOutline { form, algorithms: settings.algorithms }))
    });
    outlined.collect()
}

fn has_operations(service: &Service, names: &[&str]) -> bool {
    let declares =
        |name: &str| service.operations.iter().any(|Operation { name: known, .. }| &**known == name);
    names.iter().all(|name| declares(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::workspace;
    use std::fs;

    #[test]
    fn the_demo_bundle_is_known_as_such() {
        let outline = Outline::read(&workspace::find().unwrap().join("policies"))
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(outline.is_demo);
        assert_eq!(outline.services, ["orders".to_owned(), "payments".to_owned()].into());
        assert_eq!(outline.clients, ["support-tool".to_owned(), "web".to_owned()].into());
        assert_eq!(outline.api_key_header.as_deref(), Some("x-api-key"));
        assert_eq!(outline.token_header.as_deref(), Some("authorization"));
        assert_eq!(outline.issuers.keys().collect::<Vec<_>>(), ["staff"]);
        assert_eq!(outline.issuers["staff"].algorithms, [Algorithm::EdDsa]);
    }

    #[test]
    fn a_service_that_takes_grpc_is_told_apart() {
        let second = workspace::find().unwrap().join("tests/bundles/second");
        let outline = Outline::read(&second).unwrap_or_else(|error| panic!("{error}"));
        assert!(!outline.is_demo);
        assert_eq!(outline.grpc_services, ["inbox".to_owned()].into());
        assert!(outline.services.is_superset(&outline.grpc_services));
    }

    #[test]
    fn another_bundle_with_the_demos_names_is_not_taken_for_it() {
        let bundle = tempfile::tempdir().unwrap();
        let palisade =
            "palisade: 1\ntrust_domains: []\nidentity: {}\nhandoff: {previous_bundle_accepted_s: 60}\n";
        fs::write(bundle.path().join("palisade.yaml"), palisade).unwrap();
        for service in ["orders", "payments"] {
            let directory = bundle.path().join("services").join(service);
            fs::create_dir_all(&directory).unwrap();
            let rules =
                format!("hosts: [{service}]\nowner: x\nworkload: {{namespace: n, labels: {{app: x}}}}\n");
            fs::write(directory.join("service.yaml"), rules).unwrap();
            let openapi = "openapi: 3.0.3\ninfo: {title: x, version: '1'}\npaths:\n  /orders:\n    get:\n      \
                           operationId: listOrders\n      responses: {'200': {description: x}}\n";
            fs::write(directory.join("openapi.yaml"), openapi).unwrap();
        }
        let outline = Outline::read(bundle.path()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!outline.is_demo);
        assert_eq!(outline.services.len(), 2);
        assert_eq!((outline.api_key_header, outline.token_header), (None, None));
        assert!(outline.issuers.is_empty());
    }

    #[test]
    fn a_directory_without_a_bundle_is_refused_with_the_way_out() {
        let empty = tempfile::tempdir().unwrap();
        let message = Outline::read(empty.path()).unwrap_err().to_string();
        assert!(message.contains("is not a bundle") && message.contains("--bundle DIR"), "{message}");
    }

    #[test]
    fn a_bundle_with_a_mistake_is_refused_with_its_place() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("palisade.yaml"), "palisade: 1\nsurprise: 2\n").unwrap();
        let message = Outline::read(bundle.path()).unwrap_err().to_string();
        assert!(message.contains("palisade.yaml:2:1") && message.contains("surprise"), "{message}");
    }
}
