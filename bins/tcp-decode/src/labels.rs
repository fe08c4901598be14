//! The label file: a line of CSV (RFC 4180) per flow.

use std::io::{BufWriter, Stdout, Write};
use std::path::Path;

use anyhow::Context;
use arrowio::FlowSummary;
use atomic_output::AtomicFile;
use clikit::{Console, is_dash};
use flowtrack::Flow;
use tokenizer::field::{CloseKind, FlowHeader};

use crate::reports::quoted;

const HEAD: &str = "flow,file,first_frame,packets,client_addr,client_port,server_addr,server_port,start_ns,duration_ns,\
                    class,close,source,source_frame\n";

/// What is known of a flow beside its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) class: String,
    pub(crate) close: String,
    pub(crate) source: String,
    pub(crate) source_frame: u64,
}

impl Label {
    /// From the dataset's columns, and where they are empty from the tokens.
    pub(crate) fn new(summary: Option<FlowSummary>, header: &FlowHeader) -> Label {
        let summary = summary.unwrap_or_default();
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let (class, close) = match (header.class.close, header.class.has_handshake) {
            (CloseKind::Reset, true) => ("reset", "rst"),
            (CloseKind::Reset, false) => ("ended", "rst"),
            (CloseKind::Graceful, true) => ("graceful", "fin"),
            (CloseKind::Graceful, false) => ("ended", "fin"),
            (CloseKind::Open, true) => ("started", "open"),
            (CloseKind::Open, false) => ("partial", "open"),
        };
        Label {
            class: or(summary.class, class),
            close: or(summary.close, close),
            source: summary.source,
            source_frame: summary.first_frame,
        }
    }
}

/// Writes the label file.
pub(crate) struct Labels {
    to: Place,
    shown: String,
}

enum Place {
    Stdout(BufWriter<Stdout>),
    File(AtomicFile),
}

impl Labels {
    /// `-` is stdout.
    pub(crate) fn create(path: &Path, console: &Console) -> anyhow::Result<Labels> {
        let to = if is_dash(path) {
            Place::Stdout(console.stdout())
        } else {
            Place::File(AtomicFile::create(path)?)
        };
        let mut labels = Labels { to, shown: path.display().to_string() };
        labels.put(HEAD)?;
        Ok(labels)
    }

    /// `number` counts flows from 1, `first_frame` frames in `file` from 1.
    pub(crate) fn write(
        &mut self,
        number: u64,
        file: &str,
        first_frame: u64,
        flow: &Flow,
        label: &Label,
    ) -> anyhow::Result<()> {
        let [start, end] =
            [flow.packets.first(), flow.packets.last()].map(|p| p.map_or(0, |p| p.time_ns));
        let duration = end.saturating_sub(start);
        let Flow { client, server, .. } = flow;
        self.put(&format!(
            "{number},{},{first_frame},{},{},{},{},{},{start},{duration},{},{},{},{}\n",
            quoted(file),
            flow.packets.len(),
            client.addr,
            client.port,
            server.addr,
            server.port,
            quoted(&label.class),
            quoted(&label.close),
            quoted(&label.source),
            if label.source_frame == 0 { String::new() } else { label.source_frame.to_string() },
        ))
    }

    /// Writes out what is buffered, not yet under its name.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        match &mut self.to {
            Place::Stdout(to) => to.flush().context("standard output"),
            Place::File(to) => Ok(to.flush_and_sync()?),
        }
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self.to {
            Place::Stdout(mut to) => to.flush().context("standard output"),
            Place::File(to) => Ok(to.commit()?),
        }
    }

    fn put(&mut self, text: &str) -> anyhow::Result<()> {
        match &mut self.to {
            Place::Stdout(to) => to.write_all(text.as_bytes()).context("standard output"),
            Place::File(to) => to.write_all(text.as_bytes()).with_context(|| self.shown.clone()),
        }
    }
}
