//! The program from outside: what it reads, writes and says, and how it exits.

mod anonymize;
mod artefacts;
mod filter;
mod flow_log;
mod labels;
mod merge;
mod not_read;
mod one_session;
mod parts;
mod traces;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;
use testkit::{Scratch, testdata};

fn tcp_encode(args: &[&Path]) -> Output {
    Command::cargo_bin("tcp-encode").unwrap().args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Reports on stderr that part of a test was skipped.
#[expect(clippy::print_stderr, reason = "a message to the person who runs the tests")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs with `--json` and a flow log; gives the exit code, the summary and the log's lines.
fn encode(input: &Path, more: &[&str]) -> (i32, Value, Vec<Value>) {
    let scratch = Scratch::new();
    let (set, log) = (scratch.path("set"), scratch.path("log"));
    let mut args: Vec<&Path> =
        vec![input, &set, Path::new("--json"), Path::new("--flow-log"), &log];
    args.extend(more.iter().map(|m| Path::new(*m)));
    let output = tcp_encode(&args);
    assert!(code(&output) < 2, "{}", stderr(&output));
    let summary = serde_json::from_slice(&output.stdout).unwrap();
    let lines = fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    (code(&output), summary, lines)
}

#[test]
fn quick_capture_all_done() {
    let (code, summary, lines) = encode(&testdata("quick.pcap"), &[]);
    assert_eq!(code, 0);
    assert_eq!(summary["conversations"], 19);
    assert_eq!(lines.len(), 19);
    let kept = lines.iter().filter(|l| l["kept"] == true).count();
    assert_eq!(summary["flows_kept"], kept);
    let packets: u64 = lines.iter().filter_map(|l| l["packets"].as_u64()).sum();
    assert_eq!(summary["tcp_packets"], packets);
    let first: Vec<u64> = lines.iter().filter_map(|l| l["first_packet"].as_u64()).collect();
    assert!(first.is_sorted(), "lines in order of first packets");
    for line in lines {
        assert_eq!(line["kept"] == true, line["reason"] == "", "{line}");
        assert_eq!(line["file"], "quick.pcap");
    }
}

#[test]
fn classes_add_up() {
    let capture = testdata("resets.pcap");
    let count = |keep: &str| encode(&capture, &["--keep", keep]).1["flows_kept"].as_u64().unwrap();
    assert_eq!(count("complete"), count("graceful") + count("reset"));
    assert_eq!(count("all"), count("graceful,reset,started,ended,partial"));
    assert!(count("strict") < count("graceful"));
    assert!(count("started") > 0);
}

#[test]
fn same_octets_whatever_the_jobs() {
    let scratch = Scratch::new();
    for name in ["quick.pcap", "resets.pcap", "parallel.pcap.gz", "office.pcapng", "postgres.pcap"]
    {
        fs::create_dir_all(scratch.path("in/deep")).unwrap();
        fs::copy(testdata(name), scratch.path("in/deep").join(name)).unwrap();
    }
    scratch.write("in/README.md", b"# not a capture");
    let run = |jobs: &str| {
        let (set, log) = (scratch.path(&format!("set{jobs}")), scratch.path(&format!("log{jobs}")));
        let flow_log = Path::new("--flow-log");
        let output = tcp_encode(&[
            &scratch.path("in"),
            &set,
            Path::new("--jobs"),
            Path::new(jobs),
            flow_log,
            &log,
        ]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        (fs::read(set.join("flows-00000.arrow")).unwrap(), fs::read_to_string(log).unwrap())
    };
    let one = run("1");
    assert!(one.1.starts_with("{\"file\":\"deep/office.pcapng\""));
    assert!(one == run("2"), "one job and two");
    assert!(one == run("7"), "one job and seven");
}

#[test]
fn cut_short_gives_what_is_before() {
    let scratch = Scratch::new();
    let whole = fs::read(testdata("quick.pcap")).unwrap();
    let (_, summary, _) = encode(&testdata("quick.pcap"), &[]);
    let cut = scratch.write("cut.pcap", &whole[..whole.len() - 7]);
    let output = tcp_encode(&[&cut, &scratch.path("set")]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    let frames = summary["frames"].as_u64().unwrap();
    assert!(
        said.contains("cut short at offset") && said.contains(&format!("in frame {frames}")),
        "{said}"
    );
    let (_, cut_summary, _) = encode(&cut, &[]);
    assert_eq!(cut_summary["frames"], frames - 1);
}

#[test]
fn garbage_behind_a_good_start() {
    let scratch = Scratch::new();
    let mut octets = fs::read(testdata("quick.pcap")).unwrap();
    let good = octets.len();
    octets.extend_from_slice(&[0xff; 4000]);
    let path = scratch.write("bad.pcap", &octets);
    let output = tcp_encode(&[&path, &scratch.path("set")]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(&format!("damaged at offset {good}")), "{}", stderr(&output));
    assert!(scratch.path("set/flows-00000.arrow").exists());
}

#[test]
fn garbage_from_the_start_writes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.write("bad.pcap", b"this is no capture at all");
    let output =
        tcp_encode(&[&path, &scratch.path("set"), Path::new("--flow-log"), &scratch.path("log")]);
    assert_eq!(code(&output), 2);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("bad.pcap: not a capture"));
    assert!(!scratch.path("set").exists() && !scratch.path("log").exists());
}

#[test]
fn a_name_that_promises_a_capture_is_named_where_it_is_none() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(testdata("quick.pcap"), scratch.path("in/quick.pcap")).unwrap();
    scratch.write("in/bad.pcap", b"nothing of the kind");
    scratch.write("in/notes.txt", b"nothing of the kind");
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set")]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("bad.pcap: not a capture"));
    assert!(!stderr(&output).contains("notes.txt"));
}

#[test]
fn a_capture_without_a_flow_is_told_of() {
    let scratch = Scratch::new();
    let capture = fs::read(testdata("quick.pcap")).unwrap();
    let path = scratch.write("in.pcap", &capture[..24]);
    let output = tcp_encode(&[&path, &scratch.path("set.csv")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("in.pcap: no flow of it is kept"), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("set.csv: a folder is made; names of files end in"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn empty_folder_fails() {
    let scratch = Scratch::new();
    scratch.write("in/notes.txt", b"x");
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set")]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("expected captures, found none"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_capture_that_can_not_be_read_does_not_keep_the_others_back() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(testdata("quick.pcap"), scratch.path("in/b.pcap")).unwrap();
    // Whoever reads it, its first octet is an error.
    std::os::unix::fs::symlink("/proc/self/mem", scratch.path("in/a.pcap")).unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.path("in/c.pcap")).unwrap();
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set"), Path::new("--json")]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("left out: ") && stderr(&output).contains("a.pcap: "),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("c.pcap: a link to what is not there"), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["captures"], &summary["conversations"]), (&1.into(), &19.into()));
    let output = tcp_encode(&[&scratch.path("in/a.pcap"), &scratch.path("alone")]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(!scratch.path("alone").exists());
}

#[test]
fn the_flow_log_on_stdout() {
    let scratch = Scratch::new();
    let log = [Path::new("--flow-log"), Path::new("-")];
    let output = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set"), log[0], log[1]]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 19);
    let output = tcp_encode(&[&testdata("quick.pcap"), Path::new("-"), log[0], log[1]]);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("one output on stdout, found OUTPUT and --flow-log"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn strict_names_what_it_refuses() {
    let (_, summary, lines) = encode(&testdata("quick.pcap"), &["--keep", "strict"]);
    let refused = summary["flows_left_out"]["flags other than strict"].as_u64().unwrap();
    assert!(refused > 0, "{summary}");
    let said = lines.iter().filter(|l| l["reason"] == "flags other than strict").count();
    assert_eq!(said as u64, refused);
    assert!(lines.iter().all(|l| l["reason"] != "class graceful"));
}

#[test]
fn one_of_a_thing_is_said_as_one() {
    let scratch = Scratch::new();
    let output = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("1 capture (") && said.contains("19 flows") && said.contains("1 file ("),
        "{said}"
    );
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_leaves_nothing_behind() {
    use std::io::Write;
    use std::process::Stdio;

    let scratch = Scratch::new();
    fs::create_dir(scratch.path("out")).unwrap();
    let (set, log) = (scratch.path("out/set"), scratch.path("out/log"));
    let program = assert_cmd::cargo::cargo_bin("tcp-encode");
    let mut run = std::process::Command::new(program)
        .args([Path::new("-"), &set, Path::new("--flow-log"), &log])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Ports used again: rows are written while the input stays open.
    let capture = fs::read(testdata("port-reuse.pcap")).unwrap();
    run.stdin.as_mut().unwrap().write_all(&capture[..capture.len() - 1]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let kill =
        std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let stdin = run.stdin.take();
    let output = run.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(code(&output), 130, "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(scratch.path("out")).unwrap().count(), 0);
}

#[test]
fn a_stream_from_stdin_to_stdout() {
    let octets = fs::read(testdata("quick.pcap")).unwrap();
    let output = Command::cargo_bin("tcp-encode")
        .unwrap()
        .args(["-", "-"])
        .write_stdin(octets)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(output.stdout[..4], [0xff; 4], "an Arrow stream begins with a continuation marker");
    assert!(stderr(&output).contains("tokens"), "the summary goes to stderr");
}

#[test]
fn an_existing_folder_is_not_overwritten_unasked() {
    let scratch = Scratch::new();
    scratch.write("set/precious", b"x");
    let output = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set")]);
    assert_eq!(code(&output), 2);
    assert!(scratch.path("set/precious").exists());
    let forced =
        || tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set"), Path::new("--force")]);
    assert!(
        stderr(&forced())
            .contains("expected a folder of an earlier run to replace, found precious in it")
    );
    assert!(scratch.path("set/precious").exists());
    // Under the name of a shard it is no dataset either.
    std::fs::rename(scratch.path("set/precious"), scratch.path("set/flows-00000.parquet")).unwrap();
    assert!(stderr(&forced()).contains("found flows-00000.parquet in it"));
    std::fs::remove_file(scratch.path("set/flows-00000.parquet")).unwrap();
    let parquet = [Path::new("--format"), Path::new("parquet")];
    let first =
        tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set"), parquet[0], parquet[1]]);
    assert_eq!(code(&first), 0);
    assert_eq!(code(&forced()), 0);
    assert!(
        !scratch.path("set/flows-00000.parquet").exists()
            && scratch.path("set/flows-00000.arrow").exists()
    );
}

#[test]
fn a_second_capture_is_no_output() {
    let scratch = Scratch::new();
    let captures = ["mon.pcap", "tue.pcap"].map(|name| scratch.path(name));
    let packed = scratch.path("wed.pcap.gz");
    let octets = std::fs::read(testdata("quick.pcap")).unwrap();
    captures.iter().for_each(|path| std::fs::write(path, &octets).unwrap());
    std::fs::write(&packed, std::fs::read(testdata("parallel.pcap.gz")).unwrap()).unwrap();
    let force = Path::new("--force");
    for second in [&captures[1], &packed] {
        let before = std::fs::read(second).unwrap();
        let refused = tcp_encode(&[&captures[0], second]);
        let said = stderr(&refused);
        assert_eq!((code(&refused), said.lines().count()), (2, 1), "{said}");
        assert!(said.ends_with("found one (--force replaces a dataset)\n"), "{said}");
        let refused = tcp_encode(&[&captures[0], second, force]);
        let said = stderr(&refused);
        assert_eq!((code(&refused), said.lines().count()), (2, 1), "{said}");
        assert!(said.ends_with("expected a dataset to replace, found another file\n"), "{said}");
        assert_eq!(std::fs::read(second).unwrap(), before);
    }
}

#[test]
fn each_output_replaces_its_own_kind_by_request() {
    let scratch = Scratch::new();
    let [set, log, table] = ["a.arrow", "a.jsonl", "a.md"].map(|name| scratch.path(name));
    let quick = testdata("quick.pcap");
    let args =
        [&*quick, &*set, Path::new("--flow-log"), &*log, Path::new("--token-table"), &*table];
    let forced = [&args[..], &[Path::new("--force")]].concat();
    assert_eq!(code(&tcp_encode(&args)), 0);
    for (own, others) in [(&set, [&log, &table]), (&log, [&set, &table]), (&table, [&set, &log])] {
        let gone = others.map(|path| std::fs::read(path).unwrap());
        others.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let refused = tcp_encode(&args);
        assert!(stderr(&refused).contains(&format!("{}: expected no file", own.display())));
        assert_eq!(code(&refused), 2);
        assert!(others.iter().all(|path| !path.exists()));
        others.iter().zip(&gone).for_each(|(path, octets)| std::fs::write(path, octets).unwrap());
        assert_eq!(code(&tcp_encode(&forced)), 0);
        // The content of another output is not of the kind.
        let before = std::fs::read(own).unwrap();
        std::fs::write(own, &gone[0]).unwrap();
        let refused = tcp_encode(&forced);
        assert_eq!(code(&refused), 2, "{}", own.display());
        assert!(stderr(&refused).ends_with("to replace, found another file\n"));
        std::fs::write(own, before).unwrap();
    }
}

#[test]
fn formats_by_name_and_by_flag() {
    let scratch = Scratch::new();
    let magic = |name: &str, more: &[&str]| {
        let path = scratch.path(name);
        let mut args = vec![testdata("quick.pcap"), path.clone()];
        args.extend(more.iter().map(PathBuf::from));
        let output = tcp_encode(&args.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        path
    };
    assert!(fs::read(magic("a.arrow", &[])).unwrap().starts_with(b"ARROW1"));
    assert!(fs::read(magic("a.parquet", &[])).unwrap().starts_with(b"PAR1"));
    assert!(magic("folder", &["--format", "parquet"]).join("flows-00000.parquet").exists());
}

#[test]
fn compression_is_as_asked() {
    let scratch = Scratch::new();
    let size = |codec: &str| {
        let path = scratch.path(&format!("{codec}.arrow"));
        let capture = testdata("http-lan.pcap");
        let output = tcp_encode(&[&capture, &path, Path::new("--compression"), Path::new(codec)]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        fs::metadata(path).unwrap().len()
    };
    let [zstd, lz4, none] = ["zstd", "lz4", "none"].map(size);
    assert!(zstd < lz4 && lz4 < none, "{zstd}, {lz4}, {none}");
    let parquet = scratch.path("a.parquet");
    let lz4 = [Path::new("--compression"), Path::new("lz4")];
    let refused = tcp_encode(&[&testdata("quick.pcap"), &parquet, lz4[0], lz4[1]]);
    assert_eq!(code(&refused), 2);
    assert!(stderr(&refused).contains("expected zstd or none for Parquet"), "{}", stderr(&refused));
    assert!(!parquet.exists());
}

#[test]
fn the_originals_code() {
    let (code, summary, _) = encode(&testdata("quick.pcap"), &["--tokens", "word16", "-q"]);
    assert!(code < 2);
    assert!(summary["flows_kept"].as_u64().unwrap() > 0);
    assert!(summary["tokens_per_packet"].as_f64().unwrap() > 15.0);
}

#[test]
fn completions_and_manual() {
    for args in [["--completions", "bash"], ["--man", "--quiet"]] {
        let output = Command::cargo_bin("tcp-encode").unwrap().args(args).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(
            String::from_utf8(output.stdout).unwrap().contains("flow-log") || args[0] == "--man"
        );
    }
}

#[test]
fn a_live_run_ends_when_nobody_reads_any_more() {
    let resets = testdata("resets.pcap");
    for jobs in ["1", "2"] {
        let mut running = std::process::Command::new(assert_cmd::cargo::cargo_bin("tcp-encode"))
            .args([resets.as_os_str(), "-".as_ref(), "--live".as_ref(), "--jobs".as_ref()])
            .arg(jobs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut head = [0; 100];
        running.stdout.take().unwrap().read_exact(&mut head).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while running.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                running.kill().unwrap();
                panic!("{jobs} jobs: still running");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_live_flow_is_written_before_the_capture_ends() {
    let whole = fs::read(testdata("quick.pcap")).unwrap();
    for jobs in ["1", "2"] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("tcp-encode"))
            .args(["-", "-", "--live=0.001", "--jobs", jobs])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = child.stdin.take().unwrap();
        // All but the last octet: the capture could go on for hours.
        to.write_all(&whole[..whole.len() - 1]).unwrap();
        let from = child.stdout.take().unwrap();
        let mut rows =
            arrowio::DatasetReader::stream("-", from, &[dataset::RowCodec::Field.id()]).unwrap();
        assert!(rows.next().unwrap().is_ok());
        to.write_all(&whole[whole.len() - 1..]).unwrap();
        drop(to);
        assert!(rows.count() > 5);
        assert!(child.wait().unwrap().success());
    }
}
