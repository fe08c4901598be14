//! Writes random walks through the grammar of whole sessions as a dataset: flows of the token code
//! without a model.
//!
//!     walks FLOWS SEED FILE.arrow
//!
//! Each walk takes any allowed token, all alike, and is brought to its end after 8 to 71 packets.

use std::fs::File;
use std::io::BufWriter;

use arrowio::{DatasetMeta, DatasetWriter, FlowRow, Tokens, WriteOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::FlowIdentity;
use tokenizer::field::{self, Constraint, Grammar, Limits};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [flows, seed, file] = &args[..] else {
        return Err("usage: walks FLOWS SEED FILE.arrow".into());
    };
    let meta = DatasetMeta {
        token_code: field::NAME.into(),
        token_version: field::VERSION,
        vocab_size: field::VOCAB_SIZE as u32,
        tool: "walks".into(),
        options: Default::default(),
    };
    let output = BufWriter::new(File::create(file)?);
    let mut writer = DatasetWriter::new(file, output, &meta, &WriteOptions::default())?;
    let mut random = ChaCha8Rng::seed_from_u64(seed.parse()?);
    for _ in 0..flows.parse::<u64>()? {
        let tokens = Tokens::U16(walk(&mut random)?);
        writer.write(&FlowRow { tokens, identity: FlowIdentity::default(), summary: None })?;
    }
    writer.finish()?;
    Ok(())
}

fn walk(random: &mut ChaCha8Rng) -> Result<Vec<u16>, Failure> {
    let limits = Limits { max_packets: random.random_range(8..72) };
    let mut grammar = Grammar::new(Constraint::Session, limits);
    let mut tokens = Vec::new();
    while !grammar.is_done() {
        let allowed = grammar.allowed_next();
        let nth = random.random_range(0..allowed.count().max(1) as usize);
        let Some(token) = allowed.nth(nth) else {
            let said: Vec<_> = tokens.iter().map(|&token| field::vocab::describe(token)).collect();
            return Err(format!("no token may follow {}", said.join("; ")).into());
        };
        grammar.push(token)?;
        tokens.push(token);
    }
    Ok(tokens)
}
