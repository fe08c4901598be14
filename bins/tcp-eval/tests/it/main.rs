//! The program on real captures.

mod reported;
mod traces;

use std::path::Path;

use arrowio::{FlowRow, WriteOptions};
use assert_cmd::Command;
use flowtrack::Flow;
use testkit::captures::flows;
use testkit::datasets::{FIELD, encoded_row, meta, write_file};
use testkit::testdata;
use tokenizer::FlowIdentity;

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
    write(&dataset, &flows(&capture), encoded_row);
    assert_eq!(measures(&capture, &capture), measures(&capture, &dataset));
}

#[test]
fn without_identity_every_measure_is_the_same_but_those_of_identifiers() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, dataset) = (testdata("http-lan.pcap"), folder.path().join("flows.arrow"));
    write(&dataset, &flows(&capture), |flow| FlowRow {
        identity: FlowIdentity::default(),
        summary: None,
        ..encoded_row(flow)
    });
    let found = |generated: &Path| {
        let mut found = measures(&capture, generated);
        let judges = found["discriminators"].as_object_mut().unwrap();
        // Identifiers are a judge of their own, and some of the features that tell both apart.
        judges.remove("trees_with_identifiers");
        judges.remove("tells");
        remove_ends(&mut found);
        found
    };
    assert_eq!(found(&capture), found(&dataset));
}

/// Removes the ends of intervals, which are drawn at random behind the draws of all judges.
fn remove_ends(value: &mut serde_json::Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|key, _| key != "low" && key != "high");
        fields.values_mut().for_each(remove_ends);
    }
    value.as_array_mut().into_iter().flatten().for_each(remove_ends);
}

/// Returns what the program says of generated flows beside a capture.
fn measures(real: &Path, generated: &Path) -> serde_json::Value {
    let options = ["--json", "--no-judges", "--repeats", "2"];
    let ran = tcp_eval().args(options).arg(real).arg(generated).assert().success();
    serde_json::from_slice(&ran.get_output().stdout).unwrap()
}

/// Writes flows as a dataset, each as a row.
fn write(dataset: &Path, flows: &[Flow], row: fn(&Flow) -> FlowRow) {
    let rows: Vec<_> = flows.iter().map(row).collect();
    write_file(dataset, &rows, &meta(FIELD), &WriteOptions::default());
}
