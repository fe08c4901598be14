//! Columns of a dataset, in the only list of them. `docs/dataset.md` shows the list, and a test
//! compares the two.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::{FlowRow, FlowSummary};

/// Arrow type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// `list<uint16>` in the `field` code, `list<int32>` in `word16`.
    Tokens,
    /// Time in nanoseconds since 1970: `timestamp[ns, UTC]`.
    Timestamp,
    /// Signed integer of 64 bits.
    Int64,
    /// Unsigned integer of 8 bits.
    UInt8,
    /// Unsigned integer of 16 bits.
    UInt16,
    /// Unsigned integer of 32 bits.
    UInt32,
    /// Unsigned integer of 64 bits; values above the maximum of `int64` are refused when read.
    UInt64,
    /// Text in UTF-8, with 32-bit offsets.
    Utf8,
    /// List of texts, without nulls among them.
    Utf8List,
    /// List of unsigned integers of 64 bits, without nulls among them.
    UInt64List,
}

impl ColumnType {
    /// Returns Arrow's name of the type.
    #[must_use]
    pub fn arrow_name(self) -> &'static str {
        match self {
            ColumnType::Tokens => "list<uint16>",
            ColumnType::Timestamp => "timestamp[ns, UTC]",
            ColumnType::Int64 => "int64",
            ColumnType::UInt8 => "uint8",
            ColumnType::UInt16 => "uint16",
            ColumnType::UInt32 => "uint32",
            ColumnType::UInt64 => "uint64",
            ColumnType::Utf8 => "utf8",
            ColumnType::Utf8List => "list<utf8>",
            ColumnType::UInt64List => "list<uint64>",
        }
    }
}

impl ColumnType {
    /// Returns the type of the values of a list; `None` for other types and the tokens.
    pub(crate) fn item(self) -> Option<ColumnType> {
        match self {
            ColumnType::Utf8List => Some(ColumnType::Utf8),
            ColumnType::UInt64List => Some(ColumnType::UInt64),
            _ => None,
        }
    }
}

/// Value of one cell, in any column but the tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    /// An address to write as text. Cells that are read have `Text` instead.
    Addr(IpAddr),
    /// Values of a list, none of them a list or null.
    List(Vec<Value<'a>>),
}

impl Value<'_> {
    /// Returns the value for error messages, at most 60 characters of a text.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Int(v) => v.to_string(),
            Value::Addr(addr) => addr.to_string(),
            Value::Text(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
            Value::List(values) => format!("a list of {}", values.len()),
        }
    }
}

/// One column of a dataset, or of another table whose rows are `R`.
#[derive(Debug)]
pub struct Column<R: 'static = FlowRow> {
    /// Name of the column in the schema.
    pub name: &'static str,
    /// Arrow type of the column.
    pub kind: ColumnType,
    /// Whether cells may be null.
    pub nullable: bool,
    /// Unit of the values; empty if they have none.
    pub unit: &'static str,
    /// Meaning of the values, as `docs/dataset.md` states it.
    pub meaning: &'static str,
    /// Returns the column's value of a row.
    pub(crate) get: fn(&R) -> Value<'_>,
    /// Stores a value in a row; an error is the expected kind of value.
    pub(crate) set: fn(&mut R, &Value<'_>) -> Result<(), &'static str>,
}

/// Rust type of the values of a column.
pub(crate) trait CellValue: Sized {
    const EXPECTED: &'static str;
    fn to_value(&self) -> Value<'_>;
    fn from_value(value: &Value<'_>) -> Option<Self>;
}

macro_rules! integer_fields {
    ($($t:ty),*) => {$(
        impl CellValue for $t {
            const EXPECTED: &'static str = stringify!($t);
            fn to_value(&self) -> Value<'_> {
                // Only values of u64 exceed i64, and no flow reaches them (8 EiB of payload): they
                // saturate.
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn from_value(value: &Value<'_>) -> Option<Self> {
                match value {
                    Value::Int(v) => <$t>::try_from(*v).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integer_fields!(u8, u16, u32, u64, i64);

impl CellValue for IpAddr {
    const EXPECTED: &'static str = "an IP address";
    fn to_value(&self) -> Value<'_> {
        Value::Addr(*self)
    }
    fn from_value(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl CellValue for String {
    const EXPECTED: &'static str = "text";
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }
    fn from_value(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone().into_owned()),
            _ => None,
        }
    }
}

impl CellValue for Vec<u8> {
    const EXPECTED: &'static str = "octets in hexadecimal";
    fn to_value(&self) -> Value<'_> {
        Value::Text(self.iter().map(|octet| format!("{octet:02x}")).collect())
    }
    fn from_value(value: &Value<'_>) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        let octet = |pair: &[u8]| {
            let [high, low] = [pair.first()?, pair.get(1)?].map(|&c| char::from(c).to_digit(16));
            u8::try_from(high? << 4 | low?).ok()
        };
        text.as_bytes().chunks(2).map(octet).collect()
    }
}

impl<T: CellValue> CellValue for Vec<T>
where
    T: ListItem,
{
    const EXPECTED: &'static str = T::LIST;
    fn to_value(&self) -> Value<'_> {
        Value::List(self.iter().map(CellValue::to_value).collect())
    }
    fn from_value(value: &Value<'_>) -> Option<Self> {
        let Value::List(values) = value else { return None };
        values.iter().map(T::from_value).collect()
    }
}

/// Rust type of the values of a list in a cell.
trait ListItem {
    /// Expected content of the list.
    const LIST: &'static str;
}

impl ListItem for IpAddr {
    const LIST: &'static str = "a list of IP addresses";
}

impl ListItem for u64 {
    const LIST: &'static str = "a list of numbers of 64 bits";
}

pub(crate) fn get<T: CellValue>(field: Option<&T>) -> Value<'_> {
    field.map_or(Value::Null, CellValue::to_value)
}

pub(crate) fn parse<T: CellValue>(value: &Value<'_>) -> Result<Option<T>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => T::from_value(value).map(Some).ok_or(T::EXPECTED),
    }
}

/// Builds a column for a field of `FlowIdentity`.
macro_rules! identity {
    ($name:literal, $kind:ident, $unit:literal, $meaning:literal, $($field:ident).+) => {
        Column {
            name: $name,
            kind: ColumnType::$kind,
            nullable: true,
            unit: $unit,
            meaning: $meaning,
            get: |row| get(row.identity.$($field).+.as_ref()),
            set: |row, value| {
                row.identity.$($field).+ = parse(value)?;
                Ok(())
            },
        }
    };
}

/// Builds a column for a field of `FlowSummary`.
macro_rules! summary {
    (
        $name:literal, $kind:ident, $unit:literal, $meaning:literal,
        $field:ident $([$index:literal])?
    ) => {
        Column {
            name: $name,
            kind: ColumnType::$kind,
            nullable: true,
            unit: $unit,
            meaning: $meaning,
            get: |row| get(row.summary.as_ref().map(|s| &s.$field$([$index])?)),
            set: |row, value| {
                if let Some(value) = parse(value)? {
                    row.summary.get_or_insert_with(FlowSummary::default).$field$([$index])? = value;
                }
                Ok(())
            },
        }
    };
}

/// Builds a column of text for a field of `FlowSummary` that may be absent.
macro_rules! annotation {
    ($name:literal, $meaning:literal, $field:ident) => {
        Column {
            name: $name,
            kind: ColumnType::Utf8,
            nullable: true,
            unit: "",
            meaning: $meaning,
            get: |row| get(row.summary.as_ref().and_then(|s| s.$field.as_ref())),
            set: |row, value| {
                if let Some(value) = parse(value)? {
                    row.summary.get_or_insert_with(FlowSummary::default).$field = Some(value);
                }
                Ok(())
            },
        }
    };
}

/// All columns in the order of the schema. The first one is the tokens.
pub const COLUMNS: &[Column] = &[
    Column {
        name: "tokens",
        kind: ColumnType::Tokens,
        nullable: false,
        unit: "",
        meaning: "packets of the flow in the token code of the metadata",
        get: |_| Value::Null,
        set: |_, _| Ok(()),
    },
    identity!("start", Timestamp, "ns since 1970", "least time of the packets", start_ns),
    identity!("client_addr", Utf8, "", "IP address of the side that opened the flow", client.addr),
    identity!("client_port", UInt16, "", "TCP port of the client", client_port),
    identity!("server_addr", Utf8, "", "IP address of the other side", server.addr),
    identity!(
        "client_seq_base",
        UInt32,
        "",
        "first sequence number of the client",
        client.seq_base
    ),
    identity!(
        "server_seq_base",
        UInt32,
        "",
        "first sequence number of the server",
        server.seq_base
    ),
    identity!("client_ts_base", UInt32, "", "first TSval of the client (RFC 7323)", client.ts_base),
    identity!("server_ts_base", UInt32, "", "first TSval of the server", server.ts_base),
    identity!(
        "client_ip_id_base",
        UInt16,
        "",
        "first IPv4 identification of the client",
        client.ip_id_base
    ),
    identity!(
        "server_ip_id_base",
        UInt16,
        "",
        "first IPv4 identification of the server",
        server.ip_id_base
    ),
    identity!(
        "client_flow_label_base",
        UInt32,
        "",
        "first IPv6 flow label of the client",
        client.flow_label_base
    ),
    identity!(
        "server_flow_label_base",
        UInt32,
        "",
        "first IPv6 flow label of the server",
        server.flow_label_base
    ),
    identity!(
        "option_digits",
        Utf8,
        "",
        "octets of options that no token holds, in hexadecimal, in the order of the packets",
        option_digits
    ),
    summary!("duration", Int64, "ns", "time from first to last packet", duration_ns),
    summary!(
        "server_port",
        UInt16,
        "",
        "TCP port of the server, which the tokens encode too",
        server_port
    ),
    summary!("ip_version", UInt8, "", "IP version, 4 or 6", ip_version),
    summary!("client_packets", UInt64, "packets", "number of packets from the client", packets[0]),
    summary!("server_packets", UInt64, "packets", "number of packets from the server", packets[1]),
    summary!(
        "client_octets",
        UInt64,
        "octets",
        "payload from the client, retransmissions included",
        payload_octets[0]
    ),
    summary!(
        "server_octets",
        UInt64,
        "octets",
        "payload from the server, retransmissions included",
        payload_octets[1]
    ),
    summary!(
        "completeness",
        UInt8,
        "bits",
        "Wireshark's `tcp.completeness`: SYN 1, SYN-ACK 2, ACK 4, DATA 8, FIN 16, RST 32",
        completeness
    ),
    summary!("close", Utf8, "", "close of the flow: `fin`, `rst` or `open`", close),
    summary!(
        "class",
        Utf8,
        "",
        "class by flowtrack's verdict: `graceful`, `reset`, `started`, `ended` or `partial`",
        class
    ),
    summary!(
        "direction",
        Utf8,
        "",
        "evidence of who opened the flow: `syn`, `syn-ack`, `earlier`, `ports` or `unknown`",
        direction
    ),
    summary!(
        "source",
        Utf8,
        "",
        "path of the capture of the first packet, below the folder that holds all inputs; empty \
         for generated flows",
        source
    ),
    summary!(
        "first_frame",
        UInt64,
        "",
        "frame number of the first packet in the capture, from 1; 0 for generated flows",
        first_frame
    ),
    annotation!("label", "class that a person gave the flow: `tcp-encode --labels`", label),
    annotation!("group", "unit that a split keeps together: a person, a site, a week", group),
];

/// Returns whether the name is that of the token column: `tokens`, or `flows` in files of
/// tcpflowgen.
pub(crate) fn is_tokens(name: &str) -> bool {
    name == COLUMNS[0].name || name == "flows"
}

/// Returns whether a dataset has a column of this name.
pub(crate) fn is_known(name: &str) -> bool {
    is_tokens(name) || COLUMNS.iter().any(|c| c.name == name)
}

/// Returns a line about columns whose names are those of a dataset's but for upper and lower case;
/// `None` if there are none. Such columns are not read.
pub(crate) fn known_names_in_other_case(names: &[&str]) -> Option<String> {
    let is_similar = |name: &&&str| {
        !is_known(name) && COLUMNS.iter().any(|column| column.name.eq_ignore_ascii_case(name))
    };
    let similar: Vec<&str> = names.iter().filter(is_similar).copied().collect();
    let first = similar.first()?;
    let more = match similar.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(format!("column {first}{more} not read: expected {} in lower case", first.to_lowercase()))
}
