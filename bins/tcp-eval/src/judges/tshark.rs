//! Wireshark's TCP analysis.

use std::process::Command;

use anyhow::Context;
use fidelity::Said;
use flowtrack::Flow;

use super::capture::{self, Filling};
use super::output;

/// The program.
pub(super) const PROGRAM: &str = "tshark";

/// `tcp.analysis.` and each of these; `flags` is any of them.
const VERDICTS: [&str; 16] = [
    "flags",
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "ack_lost_segment",
    "duplicate_ack",
    "keep_alive",
    "keep_alive_ack",
    "window_update",
    "window_full",
    "zero_window",
    "zero_window_probe",
    "zero_window_probe_ack",
    "reused_ports",
];

/// What it says of each packet.
pub(super) fn said(flows: &[&Flow]) -> anyhow::Result<Said> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let path = folder.path().join("flows.pcap");
    capture::write(&path, flows, Filling::Omitted)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-r").arg(&path).args([
        "-n",
        "-o",
        "tcp.check_checksum:FALSE",
        "-o",
        "tcp.analyze_sequence_numbers:TRUE",
    ]);
    // Payload is not there: nothing is an application's protocol.
    command.args(["-d", "tcp.port==0-65535,data", "-T", "fields", "-e", "tcp.stream"]);
    VERDICTS.iter().for_each(|verdict| {
        command.arg("-e").arg(format!("tcp.analysis.{verdict}"));
    });
    Ok(read(&output(&mut command)?, flows))
}

/// A line for each packet: the number of its stream, and a column for each verdict.
fn read(lines: &str, flows: &[&Flow]) -> Said {
    let mut said =
        Said { of: flows.iter().map(|f| f.packets.len() as u32).collect(), ..Said::default() };
    for line in lines.lines() {
        let mut columns = line.split('\t');
        let Some(stream) = columns
            .next()
            .and_then(|s| s.parse().ok())
            .filter(|&s: &u32| (s as usize) < flows.len())
        else {
            continue;
        };
        for (verdict, _) in VERDICTS.iter().zip(columns).filter(|(_, value)| !value.is_empty()) {
            said.count(verdict, stream);
        }
    }
    said
}
