//! Several inputs, and captures as a tap or a rotation writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use arrowio::{DatasetReader, FlowRow, FlowSummary};
use dataset::CODEC_IDS;
use serde_json::Value;
use tcpwire::CaptureReader;

use crate::{Scratch, code, skipped, stderr, tcp_encode, testdata};

/// Runs a tool; `false` if it is absent or fails.
fn run(tool: &str, args: &[&str]) -> bool {
    let run = Command::new(tool).args(args).stderr(Stdio::null()).stdout(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the files of a folder, in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn rows(set: &Path) -> Vec<FlowRow> {
    DatasetReader::open(set, &CODEC_IDS).unwrap().map(Result::unwrap).collect()
}

/// Returns the rows without the names and numbers of their first frames, in any one order.
pub(crate) fn flows(rows: &[FlowRow]) -> Vec<FlowRow> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        let FlowSummary { source, first_frame, .. } = row.summary.as_mut().unwrap();
        (*source, *first_frame) = (String::new(), 0);
    }
    rows.sort_by_key(|row| (row.identity.start_ns, row.identity.client_port));
    rows
}

/// Returns the times of the frames of captures, by the name below a folder.
fn times(folder: &Path) -> BTreeMap<String, Vec<i64>> {
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for path in files(folder) {
        let mut reader = CaptureReader::new(File::open(&path).unwrap()).unwrap();
        let of_file =
            times.entry(path.file_name().unwrap().to_str().unwrap().to_owned()).or_default();
        while let Some(frame) = reader.next_frame().unwrap() {
            of_file.push(frame.time_ns);
        }
    }
    times
}

/// Checks that `--merge` reads the captures of a folder as `mergecap` joins them, and names the
/// first frame of each flow. Returns the summary, or `None` without mergecap.
fn check_like_mergecap(folder: &Path) -> Option<Value> {
    let scratch = Scratch::new();
    let (joined, set, expected) =
        (scratch.path("joined.pcapng"), scratch.path("set"), scratch.path("expected"));
    let paths = files(folder);
    let mut args = vec!["-w", text(&joined)];
    args.extend(paths.iter().map(|path| text(path)));
    if !run("mergecap", &args) {
        skipped("mergecap is not installed");
        return None;
    }
    let keep = [Path::new("--keep"), Path::new("all")];
    let output = tcp_encode(&[&joined, &expected, keep[0], keep[1]]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let merge = [Path::new("--merge"), Path::new("--json")];
    let output = tcp_encode(&[folder, &set, keep[0], keep[1], merge[0], merge[1]]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let (rows, expected) = (rows(&set), rows(&expected));
    assert!(!rows.is_empty());
    assert!(flows(&rows) == flows(&expected), "{} and {}", rows.len(), expected.len());
    let times = times(folder);
    for row in &rows {
        let summary = row.summary.as_ref().unwrap();
        let time_ns = times[&summary.source][summary.first_frame as usize - 1];
        assert_eq!(row.identity.start_ns, Some(time_ns), "{summary:?}");
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Writes one capture of several, 3 MB long: the clients of each follow those of the one before.
fn long_capture(scratch: &Scratch) -> Option<PathBuf> {
    let long = scratch.path("long.pcap");
    let names = ["http-clients.pcap", "http-lan.pcap", "ssh.pcap", "postgres.pcap", "smtp.pcap"];
    let paths = names.map(testdata);
    let mut args = vec!["-F", "pcap", "-w", text(&long)];
    args.extend(paths.iter().map(|path| text(path)));
    if run("mergecap", &args) {
        return Some(long);
    }
    skipped("mergecap is not installed");
    None
}

#[test]
fn files_that_tcpdump_rotates_by_size_are_one_capture() {
    let scratch = Scratch::new();
    let Some(long) = long_capture(&scratch) else { return };
    fs::create_dir(scratch.path("parts")).unwrap();
    let first = scratch.path_text("parts/trace.pcap");
    if !run("tcpdump", &["-r", text(&long), "-Z", "root", "-w", &first, "-C", "1"]) {
        return skipped("tcpdump is not installed");
    }
    let summary = check_like_mergecap(&scratch.path("parts")).unwrap();
    assert!(summary["captures"].as_u64().unwrap() >= 2, "{summary}");
    // Without --merge, the flows on the borders are counted, and the option named.
    let output = tcp_encode(&[&scratch.path("parts"), &scratch.path("set")]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("cut between captures: --merge reads them as one"), "{said}");
    let output = tcp_encode(&[&long, &scratch.path("whole"), Path::new("--json")]);
    let whole: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["frames", "tcp_packets", "conversations"] {
        assert_eq!(summary[key], whole[key], "{key}");
    }
}

#[test]
fn files_that_dumpcap_and_editcap_write_are_one_capture() {
    let scratch = Scratch::new();
    let Some(long) = long_capture(&scratch) else { return };
    for name in ["ring", "seconds"] {
        fs::create_dir(scratch.path(name)).unwrap();
    }
    // dumpcap names files x_00001_20260101120000, and their times are those of the packets.
    let ring = scratch.path_text("ring/x");
    let dumpcap = Command::new("dumpcap")
        .args(["-q", "-i", "-", "-b", "packets:1500", "-w", &ring])
        .stdin(File::open(&long).unwrap())
        .stderr(Stdio::null())
        .status();
    if dumpcap.is_ok_and(|status| status.success()) {
        check_like_mergecap(&scratch.path("ring"));
        assert!(files(&scratch.path("ring")).len() > 2);
    } else {
        skipped("dumpcap is not installed");
    }
    assert!(run("editcap", &["-i", "1", text(&long), &scratch.path_text("seconds/x.pcapng")]));
    check_like_mergecap(&scratch.path("seconds"));
    assert!(files(&scratch.path("seconds")).len() > 2);
}

#[test]
fn files_that_tcpdump_rotates_by_time_are_one_capture() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("live")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let pattern = scratch.path_text("live/x-%s.pcap");
    let filter = format!("tcp port {port}");
    let tcpdump = Command::new("tcpdump")
        .args(["-i", "lo", "-U", "-Z", "root", "-G", "1", "-w", &pattern, &filter])
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tcpdump) = tcpdump else { return skipped("tcpdump is not installed") };
    // The first octets of its messages come when it listens, or when it may not.
    let mut said = [0; 16];
    let _ = tcpdump.stderr.as_mut().unwrap().read(&mut said).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    if tcpdump.try_wait().unwrap().is_some() {
        return skipped("this user may not capture");
    }
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    for _ in 0..4 {
        client.write_all(b"question").unwrap();
        peer.read_exact(&mut said[..8]).unwrap();
        peer.write_all(b"answer").unwrap();
        client.read_exact(&mut said[..6]).unwrap();
        std::thread::sleep(Duration::from_millis(600));
    }
    drop((client, peer));
    std::thread::sleep(Duration::from_millis(300));
    assert!(run("kill", &["-INT", &tcpdump.id().to_string()]));
    tcpdump.wait().unwrap();
    assert!(files(&scratch.path("live")).len() > 1);
    if let Some(summary) = check_like_mergecap(&scratch.path("live")) {
        assert_eq!((&summary["conversations"], &summary["flows_kept"]), (&1.into(), &1.into()));
        assert_eq!(summary["classes"]["graceful"], 1, "{summary}");
    }
}

#[test]
fn two_directions_of_a_tap_are_one_capture() {
    let scratch = Scratch::new();
    let whole = testdata("http-lan.pcap");
    fs::create_dir(scratch.path("tap")).unwrap();
    let (to, from) = (scratch.path_text("tap/to.pcap"), scratch.path_text("from.pcap"));
    let filter = |direction: &str| format!("tcp {direction} port 80 or tcp {direction} port 8080");
    let split = |direction: &str, to: &str| {
        run("tcpdump", &["-r", text(&whole), "-w", to, &filter(direction)])
    };
    if !split("dst", &to) || !split("src", &from) {
        return skipped("tcpdump is not installed");
    }
    // Another resolution and another link type: each capture has its own.
    let raw = scratch.path_text("tap/from.pcap");
    assert!(run("editcap", &["-F", "nsecpcap", "-C", "14", "-T", "rawip", &from, &raw]));
    let summary = check_like_mergecap(&scratch.path("tap")).unwrap();
    assert_eq!(summary["captures"], 2);
    assert_eq!(summary["classes"]["partial"], Value::Null, "{summary}");
}

/// Writes a capture in parts of as many frames, and returns their paths.
fn parts(scratch: &Scratch, name: &str, frames: usize) -> Vec<PathBuf> {
    let octets = fs::read(testdata(name)).unwrap();
    let (head, records) = crate::one_session::records(&octets);
    let write = |(n, part): (usize, &[Vec<u8>])| {
        scratch.write(&format!("parts/{name}{n:02}"), &[&head[..], &part.concat()].concat())
    };
    records.chunks(frames).enumerate().map(write).collect()
}

#[test]
fn a_part_that_is_damaged_or_gone_is_named_and_the_others_are_read() {
    let scratch = Scratch::new();
    let mut paths = parts(&scratch, "quick.pcap", 60);
    let whole = fs::read(&paths[1]).unwrap();
    fs::write(&paths[1], &whole[..whole.len() - 5]).unwrap();
    fs::write(&paths[2], b"").unwrap();
    paths.push(scratch.path("parts/gone.pcap"));
    for merge in [&[][..], &["--merge"]] {
        let set = scratch.path(&format!("set{}", merge.len()));
        let mut args: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        args.push(&set);
        args.extend(merge.iter().map(Path::new));
        let output = tcp_encode(&args);
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{said}");
        for named in ["pcap01: cut short", "pcap02: not a capture", "gone.pcap: No such file"] {
            assert!(said.contains(named), "{named}: {said}");
        }
        let sources: Vec<String> =
            rows(&set).into_iter().map(|row| row.summary.unwrap().source).collect();
        assert!(sources.iter().any(|source| source == "quick.pcap00"), "{sources:?}");
        assert!(sources.iter().any(|source| source == "quick.pcap03"), "{sources:?}");
    }
}

#[test]
fn several_inputs_are_given_in_any_way() {
    let scratch = Scratch::new();
    let paths = parts(&scratch, "quick.pcap", 60);
    let list = scratch.write(
        "list",
        paths.iter().map(|p| format!("{}\n", p.display())).collect::<String>().as_bytes(),
    );
    let read = |name: &str, args: &[&Path]| {
        let set = scratch.path(name);
        let output = tcp_encode(&[args, &[&set, Path::new("--merge")]].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        fs::read(set.join("flows-00000.arrow")).unwrap()
    };
    let folder = read("folder", &[&scratch.path("parts")]);
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    assert!(folder == read("all", &all), "each named");
    assert!(folder == read("list-set", &[Path::new("--files-from"), &list]), "a list");
    assert!(folder == read("pattern", &[&scratch.path("parts/quick.pcap*")]), "a pattern");
    let whole = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("whole")]);
    assert_eq!(code(&whole), 0);
    assert!(flows(&rows(&scratch.path("whole"))) == flows(&rows(&scratch.path("all"))));
    let output = tcp_encode(&[&paths[0]]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("expected INPUT before OUTPUT"), "{}", stderr(&output));
}

#[test]
fn same_octets_whatever_the_jobs_with_merge() {
    let scratch = Scratch::new();
    parts(&scratch, "resets.pcap", 100);
    let read = |jobs: &str| {
        let set = scratch.path(&format!("set{jobs}"));
        let output = tcp_encode(&[
            &scratch.path("parts"),
            &set,
            Path::new("--merge"),
            Path::new("--jobs"),
            Path::new(jobs),
        ]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        fs::read(set.join("flows-00000.arrow")).unwrap()
    };
    assert!(read("1") == read("4"));
}

#[test]
fn names_that_a_rotation_makes_are_names_of_captures() {
    let scratch = Scratch::new();
    fs::copy(testdata("quick.pcap"), scratch.write("in/quick.pcap", b"")).unwrap();
    let rotated = ["a.pcap0", "a.pcap12", "a.pcapng3.gz", "x_00001_20260101120000", "b.cap.7"];
    let others = ["notes.txt", "x_1_2", "pcap", "a.md5"];
    for name in rotated.iter().chain(&others) {
        scratch.write(&format!("in/{name}"), b"text");
    }
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set")]);
    let said = stderr(&output);
    assert_eq!(code(&output), 1, "{said}");
    for name in rotated {
        assert!(said.contains(&format!("{name}: not a capture")), "{name}: {said}");
    }
    for name in others {
        assert!(!said.contains(&format!("{name}: ")), "{name}: {said}");
    }
}
