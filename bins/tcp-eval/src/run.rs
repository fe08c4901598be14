//! From arguments to a report.

use std::path::Path;

use anyhow::Context;
use atomic_output::{AtomicFolder, FileKind};
use clikit::{Console, Unit};
use fidelity::{FlowSets, Settings, TraceSides, membership, targets};

use crate::args::Args;
use crate::external_tools::{self, ToolReports};
use crate::flows;
use crate::likelihood::{self, LikelihoodSet};
use crate::report::{self, REPORT};
use crate::summary::Summary;

/// Name of the file with the summary of a comparison.
const METRICS: &str = "metrics.json";

/// Least number of draws behind the values of traces: one draw of halves of the captures says
/// little.
const LEAST_TRACE_DRAWS: u32 = 8;

/// Files that a folder holds if a report may replace it.
const REPORT_FILE: FileKind = FileKind { name: "a report", is_at: is_report_file };

/// Returns whether the file at a path is one of a report, by its name and its content.
fn is_report_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let text = || std::fs::read_to_string(path).unwrap_or_default();
    if name == METRICS {
        let metrics: serde_json::Value = serde_json::from_str(&text()).unwrap_or_default();
        return metrics.get("targets").is_some();
    }
    name == REPORT && text().contains(report::TITLE)
}

/// Compares the flows of `args.generated` with those of `args.real` and writes the report.
///
/// # Errors
/// If an input cannot be read, one side has too few whole sessions to compare, or the report folder
/// cannot be written.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    arrowio::silence_panics();
    let inputs: Vec<(&str, &Path)> = [
        ("REAL", Some(&args.real)),
        ("GENERATED", Some(&args.generated)),
        ("--reference", args.reference.as_ref()),
        ("--training", args.training.as_ref()),
        ("--likelihood", args.likelihood.as_ref()),
        ("--likelihood-held-out", args.likelihood_held_out.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, path)| Some((name, path?.as_path())))
    .collect();
    let outputs: Vec<(&str, &Path)> =
        args.output.as_deref().map(|path| ("--output", path)).into_iter().collect();
    clikit::ensure_distinct_paths(&inputs, &outputs)?;
    if let Some(folder) = &args.output {
        clikit::ensure_folder_free(folder, REPORT_FILE, args.force)?;
    }
    let read = |path: &Path| flows::read(path, args.token_code, console);
    let (real, generated) = (read(&args.real)?, read(&args.generated)?);
    let reference = args.reference.as_deref().map(read).transpose()?;
    let training = args.training.as_deref().map(read).transpose()?;
    let membership = args.likelihood.as_deref().map(|known| -> anyhow::Result<_> {
        let held_out = match &args.likelihood_held_out {
            Some(path) => likelihood::read(path, LikelihoodSet::All)?,
            None => likelihood::read(known, LikelihoodSet::HeldOut)?,
        };
        Ok(membership(&likelihood::read(known, LikelihoodSet::Training)?, &held_out, args.seed))
    });
    let membership = membership.transpose()?;
    let settings = Settings { seed: args.seed, repeats: args.repeats, ..Settings::default() };
    let sides = FlowSets {
        real: &real.complete.flows,
        generated: &generated.complete.flows,
        reference: reference.as_ref().map(|side| &side.complete.flows[..]),
        training: training.as_ref().map(|side| &side.complete.flows[..]),
        has_identifiers: [Some(&real), Some(&generated), reference.as_ref()]
            .iter()
            .flatten()
            .all(|side| side.complete.missing_identity == 0),
    };
    let progress = console.progress("comparing", None, Unit::Items);
    let draws = args.repeats.max(LEAST_TRACE_DRAWS);
    let traces = args.traces.then(|| {
        let sides = TraceSides {
            real: &real.traces,
            generated: &generated.traces,
            reference: reference.as_ref().map(|side| &side.traces),
        };
        fidelity::compare_traces(&sides, draws, args.seed, |what| progress.message(what))
    });
    let traces = traces.transpose()?;
    let found = fidelity::compare(&sides, settings, |what| progress.message(what))?;
    let (real, generated) = (real.complete, generated.complete);
    let tool_reports = if args.no_judges {
        ToolReports::not_run()
    } else {
        progress.message("asking Wireshark and Suricata");
        external_tools::run(&real.flows, &generated.flows, args.seed)
    };
    progress.finish();
    let mut targets = targets(&found, tool_reports.rates().as_deref());
    targets.extend(traces.as_ref().map(fidelity::trace_targets).into_iter().flatten());
    let summary = Summary {
        not_compared: [real.incomplete, generated.incomplete],
        found,
        targets,
        tool_reports,
        membership,
        traces,
    };
    if let Some(folder) = &args.output {
        let names = [&args.real, &args.generated].map(|path| path.display().to_string());
        let page = report::render(&summary, [&names[0], &names[1]], &real.flows, &generated.flows)?;
        write(
            folder,
            &[(METRICS, serde_json::to_string_pretty(&summary)? + "\n"), (REPORT, page)],
            args.force,
        )?;
    }
    console.summary(&summary)
}

/// Writes the files of the report into a folder that appears as a whole.
fn write(folder: &Path, files: &[(&str, String)], force: bool) -> anyhow::Result<()> {
    let output = AtomicFolder::create(folder, REPORT_FILE.on_existing(force))?;
    for (name, text) in files {
        let shown = || output.target().join(name).display().to_string();
        std::fs::write(output.path().join(name), text).with_context(shown)?;
    }
    Ok(output.commit()?)
}
