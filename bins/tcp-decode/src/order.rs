//! External merge sort by start time, in bounded memory.
//!
//! Flows that do not fit into memory are sorted in parts. Each part is a *run*, a temporary file of
//! rows, and runs are merged [`FAN_IN`] at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};

use anyhow::Context;
use arrowio::{
    Compression, DatasetFormat, DatasetMeta, DatasetReader, DatasetWriter, FlowRow, WriteOptions,
};
use dataset::CODEC_IDS;

use crate::pending::PendingFlow;

/// Octets of a pending flow without its tokens, texts and packets: the value itself, and the
/// overhead of its allocations.
const FLOW_OCTETS: u64 = 384;
/// Number of runs that are merged into one of the next level, and that are open at a time: each
/// takes memory and a file handle.
const FAN_IN: usize = 16;
/// Name of the temporary files in error messages.
const TEMP_NAME: &str = "temporary file for sorting";

/// Sorter that accepts flows in any order.
pub(crate) struct Sorter {
    /// Octets that `flows` may take before they become a run.
    memory: u64,
    /// Octets that `flows` take.
    used: u64,
    flows: Vec<PendingFlow>,
    /// Runs by level. A run of one level holds [`FAN_IN`] runs of the level below, whose flows came
    /// before those of the runs that are still there.
    levels: Vec<Vec<File>>,
    /// Metadata of the dataset, which the runs have too.
    meta: DatasetMeta,
    count: u64,
}

impl Sorter {
    /// Creates a sorter that holds at most `memory` octets of flows, or one flow.
    pub(crate) fn new(memory: u64, meta: &DatasetMeta) -> Sorter {
        Sorter {
            memory,
            used: 0,
            flows: Vec::new(),
            levels: Vec::new(),
            meta: meta.clone(),
            count: 0,
        }
    }

    /// Returns the number of flows pushed so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a flow. If the memory is full, all flows in it become a run.
    pub(crate) fn push(&mut self, flow: PendingFlow) -> anyhow::Result<()> {
        let row = &flow.row;
        let texts =
            row.summary.as_ref().map_or(0, |s| s.source.len() + s.close.len() + s.class.len());
        let tokens = 4 * row.tokens.len();
        self.used += FLOW_OCTETS + (tokens + texts + flow.packet_octets()) as u64;
        self.flows.push(flow);
        self.count += 1;
        if self.used >= self.memory {
            self.spill()?;
        }
        Ok(())
    }

    /// Moves the flows in memory to a run, and merges each level that is full. A run holds rows
    /// alone: packets that were decoded are dropped, and decoded again when they are written.
    fn spill(&mut self) -> anyhow::Result<()> {
        self.flows.sort_by_key(PendingFlow::start_ns);
        let flows = std::mem::take(&mut self.flows);
        self.used = 0;
        let mut run = self.write_run(flows.into_iter().map(|flow| Ok(flow.row)))?;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < FAN_IN {
                break;
            }
            let full = std::mem::take(&mut self.levels[level]);
            run = self.merge_runs(full)?;
        }
        Ok(())
    }

    /// Merges runs, which are ordered from old to new, into one.
    fn merge_runs(&self, runs: Vec<File>) -> anyhow::Result<File> {
        let runs = runs.into_iter().map(read_run).collect::<anyhow::Result<_>>()?;
        let mut sorted = SortedFlows::new(runs)?;
        self.write_run(std::iter::from_fn(|| {
            sorted.next_flow().map(|next| next.map(|flow| flow.row)).transpose()
        }))
    }

    /// Writes rows into a temporary file and rewinds it.
    fn write_run(
        &self,
        mut rows: impl Iterator<Item = anyhow::Result<FlowRow>>,
    ) -> anyhow::Result<File> {
        let file = BufWriter::with_capacity(1 << 16, tempfile::tempfile().context(TEMP_NAME)?);
        let options = WriteOptions {
            format: DatasetFormat::Stream,
            compression: Compression::Lz4,
            batch_tokens: 1 << 16,
            ..WriteOptions::default()
        };
        let mut writer = DatasetWriter::new(TEMP_NAME, file, &self.meta, &options)?;
        rows.try_for_each(|row| anyhow::Ok(writer.write(&row?)?))?;
        let (_, file) = writer.finish()?;
        let mut file = file.into_inner().context(TEMP_NAME)?;
        file.seek(SeekFrom::Start(0)).context(TEMP_NAME)?;
        Ok(file)
    }

    /// Returns the flows by start time. Flows that start together keep the order in which they
    /// were pushed.
    pub(crate) fn into_sorted(mut self) -> anyhow::Result<SortedFlows> {
        self.flows.sort_by_key(PendingFlow::start_ns);
        // The higher the level of a run, the earlier its flows came, and the more they are: if
        // there are too many runs, the newest and smallest are merged.
        let mut runs: Vec<File> =
            std::mem::take(&mut self.levels).into_iter().rev().flatten().collect();
        while runs.len() > FAN_IN {
            let newest = runs.split_off(runs.len() - FAN_IN.min(runs.len() - FAN_IN + 1));
            runs.push(self.merge_runs(newest)?);
        }
        let mut runs = runs.into_iter().map(read_run).collect::<anyhow::Result<Vec<Run>>>()?;
        runs.push(Box::new(self.flows.into_iter().map(Ok)));
        SortedFlows::new(runs)
    }
}

fn read_run(file: File) -> anyhow::Result<Run> {
    let reader = DatasetReader::stream(TEMP_NAME, file, &CODEC_IDS)?;
    Ok(Box::new(reader.map(|row| Ok(PendingFlow::from(row?)))))
}

/// Sorted flows, from a temporary file or from memory.
type Run = Box<dyn Iterator<Item = anyhow::Result<PendingFlow>>>;

/// Flows in the order of their start times, merged from sorted runs.
pub(crate) struct SortedFlows {
    runs: Vec<Run>,
    /// Next flow of each run; `None` if the run is at its end.
    heads: Vec<Option<PendingFlow>>,
    /// Start of each run's next flow, and the index of the run.
    queue: BinaryHeap<Reverse<(i64, usize)>>,
}

impl SortedFlows {
    fn new(runs: Vec<Run>) -> anyhow::Result<SortedFlows> {
        let heads = runs.iter().map(|_| None).collect();
        let mut sorted = SortedFlows { runs, heads, queue: BinaryHeap::new() };
        (0..sorted.runs.len()).try_for_each(|run| sorted.advance(run))?;
        Ok(sorted)
    }

    /// Reads the next flow of a run.
    fn advance(&mut self, run: usize) -> anyhow::Result<()> {
        if let Some(flow) = self.runs[run].next().transpose()? {
            self.queue.push(Reverse((flow.start_ns(), run)));
            self.heads[run] = Some(flow);
        }
        Ok(())
    }

    /// Returns the start of the next flow, in nanoseconds since 1970.
    pub(crate) fn next_start_ns(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((start_ns, _))| *start_ns)
    }

    /// Returns the next flow.
    pub(crate) fn next_flow(&mut self) -> anyhow::Result<Option<PendingFlow>> {
        let Some(Reverse((_, run))) = self.queue.pop() else { return Ok(None) };
        let flow = self.heads[run].take();
        self.advance(run)?;
        Ok(flow)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(number: usize, start_ns: i64) -> PendingFlow {
        let mut row = testkit::datasets::row(vec![number as u16]);
        row.identity.start_ns = Some(start_ns);
        row.into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn flows_come_out_by_start_and_else_in_order(
            starts in prop::collection::vec(0..50_i64, 0..300),
            memory in 0..200_u64,
        ) {
            let meta = testkit::datasets::meta(testkit::datasets::FIELD);
            let mut sorter = Sorter::new(memory * 100, &meta);
            let mut flows: Vec<_> = starts.iter().enumerate().map(|(n, s)| flow(n, *s)).collect();
            flows.iter().for_each(|flow| sorter.push(flow.clone()).unwrap());
            let mut sorted = sorter.into_sorted().unwrap();
            flows.sort_by_key(PendingFlow::start_ns);
            for expected in flows {
                prop_assert_eq!(sorted.next_start_ns(), Some(expected.start_ns()));
                prop_assert_eq!(sorted.next_flow().unwrap(), Some(expected));
            }
            prop_assert_eq!(sorted.next_flow().unwrap(), None);
        }
    }
}
