//! How fast the `field` code encodes, decodes and masks: packets per second on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokenizer::field::{self, Grammar, Limits, Strength};

fn field(c: &mut Criterion) {
    let flow = field::doc::worked_flow();
    let mut tokens = Vec::new();
    let identity = field::encode(&flow, &mut tokens).unwrap();
    let mut group = c.benchmark_group("field");
    group.throughput(Throughput::Elements(flow.packets.len() as u64));
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            field::encode(black_box(&flow), &mut out)
        });
    });
    group.bench_function("decode", |b| b.iter(|| field::decode(black_box(&tokens), &identity)));
    group.finish();

    let mut group = c.benchmark_group("grammar");
    group.throughput(Throughput::Elements(tokens.len() as u64));
    for strength in [Strength::Syntax, Strength::Session] {
        group.bench_function(format!("{strength:?}"), |b| {
            b.iter(|| {
                let mut grammar = Grammar::new(strength, Limits::default());
                let mut legal = 0;
                for &token in &tokens {
                    legal += grammar.legal_next().count();
                    grammar.push(token).unwrap();
                }
                legal
            });
        });
    }
    group.finish();
}

criterion_group!(benches, field);
criterion_main!(benches);
