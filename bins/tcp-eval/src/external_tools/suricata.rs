//! Suricata's stream engine: the final state of each session, and its events.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use fidelity::VerdictCounts;
use flowtrack::Flow;
use serde::Deserialize;

use super::capture::{self, PayloadFill};
use super::stdout_of;

/// Name of the program.
pub(super) const PROGRAM: &str = "suricata";

/// Paths of the rules that name stream events: of Debian's package, of Suricata's own installation.
const RULES: [&str; 2] =
    ["/etc/suricata/rules/stream-events.rules", "/usr/share/suricata/rules/stream-events.rules"];

/// Line of `eve.json`. Other keys are ignored.
#[derive(Deserialize)]
struct EveRecord {
    event_type: String,
    src_ip: Option<IpAddr>,
    dest_ip: Option<IpAddr>,
    tcp: Option<EveTcp>,
    alert: Option<EveAlert>,
}

/// TCP part of a `flow` record.
#[derive(Deserialize)]
struct EveTcp {
    state: Option<String>,
}

/// Alert part of an `alert` record.
#[derive(Deserialize)]
struct EveAlert {
    signature: String,
}

/// Runs Suricata on the flows and returns its verdicts, which are per flow.
pub(super) fn verdicts(flows: &[&Flow]) -> anyhow::Result<VerdictCounts> {
    let rules = RULES.iter().find(|path| Path::new(path).exists());
    let rules = rules.with_context(|| format!("expected {}, found none", RULES.join(" or ")))?;
    let flows = capture::small_enough(flows);
    ensure!(!flows.is_empty(), "expected flows of little payload, found none");
    let folder = tempfile::tempdir().context("temporary folder")?;
    let path = folder.path().join("flows.pcap");
    capture::write(&path, &flows, PayloadFill::Zeros)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-r").arg(&path).args(["-k", "none", "-S", rules, "-l"]).arg(folder.path());
    stdout_of(&mut command)?;
    let records = folder.path().join("eve.json");
    let lines = std::fs::read_to_string(&records).with_context(|| records.display().to_string())?;
    count_verdicts(&lines, flows.len())
}

/// Counts the final states and the alerts in the lines of `eve.json`, each once per flow.
fn count_verdicts(lines: &str, flows: usize) -> anyhow::Result<VerdictCounts> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for line in lines.lines() {
        let Ok(record) = serde_json::from_str::<EveRecord>(line) else { continue };
        let ends = [record.src_ip, record.dest_ip].into_iter().flatten();
        let Some(flow) =
            ends.filter_map(capture::flow_number).next().filter(|n| (*n as usize) < flows)
        else {
            continue;
        };
        match (record.event_type.as_str(), record.tcp, record.alert) {
            ("flow", Some(tcp), _) => {
                found.push((
                    flow,
                    format!("ends in state {}", tcp.state.unwrap_or_else(|| "none".to_owned())),
                ));
            }
            ("alert", _, Some(alert)) => {
                found.push((flow, alert.signature.replace("SURICATA STREAM ", "")))
            }
            _ => {}
        }
    }
    // The rate is that of flows: a verdict counts once per flow.
    found.sort_unstable();
    found.dedup();
    let mut counts = VerdictCounts { units: vec![1; flows], ..VerdictCounts::default() };
    found.iter().for_each(|(flow, verdict)| counts.add(verdict, *flow));
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_events_belong_to_their_flows() {
        let lines = [
            r#"{"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"198.18.0.1","proto":"TCP","#,
            r#""tcp":{"state":"closed"}}"#,
            "\n",
            r#"{"event_type":"alert","src_ip":"198.18.0.1","dest_ip":"10.0.0.1","#,
            r#""alert":{"signature":"SURICATA STREAM bad"}}"#,
            "\n",
            r#"{"event_type":"alert","src_ip":"198.18.0.1","dest_ip":"10.0.0.1","#,
            r#""alert":{"signature":"SURICATA STREAM bad"}}"#,
            "\n",
            r#"{"event_type":"flow","src_ip":"2001:0db8:0000:0000:0000:0000:0000:0000","#,
            r#""dest_ip":"2001:0db8:ffff::1","tcp":{}}"#,
            "\n",
            r#"{"event_type":"stats"}"#,
            "\n",
        ]
        .concat();
        let counts = count_verdicts(&lines, 2).unwrap();
        assert_eq!(counts.verdicts["ends in state closed"], [(1, 1)]);
        assert_eq!(counts.verdicts["bad"], [(1, 1)]);
        assert_eq!(counts.verdicts["ends in state none"], [(0, 1)]);
    }
}
