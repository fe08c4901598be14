use crate::support::{Place, stderr};

#[test]
fn makes_a_model_folder_and_a_summary() {
    let place = Place::new();
    let out = place.succeed(
        "--json train --input_dir dataset --output_dir model --config settings.toml --max_steps 6 --threads 1",
    );
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["steps"], 6);
    assert_eq!(summary["train"]["flows"], 54);
    assert_eq!(summary["validation"]["flows"], 6);
    assert!(summary["validation_loss"]["bits_per_packet"].as_f64().unwrap() > 1.0);
    for name in ["model.safetensors", "config.json", "metrics.jsonl", "checkpoint.safetensors"] {
        assert!(place.path("model").join(name).is_file(), "{name}");
    }
    let metrics = std::fs::read_to_string(place.path("model/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.contains("learning_rate")).count(), 6);
    assert_eq!(metrics.lines().filter(|line| line.contains("validation_loss")).count(), 2);
}

#[test]
fn refuses_a_folder_with_something_in_it() {
    let place = Place::new();
    let output = place.run("train --input-dir dataset --output-dir . --config settings.toml");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("not empty"), "{}", stderr(&output));
}

#[test]
fn names_what_is_wrong() {
    let place = Place::new();
    let fails = |args: &str, expected: &str| {
        let output = place.run(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args}: {text}");
        assert!(text.contains(expected), "{args}: {text}");
    };
    fails("train --input-dir nowhere --output-dir model", "nowhere");
    fails("train --input-dir dataset --output-dir model --device cuda:77", "device cuda:77");
    fails("generate --checkpoint-path nowhere --output-dir out", "nowhere");
    place.train();
    std::fs::write(place.path("model/checkpoint.safetensors"), b"damaged").unwrap();
    let resume = "resume --checkpoint-path model --input-dir dataset --output-dir model";
    fails(resume, "checkpoint.safetensors");
}

#[test]
fn duplicates_are_trained_on_once() {
    let place = Place::new();
    let shard = |n: u8| place.path("dataset").join(format!("flows-0000{n}.arrows"));
    std::fs::copy(shard(0), shard(1)).unwrap();
    let out = place.succeed("--json train --input-dir dataset --output-dir model --config settings.toml --max-steps 1");
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["duplicates"], &summary["train"]["flows"]), (&60.into(), &54.into()));
}
