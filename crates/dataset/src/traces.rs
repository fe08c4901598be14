//! Traces: the hosts of a dataset as skeletons, in the order in which they are coded.

use std::collections::HashMap;
use std::net::IpAddr;

use arrowio::{FlowRow, HostRow, Tokens};
use tokenizer::field::{self, SessionClass, TimeUnit};
use tokenizer::host::HostRole;
use tokenizer::skeleton::{HostSkeleton, SkeletonFlow, Syn, syn_of};

/// Clients of one capture, in order of their first starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// Path of the capture, as the hosts table has it.
    pub source: String,
    /// Hosts, of which each has at least one flow.
    pub hosts: Vec<TracedHost>,
}

/// Host of a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracedHost {
    /// Row of the host in the hosts table.
    pub row: u32,
    /// Row of each flow in the dataset.
    pub flows: Vec<u64>,
    /// Number of servers of the trace that the hosts before have used.
    pub shared: u32,
    /// Flows of the host, as the skeleton code has them.
    pub skeleton: HostSkeleton,
}

/// Reasons for which a hosts table does not fit a dataset.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// A host names a flow that the dataset does not have.
    #[error("host {host}: flow {flow}: expected a row below {rows}, the rows of the dataset")]
    NoFlow {
        /// Number of the host.
        host: u32,
        /// Row that the host names.
        flow: u64,
        /// Number of rows in the dataset.
        rows: u64,
    },
    /// A flow is none of the host that names it.
    #[error("host {host}: flow {flow}: expected a client of {expected}, found {found}")]
    OtherHost {
        /// Number of the host.
        host: u32,
        /// Row of the flow.
        flow: u64,
        /// Addresses of the host.
        expected: String,
        /// Client of the flow.
        found: String,
    },
}

/// Flows of a dataset, as far as skeletons need them. Memory is about 80 octets a flow.
#[derive(Debug, Default)]
pub struct TraceFlows {
    /// Flow of each row; `None` if it does not begin with the client's SYN.
    rows: Vec<Option<TraceFlow>>,
    syns: Vec<Syn>,
    syn_index: HashMap<Syn, u32>,
}

/// Flow of a row.
#[derive(Clone, Copy, Debug)]
struct TraceFlow {
    start_ns: i64,
    duration_ns: i64,
    client: IpAddr,
    server: IpAddr,
    port: u16,
    syn: u32,
    class: SessionClass,
    length_class: u8,
}

impl TraceFlows {
    /// Adds the next row of the dataset. A row in another token code than `field`, or without
    /// addresses and times, is in no trace.
    pub fn push(&mut self, row: &FlowRow) {
        let flow = self.flow(row);
        self.rows.push(flow);
    }

    fn flow(&mut self, row: &FlowRow) -> Option<TraceFlow> {
        let Tokens::U16(tokens) = &row.tokens else { return None };
        let header = field::header(tokens).ok()?;
        let syn = syn_of(tokens)?;
        let flow = TraceFlow {
            start_ns: row.identity.start_ns?,
            duration_ns: row.summary.as_ref()?.duration_ns,
            client: row.identity.client.addr?,
            server: row.identity.server.addr?,
            port: header.server_port,
            syn: self.syn_index.get(&syn).copied().unwrap_or(self.syns.len() as u32),
            class: header.class,
            length_class: header.length_class,
        };
        if flow.syn as usize == self.syns.len() {
            self.syns.push(syn.clone());
            self.syn_index.insert(syn, flow.syn);
        }
        Some(flow)
    }

    /// Returns the traces of the clients of a hosts table: one for each capture that it names.
    ///
    /// # Errors
    /// If the table is that of another dataset.
    pub fn traces(&self, hosts: &[HostRow]) -> Result<Vec<Trace>, TraceError> {
        let mut traces: Vec<(Trace, Vec<FirstFlow<'_>>)> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for host in hosts.iter().filter(|host| host.role == HostRole::Client) {
            let flows = self.flows_of(host)?;
            let Some((_, first)) = flows.first() else { continue };
            let at = *index.entry(&host.source).or_insert_with(|| {
                let source = host.source.clone();
                traces.push((Trace { source, hosts: Vec::new() }, Vec::new()));
                traces.len() - 1
            });
            traces[at].1.push(FirstFlow { start_ns: first.start_ns, host, flows });
        }
        let traced = traces.into_iter().map(|(trace, mut hosts)| {
            hosts.sort_by_key(|first| (first.start_ns, first.host.host));
            self.trace(trace, hosts)
        });
        Ok(traced.collect())
    }

    /// Returns the flows of a host that skeletons have, by start, each with its row.
    fn flows_of(&self, host: &HostRow) -> Result<Vec<(u64, TraceFlow)>, TraceError> {
        let mut flows = Vec::with_capacity(host.flows.len());
        for &row in &host.flows {
            let at = usize::try_from(row).ok().and_then(|row| self.rows.get(row));
            let rows = self.rows.len() as u64;
            let flow = at.ok_or(TraceError::NoFlow { host: host.host, flow: row, rows })?;
            let Some(flow) = flow else { continue };
            if !host.addrs.contains(&flow.client) {
                let addrs: Vec<String> = host.addrs.iter().map(IpAddr::to_string).collect();
                return Err(TraceError::OtherHost {
                    host: host.host,
                    flow: row,
                    expected: addrs.join(" or "),
                    found: flow.client.to_string(),
                });
            }
            flows.push((row, *flow));
        }
        flows.sort_by_key(|(row, flow)| (flow.start_ns, *row));
        Ok(flows)
    }

    fn trace(&self, mut trace: Trace, hosts: Vec<FirstFlow<'_>>) -> Trace {
        let mut servers: HashMap<IpAddr, u32> = HashMap::new();
        let mut before_ns = None;
        for FirstFlow { start_ns, host, flows } in hosts {
            let shared = servers.len() as u32;
            let since_ns = before_ns.map_or(0, |before| start_ns.saturating_sub(before));
            before_ns = Some(start_ns);
            let is_whole = |flow: &TraceFlow| {
                (flow.start_ns.wrapping_sub(start_ns)) % 1000 == 0 && flow.duration_ns % 1000 == 0
            };
            let is_us = since_ns % 1000 == 0 && flows.iter().all(|(_, flow)| is_whole(flow));
            let seen = flows.iter().map(|(_, flow)| {
                let next = servers.len() as u32;
                let start = flow.start_ns.saturating_sub(start_ns);
                SkeletonFlow {
                    start_ns: start,
                    end_ns: start.saturating_add(flow.duration_ns),
                    server: *servers.entry(flow.server).or_insert(next),
                    port: flow.port,
                    syn: self.syns[flow.syn as usize].clone(),
                    class: flow.class,
                    length_class: flow.length_class,
                }
            });
            let unit = if is_us { TimeUnit::Microsecond } else { TimeUnit::Nanosecond };
            let skeleton = HostSkeleton { since_ns, unit, flows: seen.collect() };
            let flows = flows.iter().map(|(row, _)| *row).collect();
            trace.hosts.push(TracedHost { row: host.host, flows, shared, skeleton });
        }
        trace
    }
}

/// Host with its flows, before its place in the trace is known.
struct FirstFlow<'h> {
    start_ns: i64,
    host: &'h HostRow,
    flows: Vec<(u64, TraceFlow)>,
}
