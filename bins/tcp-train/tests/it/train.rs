use tokenizer::FlowIdentity;
use tokenizer::field::{self, vocab};

use crate::support::{Workdir, session, stderr, tensors, write_flows};

#[test]
fn a_dataset_whose_flows_name_no_capture_is_told() {
    let workdir = Workdir::new();
    let output = workdir.run(
        "train --input-dir dataset --output-dir model --config settings.toml --max-steps 1 \
         --threads 1",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "dataset: no flow names its capture (column source)";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn makes_a_model_folder_and_a_summary() {
    let workdir = Workdir::new();
    let out = workdir.succeed(
        "--json train --input_dir dataset --output_dir model --config settings.toml --max_steps 6 \
         --threads 1",
    );
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["steps"], 6);
    assert_eq!(summary["train"]["flows"], 54);
    assert_eq!(summary["validation"]["flows"], 6);
    assert!(summary["validation_loss"]["bits_per_packet"].as_f64().unwrap() > 1.0);
    for name in [
        "model.safetensors",
        "config.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "training.html",
    ] {
        assert!(workdir.path("model").join(name).is_file(), "{name}");
    }
    let metrics = std::fs::read_to_string(workdir.path("model/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.contains("learning_rate")).count(), 6);
    assert_eq!(metrics.lines().filter(|line| line.contains("validation_loss")).count(), 2);
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let fields = last["validation_fields"].as_object().unwrap();
    let sum: f64 = fields.values().filter_map(serde_json::Value::as_f64).sum();
    assert!((sum - last["validation_bits_per_packet"].as_f64().unwrap()).abs() < 1e-9, "{last}");
    let html = std::fs::read_to_string(workdir.path("model/training.html")).unwrap();
    assert!(
        html.matches("<svg").count() >= 5
            && html.contains("validation loss")
            && !html.contains("http-equiv")
    );
}

#[test]
fn refuses_a_folder_with_something_in_it() {
    let workdir = Workdir::new();
    let output = workdir.run("train --input-dir dataset --output-dir . --config settings.toml");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("not empty"), "{}", stderr(&output));
}

#[test]
fn names_what_is_wrong() {
    let workdir = Workdir::new();
    let fails = |args: &str, expected: &str| {
        let output = workdir.run(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args}: {text}");
        assert!(text.contains(expected), "{args}: {text}");
    };
    fails("train --input-dir nowhere --output-dir model", "nowhere");
    fails("train --input-dir dataset --output-dir model --device cuda:77", "device cuda:77");
    fails("generate --checkpoint-path nowhere --output-dir out", "nowhere");
    workdir.train();
    std::fs::write(workdir.path("model/checkpoint.safetensors"), b"damaged").unwrap();
    let resume = "resume --checkpoint-path model --input-dir dataset --output-dir model";
    fails(resume, "checkpoint.safetensors");
}

#[test]
fn duplicates_are_trained_on_once() {
    let workdir = Workdir::new();
    let shard = |n: u8| workdir.path("dataset").join(format!("flows-0000{n}.arrows"));
    std::fs::copy(shard(0), shard(1)).unwrap();
    let out = workdir.succeed(
        "--json train --input-dir dataset --output-dir model --config settings.toml --max-steps 1",
    );
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["duplicates"], &summary["train"]["flows"]), (&60.into(), &54.into()));
}

#[test]
fn of_flows_that_differ_in_time_alone_so_many_are_trained_on() {
    let workdir = Workdir::new();
    let alike = |first: &[u16], digit: usize| -> Vec<Vec<u16>> {
        let with = |n| [&first[..digit], &[vocab::DIGIT.at(n)], &first[digit + 1..]].concat();
        (0..30).map(with).collect()
    };
    // A digit of a time that may be any of thirty.
    let times = |first: Vec<u16>| {
        let follow_times = (1..first.len()).filter(|&i| vocab::TIME.arg(first[i - 1]).is_some());
        let mut flows = follow_times.map(|digit| alike(&first, digit));
        flows.find(|flows| {
            flows.iter().all(|tokens| field::decode(tokens, &FlowIdentity::default()).is_ok())
        })
    };
    let later = (11..100).map(session).find_map(times).unwrap();
    write_flows(&workdir.path("alike"), later.into_iter().chain((1..11).map(session)));
    let args = "--json train --input-dir alike --config settings.toml --max-steps 1 --output-dir";
    let left_out = |more: &str| {
        let summary: serde_json::Value =
            serde_json::from_str(&workdir.succeed(&format!("{args} {more}"))).unwrap();
        (summary["repeats"].as_u64().unwrap(), summary["train"]["flows"].as_u64().unwrap())
    };
    assert_eq!(left_out("some --max-repeats 5"), (25, 14));
    assert_eq!(left_out("all --max-repeats 0"), (0, 36));
}

/// With a learning rate near 0, the loss of a flow does not depend on whether it is cut.
#[test]
fn flows_in_pieces_have_the_loss_of_whole_ones() {
    let workdir = Workdir::new();
    let args = "--json train --input-dir dataset --config settings.toml --max-steps 2 \
                --learning-rate 1e-12 --output-dir";
    let run = |more: &str| -> serde_json::Value {
        serde_json::from_str(&workdir.succeed(&format!("{args} {more}"))).unwrap()
    };
    let (whole, pieces) = (run("whole --set piece=512"), run("pieces --set piece=16"));
    let loss = |summary: &serde_json::Value| {
        summary["validation_loss"]["nats_per_token"].as_f64().unwrap()
    };
    assert!((loss(&whole) - loss(&pieces)).abs() < 1e-5, "{whole} {pieces}");
    assert_eq!(whole["flows_in_pieces"], 0);
    assert!(pieces["flows_in_pieces"].as_u64().unwrap() > 40, "{pieces}");
}

#[test]
fn every_setting_can_be_set() {
    let workdir = Workdir::new();
    let args = "train --input-dir dataset --output-dir model --config settings.toml --max-steps 2 \
                --gradient-accumulation 3";
    workdir.succeed(&format!(
        "{args} --set model.feed=48 --set optimizer.clip=0.5 --set precision=bf16 --patience 4"
    ));
    let text = std::fs::read_to_string(workdir.path("model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let settings = &config["settings"];
    assert_eq!(
        (&settings["model"]["feed"], &settings["optimizer"]["clip"]),
        (&48.into(), &0.5.into())
    );
    assert_eq!((&settings["precision"], &settings["accumulate"]), (&"bf16".into(), &3.into()));
    let refused = |set: &str, expected: &str| {
        let output =
            workdir.run(&format!("train --input-dir dataset --output-dir other --set {set}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    refused("model.vocab_size=9", "model.vocab_size: expected");
    refused("model.colour=9", "unknown field `colour`");
}

#[test]
fn parts_change_rounding_alone() {
    let workdir = Workdir::new();
    let args = "--json train --input-dir dataset --config settings.toml --max-steps 6 --threads 1";
    let loss = |more: &str| {
        let out = workdir.succeed(&format!("{args} {more}"));
        let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
        summary["validation_loss"]["nats_per_token"].as_f64().unwrap()
    };
    assert!((loss("--output-dir one") - loss("--output-dir three --accumulate 3")).abs() < 1e-4);
}

#[test]
fn patience_ends_a_run() {
    let workdir = Workdir::new();
    let args = "--json train --input-dir dataset --output-dir model --config settings.toml \
                --epochs 1000 --learning-rate 1e-12";
    let out = workdir.succeed(&format!("{args} --validate-every 1 --patience 2 --set warmup=0"));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["stopped_by"], "validations that got no better", "{out}");
}

#[test]
fn a_spike_stops_with_its_step_and_names_the_last_good_state() {
    let workdir = Workdir::new();
    let args = "train --input-dir dataset --output-dir model --config settings.toml \
                --epochs 1000 --set spike=0.5";
    workdir.succeed(&format!("{args} --max-steps 60"));
    let resume = "resume --checkpoint-path model --input-dir dataset --output-dir model \
                  --max-steps 200 --learning-rate 30";
    let output =
        workdir.run(&format!("{resume} --set optimizer.clip=1e9 --set checkpoint_seconds=1000"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("the last good state is") && text.contains("step "), "{text}");
    workdir.succeed(
        "resume --checkpoint-path model --input-dir dataset --output-dir good --max-steps 62",
    );
}

#[test]
fn a_stream_is_trained_on_like_a_file() {
    let workdir = Workdir::new();
    let stream = std::fs::File::open(workdir.path("dataset").join("flows-00000.arrows")).unwrap();
    let args = "--config settings.toml --max-steps 3 --threads 1";
    let output = workdir
        .command(&format!("train --input-dir - --output-dir piped {args}"))
        .stdin(stream)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    workdir.succeed(&format!("train --input-dir dataset --output-dir read {args}"));
    let of = |folder: &str| tensors(&workdir.path(folder).join("model.safetensors"));
    assert!(of("piped") == of("read"));
}

#[test]
fn settings_beyond_sense_are_refused_by_name() {
    let workdir = Workdir::new();
    for (set, named) in [
        ("accumulate=18446744073709", "accumulate: expected 1 to 65536"),
        ("optimizer.clip=nan", "optimizer.clip: expected more than 0"),
        ("optimizer.eps=0.0", "optimizer.eps: expected more than 0"),
        ("optimizer.beta1=1.0", "optimizer.beta1: expected at least 0 and under 1"),
        ("model.width=100000000", "at most 65536"),
    ] {
        let output =
            workdir.run(&format!("train --input-dir dataset --output-dir model --set {set}"));
        assert_eq!(output.status.code(), Some(2), "{set}");
        assert!(stderr(&output).contains(named), "{set}: {}", stderr(&output));
    }
}

#[test]
fn trains_without_avx512() {
    let workdir = Workdir::new();
    for precision in ["f32", "bf16"] {
        let trained = |name: &str, limits: &[(&str, &str)]| {
            let args = format!(
                "-v --json train --input-dir dataset --output-dir {name}-{precision} --config \
                 settings.toml --max-steps 10 --threads 1 --precision {precision}"
            );
            let output = workdir.command(&args).envs(limits.iter().copied()).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let bits = summary["validation_loss"]["bits_per_packet"].as_f64().unwrap();
            (bits, stderr(&output))
        };
        let (best, _) = trained("best", &[]);
        let avx2 = [
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ];
        let (bits, log) = trained("avx2", &avx2);
        assert!(log.contains(&format!("products in {precision} by libtorch")), "{log}");
        assert!((bits / best - 1.0).abs() < 3e-3, "{precision}: {bits} bits, {best} with all");
    }
}
