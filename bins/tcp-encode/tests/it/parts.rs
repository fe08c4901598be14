//! Runs in parts: by several processes, killed, repeated, refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use arrowio::FlowRow;
use serde_json::Value;

use crate::merge::rows;
use crate::{Scratch, code, skipped, stderr, tcp_encode, testdata};

/// Captures of the tests, in the order of their names.
const CAPTURES: [&str; 6] =
    ["http-lan.pcap", "office.pcapng", "postgres.pcap", "quick.pcap", "resets.pcap", "wrap.pcap"];

/// Writes the captures into the folder `in`, and returns it.
fn inputs(scratch: &Scratch) -> PathBuf {
    fs::create_dir_all(scratch.path("in/deep")).unwrap();
    for (n, name) in CAPTURES.iter().enumerate() {
        let folder = if n % 2 == 0 { "in" } else { "in/deep" };
        fs::copy(testdata(name), scratch.path(folder).join(name)).unwrap();
    }
    scratch.path("in")
}

/// Runs with words behind the paths; gives the exit code, stdout and stderr.
fn run(paths: &[&Path], words: &str) -> (i32, String, String) {
    let words: Vec<&Path> = words.split_whitespace().map(Path::new).collect();
    let output = tcp_encode(&[paths, &words].concat());
    (code(&output), String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
}

/// Runs, and checks the exit code.
fn run_to(expected: i32, paths: &[&Path], words: &str) -> (String, String) {
    let (code, said, complaints) = run(paths, words);
    assert_eq!(code, expected, "{paths:?} {words}: {complaints}");
    (said, complaints)
}

/// Encodes in parts, the last one first, and joins them; gives the sum of their summaries.
fn in_parts(input: &Path, set: &Path, of: u32, words: &str) -> Value {
    for number in (1..=of).rev() {
        run_to(0, &[input, set], &format!("--part {number}/{of} --json {words}"));
        assert!(!set.exists());
    }
    let (sum, _) = run_to(0, &[set], "--join --json");
    assert!(!set.with_file_name("set.parts").exists());
    serde_json::from_str(&sum).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn whole(input: &Path, scratch: &Scratch, words: &str) -> (PathBuf, Vec<FlowRow>, Value) {
    let set = scratch.path("whole");
    let (summary, _) = run_to(0, &[input, &set], &format!("--json {words}"));
    let rows = rows(&set);
    (set, rows, serde_json::from_str(&summary).unwrap())
}

#[test]
fn parts_that_are_joined_are_the_rows_of_one_run_in_its_order() {
    let scratch = Scratch::new();
    let input = inputs(&scratch);
    let (one, expected, summary) = whole(&input, &scratch, "");
    for of in [1, 2, 3, 9] {
        let set = scratch.path("set");
        let sum = in_parts(&input, &set, of, "");
        assert!(rows(&set) == expected, "{of} parts");
        for (key, value) in summary.as_object().unwrap() {
            // Files of parts are more, and each has a header of its own.
            if !["files_written", "octets_written"].contains(&key.as_str()) {
                assert_eq!(&sum[key], value, "{key}");
            }
        }
        assert_eq!(sum["files_written"], of);
        let mut expected: Vec<String> =
            (1..=of).map(|n| format!("flows-{n:05}-of-{of:05}-00000.arrow")).collect();
        expected.splice(0..0, ["_SHA256SUMS".to_owned(), "_manifest.json".to_owned()]);
        assert_eq!(names(&set), expected);
        if of == 1 {
            let octets = |path: PathBuf| fs::read(path).unwrap();
            let shard = octets(set.join("flows-00001-of-00001-00000.arrow"));
            assert!(shard == octets(one.join("flows-00000.arrow")));
        }
        let check = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "_SHA256SUMS"])
            .current_dir(&set)
            .status();
        match check {
            Ok(status) => assert!(status.success()),
            Err(_) => skipped("sha256sum is not installed"),
        }
        fs::remove_dir_all(&set).unwrap();
    }
}

#[test]
fn options_are_those_of_one_run() {
    let scratch = Scratch::new();
    let input = inputs(&scratch);
    let key =
        scratch.write("key", b"00112233445566778899aabbccddeeff0123456789abcdef0f1e2d3c4b5a6978");
    let words = format!("--format parquet --keep all --anonymize {}", key.display());
    let (_, expected, _) = whole(&input, &scratch, &words);
    let set = scratch.path("set");
    in_parts(&input, &set, 3, &words);
    // Names of captures are numbers of the whole list.
    assert!(rows(&set) == expected);
    assert!(names(&set).contains(&"flows-00003-of-00003-00000.parquet".to_owned()));
    let manifest = fs::read_to_string(set.join("_manifest.json")).unwrap();
    for name in CAPTURES {
        assert!(!manifest.contains(name), "{name}");
    }
}

#[test]
fn a_folder_for_each_tap_is_a_capture_each() {
    let scratch = Scratch::new();
    let mut expected = Vec::new();
    for (tap, name) in [("a", "quick.pcap"), ("b", "resets.pcap"), ("c", "ssh.pcap")] {
        let octets = fs::read(testdata(name)).unwrap();
        let (head, records) = crate::one_session::records(&octets);
        for (n, part) in records.chunks(60).enumerate() {
            scratch.write(&format!("in/{tap}/x.pcap{n:02}"), &[&head[..], &part.concat()].concat());
        }
        let set = scratch.path(&format!("set-{tap}"));
        run_to(0, &[&scratch.path(&format!("in/{tap}")), &set], "--merge");
        expected.extend(rows(&set));
    }
    let (_, mut found, _) = whole(&scratch.path("in"), &scratch, "--merge=folder");
    let set = scratch.path("set");
    in_parts(&scratch.path("in"), &set, 2, "--merge=folder");
    assert!(rows(&set) == found);
    // `source` of one run names the folder too.
    for row in found.iter_mut().chain(&mut expected) {
        let source = &mut row.summary.as_mut().unwrap().source;
        *source = source.rsplit('/').next().unwrap().to_owned();
    }
    assert!(found == expected);
    let (_, said) = run_to(2, &[&scratch.path("in"), &scratch.path("other")], "--merge --part 1/2");
    assert!(said.contains("--part: expected --merge=folder"), "{said}");
}

#[test]
fn a_part_that_is_there_is_kept_or_refused() {
    let scratch = Scratch::new();
    let (input, set) = (inputs(&scratch), scratch.path("set"));
    let written = |set: &Path| fs::metadata(set).unwrap().modified().unwrap();
    let part = scratch.path("set.parts/part-00001-of-00002");
    let (first, _) = run_to(0, &[&input, &set], "--part 1/2 --json");
    let before: SystemTime = written(&part);
    let (again, _) = run_to(0, &[&input, &set], "--part 1/2 --resume --json");
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!((written(&part), value(&first)), (before, value(&again)));
    let (_, said) = run_to(2, &[&input, &set], "--part 1/2");
    assert!(said.contains("part 1/2: expected none there, found one (--resume keeps it"), "{said}");
    let (_, said) = run_to(2, &[&set], "--join");
    assert!(said.contains("set.parts: expected 2 parts, found 1: without 2/2"), "{said}");
    run_to(0, &[&input, &set], "--part 1/2 --force");
    assert!(written(&part) > before);
    run_to(0, &[&input, &set], "--part 2/2 --resume");
    run_to(0, &[&set], "--join");
    let joined = written(&set);
    // Whoever asks again, as an engine may, changes nothing.
    run_to(0, &[&input, &set], "--part 2/2 --resume --json");
    run_to(0, &[&set], "--join");
    assert_eq!(written(&set), joined);
    let (_, said) = run_to(2, &[&input, &set], "--part 2/2");
    assert!(said.contains("found one (--resume keeps it"), "{said}");
    // A dataset of parts is replaced as any other.
    run_to(2, &[&input, &set], "");
    run_to(0, &[&input, &set], "--force");
    assert_eq!(names(&set), ["flows-00000.arrow"]);
    run_to(2, &[&input, &set], "--part 1/1");
    run_to(0, &[&input, &set], "--part 1/1 --force");
    run_to(2, &[&set], "--join");
    assert_eq!(names(&set), ["flows-00000.arrow"]);
    run_to(0, &[&set], "--join --force");
    assert_eq!(names(&set).len(), 3);
    run_to(0, &[&input, &set], "--part 1/1 --keep all --force");
    run_to(0, &[&set], "--join --force");
}

#[test]
#[cfg(unix)]
fn a_part_that_was_killed_is_written_anew() {
    let scratch = Scratch::new();
    let (pipe, set) = (scratch.path("pipe"), scratch.path("set"));
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        return skipped("mkfifo is not installed");
    }
    let begin = || {
        Command::new(assert_cmd::cargo::cargo_bin("tcp-encode"))
            .args([&testdata("quick.pcap"), &pipe, &testdata("resets.pcap"), &set])
            .args(["--part", "1/1", "--resume", "--jobs", "1"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut killed = begin();
    // It has written the flows of the first capture, and waits for the second one.
    let unfinished = || {
        let names = if scratch.path("set.parts").exists() {
            names(&scratch.path("set.parts"))
        } else {
            Vec::new()
        };
        names.into_iter().find(|name| name.starts_with(".part-00001-of-00001."))
    };
    let left = loop {
        match unfinished() {
            Some(name) => break name,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(names(&scratch.path("set.parts")), [&left, "_plan.json"]);
    let (_, said) = run_to(2, &[&set], "--join");
    assert!(said.contains("expected 1 parts, found 0: without 1/1"), "{said}");
    let mut again = begin();
    fs::write(&pipe, fs::read(testdata("ssh.pcap")).unwrap()).unwrap();
    assert!(again.wait().unwrap().success());
    assert_eq!(names(&scratch.path("set.parts")), ["_plan.json", "part-00001-of-00001"]);
    run_to(0, &[&set], "--join");
    let expected = scratch.path("expected");
    fs::remove_file(&pipe).unwrap();
    fs::copy(testdata("ssh.pcap"), &pipe).unwrap();
    run_to(0, &[&testdata("quick.pcap"), &pipe, &testdata("resets.pcap"), &expected], "");
    assert!(rows(&set) == rows(&expected));
}

#[test]
fn a_join_that_was_killed_is_continued() {
    let scratch = Scratch::new();
    let (input, set) = (inputs(&scratch), scratch.path("set"));
    let (_, expected, _) = whole(&input, &scratch, "");
    let parts = scratch.path("set.parts");
    let shard = "flows-00001-of-00002-00000.arrow";
    for stage in 0..3 {
        for number in 1..=2 {
            run_to(0, &[&input, &set], &format!("--part {number}/2"));
        }
        // As a join leaves it that was killed: a shard moved, the sums written, all but the name.
        fs::rename(parts.join("part-00001-of-00002").join(shard), parts.join(shard)).unwrap();
        if stage > 0 {
            fs::write(parts.join("_SHA256SUMS"), "half").unwrap();
        }
        if stage > 1 {
            run_to(0, &[&set], "--join");
            fs::rename(&set, &parts).unwrap();
        }
        fs::create_dir(parts.join(".part-00002-of-00002.1-0.part")).unwrap();
        if stage > 1 {
            let (_, said) = run_to(2, &[&input, &set], "--part 1/2 --force");
            assert!(said.contains("found a join that was killed: --join ends it"), "{said}");
        }
        run_to(0, &[&set], "--join");
        assert!(rows(&set) == expected, "{stage}");
        assert_eq!(names(&set).len(), 4);
        assert!(!parts.exists());
        fs::remove_dir_all(&set).unwrap();
    }
}

#[test]
fn captures_that_change_while_parts_run_are_named_and_the_others_read() {
    let scratch = Scratch::new();
    let (input, set) = (inputs(&scratch), scratch.path("set"));
    let of = CAPTURES.len();
    let part = |number: usize| {
        let (code, _, said) = run(&[&input, &set], &format!("--part {number}/{of}"));
        (code, said)
    };
    assert_eq!(part(1).0, 0);
    // In order: deep/office, deep/quick, deep/wrap, http-lan, postgres, resets.
    fs::remove_file(input.join("deep/quick.pcap")).unwrap();
    let wrap = fs::read(input.join("deep/wrap.pcap")).unwrap();
    fs::write(input.join("deep/wrap.pcap"), &wrap[..wrap.len() - 9]).unwrap();
    let (head, records) = crate::one_session::records(&fs::read(testdata("resets.pcap")).unwrap());
    let grown = [&head[..], &records.concat(), &records[0]].concat();
    fs::write(input.join("resets.pcap"), grown).unwrap();
    fs::write(input.join("postgres.pcap"), [0xff; 4000]).unwrap();
    fs::copy(testdata("smtp.pcap"), input.join("new.pcap")).unwrap();
    let said: Vec<(i32, String)> = (2..=of).map(part).collect();
    let all: String = said.iter().map(|(_, said)| said.as_str()).collect();
    for named in [
        "quick.pcap: No such file",
        "wrap.pcap: cut short",
        "postgres.pcap: not a capture",
        "resets.pcap: changed while it was read",
    ] {
        assert!(all.contains(named), "{named}: {all}");
    }
    assert!(said.iter().all(|(code, _)| *code < 2), "{said:?}");
    let (sum, said) = run_to(1, &[&set], "--join --json");
    assert!(said.contains("items, which its run has named"), "{said}");
    let sum: Value = serde_json::from_str(&sum).unwrap();
    assert_eq!(sum["captures"], 4, "{sum}");
    let sources: Vec<String> =
        rows(&set).into_iter().map(|row| row.summary.unwrap().source).collect();
    for name in ["deep/office.pcapng", "http-lan.pcap", "resets.pcap"] {
        assert!(sources.iter().any(|source| source == name), "{name}");
    }
    // The first part has listed the inputs for all.
    assert!(!sources.iter().any(|source| source == "new.pcap"));
}

#[test]
fn parts_of_other_runs_are_refused_with_both_named() {
    let scratch = Scratch::new();
    let (input, set) = (inputs(&scratch), scratch.path("set"));
    run_to(0, &[&input, &set], "--part 1/2");
    let refused = |paths: &[&Path], words: &str, expected: &str| {
        let (_, said) = run_to(2, paths, words);
        assert!(said.contains(expected), "{words}: expected {expected}, found {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let both = |key: &str, of: &str, by: &str| {
        format!("set.parts: expected {key} of part 1/2: {of}; found that of part {by}")
    };
    refused(&[&input, &set], "--part 2/2 --keep all", &both("--keep", "complete", "2/2: all"));
    refused(&[&input, &set], "--part 1/3", &both("number of parts", "2", "1/3: 3"));
    refused(
        &[&input, &set],
        "--part 2/2 --format parquet",
        &both("--format", "arrow", "2/2: parq"),
    );
    refused(&[&input, &set], "--part 2/2 --idle-timeout 9", &both("--idle-timeout-ns", "none", ""));
    refused(
        &[&input.join("deep"), &set],
        "--part 2/2",
        "set.parts: expected inputs of part 1/2: 1",
    );
    // Another version of the program.
    let plan = scratch.path("set.parts/_plan.json");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("\"tcp-encode ", "\"tcp-encode 9.")).unwrap();
    refused(&[&input, &set], "--part 2/2", "expected program of part 1/2: tcp-encode 9.");
    refused(&[&set], "--join", "found that of part 1/2: tcp-encode ");
    // Another list, as two parts could write it that begin at once where a file system has no lock.
    fs::write(&plan, text.replace("resets.pcap", "gone.pcap")).unwrap();
    run_to(1, &[&input, &set], "--part 2/2");
    refused(
        &[&set],
        "--join",
        "set.parts: expected part 1/2 of the list in _plan.json, found another",
    );
    fs::remove_dir_all(scratch.path("set.parts/part-00002-of-00002")).unwrap();
    fs::write(&plan, "{").unwrap();
    refused(&[&input, &set], "--part 2/2", "_plan.json: expected a record of a run in parts");
    fs::write(&plan, text).unwrap();
    run_to(0, &[&input, &set], "--part 2/2");
    // Files that no part wrote, and shards that are not whole.
    let other = scratch.write("set.parts/notes.txt", b"mine");
    refused(&[&set], "--join", "set.parts: expected parts alone, found notes.txt");
    fs::remove_file(other).unwrap();
    let shard = scratch.path("set.parts/part-00002-of-00002/flows-00002-of-00002-00000.arrow");
    let octets = fs::read(&shard).unwrap();
    fs::write(&shard, &octets[1..]).unwrap();
    refused(&[&set], "--join", &format!("octets, found {}", octets.len() - 1));
    fs::write(&shard, octets).unwrap();
    let third = scratch.path("set.parts/part-00003-of-00003");
    fs::create_dir(&third).unwrap();
    refused(&[&set], "--join", "expected parts of 2, as part 1/2 began, found part 3/3");
    fs::remove_dir(third).unwrap();
    run_to(0, &[&set], "--join");
    // The dataset is one of these inputs and options.
    let manifest = "_manifest.json: expected ";
    refused(&[&input, &set], "--part 2/2 --resume --keep all", &format!("{manifest}--keep of the"));
    refused(&[&input.join("deep"), &set], "--part 2/2 --resume", &format!("{manifest}inputs of"));
}

#[test]
fn of_two_processes_with_one_part_one_writes_it() {
    let scratch = Scratch::new();
    let (input, set) = (inputs(&scratch), scratch.path("set"));
    let begin = || {
        Command::new(assert_cmd::cargo::cargo_bin("tcp-encode"))
            .args([&input, &set])
            .args(["--part", "1/1"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let ends = [begin(), begin()].map(|child| child.wait_with_output().unwrap());
    assert_eq!(ends.iter().filter(|end| end.status.success()).count(), 1);
    let lost = ends.iter().find(|end| !end.status.success()).unwrap();
    let said = String::from_utf8_lossy(&lost.stderr);
    assert!(said.contains("part 1/1: ") || said.contains("part-00001-of-00001: "), "{said}");
    run_to(0, &[&set], "--join");
    assert!(rows(&set) == whole(&input, &scratch, "").1);
}

#[test]
fn a_part_needs_files_and_a_folder() {
    let scratch = Scratch::new();
    let input = inputs(&scratch);
    for (paths, words, expected) in [
        (["-", "set"], "--part 1/2", "expected files for --part, found stdin"),
        (["in", "-"], "--part 1/2", "expected a folder as OUTPUT of --part"),
        (["in", "flows.parquet"], "--part 1/2", "expected a folder as OUTPUT of --part"),
        (["in", "set"], "--part 3/2", "expected I/N with I from 1 to N"),
        (["in", "set"], "--resume", "--part <I/N>"),
        (["in", "set"], "--join", "--join: expected OUTPUT alone, found 2 paths"),
    ] {
        let paths = paths.map(|path| if path == "-" { path.into() } else { scratch.path(path) });
        let (_, said) = run_to(2, &[&paths[0], &paths[1]], words);
        assert!(said.contains(expected), "{words}: {said}");
    }
    let (_, said) = run_to(2, &[&scratch.path("set")], "--join");
    assert!(said.contains("set.parts: expected the parts of a dataset, found none"), "{said}");
    assert_eq!(names(&scratch.path(".")), ["in"]);
    assert!(input.exists());
}
