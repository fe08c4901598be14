//! Label file: CSV (RFC 4180) with one line per flow.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use arrowio::FlowSummary;
use atomic_output::FileKind;
use clikit::{Console, SideOutput};
use flowtrack::Flow;
use serde::Serialize;
use tokenizer::field::{CloseKind, FlowHeader};

/// Properties of a flow that its packets do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Name of the flow's class, such as `graceful`.
    pub(crate) class: String,
    /// Name of the flow's close: `fin`, `rst` or `open`.
    pub(crate) close: String,
    /// Name of the capture that the flow comes from, empty if it was generated.
    pub(crate) source: String,
    /// Number of the flow's first frame in that capture, from 1; 0 if it was generated.
    pub(crate) source_frame: u64,
    /// Class that a person gave the flow, if any.
    pub(crate) label: Option<String>,
    /// Unit that a split keeps together, if any.
    pub(crate) group: Option<String>,
    /// Number of the flow in the captures, from 1; 0 until its first packet is written.
    pub(crate) number: u64,
}

impl Label {
    /// Creates the label from the dataset's columns; the header fills in class and close if the
    /// columns are empty.
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
            label: summary.label,
            group: summary.group,
            number: 0,
        }
    }
}

/// Names of the columns, in the order of [`LabelRow`]'s fields.
const HEADER: [&str; 16] = [
    "flow",
    "file",
    "first_frame",
    "packets",
    "client_addr",
    "client_port",
    "server_addr",
    "server_port",
    "start_ns",
    "duration_ns",
    "class",
    "close",
    "source",
    "source_frame",
    "label",
    "group",
];

/// Files that a label file may replace.
pub(crate) const LABELS: FileKind = FileKind { name: "a label file", is_at: is_table };

/// Returns whether the file at a path begins with the names of the columns.
pub(crate) fn is_table(path: &Path) -> bool {
    clikit::first_line(path).is_some_and(|line| line == HEADER.join(","))
}

/// One line of the file. `docs/dataset.md` defines the columns.
#[derive(Serialize)]
struct LabelRow<'a> {
    flow: u64,
    file: &'a str,
    first_frame: u64,
    packets: usize,
    client_addr: IpAddr,
    client_port: u16,
    server_addr: IpAddr,
    server_port: u16,
    start_ns: i64,
    duration_ns: i64,
    class: &'a str,
    close: &'a str,
    source: &'a str,
    source_frame: Option<u64>,
    label: Option<&'a str>,
    group: Option<&'a str>,
}

/// Writer of the label file.
pub(crate) struct LabelWriter {
    writer: csv::Writer<SideOutput>,
    /// Name of the output for messages.
    name: String,
}

impl LabelWriter {
    /// Creates the file, or takes stdout if `path` is `-`, and writes the names of the columns.
    pub(crate) fn create(
        path: &Path,
        force: bool,
        console: &Console,
    ) -> anyhow::Result<LabelWriter> {
        let output = SideOutput::create(path, LABELS.on_existing(force), console)?;
        let name = output.name();
        // A file without flows has its header too: csv would write one with the first row alone.
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(output);
        writer.write_record(HEADER).map_err(io_error).with_context(|| name.clone())?;
        Ok(LabelWriter { writer, name })
    }

    /// Writes the line of a flow. `number` counts flows from 1, `first_frame` frames of `file` from
    /// 1.
    pub(crate) fn write(
        &mut self,
        number: u64,
        file: &str,
        first_frame: u64,
        flow: &Flow,
        label: &Label,
    ) -> anyhow::Result<()> {
        let (start_ns, end_ns) = flow.times_ns().unwrap_or_default();
        let row = LabelRow {
            flow: number,
            file,
            first_frame,
            packets: flow.packets.len(),
            client_addr: flow.client.addr,
            client_port: flow.client.port,
            server_addr: flow.server.addr,
            server_port: flow.server.port,
            start_ns,
            duration_ns: end_ns.saturating_sub(start_ns),
            class: &label.class,
            close: &label.close,
            source: &label.source,
            source_frame: (label.source_frame != 0).then_some(label.source_frame),
            label: label.label.as_deref(),
            group: label.group.as_deref(),
        };
        self.writer.serialize(row).map_err(io_error).with_context(|| self.name.clone())
    }

    /// Writes out the last lines and returns the output, for its commit.
    pub(crate) fn finish(self) -> anyhow::Result<SideOutput> {
        let LabelWriter { mut writer, name } = self;
        writer.flush().with_context(|| name.clone())?;
        writer.into_inner().map_err(|error| io::Error::other(error.to_string())).context(name)
    }
}

/// Names of the columns of a packet label file.
const PACKET_HEADER: [&str; 2] = ["frame", "flow"];

/// Files that a packet label file may replace.
pub(crate) const PACKET_LABELS: FileKind = FileKind {
    name: "a packet label file",
    is_at: |path| clikit::first_line(path).is_some_and(|line| line == PACKET_HEADER.join(",")),
};

/// Writer of the packet label file.
pub(crate) struct PacketLabelWriter {
    writer: csv::Writer<SideOutput>,
    /// Name of the output for messages.
    name: String,
}

impl PacketLabelWriter {
    /// Creates the file and writes the names of the columns.
    pub(crate) fn create(
        path: &Path,
        force: bool,
        console: &Console,
    ) -> anyhow::Result<PacketLabelWriter> {
        let output = SideOutput::create(path, PACKET_LABELS.on_existing(force), console)?;
        let name = output.name();
        let mut writer = csv::Writer::from_writer(output);
        writer.write_record(PACKET_HEADER).map_err(io_error).with_context(|| name.clone())?;
        Ok(PacketLabelWriter { writer, name })
    }

    /// Writes the line of a packet: its frame in the capture and its flow, both from 1.
    pub(crate) fn write(&mut self, frame: u64, flow: u64) -> anyhow::Result<()> {
        self.writer.serialize((frame, flow)).map_err(io_error).with_context(|| self.name.clone())
    }

    /// Writes out the last lines and returns the output, for its commit.
    pub(crate) fn finish(self) -> anyhow::Result<SideOutput> {
        let PacketLabelWriter { mut writer, name } = self;
        writer.flush().with_context(|| name.clone())?;
        writer.into_inner().map_err(|error| io::Error::other(error.to_string())).context(name)
    }
}

/// Returns the I/O error behind an error of csv, so that a closed pipe is recognised.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_every_field() {
        let row = LabelRow {
            flow: 1,
            file: "a,b.pcap",
            first_frame: 2,
            packets: 3,
            client_addr: "2001:db8::1".parse().unwrap(),
            client_port: 4,
            server_addr: "192.0.2.1".parse().unwrap(),
            server_port: 5,
            start_ns: -6,
            duration_ns: 7,
            class: "graceful",
            close: "say \"fin\"",
            source: "",
            source_frame: None,
            label: Some("ssh"),
            group: None,
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(row).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let expected = "1,\"a,b.pcap\",2,3,2001:db8::1,4,192.0.2.1,5,-6,7,graceful,\
                        \"say \"\"fin\"\"\",,,ssh,";
        assert_eq!(text, format!("{}\n{expected}\n", HEADER.join(",")));
    }
}
