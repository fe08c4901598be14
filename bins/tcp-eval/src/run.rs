//! From arguments to a report.

use std::path::Path;

use anyhow::Context;
use clikit::{AtomicFolder, Console, Existing, Unit};
use fidelity::{Comparison, Settings};

use crate::args::Args;
use crate::flows::{self, Side};
use crate::summary::Summary;

/// Runs the program.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let mut inputs = vec![("REAL", args.real.as_path()), ("GENERATED", args.generated.as_path())];
    inputs.extend(args.reference.as_deref().map(|path| ("--reference", path)));
    let outputs: Vec<(&str, &Path)> = args.output.as_deref().map(|path| ("--output", path)).into_iter().collect();
    clikit::keep_apart(&inputs, &outputs)?;
    let real = flows::read(&args.real, console)?;
    let generated = flows::read(&args.generated, console)?;
    let reference = args.reference.as_deref().map(|path| flows::read(path, console)).transpose()?;
    let settings = Settings { seed: args.seed, repeats: args.repeats, ..Settings::default() };
    let progress = console.progress("comparing", None, Unit::Items);
    let found =
        fidelity::compare(&real.flows, reference.as_ref().map(|side| &side.flows[..]), &generated.flows, settings)?;
    progress.finish();
    if let Some(folder) = &args.output {
        write(folder, &found, args.force)?;
    }
    let not_whole = |side: &Side| side.not_whole;
    console.summary(&Summary { not_whole: [not_whole(&real), not_whole(&generated)], found })
}

fn write(folder: &Path, found: &Comparison, force: bool) -> anyhow::Result<()> {
    let existing = if force { Existing::Replace } else { Existing::Refuse };
    let output = AtomicFolder::create(folder, existing)?;
    let path = output.path().join("metrics.json");
    let text = serde_json::to_string_pretty(found)? + "\n";
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    output.commit()
}
