//! Reports for people, and verdicts of other programs.

use std::path::Path;
use std::process::Command;

use super::{encoded_row, flows, tcp_eval, testdata, write};

/// Runs tcp-eval on two sides and returns its metrics and its report.
fn run(real: &Path, generated: &Path, report: &Path, more: &[&str]) -> (serde_json::Value, String) {
    let mut command = tcp_eval();
    command
        .args(["--json", "--repeats", "2"])
        .args(more)
        .arg(real)
        .arg(generated)
        .arg("-o")
        .arg(report);
    let ran = command.assert().success();
    let said = serde_json::from_slice(&ran.get_output().stdout).unwrap();
    (said, std::fs::read_to_string(report.join("report.html")).unwrap())
}

#[test]
fn the_report_is_one_page_with_a_verdict_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let scores = |name: &str, bits: f64| {
        let path = folder.path().join(name);
        let line = |i: u32| {
            format!(
                "{{\"bits\": {}, \"packets\": 10, \"split\": \"train\"}}\n",
                bits + f64::from(i)
            )
        };
        let other = "{\"bits\": 1e9, \"packets\": 1, \"split\": \"validation\"}\n";
        std::fs::write(
            &path,
            (0..30).map(line).collect::<String>() + if bits < 50.0 { other } else { "" },
        )
        .unwrap();
        path.display().to_string()
    };
    let (known, held_out) = (scores("train.jsonl", 10.0), scores("test.jsonl", 100.0));
    let (real, generated) = (testdata("http-lan.pcap"), testdata("http-clients.pcap"));
    let training = generated.display().to_string();
    let more = [
        "--no-judges",
        "--likelihood",
        &known,
        "--likelihood-held-out",
        &held_out,
        "--training",
        &training,
    ];
    let (said, page) = run(&real, &generated, &folder.path().join("report"), &more);
    // Of the training data's lines those alone that were trained on.
    assert_eq!(said["membership"]["flows"], serde_json::json!([30, 30]));
    assert_eq!(said["membership"]["auc"]["value"], 1.0);
    // Without others, the lines of flows that training held out.
    let more = ["--no-judges", "--likelihood", &known];
    let (alone, _) = run(&real, &generated, &folder.path().join("alone"), &more);
    assert_eq!(alone["membership"]["flows"], serde_json::json!([30, 1]));
    assert_eq!(alone["membership"]["bits_per_packet"][1], 1e9);
    assert_eq!(said["memorisation"]["copies"]["generated"]["value"], 1.0);
    assert!(page.contains("name=\"viewport\"") && page.contains("class=\"verdict\""));
    let targets = said["targets"].as_array().unwrap();
    let missed = targets.iter().filter(|t| t["is_met"] == false).count();
    assert!(
        missed > 0
            && page.contains(&format!(
                "{} of {} targets are met",
                targets.len() - missed,
                targets.len()
            ))
    );
    // 11 fields and three pairs of flows.
    assert_eq!(page.matches("<svg").count(), 11 + 6);
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("xmlns=\"http://").count()
    );
    assert!(!page.contains("<script") && !page.contains("https://"), "it needs nothing else");
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it skips")]
fn segments_that_are_sent_twice_are_found_by_wireshark_and_suricata() {
    for program in ["tshark", "suricata"] {
        if Command::new(program).arg("--help").output().is_err() {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let capture = testdata("http-lan.pcap");
    let mut damaged = flows(&capture);
    for flow in &mut damaged {
        // Of every flow the last segment with payload once more, at the end, as if it had not been
        // acknowledged.
        if let Some(at) = flow.packets.iter().rposition(|p| p.payload_len > 0) {
            let again = flow.packets[at];
            let after = (at + 2).min(flow.packets.len());
            let time_ns = flow.packets[after - 1].time_ns + 300_000_000;
            flow.packets.insert(after, flowtrack::Packet { time_ns, ..again });
            let mut latest = time_ns;
            for p in &mut flow.packets[after..] {
                latest = latest.max(p.time_ns);
                p.time_ns = latest;
            }
        }
    }
    let dataset = folder.path().join("damaged.arrow");
    write(&dataset, &damaged, encoded_row);
    let (same, page) = run(&capture, &capture, &folder.path().join("same"), &[]);
    let off = |said: &serde_json::Value, judge: &str| -> Vec<String> {
        let verdicts = said["judges"][judge]["run"]["verdicts"].as_array().unwrap();
        let is_off = |v: &&serde_json::Value| match v["ratio"].as_object() {
            Some(ratio) => ratio["low"].as_f64() > Some(1.2) || ratio["high"].as_f64() < Some(0.8),
            None => v["generated"]["low"].as_f64() > Some(0.001),
        };
        verdicts.iter().filter(is_off).map(|v| v["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        [off(&same, "wireshark"), off(&same, "suricata")],
        [Vec::<String>::new(), Vec::new()]
    );
    assert!(page.contains("What Wireshark says") && !page.contains("Not run"));
    let (said, page) = run(&capture, &dataset, &folder.path().join("damaged"), &[]);
    let found = off(&said, "wireshark");
    assert!(found.iter().any(|name| name.contains("retransmission")), "{found:?}");
    assert!(page.contains("retransmission"));
    let missed = said["targets"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["name"] == "verdicts")
        .unwrap()
        .clone();
    assert_eq!(missed["is_met"], false);
}
