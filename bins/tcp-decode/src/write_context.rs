//! State that both ways of writing share: one capture, or one per flow.

use std::net::IpAddr;

use arrowio::FlowRow;
use atomic_output::AtomicFolder;
use clikit::{Console, SideOutput};
use flowtrack::Flow;
use tcpwire::CaptureFormat;
use tokenizer::field::FlowHeader;

use crate::args::Args;
use crate::frame::PayloadFramer;
use crate::labels::{Label, LabelWriter, PacketLabelWriter};
use crate::pending::{PendingDecoder, PendingFlow};
use crate::reject_reason::RejectReason;
use crate::reports::Reports;
use crate::segment::{self, ETHERNET_MTU};
use crate::summary::Summary;

/// Decoder, framer, tables and counts of a run.
pub(crate) struct WriteContext<'a> {
    /// Encoder of packets as Ethernet frames.
    pub(crate) framer: PayloadFramer,
    /// Label file, if it is wanted.
    pub(crate) labels: Option<LabelWriter>,
    /// Packet label file, if it is wanted.
    pub(crate) packet_labels: Option<PacketLabelWriter>,
    /// Decoder of rows, with the buffers that it reuses.
    pub(crate) decoder: PendingDecoder,
    /// Counts for the reports and the summary.
    pub(crate) reports: Reports,
    /// Summary, as far as the run has come.
    pub(crate) summary: Summary,
    /// Console that messages and progress go to.
    pub(crate) console: &'a Console,
    /// Longest packet to write, from its IP header on, in octets.
    mtu: Option<u32>,
}

/// Outputs next to the captures, complete and on the disk but not yet under their names.
#[derive(Default)]
pub(crate) struct FinishedTables {
    labels: Option<SideOutput>,
    packet_labels: Option<SideOutput>,
    reports: Option<AtomicFolder>,
}

impl FinishedTables {
    /// Gives the label files their names.
    pub(crate) fn commit_labels(&mut self) -> anyhow::Result<()> {
        self.labels.take().map_or(Ok(()), SideOutput::commit)?;
        self.packet_labels.take().map_or(Ok(()), SideOutput::commit)
    }

    /// Gives the folder of reports its name.
    pub(crate) fn commit_reports(&mut self) -> anyhow::Result<()> {
        Ok(self.reports.take().map_or(Ok(()), AtomicFolder::commit)?)
    }
}

impl<'a> WriteContext<'a> {
    /// Creates the state of a run at its begin.
    pub(crate) fn new(args: &Args, labels: Option<LabelWriter>, console: &'a Console) -> Self {
        WriteContext {
            framer: PayloadFramer::new(&args.frame, args.payload, args.identity.seed),
            labels,
            packet_labels: None,
            decoder: PendingDecoder::default(),
            reports: Reports::default(),
            summary: Summary::default(),
            console,
            mtu: args.mtu,
        }
    }

    /// Completes the label file and the reports. This comes before the captures appear: if there
    /// is no room for a table, no output appears at all.
    pub(crate) fn finish_tables(&mut self, args: &Args) -> anyhow::Result<FinishedTables> {
        let mut labels = self.labels.take().map(LabelWriter::finish).transpose()?;
        labels.as_mut().map_or(Ok(()), SideOutput::flush_and_sync)?;
        let packets = self.packet_labels.take().map(PacketLabelWriter::finish);
        let mut packet_labels = packets.transpose()?;
        packet_labels.as_mut().map_or(Ok(()), SideOutput::flush_and_sync)?;
        let reports = args.reports.as_deref();
        let reports = reports.map(|folder| self.reports.write(folder, args.force)).transpose()?;
        Ok(FinishedTables { labels, packet_labels, reports })
    }

    /// Counts a flow that is left out, and prints the reason. `row` is `None` if it could not be
    /// read.
    pub(crate) fn leave_out(&mut self, row: Option<&FlowRow>, reason: &RejectReason) {
        let class = row.and_then(|row| row.summary.as_ref()).map(|summary| summary.class.as_str());
        self.reports.count_left_out(class, reason);
        self.console.left_out(&reason.message);
    }

    /// Like [`leave_out`](WriteContext::leave_out), with the name of the flow in the message.
    pub(crate) fn leave_out_named(&mut self, row: &FlowRow, mut reason: RejectReason) {
        reason.message = format!("flow ({}): {}", flow_name(row), reason.message);
        self.leave_out(Some(row), &reason);
    }

    /// Counts the rest of a file that cannot be read, and prints the reason.
    pub(crate) fn leave_out_rest(&mut self, reason: &RejectReason) {
        self.reports.count_failure(reason);
        self.console.left_out(&reason.message);
    }

    /// Returns the packets and the header of a flow, or `None` if it had to be left out.
    pub(crate) fn decode(
        &mut self,
        pending: &mut PendingFlow,
        format: CaptureFormat,
    ) -> Option<(Flow, FlowHeader)> {
        // The header first: a `word16` row keeps the packets that its header is read from.
        let header = self.decoder.header(pending);
        let decoded = header.and_then(|header| Ok((header, self.decoder.decode(pending)?)));
        let (header, (mut flow, synthesized)) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                self.leave_out_named(&pending.row, RejectReason::from(&error));
                return None;
            }
        };
        if let Some(reason) = check_writable(&flow, format) {
            self.leave_out_named(&pending.row, reason);
            return None;
        }
        round_times(&mut flow, format);
        self.summary.split_packets += self.mtu.map_or(0, |mtu| segment::split(&mut flow, mtu));
        self.summary.packets_over_1500 += segment::count_longer(&flow, ETHERNET_MTU);
        self.summary.repaired_packets += synthesized.repaired;
        self.summary.packets_without_times += synthesized.packets;
        self.summary.payload_octets += self.framer.payload_octets(&flow);
        self.summary.tokens += pending.row.tokens.len() as u64;
        Some((flow, header))
    }

    /// Counts a flow whose first packet is about to be written, and writes its label.
    pub(crate) fn begin_flow(
        &mut self,
        file: &str,
        first_frame: u64,
        flow: &Flow,
        label: &Label,
    ) -> anyhow::Result<()> {
        self.summary.flows_written += 1;
        self.reports.count_written(&label.class, flow.packets.len() as u64);
        match &mut self.labels {
            Some(labels) => {
                labels.write(self.summary.flows_written, file, first_frame, flow, label)
            }
            None => Ok(()),
        }
    }
}

/// Returns the name of a flow for messages: its capture and first frame, or else its endpoints.
fn flow_name(row: &FlowRow) -> String {
    match &row.summary {
        Some(summary) if summary.first_frame > 0 => {
            format!("{}, frame {}", summary.source, summary.first_frame)
        }
        _ => {
            let shown = |addr: Option<IpAddr>| addr.map_or("?".into(), |a| a.to_string());
            let identity = &row.identity;
            let port = identity.client_port.unwrap_or(0);
            format!(
                "{} port {port} to {}",
                shown(identity.client.addr),
                shown(identity.server.addr)
            )
        }
    }
}

/// Rounds the times of a flow down to the unit of the format, so that labels say them as the
/// capture does.
fn round_times(flow: &mut Flow, format: CaptureFormat) {
    let unit_ns = format.unit().ns();
    for packet in &mut flow.packets {
        packet.time_ns -= packet.time_ns.rem_euclid(unit_ns);
    }
}

/// Returns a reason if a capture of this format cannot hold the flow.
fn check_writable(flow: &Flow, format: CaptureFormat) -> Option<RejectReason> {
    if flow.packets.is_empty() {
        return Some(RejectReason::new("packets", "none", "expected packets, found none"));
    }
    let (first, last) = format.times();
    let packet = flow.packets.iter().find(|p| p.time_ns < first || p.time_ns > last)?;
    let message = format!("time: expected {first} to {last} ns, found {}", packet.time_ns);
    Some(RejectReason::new("time", "beyond what the format can say", message))
}
