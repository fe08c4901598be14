//! Schema of an Arrow IPC stream: names, types and dictionaries of its columns.

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;
use arrow2::datatypes::{DataType, TimeUnit};

use super::error::{Result, flatbuffer_error};
use crate::ErrorKind;

/// Key-value metadata of a schema.
pub(super) type KeyValues = Vec<(String, String)>;

/// Maximum nesting of a type; a dataset's schema has 1.
const MAX_DEPTH: usize = 16;
/// Maximum number of fields in a schema, nested ones included; a dataset's schema has 26.
const MAX_FIELDS: usize = 10_000;

/// One column of the schema.
pub(super) struct IpcField {
    pub(super) name: String,
    pub(super) field_type: FieldType,
    pub(super) dictionary: Option<DictionaryEncoding>,
}

/// Dictionary of a column, and the integers that index it.
#[derive(Clone, Copy)]
pub(super) struct DictionaryEncoding {
    pub(super) id: i64,
    pub(super) index: IntType,
}

/// Width and signedness of integers.
#[derive(Clone, Copy)]
pub(super) struct IntType {
    /// Width in bits: 8, 16, 32 or 64.
    pub(super) bits: i32,
    pub(super) is_signed: bool,
}

/// Arrow type of a column, as far as this crate decodes it.
pub(super) enum FieldType {
    Null,
    Int(IntType),
    Time(DataType),
    Text {
        is_large: bool,
    },
    List {
        is_large: bool,
        child: Box<FieldType>,
    },
    /// A type that no column of a dataset has. The numbers of its field nodes and buffers tell how
    /// to skip it.
    Other {
        name: &'static str,
        nodes: usize,
        buffers: usize,
    },
}

/// Reads the fields and metadata of a schema message.
pub(super) fn read_schema(message: &[u8]) -> Result<(Vec<IpcField>, KeyValues)> {
    let header =
        fb::MessageRef::read_as_root(message).and_then(|m| m.header()).map_err(flatbuffer_error)?;
    let Some(fb::MessageHeaderRef::Schema(schema)) = header else {
        return Err(ErrorKind::format("first message", "a schema", "another one"));
    };
    if schema.endianness().map_err(flatbuffer_error)? != fb::Endianness::Little {
        return Err(ErrorKind::format("endianness", "little", "big"));
    }
    let mut metadata = Vec::new();
    for pair in schema.custom_metadata().map_err(flatbuffer_error)?.into_iter().flatten() {
        let pair = pair.map_err(flatbuffer_error)?;
        let key = pair.key().map_err(flatbuffer_error)?;
        let value = pair.value().map_err(flatbuffer_error)?;
        metadata.extend(key.zip(value).map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let mut field_count = 0;
    let fields = schema.fields().map_err(flatbuffer_error)?.into_iter().flatten();
    let fields = fields
        .map(|field| IpcField::new(field.map_err(flatbuffer_error)?, &mut field_count))
        .collect::<Result<_>>()?;
    Ok((fields, metadata))
}

impl IpcField {
    fn new(field: fb::FieldRef<'_>, field_count: &mut usize) -> Result<IpcField> {
        let name = field.name().map_err(flatbuffer_error)?.unwrap_or_default().to_owned();
        let dictionary = match field.dictionary().map_err(flatbuffer_error)? {
            None => None,
            Some(encoding) => {
                // `DictionaryEncoding.indexType` in Schema.fbs: int32 if it is absent.
                let index = encoding.index_type().map_err(flatbuffer_error)?;
                let index = index.map(int_type).transpose()?;
                let index = index.unwrap_or(IntType { bits: 32, is_signed: true });
                let id = encoding.id().map_err(flatbuffer_error)?;
                Some(DictionaryEncoding { id, index })
            }
        };
        let field_type = FieldType::new(field, 0, field_count)
            .map_err(|e| e.within(&format!("column {name}")))?;
        Ok(IpcField { name, field_type, dictionary })
    }
}

fn int_type(int: fb::IntRef<'_>) -> Result<IntType> {
    let bits = int.bit_width().map_err(flatbuffer_error)?;
    let is_signed = int.is_signed().map_err(flatbuffer_error)?;
    match bits {
        8 | 16 | 32 | 64 => Ok(IntType { bits, is_signed }),
        _ => Err(ErrorKind::format("integer", "8, 16, 32 or 64 bits", bits.to_string())),
    }
}

fn time_unit(unit: fb::TimeUnit) -> TimeUnit {
    match unit {
        fb::TimeUnit::Second => TimeUnit::Second,
        fb::TimeUnit::Millisecond => TimeUnit::Millisecond,
        fb::TimeUnit::Microsecond => TimeUnit::Microsecond,
        fb::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

impl FieldType {
    fn new(field: fb::FieldRef<'_>, depth: usize, field_count: &mut usize) -> Result<FieldType> {
        *field_count += 1;
        if depth > MAX_DEPTH || *field_count > MAX_FIELDS {
            let expected = format!("at most {MAX_FIELDS} fields, nested {MAX_DEPTH} deep");
            return Err(ErrorKind::format("type", expected, "more"));
        }
        let mut children = Vec::new();
        for child in field.children().map_err(flatbuffer_error)?.into_iter().flatten() {
            let child = child.map_err(flatbuffer_error)?;
            let child_type = FieldType::new(child, depth + 1, field_count)?;
            // A dictionary-encoded child has the buffers of its indices, whatever its type is.
            let is_dictionary = child.dictionary().map_err(flatbuffer_error)?.is_some();
            children.push(if is_dictionary {
                FieldType::other("a dictionary", 2, &[])
            } else {
                child_type
            });
        }
        let field_type = field
            .type_()
            .map_err(unsupported_type)?
            .ok_or_else(|| ErrorKind::format("type", "one", "none"))?;
        FieldType::with_children(field_type, children)
    }

    fn with_children(
        field_type: fb::TypeRef<'_>,
        mut children: Vec<FieldType>,
    ) -> Result<FieldType> {
        use fb::TypeRef as T;
        Ok(match field_type {
            T::Null(_) => FieldType::Null,
            T::Int(i) => FieldType::Int(int_type(i)?),
            T::Timestamp(t) => {
                let unit = time_unit(t.unit().map_err(flatbuffer_error)?);
                FieldType::Time(DataType::Timestamp(unit, None))
            }
            T::Duration(d) => {
                let unit = time_unit(d.unit().map_err(flatbuffer_error)?);
                FieldType::Time(DataType::Duration(unit))
            }
            T::Utf8(_) => FieldType::Text { is_large: false },
            T::LargeUtf8(_) => FieldType::Text { is_large: true },
            T::List(_) | T::LargeList(_) => match (children.pop(), children.is_empty()) {
                (Some(child), true) => {
                    let is_large = matches!(field_type, T::LargeList(_));
                    FieldType::List { is_large, child: Box::new(child) }
                }
                _ => return Err(ErrorKind::format("list", "one child", "another number")),
            },
            T::Binary(_) => FieldType::other("binary", 3, &children),
            T::LargeBinary(_) => FieldType::other("large binary", 3, &children),
            T::FixedSizeList(_) => FieldType::other("fixed-size list", 1, &children),
            T::Struct(_) => FieldType::other("struct", 1, &children),
            T::Map(_) => FieldType::other("map", 2, &children),
            T::Union(u) => {
                let is_dense = u.mode().map_err(flatbuffer_error)? == fb::UnionMode::Dense;
                FieldType::other("union", 1 + usize::from(is_dense), &children)
            }
            T::Bool(_) => FieldType::other("bool", 2, &children),
            T::FloatingPoint(_) => FieldType::other("floating point", 2, &children),
            _ => FieldType::other("date, time, decimal or binary", 2, &children),
        })
    }

    fn other(name: &'static str, own_buffers: usize, children: &[FieldType]) -> FieldType {
        let (nodes, buffers) = children.iter().fold((1, own_buffers), |(nodes, buffers), child| {
            let (child_nodes, child_buffers) = child.nodes_and_buffers();
            (nodes + child_nodes, buffers + child_buffers)
        });
        FieldType::Other { name, nodes, buffers }
    }

    /// Returns the numbers of field nodes and buffers that a column of this type has in a record
    /// batch, its children's included.
    pub(super) fn nodes_and_buffers(&self) -> (usize, usize) {
        match self {
            FieldType::Null => (1, 0),
            FieldType::Int(_) | FieldType::Time(_) => (1, 2),
            FieldType::Text { .. } => (1, 3),
            FieldType::List { child, .. } => {
                let (nodes, buffers) = child.nodes_and_buffers();
                (1 + nodes, 2 + buffers)
            }
            FieldType::Other { nodes, buffers, .. } => (*nodes, *buffers),
        }
    }

    /// Returns the name of the type for error messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            FieldType::Null => "null",
            FieldType::Int(_) => "integers",
            FieldType::Time(_) => "times",
            FieldType::Text { .. } => "text",
            FieldType::List { .. } => "lists",
            FieldType::Other { name, .. } => name,
        }
    }
}

/// Names a type that the Arrow format got after version 1.0, by its number in the union `Type` of
/// `Schema.fbs`.
fn unsupported_type(error: fb::planus::Error) -> ErrorKind {
    use fb::planus::errors::ErrorKind::UnknownUnionTag;
    let name = match error.error_kind {
        UnknownUnionTag { tag: 22 } => "run-end encoding",
        UnknownUnionTag { tag: 23 } => "views of octets (BinaryView)",
        UnknownUnionTag { tag: 24 } => "views of text (Utf8View)",
        UnknownUnionTag { tag: 25 | 26 } => "views of lists (ListView)",
        UnknownUnionTag { tag } => {
            let expected = "one of the Arrow format 1.0";
            return ErrorKind::format("type", expected, format!("number {tag}"));
        }
        _ => return flatbuffer_error(error),
    };
    ErrorKind::format("type", "plain text or lists, as writers give for compatibility", name)
}
