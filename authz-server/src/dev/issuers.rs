//! The issuers of a run: a key of our own for each issuer of signed tokens that the bundle names, so that persons can call
//! without a login, and the server asks nobody on the network for keys.
//!
//! The server is given the public keys by `--issuer-keys`; whoever can read the run's directory can make tokens.
//!
//! INVARIANT: keys are drawn anew at each start, the private ones stand in one file that its owner alone can read, and
//! only the server of this run believes them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::home::{Home, issuers_file, random_hex, write_private};
use super::outline::Outline;
use crate::identity::Algorithm;
use crate::mint::{Mint, MintError, NotRead, Said, TokenForm, put};

/// How long a token is good for where nothing else is asked for: long enough to try something, short for one that was
/// pasted somewhere.
pub const TOKEN_LIVES_S: u64 = 60 * 60;

/// From the cheapest on. A key of RSA takes a moment to draw, and is drawn only where nothing else will do.
const PREFERRED: [Algorithm; 4] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];

/// Why there is no token.
#[derive(Debug)]
pub enum IssuersError {
    Mint {
        issuer: String,
        error: MintError,
    },
    Write(io::Error),
    /// There is no run, or one of another version.
    Read {
        path: PathBuf,
        why: String,
    },
    /// The run's bundle has no issuer of signed tokens.
    NoIssuer,
    /// It has several.
    WhichIssuer {
        known: String,
    },
    Unknown {
        issuer: String,
        known: String,
    },
    NotRead {
        issuer: String,
        not_read: NotRead,
    },
}

impl fmt::Display for IssuersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssuersError::Mint { issuer, error } => write!(f, "issuer `{issuer}`: {error}"),
            IssuersError::Write(error) => write!(f, "the keys of issuers cannot be written: {error}"),
            IssuersError::Read { path, why } => write!(
                f,
                "`{}` holds no keys of issuers: {why}\n  name the directory that a `palisade dev` of this version tells \
                 as its state, with `--state DIR` or the variable `PALISADE_STATE`",
                path.display()
            ),
            IssuersError::NoIssuer => f.write_str(
                "the bundle has no issuer of signed tokens: name one under `identity.jwt` in `palisade.yaml`",
            ),
            IssuersError::WhichIssuer { known } => {
                write!(f, "the bundle has several issuers: name one with `--issuer`, expected one of {known}")
            }
            IssuersError::Unknown { issuer, known } => write!(
                f,
                "the run has no key of an issuer `{issuer}`, expected one of {known}\n  keys are drawn when `palisade dev` \
                 starts: start it again for an issuer that was added since"
            ),
            IssuersError::NotRead { issuer, not_read: NotRead { what, key } } => write!(
                f,
                "the bundle reads {what} from tokens of `{issuer}`: name the claim under `identity.jwt.{issuer}.{key}`, or \
                 leave it out"
            ),
        }
    }
}

impl std::error::Error for IssuersError {}

/// Those of one run, by what the bundle calls them.
#[derive(Debug, Default)]
pub struct Issuers(BTreeMap<String, Issuer>);

#[derive(Debug)]
struct Issuer {
    form: TokenForm,
    mint: Mint,
}

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    form: TokenForm,
    algorithm: String,
    key_id: String,
    private_key: String,
}

impl Issuers {
    /// Draws keys and writes what the server and `palisade dev token` read.
    pub fn generate(home: &Home, outline: &Outline) -> Result<Issuers, IssuersError> {
        let mut issuers = Issuers::default();
        for (name, outlined) in &outline.issuers {
            let failed = |error| IssuersError::Mint { issuer: name.clone(), error };
            let key_id = random_hex::<8>().map_err(IssuersError::Write)?;
            let mint = Mint::draw(preferred(&outlined.algorithms), &format!("palisade-dev-{key_id}"));
            let mint = mint.map_err(failed)?;
            let set = Mint::set([&mint]);
            write_private(&home.issuer_keys(name), &format!("{set}\n")).map_err(IssuersError::Write)?;
            issuers.0.insert(name.clone(), Issuer { form: outlined.form.clone(), mint });
        }
        issuers.write(home.root())?;
        Ok(issuers)
    }

    /// Reads the keys of a run by its state directory.
    pub fn read(state: &Path) -> Result<Issuers, IssuersError> {
        let path = issuers_file(state);
        let failed = |why: String| IssuersError::Read { path: path.clone(), why };
        let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let stored: BTreeMap<String, Stored> =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let mut issuers = Issuers::default();
        for (name, Stored { form, algorithm, key_id, private_key }) in stored {
            let algorithm = Algorithm::parse(&algorithm).ok_or_else(|| failed("no algorithm".to_owned()))?;
            let private = STANDARD.decode(private_key).map_err(|error| failed(error.to_string()))?;
            let mint = Mint::read(algorithm, &key_id, private).map_err(|error| failed(error.to_string()))?;
            issuers.0.insert(name, Issuer { form, mint });
        }
        Ok(issuers)
    }

    /// Follows what the bundle now reads of tokens. The names of issuers that are new: the server was started without
    /// keys of ours for them.
    pub fn follow(&mut self, home: &Home, outline: &Outline) -> Result<Vec<String>, IssuersError> {
        let mut changed = false;
        for (name, issuer) in &mut self.0 {
            let outlined = outline.issuers.get(name).filter(|outlined| outlined.form != issuer.form);
            if let Some(outlined) = outlined {
                issuer.form = outlined.form.clone();
                changed = true;
            }
        }
        if changed {
            self.write(home.root())?;
        }
        Ok(outline.issuers.keys().filter(|name| !self.0.contains_key(*name)).cloned().collect())
    }

    fn write(&self, state: &Path) -> Result<(), IssuersError> {
        let stored = self.0.iter().map(|(name, Issuer { form, mint })| {
            let stored = Stored {
                form: form.clone(),
                algorithm: mint.algorithm().as_str().to_owned(),
                key_id: mint.key_id().to_owned(),
                private_key: STANDARD.encode(mint.private()),
            };
            (name, stored)
        });
        let stored: BTreeMap<_, _> = stored.collect();
        let text = serde_json::to_string(&stored).map_err(|error| IssuersError::Write(error.into()))?;
        write_private(&issuers_file(state), &format!("{text}\n")).map_err(IssuersError::Write)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A token of an issuer, which need not be named where there is one: what is said of a person, and beside it, or in
    /// place of it, claims by their names.
    pub fn token(
        &self,
        issuer: Option<&str>,
        said: &Said,
        (from_s, until_s): (u64, u64),
        claims: &[(String, Value)],
    ) -> Result<String, IssuersError> {
        let (name, Issuer { form, mint }) = self.find(issuer)?;
        let read = form.claims(said, from_s, until_s.saturating_sub(from_s));
        let mut token =
            read.map_err(|not_read| IssuersError::NotRead { issuer: name.to_owned(), not_read })?;
        for (claim, value) in claims {
            put(&mut token, claim, value.clone());
        }
        mint.token(&token).map_err(|error| IssuersError::Mint { issuer: name.to_owned(), error })
    }

    /// The same token by a key of the same name that nobody believes.
    pub fn forged(&self, issuer: &str, said: &Said, times_s: (u64, u64)) -> Result<String, IssuersError> {
        let (_, Issuer { form, mint }) = self.find(Some(issuer))?;
        let failed = |error| IssuersError::Mint { issuer: issuer.to_owned(), error };
        let forger = Mint::draw(mint.algorithm(), mint.key_id()).map_err(failed)?;
        let forger = Issuer { form: form.clone(), mint: forger };
        Issuers(BTreeMap::from([(issuer.to_owned(), forger)])).token(Some(issuer), said, times_s, &[])
    }

    fn find(&self, issuer: Option<&str>) -> Result<(&str, &Issuer), IssuersError> {
        let known = || self.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut all = self.0.iter().map(|(name, issuer)| (name.as_str(), issuer));
        match (issuer, all.next(), all.next()) {
            (_, None, _) => Err(IssuersError::NoIssuer),
            (None, Some(only), None) => Ok(only),
            (None, Some(_), Some(_)) => Err(IssuersError::WhichIssuer { known: known() }),
            (Some(issuer), Some(_), _) => {
                let found = self.0.get_key_value(issuer).map(|(name, issuer)| (name.as_str(), issuer));
                found.ok_or_else(|| IssuersError::Unknown { issuer: issuer.to_owned(), known: known() })
            }
        }
    }
}

/// By which of an issuer's algorithms we sign.
fn preferred(algorithms: &[Algorithm]) -> Algorithm {
    let first = || algorithms.first().copied().unwrap_or(Algorithm::EdDsa);
    PREFERRED.into_iter().find(|known| algorithms.contains(known)).unwrap_or_else(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::outline::IssuerOutline;
    use crate::dev::workspace;
    use crate::identity::{Claim, ClaimRules, IssuerSettings, KeysFrom, Tokens, TokensSettings};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;
    use sha2::{Digest as _, Sha256};
    use std::os::unix::fs::PermissionsExt as _;

    fn outline() -> Outline {
        let bundle = workspace::find().unwrap().join("policies");
        Outline::read(&bundle).unwrap_or_else(|error| panic!("{error}"))
    }

    fn form(issuer: &str) -> TokenForm {
        let form = json!({"issuer": issuer, "audience": "shop", "user": "sub", "groups": "groups", "roles": null,
            "scopes": "scope", "attributes": {}});
        serde_json::from_value(form).unwrap()
    }

    /// An issuer of each family of algorithms.
    fn families() -> Outline {
        let issuer = |name: &str, algorithms: &[Algorithm]| {
            let form = form(&format!("https://{name}.example"));
            (name.to_owned(), IssuerOutline { form, algorithms: algorithms.to_vec() })
        };
        let issuers = BTreeMap::from([
            issuer("ed", &[Algorithm::Rs256, Algorithm::EdDsa]),
            issuer("ec", &[Algorithm::Ps512, Algorithm::Es256]),
            issuer("rsa", &[Algorithm::Ps384]),
        ]);
        Outline { issuers, ..outline() }
    }

    fn alice() -> Said {
        Said { subject: "alice".to_owned(), groups: vec!["staff".to_owned()], ..Said::default() }
    }

    #[test]
    fn a_server_with_the_public_keys_believes_the_tokens() {
        let parent = tempfile::tempdir().unwrap();
        let home = Home::create(Some(parent.path())).unwrap();
        let outline = families();
        Issuers::generate(&home, &outline).unwrap();
        // As another process reads them.
        let issuers = Issuers::read(home.root()).unwrap();
        let settings = outline.issuers.iter().map(|(name, outlined)| IssuerSettings {
            name: name.clone(),
            issuer: format!("https://{name}.example"),
            audiences: vec!["shop".to_owned()],
            algorithms: outlined.algorithms.clone(),
            keys: KeysFrom::Text(fs::read_to_string(home.issuer_keys(name)).unwrap().into()),
            claims: ClaimRules { groups: Claim::parse("groups").ok(), ..ClaimRules::default() },
            leeway_s: 0,
        });
        let settings = TokensSettings { issuers: settings.collect(), ..TokensSettings::default() };
        let tokens = Tokens::begin(&settings, None).unwrap();
        for name in ["ed", "ec", "rsa"] {
            let token = issuers.token(Some(name), &alice(), (1000, 2000), &[]).unwrap();
            let user = tokens.verify(&token, 1_500_000).unwrap().user.clone();
            assert_eq!((user.name(), user.groups.contains("staff")), (format!("{name}/alice"), true));
            assert!(tokens.verify(&token, 2_500_000).is_err(), "it ends");
            let forged = issuers.forged(name, &alice(), (1000, 2000)).unwrap();
            assert!(tokens.verify(&forged, 1_500_000).is_err());
            let for_others = [("aud".to_owned(), json!("others"))];
            let other = issuers.token(Some(name), &alice(), (1000, 2000), &for_others).unwrap();
            assert!(tokens.verify(&other, 1_500_000).is_err(), "a claim that is named counts");
        }
    }

    #[test]
    fn keys_are_fresh_and_the_private_ones_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let home = Home::create(Some(parent.path())).unwrap();
        let outline = outline();
        Issuers::generate(&home, &outline).unwrap();
        let file = issuers_file(home.root());
        let first = fs::read_to_string(&file).unwrap();
        Issuers::generate(&home, &outline).unwrap();
        assert_ne!(fs::read_to_string(&file).unwrap(), first);
        for path in [file, home.issuer_keys("staff")] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let public: Value = serde_json::from_slice(&fs::read(home.issuer_keys("staff")).unwrap()).unwrap();
        let names: Vec<&String> = public["keys"][0].as_object().unwrap().keys().collect();
        assert_eq!(names, ["use", "alg", "kid", "kty", "crv", "x"]);
    }

    /// Nobody can have found a private key for a digest.
    #[test]
    fn the_key_in_the_demo_bundle_is_nobodys() {
        let path = workspace::find().unwrap().join("policies/keys/staff.json");
        let set: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let keys = set["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 1);
        let digest = Sha256::digest(keys[0]["kid"].as_str().unwrap());
        assert_eq!(keys[0]["x"], URL_SAFE_NO_PAD.encode(digest));
    }

    #[test]
    fn what_the_bundle_reads_of_tokens_is_followed() {
        let parent = tempfile::tempdir().unwrap();
        let home = Home::create(Some(parent.path())).unwrap();
        let mut outline = families();
        let mut issuers = Issuers::generate(&home, &outline).unwrap();
        assert_eq!(issuers.follow(&home, &outline).unwrap(), [""; 0]);
        let ed = outline.issuers.remove("ed").unwrap();
        outline.issuers.insert("late".to_owned(), ed);
        let changed = outline.issuers.get_mut("ec").unwrap();
        changed.form = form("https://elsewhere.example");
        assert_eq!(issuers.follow(&home, &outline).unwrap(), ["late"]);
        assert_eq!(Issuers::read(home.root()).unwrap().0["ec"].form, form("https://elsewhere.example"));
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_the_way_out() {
        let parent = tempfile::tempdir().unwrap();
        let says = |error: IssuersError, parts: &[&str]| {
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        };
        says(Issuers::read(parent.path()).unwrap_err(), &["holds no keys of issuers", "`--state DIR`"]);
        let home = Home::create(Some(parent.path())).unwrap();
        let issuers = Issuers::generate(&home, &families()).unwrap();
        let ask = |issuer, said: &Said| issuers.token(issuer, said, (0, 1), &[]).unwrap_err();
        says(ask(None, &alice()), &["several issuers", "`ec`, `ed`, `rsa`"]);
        says(ask(Some("late"), &alice()), &["no key of an issuer `late`", "start it again"]);
        let clerk = Said { roles: vec!["clerk".to_owned()], ..Said::default() };
        says(ask(Some("ed"), &clerk), &["reads no roles", "`identity.jwt.ed.claims.roles`"]);
        says(Issuers::default().find(None).unwrap_err(), &["no issuer of signed tokens"]);
    }
}
