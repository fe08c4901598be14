//! Arrow types and schema of a dataset.

use arrow2::datatypes::{DataType, Field, Schema, TimeUnit};
use tokenizer::word16;

use crate::column::{COLUMNS, ColumnType};
use crate::{DatasetMeta, HOST_COLUMNS, VectorColumn, metadata};

/// Returns whether tokens of this code take 32 bits: `word16`, whose ids exceed 16 bits.
pub(super) fn is_wide(token_code: &str) -> bool {
    token_code == word16::NAME
}

/// Returns the Arrow type of a column in a dataset of `token_code`.
pub(super) fn data_type(kind: ColumnType, token_code: &str) -> DataType {
    match kind {
        ColumnType::Tokens => {
            list_of(if is_wide(token_code) { DataType::Int32 } else { DataType::UInt16 })
        }
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ColumnType::Int64 => DataType::Int64,
        ColumnType::UInt8 => DataType::UInt8,
        ColumnType::UInt16 => DataType::UInt16,
        ColumnType::UInt32 => DataType::UInt32,
        ColumnType::UInt64 => DataType::UInt64,
        ColumnType::Utf8 => DataType::Utf8,
        ColumnType::Utf8List => list_of(DataType::Utf8),
        ColumnType::UInt64List => list_of(DataType::UInt64),
    }
}

/// Returns the type of lists without nulls.
fn list_of(item: DataType) -> DataType {
    DataType::List(Box::new(Field::new("item", item, false)))
}

/// Returns the Arrow type of a column of vectors.
pub(super) fn vector_type(column: &VectorColumn) -> DataType {
    DataType::FixedSizeList(Box::new(Field::new("item", DataType::Float32, false)), column.len)
}

/// Returns the schema of a dataset, with its metadata and its columns of vectors.
pub(super) fn schema(meta: &DatasetMeta, vectors: &[VectorColumn]) -> Schema {
    let fields =
        COLUMNS.iter().map(|c| Field::new(c.name, data_type(c.kind, &meta.token_code), c.nullable));
    let vectors = vectors.iter().map(|c| Field::new(&c.name, vector_type(c), false));
    Schema { fields: fields.chain(vectors).collect(), metadata: metadata::encode(meta) }
}

/// Returns the schema of a hosts table, with the name of the program that writes it.
pub(super) fn hosts_schema(tool: &str) -> Schema {
    let fields = HOST_COLUMNS.iter().map(|c| Field::new(c.name, data_type(c.kind, ""), c.nullable));
    let metadata = [("table", "hosts"), ("tool", tool)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Schema { fields: fields.collect(), metadata: metadata.into() }
}

/// Returns the name of an Arrow type for error messages, at most 80 characters of it.
pub(super) fn type_name(data_type: &DataType) -> String {
    format!("{data_type:?}").chars().take(80).collect()
}
