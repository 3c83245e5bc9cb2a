//! Writes configuration values as YAML that people can read.

use super::error::BuildError;
use serde_json::Value;

/// A document under a comment. The same value gives the same bytes: maps keep the order in which they were made.
pub(super) fn document(file: &'static str, comment: &[String], value: &Value) -> Result<Vec<u8>, BuildError> {
    let options = serde_saphyr::ser_options! {
        // A long text stays one line: a contract in base64 is nothing to read, and folding could only break it.
        prefer_block_scalars: false,
    };
    let body = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| BuildError::Yaml { file, detail: error.to_string() })?;
    let mut text = String::new();
    for line in comment {
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&body);
    Ok(text.into_bytes())
}

/// Reads a document back, for tests.
#[cfg(test)]
pub(super) fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}
