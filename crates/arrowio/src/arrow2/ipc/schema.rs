//! Schema of an Arrow IPC stream: names, types and dictionaries of its columns.

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;
use arrow2::datatypes::{DataType, TimeUnit};

use super::error::{Result, flatbuffer_error};
use crate::ErrorKind;

/// Key-value metadata of a schema.
pub(in crate::arrow2) type KeyValues = Vec<(String, String)>;

/// Maximum nesting of a type; a dataset's schema has 1.
const MAX_DEPTH: usize = 16;
/// Maximum number of fields in a schema, nested ones included; a dataset's schema has 26.
const MAX_FIELDS: usize = 10_000;

/// One column of the schema.
pub(in crate::arrow2) struct IpcField {
    pub(in crate::arrow2) name: String,
    pub(in crate::arrow2) field_type: FieldType,
    pub(in crate::arrow2) dictionary: Option<DictionaryEncoding>,
}

/// Dictionary of a column, and the integers that index it.
#[derive(Clone, Copy)]
pub(in crate::arrow2) struct DictionaryEncoding {
    pub(in crate::arrow2) id: i64,
    pub(in crate::arrow2) index: IntType,
}

/// Width and signedness of integers.
#[derive(Clone, Copy)]
pub(in crate::arrow2) struct IntType {
    /// Width in bits: 8, 16, 32 or 64.
    pub(in crate::arrow2) bits: i32,
    pub(in crate::arrow2) is_signed: bool,
}

/// Arrow type of a column, as far as this crate decodes it.
pub(in crate::arrow2) enum FieldType {
    Null,
    Int(IntType),
    /// Floating point numbers of 32 or 64 bits.
    Float {
        is_double: bool,
    },
    /// Decimal numbers of 128 bits.
    Decimal(DataType),
    Time(DataType),
    Text {
        is_large: bool,
    },
    /// Views of text (`Utf8View`): short texts are in the views, others in further buffers.
    TextView,
    List {
        is_large: bool,
        child: Box<FieldType>,
    },
    /// Views of lists (`ListView`): each with its own offset and size.
    ListView {
        is_large: bool,
        child: Box<FieldType>,
    },
    /// A type that no column of a dataset has. Its layout tells how to skip it.
    Other {
        name: &'static str,
        layout: Layout,
    },
}

/// Numbers of a column's parts in a record batch, its children's included.
#[derive(Clone, Copy, Default)]
pub(in crate::arrow2) struct Layout {
    pub(in crate::arrow2) nodes: usize,
    pub(in crate::arrow2) buffers: usize,
    /// Number of view columns: each has buffers of data beyond `buffers`, and the batch says how
    /// many.
    pub(in crate::arrow2) views: usize,
}

impl Layout {
    fn plus(self, other: Layout) -> Layout {
        Layout {
            nodes: self.nodes + other.nodes,
            buffers: self.buffers + other.buffers,
            views: self.views + other.views,
        }
    }
}

/// Reads the fields and metadata of a schema message.
pub(in crate::arrow2) fn read_schema(message: &[u8]) -> Result<(Vec<IpcField>, KeyValues)> {
    let header =
        fb::MessageRef::read_as_root(message).and_then(|m| m.header()).map_err(flatbuffer_error)?;
    let Some(fb::MessageHeaderRef::Schema(schema)) = header else {
        return Err(ErrorKind::format("first message", "a schema", "another one"));
    };
    schema_of(schema)
}

/// Reads the fields and metadata of a schema.
pub(super) fn schema_of(schema: fb::SchemaRef<'_>) -> Result<(Vec<IpcField>, KeyValues)> {
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
        match field.type_() {
            Ok(Some(field_type)) => FieldType::with_children(field_type, children),
            Ok(None) => Err(ErrorKind::format("type", "one", "none")),
            Err(error) => FieldType::after_1_0(error, children),
        }
    }

    /// Returns a type that the Arrow format got after version 1.0, by the number in the union
    /// `Type` of `Schema.fbs` that is unknown to arrow-format.
    fn after_1_0(error: fb::planus::Error, mut children: Vec<FieldType>) -> Result<FieldType> {
        use fb::planus::errors::ErrorKind::UnknownUnionTag;
        let UnknownUnionTag { tag } = error.error_kind else { return Err(flatbuffer_error(error)) };
        Ok(match tag {
            22 => FieldType::other("run-end encoding", 0, &children),
            23 => FieldType::Other {
                name: "views of octets",
                layout: Layout { nodes: 1, buffers: 2, views: 1 },
            },
            24 => FieldType::TextView,
            25 | 26 => match (children.pop(), children.is_empty()) {
                (Some(child), true) => {
                    FieldType::ListView { is_large: tag == 26, child: Box::new(child) }
                }
                _ => return Err(ErrorKind::format("list", "one child", "another number")),
            },
            _ => {
                let expected = "one of the Arrow format 1.4";
                return Err(ErrorKind::format("type", expected, format!("number {tag}")));
            }
        })
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
            T::FloatingPoint(f) => match f.precision().map_err(flatbuffer_error)? {
                fb::Precision::Half => FieldType::other("half floats", 2, &children),
                fb::Precision::Single => FieldType::Float { is_double: false },
                fb::Precision::Double => FieldType::Float { is_double: true },
            },
            T::Decimal(d) => decimal(d, &children)?,
            _ => FieldType::other("date, time or binary", 2, &children),
        })
    }

    fn other(name: &'static str, own_buffers: usize, children: &[FieldType]) -> FieldType {
        let own = Layout { nodes: 1, buffers: own_buffers, views: 0 };
        let layout = children.iter().fold(own, |layout, child| layout.plus(child.layout()));
        FieldType::Other { name, layout }
    }

    /// Returns the numbers of parts that a column of this type has in a record batch.
    pub(super) fn layout(&self) -> Layout {
        let own = |buffers| Layout { nodes: 1, buffers, views: 0 };
        match self {
            FieldType::Null => own(0),
            FieldType::Int(_)
            | FieldType::Time(_)
            | FieldType::Float { .. }
            | FieldType::Decimal(_) => own(2),
            FieldType::Text { .. } => own(3),
            FieldType::TextView => Layout { views: 1, ..own(2) },
            FieldType::List { child, .. } => own(2).plus(child.layout()),
            FieldType::ListView { child, .. } => own(3).plus(child.layout()),
            FieldType::Other { layout, .. } => *layout,
        }
    }

    /// Returns the name of the type for error messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            FieldType::Null => "null",
            FieldType::Int(_) => "integers",
            FieldType::Time(_) => "times",
            FieldType::Float { .. } => "floating point numbers",
            FieldType::Decimal(_) => "decimal numbers",
            FieldType::Text { .. } | FieldType::TextView => "text",
            FieldType::List { .. } | FieldType::ListView { .. } => "lists",
            FieldType::Other { name, .. } => name,
        }
    }
}

/// Returns the type of decimal numbers, which are decoded if they take 128 bits.
fn decimal(decimal: fb::DecimalRef<'_>, children: &[FieldType]) -> Result<FieldType> {
    let precision = decimal.precision().map_err(flatbuffer_error)?;
    let scale = decimal.scale().map_err(flatbuffer_error)?;
    Ok(
        match (
            decimal.bit_width().map_err(flatbuffer_error)?,
            precision.try_into(),
            scale.try_into(),
        ) {
            (128, Ok(precision @ 1..=38), Ok(scale @ 0..=38)) => {
                FieldType::Decimal(DataType::Decimal(precision, scale))
            }
            _ => FieldType::other("decimal numbers of another width", 2, children),
        },
    )
}
