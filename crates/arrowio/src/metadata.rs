//! Keys and values of a dataset's schema metadata.

use std::collections::BTreeMap;

use crate::{DatasetMeta, ErrorKind};

/// Prefix of the keys that hold options of the program that wrote the dataset.
const OPTION_PREFIX: &str = "option.";

/// Encodes the metadata of a dataset as the key-value pairs of its schema.
pub(crate) fn encode(meta: &DatasetMeta) -> BTreeMap<String, String> {
    let options =
        meta.options.iter().map(|(name, value)| (format!("{OPTION_PREFIX}{name}"), value.clone()));
    let own = [
        ("token_code", meta.token_code.clone()),
        ("token_version", meta.token_version.to_string()),
        ("vocab_size", meta.vocab_size.to_string()),
        ("tool", meta.tool.clone()),
    ];
    options.chain(own.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}

/// Decodes the metadata of a dataset from the key-value pairs of its schema.
///
/// # Errors
/// If a key is missing or its value is not a number where one is expected.
pub(crate) fn decode(entries: &[(String, String)]) -> Result<DatasetMeta, ErrorKind> {
    let find = |key: &str| entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let number = |key: &str| {
        let found = find(key);
        found.and_then(|v| v.parse().ok()).ok_or_else(|| {
            ErrorKind::format(format!("metadata {key}"), "a number", found.unwrap_or("no such key"))
        })
    };
    let token_code = find("token_code").ok_or_else(|| {
        ErrorKind::format("metadata token_code", "the name of a token code", "no such key")
    })?;
    let options = entries
        .iter()
        .filter_map(|(k, v)| Some((k.strip_prefix(OPTION_PREFIX)?.to_owned(), v.clone())));
    Ok(DatasetMeta {
        token_code: token_code.to_owned(),
        token_version: number("token_version")?,
        vocab_size: number("vocab_size")?,
        tool: find("tool").unwrap_or_default().to_owned(),
        options: options.collect(),
    })
}
