//! The program on real captures.

mod reported;

use std::path::Path;

use arrowio::WriteOptions;
use assert_cmd::Command;
use flowtrack::Flow;
use testkit::captures::flows;
use testkit::datasets::{FIELD, encoded_row, meta, write_file};
use testkit::testdata;

fn tcp_eval() -> Command {
    Command::cargo_bin("tcp-eval").unwrap()
}

#[test]
fn a_capture_against_itself_is_at_the_floor_and_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let capture = testdata("http-lan.pcap");
    let ran = tcp_eval()
        .args(["--json", "--no-judges", "--repeats", "3"])
        .arg(&capture)
        .arg(&capture)
        .arg("-o")
        .arg(&report)
        .assert();
    let said = ran.success().get_output().stdout.clone();
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(said["categorical"], written["categorical"]);
    assert_eq!(said["real"], said["generated"]);
    assert_eq!(said["judges"]["wireshark"]["not_run"], "--no-judges");
    for field in said["categorical"].as_array().unwrap() {
        let value = |of: &str| field["jsd_bits"][of]["value"].as_f64().unwrap();
        assert!(value("generated") < value("floor") + 0.02, "{field}");
    }
    let copies = said["diversity"]["copies"]["generated"]["value"].as_f64().unwrap();
    assert!(copies > 0.3, "half of each sample is in the other: {copies}");
    // A folder that holds something is not replaced unasked.
    tcp_eval().arg(&capture).arg(&capture).arg("-o").arg(&report).assert().code(2);
}

#[test]
fn too_few_flows_and_missing_inputs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let capture = testdata("quick.pcap");
    let small = tcp_eval().args(["--json"]).arg(&capture).arg(&capture).assert().code(2);
    let said = String::from_utf8(small.get_output().stderr.clone()).unwrap();
    assert!(said.contains("real: expected at least 40 flows"), "{said}");
    let missing = folder.path().join("nothing");
    let said = tcp_eval().arg(&missing).arg(&capture).assert().code(2);
    assert!(String::from_utf8_lossy(&said.get_output().stderr).contains("nothing"));
}

#[test]
fn a_dataset_says_the_same_as_the_capture_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, dataset) = (testdata("http-lan.pcap"), folder.path().join("flows.arrow"));
    write(&dataset, &flows(&capture));
    let found = |generated: &Path| -> serde_json::Value {
        let ran = tcp_eval()
            .args(["--json", "--no-judges", "--repeats", "2"])
            .arg(&capture)
            .arg(generated)
            .assert()
            .success();
        serde_json::from_slice(&ran.get_output().stdout).unwrap()
    };
    assert_eq!(found(&capture), found(&dataset));
}

/// Writes flows as a dataset.
fn write(dataset: &Path, flows: &[Flow]) {
    let rows: Vec<_> = flows.iter().map(encoded_row).collect();
    write_file(dataset, &rows, &meta(FIELD), &WriteOptions::default());
}
