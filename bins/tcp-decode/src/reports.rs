//! Three reports about a run: packets per flow, failures by field, and flows written by class.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use atomic_output::{AtomicFolder, FileKind};
use serde::Serialize;

use crate::reject_reason::RejectReason;

/// Flows of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct ClassCounts {
    /// Flows in the captures.
    written: u64,
    /// Flows that were rejected.
    left_out: u64,
}

/// Counts of the reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Flows written by their number of packets.
    packets_per_flow: BTreeMap<u64, u64>,
    /// Rejections by field and reason.
    failures: BTreeMap<(String, String), u64>,
    /// Number of flows read and written, by class.
    classes: BTreeMap<String, ClassCounts>,
}

/// Class of a flow whose header could not be read.
const UNKNOWN_CLASS: &str = "unknown";

/// Line of `packets-per-flow.csv`: number of flows of one length.
#[derive(Serialize)]
struct PacketsRow {
    packets: u64,
    flows: u64,
}

/// Line of `failures.csv`: number of rejections for one reason.
#[derive(Serialize)]
struct FailureRow<'r> {
    field: &'r str,
    reason: &'r str,
    times: u64,
}

/// Line of `validity.csv`: flows of one class, written and left out.
#[derive(Serialize)]
struct ValidityRow<'r> {
    class: &'r str,
    read: u64,
    written: u64,
    left_out: u64,
}

/// Contents of `reports.json`: all tables in one object.
#[derive(Serialize)]
struct AllRows<'r> {
    packets_per_flow: Vec<PacketsRow>,
    failures: Vec<FailureRow<'r>>,
    validity: Vec<ValidityRow<'r>>,
}

/// Name and columns of a report.
type Table = (&'static str, &'static [&'static str]);

const PACKETS: Table = ("packets-per-flow.csv", &["packets", "flows"]);
const FAILURES: Table = ("failures.csv", &["field", "reason", "times"]);
const VALIDITY: Table = ("validity.csv", &["class", "read", "written", "left_out"]);

/// Name of the file that holds all tables.
const ALL: &str = "reports.json";

/// Files that a folder holds if reports may replace it.
pub(crate) const REPORT: FileKind = FileKind { name: "reports", is_at: is_report };

/// Returns whether the file at a path is one of the reports, by its name and its columns.
fn is_report(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    if name == ALL {
        let read = fs::read(path).unwrap_or_default();
        let tables: serde_json::Value = serde_json::from_slice(&read).unwrap_or_default();
        return ["failures", "packets_per_flow", "validity"].iter().all(|t| tables[t].is_array());
    }
    let table = [PACKETS, FAILURES, VALIDITY].into_iter().find(|(of, _)| name == *of);
    table.is_some_and(|(_, columns)| clikit::first_line(path) == Some(columns.join(",")))
}

impl Reports {
    /// Counts a flow that was written.
    pub(crate) fn count_written(&mut self, class: &str, packets: u64) {
        *self.packets_per_flow.entry(packets).or_default() += 1;
        self.class_mut(class).written += 1;
    }

    /// Counts a flow that was left out; `class` is `None` if it is not known.
    pub(crate) fn count_left_out(&mut self, class: Option<&str>, reason: &RejectReason) {
        self.class_mut(class.filter(|c| !c.is_empty()).unwrap_or(UNKNOWN_CLASS)).left_out += 1;
        self.count_failure(reason);
    }

    /// Counts a failure that does not belong to a flow, such as a damaged file.
    pub(crate) fn count_failure(&mut self, reason: &RejectReason) {
        *self.failures.entry((reason.field.clone(), reason.reason.clone())).or_default() += 1;
    }

    fn class_mut(&mut self, class: &str) -> &mut ClassCounts {
        self.classes.entry(class.to_owned()).or_default()
    }

    /// Returns the number of flows written, by class.
    pub(crate) fn written_by_class(&self) -> BTreeMap<String, u64> {
        let written = self.classes.iter().filter(|(_, flows)| flows.written > 0);
        written.map(|(class, flows)| (class.clone(), flows.written)).collect()
    }

    /// Returns the number of failures, by field and reason.
    pub(crate) fn failures(&self) -> BTreeMap<String, u64> {
        self.failures
            .iter()
            .map(|((field, reason), times)| (format!("{field}: {reason}"), *times))
            .collect()
    }

    /// Returns quantiles of the packets per flow: minimum, median, 90 %, 99 %, maximum. Zeros if no
    /// flow was written.
    pub(crate) fn quantiles(&self) -> [u64; 5] {
        let flows: u64 = self.packets_per_flow.values().sum();
        [0, 50, 90, 99, 100].map(|q| {
            let rank = (flows.saturating_sub(1) * q).div_ceil(100);
            let mut below = 0;
            let found = self.packets_per_flow.iter().find(|(_, n)| {
                below += **n;
                below > rank
            });
            found.map_or(0, |(packets, _)| *packets)
        })
    }

    /// Writes the reports into a folder that appears at its commit: a CSV file for each, and one of
    /// JSON with all three.
    pub(crate) fn write(&self, folder: &Path, force: bool) -> anyhow::Result<AtomicFolder> {
        let out = AtomicFolder::create(folder, REPORT.on_existing(force))?;
        let rows = self.rows();
        let files = [
            (PACKETS.0, to_csv(PACKETS.1, &rows.packets_per_flow)?),
            (FAILURES.0, to_csv(FAILURES.1, &rows.failures)?),
            (VALIDITY.0, to_csv(VALIDITY.1, &rows.validity)?),
            (ALL, to_json(&rows)?),
        ];
        for (name, octets) in files {
            fs::write(out.path().join(name), octets)
                .with_context(|| out.target().join(name).display().to_string())?;
        }
        out.sync()?;
        Ok(out)
    }

    fn rows(&self) -> AllRows<'_> {
        let packets = self.packets_per_flow.iter();
        let failures = self.failures.iter();
        let classes = self.classes.iter();
        AllRows {
            packets_per_flow: packets
                .map(|(&packets, &flows)| PacketsRow { packets, flows })
                .collect(),
            failures: failures
                .map(|((field, reason), &times)| FailureRow { field, reason, times })
                .collect(),
            validity: classes
                .map(|(class, &ClassCounts { written, left_out })| ValidityRow {
                    class,
                    read: written + left_out,
                    written,
                    left_out,
                })
                .collect(),
        }
    }
}

/// Writes a table as CSV. `header` names the columns, also of a table without rows.
fn to_csv(header: &[&str], rows: &[impl Serialize]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(header)?;
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(writer.into_inner()?)
}

/// Writes all tables as indented JSON. The keys are sorted, which a [`serde_json::Value`] does.
fn to_json(rows: &AllRows<'_>) -> anyhow::Result<Vec<u8>> {
    Ok(format!("{:#}\n", serde_json::to_value(rows)?).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_flows() {
        let mut reports = Reports::default();
        (1..=101).for_each(|n| reports.count_written("reset", n));
        assert_eq!(reports.quantiles(), [1, 51, 91, 100, 101]);
        assert_eq!(Reports::default().quantiles(), [0; 5]);
    }

    fn check_csv(header: &[&str], rows: &[impl Serialize], expected: &str) {
        assert_eq!(String::from_utf8(to_csv(header, rows).unwrap()).unwrap(), expected);
    }

    #[test]
    fn tables_without_rows_have_their_header() {
        check_csv(&["packets", "flows"], &[] as &[PacketsRow], "packets,flows\n");
    }

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        let row = |field, reason| FailureRow { field, reason, times: 1 };
        let rows = [row("a b.pcap", "a,b"), row("say \"x\"", "two\nlines"), row("", "#")];
        let expected = "f,r,t\na b.pcap,\"a,b\",1\n\"say \"\"x\"\"\",\"two\nlines\",1\n,#,1\n";
        check_csv(&["f", "r", "t"], &rows, expected);
    }

    #[test]
    fn what_was_read_is_what_was_written_and_left_out() {
        let mut reports = Reports::default();
        reports.count_written("reset", 3);
        reports.count_left_out(Some("reset"), &RejectReason::new("a, b", "wrong", ""));
        reports.count_left_out(None, &RejectReason::new("time", "too late", ""));
        reports.count_failure(&RejectReason::new("time", "too late", ""));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("reports");
        reports.write(&target, false).unwrap().commit().unwrap();
        let check = |name: &str, expected: &str| {
            assert_eq!(fs::read_to_string(target.join(name)).unwrap(), expected, "{name}");
        };
        check("packets-per-flow.csv", "packets,flows\n3,1\n");
        check("failures.csv", "field,reason,times\n\"a, b\",wrong,1\ntime,too late,2\n");
        check("validity.csv", "class,read,written,left_out\nreset,2,1,1\nunknown,1,0,1\n");
        let expected = r#"{
  "failures": [
    {
      "field": "a, b",
      "reason": "wrong",
      "times": 1
    },
    {
      "field": "time",
      "reason": "too late",
      "times": 2
    }
  ],
  "packets_per_flow": [
    {
      "flows": 1,
      "packets": 3
    }
  ],
  "validity": [
    {
      "class": "reset",
      "left_out": 1,
      "read": 2,
      "written": 1
    },
    {
      "class": "unknown",
      "left_out": 1,
      "read": 1,
      "written": 0
    }
  ]
}
"#;
        check("reports.json", expected);
    }
}
