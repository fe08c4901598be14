//! Summary of a run, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use arrowio::Written;
use clikit::text::{count, octets, percent};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::counts::EncodeCounts;
use crate::open_ends::OpenEnds;

/// Counts of everything that was read, kept and left out.
#[derive(Default, Debug)]
pub(crate) struct Summary {
    /// Captures that were read, damaged ones included.
    pub(crate) captures: u64,
    /// Captures that were read up to a damage.
    pub(crate) damaged: u64,
    /// Files that are named like captures and are none.
    pub(crate) not_captures: u64,
    /// Frames that may hold TCP and were not read, by capture and reason.
    pub(crate) losses: BTreeMap<String, BTreeMap<String, u64>>,
    /// Whether copies of packets were dropped.
    pub(crate) drops_copies: bool,
    /// Conversations that may go on in another capture.
    pub(crate) open_ends: OpenEnds,
    /// Sum of the counts of all captures.
    pub(crate) counts: EncodeCounts,
    /// Flows of the dataset without a label.
    pub(crate) unlabelled: u64,
    /// Size of the dataset.
    pub(crate) written: Written,
}

impl Summary {
    /// Creates the summary of a run with these arguments, with nothing read.
    pub(crate) fn new(args: &Args) -> Summary {
        Summary { drops_copies: args.dedup.is_some(), ..Summary::default() }
    }

    /// Returns the mean number of tokens per packet in the dataset.
    fn tokens_per_packet(&self) -> f64 {
        self.written.tokens as f64 / self.counts.kept_packets.max(1) as f64
    }

    /// Returns the number of frames without a segment, by the name of the reason.
    fn not_read(&self) -> BTreeMap<String, u64> {
        self.counts.not_read.iter().map(|(reason, n)| (reason.to_string(), *n)).collect()
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
        map.serialize_entry("frames_filtered", &c.filtered)?;
        map.serialize_entry("frames_not_read", &self.not_read())?;
        map.serialize_entry("frames_lost", &self.losses)?;
        map.serialize_entry("tcp_packets", &c.segments)?;
        map.serialize_entry("packets_twice", &c.copies)?;
        map.serialize_entry("packets_twice_share", &share(c.copies, c.segments))?;
        map.serialize_entry("packets_twice_dropped", &self.drops_copies)?;
        map.serialize_entry("conversations", &c.conversations)?;
        map.serialize_entry("classes", &c.classes)?;
        map.serialize_entry("strict", &c.strict)?;
        map.serialize_entry("flows_kept", &c.kept)?;
        map.serialize_entry("packets_kept", &c.kept_packets)?;
        map.serialize_entry("flows_without_label", &self.unlabelled)?;
        map.serialize_entry("flows_left_out", &c.left_out)?;
        map.serialize_entry("flows_kept_without", &c.stripped)?;
        map.serialize_entry("flows_ended_early", &c.ended_early)?;
        map.serialize_entry("flows_of_several_tags", &c.crossed)?;
        map.serialize_entry("flows_across_captures", &self.open_ends.continued())?;
        map.serialize_entry("late_packets", &c.packets_after_export)?;
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
        let damaged = if self.damaged > 0 {
            format!(", {} of them damaged", count(self.damaged))
        } else {
            String::new()
        };
        line(
            f,
            "read",
            self.captures,
            &format!("{} ({}){damaged}", plural(self.captures, "capture"), octets(c.octets)),
        )?;
        line(f, "", c.frames, &plural(c.frames, "frame"))?;
        if c.filtered > 0 {
            line(f, "", c.filtered, "  not taken: others than those of --filter")?;
        }
        for (what, n) in self.not_read() {
            line(f, "", n, &format!("  not taken: {what}"))?;
        }
        line(f, "", c.segments, &plural(c.segments, "TCP packet"))?;
        line(f, "", c.conversations, &plural(c.conversations, "flow"))?;
        for (class, n) in &c.classes {
            line(f, "", *n, &format!("  {class} ({})", percent(*n, c.conversations)))?;
        }
        line(
            f,
            "kept",
            c.kept,
            &format!("{} ({})", plural(c.kept, "flow"), percent(c.kept, c.conversations)),
        )?;
        line(
            f,
            "",
            c.kept_packets,
            &format!(
                "{} ({})",
                plural(c.kept_packets, "packet"),
                percent(c.kept_packets, c.segments)
            ),
        )?;
        for (what, n) in &c.stripped {
            line(f, "", *n, &format!("  {} without their {what}", plural(*n, "flow")))?;
        }
        line(f, "left out", c.conversations - c.kept, &plural(c.conversations - c.kept, "flow"))?;
        for (reason, n) in &c.left_out {
            line(f, "", *n, &format!("  {reason}"))?;
        }
        self.fmt_rare(f)?;
        line(
            f,
            "tokens",
            self.written.tokens,
            &format!("tokens, {:.2} a packet", self.tokens_per_packet()),
        )?;
        line(
            f,
            "written",
            self.written.files,
            &format!("{} ({})", plural(self.written.files, "file"), octets(self.written.octets)),
        )
    }
}

impl Summary {
    /// Prints the counts that are 0 in most runs.
    fn fmt_rare(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        for (cause, n) in &c.ended_early {
            line(f, "", *n, &format!("{} ended early: {cause}", plural(*n, "flow")))?;
        }
        if c.copies > 0 {
            let share = percent(c.copies, c.segments);
            let what = if self.drops_copies {
                format!("{} dropped: copies of another one", plural(c.copies, "packet"))
            } else {
                format!(
                    "{} twice in the capture ({share}): --dedup drops copies",
                    plural(c.copies, "packet")
                )
            };
            line(f, "", c.copies, &what)?;
        }
        for (tags, n) in &c.crossed {
            let flows = plural(*n, "flow");
            line(f, "", *n, &format!("{flows} under several tags at once: --separate {tags}"))?;
        }
        let continued = self.open_ends.continued();
        if continued > 0 {
            let flows = plural(continued, "flow");
            let what = format!("{flows} cut between captures: --merge reads them as one");
            line(f, "", continued, &what)?;
        }
        if c.packets_after_export > 0 {
            line(
                f,
                "",
                c.packets_after_export,
                &format!(
                    "{} that came after the flow was written",
                    plural(c.packets_after_export, "packet")
                ),
            )?;
        }
        if c.finer_times > 0 {
            line(
                f,
                "",
                c.finer_times,
                &format!(
                    "{} with times finer than nanoseconds, cut",
                    plural(c.finer_times, "frame")
                ),
            )?;
        }
        Ok(())
    }
}

/// Completes the sum of the summaries of several parts: quotients are those of the sums.
pub(crate) fn complete(sum: &mut Map<String, Value>) {
    for (key, part, whole) in [
        ("packets_twice_share", "packets_twice", "tcp_packets"),
        ("tokens_per_packet", "tokens", "packets_kept"),
    ] {
        let quotient = share(number(sum, part), number(sum, whole));
        sum.insert(key.to_owned(), quotient.into());
    }
}

/// Prints the sum of the summaries of several parts.
pub(crate) fn fmt_sum(sum: &Map<String, Value>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let n = |key: &str| number(sum, key);
    let (captures, flows, kept) = (n("captures"), n("conversations"), n("flows_kept"));
    let read = format!("{} ({})", plural(captures, "capture"), octets(n("octets_read")));
    line(f, "read", captures, &read)?;
    line(f, "", n("frames"), &plural(n("frames"), "frame"))?;
    line(f, "", n("tcp_packets"), &plural(n("tcp_packets"), "TCP packet"))?;
    line(f, "", flows, &plural(flows, "flow"))?;
    line(f, "kept", kept, &format!("{} ({})", plural(kept, "flow"), percent(kept, flows)))?;
    line(f, "", n("packets_kept"), &plural(n("packets_kept"), "packet"))?;
    let per_packet = share(n("tokens"), n("packets_kept"));
    line(f, "tokens", n("tokens"), &format!("tokens, {per_packet:.2} a packet"))?;
    let files = n("files_written");
    let written = format!("{} ({})", plural(files, "file"), octets(n("octets_written")));
    line(f, "written", files, &written)
}

/// Returns the number under a key of a summary; 0 if there is none.
fn number(sum: &Map<String, Value>, key: &str) -> u64 {
    sum.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Returns `n` as a share of `all`; 0 of nothing.
fn share(n: u64, all: u64) -> f64 {
    n as f64 / all.max(1) as f64
}

/// Prints one line: a heading, a number and its unit.
fn line(f: &mut fmt::Formatter<'_>, head: &str, n: u64, what: &str) -> fmt::Result {
    writeln!(f, "{head:<9}{:>13} {what}", count(n))
}

/// Returns the noun, in the plural unless `n` is 1.
fn plural(n: u64, noun: &str) -> String {
    if n == 1 { noun.to_owned() } else { format!("{noun}s") }
}
