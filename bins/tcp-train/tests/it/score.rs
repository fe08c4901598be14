use crate::support::{Workdir, stderr};

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_flow_has_its_bits_and_its_part() {
    let workdir = Workdir::new();
    let train = "--json train --input-dir dataset --output-dir model --config settings.toml \
                 --max-steps 6 --threads 1";
    let summary: serde_json::Value =
        serde_json::from_str(&workdir.succeed(&format!("{train} --set test_share=0.2"))).unwrap();
    let score = "score --checkpoint-path model --input-dir dataset --threads 1";
    let flows = lines(&workdir.succeed(score));
    assert_eq!(flows.len(), 60);
    // The same octets, whatever the threads.
    let by_three = "score --checkpoint-path model --input-dir dataset --batch 64 --threads 3";
    assert_eq!(workdir.succeed(&format!("{score} --batch 64")), workdir.succeed(by_three));
    let in_bf16 = lines(&workdir.succeed(&format!("{score} --precision bf16")));
    for (a, b) in flows.iter().zip(&in_bf16) {
        let of = |flow: &serde_json::Value| flow["bits"].as_f64().unwrap();
        assert!(of(a) != of(b) && (of(a) / of(b) - 1.0).abs() < 1e-2, "{a} {b}");
    }
    for part in ["train", "validation", "test"] {
        let of = || flows.iter().filter(|flow| flow["split"] == part);
        assert_eq!(summary[part]["flows"], of().count(), "{part}");
        let packets: u64 = of().map(|flow| flow["packets"].as_u64().unwrap()).sum();
        assert_eq!(summary[part]["packets"], packets, "{part}");
    }
    let held_out = || flows.iter().filter(|flow| flow["split"] == "validation");
    let bits: f64 = held_out().map(|flow| flow["bits"].as_f64().unwrap()).sum();
    let predicted: u64 = held_out().map(|flow| flow["tokens"].as_u64().unwrap() - 1).sum();
    let nats = bits * std::f64::consts::LN_2 / predicted as f64;
    let expected = summary["validation_loss"]["nats_per_token"].as_f64().unwrap();
    assert!((nats - expected).abs() < 1e-5, "{nats} {expected}");
    let some = lines(&workdir.succeed(&format!("{score} --flows 17")));
    assert_eq!(some.len(), 17);
    for line in &some {
        let whole = &flows[line["flow"].as_u64().unwrap() as usize];
        assert_eq!((&line["split"], &line["packets"]), (&whole["split"], &whole["packets"]));
        assert!(
            (line["bits"].as_f64().unwrap() / whole["bits"].as_f64().unwrap() - 1.0).abs() < 1e-4,
            "{line} {whole}"
        );
    }
    assert_eq!(lines(&workdir.succeed(&format!("{score} --flows 61"))).len(), 60);
    let in_parts: Vec<serde_json::Value> = ["1/3", "2/3", "3/3"]
        .iter()
        .flat_map(|part| lines(&workdir.succeed(&format!("{score} --part {part}"))))
        .collect();
    assert_eq!(in_parts.len(), flows.len());
    for (a, b) in flows.iter().zip(&in_parts) {
        let of = |flow: &serde_json::Value| flow["bits"].as_f64().unwrap();
        assert_eq!(a["flow"], b["flow"]);
        assert!((of(a) / of(b) - 1.0).abs() < 1e-4, "{a} {b}");
    }
    let small = lines(&workdir.succeed(&format!("{score} --batch 20")));
    for (a, b) in flows.iter().zip(&small) {
        let of = |flow: &serde_json::Value| flow["bits"].as_f64().unwrap();
        assert!((of(a) / of(b) - 1.0).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn what_is_no_model_is_named() {
    let workdir = Workdir::new();
    let output = workdir.run("score --checkpoint-path nowhere --input-dir dataset");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nowhere"), "{}", stderr(&output));
}
