//! Rows and datasets.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use arrowio::{
    CodecId, DatasetMeta, DatasetReader, DatasetWriter, FlowRow, FolderWriter, Tokens, WriteOptions,
};
use flowtrack::Flow;
use tokenizer::{FlowIdentity, field, word16};

/// The `field` token code in its current version.
pub const FIELD: CodecId = CodecId { name: field::NAME, version: field::VERSION };

/// The `word16` token code in its current version.
pub const WORD16: CodecId = CodecId { name: word16::NAME, version: word16::VERSION };

/// Returns the metadata of a test dataset in a token code, without options.
#[must_use]
pub fn meta(code: CodecId) -> DatasetMeta {
    let vocab_size = if code == WORD16 { word16::VOCAB_SIZE } else { field::VOCAB_SIZE };
    DatasetMeta {
        token_code: code.name.to_owned(),
        token_version: code.version,
        vocab_size: u32::try_from(vocab_size).unwrap(),
        tool: "a test".to_owned(),
        options: BTreeMap::new(),
    }
}

/// Returns a row of `field` tokens with neither identity nor summary.
#[must_use]
pub fn row(tokens: Vec<u16>) -> FlowRow {
    FlowRow { tokens: Tokens::U16(tokens), identity: FlowIdentity::default(), summary: None }
}

/// Encodes a flow in the `field` code, as a row with its identity and without a summary.
///
/// # Panics
/// If the code cannot represent the flow.
#[must_use]
pub fn encoded_row(flow: &Flow) -> FlowRow {
    let mut tokens = Vec::new();
    let identity = field::encode(flow, &mut tokens).unwrap();
    FlowRow { tokens: Tokens::U16(tokens), identity, summary: None }
}

/// Writes rows into one file in the format of `options`.
///
/// # Panics
/// If the file cannot be written.
pub fn write_file<'r>(
    path: &Path,
    rows: impl IntoIterator<Item = &'r FlowRow>,
    meta: &DatasetMeta,
    options: &WriteOptions,
) {
    let file = BufWriter::new(File::create(path).unwrap());
    let name = path.display().to_string();
    let mut writer = DatasetWriter::new(&name, file, meta, options).unwrap();
    rows.into_iter().for_each(|row| writer.write(row).unwrap());
    writer.finish().unwrap();
}

/// Writes rows of `field` tokens as files of Arrow streams, `flows-00000.arrows` and so on, into a
/// folder, which is created.
///
/// # Panics
/// If the folder cannot be written.
pub fn write_folder(path: &Path, rows: impl IntoIterator<Item = FlowRow>) {
    fs::create_dir_all(path).unwrap();
    let mut writer = FolderWriter::new(path, &meta(FIELD), &WriteOptions::default());
    rows.into_iter().for_each(|row| writer.write(&row).unwrap());
    writer.finish().unwrap();
}

/// Reads all rows of a dataset in either token code.
///
/// # Panics
/// If the dataset cannot be read to its end.
#[must_use]
pub fn read(path: &Path) -> Vec<FlowRow> {
    let reader = DatasetReader::open(path, &[FIELD, WORD16]).unwrap();
    reader.map(|row| row.unwrap()).collect()
}
