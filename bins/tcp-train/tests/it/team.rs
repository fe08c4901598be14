use std::net::TcpListener;

use crate::support::{Workdir, stderr};

const TRAIN: &str = "train --input-dir dataset --config settings.toml --threads 1 --max-steps 8 \
                     --epochs 4 --set batch=1024 --set piece=40";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns the training loss of each step of a run, and the loss of its last validation.
fn losses(workdir: &Workdir, folder: &str) -> (Vec<f64>, f64) {
    let text = std::fs::read_to_string(workdir.path(folder).join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| lines.iter().filter_map(|line| line[name].as_f64()).collect::<Vec<_>>();
    (of("loss"), *of("validation_loss").last().unwrap())
}

#[test]
fn two_processes_train_as_one_does() {
    let workdir = Workdir::new();
    workdir.succeed(&format!("{TRAIN} --output-dir one"));
    let port = free_port().to_string();
    let start = |rank: &str| {
        let mut command = workdir.command(&format!("{TRAIN} --output-dir two"));
        command.envs([
            ("RANK", rank),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", &port),
        ]);
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (start("0"), start("1"));
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let ((one, one_held), (two, two_held)) = (losses(&workdir, "one"), losses(&workdir, "two"));
    assert_eq!((one.len(), two.len()), (8, 8));
    for (a, b) in one.iter().zip(&two) {
        assert!((a - b).abs() < 1e-4, "{one:?} {two:?}");
    }
    assert!((one_held - two_held).abs() < 1e-4);
    workdir.succeed(
        "generate --checkpoint-path two --flows 3 --output-dir out --max-packets-per-flow 20",
    );
}

#[test]
fn a_rank_outside_of_the_group_is_refused() {
    let workdir = Workdir::new();
    let mut command = workdir.command(&format!("{TRAIN} --output-dir model"));
    let output = command.envs([("RANK", "2"), ("WORLD_SIZE", "2")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("RANK: expected a number below 2, found 2"),
        "{}",
        stderr(&output)
    );
}
