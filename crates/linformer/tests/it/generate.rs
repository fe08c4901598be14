use linformer::{Device, Generated, Generator, Job, Model, Sampling, TokenFilter};

use crate::model::config;

/// Even tokens alone; token 0 ends.
struct Even {
    done: bool,
}

impl TokenFilter for Even {
    fn legal(&mut self) -> &[u64] {
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
    Job { sequences: 40, prompt: vec![2, 4], sampling, seed: 11, slots: 8, threads: 1, max_tokens: 30 }
}

fn run(job: &Job) -> Vec<Generated> {
    let generator = Generator::new(Model::new(&config(), 3, Device::Cpu).unwrap().decoder().unwrap());
    let mut all = Vec::new();
    let deliver = |generated, _| {
        all.push(generated);
        Ok::<_, ()>(true)
    };
    generator.run(job, |_| Even { done: false }, deliver).unwrap();
    all
}

#[test]
fn all_come_in_order_and_are_legal() {
    let all = run(&job());
    assert!(all.iter().map(|g| g.index).eq(0..40));
    for generated in &all {
        assert_eq!(generated.tokens[..2], [2, 4]);
        assert_eq!(generated.done, generated.tokens.last() == Some(&0));
        assert!(generated.done || generated.tokens.len() == 30);
    }
    assert!(all.iter().any(|g| g.done) && all.iter().any(|g| g.tokens != all[0].tokens));
}

#[test]
fn the_same_whatever_the_slots_and_threads() {
    let expected = run(&job());
    for (slots, threads) in [(1, 1), (3, 2), (64, 1), (5, 7)] {
        assert_eq!(run(&Job { slots, threads, ..job() }), expected, "{slots} slots, {threads} threads");
    }
}

#[test]
fn another_seed_is_another_result() {
    assert_ne!(run(&Job { seed: 12, ..job() }), run(&job()));
}

#[test]
fn stops_when_told() {
    let generator = Generator::new(Model::new(&config(), 3, Device::Cpu).unwrap().decoder().unwrap());
    let mut seen = 0;
    let deliver = |_, _| {
        seen += 1;
        Ok::<_, ()>(seen < 5)
    };
    generator.run(&Job { sequences: 1_000_000, ..job() }, |_| Even { done: false }, deliver).unwrap();
    assert_eq!(seen, 5);
}
