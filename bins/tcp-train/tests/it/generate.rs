use std::process::Stdio;

use arrowio::Tokens;
use tokenizer::field::{self, Grammar, Limits, Strength};

use crate::support::{Place, flows, stderr};

const GENERATE: &str = "generate --checkpoint-path model --flows 30 --max-packets-per-flow 20";

fn is_session(tokens: &[u16]) -> bool {
    let mut grammar = Grammar::new(Strength::Session, Limits { max_packets: 20 });
    tokens.iter().all(|&t| grammar.legal_next().contains(t) && grammar.push(t).is_ok()) && grammar.is_done()
}

#[test]
fn every_flow_is_a_whole_session() {
    let place = Place::new();
    place.train();
    let out = place.succeed(&format!("--json {GENERATE} --output_dir out"));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["flows"], &summary["sessions"]), (&30.into(), &30.into()));
    let flows = flows(&place.path("out"));
    assert_eq!(flows.len(), 30);
    for row in &flows {
        let Tokens::U16(tokens) = &row.tokens else { panic!("field tokens are u16") };
        assert!(is_session(tokens));
        let packets: u64 = row.summary.as_ref().unwrap().packets.iter().sum();
        assert_eq!(packets, field::decode(tokens, &row.identity).unwrap().packets.len() as u64);
    }
}

#[test]
fn the_same_flows_whatever_batch_and_threads() {
    let place = Place::new();
    place.train();
    place.succeed(&format!("{GENERATE} --output-dir a --batch 64 --threads 1"));
    place.succeed(&format!("{GENERATE} --output-dir b --batch 3 --threads 4"));
    place.succeed(&format!("{GENERATE} --output-dir c --seed 2"));
    let [a, b, c] = ["a", "b", "c"].map(|name| flows(&place.path(name)));
    assert!(a == b);
    assert!(a != c);
}

#[test]
fn without_constraint_the_share_of_valid_flows_is_told() {
    let place = Place::new();
    place.train();
    let syntax = place.succeed(&format!("--json {GENERATE} --output-dir syntax --constrain syntax"));
    let summary: serde_json::Value = serde_json::from_str(&syntax).unwrap();
    assert_eq!(summary["flows"], 30, "{syntax}");
    let output = place.run(&format!("--json {GENERATE} --output-dir none --constrain none"));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("flows do not decode"), "{}", stderr(&output));
}

#[test]
fn a_dash_is_a_stream_on_stdout() {
    let place = Place::new();
    place.train();
    place.succeed(&format!("{GENERATE} --output-dir out"));
    let output = place.command(&format!("{GENERATE} --output-dir -")).stdout(Stdio::piped()).output().unwrap();
    std::fs::write(place.path("stream.arrows"), &output.stdout).unwrap();
    assert!(flows(&place.path("stream.arrows")) == flows(&place.path("out")));
    assert!(stderr(&output).contains("whole valid sessions"), "the summary goes to stderr");
}
