//! What a run says at its end.

use std::collections::BTreeMap;
use std::fmt;

use arrowio::Written;
use clikit::text::{count, octets, percent};
use serde::Serialize;
use serde::ser::SerializeMap;

use crate::capture::Counts;

/// What was read, kept and left out.
#[derive(Default, Debug)]
pub(crate) struct Summary {
    pub(crate) captures: u64,
    pub(crate) damaged: u64,
    pub(crate) not_captures: u64,
    pub(crate) counts: Counts,
    pub(crate) written: Written,
}

impl Summary {
    fn tokens_per_packet(&self) -> f64 {
        self.written.tokens as f64 / self.counts.kept_packets.max(1) as f64
    }

    fn not_read(&self) -> BTreeMap<&'static str, u64> {
        self.counts.not_read.iter().map(|(skip, n)| (skip.name(), *n)).collect()
    }
}

impl Serialize for Summary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let c = &self.counts;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("captures", &self.captures)?;
        map.serialize_entry("captures_damaged", &self.damaged)?;
        map.serialize_entry("not_captures", &self.not_captures)?;
        map.serialize_entry("octets_read", &c.octets)?;
        map.serialize_entry("frames", &c.frames)?;
        map.serialize_entry("frames_not_read", &self.not_read())?;
        map.serialize_entry("tcp_packets", &c.segments)?;
        map.serialize_entry("conversations", &c.conversations)?;
        map.serialize_entry("classes", &c.classes)?;
        map.serialize_entry("strict", &c.strict)?;
        map.serialize_entry("flows_kept", &c.kept)?;
        map.serialize_entry("packets_kept", &c.kept_packets)?;
        map.serialize_entry("flows_left_out", &c.left_out)?;
        map.serialize_entry("flows_kept_without", &c.stripped)?;
        map.serialize_entry("flows_ended_early", &c.ended_early)?;
        map.serialize_entry("late_packets", &c.late_packets)?;
        map.serialize_entry("times_cut_to_nanoseconds", &c.finer_times)?;
        map.serialize_entry("tokens", &self.written.tokens)?;
        map.serialize_entry("tokens_per_packet", &self.tokens_per_packet())?;
        map.serialize_entry("files_written", &self.written.files)?;
        map.serialize_entry("octets_written", &self.written.octets)?;
        map.end()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        let damaged =
            if self.damaged > 0 { format!(", {} of them damaged", count(self.damaged)) } else { String::new() };
        line(f, "read", self.captures, &format!("captures ({}){damaged}", octets(c.octets)))?;
        line(f, "", c.frames, "frames")?;
        for (what, n) in self.not_read() {
            line(f, "", n, &format!("  not taken: {what}"))?;
        }
        line(f, "", c.segments, "TCP packets")?;
        line(f, "", c.conversations, "flows")?;
        for (class, n) in &c.classes {
            line(f, "", *n, &format!("  {class} ({})", percent(*n, c.conversations)))?;
        }
        line(f, "kept", c.kept, &format!("flows ({})", percent(c.kept, c.conversations)))?;
        line(f, "", c.kept_packets, &format!("packets ({})", percent(c.kept_packets, c.segments)))?;
        for (what, n) in &c.stripped {
            line(f, "", *n, &format!("  flows without their {what}"))?;
        }
        line(f, "left out", c.conversations - c.kept, "flows")?;
        for (reason, n) in &c.left_out {
            line(f, "", *n, &format!("  {reason}"))?;
        }
        self.rarities(f)?;
        line(f, "tokens", self.written.tokens, &format!("tokens, {:.2} a packet", self.tokens_per_packet()))?;
        line(f, "written", self.written.files, &format!("files ({})", octets(self.written.octets)))
    }
}

impl Summary {
    /// What most runs have none of.
    fn rarities(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        for (cause, n) in &c.ended_early {
            line(f, "", *n, &format!("flows ended early: {cause}"))?;
        }
        if c.late_packets > 0 {
            line(f, "", c.late_packets, "packets that came after their flow was written")?;
        }
        if c.finer_times > 0 {
            line(f, "", c.finer_times, "frames with times finer than nanoseconds, cut")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, head: &str, n: u64, what: &str) -> fmt::Result {
    writeln!(f, "{head:<9}{:>13} {what}", count(n))
}
