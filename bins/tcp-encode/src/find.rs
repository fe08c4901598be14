//! The captures of the inputs: files whose name or first octets are those of a capture.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clikit::{Console, InputFile, Inputs};
use dataset::{PartRun, begins_like_capture};
use serde::{Deserialize, Serialize};
use tcpwire::foreign_format;

use crate::args::{Args, MergeArg};
use crate::labels::{FileLabel, Labels};
use crate::task::{CaptureFile, CaptureTask};

/// Captures that were found in the inputs.
pub(crate) struct FoundCaptures {
    pub(crate) tasks: Vec<CaptureTask>,
    /// Name of the inputs in messages.
    pub(crate) shown: String,
    /// Size of all files, `None` for stdin.
    pub(crate) octets: Option<u64>,
    /// Whether the input is one capture, not a folder or several.
    pub(crate) is_single: bool,
}

/// List of captures, which all parts of a run share.
#[derive(Serialize, Deserialize)]
struct CaptureList {
    files: Vec<Listed>,
    /// Inputs that could not be found or followed, each as a line with its reason.
    unreadable: Vec<String>,
}

/// Capture of a list, as [`InputFile`] has it.
#[derive(Serialize, Deserialize)]
struct Listed {
    path: PathBuf,
    name: String,
    size: u64,
}

/// Finds the captures of the inputs, or with `run` those of its part.
pub(crate) fn find(
    args: &Args,
    paths: &[PathBuf],
    mut run: Option<&mut PartRun>,
    labels: Option<&Labels>,
    console: &Console,
) -> anyhow::Result<FoundCaptures> {
    let shown = match paths {
        [one] => one.display().to_string(),
        several => format!("{} inputs", several.len()),
    };
    let list = match &mut run {
        None => match list(paths, &shown)? {
            Some(list) => list,
            None => {
                let (name, label) = ("-".to_owned(), FileLabel::default());
                let file = CaptureFile { path: None, stdin: console.stdin(), name, size: 0, label };
                let tasks = vec![CaptureTask { files: vec![file] }];
                return Ok(FoundCaptures { tasks, shown, octets: None, is_single: true });
            }
        },
        Some(run) => run.list(|| {
            let list = list(paths, &shown)?;
            absolute(list.context("-: expected files for --part, found stdin")?)
        })?,
    };
    // Of several parts the first one reports them.
    if run.as_ref().is_none_or(|run| run.part().number() == 1) {
        for what in list.unreadable {
            console.left_out(what);
        }
    }
    // With --anonymize, names of files are replaced too: they may identify hosts or persons.
    let name = |n: usize, name| {
        if args.anonymize.is_some() { format!("capture-{:05}", n + 1) } else { name }
    };
    let files =
        list.files.into_iter().enumerate().map(|(n, Listed { path, name: below, size })| {
            let label = labels.map_or_else(FileLabel::default, |labels| labels.file(&path, &below));
            let name = name(n, below);
            CaptureFile { path: Some(path), stdin: console.stdin(), name, size, label }
        });
    let tasks = tasks(args.merge, files.collect());
    let sizes: Vec<u64> = tasks.iter().map(CaptureTask::size).collect();
    let share = match &run {
        Some(run) if args.merge == Some(MergeArg::All) && run.part().of() > 1 => {
            bail!("--part: expected --merge=folder, a capture for each folder, found --merge");
        }
        Some(run) => run.part().share(&sizes),
        None => 0..tasks.len(),
    };
    let octets = Some(sizes[share.clone()].iter().sum());
    let tasks = tasks.into_iter().skip(share.start).take(share.len()).collect();
    let is_single = run.is_none() && matches!(paths, [one] if !one.is_dir());
    Ok(FoundCaptures { tasks, shown, octets, is_single })
}

/// Lists the captures of the inputs, in order; `None` for stdin.
fn list(paths: &[PathBuf], shown: &str) -> anyhow::Result<Option<CaptureList>> {
    let mut others = 0u64;
    let inputs = Inputs::find_all(paths, |path| {
        let taken = is_capture_name(path) || begins_like_capture(path) || is_foreign(path);
        others += u64::from(!taken);
        taken
    })?;
    let Inputs::Files { files, unreadable } = inputs else { return Ok(None) };
    if others > 0 {
        tracing::info!("{shown}: {others} files that are no captures");
    }
    if files.is_empty() {
        bail!("{shown}: expected captures, found none");
    }
    let listed = |InputFile { path, name, size }| Listed { path, name, size };
    let files = files.into_iter().map(listed);
    Ok(Some(CaptureList { files: files.collect(), unreadable }))
}

/// Makes the paths of a list ones that every process understands, whatever its folder.
fn absolute(mut list: CaptureList) -> anyhow::Result<CaptureList> {
    for file in &mut list.files {
        let shown = file.path.display().to_string();
        file.path = std::path::absolute(&file.path).with_context(|| shown.clone())?;
        if file.path.to_str().is_none() {
            bail!("{shown}: expected a name in UTF-8 for --part, found another");
        }
    }
    Ok(list)
}

/// Groups captures into those that are read as one, in the order of the first of each group.
fn tasks(merge: Option<MergeArg>, files: Vec<CaptureFile>) -> Vec<CaptureTask> {
    match merge {
        None => files.into_iter().map(|file| CaptureTask { files: vec![file] }).collect(),
        Some(MergeArg::All) => vec![CaptureTask { files }],
        Some(MergeArg::Folder) => {
            let mut tasks: Vec<CaptureTask> = Vec::new();
            let mut task_of: HashMap<Option<PathBuf>, usize> = HashMap::new();
            for file in files {
                let folder = file.path.as_deref().and_then(Path::parent).map(Path::to_owned);
                let at = *task_of.entry(folder).or_insert(tasks.len());
                if at == tasks.len() {
                    tasks.push(CaptureTask { files: Vec::new() });
                }
                tasks[at].files.push(file);
            }
            tasks
        }
    }
}

/// Returns whether the name is that of a capture. A file with such a name that is no capture is
/// reported.
pub(crate) fn is_capture_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    // tcpdump -C writes x.pcap0, x.pcap1, ...; others x.pcap.1.
    let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let unnumbered = unnumbered.strip_suffix('.').unwrap_or(unnumbered);
    let has_end = |name: &str| CAPTURES.iter().any(|end| name.ends_with(end));
    has_end(name) || has_end(unnumbered) || is_ring_name(name)
}

/// Returns whether the name is one that `dumpcap -b` gives: `x_00001_20260101120000` or, with
/// `nametimenum`, `x_20260101120000_00001`.
fn is_ring_name(name: &str) -> bool {
    let mut parts = name.rsplit('_');
    let mut digits = || {
        let part = parts.next()?;
        part.bytes().all(|octet| octet.is_ascii_digit()).then_some(part.len())
    };
    let (last, before) = (digits(), digits());
    parts.next().is_some()
        && matches!((last, before), (Some(14), Some(5..)) | (Some(5..), Some(14)))
}

/// Ends of the names of compressed files and archives.
const PACKED: [&str; 11] =
    [".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip", ".7z", ".rar", ".z", ".lzma", ".lz"];
/// Ends of the names of captures in the formats that are read, and in those of other programs.
const CAPTURES: [&str; 16] = [
    ".pcap", ".pcapng", ".cap", ".snoop", ".dmp", ".ntar", ".erf", ".5vw", ".bfr", ".trc", ".syc",
    ".fdc", ".pkt", ".acp", ".tpc", ".vwr",
];

/// Returns whether a file begins like a capture format or an archive that is not read, which is
/// reported.
pub(crate) fn is_foreign(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|len| foreign_format(&head[..len]).is_some())
}
