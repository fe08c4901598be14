//! Flows with labels, and their vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;
use arrowio::FlowRow;
use clikit::text::count;
use clikit::{Console, Unit};

use crate::args::SplitBy;
use crate::commands::embedder::Embedder;
use crate::commands::flow_rows::{FlowRows, Pace, tokens};

/// Number of flows of the largest class, as a multiple of the smallest one's, that is reported.
const UNEVEN: u64 = 20;

/// Flows with labels, and their vectors.
pub(crate) struct Examples {
    /// Names of the classes, in their order.
    pub(crate) classes: Vec<String>,
    /// Index of each flow's class.
    pub(crate) class: Vec<i64>,
    groups: Vec<String>,
    sources: Vec<String>,
    /// Values of all flows' vectors, one flow behind the other, for each moment.
    pub(crate) vectors: Vec<Vec<f32>>,
}

impl Examples {
    /// Reads the flows that have a label, and embeds them.
    ///
    /// # Errors
    /// If the model refuses its input, or the labels do not name two classes.
    pub(crate) fn read(
        mut rows: FlowRows,
        shown: &Path,
        embedder: &Embedder,
        console: &Console,
    ) -> anyhow::Result<Examples> {
        let shown = shown.display();
        let progress = console.progress("embedding flows", None, Unit::Items);
        let mut vectors = vec![Vec::new(); embedder.moments.count()];
        let (mut labels, mut groups, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        let mut unlabelled = 0;
        while let Some(chunk) = rows.next_chunk(embedder.tokens_at_once(), Pace::Full, console) {
            let all = chunk.len();
            let labelled: Vec<&FlowRow> = chunk.iter().filter(|row| label(row).is_some()).collect();
            unlabelled += (all - labelled.len()) as u64;
            let flows: Vec<&[u16]> = labelled.iter().map(|row| tokens(row)).collect();
            for (row, of_flow) in labelled.iter().zip(embedder.embed(&flows)?) {
                let summary = row.summary.clone().unwrap_or_default();
                labels.push(summary.label.unwrap_or_default());
                groups.push(summary.group.unwrap_or_default());
                sources.push(summary.source);
                vectors.iter_mut().zip(of_flow).for_each(|(all, vector)| all.extend(vector));
            }
            progress.inc(all as u64);
        }
        progress.finish();
        if unlabelled > 0 {
            tracing::warn!("{shown}: {} flows without a label are not read", count(unlabelled));
        }
        let classes: BTreeSet<&String> = labels.iter().collect();
        let classes: Vec<String> = classes.into_iter().cloned().collect();
        if classes.len() < 2 {
            let found = classes.first().map_or("none".to_owned(), |one| format!("'{one}' alone"));
            bail!("{shown}: expected labels of two classes, found {found}");
        }
        let index = |label: &String| classes.binary_search(label).unwrap_or_default() as i64;
        let class = labels.iter().map(index).collect();
        Ok(Examples { classes, class, groups, sources, vectors })
    }

    /// Returns the number of flows.
    pub(crate) fn len(&self) -> usize {
        self.class.len()
    }

    /// Returns what a split is by without `--split-by`: groups if there are several.
    pub(crate) fn split_by(&self) -> SplitBy {
        let groups: BTreeSet<&String> = self.groups.iter().collect();
        if groups.len() > 1 { SplitBy::Group } else { SplitBy::Source }
    }

    /// Returns the unit of each flow that a split keeps together.
    pub(crate) fn units(&self, by: SplitBy) -> &[String] {
        match by {
            SplitBy::Group => &self.groups,
            SplitBy::Source => &self.sources,
        }
    }

    /// Returns the number of flows of each class.
    pub(crate) fn flows_by_class(&self) -> Vec<u64> {
        let mut flows = vec![0; self.classes.len()];
        self.class.iter().for_each(|&class| flows[class as usize] += 1);
        flows
    }

    /// Returns the number of units of each class.
    pub(crate) fn units_by_class(&self, by: SplitBy) -> Vec<u64> {
        let mut units: BTreeMap<i64, BTreeSet<&String>> = BTreeMap::new();
        for (&class, unit) in self.class.iter().zip(self.units(by)) {
            units.entry(class).or_default().insert(unit);
        }
        units.values().map(|units| units.len() as u64).collect()
    }

    /// Returns lines about classes that figures say little of.
    pub(crate) fn remarks(&self, by: SplitBy) -> Vec<String> {
        let (flows, units) = (self.flows_by_class(), self.units_by_class(by));
        let names = |is_one: &dyn Fn(usize) -> bool| {
            let all: Vec<String> = (0..self.classes.len())
                .filter(|&class| is_one(class))
                .map(|class| format!("'{}'", self.classes[class]))
                .collect();
            all.join(", ")
        };
        let mut said = Vec::new();
        let single = names(&|class| flows[class] == 1);
        if !single.is_empty() {
            said.push(format!("classes of one flow, which is never held out and learnt: {single}"));
        }
        let lonely = names(&|class| units[class] == 1 && flows[class] > 1);
        if !lonely.is_empty() {
            let unit = match by {
                SplitBy::Group => "group",
                SplitBy::Source => "capture",
            };
            said.push(format!(
                "classes in one {unit} alone, of which no figure says anything: {lonely}"
            ));
        }
        let (most, least) = (flows.iter().max().copied(), flows.iter().min().copied());
        if let (Some(most), Some(least)) = (most, least)
            && most >= UNEVEN * least
        {
            let (most, least) = (count(most), count(least));
            said.push(format!(
                "classes of {least} to {most} flows: each class weighs as much as another, and \
                 accuracy says little"
            ));
        }
        said
    }

    /// Returns the weight of each of these flows, by which every class among them weighs the same.
    pub(crate) fn weights(&self, flows: &[usize]) -> Vec<f32> {
        let mut counts = vec![0_u64; self.classes.len()];
        flows.iter().for_each(|&flow| counts[self.class[flow] as usize] += 1);
        flows.iter().map(|&flow| 1.0 / counts[self.class[flow] as usize] as f32).collect()
    }
}

/// Returns the label of a row, if it has one.
pub(crate) fn label(row: &FlowRow) -> Option<&str> {
    row.summary.as_ref()?.label.as_deref()
}
