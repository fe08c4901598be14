use std::ops::ControlFlow;

use linformer::{
    Device, Generated, Generator, Job, Model, ModelError, Precision, PrefixMatch, Prompt, Sampling,
    StopReason, TokenFilter,
};

use crate::model::config;

/// Filter that allows even tokens; token 0 ends the sequence.
struct Even {
    done: bool,
}

impl TokenFilter for Even {
    fn allowed(&mut self) -> &[u64] {
        &[0x5555_5555_5555_5555]
    }
    fn push(&mut self, token: u16) {
        assert_eq!(token % 2, 0);
        self.done = token == 0;
    }
    fn is_done(&self) -> bool {
        self.done
    }
}

fn job() -> Job {
    let sampling = Sampling::default();
    let prompts = vec![Prompt::only(vec![2, 4])];
    let (slots, threads, max_waiting_tokens) = (8, 1, 1000);
    Job {
        sequences: 0..40,
        prompts,
        sampling,
        seed: 11,
        slots,
        threads,
        max_tokens: 30,
        max_waiting_tokens,
    }
}

fn run(job: &Job) -> Vec<Generated> {
    let generator = Generator::new(
        Model::new(&config(), 3, Device::Cpu).unwrap().decoder(Precision::F32).unwrap(),
    );
    let mut all = Vec::new();
    let deliver = |generated, _| {
        all.push(generated);
        Ok::<_, ModelError>(ControlFlow::Continue(()))
    };
    generator.run(job, |_| Even { done: false }, deliver).unwrap();
    all
}

#[test]
fn all_come_in_order_and_are_allowed() {
    let all = run(&job());
    assert!(all.iter().map(|g| g.index).eq(0..40));
    for generated in &all {
        assert_eq!(generated.tokens[..2], [2, 4]);
        let is_done = generated.stop_reason == StopReason::Done;
        assert_eq!(is_done, generated.tokens.last() == Some(&0));
        assert!(
            is_done || generated.stop_reason == StopReason::CutOff && generated.tokens.len() == 30
        );
    }
    assert!(
        all.iter().any(|g| g.stop_reason == StopReason::Done)
            && all.iter().any(|g| g.tokens != all[0].tokens)
    );
}

/// Filter that allows no token after the prompt.
struct Nothing;

impl TokenFilter for Nothing {
    fn allowed(&mut self) -> &[u64] {
        &[0]
    }
    fn push(&mut self, _: u16) {}
    fn is_done(&self) -> bool {
        false
    }
}

#[test]
fn where_nothing_may_follow_the_filter_is_blamed_and_not_the_scores() {
    let generator = Generator::new(
        Model::new(&config(), 3, Device::Cpu).unwrap().decoder(Precision::F32).unwrap(),
    );
    let mut endings = Vec::new();
    let deliver = |generated: Generated, _| {
        endings.push(generated.stop_reason);
        Ok::<_, ModelError>(ControlFlow::Continue(()))
    };
    generator.run(&Job { sequences: 0..3, ..job() }, |_| Nothing, deliver).unwrap();
    assert_eq!(endings, [StopReason::NoAllowedToken; 3]);
}

#[test]
fn the_same_whatever_the_slots_and_threads() {
    let expected = run(&job());
    for (slots, threads, max_waiting_tokens) in [(1, 1, 9), (3, 2, 0), (64, 1, 9), (5, 7, 1000)] {
        let found = run(&Job { slots, threads, max_waiting_tokens, ..job() });
        assert_eq!(found, expected, "{slots} slots, {threads} threads");
    }
}

#[test]
fn jobs_with_some_of_the_indices_are_parts_of_one_job() {
    let expected = run(&job());
    let mut found = Vec::new();
    for sequences in [0..7, 7..7, 7..30, 30..40] {
        found.extend(run(&Job { sequences, threads: 2, slots: 3, ..job() }));
    }
    assert_eq!(found, expected);
}

#[test]
fn another_seed_is_another_result() {
    assert_ne!(run(&Job { seed: 12, ..job() }), run(&job()));
}

#[test]
fn stops_when_told() {
    let generator = Generator::new(
        Model::new(&config(), 3, Device::Cpu).unwrap().decoder(Precision::F32).unwrap(),
    );
    let mut seen = 0;
    let deliver = |_, _| {
        seen += 1;
        Ok::<_, ModelError>(if seen < 5 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    };
    generator
        .run(&Job { sequences: 0..1_000_000, ..job() }, |_| Even { done: false }, deliver)
        .unwrap();
    assert_eq!(seen, 5);
}

#[test]
fn beginnings_have_the_probability_of_being_drawn() {
    let generator = Generator::new(
        Model::new(&config(), 3, Device::Cpu).unwrap().decoder(Precision::F32).unwrap(),
    );
    let sampling = Sampling { temperature: 0.3, ..Sampling::default() };
    let wanted = |tokens: &[u16]| match tokens {
        [2, 4 | 6] => PrefixMatch::Partial,
        [2, _, 8 | 10 | 12] => PrefixMatch::Full,
        _ => PrefixMatch::No,
    };
    let found = generator.enumerate_prompts(&[2], || Even { done: false }, &sampling, wanted);
    assert_eq!(found.len(), 6);
    let prompts = vec![Prompt::only(vec![2])];
    let free =
        run(&Job { sequences: 0..8_000, prompts, sampling, slots: 64, max_tokens: 3, ..job() });
    for prompt in &found {
        let share = free.iter().filter(|g| g.tokens == prompt.tokens).count() as f32 / 8_000.0;
        assert!(
            (share - prompt.weight).abs() < 0.01,
            "{:?}: {share} and {}",
            prompt.tokens,
            prompt.weight
        );
    }
    let drawn =
        run(&Job { sequences: 0..3_000, prompts: found.clone(), sampling, max_tokens: 3, ..job() });
    let total: f32 = found.iter().map(|p| p.weight).sum();
    for prompt in &found {
        let share =
            drawn.iter().filter(|g| g.tokens.starts_with(&prompt.tokens)).count() as f32 / 3_000.0;
        assert!((share - prompt.weight / total).abs() < 0.03, "{:?}", prompt.tokens);
    }
}
