//! Rows and columns of a hosts table.

use std::net::IpAddr;

use tokenizer::host::{HostRole, HostSystem, IdPolicy, PortPolicy, TsPolicy};

use crate::column::{CellValue, Column, ColumnType, Value, get, parse};

/// One row of a hosts table: a machine on one side of its flows, with what a capture tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRow {
    /// Number of the host, from 0 in order of first start.
    pub host: u32,
    /// Path of the capture of the host's first flow; empty for generated hosts.
    pub source: String,
    /// Side that the host is on.
    pub role: HostRole,
    /// Addresses of the machine, IPv4 and IPv6.
    pub addrs: Vec<IpAddr>,
    /// Row numbers of the host's flows in the dataset, from 0, in order of their starts.
    pub flows: Vec<u64>,
    /// System that the host's SYNs show, if all show the same.
    pub system: Option<HostSystem>,
    /// Choice of client ports.
    pub port_policy: Option<PortPolicy>,
    /// Port behind that of the host's last flow, where ports go up.
    pub port_next: Option<u16>,
    /// Extent of a timestamp clock.
    pub ts_policy: Option<TsPolicy>,
    /// Ticks of the timestamp clock in a second.
    pub ts_tick: Option<u32>,
    /// TSval of the host's clock at the start of its first flow, if it has one clock.
    pub ts_base: Option<u32>,
    /// Extent of a counter of IPv4 identifications.
    pub id_policy: Option<IdPolicy>,
    /// Identification behind that of the host's last packet, if it has one counter.
    pub id_next: Option<u16>,
    /// TTL of the packets that begin the host's side of its flows, if it is the same in all.
    pub ttl: Option<u8>,
}

impl Default for HostRow {
    fn default() -> HostRow {
        HostRow {
            host: 0,
            source: String::new(),
            role: HostRole::Client,
            addrs: Vec::new(),
            flows: Vec::new(),
            system: None,
            port_policy: None,
            port_next: None,
            ts_policy: None,
            ts_tick: None,
            ts_base: None,
            id_policy: None,
            id_next: None,
            ttl: None,
        }
    }
}

/// Implements [`CellValue`] for enums with names.
macro_rules! named_cells {
    ($($type:ident),*) => {$(
        impl CellValue for $type {
            const EXPECTED: &'static str = $type::NAMES;
            fn to_value(&self) -> Value<'_> {
                Value::Text(self.name().into())
            }
            fn from_value(value: &Value<'_>) -> Option<Self> {
                match value {
                    Value::Text(name) => $type::from_name(name),
                    _ => None,
                }
            }
        }
    )*};
}

named_cells!(HostRole, HostSystem, PortPolicy, TsPolicy, IdPolicy);

/// Builds a column that is never null.
macro_rules! present {
    ($field:ident, $kind:ident, $meaning:literal) => {
        Column {
            name: stringify!($field),
            kind: ColumnType::$kind,
            nullable: false,
            unit: "",
            meaning: $meaning,
            get: |row| row.$field.to_value(),
            set: |row, value| {
                row.$field = parse(value)?.ok_or("a value")?;
                Ok(())
            },
        }
    };
}

/// Builds a column that may be null.
macro_rules! optional {
    ($field:ident, $kind:ident, $unit:literal, $meaning:literal) => {
        Column {
            name: stringify!($field),
            kind: ColumnType::$kind,
            nullable: true,
            unit: $unit,
            meaning: $meaning,
            get: |row| get(row.$field.as_ref()),
            set: |row, value| {
                row.$field = parse(value)?;
                Ok(())
            },
        }
    };
}

/// All columns of a hosts table, in the order of its schema.
pub const HOST_COLUMNS: &[Column<HostRow>] = &[
    present!(host, UInt32, "number of the host, from 0 in order of first start"),
    present!(source, Utf8, "path of the capture of its first flow; empty for generated hosts"),
    present!(role, Utf8, "side of the host in its flows: `client` or `server`"),
    present!(addrs, Utf8List, "IP addresses of the machine"),
    present!(flows, UInt64List, "row numbers of its flows in the dataset, by start"),
    optional!(system, Utf8, "", "system that all its SYNs show"),
    optional!(
        port_policy,
        Utf8,
        "",
        "choice of client ports: `even_step`, `plus_one`, `random` or `fixed`"
    ),
    optional!(port_next, UInt16, "", "port behind that of its last flow, where ports go up"),
    optional!(
        ts_policy,
        Utf8,
        "",
        "extent of a timestamp clock: `host`, `pair`, `connection` or `none`"
    ),
    optional!(ts_tick, UInt32, "ticks a second", "tick of the timestamp clock"),
    optional!(ts_base, UInt32, "", "TSval at the start of its first flow, with the policy `host`"),
    optional!(
        id_policy,
        Utf8,
        "",
        "extent of a counter of IPv4 identifications: `connection`, `destination`, `global`, \
         `zero` or `random`"
    ),
    optional!(
        id_next,
        UInt16,
        "",
        "identification behind that of its last packet, with the policy `global`"
    ),
    optional!(ttl, UInt8, "", "TTL of the first packet from its side, where all flows have one"),
];

/// Returns whether a hosts table has a column of this name.
pub(crate) fn is_host_column(name: &str) -> bool {
    HOST_COLUMNS.iter().any(|column| column.name == name)
}
