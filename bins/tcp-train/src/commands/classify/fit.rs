//! The subcommand `classify fit`: a classifier from labels.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::bail;
use atomic_output::AtomicFolder;
use clikit::text::{count, percent};
use clikit::{Console, Unit};
use linformer::{LinearProbe, Rows, Whitening, nearest};
use serde::Serialize;
use tokenizer::field::PortMask;

use super::examples::Examples;
use super::figures::{Confusion, Figures};
use super::folder::{self, ClassConfig, ClassifierConfig, HeldOut, Probes, SplitConfig};
use super::folds;
use crate::args::{Fit, SplitBy};
use crate::commands::embed::DIRECTIONS;
use crate::commands::embedder::{Embedder, Moments};
use crate::commands::flow_rows::FlowRows;
use crate::commands::workers::Workers;
use crate::config::Config;

/// Penalties that are tried.
const PENALTIES: [f64; 6] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Number of neighbours that vote.
const NEIGHBOURS: usize = 5;

/// Trains a classifier and writes its folder.
pub(crate) fn fit(args: &Fit, console: &Console) -> anyhow::Result<()> {
    clikit::ensure_distinct_paths(
        &[("MODEL", &args.model), ("DATASET", &args.dataset)],
        &[("CLASSIFIER", &args.output)],
    )?;
    let output = AtomicFolder::create(&args.output, folder::on_existing(args.force))?;
    let device = linformer::device(&args.machine.device)?;
    let (threads, batch) = (args.machine.threads(), args.batch as usize);
    let workers = Workers::new(&args.model, device, threads, batch)?;
    let mut packets = args.at.clone();
    packets.sort_unstable();
    packets.dedup();
    let port = if args.with_port { PortMask::Shown } else { PortMask::Hidden };
    let moments = Moments { packets: packets.clone(), end: true };
    let embedder = Embedder::new(workers, moments, port);
    let rows = FlowRows::open(&args.dataset, args.reading)?;
    let examples = Examples::read(rows, &args.dataset, &embedder, console)?;
    let by = args.split_by.unwrap_or_else(|| examples.split_by());
    let units = examples.units(by);
    let of_flow = folds::assign(units, args.folds.into(), args.seed);
    let parts = of_flow.iter().max().map_or(0, |last| last + 1);
    if parts < 2 {
        let (dataset, one) = (args.dataset.display(), &units[0]);
        bail!("{dataset}: expected two groups or captures to hold out, found '{one}' alone");
    }
    let shown = args.dataset.display();
    examples.remarks(by).into_iter().for_each(|said| tracing::warn!("{shown}: {said}"));
    let study = Study { examples: &examples, folds: of_flow, parts, width: embedder.width() };
    let progress = console.progress("fitting", Some((parts * 2 + 1) as u64), Unit::Items);
    let (l2, by_class, held_out) = study.choose(&progress)?;
    let everything: Vec<usize> = (0..examples.len()).collect();
    let probes: Probes = (0..examples.vectors.len())
        .map(|moment| Ok(study.fit(moment, &everything, l2)?.folded()))
        .collect::<anyhow::Result<_>>()?;
    progress.finish();
    let groups = |fold: usize| -> BTreeSet<&String> {
        units
            .iter()
            .zip(&study.folds)
            .filter(|(_, of)| **of == fold)
            .map(|(unit, _)| unit)
            .collect()
    };
    let folds = (0..parts).map(|fold| groups(fold).into_iter().cloned().collect()).collect();
    let classes = classes(&examples, by, &by_class);
    let summary = FitSummary {
        flows: examples.len() as u64,
        classes: classes.clone(),
        l2,
        held_out: held_out.clone(),
        packets: packets.clone(),
    };
    let split = SplitConfig { by, seed: args.seed, folds };
    let classifier =
        ClassifierConfig { classes, packets, with_port: args.with_port, l2, split, held_out };
    let config = Config::of_model(&args.model)?;
    let workers = embedder.workers();
    workers.with_model(|model| folder::write(output, classifier, &probes, model, &config))?;
    console.summary(&summary)
}

/// Returns the description of each class.
fn classes(examples: &Examples, by: SplitBy, held_out: &Confusion) -> Vec<ClassConfig> {
    let (flows, units) = (examples.flows_by_class(), examples.units_by_class(by));
    let describe = |(class, name): (usize, &String)| ClassConfig {
        name: name.clone(),
        flows: flows[class],
        units: units[class],
        held_out: held_out.class(class),
    };
    examples.classes.iter().enumerate().map(describe).collect()
}

/// Examples, and the part of each that is held out in turn.
struct Study<'e> {
    examples: &'e Examples,
    folds: Vec<usize>,
    parts: usize,
    /// Number of values of a vector.
    width: usize,
}

/// Whitening, and the classifier of whitened vectors.
struct Fitted {
    whitening: Whitening,
    probe: LinearProbe,
}

impl Fitted {
    /// Returns the classifier of vectors that are not whitened.
    fn folded(&self) -> LinearProbe {
        self.whitening.before(&self.probe)
    }
}

impl Study<'_> {
    /// Returns the flows outside of a part and those in it.
    fn sides(&self, part: usize) -> [Vec<usize>; 2] {
        let (inside, outside) = (0..self.folds.len()).partition(|&flow| self.folds[flow] == part);
        [outside, inside]
    }

    /// Returns the vectors of flows, one behind the other.
    fn vectors(&self, moment: usize, flows: &[usize]) -> Vec<f32> {
        let all = &self.examples.vectors[moment];
        flows.iter().flat_map(|&flow| &all[flow * self.width..][..self.width]).copied().collect()
    }

    fn classes_of(&self, flows: &[usize]) -> Vec<i64> {
        flows.iter().map(|&flow| self.examples.class[flow]).collect()
    }

    /// Fits a classifier of the vectors at a moment.
    fn fit(&self, moment: usize, flows: &[usize], l2: f64) -> anyhow::Result<Fitted> {
        let values = self.vectors(moment, flows);
        let rows = Rows { values: &values, width: self.width };
        let whitening = Whitening::fit(rows, DIRECTIONS)?;
        let white = whitening.apply(rows)?;
        let probe = self.probe(&white, whitening.width(), flows, l2)?;
        Ok(Fitted { whitening, probe })
    }

    fn probe(
        &self,
        white: &[f32],
        width: usize,
        flows: &[usize],
        l2: f64,
    ) -> anyhow::Result<LinearProbe> {
        let rows = Rows { values: white, width };
        let (classes, weights) = (self.classes_of(flows), self.examples.weights(flows));
        Ok(LinearProbe::fit(rows, &classes, self.examples.classes.len(), &weights, l2)?)
    }

    /// Chooses the penalty with the best macro-F1 over flows held out; returns it with the figures.
    fn choose(&self, progress: &clikit::Progress) -> anyhow::Result<(f64, Confusion, HeldOut)> {
        let (classes, end) = (self.examples.classes.len(), self.examples.vectors.len() - 1);
        let mut by_penalty = vec![Confusion::new(classes); PENALTIES.len()];
        let mut neighbours = Confusion::new(classes);
        for part in 0..self.parts {
            let [train, test] = self.sides(part);
            let (values, asked) = (self.vectors(end, &train), self.vectors(end, &test));
            let rows = Rows { values: &values, width: self.width };
            let whitening = Whitening::fit(rows, DIRECTIONS)?;
            let width = whitening.width();
            let white = whitening.apply(rows)?;
            let asked = whitening.apply(Rows { values: &asked, width: self.width })?;
            let asked = Rows { values: &asked, width };
            for (&l2, confusion) in PENALTIES.iter().zip(&mut by_penalty) {
                let probe = self.probe(&white, width, &train, l2)?;
                self.judge(&probe, asked, &test, confusion)?;
            }
            let near = nearest(Rows { values: &white, width }, asked, NEIGHBOURS)?;
            for (&flow, near) in test.iter().zip(near) {
                let votes: Vec<i64> =
                    near.iter().map(|&at| self.examples.class[train[at as usize]]).collect();
                neighbours.add(self.examples.class[flow] as usize, majority(&votes) as usize);
            }
            progress.inc(1);
        }
        let score = |which: &usize| by_penalty[*which].figures().macro_f1;
        // Of equal ones the heaviest.
        let best = (0..PENALTIES.len()).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0);
        let (l2, chosen) = (PENALTIES[best], by_penalty.swap_remove(best));
        let mut after = vec![Confusion::new(classes); end];
        for part in 0..self.parts {
            let [train, test] = self.sides(part);
            for (moment, confusion) in after.iter_mut().enumerate() {
                let probe = self.fit(moment, &train, l2)?.folded();
                let values = self.vectors(moment, &test);
                let asked = Rows { values: &values, width: self.width };
                self.judge(&probe, asked, &test, confusion)?;
            }
            progress.inc(1);
        }
        let held_out = HeldOut {
            probe: chosen.figures(),
            neighbours: neighbours.figures(),
            after_packets: after.iter().map(Confusion::figures).collect(),
        };
        Ok((l2, chosen, held_out))
    }

    /// Counts the verdicts of a classifier on flows held out.
    fn judge(
        &self,
        probe: &LinearProbe,
        asked: Rows<'_>,
        flows: &[usize],
        confusion: &mut Confusion,
    ) -> anyhow::Result<()> {
        let classes = self.examples.classes.len();
        let all = probe.probabilities(asked)?;
        for (&flow, probabilities) in flows.iter().zip(all.chunks_exact(classes)) {
            let verdict = (0..classes)
                .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
                .unwrap_or(0);
            confusion.add(self.examples.class[flow] as usize, verdict);
        }
        Ok(())
    }
}

/// Returns the class with the most votes, of equal ones that of the nearest neighbour.
fn majority(votes: &[i64]) -> i64 {
    let count = |class: i64| votes.iter().filter(|&&vote| vote == class).count();
    let most = votes.iter().map(|&vote| count(vote)).max().unwrap_or(0);
    votes.iter().copied().find(|&vote| count(vote) == most).unwrap_or(0)
}

/// Summary of the run.
#[derive(Serialize)]
struct FitSummary {
    flows: u64,
    classes: Vec<ClassConfig>,
    l2: f64,
    packets: Vec<u64>,
    held_out: HeldOut,
}

impl fmt::Display for FitSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = |share: f64| percent((share * 1000.0).round() as u64, 1000);
        let line = |f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures| {
            let Figures { macro_f1, balanced_accuracy, accuracy } = figures;
            let all = [macro_f1, balanced_accuracy, accuracy].map(|&share| permille(share));
            writeln!(f, "  {name:<24}{:>10}{:>20}{:>10}", all[0], all[1], all[2])
        };
        writeln!(
            f,
            "{} flows of {} classes, penalty {}",
            count(self.flows),
            self.classes.len(),
            self.l2
        )?;
        writeln!(f, "held out:{:>27}{:>20}{:>10}", "macro-F1", "balanced accuracy", "accuracy")?;
        line(f, "linear classifier", &self.held_out.probe)?;
        for (packets, figures) in self.packets.iter().zip(&self.held_out.after_packets) {
            line(f, &format!("  after {packets} packets"), figures)?;
        }
        line(f, "5 nearest neighbours", &self.held_out.neighbours)?;
        writeln!(
            f,
            "class:{:>20}{:>10}{:>10}{:>10}{:>10}",
            "flows", "units", "precision", "recall", "F1"
        )?;
        for class in &self.classes {
            let figures = class.held_out;
            let all = [figures.precision, figures.recall, figures.f1].map(permille);
            writeln!(
                f,
                "  {:<18}{:>6}{:>10}{:>10}{:>10}{:>10}",
                class.name, class.flows, class.units, all[0], all[1], all[2]
            )?;
        }
        Ok(())
    }
}
