//! Labels of flows: rows of a CSV file, or the names of the captures.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::ValueEnum;
use clikit::text::count;
use flowtrack::{Flow, FrameId};
use serde::Deserialize;

/// Part of a capture's path that is the label of its flows: `--label-from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LabelFrom {
    /// The folder of the capture: the first one below INPUT, else INPUT itself
    Folder,
    /// The name of the capture, without its extensions
    Name,
}

impl LabelFrom {
    /// Returns the label of the flows of a capture. `below` is its path below INPUT.
    fn label(self, path: &Path, below: &str) -> Option<String> {
        let name = match self {
            LabelFrom::Folder => match below.split_once('/') {
                Some((first, _)) => return Some(first.to_owned()),
                None => path.canonicalize().ok()?.parent()?.file_name()?.to_owned(),
            },
            LabelFrom::Name => path.file_name()?.to_owned(),
        };
        let name = name.to_string_lossy();
        match self {
            LabelFrom::Folder => Some(name.into_owned()),
            LabelFrom::Name => name.split('.').find(|part| !part.is_empty()).map(str::to_owned),
        }
    }
}

/// Label and group of a flow. Each may be absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Annotation {
    /// Class of the flow.
    pub(crate) label: Option<String>,
    /// Unit that a split keeps together.
    pub(crate) group: Option<String>,
}

/// Line of the file as it stands there. An empty cell is an absent value.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Line {
    file: Option<String>,
    first_frame: Option<u64>,
    client_addr: Option<IpAddr>,
    client_port: Option<u16>,
    server_addr: Option<IpAddr>,
    server_port: Option<u16>,
    start_ns: Option<i64>,
    duration_ns: Option<i64>,
    label: Option<String>,
    group: Option<String>,
}

/// Flows that a row is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    /// The flow with this first frame in a file, by the number of the file in the list.
    Frame(usize, u64),
    /// Flows between these ends, and with a start in this range if there is one.
    Ends([Option<(IpAddr, u16)>; 2], Option<(i64, i64)>),
    /// All flows of a file.
    File(usize),
}

/// Row of the file.
#[derive(Debug)]
struct LabelRow {
    /// Number of its line, from 1.
    line: u64,
    said: Annotation,
    /// Whether a flow took the row.
    is_used: AtomicBool,
}

/// Labels of the flows of a run.
#[derive(Debug)]
pub(crate) enum Labels {
    /// Rows of a file: `--labels`.
    Rows(Box<LabelRows>),
    /// Parts of paths: `--label-from`.
    Paths(LabelFrom),
}

/// Rows of a file, by the flows that they are about.
#[derive(Debug, Default)]
pub(crate) struct LabelRows {
    /// Path of the file in messages.
    shown: String,
    rows: Vec<LabelRow>,
    by_key: HashMap<Key, usize>,
    /// Keys of rows about ends with a range of starts.
    timed: HashMap<[Option<(IpAddr, u16)>; 2], Vec<Key>>,
    /// Captures by their name in the file.
    names: HashMap<String, usize>,
    /// Captures by their path on the disk.
    paths: HashMap<PathBuf, usize>,
    /// Lines that repeat an earlier one.
    repeated: Vec<u64>,
}

/// Labels of a run for one capture.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileLabel {
    /// Numbers of the capture in the list of `--labels`, which may name it in two ways.
    listed: [Option<usize>; 2],
    /// Label by its path.
    label: Option<String>,
}

impl Labels {
    /// Returns what is said of a capture. `below` is its path below INPUT.
    pub(crate) fn file(&self, path: &Path, below: &str) -> FileLabel {
        match self {
            Labels::Rows(rows) => FileLabel { listed: rows.file(path, below), label: None },
            Labels::Paths(from) => {
                FileLabel { label: from.label(path, below), ..FileLabel::default() }
            }
        }
    }

    /// Returns what is said of a flow of a capture.
    pub(crate) fn flow(&self, file: &FileLabel, flow: &Flow) -> Annotation {
        match self {
            Labels::Rows(rows) => rows.flow(file.listed, flow),
            Labels::Paths(_) => Annotation { label: file.label.clone(), group: None },
        }
    }

    /// Returns lines about rows that no flow took, and about rows that repeat another one.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let Labels::Rows(rows) = self else { return Vec::new() };
        let unused = rows.rows.iter().filter(|row| !row.is_used.load(Ordering::Relaxed));
        let unused: Vec<u64> = unused.map(|row| row.line).collect();
        let about = |lines: &[u64], what| {
            let first = lines.first()?;
            let rows_of = if lines.len() == 1 { "row" } else { "rows" };
            let number = count(lines.len() as u64);
            Some(format!("{}: {number} {rows_of} {what}, the first in line {first}", rows.shown))
        };
        let unused = about(&unused, "about no flow that is kept");
        let repeated = about(&rows.repeated, "that repeat an earlier one");
        unused.into_iter().chain(repeated).collect()
    }
}

impl LabelRows {
    /// Reads a file of labels: CSV with a line of names.
    ///
    /// # Errors
    /// If the file cannot be read, has no column `label`, has a line that names no flow, or says
    /// two things of the same flows. The message names the line.
    pub(crate) fn read(path: &Path) -> anyhow::Result<LabelRows> {
        let shown = path.display().to_string();
        let file = File::open(path).with_context(|| shown.clone())?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let names = reader.headers().with_context(|| shown.clone())?.clone();
        if !names.iter().any(|name| name == "label") {
            let found: Vec<&str> = names.iter().collect();
            bail!("{shown}: line 1: expected a column 'label', found '{}'", found.join(","));
        }
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut rows = LabelRows { shown, ..LabelRows::default() };
        for record in reader.records() {
            let record = record.with_context(|| rows.shown.clone())?;
            let line = record.position().map_or(0, csv::Position::line);
            let read: Line = record
                .deserialize(Some(&names))
                .map_err(|error| cell_error(&error, &names))
                .map_err(|what| anyhow::anyhow!("{}: line {line}: {what}", rows.shown))?;
            rows.push(read, line, &folder)?;
        }
        Ok(rows)
    }

    /// Adds a line. `folder` is that of the file, for the paths in it.
    fn push(&mut self, read: Line, line: u64, folder: &Path) -> anyhow::Result<()> {
        let Line { file, first_frame, client_addr, client_port, server_addr, server_port, .. } =
            &read;
        let file = file.as_ref().map(|name| self.listed(name, folder));
        let ends = [client_addr.zip(*client_port), server_addr.zip(*server_port)];
        let key = match (file, first_frame) {
            (Some(file), Some(frame)) => Key::Frame(file, *frame),
            _ if ends.iter().any(Option::is_some) => {
                let range = |start: i64| {
                    (start, start.saturating_add(read.duration_ns.unwrap_or(0).max(0)))
                };
                Key::Ends(ends, read.start_ns.map(range))
            }
            (Some(file), None) => Key::File(file),
            (None, _) => bail!(
                "{}: line {line}: expected a file, or the address and port of an end, found none",
                self.shown
            ),
        };
        let said = Annotation { label: read.label, group: read.group };
        if let Some(&earlier) = self.by_key.get(&key) {
            let earlier = &self.rows[earlier];
            if earlier.said == said {
                self.repeated.push(line);
                return Ok(());
            }
            let name = |said: &Annotation| said.label.clone().unwrap_or_default();
            bail!(
                "{}: line {line}: expected '{}', which line {} says of these flows, found '{}'",
                self.shown,
                name(&earlier.said),
                earlier.line,
                name(&said)
            );
        }
        if let Key::Ends(ends, Some(_)) = &key {
            self.timed.entry(*ends).or_default().push(key.clone());
        }
        self.by_key.insert(key, self.rows.len());
        self.rows.push(LabelRow { line, said, is_used: AtomicBool::new(false) });
        Ok(())
    }

    /// Returns the number of a capture in the list, which is added if it is new.
    fn listed(&mut self, name: &str, folder: &Path) -> usize {
        let next = self.names.len();
        let number = *self.names.entry(name.to_owned()).or_insert(next);
        if number == next
            && let Ok(path) = folder.join(name).canonicalize()
        {
            self.paths.insert(path, number);
        }
        number
    }

    /// Returns the numbers of a capture in the list: by its path below INPUT, and by its path on
    /// the disk, which the list names from the folder that it is in.
    fn file(&self, path: &Path, below: &str) -> [Option<usize>; 2] {
        let on_disk = path.canonicalize().ok().and_then(|path| self.paths.get(&path));
        [self.names.get(below), on_disk].map(|number| number.copied())
    }

    /// Returns what is said of a flow: by its first frame, else by its ends and time, by its ends,
    /// or by its capture.
    fn flow(&self, files: [Option<usize>; 2], flow: &Flow) -> Annotation {
        let frame = FrameId::of(flow.first_frame).number();
        let [client, server] = [&flow.client, &flow.server].map(|side| (side.addr, side.port));
        let pairs = [
            [Some(client), Some(server)],
            [Some(server), Some(client)],
            [Some(client), None],
            [None, Some(server)],
        ];
        let start_ns = flow.times_ns().map(|(start, _)| start);
        let is_in = |key: &&Key| match (key, start_ns) {
            (Key::Ends(_, Some((first, last))), Some(at)) => (*first..=*last).contains(&at),
            _ => false,
        };
        let timed = || pairs.iter().find_map(|ends| self.timed.get(ends)?.iter().find(is_in));
        let in_files = |key: &dyn Fn(usize) -> Key| {
            files.into_iter().flatten().find_map(|file| self.by_key.get(&key(file)))
        };
        let found = in_files(&|file| Key::Frame(file, frame))
            .or_else(|| self.by_key.get(timed()?))
            .or_else(|| pairs.iter().find_map(|&ends| self.by_key.get(&Key::Ends(ends, None))))
            .or_else(|| in_files(&Key::File));
        let Some(row) = found.map(|&row| &self.rows[row]) else { return Annotation::default() };
        row.is_used.store(true, Ordering::Relaxed);
        row.said.clone()
    }
}

/// Returns an error of a line with the name of its column.
fn cell_error(error: &csv::Error, names: &csv::StringRecord) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| names.get(field as usize));
            let named = column.map(|name| format!("column {name}: ")).unwrap_or_default();
            format!("{named}{}", err.kind())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use testkit::Scratch;

    use super::*;

    fn rows(text: &str) -> anyhow::Result<LabelRows> {
        let scratch = Scratch::new();
        LabelRows::read(&scratch.write("labels.csv", text.as_bytes()))
    }

    fn label(rows: &LabelRows, file: &str, flow: &Flow) -> Option<String> {
        rows.flow(rows.file(Path::new("nowhere"), file), flow).label
    }

    #[test]
    fn the_narrowest_row_counts() {
        let flow = tokenizer::field::doc::worked_flow();
        let (start, _) = flow.times_ns().unwrap();
        let (client, server) = (&flow.client, &flow.server);
        let ends = format!("{},{},{},{}", client.addr, client.port, server.addr, server.port);
        let swapped = format!("{},{},{},{}", server.addr, server.port, client.addr, client.port);
        let names = "file,first_frame,client_addr,client_port,server_addr,server_port,start_ns,\
                     duration_ns,label";
        let all = [
            format!("a,{},,,,,,,frame", FrameId::of(flow.first_frame).number()),
            format!("b,99,{ends},{start},0,other frame"),
            format!(",,{ends},{},5,timed", start - 5),
            format!(",,{swapped},,,ends"),
            "a,,,,,,,,file".to_owned(),
        ];
        let without = |n: usize| rows(&format!("{names}\n{}", all[n..].join("\n"))).unwrap();
        assert_eq!(label(&without(0), "a", &flow).as_deref(), Some("frame"));
        assert_eq!(label(&without(1), "a", &flow).as_deref(), Some("timed"));
        assert_eq!(label(&without(3), "a", &flow).as_deref(), Some("ends"));
        assert_eq!(label(&without(4), "a", &flow).as_deref(), Some("file"));
        assert_eq!(label(&without(4), "b", &flow), None);
        let late = format!("{names}\n,,{ends},{},5,timed", start + 1);
        assert_eq!(label(&rows(&late).unwrap(), "a", &flow), None);
    }

    #[test]
    fn rows_that_no_flow_took_and_repeated_rows_are_said() {
        let labels = Labels::Rows(Box::new(rows("file,label\na,x\nb,x\na,x\n").unwrap()));
        let flow = tokenizer::field::doc::worked_flow();
        labels.flow(&labels.file(Path::new("nowhere"), "b"), &flow);
        let said = labels.remarks().join("\n");
        assert!(said.contains("1 row about no flow that is kept, the first in line 2"), "{said}");
        assert!(said.contains("1 row that repeat an earlier one, the first in line 4"), "{said}");
    }

    #[test]
    fn a_bad_line_is_named() {
        let check = |text: &str, expected: &str| {
            let error = format!("{:#}", rows(text).unwrap_err());
            assert!(error.ends_with(expected), "{error}");
        };
        check("file,name\n", "line 1: expected a column 'label', found 'file,name'");
        check(
            "label\nx\n",
            "line 2: expected a file, or the address and port of an end, found none",
        );
        check(
            "file,label\na,x\na,y\n",
            "line 3: expected 'x', which line 2 says of these flows, found 'y'",
        );
        check(
            "file,first_frame,label\na,-1,x\n",
            "line 2: column first_frame: invalid digit found in string",
        );
    }

    #[test]
    fn a_class_is_a_folder_or_a_name() {
        let check = |from: LabelFrom, path: &str, below: &str, expected: &str| {
            assert_eq!(from.label(Path::new(path), below).as_deref(), Some(expected));
        };
        check(LabelFrom::Folder, "in/ssh/1/x.pcap", "ssh/1/x.pcap", "ssh");
        check(LabelFrom::Name, "in/ssh/scan.pcap.gz", "ssh/scan.pcap.gz", "scan");
        let scratch = Scratch::new();
        let path = scratch.write("x.pcap", b"");
        let folder = scratch.path("").canonicalize().unwrap();
        let name = folder.file_name().unwrap().to_string_lossy();
        check(LabelFrom::Folder, &path.display().to_string(), "x.pcap", &name);
    }
}
