//! Table of the hosts of several captures.

use std::collections::BTreeMap;
use std::net::IpAddr;

use arrowio::{FlowRow, HostRow};
use tokenizer::host::HostRole;

use super::FlowTraits;
use super::policies::{self, Sighting};

/// Largest number of a host's flows whose numbers tell its policies.
const SIGHTINGS: usize = 256;

/// Hosts of a dataset that is being written. Memory grows with hosts, and by 16 octets with flows.
#[derive(Default)]
pub struct HostTable {
    /// Hosts of the captures that are read now, by role and address.
    open: BTreeMap<(HostRole, IpAddr), Host>,
    /// Hosts of the captures that were read, each with its first start.
    done: Vec<(i64, HostRow)>,
    rows: u64,
}

/// Host whose flows come in.
struct Host {
    /// Least start of the flows, and the capture of that flow.
    first_ns: i64,
    source: String,
    addrs: Vec<IpAddr>,
    /// Start and row of each flow.
    flows: Vec<(i64, u64)>,
    sightings: Vec<Sighting>,
}

impl HostTable {
    /// Adds the next row of the dataset, with the traits of its flow.
    pub fn add(&mut self, row: &FlowRow, traits: &FlowTraits) {
        let number = self.rows;
        self.rows += 1;
        let identity = &row.identity;
        let (Some(start_ns), Some(client), Some(server)) =
            (identity.start_ns, identity.client.addr, identity.server.addr)
        else {
            return;
        };
        let port = identity.client_port.unwrap_or(0);
        let server_port = row.summary.as_ref().map_or(0, |summary| summary.server_port);
        let source = row.summary.as_ref().map_or("", |summary| &summary.source);
        let sides = [
            (HostRole::Client, client, (server, server_port)),
            (HostRole::Server, server, (client, 0)),
        ];
        for ((role, addr, peer), side) in sides.into_iter().zip(traits.sides) {
            let host = self.open.entry((role, addr)).or_insert_with(|| Host {
                first_ns: i64::MAX,
                source: String::new(),
                addrs: vec![addr],
                flows: Vec::new(),
                sightings: Vec::new(),
            });
            if start_ns < host.first_ns {
                host.first_ns = start_ns;
                source.clone_into(&mut host.source);
            }
            host.flows.push((start_ns, number));
            if side.is_opened && host.sightings.len() < SIGHTINGS {
                host.sightings.push(Sighting { start_ns, peer, port, side });
            }
        }
    }

    /// Ends the captures that are read as one. Their machines are hosts: `senders` has the
    /// link-layer address of each address that opened a flow.
    ///
    /// An IPv4 address and the IPv6 addresses of its link-layer address are one host, unless the
    /// link-layer address has several IPv4 addresses, as a router's.
    pub fn end_capture(&mut self, senders: &BTreeMap<IpAddr, [u8; 6]>) {
        let mut machines: BTreeMap<[u8; 6], Vec<IpAddr>> = BTreeMap::new();
        for (addr, sender) in senders {
            machines.entry(*sender).or_default().push(*addr);
        }
        let mut hosts = std::mem::take(&mut self.open);
        for addrs in machines.values() {
            // IPv4 addresses are before all others in their order.
            let [one, others @ ..] = &addrs[..] else { continue };
            if !one.is_ipv4() || others.iter().any(IpAddr::is_ipv4) {
                continue;
            }
            let Some(mut host) = hosts.remove(&(HostRole::Client, *one)) else { continue };
            for other in others {
                if let Some(other) = hosts.remove(&(HostRole::Client, *other)) {
                    host.join(other);
                }
            }
            hosts.insert((HostRole::Client, *one), host);
        }
        self.done.extend(hosts.into_iter().map(|((role, _), host)| host.into_row(role)));
    }

    /// Returns the hosts, numbered in order of their first starts.
    #[must_use]
    pub fn into_rows(mut self) -> Vec<HostRow> {
        self.end_capture(&BTreeMap::new());
        // A host's first row tells hosts of one start apart; a flow's client is before its server.
        self.done.sort_by_key(|(start, host)| (*start, host.flows.first().copied(), host.role));
        let numbered = self.done.into_iter().zip(0..);
        numbered.map(|((_, host), number)| HostRow { host: number, ..host }).collect()
    }
}

impl Host {
    /// Adds the flows of another address of the machine.
    fn join(&mut self, other: Host) {
        if other.first_ns < self.first_ns {
            (self.first_ns, self.source) = (other.first_ns, other.source);
        }
        self.addrs.extend(other.addrs);
        self.flows.extend(other.flows);
        self.sightings.extend(other.sightings);
    }

    /// Returns the row of the host without its number, and its first start.
    fn into_row(mut self, role: HostRole) -> (i64, HostRow) {
        self.flows.sort_unstable();
        self.sightings.sort_by_key(|sighting| sighting.start_ns);
        let mut row = HostRow {
            role,
            source: self.source,
            addrs: self.addrs,
            flows: self.flows.into_iter().map(|(_, row)| row).collect(),
            ..HostRow::default()
        };
        let seen = &self.sightings[..];
        row.system = only(seen.iter().map(|flow| flow.side.system)).flatten();
        row.ttl = only(seen.iter().map(|flow| flow.side.ttl));
        // Several systems behind one address are several machines, of which none is told.
        if role == HostRole::Client && only(seen.iter().map(|flow| flow.side.system)).is_none() {
            return (self.first_ns, row);
        }
        let clock = policies::clock(seen);
        (row.ts_policy, row.ts_tick, row.ts_base) = (clock.policy, clock.tick, clock.base);
        (row.id_policy, row.id_next) = policies::ids(seen);
        if role == HostRole::Client {
            (row.port_policy, row.port_next) = policies::ports(seen);
        }
        (self.first_ns, row)
    }
}

/// Returns the value that all have; `None` if there is none or several.
fn only<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
