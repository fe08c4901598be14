//! The label file: a line of CSV (RFC 4180) per flow.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use arrowio::FlowSummary;
use clikit::AtomicFile;
use flowtrack::Flow;
use tokenizer::field::{Close, FlowHeader};

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
        let (class, close) = match (header.close, header.opened) {
            (Close::Reset, true) => ("reset", "rst"),
            (Close::Reset, false) => ("ended", "rst"),
            (Close::Graceful, true) => ("graceful", "fin"),
            (Close::Graceful, false) => ("ended", "fin"),
            (Close::Open, true) => ("started", "open"),
            (Close::Open, false) => ("partial", "open"),
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
    to: AtomicFile,
    shown: String,
}

impl Labels {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Labels> {
        let mut labels = Labels { to: AtomicFile::create(path)?, shown: path.display().to_string() };
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
        let [start, end] = [flow.packets.first(), flow.packets.last()].map(|p| p.map_or(0, |p| p.time_ns));
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

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.to.commit()
    }

    fn put(&mut self, text: &str) -> anyhow::Result<()> {
        self.to.write_all(text.as_bytes()).with_context(|| self.shown.clone())
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a b.pcap"), "a b.pcap");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
    }
}
