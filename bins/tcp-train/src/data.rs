//! A dataset as the model sees it: duplicates removed, split, put into rows.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use arrowio::{DatasetReader, FlowRow, TokenCode, Tokens};
use clikit::{Console, Unit};
use linformer::Batch;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tokenizer::field;

use crate::settings::Settings;

/// The only token code that a model is trained on.
pub(crate) const CODE: TokenCode = TokenCode { name: field::NAME, version: field::VERSION };

/// A dataset's flows, in memory.
#[derive(Debug, Default)]
pub(crate) struct Data {
    tokens: Vec<u16>,
    flows: Vec<Flow>,
    /// Flows left out because another one has the same tokens.
    pub(crate) duplicates: u64,
    /// Flows of which only the beginning is used.
    pub(crate) cut: u64,
    pub(crate) train: Vec<usize>,
    pub(crate) validation: Vec<usize>,
}

#[derive(Debug)]
struct Flow {
    tokens: Range<usize>,
    packets: u64,
    source: u32,
}

impl Data {
    /// Reads and splits a dataset.
    pub(crate) fn load(path: &Path, settings: &Settings, console: &Console) -> anyhow::Result<Data> {
        let mut data = Data::default();
        let mut sources: BTreeMap<String, u32> = BTreeMap::new();
        let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
        let progress = console.progress("reading flows", None, Unit::Items);
        for row in DatasetReader::open(path, &[CODE])? {
            data.take(&row?, settings, &mut sources, &mut seen)?;
            progress.inc(1);
        }
        progress.finish();
        if data.flows.is_empty() {
            bail!("{}: expected flows to train on, found none", path.display());
        }
        data.split(&sources, settings);
        Ok(data)
    }

    fn take(
        &mut self,
        row: &FlowRow,
        settings: &Settings,
        sources: &mut BTreeMap<String, u32>,
        seen: &mut HashMap<u64, Vec<usize>>,
    ) -> anyhow::Result<()> {
        let Tokens::U16(tokens) = &row.tokens else { bail!("expected tokens of the {} code", field::NAME) };
        if let Some(token) = tokens.iter().find(|&&t| usize::from(t) >= field::VOCAB_SIZE) {
            bail!("flow {}: expected token ids under {}, found {token}", self.flows.len(), field::VOCAB_SIZE);
        }
        let alike = seen.entry(hash_of(tokens)).or_default();
        if alike.iter().any(|&i| self.tokens[self.flows[i].tokens.clone()] == tokens[..]) {
            self.duplicates += 1;
            return Ok(());
        }
        if tokens.len() > settings.max_flow_tokens {
            self.cut += 1;
        } else {
            alike.push(self.flows.len());
        }
        let kept = &tokens[..tokens.len().min(settings.max_flow_tokens)];
        let source = row.summary.as_ref().map_or("", |summary| &summary.source);
        let next = sources.len() as u32;
        let source = *sources.entry(source.to_owned()).or_insert(next);
        let start = self.tokens.len();
        self.tokens.extend_from_slice(kept);
        let packets = packets_of(row, tokens)? * kept.len() as u64 / tokens.len().max(1) as u64;
        self.flows.push(Flow { tokens: start..self.tokens.len(), packets, source });
        Ok(())
    }

    /// Whole captures are held out while they fit into the share; what is still wanting, flow by flow.
    fn split(&mut self, sources: &BTreeMap<String, u32>, settings: &Settings) {
        let wanted = (self.flows.len() as f64 * settings.validation_share) as usize;
        let mut of_source: Vec<Vec<usize>> = vec![Vec::new(); sources.len()];
        for (i, flow) in self.flows.iter().enumerate() {
            of_source[flow.source as usize].push(i);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut order: Vec<usize> = sources.values().map(|&s| s as usize).collect();
        order.shuffle(&mut rng);
        let mut held = vec![false; self.flows.len()];
        let mut count = 0;
        for source in order {
            if count + of_source[source].len() <= wanted {
                count += of_source[source].len();
                of_source[source].iter().for_each(|&i| held[i] = true);
            }
        }
        let mut rest: Vec<usize> = (0..self.flows.len()).filter(|&i| !held[i]).collect();
        rest.shuffle(&mut rng);
        rest.iter().take(wanted - count).for_each(|&i| held[i] = true);
        (self.validation, self.train) = (0..self.flows.len()).partition(|&i| held[i]);
    }

    /// Flows, packets and tokens of a part.
    pub(crate) fn count(&self, part: &[usize]) -> Counts {
        let packets = part.iter().map(|&i| self.flows[i].packets).sum();
        let tokens = part.iter().map(|&i| self.flows[i].tokens.len() as u64).sum();
        Counts { flows: part.len() as u64, packets, tokens }
    }

    /// The rows of an epoch: flows in an order of its own, as many in a row as its token budget holds.
    pub(crate) fn rows(&self, epoch: u64, settings: &Settings) -> Vec<Vec<usize>> {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(epoch + 1);
        let mut order = self.train.clone();
        order.shuffle(&mut rng);
        self.in_rows(&order, settings.batch)
    }

    /// The rows of a part, in order.
    pub(crate) fn in_rows(&self, part: &[usize], budget: usize) -> Vec<Vec<usize>> {
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for &flow in part {
            let size = self.flows[flow].tokens.len();
            match rows.last_mut() {
                Some(row) if size <= room => row.push(flow),
                _ => {
                    rows.push(vec![flow]);
                    room = budget.max(size);
                }
            }
            room -= size;
        }
        rows
    }

    /// A row as a batch.
    pub(crate) fn batch(&self, row: &[usize]) -> Batch {
        Batch::pack(row.iter().map(|&i| &self.tokens[self.flows[i].tokens.clone()]))
    }

    /// A number that another dataset, or the same one split otherwise, does not have.
    pub(crate) fn fingerprint(&self) -> u64 {
        hash_of(&(&self.tokens, &self.train))
    }
}

/// Flows, packets and tokens.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) tokens: u64,
}

fn packets_of(row: &FlowRow, tokens: &[u16]) -> anyhow::Result<u64> {
    match &row.summary {
        Some(summary) => Ok(summary.packets.iter().sum()),
        None => Ok(field::decode(tokens, &row.identity).context("a flow of the dataset")?.packets.len() as u64),
    }
}

/// The same on every run: its keys are fixed.
fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
