//! `palisade dev token`: a token of an issuer of a running `palisade dev`.
//!
//! INVARIANT: the token stands on standard output and nowhere else.

use crate::commands::failed;
use crate::dev::issuers::{Issuers, TOKEN_LIVES_S};
use crate::identity::api_keys::parse_expiry;
use crate::mint::Said;
use crate::serve::service::now_ms;
use serde_json::Value;
use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print a token with which a person calls a proxy that `palisade dev` runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`palisade dev` stands in for the issuers that a bundle names under `identity.jwt`: when it starts it
draws a key for each, and its server believes that key instead of those that the bundle names. What a
token says of groups, roles, scopes and attributes goes into the claims where the bundle reads them.

  TOKEN=$(palisade dev token --state DIR --subject alice --groups support)
  curl -i -H 'host: orders' -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:10000/orders")]
pub struct Args {
    /// The directory that `palisade dev` tells as its state [default: `PALISADE_STATE`]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Whose token it is, as the bundle calls the issuer [default: the only one]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,

    /// Who the person is: `User::"NAME/SUBJECT"` of policies
    #[arg(long, value_name = "SUBJECT")]
    subject: String,

    /// The groups that it says, with commas between them
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,

    /// The roles that it says, with commas between them
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,

    /// What it is good for: `context.scopes` of policies, with commas between them
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scopes: Option<Vec<String>>,

    /// An attribute by the name that policies have for it; VALUE is JSON, else a text; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = named)]
    attributes: Vec<(String, Value)>,

    /// A claim by its name or JSON pointer, in place of what would stand there; VALUE is JSON, else a text; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = named)]
    claims: Vec<(String, Value)>,

    /// When it ends: `90d`, `2027-01-31`, `2027-01-31T12:00Z` [default: in an hour]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

pub(super) fn run(args: Args) -> ExitCode {
    match token(args, now_ms() / 1000) {
        Ok(token) => match writeln!(std::io::stdout(), "{token}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("dev token", &error),
        },
        Err(error) => failed("dev token", &error),
    }
}

fn token(args: Args, now_s: u64) -> Result<String, String> {
    let Args { state, issuer, subject, groups, roles, scopes, attributes, claims, expires } = args;
    let state = state.or_else(|| env::var_os("PALISADE_STATE").map(PathBuf::from)).ok_or(
        "which run? name the directory that `palisade dev` tells as its state: `--state DIR`, or the variable \
         `PALISADE_STATE`",
    )?;
    let until_s = match expires {
        Some(when) => parse_expiry(&when, now_s)?,
        None => now_s.saturating_add(TOKEN_LIVES_S),
    };
    let said = Said { subject, groups, roles, scopes, attributes: attributes.into_iter().collect() };
    let issuers = Issuers::read(&state).map_err(|error| error.to_string())?;
    let token = issuers.token(issuer.as_deref(), &said, (now_s, until_s), &claims);
    token.map_err(|error| error.to_string())
}

fn named(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() {
        return Err("expected NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

#[cfg(test)]
mod tests {
    use super::{Args, named, token};
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_value_is_json_or_a_text() {
        assert_eq!(named("exp=12").unwrap(), ("exp".to_owned(), json!(12)));
        assert_eq!(named("dep=sales").unwrap(), ("dep".to_owned(), json!("sales")));
        assert_eq!(named("aud=[\"a=b\"]").unwrap(), ("aud".to_owned(), json!(["a=b"])));
        for wrong in ["dep", "=sales"] {
            assert_eq!(named(wrong).unwrap_err(), "expected NAME=VALUE");
        }
    }

    #[test]
    fn a_run_that_is_none_and_an_end_that_is_over_are_refused() {
        let nowhere = tempfile::tempdir().unwrap();
        let state = nowhere.path().display().to_string();
        let ask = |more: &[&str]| {
            let words = [&["token", "--state", &state, "--subject", "alice"], more].concat();
            token(Cli::try_parse_from(words).unwrap().args, 1_800_000_000).unwrap_err()
        };
        assert!(ask(&[]).contains("holds no keys of issuers"));
        assert!(ask(&["--expires", "2020-01-31"]).contains("expected a time to come"));
        assert!(Cli::try_parse_from(["token", "--groups", "a,b"]).is_err(), "of nobody");
    }
}
