//! Vectors, classes and p-values of flows.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use arrowio::{DatasetFormat, DatasetWriter, FlowRow, FlowSummary, WriteOptions};
use flowtrack::Direction;
use serde_json::Value;
use testkit::datasets::{self, FIELD, meta, row};
use tokenizer::field::doc;

use crate::support::{Workdir, session, stderr};

/// Returns a flow whose class is the client's hop limit, of one of six groups.
fn labelled(seed: u64) -> FlowRow {
    let mut flow = doc::worked_flow();
    let is_far = seed % 5 < 2;
    for (i, packet) in (0..).zip(&mut flow.packets) {
        packet.time_ns += i * (seed * seed % 97) as i64 * 1_000_000;
        if is_far && packet.direction == Direction::Forward {
            packet.ttl = 255;
        }
    }
    let summary = FlowSummary {
        label: Some(if is_far { "far" } else { "close" }.to_owned()),
        group: Some(format!("site {}", seed % 6)),
        source: format!("{}.pcap", seed % 12),
        ..FlowSummary::default()
    };
    FlowRow { summary: Some(summary), ..datasets::encoded_row(&flow) }
}

/// Returns a folder with a model and a dataset `labelled`.
fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.train();
    datasets::write_folder(&workdir.path("labelled"), (0..120).map(labelled));
    workdir
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the one line that a run says that fails.
fn refused(workdir: &Workdir, args: &str) -> String {
    let output = workdir.run(args);
    assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn a_dataset_is_embedded_and_else_as_it_was() {
    let workdir = workdir();
    workdir.succeed("embed model labelled a.parquet --at 3,5 --batch 64 --threads 1");
    workdir.succeed("embed model labelled b.parquet --at 3,5 --batch 64 --threads 3");
    let rows = datasets::read(&workdir.path("labelled"));
    assert_eq!(datasets::read(&workdir.path("a.parquet")), rows);
    let [a, b] = ["a.parquet", "b.parquet"].map(|name| fs::read(workdir.path(name)).unwrap());
    assert!(a == b, "the same octets");
    let said = refused(&workdir, "embed model - x.arrow --whiten-by -");
    assert!(said.contains("expected one input on stdin"), "{said}");
    let said = refused(&workdir, "embed model labelled a.parquet");
    assert!(said.contains("a.parquet"), "{said}");
}

#[test]
fn classes_are_learnt_and_said() {
    let workdir = workdir();
    let fitted = workdir.succeed("--json classify fit model labelled sorter --threads 1");
    let fitted: Value = serde_json::from_str(&fitted).unwrap();
    assert!(fitted["held_out"]["probe"]["macro_f1"].as_f64().unwrap() > 0.8, "{fitted}");
    let text = fs::read_to_string(workdir.path("sorter/config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let classifier = &config["classifier"];
    assert_eq!(classifier["classes"][1]["name"], "far");
    assert_eq!(classifier["split"]["by"], "group");
    assert_eq!(classifier["held_out"]["after_packets"].as_array().unwrap().len(), 5);
    let verdicts = lines(&workdir.succeed("classify predict sorter labelled --threads 1"));
    let right = verdicts.iter().filter(|line| line["label"] == line["known"]).count();
    assert!(verdicts.len() == 120 && right > 110, "{right}");
    for line in &verdicts {
        assert!(line["probability"].as_f64().unwrap() >= 0.5, "{line}");
        assert!(line["settled"].as_u64() <= line["packets"].as_u64(), "{line}");
    }
    let first = lines(&workdir.succeed("classify predict sorter labelled --first 3 --threads 1"));
    assert_eq!(first.len(), 120);
    let said = refused(&workdir, "classify predict sorter labelled --first 4");
    assert!(said.contains("--first 4: expected one of 3, 5, 10, 20, 30"), "{said}");
}

#[test]
fn other_classes_and_other_tokens_are_refused_in_a_line() {
    let workdir = workdir();
    workdir.succeed("classify fit model labelled sorter --at 3 --threads 1");
    let mut other = labelled(1);
    other.summary.as_mut().unwrap().label = Some("seven".to_owned());
    datasets::write_folder(&workdir.path("other"), [labelled(0), other]);
    let said = refused(&workdir, "classify predict sorter other");
    assert!(said.contains("flow 2: label: expected one of close, far, found 'seven'"), "{said}");
    let said = refused(&workdir, "classify predict model labelled");
    assert!(said.contains("config.json: expected that of a classifier"), "{said}");
    let path = workdir.path("sorter/config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"token_version\": 2", "\"token_version\": 1")).unwrap();
    let said = refused(&workdir, "classify predict sorter labelled");
    assert!(said.contains("expected tokens field version 2, found field version 1"), "{said}");
    let output = workdir.run("classify fit model dataset sorter2");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("expected labels of two classes, found none"), "{said}");
}

#[test]
fn a_classifier_replaces_a_classifier_alone() {
    let workdir = workdir();
    let fit = "classify fit model labelled sorter --at 3 --threads 1";
    workdir.succeed(fit);
    let first = fs::read(workdir.path("sorter/classifier.json")).unwrap();
    refused(&workdir, fit);
    workdir.succeed(&format!("{fit} --force"));
    assert_eq!(fs::read(workdir.path("sorter/classifier.json")).unwrap(), first);
    let said = refused(&workdir, "classify fit model labelled model --at 3 --force");
    assert!(said.contains("model"), "{said}");
    assert!(workdir.path("model/metrics.jsonl").exists());
}

#[test]
fn what_figures_say_little_of_is_said() {
    let workdir = workdir();
    let lonely = |seed: u64| {
        let mut row = labelled(seed);
        let summary = row.summary.as_mut().unwrap();
        summary.label = Some(if seed == 200 { "single" } else { "lonely" }.to_owned());
        summary.group = Some("site 0".to_owned());
        row
    };
    let unlabelled = row(session(300));
    let rows = (0..120).map(labelled).chain((200..203).map(lonely)).chain([unlabelled]);
    datasets::write_folder(&workdir.path("uneven"), rows);
    let output = workdir.run("classify fit model uneven sorter --at 3 --threads 1");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("classes of one flow, which is never held out and learnt: 'single'"));
    assert!(said.contains("of which no figure says anything: 'lonely'"), "{said}");
    assert!(said.contains("classes of 1 to "), "{said}");
    assert!(said.contains("1 flows without a label are not read"), "{said}");
}

#[test]
fn a_verdict_comes_before_the_stream_ends() {
    let workdir = workdir();
    workdir.succeed("classify fit model labelled sorter --at 3 --threads 1");
    let whole = workdir.succeed("classify predict sorter labelled --threads 1");
    let mut command = workdir.command("classify predict sorter - --threads 1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let options =
        WriteOptions { format: DatasetFormat::Stream, batch_tokens: 1, ..WriteOptions::default() };
    let to = child.stdin.take().unwrap();
    let mut writer = DatasetWriter::new("stdin", to, &meta(FIELD), &options).unwrap();
    let mut verdicts = BufReader::new(child.stdout.take().unwrap()).lines();
    for (seed, expected) in (0..5).zip(whole.lines()) {
        writer.write(&labelled(seed)).unwrap();
        assert_eq!(verdicts.next().unwrap().unwrap(), expected);
    }
    writer.finish().unwrap().1.flush().unwrap();
    assert!(verdicts.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn benign_flows_have_the_p_values_that_are_promised() {
    let workdir = workdir();
    datasets::write_folder(&workdir.path("benign"), (1000..1400).map(|seed| row(session(seed))));
    datasets::write_folder(&workdir.path("fresh"), (2000..2400).map(|seed| row(session(seed))));
    let score = "score --checkpoint-path model --threads 1 --calibrate benign --input-dir";
    let flows = lines(&workdir.succeed(&format!("{score} fresh")));
    assert_eq!(flows.len(), 400);
    for promised in [0.05, 0.2, 0.5] {
        let below = flows.iter().filter(|f| f["p_value"].as_f64().unwrap() <= promised).count();
        let expected = 400.0 * promised;
        // Three standard deviations of two samples.
        let slack = 3.0 * (2.0 * expected * (1.0 - promised)).sqrt();
        assert!((below as f64 - expected).abs() < slack, "{promised}: {below}");
    }
    for flow in &flows {
        let parts = flow["costliest"].as_array().unwrap();
        let bits: Vec<f64> = parts.iter().map(|part| part["bits"].as_f64().unwrap()).collect();
        assert!(bits.len() == 3 && bits.is_sorted_by(|a, b| a >= b), "{flow}");
        let fields = flow["fields"].as_object().unwrap();
        let sum: f64 = fields.values().map(|bits| bits.as_f64().unwrap()).sum();
        assert!((sum - flow["bits"].as_f64().unwrap()).abs() < 1e-3, "{flow}");
    }
}
