//! Three reports about what was decoded: packets per flow, what was wrong by field, and how many
//! flows were valid.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use atomic_output::{AtomicFolder, OnExisting};
use serde_json::json;

use crate::fault::Fault;

/// Flows of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Validity {
    written: u64,
    left_out: u64,
}

/// Counts for the reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    packets_per_flow: BTreeMap<u64, u64>,
    failures: BTreeMap<(String, String), u64>,
    validity: BTreeMap<String, Validity>,
}

/// The class of a flow whose head could not be read.
const UNKNOWN: &str = "unknown";

impl Reports {
    /// Counts a flow that was written.
    pub(crate) fn written(&mut self, class: &str, packets: u64) {
        *self.packets_per_flow.entry(packets).or_default() += 1;
        self.of(class).written += 1;
    }

    /// Counts a flow that was left out; `None` where its class is not known.
    pub(crate) fn left_out(&mut self, class: Option<&str>, fault: &Fault) {
        self.of(class.filter(|c| !c.is_empty()).unwrap_or(UNKNOWN)).left_out += 1;
        self.failed(fault);
    }

    /// Counts something wrong that is no flow's.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        *self.failures.entry((fault.field.clone(), fault.reason.clone())).or_default() += 1;
    }

    fn of(&mut self, class: &str) -> &mut Validity {
        self.validity.entry(class.to_owned()).or_default()
    }

    /// Flows written by class.
    pub(crate) fn classes(&self) -> BTreeMap<String, u64> {
        let written = self.validity.iter().filter(|(_, flows)| flows.written > 0);
        written.map(|(class, flows)| (class.clone(), flows.written)).collect()
    }

    /// What was left out, by field and reason.
    pub(crate) fn failures(&self) -> BTreeMap<String, u64> {
        self.failures
            .iter()
            .map(|((field, reason), times)| (format!("{field}: {reason}"), *times))
            .collect()
    }

    /// Packets per flow: smallest, median, nine tenths, 99 hundredths, largest; zeros where there
    /// is nothing.
    pub(crate) fn quantiles(&self) -> [u64; 5] {
        let all: u64 = self.packets_per_flow.values().sum();
        [0, 50, 90, 99, 100].map(|q| {
            let rank = (all.saturating_sub(1) * q).div_ceil(100);
            let mut seen = 0;
            let at = self.packets_per_flow.iter().find(|(_, n)| {
                seen += **n;
                seen > rank
            });
            at.map_or(0, |(packets, _)| *packets)
        })
    }

    /// Writes the reports into a folder that is still to appear: a CSV file each, and one of JSON
    /// with all three.
    pub(crate) fn write(
        &self,
        folder: &Path,
        existing: OnExisting,
    ) -> anyhow::Result<AtomicFolder> {
        let out = AtomicFolder::create(folder, existing)?;
        let files = [
            ("packets-per-flow.csv", self.packets_csv()),
            ("failures.csv", self.failures_csv()),
            ("validity.csv", self.validity_csv()),
            ("reports.json", self.json()),
        ];
        for (name, text) in files {
            fs::write(out.path().join(name), text)
                .with_context(|| out.target().join(name).display().to_string())?;
        }
        out.sync()?;
        Ok(out)
    }

    fn packets_csv(&self) -> String {
        csv(
            "packets,flows",
            self.packets_per_flow.iter().map(|(packets, flows)| format!("{packets},{flows}")),
        )
    }

    fn failures_csv(&self) -> String {
        let failures = self.failures.iter();
        csv(
            "field,reason,times",
            failures.map(|((field, reason), times)| {
                format!("{},{},{times}", quoted(field), quoted(reason))
            }),
        )
    }

    fn validity_csv(&self) -> String {
        let validity = self.validity.iter();
        csv(
            "class,read,written,left_out",
            validity.map(|(class, Validity { written, left_out })| {
                format!("{},{},{written},{left_out}", quoted(class), written + left_out)
            }),
        )
    }

    fn json(&self) -> String {
        let packets = self
            .packets_per_flow
            .iter()
            .map(|(packets, flows)| json!({"packets": packets, "flows": flows}));
        let failures = self.failures.iter();
        let failures =
            failures.map(|((f, r), times)| json!({"field": f, "reason": r, "times": times}));
        let validity = self.validity.iter().map(|(class, Validity { written, left_out })| {
            json!({"class": class, "read": written + left_out, "written": written, "left_out": left_out})
        });
        let all = json!({
            "packets_per_flow": packets.collect::<Vec<_>>(),
            "failures": failures.collect::<Vec<_>>(),
            "validity": validity.collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }
}

fn csv(head: &str, lines: impl Iterator<Item = String>) -> String {
    std::iter::once(head.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

/// A field of CSV (RFC 4180).
pub(crate) fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_flows() {
        let mut reports = Reports::default();
        (1..=101).for_each(|n| reports.written("reset", n));
        assert_eq!(reports.quantiles(), [1, 51, 91, 100, 101]);
        assert_eq!(Reports::default().quantiles(), [0; 5]);
    }

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a b.pcap"), "a b.pcap");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
    }

    #[test]
    fn what_was_read_is_what_was_written_and_left_out() {
        let mut reports = Reports::default();
        reports.written("reset", 3);
        reports.left_out(Some("reset"), &Fault::new("a, b", "wrong", ""));
        reports.left_out(None, &Fault::new("time", "too late", ""));
        reports.failed(&Fault::new("time", "too late", ""));
        assert_eq!(reports.packets_csv(), "packets,flows\n3,1\n");
        assert_eq!(
            reports.failures_csv(),
            "field,reason,times\n\"a, b\",wrong,1\ntime,too late,2\n"
        );
        assert_eq!(
            reports.validity_csv(),
            "class,read,written,left_out\nreset,2,1,1\nunknown,1,0,1\n"
        );
        let json: serde_json::Value = serde_json::from_str(&reports.json()).unwrap();
        assert_eq!(
            json["validity"][0],
            json!({"class": "reset", "read": 2, "written": 1, "left_out": 1})
        );
    }
}
