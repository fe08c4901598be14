//! Prints what skeletons of hosts cost, by field: `cargo run --release -p dataset --example
//! skeleton_cost DATASET HOSTS`.
//!
//! Bits are those of a Witten-Bell backoff over the contexts of [`contexts`], learnt on every
//! second capture and tried on the others, both ways. Gaps without exact times are half octaves:
//! the place of a gap in its half octave costs what is uniform there.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::Write;
use std::path::Path;

use arrowio::{DatasetReader, read_hosts};
use dataset::{RowCodec, Trace, TraceFlows};
use tokenizer::skeleton::{self, SkeletonError, vocab};

/// Token of a host, with the number of digits of a gap behind it.
struct Symbol {
    field: &'static str,
    /// Token, of a gap the half octave.
    token: u16,
    digits: u32,
    /// Bits of the place in the half octave.
    place_bits: f64,
    /// Contexts that the token is predicted from, the narrowest one first.
    contexts: Vec<Vec<u16>>,
}

/// Splits a host's tokens into symbols.
fn symbols(tokens: &[u16]) -> Vec<Symbol> {
    let mut all: Vec<Symbol> = Vec::new();
    for &token in tokens {
        let is_digit = vocab::DIGIT.arg(token).is_some();
        let before = all.last_mut().filter(|_| is_digit);
        let (field, (token, place_bits)) = match before {
            Some(gap) if gap.field == "gap" => {
                gap.digits += 1;
                continue;
            }
            Some(before) => (before.field, (token, 0.0)),
            None => (vocab::field_of(token), skeleton::half_octave(token)),
        };
        all.push(Symbol { field, token, digits: 0, place_bits, contexts: Vec::new() });
    }
    for i in 0..all.len() {
        all[i].contexts = contexts(&all, i);
    }
    all
}

/// Returns what a symbol is predicted from: its place in a flow, the symbols before it, and those of
/// the flow before.
fn contexts(all: &[Symbol], i: usize) -> Vec<Vec<u16>> {
    let before = |n: usize| i.checked_sub(n).map_or(u16::MAX, |at| all[at].token);
    let last = |field: &str, n: usize| {
        let mut of_field = all[..i].iter().rev().filter(|symbol| symbol.field == field);
        of_field.nth(n).map_or(u16::MAX, |symbol| symbol.token)
    };
    // Six half octaves are about a decade.
    let decade = |token: u16| token / 6;
    let (to, to_2, port) = (last("destination", 0), last("destination", 1), last("port", 0));
    let (class, length) = (last("class", 0), last("length", 0));
    let gap = decade(last("gap", 0));
    let place = i.checked_sub(1).map_or("", |at| all[at].field);
    if vocab::DIGIT.arg(all[i].token).is_some() || matches!(place, "syn" | "host") {
        // What is spelled is predicted from all of it so far.
        let is_spelled = |symbol: &&Symbol| matches!(symbol.field, "syn" | "host" | "port");
        let spelled = all[..i].iter().rev().take_while(is_spelled).map(|symbol| symbol.token);
        let spelled: Vec<u16> = spelled.take(12).collect();
        return (0..=spelled.len()).rev().map(|n| [&[0], &spelled[..n]].concat()).collect();
    }
    let (place, wide) = match place {
        "gap" => (1, vec![gap, to, to_2]),
        "class" => (2, vec![before(1), length, port, to]),
        "length" => (3, vec![gap, class, to, length]),
        "destination" => (4, vec![before(1), class, port, gap]),
        "port" => (5, vec![before(1), class, gap]),
        _ => (6, vec![before(1)]),
    };
    (0..=wide.len()).rev().map(|n| [&[place], &wide[..n]].concat()).collect()
}

/// Counts of the tokens behind each context.
#[derive(Default)]
struct Model(HashMap<Vec<u16>, HashMap<u16, f64>>);

impl Model {
    fn learn(&mut self, symbol: &Symbol) {
        for context in &symbol.contexts {
            *self.0.entry(context.clone()).or_default().entry(symbol.token).or_default() += 1.0;
        }
    }

    /// Returns the probability of a symbol (Witten and Bell, IEEE Trans. IT 37(4), method C).
    fn probability(&self, symbol: &Symbol) -> f64 {
        let uniform = 1.0 / vocab::VOCAB_SIZE as f64;
        symbol.contexts.iter().rev().fold(uniform, |wider, context| {
            let Some(counts) = self.0.get(context) else { return wider };
            let (all, kinds) = (counts.values().sum::<f64>(), counts.len() as f64);
            (counts.get(&symbol.token).copied().unwrap_or(0.0) + kinds * wider) / (all + kinds)
        })
    }
}

/// Tokens, digits and bits of a field: of the tokens without digits, and of the digits.
#[derive(Clone, Copy, Default)]
struct Cost([f64; 4]);

impl Cost {
    fn add(&mut self, other: Cost) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, value)| *sum += value);
    }

    fn line(self, name: &str, flows: usize) -> String {
        let [tokens, digits, bits, of_digits] = self.0.map(|sum| sum / flows.max(1) as f64);
        let all = [tokens + digits, bits + of_digits];
        format!("| {name} | {tokens:.2} | {:.2} | {bits:.2} | {:.2} |", all[0], all[1])
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, hosts] = &args[..] else { return Err("expected DATASET HOSTS".into()) };
    let mut flows = TraceFlows::default();
    for row in DatasetReader::open(Path::new(dataset), &[RowCodec::Field.id()])? {
        flows.push(&row?);
    }
    let traces = flows.traces(&read_hosts(Path::new(hosts))?)?;
    let mut costs: BTreeMap<&str, Cost> = BTreeMap::new();
    let mut count = 0;
    for half in 0..2 {
        let mut model = Model::default();
        for trace in traces.iter().skip(half).step_by(2) {
            symbols_of(trace)?.iter().for_each(|symbol| model.learn(symbol));
        }
        for trace in traces.iter().skip(1 - half).step_by(2) {
            count += trace.hosts.iter().map(|host| host.flows.len()).sum::<usize>();
            for symbol in symbols_of(trace)? {
                let bits = -model.probability(&symbol).log2();
                let cost = Cost([1.0, f64::from(symbol.digits), bits, symbol.place_bits]);
                costs.entry(symbol.field).or_default().add(cost);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    let columns = "tokens a flow | with exact times | bits a flow | with exact times";
    writeln!(out, "| field | {columns} |\n| --- | ---: | ---: | ---: | ---: |")?;
    let mut all = Cost::default();
    for (field, cost) in &costs {
        all.add(*cost);
        writeln!(out, "{}", cost.line(field, count))?;
    }
    Ok(writeln!(out, "{}", all.line(&format!("all of {count} flows"), count))?)
}

/// Returns the symbols of all hosts of a trace.
fn symbols_of(trace: &Trace) -> Result<Vec<Symbol>, SkeletonError> {
    let (mut all, mut tokens) = (Vec::new(), Vec::new());
    for host in &trace.hosts {
        tokens.clear();
        skeleton::encode(&host.skeleton, host.shared, &mut tokens)?;
        all.extend(symbols(&tokens));
    }
    Ok(all)
}
