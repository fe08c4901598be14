//! Throughput of the `field` code and of the grammar: packets and tokens per second on one core,
//! over every whole conversation of `testdata`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtrack::Flow;
use tokenizer::field::{self, Constraint, Field, Grammar, Limits};
use tokenizer::{FlowIdentity, TokenCode};

fn packets(c: &mut Criterion, flows: &[Flow], encoded: &[(Vec<u16>, FlowIdentity)]) {
    let mut group = c.benchmark_group("field");
    group.throughput(Throughput::Elements(flows.iter().map(|f| f.packets.len() as u64).sum()));
    let mut code = Field::default();
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            for flow in flows {
                black_box(code.encode(flow, &mut out).unwrap());
            }
        });
    });
    let mut again = flows[0].clone();
    group.bench_function("decode", |b| {
        b.iter(|| {
            for (tokens, identity) in encoded {
                code.decode(tokens, identity, &mut again).unwrap();
            }
        });
    });
    group.finish();
}

fn grammar(c: &mut Criterion, encoded: &[(Vec<u16>, FlowIdentity)]) {
    let some = &encoded[..encoded.len().min(200)];
    let mut group = c.benchmark_group("grammar");
    group.throughput(Throughput::Elements(some.iter().map(|(t, _)| t.len() as u64).sum()));
    for constraint in [Constraint::Syntax, Constraint::Session] {
        group.bench_function(format!("{constraint:?}"), |b| {
            b.iter(|| {
                let mut allowed = 0;
                for (tokens, _) in some {
                    let mut grammar = Grammar::new(constraint, Limits::default());
                    for &token in tokens {
                        allowed += grammar.allowed_next().count();
                        if grammar.push(token).is_err() {
                            break;
                        }
                    }
                }
                allowed
            });
        });
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    let flows = testkit::captures::all_complete_flows();
    let encoded: Vec<_> = flows
        .iter()
        .map(|flow| {
            let mut tokens = Vec::new();
            let identity = field::encode(flow, &mut tokens).unwrap();
            (tokens, identity)
        })
        .collect();
    packets(c, &flows, &encoded);
    grammar(c, &encoded);
}

criterion_group!(field_code, benches);
criterion_main!(field_code);
