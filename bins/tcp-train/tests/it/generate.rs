use std::process::Stdio;

use arrowio::Tokens;
use testkit::datasets;
use tokenizer::field::{self, Constraint, Grammar, Limits};

use crate::support::{Workdir, stderr, without_checksum};

const GENERATE: &str = "generate --checkpoint-path model --flows 30 --max-packets-per-flow 20";

fn is_session(tokens: &[u16]) -> bool {
    let mut grammar =
        Grammar::new(Constraint::Session, Limits { max_packets: 20 }).with_advisory_length();
    tokens.iter().all(|&t| grammar.allowed_next().contains(t) && grammar.push(t).is_ok())
        && grammar.is_done()
}

#[test]
fn every_flow_is_a_whole_session() {
    let workdir = Workdir::new();
    workdir.train();
    let out = workdir.succeed(&format!("--json {GENERATE} --output_dir out"));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["flows"], &summary["sessions"]), (&30.into(), &30.into()));
    let flows = datasets::read(&workdir.path("out"));
    assert_eq!(flows.len(), 30);
    for row in &flows {
        let Tokens::U16(tokens) = &row.tokens else { panic!("field tokens are u16") };
        assert!(is_session(tokens));
        let packets: u64 = row.summary.as_ref().unwrap().packets.iter().sum();
        assert_eq!(packets, field::decode(tokens, &row.identity).unwrap().packets.len() as u64);
        // The header names the length class that the flow has, wherever the model ended it.
        let mut corrected = tokens.clone();
        field::set_length_class(&mut corrected, packets as usize);
        assert!(corrected == *tokens);
    }
}

#[test]
fn the_same_flows_whatever_batch_and_threads() {
    let workdir = Workdir::new();
    workdir.train();
    same_flows(&workdir, "f32");
    if linformer_kernels::layers::has_bf16() {
        same_flows(&workdir, "bf16");
    } else {
        let output = workdir.run(&format!("{GENERATE} --output-dir a --precision bf16"));
        assert_eq!(output.status.code(), Some(2));
        let expected = "weights in bfloat16 need a processor with AVX512_BF16";
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

fn same_flows(workdir: &Workdir, precision: &str) {
    let generate = format!("{GENERATE} --force --precision {precision}");
    workdir.succeed(&format!("{generate} --output-dir a --batch 64 --threads 1"));
    workdir.succeed(&format!("{generate} --output-dir b --batch 3 --threads 4"));
    workdir.succeed(&format!("{generate} --output-dir c --seed 2"));
    let [a, b, c] = ["a", "b", "c"].map(|name| datasets::read(&workdir.path(name)));
    assert!(a == b, "{precision}");
    assert!(a != c, "{precision}");
}

#[test]
fn parts_that_are_joined_are_the_flows_of_one_run() {
    let workdir = Workdir::new();
    workdir.train();
    let whole = workdir.succeed(&format!("--json {GENERATE} --output-dir whole"));
    for part in ["3/3", "1/3", "2/3", "2/3 --resume"] {
        workdir.succeed(&format!("{GENERATE} --output-dir parts --part {part}"));
    }
    let refused = workdir.run(&format!("{GENERATE} --output-dir parts --part 1/3 --seed 2"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("expected --seed of part 3/3: 1; found"), "{refused:?}");
    let sum = workdir.succeed(&format!("--json {GENERATE} --output-dir parts --join"));
    let [whole, sum]: [serde_json::Value; 2] =
        [whole, sum].map(|text| serde_json::from_str(&text).unwrap());
    for key in ["generated", "flows", "sessions", "packets", "tokens", "lengths", "longest"] {
        assert_eq!(whole[key], sum[key], "{key}");
    }
    assert!(datasets::read(&workdir.path("parts")) == datasets::read(&workdir.path("whole")));
}

#[test]
fn without_constraint_the_share_of_valid_flows_is_told() {
    let workdir = Workdir::new();
    workdir.train();
    let syntax =
        workdir.succeed(&format!("--json {GENERATE} --output-dir syntax --constrain syntax"));
    let summary: serde_json::Value = serde_json::from_str(&syntax).unwrap();
    assert_eq!(summary["flows"], 30, "{syntax}");
    let output = workdir.run(&format!("--json {GENERATE} --output-dir none --constrain none"));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("flows do not decode"), "{}", stderr(&output));
}

#[test]
fn a_dash_is_a_stream_on_stdout() {
    let workdir = Workdir::new();
    workdir.train();
    workdir.succeed(&format!("{GENERATE} --output-dir out"));
    let output = workdir
        .command(&format!("{GENERATE} --output-dir -"))
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    std::fs::write(workdir.path("stream.arrows"), &output.stdout).unwrap();
    assert!(datasets::read(&workdir.path("stream.arrows")) == datasets::read(&workdir.path("out")));
    assert!(stderr(&output).contains("whole valid sessions"), "the summary goes to stderr");
}

/// Replaces the last weight of the model, and removes the checksum that would reveal it.
fn spoil(workdir: &Workdir, value: f32) {
    let path = workdir.path("model/model.safetensors");
    let mut octets = std::fs::read(&path).unwrap();
    if octets.windows(6).any(|some| some == b"crc32c") {
        octets = without_checksum(&octets);
    }
    let end = octets.len();
    octets[end - 4..].copy_from_slice(&value.to_le_bytes());
    std::fs::write(&path, octets).unwrap();
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let workdir = Workdir::new();
    workdir.train();
    spoil(&workdir, f32::NAN);
    let output = workdir.run(&format!("{GENERATE} --output-dir out"));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("norm.weight: expected numbers, found NaN"),
        "{}",
        stderr(&output)
    );
    spoil(&workdir, f32::MAX);
    let output = workdir.run(&format!("{GENERATE} --output-dir out"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("scores are no numbers"), "{}", stderr(&output));
    assert!(!workdir.path("out").exists());
}

#[test]
fn a_damaged_model_is_refused_and_the_checkpoint_offered() {
    let workdir = Workdir::new();
    workdir.train();
    let path = workdir.path("model/model.safetensors");
    let mut octets = std::fs::read(&path).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 16;
    std::fs::write(&path, octets).unwrap();
    let output = workdir.run(&format!("{GENERATE} --output-dir out"));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("model/model.safetensors: checksum: expected \""), "{text}");
    assert!(text.contains("sound is the checkpoint model/checkpoint.safetensors"), "{text}");
    workdir.succeed(
        "generate --checkpoint-path model/checkpoint.safetensors --flows 3 --output-dir out",
    );
}

#[test]
fn a_configuration_that_does_not_go_with_the_weights_is_refused() {
    let workdir = Workdir::new();
    workdir.train();
    let path = workdir.path("model/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"heads\": 2", "\"heads\": 1")).unwrap();
    for from in ["model", "model/checkpoint.safetensors"] {
        let output = workdir.run(&format!("generate --checkpoint-path {from} --output-dir out"));
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(text.contains("model/config.json: it does not go with the weights"), "{text}");
        assert!(text.contains("heads: expected 1, found 2"), "{text}");
    }
}

#[test]
fn a_port_that_no_flow_went_to_is_warned_of() {
    let workdir = Workdir::new();
    workdir.train();
    let text = std::fs::read_to_string(workdir.path("model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ports = config["trained_on"]["server_ports"].as_str().unwrap();
    let seen = ports.split([',', '-']).next().unwrap();
    let unseen = (1..).find(|n| ports.split([',', '-']).all(|port| port != n.to_string())).unwrap();
    let args = format!(
        "generate --checkpoint-path model --flows 2 --server-port {seen},{unseen} --output-dir out"
    );
    let text = stderr(&workdir.run(&args));
    assert!(
        text.contains(&format!("--server-port {unseen}: the model has seen no flow to this port")),
        "{text}"
    );
    assert!(!text.contains(&format!("--server-port {seen}:")), "{text}");
}

#[test]
fn a_folder_with_the_name_of_a_file_is_told_of() {
    let workdir = Workdir::new();
    workdir.train();
    let messages = |name: &str| stderr(&workdir.run(&format!("{GENERATE} --output-dir {name}")));
    assert!(
        messages("out.csv").contains(
            "out.csv: a folder is made; names of files end in .arrow, .arrows or .parquet"
        )
    );
    assert!(workdir.path("out.csv").is_dir());
    assert!(
        !messages("out").contains("a folder is made")
            && !messages("out-1.5").contains("a folder is made")
    );
}

#[test]
fn a_name_of_a_dataset_file_makes_one_file() {
    let workdir = Workdir::new();
    workdir.train();
    for name in ["out.arrow", "out.arrows", "out.parquet"] {
        workdir.succeed(&format!("{GENERATE} --output-dir {name}"));
        assert!(workdir.path(name).is_file(), "{name}");
        let read = |name: &str| datasets::read(&workdir.path(name));
        assert_eq!(read(name), read("out.arrow"), "{name}");
    }
}

/// Returns the header of each flow of a dataset, with its number of packets.
fn heads(workdir: &Workdir, folder: &str) -> Vec<(field::FlowHeader, u64)> {
    let of = |row: &arrowio::FlowRow| {
        let Tokens::U16(tokens) = &row.tokens else { panic!("field tokens are u16") };
        (field::header(tokens).unwrap(), row.summary.as_ref().unwrap().packets.iter().sum())
    };
    datasets::read(&workdir.path(folder)).iter().map(of).collect()
}

#[test]
fn conditions_are_fulfilled() {
    let workdir = Workdir::new();
    workdir.train();
    let conditions = "--server-port 443,4711 --ends reset --length-class 3-4";
    workdir.succeed(&format!(
        "generate --checkpoint-path model --flows 40 {conditions} --output-dir out"
    ));
    let heads = heads(&workdir, "out");
    assert_eq!(heads.len(), 40);
    for (head, packets) in &heads {
        assert!([443, 4711].contains(&head.server_port), "{head:?}");
        assert_eq!(head.class.close, field::CloseKind::Reset);
        assert!((8..32).contains(packets), "{packets}");
    }
    assert!(
        heads.iter().any(|h| h.0.server_port == 443) && heads.iter().any(|h| h.0.length_class == 3)
    );
}

#[test]
fn packets_are_at_most_so_many() {
    let workdir = Workdir::new();
    workdir.train();
    workdir.succeed(
        "generate --checkpoint-path model --flows 40 --max-packets-per-flow 7 --output-dir out",
    );
    assert!(heads(&workdir, "out").iter().all(|(_, packets)| *packets <= 7));
    let output =
        workdir.run("generate --checkpoint-path model --max-packets-per-flow 6 --output-dir six");
    assert!(stderr(&output).contains("6 is not in 7"), "{}", stderr(&output));
}

#[test]
fn packets_are_at_least_so_many() {
    let workdir = Workdir::new();
    workdir.train();
    let args = "--json generate --checkpoint-path model --flows 3 --min-packets-per-flow 3000";
    let out = workdir.succeed(&format!("{args} --max-packets-per-flow 3100 --output-dir out"));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["sessions"], 3, "{out}");
    assert!(heads(&workdir, "out").iter().all(|(_, packets)| (3000..=3100).contains(packets)));
    let output = workdir.run(&format!("{args} --max-packets-per-flow 2000 --output-dir none"));
    assert!(stderr(&output).contains("expected at most 2000"), "{}", stderr(&output));
}

#[test]
fn packets_are_counted() {
    let workdir = Workdir::new();
    workdir.train();
    let args =
        "generate --checkpoint-path model --packets 500 --max-packets-per-flow 40 --output-dir";
    workdir.succeed(&format!("{args} a --batch 64 --threads 1"));
    workdir.succeed(&format!("{args} b --batch 3 --threads 4"));
    let of = |folder: &str| heads(&workdir, folder).iter().map(|h| h.1).collect::<Vec<_>>();
    let a = of("a");
    assert_eq!(a, of("b"));
    let before: u64 = a[..a.len() - 1].iter().sum();
    assert!(before < 500 && before + a[a.len() - 1] >= 500, "{a:?}");
}
