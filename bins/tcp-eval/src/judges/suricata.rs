//! Suricata's stream engine: the state that each session ends in, and its events.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use fidelity::Said;
use flowtrack::Flow;
use serde::Deserialize;

use super::capture::{self, Filling};
use super::output;

/// The program.
pub(super) const PROGRAM: &str = "suricata";

/// Where Debian's package and Suricata's own installation keep the rules that name stream events.
const RULES: [&str; 2] =
    ["/etc/suricata/rules/stream-events.rules", "/usr/share/suricata/rules/stream-events.rules"];

/// A line of `eve.json`, as far as it is looked at.
#[derive(Deserialize)]
struct Event {
    event_type: String,
    src_ip: Option<IpAddr>,
    dest_ip: Option<IpAddr>,
    tcp: Option<Tcp>,
    alert: Option<Alert>,
}

#[derive(Deserialize)]
struct Tcp {
    state: Option<String>,
}

#[derive(Deserialize)]
struct Alert {
    signature: String,
}

/// What it says of each session.
pub(super) fn said(flows: &[&Flow]) -> anyhow::Result<Said> {
    let rules = RULES.iter().find(|path| Path::new(path).exists());
    let rules = rules.with_context(|| format!("expected {}, found none", RULES.join(" or ")))?;
    let flows = capture::filled(flows);
    ensure!(!flows.is_empty(), "expected flows of little payload, found none");
    let folder = tempfile::tempdir().context("temporary folder")?;
    let path = folder.path().join("flows.pcap");
    capture::write(&path, &flows, Filling::Zeros)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-r").arg(&path).args(["-k", "none", "-S", rules, "-l"]).arg(folder.path());
    output(&mut command)?;
    let events = folder.path().join("eve.json");
    read(
        &std::fs::read_to_string(&events).with_context(|| events.display().to_string())?,
        flows.len(),
    )
}

fn read(lines: &str, flows: usize) -> anyhow::Result<Said> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for line in lines.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        let ends = [event.src_ip, event.dest_ip].into_iter().flatten();
        let Some(flow) = ends.filter_map(capture::number).next().filter(|n| (*n as usize) < flows)
        else {
            continue;
        };
        match (event.event_type.as_str(), event.tcp, event.alert) {
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
    // Once a flow, however often.
    found.sort_unstable();
    found.dedup();
    let mut said = Said { of: vec![1; flows], ..Said::default() };
    found.iter().for_each(|(flow, what)| said.count(what, *flow));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_events_belong_to_their_flows() {
        let lines = concat!(
            r#"{"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"198.18.0.1","proto":"TCP","tcp":{"state":"closed"}}"#,
            "\n",
            r#"{"event_type":"alert","src_ip":"198.18.0.1","dest_ip":"10.0.0.1","alert":{"signature":"SURICATA STREAM bad"}}"#,
            "\n",
            r#"{"event_type":"alert","src_ip":"198.18.0.1","dest_ip":"10.0.0.1","alert":{"signature":"SURICATA STREAM bad"}}"#,
            "\n",
            r#"{"event_type":"flow","src_ip":"2001:0db8:0000:0000:0000:0000:0000:0000","dest_ip":"2001:0db8:ffff::1","tcp":{}}"#,
            "\n{\"event_type\":\"stats\"}\n",
        );
        let said = read(lines, 2).unwrap();
        assert_eq!(said.verdicts["ends in state closed"], [(1, 1)]);
        assert_eq!(said.verdicts["bad"], [(1, 1)]);
        assert_eq!(said.verdicts["ends in state none"], [(0, 1)]);
    }
}
