//! The directory of one run: the server's state, and in `dev/` what only this run needs.
//!
//! INVARIANT: everything secret is drawn anew at each start and readable by its owner alone; a directory that was
//! not asked for is removed at the end, unless its logs are needed to explain a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::generated;

/// Bytes of the handoff secret; the server and the filter expect exactly these many.
const SECRET_BYTES: usize = 32;

/// Bytes of randomness in an API key.
const KEY_BYTES: usize = 24;

/// The directory of the issuers' public keys.
const ISSUER_KEYS: &str = "issuer-keys";

/// The directory of one run.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    temporary: bool,
    probe_id: String,
}

impl Home {
    /// The given directory, created if it is missing, else a fresh one of our own.
    pub fn create(given: Option<&Path>) -> io::Result<Home> {
        // Nobody else can make a request that looks like one of ours.
        let probe_id = format!("palisade-dev-{}", random_hex::<16>()?);
        let home = match given {
            Some(root) => {
                DirBuilder::new().recursive(true).mode(0o700).create(root)?;
                Home { root: fs::canonicalize(root)?, temporary: false, probe_id }
            }
            None => {
                let root = env::temp_dir().join(format!("palisade-dev-{}", random_hex::<8>()?));
                // A directory that exists already is somebody else's, so it is an error.
                DirBuilder::new().mode(0o700).create(&root)?;
                Home { root, temporary: true, probe_id }
            }
        };
        let own = home.own();
        for directory in [&own, &home.generated(), &home.watched(), &own.join("logs"), &own.join(ISSUER_KEYS)]
        {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        Ok(home)
    }

    /// What `--state` of the server and of `palisade why` names.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the server records its decisions.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// True when the directory goes at the end.
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Leaves the directory where it is, for somebody to look into.
    pub fn keep(&mut self) {
        self.temporary = false;
    }

    /// Where the generated configuration of Envoy goes.
    pub fn generated(&self) -> PathBuf {
        self.own().join("generated")
    }

    /// The same, in the files that Envoy watches.
    pub fn watched(&self) -> PathBuf {
        self.own().join("envoy")
    }

    /// The configuration that Envoy is started with.
    pub fn envoy_configuration(&self) -> PathBuf {
        self.watched().join(generated::BOOTSTRAP_FILE)
    }

    /// The request id by which this run knows its own requests.
    pub fn probe_id(&self) -> &str {
        &self.probe_id
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.own().join("logs").join(format!("{name}.log"))
    }

    pub fn secret_file(&self) -> PathBuf {
        self.own().join("handoff-secret")
    }

    /// The digests of the keys, for the server.
    pub fn api_keys_file(&self) -> PathBuf {
        self.own().join("api-keys.json")
    }

    /// The keys themselves, for whoever wants to call.
    pub fn credentials_file(&self) -> PathBuf {
        self.own().join("credentials.json")
    }

    /// The public keys of an issuer, for the server.
    pub fn issuer_keys(&self, issuer: &str) -> PathBuf {
        self.own().join(ISSUER_KEYS).join(format!("{issuer}.json"))
    }

    fn own(&self) -> PathBuf {
        own(&self.root)
    }
}

/// Where a run keeps what only it needs, by its state directory.
fn own(root: &Path) -> PathBuf {
    root.join("dev")
}

/// The private keys of a run's issuers, by its state directory: whoever reads them can make tokens.
pub(super) fn issuers_file(root: &Path) -> PathBuf {
    own(root).join("issuers.json")
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// What callers and the filter have to show.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub handoff_secret: String,
    /// The API key of each client.
    pub keys: BTreeMap<String, String>,
}

impl Credentials {
    /// Draws fresh ones and writes the files that the server reads.
    pub fn generate(home: &Home, clients: &BTreeSet<String>) -> io::Result<Credentials> {
        let handoff_secret = random_hex::<SECRET_BYTES>()?;
        write_private(&home.secret_file(), &format!("{handoff_secret}\n"))?;
        let mut credentials = Credentials { handoff_secret, keys: BTreeMap::new() };
        credentials.issue(home, clients)?;
        credentials.write_keys(home)?;
        Ok(credentials)
    }

    /// Draws keys for those clients that have none, and writes the files anew if there are any. The keys that others
    /// hold stay good.
    pub fn issue(&mut self, home: &Home, clients: &BTreeSet<String>) -> io::Result<BTreeMap<String, String>> {
        let mut issued = BTreeMap::new();
        for client in clients.iter().filter(|client| !self.keys.contains_key(*client)) {
            // The prefix lets a person, or a scanner for leaked secrets, see what it is.
            issued.insert(client.clone(), format!("palisade-dev-{}", random_hex::<KEY_BYTES>()?));
        }
        if !issued.is_empty() {
            self.keys.extend(issued.clone());
            self.write_keys(home)?;
        }
        Ok(issued)
    }

    fn write_keys(&self, home: &Home) -> io::Result<()> {
        let digests: Vec<_> = self
            .keys
            .iter()
            .map(|(client, key)| json!({"client": client, "sha256": hex(&Sha256::digest(key.as_bytes()))}))
            .collect();
        write_private(&home.api_keys_file(), &format!("{}\n", json!({"version": 1, "keys": digests})))?;
        write_private(&home.credentials_file(), &format!("{}\n", json!(self.keys)))
    }
}

/// Writes a file that only its owner can read, and puts it in the place of one that stood there: a server that runs
/// reads the old one or the new one.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(unfinished, path)
}

pub(super) fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_of_our_own_is_private_and_goes_at_the_end() {
        let home = Home::create(None).unwrap();
        let root = home.root().to_path_buf();
        assert_eq!(mode(&root), 0o700);
        drop(home);
        assert!(!root.exists());
    }

    #[test]
    fn a_given_directory_stays_and_so_does_one_that_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let given = parent.path().join("a/b");
        drop(Home::create(Some(&given)).unwrap());
        assert!(given.join("dev/logs").is_dir());

        let mut home = Home::create(None).unwrap();
        home.keep();
        let root = home.root().to_path_buf();
        drop(home);
        assert!(root.is_dir());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn credentials_are_private_fresh_and_agree_with_the_servers_file() {
        let parent = tempfile::tempdir().unwrap();
        let home = Home::create(Some(parent.path())).unwrap();
        let clients = BTreeSet::from(["web".to_owned()]);
        let first = Credentials::generate(&home, &clients).unwrap();
        let second = Credentials::generate(&home, &clients).unwrap();
        assert_ne!(first.handoff_secret, second.handoff_secret);
        assert_ne!(first.keys, second.keys);
        assert_eq!(second.handoff_secret.len(), 2 * SECRET_BYTES);

        for file in [home.secret_file(), home.api_keys_file(), home.credentials_file()] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        let stored: Value = serde_json::from_slice(&fs::read(home.api_keys_file()).unwrap()).unwrap();
        let digest = hex(&Sha256::digest(second.keys["web"].as_bytes()));
        assert_eq!(stored, json!({"version": 1, "keys": [{"client": "web", "sha256": digest}]}));
    }
}
