//! Summary of a run, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use clikit::text::{Rows, count, octets, percent};
use serde::Serialize;

use crate::output::CaptureSize;

/// Counts of a run. The names of the fields are the keys of `--json`.
#[derive(Serialize, Clone, PartialEq, Debug, Default)]
pub(crate) struct Summary {
    /// Rows of the dataset, readable or not.
    pub(crate) flows_read: u64,
    /// Flows in the captures.
    pub(crate) flows_written: u64,
    /// Packets of the flows that were written.
    pub(crate) packets: u64,
    /// Frames of the capture that the flows are mixed into.
    pub(crate) frames_of_background: u64,
    /// Packets whose times are made up, since the `word16` code has none.
    pub(crate) packets_without_times: u64,
    /// Packets of the `word16` code whose options or length had to be repaired.
    pub(crate) repaired_packets: u64,
    /// Packets that `--mtu` split into several.
    pub(crate) split_packets: u64,
    /// Packets of more than 1,500 octets from the IP header on, which Ethernet's usual MTU is.
    pub(crate) packets_over_1500: u64,
    /// Flows with times finer than microseconds, for which the capture counts nanoseconds.
    pub(crate) flows_in_nanoseconds: u64,
    /// Tokens of the flows that were written.
    pub(crate) tokens: u64,
    /// Octets of the captures, before compression.
    pub(crate) octets: u64,
    /// Octets of payload in the captures.
    pub(crate) payload_octets: u64,
    /// Octets that the capture files take on the disk, 0 on stdout.
    pub(crate) octets_on_disk: u64,
    /// Number of capture files.
    pub(crate) files: u64,
    /// Flows that were written, by class.
    pub(crate) classes: BTreeMap<String, u64>,
    /// Quantiles of the packets per flow: minimum, median, 90 %, 99 %, maximum.
    pub(crate) packets_per_flow: [u64; 5],
    /// Flows that were left out and files whose rest is lost, by field and reason.
    pub(crate) left_out: BTreeMap<String, u64>,
    /// Wall-clock time of the run, in seconds.
    pub(crate) seconds: f64,
}

impl Summary {
    /// Counts a capture file.
    pub(crate) fn count_file(&mut self, size: CaptureSize) {
        self.octets += size.octets;
        self.octets_on_disk += size.on_disk;
        self.files += 1;
    }

    /// Returns the number of flows left out and files lost.
    fn left_out_count(&self) -> u64 {
        self.left_out.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::default();
        rows.push("flows read", count(self.flows_read));
        rows.push("flows written", count(self.flows_written));
        for (class, flows) in &self.classes {
            rows.push(
                format!("  {class}"),
                format!("{} ({})", count(*flows), percent(*flows, self.flows_written)),
            );
        }
        rows.push("left out", count(self.left_out_count()));
        for (reason, times) in &self.left_out {
            rows.push(format!("  {reason}"), count(*times));
        }
        rows.push("packets", count(self.packets));
        for (what, packets) in [
            ("times made up", self.packets_without_times),
            ("headers mended", self.repaired_packets),
            ("split by --mtu", self.split_packets),
            ("too long for tcpreplay at MTU 1500", self.packets_over_1500),
        ] {
            if packets > 0 {
                rows.push(format!("  {what}"), count(packets));
            }
        }
        if self.frames_of_background > 0 {
            rows.push("frames of --into", count(self.frames_of_background));
        }
        let [least, median, q90, q99, most] = self.packets_per_flow.map(count);
        rows.push(
            "  per flow (least, median, 90 %, 99 %, most)",
            format!("{least}, {median}, {q90}, {q99}, {most}"),
        );
        rows.push(
            "tokens per packet",
            format!("{:.2}", self.tokens as f64 / self.packets.max(1) as f64),
        );
        rows.push("files", format!("{} ({})", count(self.files), octets(self.octets)));
        if self.octets_on_disk > 0 && self.octets_on_disk != self.octets {
            rows.push("  compressed", octets(self.octets_on_disk));
        }
        if self.payload_octets > 0 {
            rows.push(
                "  of it payload",
                format!("{} (--payload none leaves it out)", octets(self.payload_octets)),
            );
        }
        if self.flows_in_nanoseconds > 0 {
            rows.push(
                "times",
                format!(
                    "nanoseconds, as {} of the flows have (--resolution us rounds them)",
                    count(self.flows_in_nanoseconds)
                ),
            );
        }
        let rate = (self.packets as f64 / self.seconds.max(1e-9)) as u64;
        rows.push("time", format!("{:.2} s ({} packets/s)", self.seconds, count(rate)));
        rows.fmt(f)
    }
}
