//! Captures or datasets as whole sessions.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use arrowio::{CodecId, DatasetReader, Tokens};
use clikit::{Console, InputFile, Inputs, Unit};
use flowtrack::{Class, Flow, Tracker, TrackerOptions};
use tcpwire::{CaptureReader, Dissector};
use tokenizer::{TokenCode as _, field};

/// Flows of one side.
#[derive(Default)]
pub(crate) struct Side {
    /// Whole sessions.
    pub(crate) flows: Vec<Flow>,
    /// Conversations that are no whole sessions.
    pub(crate) not_whole: u64,
    /// Whole sessions without what is drawn for each flow: client port, initial numbers.
    pub(crate) nameless: u64,
}

impl Side {
    fn take(&mut self, flow: Flow, class: Class) {
        if matches!(class, Class::Graceful | Class::Reset) {
            self.flows.push(flow);
        } else {
            self.not_whole += 1;
        }
    }
}

/// Reads one side.
///
/// # Errors
/// Where nothing can be read of it. What can not be read in part is left out and named.
pub(crate) fn read(path: &Path, console: &Console) -> anyhow::Result<Side> {
    let inputs = Inputs::find(path, |p| arrowio::is_dataset_name(p) || is_capture(p))?;
    let total = inputs.total_size();
    let Inputs::Files { files, unreadable } = inputs else {
        bail!("expected a file or a folder, found -")
    };
    unreadable.iter().for_each(|line| console.left_out(line));
    if files.is_empty() {
        bail!("{}: expected captures or a dataset, found none", path.display());
    }
    let progress = console.progress(&format!("reading {}", path.display()), total, Unit::Octets);
    let mut side = Side::default();
    for file in &files {
        if arrowio::is_dataset_name(&file.path) {
            dataset(&file.path, &mut side, console)?;
        } else {
            capture(file, &mut side, console)?;
        }
        progress.inc(file.size);
    }
    progress.finish();
    Ok(side)
}

/// Whether a file begins as captures do, compressed or not.
fn is_capture(path: &Path) -> bool {
    let mut head = [0; 24];
    let read = |mut from: Box<dyn Read>, head: &mut [u8]| from.read(head).unwrap_or(0);
    let Ok(file) = File::open(path) else { return false };
    let n = read(Box::new(file), &mut head);
    if head[..n].starts_with(&[0x1f, 0x8b]) || head[..n].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return true;
    }
    tcpwire::is_capture_magic(&head[..n])
}

fn dataset(path: &Path, side: &mut Side, console: &Console) -> anyhow::Result<()> {
    let code = CodecId { name: field::NAME, version: field::VERSION };
    let mut decoder = field::Field::default();
    for (index, row) in DatasetReader::open(path, &[code])?.enumerate() {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                console.left_out(error);
                continue;
            }
        };
        let Tokens::U16(tokens) = &row.tokens else {
            bail!("{}: expected field tokens", path.display())
        };
        match decode(&mut decoder, tokens, &row.identity) {
            Ok(flow) => match flow.verdict() {
                Some((verdict, _)) => {
                    side.nameless += u64::from(row.identity.client_port.is_none());
                    side.take(flow, verdict.class);
                }
                None => side.not_whole += 1,
            },
            Err(error) => {
                console.left_out(format!("{}: row {index} (from 0): {error}", path.display()))
            }
        }
    }
    Ok(())
}

/// The flow, between addresses of the documentation's where it has none.
fn decode(
    decoder: &mut field::Field,
    tokens: &[u16],
    identity: &tokenizer::FlowIdentity,
) -> Result<Flow, tokenizer::DecodeError> {
    let v6 = field::header(tokens)?.ip_version == 6;
    let mut identity = *identity;
    let nobody = |n: u8| -> std::net::IpAddr {
        match v6 {
            true => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
            false => std::net::Ipv4Addr::new(192, 0, 2, n).into(),
        }
    };
    identity.client.addr = identity.client.addr.or(Some(nobody(1)));
    identity.server.addr = identity.server.addr.or(Some(nobody(2)));
    identity.client_port = identity.client_port.or(Some(49_152));
    let mut flow = Flow::new(nobody(1), nobody(2));
    decoder.decode(tokens, &identity, &mut flow)?;
    Ok(flow)
}

fn capture(file: &InputFile, side: &mut Side, console: &Console) -> anyhow::Result<()> {
    let named = || file.path.display().to_string();
    let input = BufReader::with_capacity(1 << 20, File::open(&file.path).with_context(named)?);
    let mut reader = match CaptureReader::new(input) {
        Ok(reader) => reader,
        Err(damage) => {
            console.left_out(format!("{}: {damage}", file.path.display()));
            return Ok(());
        }
    };
    let mut dissector = Dissector::default();
    let mut tracker = Tracker::new(TrackerOptions::default());
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if let Ok(segment) = dissector.dissect(&frame) {
                    tracker.push(frame.time_ns, frame.number, &segment);
                }
            }
            Ok(None) => break,
            Err(damage) => {
                console.left_out(format!("{}: {damage}", file.path.display()));
                break;
            }
        }
    }
    tracker.finish();
    for ended in tracker.drain_finished() {
        match ended.flow {
            Some(flow) => side.take(flow, ended.verdict.class),
            None => side.not_whole += 1,
        }
    }
    Ok(())
}
