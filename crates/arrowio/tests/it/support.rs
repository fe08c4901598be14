//! Rows, and files written from them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use arrowio::{
    CodecId, Compression, DatasetFormat, DatasetMeta, DatasetReader, DatasetWriter, Error, FlowRow,
    FlowSummary, Tokens, WriteOptions,
};
use proptest::option::of;
use proptest::prelude::*;
pub(crate) use testkit::datasets::{FIELD, WORD16};
use tokenizer::{FlowIdentity, SideIdentity};

/// Returns metadata with an option, so that options are written and read, too.
pub(crate) fn meta(code: CodecId) -> DatasetMeta {
    let options = [("keep".to_owned(), "graceful".to_owned())].into();
    DatasetMeta { options, ..testkit::datasets::meta(code) }
}

pub(crate) fn options(format: DatasetFormat, compression: Compression) -> WriteOptions {
    WriteOptions { format, compression, ..WriteOptions::default() }
}

/// Writes the rows to a temporary file.
pub(crate) fn file(
    rows: &[FlowRow],
    code: CodecId,
    options: &WriteOptions,
) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = DatasetWriter::new("test", &mut file, &meta(code), options).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    let (written, _) = writer.finish().unwrap();
    assert_eq!(written.flows, rows.len() as u64);
    assert_eq!(written.octets, file.as_file().metadata().unwrap().len());
    file
}

pub(crate) fn read_all(path: &Path, code: CodecId) -> Result<Vec<FlowRow>, Error> {
    DatasetReader::open(path, &[code])?.collect()
}

/// Builds a row without nulls but for the flow label bases.
pub(crate) fn row(n: u16) -> FlowRow {
    let side = |i: u8| SideIdentity {
        addr: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, i))),
        seq_base: Some(u32::MAX - u32::from(n)),
        ts_base: Some(u32::from(n)),
        ip_id_base: Some(n),
        flow_label_base: None,
    };
    FlowRow {
        tokens: Tokens::U16((0..n % 50).collect()),
        identity: FlowIdentity {
            start_ns: Some(1_700_000_000_123_456_789 + i64::from(n)),
            client_port: Some(50_000 + n % 1000),
            client: side(1),
            server: side(2),
            option_digits: Some(vec![0, 0xff, n as u8]),
        },
        summary: Some(FlowSummary {
            duration_ns: 1_500_000_000,
            server_port: 443,
            ip_version: 4,
            packets: [7, 6],
            payload_octets: [517, 4096],
            completeness: 31,
            close: "fin".into(),
            class: "graceful".into(),
            direction: "syn".into(),
            source: format!("folder/{n}.pcap"),
            first_frame: 1 + u64::from(n),
            label: Some(format!("class {}", n % 3)),
            group: Some("a".into()),
        }),
    }
}

pub(crate) fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|a| IpAddr::V4(Ipv4Addr::from_bits(a))),
        any::<u128>().prop_map(|a| IpAddr::V6(Ipv6Addr::from_bits(a))),
    ]
}

prop_compose! {
    fn side()(
        addr in of(addr()),
        seq_base in any::<Option<u32>>(),
        ts_base in any::<Option<u32>>(),
        ip_id_base in any::<Option<u16>>(),
        flow_label_base in any::<Option<u32>>(),
    ) -> SideIdentity {
        SideIdentity { addr, seq_base, ts_base, ip_id_base, flow_label_base }
    }
}

prop_compose! {
    fn summary()(
        duration_ns in any::<i64>(),
        server_port in any::<u16>(),
        ip_version in any::<u8>(),
        packets in any::<[u32; 2]>(),
        payload in any::<[u32; 2]>(),
        completeness in any::<u8>(),
        close in ".{0,5}",
        class in "[a-z]{0,8}",
        direction in "[a-z-]{0,8}",
        source in ".{0,30}",
        first_frame in any::<u32>(),
        label in of(".{0,9}"),
        group in of("[a-z]{0,3}"),
    ) -> FlowSummary {
        FlowSummary {
            duration_ns,
            server_port,
            ip_version,
            packets: packets.map(u64::from),
            payload_octets: payload.map(u64::from),
            completeness,
            close,
            class,
            direction,
            source,
            first_frame: first_frame.into(),
            label,
            group,
        }
    }
}

fn tokens(code: CodecId) -> BoxedStrategy<Tokens> {
    if code == WORD16 {
        prop::collection::vec(any::<i32>(), 0..40).prop_map(Tokens::I32).boxed()
    } else {
        prop::collection::vec(any::<u16>(), 0..40).prop_map(Tokens::U16).boxed()
    }
}

pub(crate) fn rows(code: CodecId) -> impl Strategy<Value = Vec<FlowRow>> {
    let digits = of(prop::collection::vec(any::<u8>(), 0..40));
    let identity = (any::<Option<i64>>(), any::<Option<u16>>(), side(), side(), digits).prop_map(
        |(start_ns, client_port, client, server, option_digits)| FlowIdentity {
            start_ns,
            client_port,
            client,
            server,
            option_digits,
        },
    );
    let row = (tokens(code), identity, of(summary()))
        .prop_map(|(tokens, identity, summary)| FlowRow { tokens, identity, summary });
    prop::collection::vec(row, 0..30)
}
