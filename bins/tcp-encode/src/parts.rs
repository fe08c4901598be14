//! Runs in parts: `--part`, `--resume`, `--join`.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clikit::{Console, is_dash};
use dataset::{Destination, PartRun, RunSettings, fingerprint};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::rows;
use crate::summary::{complete, fmt_sum};

/// Returns the run of `--part`, if it is given.
///
/// # Errors
/// If OUTPUT cannot be a folder, or a file of the settings cannot be read.
pub(crate) fn run_of(
    args: &Args,
    inputs: &[PathBuf],
    output: &Path,
) -> anyhow::Result<Option<PartRun>> {
    let Some(part) = args.part else { return Ok(None) };
    let asked = args.format.map(|_| rows::format_of_folder(args));
    if is_dash(output) || !Destination::at(output, asked).is_folder() {
        bail!("{}: expected a folder as OUTPUT of --part, found a file", output.display());
    }
    Ok(Some(PartRun::new(output, part, settings(args, inputs)?)?))
}

/// Returns what all parts of a run have in common.
fn settings(args: &Args, inputs: &[PathBuf]) -> anyhow::Result<RunSettings> {
    let meta = rows::meta(args);
    let format = rows::format_of_folder(args);
    let compression = rows::sink_options(args, format)?.compression;
    let mut settings = RunSettings::from([
        ("program".to_owned(), meta.tool),
        ("token code".to_owned(), format!("{} version {}", meta.token_code, meta.token_version)),
        ("--format".to_owned(), format.extension().to_owned()),
        ("--compression".to_owned(), format!("{compression:?}").to_lowercase()),
    ]);
    settings.extend(meta.options.into_iter().map(|(name, value)| (format!("--{name}"), value)));
    let mut texts = Vec::new();
    if let Some(path) = &args.anonymize {
        let key = std::fs::read(path).with_context(|| path.display().to_string())?;
        settings.insert("key of --anonymize".to_owned(), fingerprint([&key]));
        // Names of captures may identify hosts or persons: whoever lacks the key cannot guess them.
        texts.push(key);
    }
    if let Some(path) = &args.labels {
        let labels = std::fs::read(path).with_context(|| path.display().to_string())?;
        settings.insert("--labels".to_owned(), format!("SHA-256 {}", fingerprint([labels])));
    }
    for input in inputs {
        let path = std::path::absolute(input).with_context(|| input.display().to_string())?;
        texts.push(path.into_os_string().into_encoded_bytes());
    }
    let inputs = format!("{} paths, SHA-256 {}", inputs.len(), fingerprint(texts));
    settings.insert("inputs".to_owned(), inputs);
    Ok(settings)
}

/// Returns whether the part is there already and stays, and prints its summary then.
///
/// # Errors
/// If the part is there, and neither `--resume` nor `--force` is given.
pub(crate) fn is_kept(args: &Args, run: &PartRun, console: &Console) -> anyhow::Result<bool> {
    let Some(record) = run.kept(args.resume, args.force)? else { return Ok(false) };
    tracing::info!("part {} is there", run.part());
    record.left_out().into_iter().for_each(|line| console.left_out(line));
    console.summary(&SumOfSummaries(record.summary))?;
    Ok(true)
}

/// Makes the dataset of its parts.
pub(crate) fn join(args: &Args, console: &Console) -> anyhow::Result<()> {
    let [output] = &args.paths[..] else {
        bail!("--join: expected OUTPUT alone, found {} paths", args.paths.len());
    };
    let manifest = dataset::join(output, args.force, |sum, _| complete(sum))?;
    manifest.left_out().for_each(|line| console.left_out(line));
    console.summary(&SumOfSummaries(manifest.summary))
}

/// Sum of the summaries of several parts.
#[derive(Serialize)]
#[serde(transparent)]
struct SumOfSummaries(Map<String, Value>);

impl fmt::Display for SumOfSummaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_sum(&self.0, f)
    }
}
