//! Models of hosts, and traces generated with them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use arrowio::{FlowRow, HostRow, Tokens, WriteOptions, read_hosts, write_hosts};
use dataset::{Outcome, RowDecoder, summarize};
use flowtrack::Direction;
use testkit::datasets;
use tokenizer::field::{self, vocab};
use tokenizer::host::HostRole;
use tokenizer::skeleton::syn_of;

use crate::support::{Workdir, session, stderr};

/// Returns a row of a session with addresses and times: one of six clients, each with an own
/// capture of two clients, and one of three servers.
fn row(number: u64) -> FlowRow {
    let addr = |net, host| Some(IpAddr::V4(Ipv4Addr::new(10, 0, net, host)));
    let mut row = datasets::row(session(number));
    row.identity.start_ns = Some(1_700_000_000_000_000_000 + number as i64 * 400_000_000);
    row.identity.client.addr = addr(0, (number % 6) as u8);
    row.identity.server.addr = addr(1, (number / 6 % 3) as u8);
    let mut decoder = RowDecoder::default();
    let flow = decoder.decode_with_stand_ins(&row).unwrap();
    let source = format!("{}.pcap", number % 6 / 2);
    row.summary = Some(summarize(&flow, Outcome::of_decoded(&flow), &source));
    row
}

/// Writes a dataset of flows in `traced` and its hosts table, and trains models of both.
fn trained() -> Workdir {
    trained_for(3)
}

/// Does as [`trained`], with `steps` of training for each model.
fn trained_for(steps: u32) -> Workdir {
    let workdir = Workdir::new();
    let rows: Vec<FlowRow> = (0..60).map(row).collect();
    datasets::write_folder(&workdir.path("traced"), rows.iter().cloned());
    let hosts: Vec<HostRow> = (0..6)
        .map(|host| HostRow {
            host,
            source: rows[host as usize].summary.as_ref().unwrap().source.clone(),
            addrs: rows[host as usize].identity.client.addr.into_iter().collect(),
            flows: (0..60).filter(|row| row % 6 == u64::from(host)).collect(),
            ..HostRow::default()
        })
        .collect();
    let options = WriteOptions::default();
    let (_, table) = write_hosts("table", Vec::new(), &hosts, "a test", &options).unwrap();
    std::fs::write(workdir.path("hosts.arrow"), table).unwrap();
    let train =
        format!("train --config settings.toml --max-steps {steps} --threads 1 --input-dir traced");
    workdir.succeed(&format!("{train} --output-dir model"));
    workdir
        .succeed(&format!("{train} --output-dir hosts-model --level trace --traces hosts.arrow"));
    workdir
}

const TRACE: &str = "generate --checkpoint-path model --trace hosts-model \
                     --max-packets-per-flow 20 --force";

#[test]
fn a_trace_is_flows_by_start_and_their_hosts() {
    let workdir = trained();
    workdir.succeed(&format!("{TRACE} --flows 40 --output-dir out --traces out.arrow"));
    let flows = datasets::read(&workdir.path("out"));
    let hosts = read_hosts(&workdir.path("out.arrow")).unwrap();
    assert_eq!(flows.len(), 40);
    let starts: Vec<i64> = flows.iter().map(|row| row.identity.start_ns.unwrap()).collect();
    assert!(starts.is_sorted());
    for role in HostRole::ALL {
        let of_role = hosts.iter().filter(|host| host.role == *role);
        let mut rows: Vec<u64> = of_role.flat_map(|host| host.flows.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, Vec::from_iter(0..40), "each flow has one {}", role.name());
    }
    let first: Vec<u64> = hosts.iter().map(|host| host.flows[0]).collect();
    assert!(first.is_sorted());
}

#[test]
fn the_same_trace_whatever_batch_and_threads() {
    let workdir = trained();
    let read = |name: &str| {
        (datasets::read(&workdir.path(name)), read_hosts(&workdir.path(&format!("{name}.arrow"))))
    };
    for (name, more) in
        [("a", "--batch 64 --threads 1"), ("b", "--batch 3 --threads 4"), ("c", "--seed 2")]
    {
        workdir.succeed(&format!(
            "{TRACE} --hosts 9 --flows 60 --output-dir {name} --traces {name}.arrow {more}"
        ));
    }
    let [a, b, c] = ["a", "b", "c"].map(read);
    assert!(a.0 == b.0 && a.1.unwrap() == b.1.unwrap());
    assert!(a.0 != c.0);
}

#[test]
fn limits_end_a_trace() {
    let workdir = trained();
    let clients = |name: &str| {
        let hosts = read_hosts(&workdir.path(name)).unwrap();
        hosts.iter().filter(|host| host.role == HostRole::Client).count()
    };
    workdir.succeed(&format!("{TRACE} --hosts 3 --flows 50 --output-dir a --traces a.arrow"));
    assert!((1..=3).contains(&clients("a.arrow")));
    workdir.succeed(&format!(
        "{TRACE} --hosts 3 --flows 50 --duration 1s --output-dir b --traces b.arrow"
    ));
    let starts = datasets::read(&workdir.path("b"));
    let starts: Vec<i64> = starts.iter().map(|row| row.identity.start_ns.unwrap()).collect();
    assert!(starts.last().unwrap() - starts[0] <= 1_000_000_000);
}

#[test]
fn what_does_not_fit_is_one_line() {
    let workdir = trained();
    let check = |args: &str, expected: &str| {
        let output = workdir.run(args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(stderr(&output).contains(expected), "{args}: {}", stderr(&output));
    };
    let out = "--flows 5 --output-dir x --traces x.arrow";
    check(
        &format!("generate --checkpoint-path hosts-model {out} --trace hosts-model"),
        "hosts-model: expected a model of flows, found a model of traces (--level trace)",
    );
    check(
        &format!("generate --checkpoint-path model --trace model {out}"),
        "model: expected a model of traces (--level trace), found a model of flows",
    );
    check(
        &format!("{TRACE} --flows 5 --output-dir x --traces x/hosts.arrow"),
        "x/hosts.arrow: expected HOSTS beside the dataset, found it in its folder",
    );
    check(&format!("{TRACE} {out} --packets 9"), "--trace: expected neither --part nor --packets");
    check(
        &format!("{TRACE} --flows 5 --output-dir - --traces -"),
        "-: expected one output on stdout, found --output-dir and --traces",
    );
    let train = "train --config settings.toml --max-steps 1 --output-dir y";
    check(
        &format!("{train} --input-dir dataset --level trace --traces hosts.arrow"),
        "hosts.arrow: expected clients with flows that begin with a SYN, found none",
    );
    check(
        &format!("{train} --input-dir traced --traces hosts.arrow"),
        "hosts.arrow: expected --level trace with a hosts table",
    );
    assert!(!workdir.path("x").exists() && !workdir.path("x.arrow").exists());
}

/// Returns the first packet of a flow's server up to the bucket of its time.
fn answer(row: &FlowRow) -> Vec<u16> {
    let Tokens::U16(tokens) = &row.tokens else { panic!("field tokens are u16") };
    let mut spans = field::packet_spans(tokens);
    let span = spans.find(|span| span.direction == Direction::Reverse).unwrap();
    let packet = &tokens[span.start..span.end];
    let times = vocab::TIME.first..vocab::DIGIT.first;
    let time = packet.iter().position(|token| times.contains(token)).unwrap();
    packet[..=time].to_vec()
}

#[test]
fn a_server_answers_as_the_last_time() {
    let workdir = trained_for(300);
    workdir.succeed(&format!("{TRACE} --flows 600 --output-dir out --traces out.arrow"));
    let flows = datasets::read(&workdir.path("out"));
    let (mut same, mut all) = (0, 0);
    for server in read_hosts(&workdir.path("out.arrow")).unwrap() {
        if server.role != HostRole::Server {
            continue;
        }
        // What a server answers depends on the SYN.
        let mut answers: BTreeMap<Vec<u16>, Vec<Vec<u16>>> = BTreeMap::new();
        for row in &server.flows {
            let row = &flows[*row as usize];
            let Tokens::U16(tokens) = &row.tokens else { panic!("field tokens are u16") };
            answers.entry(syn_of(tokens).unwrap().tokens).or_default().push(answer(row));
        }
        for answers in answers.values().filter(|answers| answers.len() > 1) {
            all += 1;
            same += usize::from(answers.iter().all(|answer| *answer == answers[0]));
        }
    }
    // Where no session can have the answer, its flow leaves it.
    assert!(same > 0, "{same} of {all}");
}
