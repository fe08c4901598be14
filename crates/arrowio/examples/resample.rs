//! Builds baselines of an evaluation: real flows resampled, and datasets without near-duplicates.
//!
//!     resample draw FLOWS SEED IN OUT.arrows
//!     resample cap MOST IN OUT.arrows
//!
//! `draw` draws rows with replacement and clears their identities. `cap` keeps the first MOST of
//! the rows that differ in nothing but time.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrowio::{CodecId, DatasetReader, DatasetWriter, FlowRow, Tokens, WriteOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::FlowIdentity;
use tokenizer::field::{self, vocab};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["draw", flows, seed, from, to] => draw(flows.parse()?, seed.parse()?, from, to),
        ["cap", most, from, to] => cap(most.parse()?, from, to),
        _ => Err("usage: resample draw FLOWS SEED IN OUT.arrows | resample cap MOST IN OUT.arrows"
            .into()),
    }
}

fn open(path: &str) -> Result<DatasetReader, Failure> {
    Ok(DatasetReader::open(
        Path::new(path),
        &[CodecId { name: field::NAME, version: field::VERSION }],
    )?)
}

fn draw(flows: u64, seed: u64, from: &str, to: &str) -> Result<(), Failure> {
    let reader = open(from)?;
    let output = BufWriter::new(File::create(to)?);
    let mut writer = DatasetWriter::new(to, output, reader.meta(), &WriteOptions::default())?;
    let rows: Vec<Tokens> =
        reader.map(|row| row.map(|row| row.tokens)).collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err(format!("{from}: expected flows, found none").into());
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..flows {
        let tokens = rows[random.random_range(0..rows.len())].clone();
        writer.write(&FlowRow { tokens, identity: FlowIdentity::default(), summary: None })?;
    }
    writer.finish()?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was kept of what, for scripts/docs/results")]
fn cap(most: u64, from: &str, to: &str) -> Result<(), Failure> {
    let reader = open(from)?;
    let output = BufWriter::new(File::create(to)?);
    let mut writer = DatasetWriter::new(to, output, reader.meta(), &WriteOptions::default())?;
    let mut seen: HashMap<Vec<u16>, u64> = HashMap::new();
    let (mut all, mut kept) = (0_u64, 0_u64);
    for row in reader {
        let row = row?;
        let Tokens::U16(tokens) = &row.tokens else {
            return Err(format!("{from}: expected field tokens").into());
        };
        let copies = seen.entry(without_time(tokens)).or_default();
        *copies += 1;
        all += 1;
        if *copies <= most {
            kept += 1;
            writer.write(&row)?;
        }
    }
    writer.finish()?;
    println!("{kept} {all}");
    Ok(())
}

/// Removes time tokens and their digits. A digit belongs to the token before it.
fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut is_kept = true;
    let keep = |token: &&u16| {
        let field = vocab::row(**token).map_or("", |row| row.field);
        is_kept = if field == "digit" { is_kept } else { field != "time" };
        is_kept
    };
    tokens.iter().filter(keep).copied().collect()
}
