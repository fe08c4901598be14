//! Flows in the order of their starts, whatever order they come in, in bounded memory: what does
//! not fit is sorted in parts, kept in temporary files, and merged, a number of them at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};

use anyhow::Context;
use arrowio::{
    Compression, DatasetFormat, DatasetMeta, DatasetReader, DatasetWriter, FlowRow, WriteOptions,
};
use dataset::CODEC_IDS;

/// Octets of a row beside its tokens and texts.
const ROW_OCTETS: u64 = 350;
/// So many sorted parts become one of the next level, and no more are open at a time: each takes
/// memory and a file handle.
const FAN_IN: usize = 16;

/// Takes flows in any order.
pub(crate) struct Sorter {
    memory: u64,
    used: u64,
    rows: Vec<FlowRow>,
    /// Sorted parts by level: one of a level holds `FAN_IN` of the level below, which came before
    /// those still there.
    levels: Vec<Vec<File>>,
    meta: DatasetMeta,
    count: u64,
}

impl Sorter {
    /// `memory` is in octets.
    pub(crate) fn new(memory: u64, meta: &DatasetMeta) -> Sorter {
        Sorter {
            memory,
            used: 0,
            rows: Vec::new(),
            levels: Vec::new(),
            meta: meta.clone(),
            count: 0,
        }
    }

    /// Flows taken so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn push(&mut self, row: FlowRow) -> anyhow::Result<()> {
        let texts =
            row.summary.as_ref().map_or(0, |s| s.source.len() + s.close.len() + s.class.len());
        self.used += ROW_OCTETS + 4 * row.tokens.len() as u64 + texts as u64;
        self.rows.push(row);
        self.count += 1;
        if self.used >= self.memory {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> anyhow::Result<()> {
        self.rows.sort_by_key(start);
        let rows = std::mem::take(&mut self.rows);
        self.used = 0;
        let mut part = self.part(rows.into_iter().map(Ok))?;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(part);
            if self.levels[level].len() < FAN_IN {
                break;
            }
            let full = std::mem::take(&mut self.levels[level]);
            part = self.merged(full)?;
        }
        Ok(())
    }

    /// One part of several, given by age.
    fn merged(&self, parts: Vec<File>) -> anyhow::Result<File> {
        let mut rows = Sorted::new(parts.into_iter().map(read).collect::<anyhow::Result<_>>()?)?;
        self.part(std::iter::from_fn(|| rows.next_row().transpose()))
    }

    /// A temporary file with the rows.
    fn part(
        &self,
        mut rows: impl Iterator<Item = anyhow::Result<FlowRow>>,
    ) -> anyhow::Result<File> {
        let file = BufWriter::with_capacity(1 << 16, tempfile::tempfile().context(PLACE)?);
        let options = WriteOptions {
            format: DatasetFormat::Stream,
            compression: Compression::Lz4,
            batch_tokens: 1 << 16,
            ..WriteOptions::default()
        };
        let mut writer = DatasetWriter::new(PLACE, file, &self.meta, &options)?;
        rows.try_for_each(|row| anyhow::Ok(writer.write(&row?)?))?;
        let (_, file) = writer.finish()?;
        let mut file = file.into_inner().context(PLACE)?;
        file.seek(SeekFrom::Start(0)).context(PLACE)?;
        Ok(file)
    }

    /// The flows by start; those that start together in the order they came in.
    pub(crate) fn sorted(mut self) -> anyhow::Result<Sorted> {
        self.rows.sort_by_key(start);
        // The higher a level, the earlier its rows came, and the more they are: it is the last
        // parts that are merged.
        let mut parts: Vec<File> =
            std::mem::take(&mut self.levels).into_iter().rev().flatten().collect();
        while parts.len() > FAN_IN {
            let last = parts.split_off(parts.len() - FAN_IN.min(parts.len() - FAN_IN + 1));
            parts.push(self.merged(last)?);
        }
        let mut runs = parts.into_iter().map(read).collect::<anyhow::Result<Vec<Run>>>()?;
        runs.push(Box::new(self.rows.into_iter().map(Ok)));
        Sorted::new(runs)
    }
}

/// What errors call the files.
const PLACE: &str = "temporary file for sorting";

fn read(part: File) -> anyhow::Result<Run> {
    let reader = DatasetReader::stream(PLACE, part, &CODEC_IDS)?;
    Ok(Box::new(reader.map(|row| row.map_err(anyhow::Error::from))))
}

/// When a flow starts; its identity is complete by now.
pub(crate) fn start(row: &FlowRow) -> i64 {
    row.identity.start_ns.unwrap_or(0)
}

type Run = Box<dyn Iterator<Item = anyhow::Result<FlowRow>>>;

/// Flows by start.
pub(crate) struct Sorted {
    runs: Vec<Run>,
    waiting: Vec<Option<FlowRow>>,
    heads: BinaryHeap<Reverse<(i64, usize)>>,
}

impl Sorted {
    fn new(runs: Vec<Run>) -> anyhow::Result<Sorted> {
        let mut sorted =
            Sorted { heads: BinaryHeap::new(), waiting: runs.iter().map(|_| None).collect(), runs };
        (0..sorted.runs.len()).try_for_each(|run| sorted.refill(run))?;
        Ok(sorted)
    }

    fn refill(&mut self, run: usize) -> anyhow::Result<()> {
        if let Some(row) = self.runs[run].next().transpose()? {
            self.heads.push(Reverse((start(&row), run)));
            self.waiting[run] = Some(row);
        }
        Ok(())
    }

    /// When the next flow starts.
    pub(crate) fn next_start(&self) -> Option<i64> {
        self.heads.peek().map(|Reverse((start, _))| *start)
    }

    pub(crate) fn next_row(&mut self) -> anyhow::Result<Option<FlowRow>> {
        let Some(Reverse((_, run))) = self.heads.pop() else { return Ok(None) };
        let row = self.waiting[run].take();
        self.refill(run)?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(number: usize, start_ns: i64) -> FlowRow {
        let mut row = testkit::datasets::row(vec![number as u16]);
        row.identity.start_ns = Some(start_ns);
        row
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn flows_come_out_by_start_and_else_in_order(starts in prop::collection::vec(0..50_i64, 0..300), memory in 0..200_u64) {
            let meta = testkit::datasets::meta(testkit::datasets::FIELD);
            let mut sorter = Sorter::new(memory * 100, &meta);
            let mut rows: Vec<_> = starts.iter().enumerate().map(|(n, s)| row(n, *s)).collect();
            rows.iter().for_each(|row| sorter.push(row.clone()).unwrap());
            let mut sorted = sorter.sorted().unwrap();
            rows.sort_by_key(start);
            for expected in rows {
                prop_assert_eq!(sorted.next_start(), expected.identity.start_ns);
                prop_assert_eq!(sorted.next_row().unwrap(), Some(expected));
            }
            prop_assert_eq!(sorted.next_row().unwrap(), None);
        }
    }
}
