//! Generation in parts: `--part`, `--resume`, `--join`.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, bail};
use arrowio::{DatasetFormat, DatasetMeta};
use clikit::{Console, is_dash};
use dataset::{Destination, PartRun, PartsError, RunPart, RunSettings, fingerprint};
use serde_json::{Map, Value};

use super::folder;
use super::summary::GenerateSummary;
use crate::args::Generate;

/// Returns the run of `--part`, whose dataset has these metadata and this format.
///
/// # Errors
/// If the output cannot be a folder, or the model cannot be read.
pub(crate) fn run_of(
    args: &Generate,
    part: RunPart,
    meta: DatasetMeta,
    asked: Option<DatasetFormat>,
) -> anyhow::Result<PartRun> {
    let output = args.output_dir.as_path();
    if is_dash(output) || !Destination::at(output, asked).is_folder() {
        bail!("{}: expected a folder as --output-dir of --part, found a file", output.display());
    }
    let weights = folder::weights_at(&args.checkpoint_path);
    let mut octets = Vec::new();
    File::open(&weights)
        .and_then(|mut file| file.read_to_end(&mut octets))
        .with_context(|| weights.display().to_string())?;
    let format = asked.unwrap_or(DatasetFormat::Arrow).extension();
    let mut settings = RunSettings::from([
        ("program".to_owned(), meta.tool),
        ("token code".to_owned(), format!("{} version {}", meta.token_code, meta.token_version)),
        ("--format".to_owned(), format.to_owned()),
        ("model".to_owned(), format!("SHA-256 {}", fingerprint([octets]))),
    ]);
    settings.extend(meta.options.into_iter().map(|(name, value)| (format!("--{name}"), value)));
    Ok(PartRun::new(output, part, settings)?)
}

/// Returns whether the part is there already and stays, and prints its summary then.
///
/// # Errors
/// If the part is there, and neither `--resume` nor `--force` is given.
pub(crate) fn is_kept(
    args: &Generate,
    run: &mut PartRun,
    console: &Console,
) -> anyhow::Result<bool> {
    let Some(record) = run.kept(args.resume, args.force)? else {
        // The work needs no list: it is the numbers of the flows.
        run.list(|| Ok::<(), PartsError>(()))?;
        return Ok(false);
    };
    tracing::info!("part {} is there", run.part());
    record.left_out().into_iter().for_each(|line| console.left_out(line));
    console.summary(&summary_of(&record.summary))?;
    Ok(true)
}

/// Makes the dataset of its parts.
pub(crate) fn join(args: &Generate, console: &Console) -> anyhow::Result<()> {
    let manifest = dataset::join(&args.output_dir, args.force, |sum, parts| {
        let mut all = GenerateSummary::default();
        parts.iter().for_each(|part| all.add_part(summary_of(part)));
        if let Ok(Value::Object(all)) = serde_json::to_value(all) {
            *sum = all;
        }
    })?;
    manifest.left_out().for_each(|line| console.left_out(line));
    console.summary(&summary_of(&manifest.summary))
}

/// Returns the summary of a record. What another version wrote otherwise is 0.
fn summary_of(record: &Map<String, Value>) -> GenerateSummary {
    serde_json::from_value(Value::Object(record.clone())).unwrap_or_default()
}
