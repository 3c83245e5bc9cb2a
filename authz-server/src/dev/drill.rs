//! A drill: takes one part out of the generated configuration, to show that `dev` notices.
//!
//! INVARIANT: a drill only ever takes away; it is written into the run's own directory and nowhere else.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;

use super::generated;
use crate::build::settings_mut;

/// What a drill goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Without {
    /// Envoy has no wasm filter.
    Filter,
    /// ext_authz does not hold the head back until the body was judged.
    Gate,
    /// Envoy starts without the secret in its environment.
    Secret,
}

/// Why a drill could not be set up.
#[derive(Debug)]
pub enum DrillError {
    Unusable { path: PathBuf, why: String },
    NothingToTake { path: PathBuf, without: Without },
}

impl fmt::Display for DrillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrillError::Unusable { path, why } => {
                write!(f, "the configuration `{}` could not be changed for the drill: {why}", path.display())
            }
            DrillError::NothingToTake { path, without } => write!(
                f,
                "the configuration `{}` has no {without:?} that the drill could take away",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DrillError {}

/// Takes `without` out of the bootstrap at `path`.
pub fn rewrite(path: &Path, without: Without) -> Result<(), DrillError> {
    let unusable = |why: String| DrillError::Unusable { path: path.to_path_buf(), why };
    if without == Without::Secret {
        return Ok(());
    }
    let mut bootstrap = generated::read(path).map_err(|error| unusable(error.to_string()))?;
    if take(&mut bootstrap, without) == 0 {
        return Err(DrillError::NothingToTake { path: path.to_path_buf(), without });
    }
    // JSON is YAML too, so the file keeps its name.
    fs::write(path, bootstrap.to_string()).map_err(|error| unusable(error.to_string()))
}

/// Takes the part out wherever it stands; returns from how many places.
fn take(value: &mut Value, without: Without) -> usize {
    let mut taken = 0;
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(filters)) = fields.get_mut("http_filters") {
                taken += take_from(filters, without);
            }
            taken + fields.values_mut().map(|field| take(field, without)).sum::<usize>()
        }
        Value::Array(items) => items.iter_mut().map(|item| take(item, without)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn take_from(filters: &mut Vec<Value>, without: Without) -> usize {
    match without {
        Without::Filter => {
            let before = filters.len();
            filters.retain(|filter| !is_of_type(filter, ".Wasm"));
            before - filters.len()
        }
        Without::Gate => filters
            .iter_mut()
            .filter(|filter| is_of_type(filter, ".ExtAuthz"))
            .filter_map(|filter| settings_mut(filter)?.as_object_mut()?.remove("with_request_body"))
            .count(),
        Without::Secret => 0,
    }
}

/// True for a filter whose type, given here or by extension discovery, ends like that.
fn is_of_type(filter: &Value, suffix: &str) -> bool {
    let ends = |name: &Value| name.as_str().is_some_and(|name| name.ends_with(suffix));
    let inline = filter.pointer("/typed_config/@type");
    let matched = filter.pointer("/typed_config/extension_config/typed_config/@type");
    let discovered = filter.pointer("/config_discovery/type_urls").and_then(Value::as_array);
    inline.is_some_and(ends)
        || matched.is_some_and(ends)
        || discovered.is_some_and(|names| names.iter().any(ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bootstrap() -> Value {
        json!({"static_resources": {"listeners": [{"filter_chains": [{"filters": [{"typed_config": {"http_filters": [
            {"name": "palisade", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"}},
            {"name": "found", "config_discovery": {"type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]}},
            {"name": "authz", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "with_request_body": {"max_request_bytes": 1}}},
            {"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
        ]}}]}]}]}})
    }

    fn after(without: Without) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envoy.yaml");
        fs::write(&path, bootstrap().to_string()).unwrap();
        rewrite(&path, without).unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn each_drill_takes_its_part_and_leaves_the_others() {
        let whole = ["\"palisade\"", "\"found\"", "\"authz\"", "with_request_body", "\"router\""];
        let check = |without, gone: &[&str]| {
            let text = after(without);
            for part in whole {
                assert_eq!(text.contains(part), !gone.contains(&part), "{without:?} {part}");
            }
        };
        check(Without::Filter, &["\"palisade\"", "\"found\""]);
        check(Without::Gate, &["with_request_body"]);
        check(Without::Secret, &[]);
    }

    #[test]
    fn a_drill_that_takes_nothing_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envoy.yaml");
        fs::write(&path, "static_resources: {}\n").unwrap();
        let error = rewrite(&path, Without::Gate).unwrap_err();
        assert!(matches!(error, DrillError::NothingToTake { .. }), "{error}");
    }
}
