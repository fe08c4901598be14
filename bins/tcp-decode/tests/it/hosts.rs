//! Flows of the hosts that a hosts table names.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::net::IpAddr;

use arrowio::{DatasetFormat, HostRow, WriteOptions, write_hosts};
use testkit::Scratch;
use tokenizer::host::{HostRole, HostSystem, PortPolicy, TsPolicy};

use crate::{captured, dataset, decode, flow, generated, run, text};

/// Writes a table of hosts, whose numbers are their places.
fn table(scratch: &Scratch, mut hosts: Vec<HostRow>) -> String {
    for (number, host) in hosts.iter_mut().enumerate() {
        host.host = number as u32;
    }
    let path = scratch.path_text("hosts.arrow");
    let options = WriteOptions { format: DatasetFormat::Arrow, ..WriteOptions::default() };
    write_hosts(&path, File::create(&path).unwrap(), &hosts, "a test", &options).unwrap();
    path
}

fn host(role: HostRole, flows: &[u64]) -> HostRow {
    HostRow { role, flows: flows.to_vec(), ..HostRow::default() }
}

/// The columns of a label file by their names, a map for each line.
fn labels(path: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// A client of all even rows, which has an address, one of all odd rows, and a server of all.
fn hosts() -> Vec<HostRow> {
    let even: Vec<u64> = (0..20).step_by(2).collect();
    let odd: Vec<u64> = (1..20).step_by(2).collect();
    let first = HostRow {
        addrs: vec!["2001:db8::9".parse().unwrap(), "10.1.1.1".parse().unwrap()],
        port_policy: Some(PortPolicy::PlusOne),
        port_next: Some(50_000),
        ts_policy: Some(TsPolicy::Host),
        ..host(HostRole::Client, &even)
    };
    let all: Vec<u64> = (0..20).collect();
    vec![first, host(HostRole::Client, &odd), host(HostRole::Server, &all)]
}

#[test]
fn flows_of_a_host_have_its_address_and_its_ports() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..20).map(|_| generated(&flow(1, 0, 1))).collect();
    let set = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let table = table(&scratch, hosts());
    let (out, csv) = (scratch.path_text("out.pcap"), scratch.path_text("labels.csv"));
    let args = [&*set, &out, "--hosts", &table, "--labels", &csv];
    assert_eq!(decode(&args).0, 0);
    let flows = labels(&csv);
    let ends = |line: &BTreeMap<String, String>| {
        (line["client_addr"].clone(), line["server_addr"].clone())
    };
    let distinct = |nth: usize| flows.iter().skip(nth).step_by(2).map(ends).collect::<HashSet<_>>();
    let (even, odd) = (distinct(0), distinct(1));
    assert_eq!((even.len(), odd.len()), (1, 1));
    let ((first, server), (second, same)) =
        (even.into_iter().next().unwrap(), odd.into_iter().next().unwrap());
    assert!(first == "10.1.1.1" && second.starts_with("192.168.") && server == same);
    let ports: Vec<u16> =
        flows.iter().step_by(2).map(|line| line["client_port"].parse().unwrap()).collect();
    assert!((50_000..50_030).contains(&ports[0]), "{ports:?}");
    assert!(ports.windows(2).all(|pair| (1..=20).contains(&(pair[1] - pair[0]))), "{ports:?}");
    let before = fs::read(&out).unwrap();
    assert_eq!(decode(&[&args[..], &["--sort-memory", "0"]].concat()).0, 0);
    assert!(fs::read(&out).unwrap() == before, "the same input gives the same octets");
}

#[test]
fn a_host_without_policies_has_those_of_its_system() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..20).map(|_| generated(&flow(1, 0, 1))).collect();
    let set = dataset(&scratch, &rows, DatasetFormat::Arrow);
    // The SYNs are those of Linux, which mostly has random ports or even steps.
    let mut windows = 0;
    for seed in ["1", "2", "3", "4", "5"] {
        let host = HostRow {
            system: Some(HostSystem::Windows),
            ..host(HostRole::Client, &(0..20).collect::<Vec<_>>())
        };
        let table = table(&scratch, vec![host]);
        let (out, csv) = (scratch.path_text("out.pcap"), scratch.path_text("labels.csv"));
        decode(&[&set, &out, "--hosts", &table, "--labels", &csv, "--seed", seed]);
        let flows = labels(&csv);
        let ports: Vec<i32> =
            flows.iter().map(|line| line["client_port"].parse().unwrap()).collect();
        let steps = ports.windows(2).filter(|pair| pair[1] - pair[0] == 1).count();
        windows += usize::from(steps > 10);
    }
    assert!(windows >= 4, "{windows}");
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..3).map(|n| captured(&flow(1_000 + n, 0, 1), 1)).collect();
    let set = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let out = scratch.path_text("out.pcap");
    let refused = |hosts: Vec<HostRow>, expected: &str| {
        let table = table(&scratch, hosts);
        let output = run(&[&*set, &out, "--hosts", &table]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!scratch.path("out.pcap").exists());
    };
    refused(
        vec![host(HostRole::Client, &[0, 3])],
        "host 0: expected rows below 3, the number of the dataset's, found 3",
    );
    refused(
        vec![host(HostRole::Client, &[0, 1]), host(HostRole::Client, &[1])],
        "row 1 of the dataset: expected one client, found hosts 0 and 1",
    );
    let elsewhere: IpAddr = "10.9.9.9".parse().unwrap();
    refused(
        vec![HostRow { addrs: vec![elsewhere], ..host(HostRole::Server, &[2]) }],
        "the server of row 2 of the dataset, found 10.9.9.9",
    );
    let output = run(&[&*set, &out, "--hosts", &set]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
}
