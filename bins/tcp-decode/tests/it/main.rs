//! The program from outside: what it reads, writes and says, and how it exits.

mod hosts;
mod into;
mod panics;
mod parts;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrowio::{DatasetFormat, FlowRow, FlowSummary, Tokens, WriteOptions};
use flowtrack::Flow;
use serde_json::Value;
use tcpwire::CaptureReader;
use testkit::Scratch;
use testkit::captures::complete_flows;
use testkit::datasets::{FIELD, WORD16, encoded_row, meta, write_file};
use tokenizer::{FlowIdentity, field, word16};

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("tcp-decode"))
}

fn run(args: &[&str]) -> Output {
    program().args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// The worked flow of the token reference, from another client port, later by `delay_ns`, every gap
/// times `stretch`.
fn flow(port: u16, delay_ns: i64, stretch: i64) -> Flow {
    let mut flow = field::doc::worked_flow();
    flow.client.port = port;
    let first = flow.packets[0].time_ns;
    for packet in &mut flow.packets {
        packet.time_ns = first + delay_ns + (packet.time_ns - first) * stretch;
    }
    flow
}

fn captured(flow: &Flow, frame: u64) -> FlowRow {
    let label = Some("web".to_owned());
    let source = "a,b.pcap".to_owned();
    let summary = FlowSummary { source, first_frame: frame, label, ..FlowSummary::default() };
    FlowRow { summary: Some(summary), ..encoded_row(flow) }
}

/// The flow as a model would make it: tokens alone.
fn generated(flow: &Flow) -> FlowRow {
    FlowRow { identity: FlowIdentity::default(), summary: None, ..captured(flow, 0) }
}

fn dataset(scratch: &Scratch, rows: &[FlowRow], format: DatasetFormat) -> String {
    let path = scratch.path_text("set");
    let words = rows.iter().any(|row| matches!(row.tokens, Tokens::I32(_)));
    let meta = meta(if words { WORD16 } else { FIELD });
    let options = WriteOptions { format, ..WriteOptions::default() };
    write_file(Path::new(&path), rows, &meta, &options);
    path
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    time_ns: i64,
    wire_len: u32,
    octets: Vec<u8>,
}

impl Frame {
    /// Of an IPv4 packet: source, its port, destination, its port.
    fn ends(&self) -> (String, u16, String, u16) {
        let ip = |at: usize| {
            self.octets[at..at + 4].iter().map(u8::to_string).collect::<Vec<_>>().join(".")
        };
        let port = |at: usize| u16::from_be_bytes([self.octets[at], self.octets[at + 1]]);
        (ip(26), port(34), ip(30), port(36))
    }
}

fn frames(octets: &[u8]) -> Vec<Frame> {
    let mut reader = CaptureReader::new(octets).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(Frame {
            time_ns: frame.time_ns,
            wire_len: frame.orig_len,
            octets: frame.data.to_vec(),
        });
    }
    frames
}

fn frames_of(path: &str) -> Vec<Frame> {
    frames(&fs::read(path).unwrap())
}

/// Runs with `--json`, replacing what an earlier run has written; gives exit code and summary.
fn decode(args: &[&str]) -> (i32, Value) {
    let output = run(&[args, &["--json", "--force"]].concat());
    let summary = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), summary.unwrap_or_else(|_| panic!("{}", text(&output.stderr))))
}

/// Returns the fields of a capture by tshark, a line per packet; `None`, with a message, where
/// tshark is not installed.
fn tshark(path: &str, fields: &[&str]) -> Option<Vec<String>> {
    let prefs = ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE"];
    let mut command = Command::new("tshark");
    command.args(["-r", path, "-T", "fields"]);
    command
        .args(prefs.iter().flat_map(|pref| ["-o", pref]))
        .args(fields.iter().flat_map(|field| ["-e", field]));
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", text(&output.stderr));
            Some(text(&output.stdout).lines().map(str::to_owned).collect())
        }
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "skipped: tshark: {error}"));
            None
        }
    }
}

#[test]
fn a_dataset_without_a_flow_is_told_of() {
    let scratch = Scratch::new();
    let output =
        run(&[&dataset(&scratch, &[], DatasetFormat::Arrow), &scratch.path_text("out.pcap")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no flow of it is written"), "{}", text(&output.stderr));
}

#[test]
fn a_start_that_pcap_can_not_say_is_refused_at_once() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[generated(&flow(1, 0, 1))], DatasetFormat::Arrow);
    let written = |name: &str| {
        run(&[&input, &scratch.path_text(name), "--start-time", "2106-02-07T06:28:16Z"])
    };
    let refused = written("out.pcap");
    assert_eq!(refused.status.code(), Some(2));
    let expected = "tcp-decode: --start-time: expected a time before 2106";
    assert!(text(&refused.stderr).starts_with(expected), "{}", text(&refused.stderr));
    assert_eq!(written("out.pcapng").status.code(), Some(0));
}

#[test]
fn captured_flows_come_back_as_they_were_interleaved_by_time() {
    let scratch = Scratch::new();
    // The later one stands first in the dataset.
    let flows = [flow(1002, 40_000_000, 1), flow(1001, 0, 3)];
    let input =
        dataset(&scratch, &[captured(&flows[0], 9), captured(&flows[1], 2)], DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    let (code, summary) = decode(&[&input, &output]);
    assert_eq!(
        (code, &summary["flows_written"], &summary["packets"]),
        (0, &Value::from(2), &Value::from(22))
    );
    let seen = frames_of(&output);
    assert!(seen.is_sorted_by_key(|f| f.time_ns));
    for flow in flows {
        let own = seen.iter().filter(|f| [f.ends().1, f.ends().3].contains(&flow.client.port));
        for (frame, packet) in own.zip(&flow.packets) {
            assert_eq!(frame.time_ns, packet.time_ns);
            let header_len = 14 + 20 + 20 + usize::from(packet.options.len);
            assert_eq!(frame.octets[header_len..], vec![b'.'; packet.payload_len as usize]);
            assert_eq!(frame.wire_len, frame.octets.len() as u32);
            assert_eq!(frame.octets[38..42], packet.seq.0.to_be_bytes());
        }
    }
}

#[test]
fn several_datasets_are_one_capture() {
    let scratch = Scratch::new();
    let rows = [captured(&flow(40_000, 0, 1), 1), captured(&flow(40_001, 1_000_000, 2), 2)];
    let whole = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let parts = rows.each_ref().map(|row| {
        let folder = Scratch::new();
        let path = dataset(&folder, std::slice::from_ref(row), DatasetFormat::Arrow);
        (folder, path)
    });
    let out = |name: &str| scratch.path_text(name);
    assert_eq!(decode(&[&whole, &out("whole.pcap")]).0, 0);
    let (code, summary) = decode(&[&parts[0].1, &parts[1].1, &out("parts.pcap")]);
    assert_eq!((code, &summary["flows_written"]), (0, &2.into()));
    assert!(frames_of(&out("parts.pcap")) == frames_of(&out("whole.pcap")));
    let output = run(&["-", &whole, &out("refused.pcap")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("-: expected stdin as the only input"));
    let output = run(&[&whole]);
    assert!(text(&output.stderr).contains("expected INPUT before OUTPUT, found one path"));
}

#[test]
fn generated_flows_get_ends_and_times_from_the_options() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..50).map(|_| generated(&flow(1, 0, 1))).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Parquet);
    let output = scratch.path_text("out.pcap");
    let options = [
        "--client-net",
        "10.9.0.0/16",
        "--server-net",
        "172.20.1.7/32",
        "--start-time",
        "2030-01-01T00:00:00Z",
    ];
    let macs = ["--client-mac", "02:00:00:00:00:0c", "--server-mac", "02:00:00:00:00:05"];
    let (code, _) = decode(
        &[&[input.as_str(), output.as_str(), "--flows-per-second", "5"], &options[..], &macs]
            .concat(),
    );
    assert_eq!(code, 0);
    let seen = frames_of(&output);
    for frame in &seen {
        let from_client = frame.ends().0.starts_with("10.9.");
        let (to, from) = if from_client { (5, 0xc) } else { (0xc, 5) };
        assert_eq!(frame.octets[..12], [2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from]);
    }
    assert_eq!(seen[0].time_ns, 1_893_456_000_000_000_000);
    let span_s = (seen[seen.len() - 1].time_ns - seen[0].time_ns) / 1_000_000_000;
    assert!((4..30).contains(&span_s), "{span_s}");
    let syns: Vec<_> = seen.iter().filter(|f| f.octets[47] == 2).map(Frame::ends).collect();
    assert_eq!(syns.iter().collect::<HashSet<_>>().len(), 50);
    for (client, port, server, server_port) in syns {
        assert!(client.starts_with("10.9.") && port >= 32_768, "{client} {port}");
        assert_eq!((server.as_str(), server_port), ("172.20.1.7", 80));
    }
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..20).map(|_| generated(&flow(1, 0, 1))).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let made = |seed: &str, memory: &str| {
        let output = scratch.path_text("out.pcapng");
        decode(&[&input, &output, "--seed", seed, "--payload", "random", "--sort-memory", memory]);
        fs::read(output).unwrap()
    };
    assert!(made("3", "64") == made("3", "0"), "sorting in parts changes nothing");
    assert!(made("3", "64") != made("4", "64"));
}

#[test]
fn checksums_and_lengths_are_right_to_tshark() {
    let scratch = Scratch::new();
    let input = dataset(
        &scratch,
        &[captured(&flow(1001, 0, 1), 1), generated(&flow(1, 0, 1))],
        DatasetFormat::Arrow,
    );
    for payload in ["none", "zero", "random", "0x2e", "255"] {
        for more in [&[][..], &["--vlan", "7"], &["--format", "pcapng"]] {
            let output = scratch.path_text("out.cap");
            decode(&[&[input.as_str(), &output, "--payload", payload], more].concat());
            let seen = frames_of(&output);
            let is_whole = seen.iter().all(|f| f.wire_len == f.octets.len() as u32);
            assert_eq!(is_whole, payload != "none");
            let fields = ["ip.checksum.status", "tcp.checksum.status", "_ws.malformed", "vlan.id"];
            let Some(lines) = tshark(&output, &fields) else { return };
            assert_eq!(lines.len(), 22);
            let vlan = if more.contains(&"--vlan") { "7" } else { "" };
            for (line, frame) in lines.iter().zip(seen) {
                // 0 is wrong, 1 right, 2 not looked at, since the payload is not there.
                let tcp = if frame.wire_len == frame.octets.len() as u32 { "1" } else { "2" };
                assert_eq!(line, &format!("1\t{tcp}\t\t{vlan}"), "{payload} {more:?}");
            }
        }
    }
}

#[test]
fn the_resolution_is_what_the_flows_need() {
    let scratch = Scratch::new();
    let magic = |delay_ns, output: &str, options: &[&str]| {
        let input = dataset(&scratch, &[captured(&flow(1, delay_ns, 1), 1)], DatasetFormat::Arrow);
        let output = scratch.path_text(output);
        let (code, summary) = decode(&[&[input.as_str(), &output], options].concat());
        assert_eq!(code, 0);
        // The summary says for how many flows the capture counts nanoseconds, unless one asks.
        let is_said = delay_ns % 1_000 != 0 && options.is_empty();
        assert_eq!(summary["flows_in_nanoseconds"], u64::from(is_said));
        fs::read(output).unwrap()[..4].to_vec()
    };
    let (us, ns, ng) =
        (0xa1b2_c3d4_u32.to_le_bytes(), 0xa1b2_3c4d_u32.to_le_bytes(), [10, 13, 13, 10]);
    assert_eq!(magic(5_000, "out.pcap", &[]), us);
    assert_eq!(magic(5_001, "out.pcap", &[]), ns);
    assert_eq!(magic(5_001, "out.pcap", &["--resolution", "us"]), us);
    assert_eq!(magic(5_000, "out", &["--resolution", "ns"]), ns);
    assert_eq!(magic(5_000, "out.pcapng", &[]), ng);
    assert_eq!(magic(5_000, "out.pcapng", &["--format", "pcap"]), us);
}

#[test]
fn generated_flows_count_microseconds_and_their_labels_too() {
    let scratch = Scratch::new();
    let mut finer = flow(1, 0, 1);
    finer.packets[0].time_ns += 1;
    let labels = scratch.path_text("labels.csv");
    let count = |rows: &[FlowRow], options: &[&str]| {
        let input = dataset(&scratch, rows, DatasetFormat::Arrow);
        let output = scratch.path_text("out.pcap");
        let (code, summary) =
            decode(&[&[input.as_str(), &output, "--labels", &labels], options].concat());
        assert_eq!(code, 0);
        let magic = u32::from_le_bytes(fs::read(&output).unwrap()[..4].try_into().unwrap());
        (magic, summary["flows_in_nanoseconds"].as_u64().unwrap(), frames_of(&output))
    };
    let (us, ns) = (0xa1b2_c3d4, 0xa1b2_3c4d);
    let (magic, in_ns, seen) = count(&[generated(&finer)], &[]);
    assert_eq!((magic, in_ns), (us, 0));
    let line = fs::read_to_string(&labels).unwrap().lines().nth(1).unwrap().to_owned();
    let numbers: Vec<i64> = line.split(',').filter_map(|cell| cell.parse().ok()).collect();
    let span = seen[seen.len() - 1].time_ns - seen[0].time_ns;
    assert!(numbers.ends_with(&[seen[0].time_ns, span]), "{line}");
    let (magic, in_ns, seen) = count(&[generated(&finer)], &["--resolution", "ns"]);
    assert_eq!((magic, in_ns), (ns, 0));
    assert!(seen.iter().any(|frame| frame.time_ns % 1_000 != 0));
    // A captured flow beside it asks for nanoseconds.
    let (magic, in_ns, _) = count(&[generated(&finer), captured(&finer, 1)], &[]);
    assert_eq!((magic, in_ns), (ns, 1));
}

#[test]
fn the_summary_says_what_payload_takes_on_the_disk() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[generated(&flow(1, 0, 1))], DatasetFormat::Arrow);
    let sizes = |name: &str, options: &[&str]| {
        let output = scratch.path_text(name);
        let (_, summary) = decode(&[&[input.as_str(), &output], options].concat());
        let size = |key: &str| summary[key].as_u64().unwrap();
        assert_eq!(size("octets_on_disk"), fs::metadata(&output).unwrap().len());
        (size("octets"), size("octets_on_disk"), size("payload_octets"))
    };
    let payload = flow(1, 0, 1).packets.iter().map(|p| u64::from(p.payload_len)).sum::<u64>();
    let (whole, _, of_it) = sizes("whole.pcap", &[]);
    let (bare, _, none) = sizes("bare.pcap", &["--payload", "none"]);
    assert_eq!((of_it, none, whole - bare), (payload, 0, payload));
    let (octets, on_disk, _) = sizes("packed.pcap.gz", &[]);
    assert!(octets == whole && on_disk < octets);
    let said = run(&[&input, &scratch.path_text("more.pcap")]);
    assert!(text(&said.stdout).contains("(--payload none leaves it out)"), "{said:?}");
}

#[test]
fn an_mtu_splits_long_packets_and_the_streams_stay() {
    let scratch = Scratch::new();
    let flows = complete_flows(&testkit::testdata("offload.pcap"));
    let rows: Vec<FlowRow> = flows.iter().map(encoded_row).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let [whole, split] = ["whole.pcap", "split.pcap"].map(|name| scratch.path_text(name));
    let (code, summary) = decode(&[&input, &whole, "--payload", "zero"]);
    let too_long = |path: &str| frames_of(path).iter().filter(|f| f.wire_len > 1514).count() as u64;
    assert!(too_long(&whole) > 0);
    assert_eq!((code, summary["packets_over_1500"].as_u64()), (0, Some(too_long(&whole))));
    assert_eq!(summary["split_packets"], 0);
    let (code, summary) = decode(&[&input, &split, "--payload", "zero", "--mtu", "1500"]);
    assert_eq!((code, summary["packets_over_1500"].as_u64()), (0, Some(0)));
    assert_eq!(summary["split_packets"].as_u64(), Some(too_long(&whole)));
    assert_eq!(too_long(&split), 0);
    assert_eq!(summary["packets"], frames_of(&split).len());

    let fields = ["ip.checksum.status", "tcp.checksum.status", "_ws.malformed"];
    let Some(checked) = tshark(&split, &fields) else { return };
    // IPv6 has no checksum of its own.
    let wrong = checked.iter().find(|line| !["1\t1\t", "\t1\t"].contains(&line.as_str()));
    assert_eq!(wrong, None);
    // Each stream: its octets by direction, and what Wireshark's analysis finds wrong.
    let streams = |path: &str| {
        let fields = ["tcp.stream", "tcp.srcport", "tcp.len", "tcp.flags.fin"];
        let mut octets = std::collections::BTreeMap::new();
        for line in tshark(path, &fields).unwrap() {
            let values: Vec<u64> = line.split('\t').map(|v| v.parse().unwrap()).collect();
            let [stream, port, len, fin] = values[..] else { panic!("{line}") };
            let seen: &mut (u64, u64) = octets.entry((stream, port)).or_default();
            *seen = (seen.0 + len, seen.1 + fin);
        }
        octets
    };
    assert_eq!(streams(&whole), streams(&split));
    let wrong = |path: &str| {
        let found = ["tcp.analysis.lost_segment", "tcp.analysis.out_of_order"];
        tshark(path, &found).unwrap().iter().filter(|line| !line.trim().is_empty()).count()
    };
    assert_eq!(wrong(&whole), wrong(&split));
}

#[test]
fn a_stream_goes_through_pipes() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1001, 0, 1), 1)], DatasetFormat::Stream);
    let child = program().args(["-", "-"]).stdin(File::open(input).unwrap()).output().unwrap();
    assert_eq!(child.status.code(), Some(0));
    assert_eq!(frames(&child.stdout).len(), 11);
    assert_eq!(child.stdout[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    assert!(text(&child.stderr).contains("flows written"), "the summary goes to stderr");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..3000).map(|i| captured(&flow(i, 0, 1), 1)).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Stream);
    let mut child = program()
        .args([&input, "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_decoded_is_left_out_and_named() {
    let scratch = Scratch::new();
    let good = captured(&flow(1001, 0, 1), 1);
    let with_tokens =
        |tokens: &[u16]| FlowRow { tokens: Tokens::U16(tokens.to_vec()), ..good.clone() };
    let Tokens::U16(whole) = &good.tokens else { panic!() };
    let cut = with_tokens(&whole[..whole.len() / 2]);
    let wrong = with_tokens(&[1023, 1023]);
    let input = dataset(&scratch, &[cut, good.clone(), wrong], DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    let (code, summary) = decode(&[&input, &output]);
    assert_eq!(
        (code, &summary["flows_read"], &summary["flows_written"]),
        (1, &Value::from(3), &Value::from(1))
    );
    let reasons: u64 =
        summary["left_out"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(reasons, 2);
    assert_eq!(frames_of(&output).len(), 11);
    let said = run(&[&input, &output, "--force"]);
    let said = text(&said.stderr);
    assert!(said.contains("tcp-decode: left out: flow (a,b.pcap, frame 1): token "), "{said}");
    assert!(
        said.contains("tcp-decode: left out: flow (row 3): token 0 (from 0): expected "),
        "{said}"
    );
}

#[test]
fn a_dataset_cut_off_gives_what_it_holds_and_says_so() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..2).map(|i| captured(&flow(i, 0, 1), 1)).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Stream);
    let mut octets = fs::read(&input).unwrap();
    octets.truncate(octets.len() - 8);
    fs::write(&input, octets).unwrap();
    let output = scratch.path_text("out.pcap");
    let (code, summary) = decode(&[&input, &output]);
    assert_eq!((code, &summary["flows_written"]), (1, &Value::from(2)));
}

#[test]
fn an_arrow_file_cut_off_anywhere_gives_what_stands_before() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..2).map(|i| captured(&flow(i, 0, 1), 1)).collect();
    let (input, output) =
        (dataset(&scratch, &rows, DatasetFormat::Arrow), scratch.path_text("out.pcap"));
    let whole = fs::read(&input).unwrap();
    let mut kept = Vec::new();
    for length in [whole.len() - 3, whole.len() - 700, whole.len() / 2] {
        fs::write(&input, &whole[..length]).unwrap();
        let (code, summary) = decode(&[&input, &output]);
        assert_eq!(
            (code, &summary["left_out"]["file: the rest of one cannot be read"]),
            (1, &Value::from(1))
        );
        kept.push(summary["flows_written"].as_u64().unwrap());
    }
    assert_eq!((kept[0], kept[2]), (2, 0));
}

#[test]
fn a_wrong_cell_costs_its_row_alone() {
    let scratch = Scratch::new();
    let mut rows: Vec<_> = (0..5).map(|i| captured(&flow(i, 0, 1), 1)).collect();
    // Of another IP version than the tokens.
    rows[1].identity.client.addr = "2001:db8::1".parse().ok();
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let (output, reports) = (scratch.path_text("out.pcap"), scratch.path_text("reports"));
    let (code, summary) = decode(&[&input, &output, "--reports", &reports]);
    assert_eq!(
        (code, &summary["flows_read"], &summary["flows_written"]),
        (1, &Value::from(5), &Value::from(4))
    );
    assert_eq!(summary["left_out"]["column client_addr: an address of the other IP version"], 1);
    let failures = fs::read_to_string(format!("{reports}/failures.csv")).unwrap();
    assert_eq!(
        failures,
        "field,reason,times\ncolumn client_addr,an address of the other IP version,1\n"
    );
    let validity = fs::read_to_string(format!("{reports}/validity.csv")).unwrap();
    assert_eq!(validity, "class,read,written,left_out\ngraceful,4,4,0\nunknown,1,0,1\n");
    assert_eq!(
        fs::read_to_string(format!("{reports}/packets-per-flow.csv")).unwrap(),
        "packets,flows\n11,4\n"
    );
    let json: Value =
        serde_json::from_str(&fs::read_to_string(format!("{reports}/reports.json")).unwrap())
            .unwrap();
    assert_eq!(json["packets_per_flow"][0]["packets"], 11);
}

#[test]
fn what_is_no_dataset_is_refused() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path_text("notes.txt"), scratch.path_text("out.pcap"));
    fs::write(&input, "not a dataset at all").unwrap();
    let refused = run(&[&input, &output]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(text(&refused.stderr).lines().count(), 1);
    assert!(
        text(&refused.stderr)
            .starts_with(&format!("tcp-decode: {input}: octet 0: expected ff ff ff ff, found"))
    );
    assert!(!Path::new(&output).exists());
    assert_eq!(run(&["/no/such/set", &output]).status.code(), Some(2));
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn split_writes_a_file_per_flow_and_labels_them() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..3).map(|i| captured(&flow(1000 + i, 0, 1), 1)).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let (folder, labels) = (scratch.path_text("flows"), scratch.path_text("labels.csv"));
    let args = [&input, &folder, "--split", "flow", "--labels", &labels];
    let (code, summary) = decode(&args);
    assert_eq!((code, &summary["files"]), (0, &Value::from(3)));
    let names: Vec<_> = files(&folder)
        .iter()
        .map(|f| f.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["flow-0000001.pcap", "flow-0000002.pcap", "flow-0000003.pcap"]);
    for (i, file) in files(&folder).iter().enumerate() {
        let seen = frames(&fs::read(file).unwrap());
        assert_eq!((seen.len(), seen[0].ends().1), (11, 1000 + i as u16));
    }
    let written = fs::read_to_string(&labels).unwrap();
    let start = 1_700_000_000_000_000_000_i64;
    assert_eq!(
        written.lines().nth(2).unwrap(),
        format!(
            "2,flow-0000002.pcap,1,11,192.0.2.1,1001,198.51.100.2,80,{start},92150000,graceful,\
             fin,\"a,b.pcap\",1,web,"
        )
    );
    // Once more: the folder is there and not empty.
    let refused = run(&args);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).ends_with(
        "expected no folder or an empty one, found one that is not empty (--force replaces \
         captures of flows)\n"
    ));
    assert_eq!(run(&[&args[..], &["--force"]].concat()).status.code(), Some(0));
    // A file under the name of a flow's capture that is none.
    fs::write(format!("{folder}/flow-0000009.pcap"), "mine").unwrap();
    let refused = run(&[&args[..], &["--force"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).ends_with("to replace, found flow-0000009.pcap in it\n"));
}

#[test]
fn no_output_that_exists_is_replaced_unasked_and_none_of_another_kind_ever() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1000, 0, 1), 1)], DatasetFormat::Arrow);
    let new = |name: &str| scratch.path_text(name);
    let check = |args: &[&str], at: &str, expected: &str| {
        let before = fs::read(at).unwrap();
        let output = run(&[&[input.as_str()], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?} {said}");
        assert!(said.ends_with(&format!("{expected}\n")), "{said}");
        assert_eq!((fs::read(at).unwrap(), said.lines().count()), (before, 1));
    };
    let (capture, packed, labels) = (new("a.pcap"), new("a.pcap.gz"), new("a.csv"));
    assert_eq!(run(&[&input, &capture, "--labels", &labels]).status.code(), Some(0));
    assert_eq!(run(&[&input, &packed]).status.code(), Some(0));
    check(&[&capture], &capture, "expected no file there, found one (--force replaces a capture)");
    check(&[&packed], &packed, "expected no file there, found one (--force replaces a capture)");
    check(
        &[&new("b.pcap"), "--labels", &labels],
        &labels,
        "expected no file there, found one (--force replaces a label file)",
    );
    for path in [&capture, &packed] {
        assert_eq!(run(&[&input, path, "--force"]).status.code(), Some(0));
    }
    assert_eq!(run(&[&input, &capture, "--labels", &labels, "--force"]).status.code(), Some(0));
    let other = new("mine.csv");
    fs::write(&other, "name,value\n").unwrap();
    let cat = new("mine.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"not a capture at all, but gzip").unwrap();
    fs::write(&cat, gzip.finish().unwrap()).unwrap();
    check(&[&labels, "--force", "--format", "pcap"], &labels, "another file");
    check(&[&cat, "--force"], &cat, "expected a capture to replace, found another file");
    check(
        &[&new("b.pcap"), "--force", "--labels", &other],
        &other,
        "expected a label file to replace, found another file",
    );
    let (reports, mine) = (new("reports"), new("reports/failures.csv"));
    fs::create_dir(&reports).unwrap();
    fs::write(&mine, "mine\n").unwrap();
    check(
        &[&new("b.pcap"), "--force", "--reports", &reports],
        &mine,
        "expected a folder of an earlier run to replace, found failures.csv in it",
    );
    assert!(!Path::new(&new("b.pcap")).exists());
}

#[test]
fn labels_may_lie_beside_the_files_of_flows() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1000, 0, 1), 1)], DatasetFormat::Arrow);
    let folder = scratch.path_text("flows");
    let labels = format!("{folder}/labels.csv");
    assert_eq!(
        run(&[&input, &folder, "--split", "flow", "--labels", &labels]).status.code(),
        Some(0)
    );
    assert_eq!(fs::read_to_string(labels).unwrap().lines().count(), 2);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn labels_say_where_in_the_capture_a_flow_begins() {
    let scratch = Scratch::new();
    let rows = [
        captured(&flow(1002, 40_000_000, 1), 1),
        generated(&flow(1, 0, 1)),
        captured(&flow(1001, 0, 1), 1),
    ];
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let (output, labels) = (scratch.path_text("out.pcap"), scratch.path_text("labels.csv"));
    assert_eq!(decode(&[&input, &output, "--labels", &labels]).0, 0);
    let seen = frames_of(&output);
    let labels = fs::read_to_string(labels).unwrap();
    assert_eq!(labels.lines().count(), 4);
    for line in labels.lines().skip(1) {
        let parts: Vec<&str> = line.split(',').collect();
        let first = &seen[parts[2].parse::<usize>().unwrap() - 1];
        assert_eq!(
            first.ends(),
            (
                parts[4].into(),
                parts[5].parse().unwrap(),
                parts[6].into(),
                parts[7].parse().unwrap()
            )
        );
        assert_eq!(first.time_ns.to_string(), parts[8]);
        assert_eq!(parts[1], "out.pcap", "a name that can be shared");
    }
}

#[test]
fn the_originals_words_are_decoded_too() {
    let scratch = Scratch::new();
    let mut words = Vec::new();
    word16::encode(&flow(1001, 0, 1), &mut words).unwrap();
    let row =
        FlowRow { tokens: Tokens::I32(words), identity: FlowIdentity::default(), summary: None };
    let input = dataset(&scratch, &[row], DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    let (code, summary) = decode(&[&input, &output]);
    assert_eq!((code, &summary["packets_without_times"]), (0, &Value::from(11)));
    assert_eq!(frames_of(&output).len(), 11);
}

#[test]
fn a_folder_as_output_gets_one_capture() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1001, 0, 1), 1)], DatasetFormat::Arrow);
    let folder = scratch.path_text("folder");
    fs::create_dir(&folder).unwrap();
    assert_eq!(decode(&[&input, &folder]).0, 0);
    assert_eq!(files(&folder), [Path::new(&folder).join("capture.pcap")]);
}

#[test]
fn labels_go_to_stdout_where_it_is_free() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1001, 0, 1), 1)], DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    let done = run(&[&input, &output, "--labels", "-"]);
    assert_eq!(done.status.code(), Some(0));
    assert!(
        text(&done.stdout).starts_with("flow,file,") && text(&done.stdout).lines().count() == 2
    );
    assert!(text(&done.stderr).contains("flows written"));
    let refused = run(&[&input, "-", "--labels", "-"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    assert!(
        text(&refused.stderr).contains("--labels -: expected a file"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn the_name_of_the_output_says_what_it_is() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1001, 0, 1), 1)], DatasetFormat::Arrow);
    let packed = scratch.path_text("out.pcapng.gz");
    assert_eq!(decode(&[&input, &packed]).0, 0);
    let octets = fs::read(&packed).unwrap();
    assert_eq!(octets[..2], [0x1f, 0x8b]);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&octets[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(plain[..4], [10, 13, 13, 10]);
    assert_eq!(frames(&plain).len(), 11);
    for name in ["out.arrow", "out.pcap.zst", "out.csv"] {
        let refused = run(&[&input, &scratch.path_text(name)]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(
            text(&refused.stderr).contains("expected the name of a .pcap"),
            "{}",
            text(&refused.stderr)
        );
        assert!(!Path::new(&scratch.path_text(name)).exists());
    }
}

#[test]
fn flows_without_free_ends_are_left_out() {
    let scratch = Scratch::new();
    let rows: Vec<_> = (0..3).map(|_| generated(&flow(1, 0, 1))).collect();
    let input = dataset(&scratch, &rows, DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    let net = "10.0.0.1/32";
    let (code, summary) = decode(&[&input, &output, "--client-net", net, "--server-net", net]);
    assert_eq!((code, &summary["flows_written"]), (1, &Value::from(0)));
    assert_eq!(summary["left_out"]["addresses and ports: none is free in the networks"], 3);
}

#[test]
fn a_flow_of_a_host_with_itself_comes_back_exactly() {
    let scratch = Scratch::new();
    let mut loopback = flow(1001, 0, 1);
    loopback.client.addr = [127, 0, 0, 1].into();
    loopback.server.addr = loopback.client.addr;
    let input = dataset(&scratch, &[captured(&loopback, 1)], DatasetFormat::Arrow);
    let output = scratch.path_text("out.pcap");
    assert_eq!(decode(&[&input, &output]).0, 0);
    let ends = frames_of(&output)[0].ends();
    assert_eq!(ends, ("127.0.0.1".into(), 1001, "127.0.0.1".into(), 80));
}
