//! Hosts tables written and read, and what is refused.

use std::path::PathBuf;

use arrowio::{
    Compression, DatasetFormat, HOST_COLUMNS, HostRow, is_hosts, read_hosts, write_hosts,
};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use tokenizer::host::{HostRole, HostSystem, IdPolicy, PortPolicy, TsPolicy};

use crate::FORMATS;
use crate::support::{FIELD, addr, file, options, row};

/// Writes a table to a file of a folder.
fn written(hosts: &[HostRow], format: DatasetFormat) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    let options = options(format, Compression::Zstd);
    let (octets, table) = write_hosts("test", Vec::new(), hosts, "a test", &options).unwrap();
    assert_eq!(octets, table.len() as u64);
    std::fs::write(&path, table).unwrap();
    (folder, path)
}

prop_compose! {
    fn host()(
        names in ("[a-z./]{0,9}", select(HostRole::ALL), of(select(HostSystem::ALL))),
        addrs in prop::collection::vec(addr(), 0..4),
        flows in prop::collection::vec(0..u64::MAX / 2, 0..6),
        ports in (of(select(PortPolicy::ALL)), any::<Option<u16>>()),
        ts in (of(select(TsPolicy::ALL)), any::<Option<u32>>(), any::<Option<u32>>()),
        ids in (of(select(IdPolicy::ALL)), any::<Option<u16>>()),
        ttl in any::<Option<u8>>(),
    ) -> HostRow {
        HostRow {
            host: 0,
            source: names.0,
            role: names.1,
            addrs,
            flows,
            system: names.2,
            port_policy: ports.0,
            port_next: ports.1,
            ts_policy: ts.0,
            ts_tick: ts.1,
            ts_base: ts.2,
            id_policy: ids.0,
            id_next: ids.1,
            ttl,
        }
    }
}

fn hosts() -> impl Strategy<Value = Vec<HostRow>> {
    prop::collection::vec(host(), 0..20).prop_map(|mut hosts| {
        hosts.iter_mut().enumerate().for_each(|(n, host)| host.host = n as u32);
        hosts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hosts_come_back_as_they_were(hosts in hosts(), format in select(&FORMATS)) {
        let (_folder, path) = written(&hosts, format);
        prop_assert!(is_hosts(&path));
        prop_assert_eq!(read_hosts(&path).unwrap(), hosts);
    }

    #[test]
    fn changed_octets_are_read_or_refused(hosts in hosts(), at in any::<usize>(), to in any::<u8>()) {
        for format in FORMATS {
            let (_folder, path) = written(&hosts, format);
            let mut octets = std::fs::read(&path).unwrap();
            let at = at % octets.len();
            octets[at] = to;
            std::fs::write(&path, octets).unwrap();
            let _ = read_hosts(&path);
        }
    }
}

#[test]
fn a_dataset_is_no_hosts_table() {
    let dataset = file(&[row(1)], FIELD, &options(DatasetFormat::Arrow, Compression::Lz4));
    assert!(!is_hosts(dataset.path()));
    let error = read_hosts(dataset.path()).unwrap_err().to_string();
    assert!(error.ends_with("columns: expected one named host, found none"), "{error}");
    let (_folder, table) = written(&[], DatasetFormat::Parquet);
    assert!(!arrowio::is_dataset(&table));
    let error = arrowio::DatasetReader::open(&table, &[FIELD]).err().unwrap().kind.to_string();
    assert_eq!(
        error,
        "schema: expected a column named tokens or flows, found those of a hosts table"
    );
}

#[test]
fn hosts_in_another_order_are_refused() {
    let host = |host| HostRow { host, ..HostRow::default() };
    let (_folder, path) = written(&[host(0), host(2)], DatasetFormat::Arrow);
    let error = read_hosts(&path).unwrap_err().kind.to_string();
    assert_eq!(error, "column host, row 1: expected 1, found 2");
}

#[test]
fn the_document_shows_the_columns_of_a_hosts_table() {
    let expected: Vec<String> = HOST_COLUMNS.iter().map(crate::reference::line).collect();
    let shown = crate::reference::shown("## Hosts table");
    assert_eq!(shown, expected, "docs/dataset.md should have:\n{}\n", expected.join("\n"));
}
