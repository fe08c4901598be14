//! Flows as members of traces: who opened them, when, and what identifies their hosts.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use flowtrack::{Direction, Flow, Packet};
use rustc_hash::{FxHashMap, FxHasher};
use tcpwire::{Flags, option_kind, options};

use crate::options::{find, timestamps};

/// Number of fields of a SYN-ACK that a server keeps.
pub(super) const ANSWER_FIELDS: usize = 5;

/// Marks of a host that one side of a flow shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SideMarks {
    /// First TSval, and its time in nanoseconds.
    pub(super) tsval: Option<(u32, i64)>,
    /// First and last IPv4 identification other than 0; `None` if all are 0.
    pub(super) ids: Option<(u16, u16)>,
    /// TTL of the first packet.
    pub(super) ttl: u8,
}

/// Flow whose SYN was seen, as a member of a trace.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TraceFlow {
    pub(super) start_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) client: IpAddr,
    pub(super) client_port: u16,
    pub(super) server: IpAddr,
    pub(super) server_port: u16,
    pub(super) packets: u64,
    /// Payload octets of the client and of the server.
    pub(super) octets: [u64; 2],
    /// Digest of the layout of the SYN's options.
    pub(super) syn: u64,
    /// Digests of the SYN-ACK's layout, MSS, window scale, window and TTL.
    pub(super) answer: Option<[u64; ANSWER_FIELDS]>,
    /// Time from the SYN to the SYN-ACK.
    pub(super) handshake_ns: Option<i64>,
    pub(super) sides: [SideMarks; 2],
}

impl TraceFlow {
    /// Returns the flow as a member of its trace; `None` if its SYN was not seen.
    #[must_use]
    pub fn from_flow(flow: &Flow) -> Option<TraceFlow> {
        let is = |packet: &&Packet, d, flags| {
            packet.direction == d && packet.flags & (Flags::SYN | Flags::ACK) == flags
        };
        let syn = flow.packets.iter().find(|p| is(p, Direction::Forward, Flags::SYN))?;
        let answer =
            flow.packets.iter().find(|p| is(p, Direction::Reverse, Flags::SYN | Flags::ACK));
        let (first_ns, last_ns) = flow.times_ns()?;
        let mut octets = [0; 2];
        for packet in &flow.packets {
            octets[packet.direction.index()] += u64::from(packet.payload_len);
        }
        Some(TraceFlow {
            start_ns: first_ns,
            duration_ns: last_ns.saturating_sub(first_ns),
            client: flow.client.addr,
            client_port: flow.client.port,
            server: flow.server.addr,
            server_port: flow.server.port,
            packets: flow.packets.len() as u64,
            octets,
            syn: layout(flow.options_of(syn)),
            answer: answer.map(|answer| {
                let octets = flow.options_of(answer);
                [
                    layout(octets),
                    digest(&find(octets, option_kind::MSS)),
                    digest(&find(octets, option_kind::WINDOW_SCALE)),
                    answer.window.into(),
                    answer.ttl.into(),
                ]
            }),
            handshake_ns: answer.map(|answer| answer.time_ns.saturating_sub(syn.time_ns)),
            sides: [Direction::Forward, Direction::Reverse].map(|d| marks(flow, d)),
        })
    }

    /// Returns the time of the last packet, in nanoseconds.
    pub(super) fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add(self.duration_ns)
    }

    /// Returns the server with its port.
    pub(super) fn server_end(&self) -> (IpAddr, u16) {
        (self.server, self.server_port)
    }
}

fn marks(flow: &Flow, d: Direction) -> SideMarks {
    let own = || flow.packets.iter().filter(|packet| packet.direction == d);
    let tsval = own().find_map(|packet| {
        let (value, _) = timestamps(flow.options_of(packet))?;
        Some((value, packet.time_ns))
    });
    let mut ids = own().map(|packet| packet.ip_id).filter(|id| *id != 0);
    let first = ids.next();
    SideMarks {
        tsval,
        ids: first.map(|first| (first, ids.next_back().unwrap_or(first))),
        ttl: own().next().map_or(0, |packet| packet.ttl),
    }
}

/// Returns a digest of the kinds of options, in order.
fn layout(octets: &[u8]) -> u64 {
    digest(&options(octets).map(|option| option.kind()).collect::<Vec<_>>())
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Flows of one client in order of their starts.
pub(super) type Client = Vec<TraceFlow>;

/// Traces: captures with the flows of their clients.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    pub(super) captures: Vec<Vec<Client>>,
    numbers: FxHashMap<String, usize>,
}

/// Number of flows of a client that count, from its first one on: no host has more weight than
/// that.
const MOST_FLOWS: usize = 50;

impl Traces {
    /// Adds a flow of a capture, in any order.
    pub fn add(&mut self, capture: &str, flow: TraceFlow) {
        let captures = &mut self.captures;
        let number = match self.numbers.get(capture) {
            Some(number) => *number,
            None => {
                captures.push(Vec::new());
                self.numbers.insert(capture.to_owned(), captures.len() - 1);
                captures.len() - 1
            }
        };
        // All flows are of one client until `finish`.
        match captures[number].first_mut() {
            Some(all) => all.push(flow),
            None => captures[number].push(vec![flow]),
        }
    }

    /// Deals the flows of each capture to its clients, in order.
    #[must_use]
    pub fn finish(mut self) -> Traces {
        for capture in &mut self.captures {
            let mut flows: Vec<TraceFlow> = std::mem::take(capture).into_iter().flatten().collect();
            flows.sort_by_key(|flow| (flow.start_ns, flow.client, flow.client_port));
            let mut places: FxHashMap<IpAddr, usize> = FxHashMap::default();
            for flow in flows {
                let place = *places.entry(flow.client).or_insert(capture.len());
                match capture.get_mut(place) {
                    Some(client) if client.len() >= MOST_FLOWS => {}
                    Some(client) => client.push(flow),
                    None => capture.push(vec![flow]),
                }
            }
        }
        self
    }

    /// Returns the numbers of captures, clients and flows that count.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let clients = || self.captures.iter().flatten();
        [self.captures.len(), clients().count(), clients().map(Vec::len).sum()]
    }
}
