//! Writes configuration values as YAML that people can read.

use super::error::BuildError;
use serde_json::Value;

/// One document and what is said above it.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) comment: Vec<String>,
    pub(super) value: Value,
}

/// A document under a comment. The same value gives the same bytes: maps keep the order in which they were made.
pub(super) fn document(file: &str, comment: &[String], value: &Value) -> Result<Vec<u8>, BuildError> {
    let mut text = commented(comment);
    text.push('\n');
    text.push_str(&body(file, value, false)?);
    Ok(text.into_bytes())
}

/// Several documents in one file, each under its own comment. A text of several lines stands as such: files inside of
/// an object are there to be read.
pub(super) fn documents(
    file: &str,
    comment: &[String],
    documents: &[Document],
) -> Result<Vec<u8>, BuildError> {
    let mut text = commented(comment);
    for document in documents {
        text.push_str("---\n");
        text.push_str(&commented(&document.comment));
        text.push_str(&body(file, &document.value, true)?);
    }
    Ok(text.into_bytes())
}

fn commented(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push('#');
        if !line.is_empty() {
            text.push(' ');
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

fn body(file: &str, value: &Value, block_scalars: bool) -> Result<String, BuildError> {
    let options = serde_saphyr::ser_options! {
        prefer_block_scalars: block_scalars,
        // A long text stays one line: a contract in base64 is nothing to read, and folding could only break it.
        folded_wrap_chars: usize::MAX,
    };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| BuildError::Yaml { file: file.to_owned(), detail: error.to_string() })
}

/// Reads all documents of a file back, for tests.
#[cfg(test)]
pub(super) fn read_all(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Reads a document back, for tests.
#[cfg(test)]
pub(super) fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}
