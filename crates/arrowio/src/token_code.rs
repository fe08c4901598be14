//! Token code of a dataset whose metadata name none.
//!
//! Programs that filter a dataset copy its columns, and many of them no metadata. The first token
//! of a flow tells its code: the two codes share none there.

use tokenizer::{field, word16};

use crate::{DatasetMeta, ErrorKind, Tokens};

/// Name and version of a token code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecId {
    /// Name of the code: `field` or `word16`.
    pub name: &'static str,
    /// Version of the code's vocabulary.
    pub version: u32,
}

/// The code of the header fields, in its current version.
pub(crate) const FIELD: CodecId = CodecId { name: field::NAME, version: field::VERSION };
/// The code of the header fields in version 1, which is decoded and no longer written.
pub const FIELD_1: CodecId = CodecId { name: field::NAME, version: 1 };
/// First token of a flow of version 1.
const BOS_1: i64 = 1;
/// The code of tcpflowgen.
const WORD16: CodecId = CodecId { name: word16::NAME, version: word16::VERSION };

/// Source of the token code of a dataset without metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenCodeSource {
    /// The option `--token-code` of the program.
    Option,
    /// The first token of a flow in the file.
    Tokens,
}

impl TokenCodeSource {
    /// Returns the line for the user.
    pub(crate) fn notice(self, CodecId { name, version }: CodecId) -> String {
        let by = match self {
            TokenCodeSource::Option => "--token-code says",
            TokenCodeSource::Tokens => "its tokens show (--token-code names another)",
        };
        format!("the metadata name no token code: read as {name} version {version}, as {by}")
    }
}

/// Returns the token code in which a flow begins with this token.
pub(crate) fn told_by(first: i64) -> Option<CodecId> {
    let is_class = (i64::from(word16::COMPLETE)..=i64::from(word16::FREE)).contains(&first);
    match first {
        _ if is_class => Some(WORD16),
        _ if first == i64::from(field::BOS) => Some(FIELD),
        BOS_1 => Some(FIELD_1),
        _ => None,
    }
}

/// Returns whether a dataset is in version 1 of the code of the header fields.
pub(crate) fn is_version_1(meta: &DatasetMeta) -> bool {
    meta.token_code == FIELD_1.name && meta.token_version == FIELD_1.version
}

/// Replaces the tokens of a flow of version 1 by today's.
pub(crate) fn translate(tokens: &mut Tokens) {
    if let Tokens::U16(tokens) = tokens {
        field::from_version_1(tokens);
    }
}

/// Returns the error for a dataset whose tokens tell no code.
pub(crate) fn not_told() -> ErrorKind {
    let expected = "the name of a token code, or flows that begin as those of a code do";
    let found = "no such key, and other tokens (--token-code names the code)";
    ErrorKind::format("metadata token_code", expected, found)
}

/// Returns the metadata of a dataset in a code, as far as the code gives them.
pub(crate) fn meta_of(CodecId { name, version }: CodecId) -> DatasetMeta {
    let vocab_size = if name == word16::NAME { word16::VOCAB_SIZE } else { field::VOCAB_SIZE };
    DatasetMeta {
        token_code: name.to_owned(),
        token_version: version,
        vocab_size: vocab_size as u32,
        tool: String::new(),
        options: Default::default(),
    }
}

/// Returns the metadata of a dataset of tcpflowgen, which writes none.
pub(crate) fn meta_of_tcpflowgen() -> DatasetMeta {
    meta_of(WORD16)
}
