//! The columns: the only list of them. `docs/dataset.md` shows it, and a test compares the two.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::{FlowRow, FlowSummary};

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// `list<uint16>` in the `field` code, `list<int32>` in `word16`.
    Tokens,
    /// `timestamp[ns, UTC]`.
    Timestamp,
    /// Signed, 64 bits.
    Int64,
    /// Unsigned, 8 bits.
    UInt8,
    /// Unsigned, 16 bits.
    UInt16,
    /// Unsigned, 32 bits.
    UInt32,
    /// Unsigned, 64 bits; values beyond `int64` are refused when read.
    UInt64,
    /// Text.
    Utf8,
}

impl ColumnType {
    /// As Arrow spells it.
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
        }
    }
}

/// A value of a column other than the tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    /// Text, as which it is written.
    Addr(IpAddr),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether a value may be missing.
    pub nullable: bool,
    /// The unit of its values, or nothing.
    pub unit: &'static str,
    /// What it means.
    pub meaning: &'static str,
    pub(crate) get: fn(&FlowRow) -> Value<'_>,
    pub(crate) set: fn(&mut FlowRow, &Value<'_>) -> Result<(), &'static str>,
}

/// A Rust value that a column can hold.
trait Field: Sized {
    const EXPECTED: &'static str;
    fn to_value(&self) -> Value<'_>;
    fn from_value(value: &Value<'_>) -> Option<Self>;
}

macro_rules! integer_fields {
    ($($t:ty),*) => {$(
        impl Field for $t {
            const EXPECTED: &'static str = stringify!($t);
            fn to_value(&self) -> Value<'_> {
                // Beyond i64 lie only values of u64 that no flow reaches (octets beyond 8 EiB):
                // they saturate.
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

impl Field for IpAddr {
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

impl Field for String {
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

fn get<T: Field>(field: Option<&T>) -> Value<'_> {
    field.map_or(Value::Null, Field::to_value)
}

fn parse<T: Field>(value: &Value<'_>) -> Result<Option<T>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => T::from_value(value).map(Some).ok_or(T::EXPECTED),
    }
}

/// A column of `FlowIdentity`.
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

/// A column of `FlowSummary`.
macro_rules! summary {
    ($name:literal, $kind:ident, $unit:literal, $meaning:literal, $field:ident $([$index:literal])?) => {
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

/// The columns in the order of the schema. The first one holds the tokens.
pub const COLUMNS: &[Column] = &[
    Column {
        name: "tokens",
        kind: ColumnType::Tokens,
        nullable: false,
        unit: "",
        meaning: "the flow, packet by packet, in the code that the metadata names",
        get: |_| Value::Null,
        set: |_, _| Ok(()),
    },
    identity!("start", Timestamp, "ns since 1970", "time of the first packet", start_ns),
    identity!("client_addr", Utf8, "", "address of the side that opened the flow", client.addr),
    identity!("client_port", UInt16, "", "its port", client_port),
    identity!("server_addr", Utf8, "", "address of the other side", server.addr),
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
    summary!("duration", Int64, "ns", "from first to last packet", duration_ns),
    summary!(
        "server_port",
        UInt16,
        "",
        "port of the server (it is in the tokens too)",
        server_port
    ),
    summary!("ip_version", UInt8, "", "4 or 6", ip_version),
    summary!("client_packets", UInt64, "packets", "packets from the client", packets[0]),
    summary!("server_packets", UInt64, "packets", "packets from the server", packets[1]),
    summary!(
        "client_octets",
        UInt64,
        "octets",
        "payload from the client, repeats included",
        payload_octets[0]
    ),
    summary!(
        "server_octets",
        UInt64,
        "octets",
        "payload from the server, repeats included",
        payload_octets[1]
    ),
    summary!(
        "completeness",
        UInt8,
        "bits",
        "Wireshark's `tcp.completeness`: SYN 1, SYN-ACK 2, ACK 4, DATA 8, FIN 16, RST 32",
        completeness
    ),
    summary!("close", Utf8, "", "how it ended: `fin`, `rst` or `open`", close),
    summary!(
        "class",
        Utf8,
        "",
        "our verdict: `graceful`, `reset`, `started`, `ended` or `partial`",
        class
    ),
    summary!(
        "source",
        Utf8,
        "",
        "the capture it came from, relative to the input; empty for generated flows",
        source
    ),
    summary!(
        "first_frame",
        UInt64,
        "",
        "frame number of its first packet there, from 1; 0 for generated flows",
        first_frame
    ),
];
