//! Hosts table of a generated trace.

use std::collections::BTreeMap;

use arrowio::HostRow;
use tokenizer::host::{HostRole, HostSystem};

use super::flows::DrawnFlow;

/// Hosts whose flows are written, in order of their starts.
#[derive(Debug, Default)]
pub(super) struct GeneratedHosts(BTreeMap<(HostRole, u64), Host>);

/// Flows of a host, and what all of them have in common.
#[derive(Debug)]
struct Host {
    flows: Vec<u64>,
    system: Option<HostSystem>,
    ttl: Option<u8>,
}

impl GeneratedHosts {
    /// Adds the next row of the dataset, with the number of its client, and of its server among all
    /// servers of its IP version.
    pub(super) fn add(&mut self, row: u64, client: u64, server: (u32, bool), flow: &DrawnFlow) {
        let server = u64::from(server.0) << 1 | u64::from(server.1);
        let sides = [(HostRole::Client, client), (HostRole::Server, server)];
        for (key, ttl) in sides.into_iter().zip(flow.ttls) {
            let system = flow.system.filter(|_| key.0 == HostRole::Client);
            let host = self.0.entry(key).or_insert_with(|| Host { flows: Vec::new(), system, ttl });
            host.flows.push(row);
            host.system = host.system.filter(|known| Some(*known) == system);
            host.ttl = host.ttl.filter(|known| Some(*known) == ttl);
        }
    }

    /// Returns the table: hosts in order of first start, a client before its server.
    pub(super) fn into_rows(self) -> Vec<HostRow> {
        let mut hosts: Vec<HostRow> = self
            .0
            .into_iter()
            .map(|((role, _), Host { flows, system, ttl })| HostRow {
                role,
                flows,
                system,
                ttl,
                ..HostRow::default()
            })
            .collect();
        hosts.sort_by_key(|host| (host.flows.first().copied(), host.role));
        hosts.iter_mut().zip(0..).for_each(|(host, number)| host.host = number);
        hosts
    }
}
