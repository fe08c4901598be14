//! Hosts tables beside datasets.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use arrowio::{CodecId, DatasetReader, FlowRow, HostRow, read_hosts};
use dataset::TraceFlows;
use testkit::{Scratch, testdata};
use tokenizer::host::{HostRole, HostSystem, IdPolicy, TsPolicy};
use tokenizer::{field, skeleton};

use crate::{code, skipped, stderr, tcp_encode};

/// Encodes captures with a hosts table; returns the rows and the hosts.
fn encode(scratch: &Scratch, inputs: &[PathBuf], more: &[&str]) -> (Vec<FlowRow>, Vec<HostRow>) {
    let (set, hosts) = (scratch.path("set.arrow"), scratch.path("hosts.parquet"));
    let mut args: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    args.extend([&*set, Path::new("--traces"), &hosts, Path::new("--force")]);
    args.extend(more.iter().map(Path::new));
    let output = tcp_encode(&args);
    assert!(code(&output) < 2, "{}", stderr(&output));
    let accepted = [CodecId { name: field::NAME, version: field::VERSION }];
    let rows = DatasetReader::open(&set, &accepted).unwrap().map(Result::unwrap).collect();
    (rows, read_hosts(&hosts).unwrap())
}

/// Fails unless each flow is in the list of its client and of its server, in order of time.
fn check(rows: &[FlowRow], hosts: &[HostRow]) {
    let start = |row: &u64| rows[*row as usize].identity.start_ns.unwrap();
    let first: Vec<i64> = hosts.iter().map(|host| start(&host.flows[0])).collect();
    assert!(first.is_sorted(), "hosts by first start");
    for (role, of) in [
        (HostRole::Client, (|row| row.identity.client.addr) as fn(&FlowRow) -> Option<IpAddr>),
        (HostRole::Server, |row| row.identity.server.addr),
    ] {
        let mut seen = vec![0; rows.len()];
        for host in hosts.iter().filter(|host| host.role == role) {
            assert!(host.flows.iter().map(start).is_sorted(), "flows by start");
            for row in &host.flows {
                seen[*row as usize] += 1;
                assert!(host.addrs.contains(&of(&rows[*row as usize]).unwrap()));
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "each flow once as {}", role.name());
    }
}

#[test]
fn every_flow_is_in_the_lists_of_its_hosts() {
    let scratch = Scratch::new();
    let inputs = ["quick.pcap", "office.pcapng", "http-lan.pcap"].map(testdata);
    let (rows, hosts) = encode(&scratch, &inputs, &["--keep", "all"]);
    check(&rows, &hosts);
    let captures = |host: &HostRow| {
        let sources = host.flows.iter().map(|row| &rows[*row as usize].summary);
        sources.map(|summary| summary.as_ref().unwrap().source.clone()).collect::<Vec<_>>()
    };
    for host in &hosts {
        assert!(captures(host).iter().all(|source| *source == host.source), "one capture a host");
    }
}

#[test]
fn the_same_hosts_whatever_the_jobs() {
    let scratch = Scratch::new();
    let inputs = ["quick.pcap", "resets.pcap", "parallel.pcap.gz"].map(testdata);
    let mut tables = ["1", "2", "3"].map(|jobs| {
        encode(&scratch, &inputs, &["--jobs", jobs]);
        fs::read(scratch.path("hosts.parquet")).unwrap()
    });
    assert!(tables[0] == tables[1] && tables[1] == tables[2]);
    encode(&scratch, &inputs[..1], &["--jobs", "2"]);
    tables[1] = fs::read(scratch.path("hosts.parquet")).unwrap();
    encode(&scratch, &inputs[..1], &["--jobs", "1"]);
    assert!(tables[1] == fs::read(scratch.path("hosts.parquet")).unwrap());
}

#[test]
fn the_recorders_kernel_has_a_clock_and_a_counter_for_each_connection() {
    let scratch = Scratch::new();
    let (rows, hosts) = encode(&scratch, &[testdata("http-clients.pcap")], &["--keep", "all"]);
    check(&rows, &hosts);
    let told = |host: &&HostRow| host.role == HostRole::Client && host.flows.len() >= 5;
    let clients: Vec<&HostRow> = hosts.iter().filter(told).collect();
    assert!(!clients.is_empty());
    let linux = clients.iter().filter(|host| host.system == Some(HostSystem::Linux5)).count();
    assert!(linux > 0);
    for host in clients {
        let policy = host.ts_policy.unwrap();
        assert!(matches!(policy, TsPolicy::Connection | TsPolicy::None), "{host:?}");
        assert_eq!(host.id_policy, Some(IdPolicy::Connection), "{host:?}");
        assert!(host.ttl.is_some());
    }
    for host in hosts.iter().filter(|host| host.flows.len() < 5) {
        let policies = (host.port_policy, host.ts_policy, host.id_policy);
        assert_eq!(policies, (None, None, None), "{host:?}");
    }
}

#[test]
fn addresses_of_hosts_are_anonymized_too() {
    let scratch = Scratch::new();
    let key = scratch.write("key", &Vec::from_iter(0..32));
    let key = key.to_str().unwrap().to_owned();
    let inputs = [testdata("quick.pcap")];
    let (_, plain) = encode(&scratch, &inputs, &[]);
    let (rows, hosts) = encode(&scratch, &inputs, &["--anonymize", &key]);
    check(&rows, &hosts);
    assert_eq!(plain.len(), hosts.len());
    for (plain, host) in plain.iter().zip(&hosts) {
        assert_eq!(plain.flows, host.flows);
        assert!(plain.addrs.iter().all(|addr| !host.addrs.contains(addr)));
    }
}

#[test]
fn a_table_in_the_folder_of_the_dataset_is_refused() {
    let scratch = Scratch::new();
    let (set, hosts) = (scratch.path("set"), scratch.path("set/hosts.arrow"));
    let output = tcp_encode(&[&testdata("quick.pcap"), &set, Path::new("--traces"), &hosts]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("expected HOSTS beside OUTPUT, found it in"));
    assert!(!set.exists());
}

/// Encodes and decodes the skeleton of each host; returns the numbers of tokens and flows.
fn there_and_back(rows: &[FlowRow], hosts: &[HostRow]) -> (usize, usize) {
    let mut flows = TraceFlows::default();
    rows.iter().for_each(|row| flows.push(row));
    let (mut tokens, mut count) = (Vec::new(), (0, 0));
    for trace in flows.traces(hosts).unwrap() {
        for host in &trace.hosts {
            tokens.clear();
            skeleton::encode(&host.skeleton, host.shared, &mut tokens).unwrap();
            let ends: Vec<i64> = host.skeleton.flows.iter().map(|flow| flow.end_ns).collect();
            assert_eq!(skeleton::decode(&tokens, host.shared, &ends).unwrap(), host.skeleton);
            count = (count.0 + tokens.len(), count.1 + ends.len());
        }
    }
    count
}

#[test]
fn skeletons_of_our_captures_come_back() {
    let scratch = Scratch::new();
    let (rows, hosts) = encode(&scratch, &[testdata("")], &["--keep", "all"]);
    let (tokens, flows) = there_and_back(&rows, &hosts);
    assert!(flows > 2000 && tokens < 9 * flows, "{tokens} tokens of {flows} flows");
}

#[test]
fn a_table_of_another_dataset_is_refused() {
    let scratch = Scratch::new();
    let (rows, hosts) = encode(&scratch, &[testdata("quick.pcap")], &["--keep", "all"]);
    let mut flows = TraceFlows::default();
    rows[..3].iter().for_each(|row| flows.push(row));
    let error = flows.traces(&hosts).unwrap_err().to_string();
    assert!(error.ends_with("expected a row below 3, the rows of the dataset"), "{error}");
    let mut flows = TraceFlows::default();
    rows.iter().for_each(|row| flows.push(row));
    let mut other = hosts.clone();
    other.iter_mut().for_each(|host| host.addrs = vec!["192.0.2.77".parse().unwrap()]);
    let error = flows.traces(&other).unwrap_err().to_string();
    assert!(error.contains("expected a client of 192.0.2.77, found "), "{error}");
}

#[test]
fn one_machine_has_one_host_for_both_versions() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !data.is_dir() {
        return skipped("no captures of others");
    }
    let scratch = Scratch::new();
    let (rows, hosts) = encode(&scratch, &[data], &["--keep", "all"]);
    check(&rows, &hosts);
    let (tokens, flows) = there_and_back(&rows, &hosts);
    assert!(tokens <= 8 * flows, "{tokens} tokens of {flows} flows");
    let clients = || hosts.iter().filter(|host| host.role == HostRole::Client);
    let both = clients().filter(|host| {
        host.addrs.iter().any(IpAddr::is_ipv4) && host.addrs.iter().any(IpAddr::is_ipv6)
    });
    let both = both.count();
    assert!(both > 50, "{both} hosts of both versions");
    assert!(clients().all(|host| host.addrs.iter().filter(|addr| addr.is_ipv4()).count() < 2));
    let mut systems: BTreeMap<_, BTreeMap<_, u32>> = BTreeMap::new();
    for host in clients() {
        let policy = host.ts_policy.map(TsPolicy::name);
        *systems
            .entry(host.system.map(HostSystem::name))
            .or_default()
            .entry(policy)
            .or_default() += 1;
    }
    // Linux 5 and 6 have an offset for each pair, Windows no timestamps (arXiv 2406.06483).
    let count = |system, policy| systems[&Some(system)].get(&Some(policy)).copied().unwrap_or(0);
    assert!(count("linux-5", "pair") > count("linux-5", "host"), "{systems:?}");
    assert!(count("windows", "none") > 0, "{systems:?}");
    assert_eq!(count("windows", "host") + count("windows", "pair"), 0, "{systems:?}");
}
