use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Workdir, head, stderr, tensors};

const TRAIN: &str =
    "train --input-dir dataset --config settings.toml --threads 1 --epochs 3 --output-dir";
const RESUME: &str = "resume --input-dir dataset --threads 1";

/// Waits until the metrics of a run have this many lines, while the run must not end.
fn await_steps(workdir: &Workdir, folder: &str, steps: usize, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let made = || {
        std::fs::read_to_string(workdir.path(folder).join("metrics.jsonl"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    while made() < steps {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        assert!(Instant::now() < deadline, "{} steps after a minute", made());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn same_weights(workdir: &Workdir, a: &str, b: &str) {
    for name in ["checkpoint.safetensors", "model.safetensors"] {
        assert!(
            tensors(&workdir.path(a).join(name)) == tensors(&workdir.path(b).join(name)),
            "{name}"
        );
    }
}

fn signal(child: &Child, name: &str) {
    let status =
        std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn killed_and_resumed_is_the_same_bit_for_bit() {
    for precision in ["f32", "bf16"] {
        killed_and_resumed(precision);
    }
}

fn killed_and_resumed(precision: &str) {
    let workdir = Workdir::new();
    let train = |folder: &str| format!("{TRAIN} {folder} --precision {precision}");
    workdir.succeed(&train("straight"));
    let mut child = workdir.command(&train("killed")).spawn().unwrap();
    await_steps(&workdir, "killed", 7, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(
        tensors(&workdir.path("killed/checkpoint.safetensors"))
            != tensors(&workdir.path("straight/checkpoint.safetensors"))
    );
    workdir.succeed(&format!("{RESUME} --checkpoint-path killed --output-dir killed"));
    same_weights(&workdir, "straight", "killed");
}

#[test]
fn stopped_within_a_flow_and_resumed_is_the_same_bit_for_bit() {
    let workdir = Workdir::new();
    let pieces = "--set piece=16";
    workdir.succeed(&format!("{TRAIN} straight {pieces}"));
    let mut child = workdir.command(&format!("{TRAIN} stopped {pieces}")).spawn().unwrap();
    await_steps(&workdir, "stopped", 3, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(
        head(&workdir.path("stopped/checkpoint.safetensors")).contains("under_way."),
        "a flow is under way"
    );
    workdir.succeed(&format!("{RESUME} --checkpoint-path stopped --output-dir stopped"));
    same_weights(&workdir, "straight", "stopped");
    let output = workdir
        .run(&format!("{RESUME} --checkpoint-path stopped --output-dir stopped --set piece=17"));
    assert!(stderr(&output).contains("piece: expected 16"), "{}", stderr(&output));
}

#[test]
fn a_signal_writes_a_checkpoint_to_go_on_from() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} straight"));
    for name in ["-INT", "-TERM"] {
        let (stopped, moved) = (format!("stopped{name}"), format!("moved{name}"));
        let mut child = workdir.command(&format!("{TRAIN} {stopped}")).spawn().unwrap();
        await_steps(&workdir, &stopped, 3, &mut child);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{name}");
        workdir.succeed(&format!("{RESUME} --checkpoint-path {stopped} --output-dir {moved}"));
        same_weights(&workdir, "straight", &moved);
        let lines = |folder: &str| {
            std::fs::read_to_string(workdir.path(folder).join("metrics.jsonl"))
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(lines("straight"), lines(&moved), "each step has one line");
    }
}

#[test]
fn there_is_a_checkpoint_at_any_moment() {
    let workdir = Workdir::new();
    let mut child =
        workdir.command(&format!("{TRAIN} model --set checkpoint_seconds=0")).spawn().unwrap();
    await_steps(&workdir, "model", 2, &mut child);
    let last = workdir.path("model/checkpoint.safetensors");
    let (mut looks, mut misses) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        for _ in 0..1_000 {
            looks += 1;
            misses += u32::from(!last.exists());
        }
    }
    assert!(looks > 10_000, "{looks}");
    assert_eq!(misses, 0, "of {looks} looks");
}

/// A power cut may leave half a checkpoint under a temporary name, and none under the name of the
/// last one.
#[test]
fn a_checkpoint_torn_while_it_was_written_harms_nothing() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} straight"));
    let mut child = workdir.command(&format!("{TRAIN} cut")).spawn().unwrap();
    await_steps(&workdir, "cut", 5, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let last = workdir.path("cut/checkpoint.safetensors");
    let octets = std::fs::read(&last).unwrap();
    std::fs::write(
        workdir.path("cut/.checkpoint.safetensors.1-0.part"),
        &octets[..octets.len() / 2],
    )
    .unwrap();
    workdir.succeed(&format!("{RESUME} --checkpoint-path cut --output-dir a"));
    same_weights(&workdir, "straight", "a");
    std::fs::remove_file(&last).unwrap();
    let output = workdir.run(&format!("{RESUME} --checkpoint-path cut --output-dir cut"));
    assert!(stderr(&output).contains("checkpoint-previous.safetensors"), "{}", stderr(&output));
    let previous = "cut/checkpoint-previous.safetensors";
    workdir.succeed(&format!("{RESUME} --checkpoint-path {previous} --output-dir b"));
    same_weights(&workdir, "straight", "b");
}

#[test]
fn a_foreign_checkpoint_is_refused_by_name() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} model --max-steps 4"));
    let path = workdir.path("model/checkpoint.safetensors");
    let octets = std::fs::read(&path).unwrap();
    let refused = |octets: &[u8], expected: &str| {
        std::fs::write(&path, octets).unwrap();
        let output = workdir.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
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
    let (workdir, other) = (Workdir::new(), Workdir::with_flows(59));
    workdir.train();
    let dataset = other.path("dataset");
    let args = format!(
        "resume --checkpoint-path model --output-dir model --input-dir {}",
        dataset.display()
    );
    let output = workdir.run(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected the dataset"), "{}", stderr(&output));
}

#[test]
fn of_a_damaged_checkpoint_the_one_before_is_named() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} model --max-steps 4"));
    std::fs::write(workdir.path("model/checkpoint.safetensors"), b"damaged").unwrap();
    let output = workdir.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("checkpoint-previous.safetensors"), "{}", stderr(&output));
    workdir.succeed(&format!(
        "{RESUME} --checkpoint-path model/checkpoint-previous.safetensors --output-dir model"
    ));
}

#[test]
fn another_folder_is_not_written_into_unless_it_is_empty() {
    let workdir = Workdir::new();
    workdir.train();
    std::fs::create_dir(workdir.path("mine")).unwrap();
    std::fs::write(workdir.path("mine/config.json"), "mine").unwrap();
    let output = workdir.run(&format!("{RESUME} --checkpoint-path model --output-dir mine"));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("mine: expected no folder or an empty one"),
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("--force"), "{}", stderr(&output));
    assert_eq!(std::fs::read(workdir.path("mine/config.json")).unwrap(), b"mine");
    workdir.succeed(&format!("{RESUME} --checkpoint-path model --output-dir other"));
}

#[test]
fn of_a_checkpoint_with_one_octet_changed_the_one_before_is_offered() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} model --max-steps 4"));
    let path = workdir.path("model/checkpoint.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 60, 200, whole.len() / 2, whole.len() - 1] {
        let mut octets = whole.clone();
        octets[at] ^= 4;
        std::fs::write(&path, octets).unwrap();
        let output = workdir.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
        assert_eq!(output.status.code(), Some(2), "octet {at}");
        let text = stderr(&output);
        assert!(text.contains("model/checkpoint.safetensors: "), "{text}");
        assert!(
            text.contains("sound is the checkpoint model/checkpoint-previous.safetensors"),
            "{text}"
        );
    }
}

/// A run that resumes from the previous checkpoint keeps it: the damaged last one does not take its
/// place.
#[test]
fn the_checkpoint_gone_on_from_is_kept() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} model --max-steps 4"));
    std::fs::write(workdir.path("model/checkpoint.safetensors"), b"damaged").unwrap();
    let previous = workdir.path("model/checkpoint-previous.safetensors");
    let before = std::fs::read(&previous).unwrap();
    let from = "--checkpoint-path model/checkpoint-previous.safetensors --output-dir model";
    workdir.succeed(&format!("{RESUME} {from} --max-steps 5 --set checkpoint_seconds=1000"));
    assert!(before == std::fs::read(&previous).unwrap());
    workdir.succeed(&format!("{RESUME} --checkpoint-path model --output-dir model --max-steps 6"));
}

#[test]
fn a_run_that_has_ended_says_so_in_one_line() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} model --max-steps 4"));
    let files = || -> Vec<_> {
        let names =
            std::fs::read_dir(workdir.path("model")).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = names.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        all.sort();
        all
    };
    let before = files();
    let output = workdir.run(&format!("{RESUME} --checkpoint-path model --output-dir model"));
    assert_eq!(output.status.code(), Some(0));
    let text = stderr(&output);
    assert!(
        text.contains("nothing to do: the run has ended after 4 steps, by the number of steps"),
        "{text}"
    );
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
    assert!(before == files(), "nothing is written");
    let out = workdir.succeed(&format!(
        "--json {RESUME} --checkpoint-path model --output-dir model --max-steps 6"
    ));
    assert!(out.contains("\"steps\":6"), "{out}");
}

#[test]
fn a_run_that_fails_at_once_leaves_a_state_to_begin_from() {
    let workdir = Workdir::new();
    for more in ["", "--set checkpoint_seconds=1000"] {
        let args =
            format!("{TRAIN} model --force --learning-rate 1e9 --set optimizer.clip=1e9 {more}");
        let output = workdir.run(&args);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let text = stderr(&output);
        let state =
            text.split("the last good state is ").nth(1).unwrap_or_else(|| panic!("{text}"));
        let state = state.split(':').next().unwrap();
        assert!(workdir.path(state).is_file(), "{text}");
        let resume =
            format!("{RESUME} --checkpoint-path {state} --output-dir model --learning-rate 1e-3");
        let output = workdir.run(&format!("{resume} --max-steps 20"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            more.is_empty() || stderr(&output).contains("training begins anew"),
            "{}",
            stderr(&output)
        );
    }
}

/// Processes that torchrun starts anew go on with their own run, and with no other.
#[test]
fn a_restart_by_torchrun_goes_on_with_its_own_run() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} straight"));
    let start = |restarts: &str, run: &str| {
        let mut command = workdir.command(&format!("{TRAIN} model"));
        command.env("TORCHELASTIC_RESTART_COUNT", restarts).env("TORCHELASTIC_RUN_ID", run);
        command
    };
    // The first processes have left a configuration and nothing else.
    std::fs::create_dir(workdir.path("model")).unwrap();
    std::fs::copy(workdir.path("straight/config.json"), workdir.path("model/config.json")).unwrap();
    assert_eq!(start("0", "one").output().unwrap().status.code(), Some(2));
    let mut child = start("1", "one").spawn().unwrap();
    await_steps(&workdir, "model", 3, &mut child);
    signal(&child, "-KILL");
    child.wait().unwrap();
    for (restarts, run) in [("2", "another"), ("0", "one")] {
        let refused = start(restarts, run).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{restarts} {run}");
        assert!(stderr(&refused).contains("one that is not empty"), "{}", stderr(&refused));
    }
    let resumed = start("2", "one").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    same_weights(&workdir, "straight", "model");
}
