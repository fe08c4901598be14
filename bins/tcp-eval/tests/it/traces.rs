//! Traces: what hosts do over several flows.

use std::path::Path;

use arrowio::FlowRow;
use testkit::captures::flows;
use testkit::datasets::encoded_row;
use testkit::testdata;
use tokenizer::FlowIdentity;

use crate::{tcp_eval, write};

/// Links some captures of the project into a folder.
fn captures(folder: &Path, names: &[&str]) {
    for name in names {
        std::os::unix::fs::symlink(testdata(name), folder.join(name)).unwrap();
    }
}

#[test]
fn traces_are_measured_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    std::fs::create_dir(&real).unwrap();
    captures(&real, &["http-lan.pcap", "http-clients.pcap", "ssh.pcap", "quick.pcap"]);
    let report = folder.path().join("report");
    let ran = tcp_eval()
        .args(["--json", "--no-judges", "--repeats", "3", "--traces"])
        .args([&real, &testdata("http-clients.pcap")])
        .arg("-o")
        .arg(&report)
        .assert();
    let said: serde_json::Value =
        serde_json::from_slice(&ran.success().get_output().stdout).unwrap();
    let traces = &said["traces"];
    assert_eq!((&traces["real"][0], &traces["draws"]), (&4.into(), &8.into()));
    assert_eq!(traces["generated"][0], 1);
    let measures = traces["measures"].as_array().unwrap();
    assert_eq!(measures.len(), 20);
    for measure in measures {
        for value in ["generated", "floor"].map(|of| measure[of]["value"].as_f64().unwrap()) {
            assert!((0.0..10.0).contains(&value), "{measure}");
        }
    }
    let targets = said["targets"].as_array().unwrap();
    assert!(targets.iter().any(|target| target["name"] == "gap_per_client"));
    let page = std::fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains("Hosts over several flows") && page.contains("Poisson starts"));
}

#[test]
fn flows_without_addresses_are_of_no_host() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, dataset) = (testdata("http-lan.pcap"), folder.path().join("flows.arrow"));
    write(&dataset, &flows(&capture), |flow| FlowRow {
        identity: FlowIdentity::default(),
        summary: None,
        ..encoded_row(flow)
    });
    let refused = |real: &Path, generated: &Path, expected: &str| {
        let ran = tcp_eval().args(["--traces"]).args([real, generated]).assert().code(2);
        let said = String::from_utf8_lossy(&ran.get_output().stderr).into_owned();
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    };
    refused(&capture, &capture, "traces of real: expected at least 2 captures");
    let real = folder.path().join("real");
    std::fs::create_dir(&real).unwrap();
    captures(&real, &["http-lan.pcap", "http-clients.pcap"]);
    refused(&real, &dataset, "traces of generated: expected at least 1 captures");
}
