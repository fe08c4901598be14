use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Place, head, stderr, tensors};

const TRAIN: &str = "train --input-dir dataset --config settings.toml --threads 1 --epochs 3 --output-dir";
const RESUME: &str = "resume --input-dir dataset --threads 1";

/// Waits until the run has made so many steps.
fn await_steps(place: &Place, folder: &str, steps: usize, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let made = || std::fs::read_to_string(place.path(folder).join("metrics.jsonl")).unwrap_or_default().lines().count();
    while made() < steps {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        assert!(Instant::now() < deadline, "{} steps after a minute", made());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn same_weights(place: &Place, a: &str, b: &str) {
    for name in ["checkpoint.safetensors", "model.safetensors"] {
        assert!(tensors(&place.path(a).join(name)) == tensors(&place.path(b).join(name)), "{name}");
    }
}

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn killed_and_resumed_is_the_same_bit_for_bit() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} straight"));
    let mut child = place.command(&format!("{TRAIN} killed")).spawn().unwrap();
    await_steps(&place, "killed", 7, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(
        tensors(&place.path("killed/checkpoint.safetensors"))
            != tensors(&place.path("straight/checkpoint.safetensors"))
    );
    place.succeed(&format!("{RESUME} --checkpoint-path killed --output-dir killed"));
    same_weights(&place, "straight", "killed");
}

#[test]
fn stopped_within_a_flow_and_resumed_is_the_same_bit_for_bit() {
    let place = Place::new();
    let pieces = "--set piece=16";
    place.succeed(&format!("{TRAIN} straight {pieces}"));
    let mut child = place.command(&format!("{TRAIN} stopped {pieces}")).spawn().unwrap();
    await_steps(&place, "stopped", 3, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(head(&place.path("stopped/checkpoint.safetensors")).contains("under_way."), "a flow is under way");
    place.succeed(&format!("{RESUME} --checkpoint-path stopped --output-dir stopped"));
    same_weights(&place, "straight", "stopped");
    let output = place.run(&format!("{RESUME} --checkpoint-path stopped --output-dir stopped --set piece=17"));
    assert!(stderr(&output).contains("piece: expected 16"), "{}", stderr(&output));
}

#[test]
fn a_signal_writes_a_checkpoint_to_go_on_from() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} straight"));
    for name in ["-INT", "-TERM"] {
        let (stopped, moved) = (format!("stopped{name}"), format!("moved{name}"));
        let mut child = place.command(&format!("{TRAIN} {stopped}")).spawn().unwrap();
        await_steps(&place, &stopped, 3, &mut child);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{name}");
        place.succeed(&format!("{RESUME} --checkpoint-path {stopped} --output-dir {moved}"));
        same_weights(&place, "straight", &moved);
        let lines =
            |folder: &str| std::fs::read_to_string(place.path(folder).join("metrics.jsonl")).unwrap().lines().count();
        assert_eq!(lines("straight"), lines(&moved), "each step has one line");
    }
}

/// What a power cut may leave: a checkpoint half written beside, and none under the last one's name.
#[test]
fn a_checkpoint_torn_while_it_was_written_harms_nothing() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} straight"));
    let mut child = place.command(&format!("{TRAIN} cut")).spawn().unwrap();
    await_steps(&place, "cut", 5, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let last = place.path("cut/checkpoint.safetensors");
    let octets = std::fs::read(&last).unwrap();
    std::fs::write(place.path("cut/.checkpoint.safetensors.part"), &octets[..octets.len() / 2]).unwrap();
    place.succeed(&format!("{RESUME} --checkpoint-path cut --output-dir a"));
    same_weights(&place, "straight", "a");
    std::fs::remove_file(&last).unwrap();
    let output = place.run(&format!("{RESUME} --checkpoint-path cut --output-dir cut"));
    assert!(stderr(&output).contains("checkpoint-previous.safetensors"), "{}", stderr(&output));
    let previous = "cut/checkpoint-previous.safetensors";
    place.succeed(&format!("{RESUME} --checkpoint-path {previous} --output-dir b"));
    same_weights(&place, "straight", "b");
}

#[test]
fn a_foreign_checkpoint_is_refused_by_name() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} model --max-steps 4"));
    let path = place.path("model/checkpoint.safetensors");
    let octets = std::fs::read(&path).unwrap();
    let refused = |octets: &[u8], expected: &str| {
        std::fs::write(&path, octets).unwrap();
        let output = place.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("checkpoint.safetensors") && text.contains(expected), "{text}");
        assert!(text.contains("checkpoint-previous.safetensors"), "{text}");
    };
    refused(&octets[..octets.len() - 100], "no safetensors file");
    let foreign: &[u8] = b"\x19\0\0\0\0\0\0\0{\"__metadata__\":{\"a\":\"\"}}";
    refused(foreign, "no training state");
}

#[test]
fn another_dataset_is_refused() {
    let (place, other) = (Place::new(), Place::with_flows(59));
    place.train();
    let dataset = other.path("dataset");
    let args = format!("resume --checkpoint-path model --output-dir model --input-dir {}", dataset.display());
    let output = place.run(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected the dataset"), "{}", stderr(&output));
}

#[test]
fn of_a_damaged_checkpoint_the_one_before_is_named() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} model --max-steps 4"));
    std::fs::write(place.path("model/checkpoint.safetensors"), b"damaged").unwrap();
    let output = place.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("checkpoint-previous.safetensors"), "{}", stderr(&output));
    place.succeed(&format!("{RESUME} --checkpoint-path model/checkpoint-previous.safetensors --output-dir model"));
}

#[test]
fn another_folder_is_not_written_into_unless_it_is_empty() {
    let place = Place::new();
    place.train();
    std::fs::create_dir(place.path("mine")).unwrap();
    std::fs::write(place.path("mine/config.json"), "mine").unwrap();
    let output = place.run(&format!("{RESUME} --checkpoint-path model --output-dir mine"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("mine: expected no folder or an empty one"), "{}", stderr(&output));
    assert_eq!(std::fs::read(place.path("mine/config.json")).unwrap(), b"mine");
    place.succeed(&format!("{RESUME} --checkpoint-path model --output-dir other"));
}
