//! Wireshark's TCP analysis, by tshark.

use std::process::Command;

use anyhow::Context;
use fidelity::VerdictCounts;
use flowtrack::Flow;

use super::capture::{self, PayloadFill};
use super::stdout_of;

/// Name of the program.
pub(super) const PROGRAM: &str = "tshark";

/// Verdicts, which are fields `tcp.analysis.*`; `flags` is set with any of the others.
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

/// Runs tshark on the flows and returns its verdicts, which are per packet.
pub(super) fn verdicts(flows: &[&Flow]) -> anyhow::Result<VerdictCounts> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let path = folder.path().join("flows.pcap");
    capture::write(&path, flows, PayloadFill::Omitted)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-r").arg(&path).args([
        "-n",
        "-o",
        "tcp.check_checksum:FALSE",
        "-o",
        "tcp.analyze_sequence_numbers:TRUE",
    ]);
    // The capture has no payload, so no packet may be dissected as an application's protocol.
    command.args(["-d", "tcp.port==0-65535,data", "-T", "fields", "-e", "tcp.stream"]);
    VERDICTS.iter().for_each(|verdict| {
        command.arg("-e").arg(format!("tcp.analysis.{verdict}"));
    });
    Ok(count_verdicts(&stdout_of(&mut command)?, flows))
}

/// Counts the verdicts in tshark's lines, one for each packet: the number of its stream, and a
/// column for each verdict.
fn count_verdicts(lines: &str, flows: &[&Flow]) -> VerdictCounts {
    let mut counts = VerdictCounts {
        units: flows.iter().map(|f| f.packets.len() as u32).collect(),
        ..VerdictCounts::default()
    };
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
            counts.add(verdict, stream);
        }
    }
    counts
}
