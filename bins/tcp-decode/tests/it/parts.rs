//! A dataset as several captures, each by a process of its own.

use std::fs;

use arrowio::{DatasetFormat, FlowRow};
use testkit::Scratch;

use crate::{Frame, captured, dataset, flow, frames, generated, run, text};

/// Flows that overlap, in another order than that of their starts.
fn rows() -> Vec<FlowRow> {
    let row = |n: i64| {
        let flow = flow(40_000 + n as u16, (n * 7 % 10) * 1_000_000, 3);
        if n % 3 == 0 { generated(&flow) } else { captured(&flow, 1 + n as u64) }
    };
    (0..10).map(row).collect()
}

#[test]
fn captures_of_parts_hold_the_packets_of_one_run() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    let decode = |name: &str, more: &[&str]| {
        let output = run(&[&[&set, &scratch.path_text(name), "--json"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        summary["flows_written"].as_u64().unwrap()
    };
    decode("whole.pcap", &[]);
    let mut expected = frames(&fs::read(scratch.path("whole.pcap")).unwrap());
    let (mut found, mut starts) = (Vec::new(), Vec::new());
    for (part, flows) in [("1/3", 3), ("2/3", 3), ("3/3", 4)] {
        assert_eq!(decode("flows.pcap", &["--part", part]), flows);
        let name = format!("flows-0000{}-of-00003.pcap", &part[..1]);
        let of_part = frames(&fs::read(scratch.path(&name)).unwrap());
        assert!(of_part.is_sorted_by_key(|frame: &Frame| frame.time_ns));
        starts.push(of_part[0].time_ns);
        found.extend(of_part);
    }
    assert!(starts.is_sorted());
    let key = |frame: &Frame| (frame.time_ns, frame.octets.clone());
    found.sort_by_key(key);
    expected.sort_by_key(key);
    assert!(found == expected, "{} and {}", found.len(), expected.len());
    // More parts than flows: some are empty captures.
    assert_eq!(decode("many.pcap.gz", &["--part", "1/11"]), 0);
    assert!(scratch.path("many-00001-of-00011.pcap.gz").exists());
}

#[test]
fn a_part_that_is_there_is_not_replaced_and_needs_a_name() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    let capture = scratch.path_text("x.pcap");
    let check = |args: &[&str], expected: &str| {
        let output = run(&[&[set.as_str()], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(if expected.is_empty() { 0 } else { 2 }), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&[&capture, "--part", "1/2"], "");
    check(&[&capture, "--part", "1/2"], "x-00001-of-00002.pcap: expected no file there");
    check(&[&capture, "--part", "1/2", "--force"], "");
    check(&["-", "--part", "1/2"], "-: expected the name of a capture as OUTPUT of --part");
    let folder = scratch.path_text("folder");
    check(&[&folder, "--split", "flow", "--part", "1/2"], "expected the name of a capture");
}

#[test]
fn datasets_are_given_by_a_list() {
    let scratch = Scratch::new();
    let set = dataset(&scratch, &rows(), DatasetFormat::Arrow);
    fs::write(scratch.path("list"), format!("{set}\n")).unwrap();
    let (list, one) = (scratch.path_text("list"), scratch.path_text("one.pcap"));
    let two = scratch.path_text("two.pcap");
    assert!(run(&[&set, &one]).status.success());
    let output = run(&["--files-from", &list, &two]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap());
}
