//! One machine: its policies, and the numbers that it gives to its next flow.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use arrowio::HostRow;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::SideIdentity;
use tokenizer::host::{IdPolicy, PortPolicy, TsPolicy};

use crate::habits::{EVEN_STEPS, Policies, STEPS, weighted};
use crate::ports::EphemeralPorts;
use crate::stack::Stack;

/// Number of servers that a client goes back to.
const RECENT_SERVERS: usize = 8;

/// Name of a machine, from which its policies and clocks are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum MachineId {
    /// Machine that has one address.
    Addr(IpAddr),
    /// Host of a hosts table, by its number.
    Number(u32),
}

impl MachineId {
    /// Returns octets that no other machine of the run has.
    fn octets(self) -> [u8; 16] {
        match self {
            MachineId::Addr(addr) => addr_octets(addr),
            // No address is unspecified but for its last four octets and the first.
            MachineId::Number(number) => (u128::from(number) | 0xfe << 120).to_be_bytes(),
        }
    }

    /// Returns a source of random numbers of the machine alone, or of the machine and a peer.
    pub(crate) fn random(self, seed: u64, peer: Option<IpAddr>) -> ChaCha8Rng {
        let mut octets = [0; 32];
        octets[..16].copy_from_slice(&self.octets());
        octets[16..].copy_from_slice(&peer.map_or([0; 16], addr_octets));
        octets.iter_mut().zip(seed.to_be_bytes()).for_each(|(octet, of)| *octet ^= of);
        ChaCha8Rng::from_seed(octets)
    }
}

fn addr_octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// Numbers that a machine gave last to one peer.
#[derive(Clone, Default)]
struct LastToPeer {
    port: Option<u16>,
    id: Option<u16>,
}

/// Clock of TSvals: a value at a time, and the time between two ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HostClock {
    /// TSval at the origin; `None`: drawn for the machine, or the machine and a peer.
    pub(crate) base: Option<u32>,
    /// Time of the base, in nanoseconds since 1970.
    pub(crate) origin_ns: i64,
    /// Time between two ticks, in nanoseconds.
    pub(crate) tick_ns: i64,
}

/// One side of a flow that is to get its numbers from a machine.
pub(crate) struct FlowSide {
    /// IP version of the flow.
    pub(crate) ip_version: u8,
    /// Address of the other side.
    pub(crate) peer: IpAddr,
    /// Time of the first packet with a TSval, in nanoseconds since 1970.
    pub(crate) first_ts_ns: i64,
    /// Number of packets of the side.
    pub(crate) packets: u64,
}

/// Machine with one TCP stack.
#[derive(Clone)]
pub(crate) struct Machine {
    id: MachineId,
    /// Stack of the machine.
    pub(crate) stack: Stack,
    policies: Policies,
    /// Whether no flow has shown the machine's system.
    is_guess: bool,
    clock: HostClock,
    last_port: Option<u16>,
    last_id: Option<u16>,
    peers: HashMap<IpAddr, LastToPeer>,
    recent_servers: VecDeque<(IpAddr, u16)>,
}

impl Machine {
    /// Creates a machine that has given no numbers yet.
    pub(crate) fn new(
        id: MachineId,
        stack: Stack,
        policies: Policies,
        is_guess: bool,
        clock: HostClock,
    ) -> Machine {
        Machine {
            id,
            stack,
            policies,
            is_guess,
            clock,
            last_port: None,
            last_id: None,
            peers: HashMap::new(),
            recent_servers: VecDeque::new(),
        }
    }

    /// Returns the machine with the policies and numbers that a hosts table says of it. Its first
    /// flow starts at `start_ns`.
    pub(crate) fn told(mut self, host: &HostRow, start_ns: i64) -> Machine {
        let drawn = self.policies;
        self.policies = Policies {
            ports: host.port_policy.unwrap_or(drawn.ports),
            ts: host.ts_policy.unwrap_or(drawn.ts),
            ids: host.id_policy.unwrap_or(drawn.ids),
        };
        if let Some(base) = host.ts_base {
            self.clock = HostClock { base: Some(base), origin_ns: start_ns, ..self.clock };
        }
        if let Some(ticks) = host.ts_tick.filter(|ticks| *ticks > 0) {
            self.clock.tick_ns = 1_000_000_000 / i64::from(ticks);
        }
        self.last_port = host.port_next.map(|port| port.wrapping_sub(1));
        self.last_id = host.id_next.map(|id| id.wrapping_sub(1));
        self
    }

    /// Takes over the policies of `known`, the same machine as a flow with a SYN shows it, if no
    /// flow had one before.
    pub(crate) fn settle(&mut self, known: &Machine) {
        if self.is_guess && !known.is_guess {
            (self.policies, self.is_guess) = (known.policies, false);
        }
    }

    /// Returns the port of the next flow to a server. `tries` is the number of ports that did not
    /// serve.
    pub(crate) fn next_port(
        &self,
        range: EphemeralPorts,
        server: IpAddr,
        tries: u16,
        random: &mut impl Rng,
    ) -> u16 {
        let to_server = || self.peers.get(&server)?.port;
        match self.policies.ports {
            PortPolicy::EvenStep => match to_server() {
                Some(last) => {
                    let step = weighted(EVEN_STEPS, random);
                    range.after(last, step.saturating_add(2 * tries))
                }
                None => range.sample(random) & !1,
            },
            PortPolicy::PlusOne => match self.last_port {
                Some(last) => range.after(last, weighted(STEPS, random).saturating_add(tries)),
                None => range.sample(random),
            },
            PortPolicy::Fixed => self.last_port.unwrap_or_else(|| range.sample(random)),
            PortPolicy::Random => range.sample(random),
        }
    }

    /// Notes the port and the server of a new flow.
    pub(crate) fn note_flow(&mut self, port: u16, server: IpAddr, server_port: u16) {
        self.last_port = Some(port);
        if self.policies.ports == PortPolicy::EvenStep {
            self.peers.entry(server).or_default().port = Some(port);
        }
        self.recent_servers.retain(|pair| *pair != (server, server_port));
        self.recent_servers.push_front((server, server_port));
        self.recent_servers.truncate(RECENT_SERVERS);
    }

    /// Returns the servers of the last flows with their ports, the last one first.
    pub(crate) fn recent_servers(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        self.recent_servers.iter().copied()
    }

    /// Fills in the bases that a side of a new flow lacks: sequence number, TSval, and IP
    /// identification or flow label.
    pub(crate) fn fill(
        &mut self,
        side: &mut SideIdentity,
        flow: &FlowSide,
        seed: u64,
        random: &mut impl Rng,
    ) {
        if side.ts_base.is_none() {
            side.ts_base = match self.policies.ts {
                TsPolicy::Host => Some(self.tsval(flow, None, seed)),
                TsPolicy::Pair => Some(self.tsval(flow, Some(flow.peer), seed)),
                TsPolicy::Connection | TsPolicy::None => None,
            };
        }
        let counter = match self.policies.ids {
            IdPolicy::Global => Some(&mut self.last_id),
            IdPolicy::Destination => Some(&mut self.peers.entry(flow.peer).or_default().id),
            IdPolicy::Connection | IdPolicy::Zero | IdPolicy::Random => None,
        };
        if let Some(Some(last)) = counter.as_deref()
            && flow.ip_version == 4
        {
            // A base is no 0: that is the identification of packets without one.
            side.ip_id_base.get_or_insert(last.wrapping_add(1).max(1));
        }
        dataset::draw_bases(side, flow.ip_version, random);
        if let Some(counter) = counter {
            let others = flow.packets.saturating_sub(1) as u16;
            *counter = side.ip_id_base.map(|id| id.wrapping_add(others));
        }
    }

    /// Returns the TSval of the machine's clock, or of the clock for a peer.
    fn tsval(&self, flow: &FlowSide, peer: Option<IpAddr>, seed: u64) -> u32 {
        let base = self.clock.base.unwrap_or_else(|| {
            let mut drawn = SideIdentity::default();
            dataset::draw_bases(&mut drawn, flow.ip_version, &mut self.id.random(seed, peer));
            drawn.ts_base.unwrap_or_default()
        });
        let elapsed = flow.first_ts_ns.saturating_sub(self.clock.origin_ns);
        base.wrapping_add(elapsed.div_euclid(self.clock.tick_ns.max(1)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
    ];

    fn machine(ports: PortPolicy, ts: TsPolicy, ids: IdPolicy) -> Machine {
        let clock = HostClock { base: None, origin_ns: 0, tick_ns: 4_000_000 };
        let policies = Policies { ports, ts, ids };
        let id = MachineId::Addr("192.0.2.99".parse().unwrap());
        Machine::new(id, Stack::default(), policies, false, clock)
    }

    /// Ports of flows that go to both servers in turn.
    fn ports(policy: PortPolicy) -> Vec<u16> {
        let mut machine = machine(policy, TsPolicy::None, IdPolicy::Zero);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut port = |i: usize| {
            let port = machine.next_port(EphemeralPorts::Linux, SERVERS[i % 2], 0, &mut random);
            machine.note_flow(port, SERVERS[i % 2], 443);
            port
        };
        (0..200).map(&mut port).collect()
    }

    fn steps(ports: &[u16], apart: usize) -> Vec<u16> {
        ports.iter().zip(&ports[apart..]).map(|(a, b)| b.wrapping_sub(*a)).collect()
    }

    #[test]
    fn ports_are_given_by_the_policy() {
        let even = ports(PortPolicy::EvenStep);
        assert!(even.iter().all(|port| port % 2 == 0));
        let small = steps(&even, 2).iter().filter(|step| (2..=40).contains(*step)).count();
        assert!(small >= 196, "{small}");
        let ones = steps(&ports(PortPolicy::PlusOne), 1).iter().filter(|s| **s == 1).count();
        assert!((150..195).contains(&ones), "{ones}");
        let far = steps(&ports(PortPolicy::Random), 1).iter().filter(|s| **s > 64).count();
        assert!(far > 190, "{far}");
        assert!(steps(&ports(PortPolicy::Fixed), 1).iter().all(|step| *step == 0));
    }

    /// Bases of flows that go to both servers in turn, a second apart.
    fn bases(ts: TsPolicy, ids: IdPolicy) -> Vec<(u32, u16)> {
        let mut machine = machine(PortPolicy::Random, ts, ids);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let base = |i: i64| {
            let mut side = SideIdentity::default();
            let flow = FlowSide {
                ip_version: 4,
                peer: SERVERS[(i % 2) as usize],
                first_ts_ns: i * 1_000_000_000,
                packets: 10,
            };
            machine.fill(&mut side, &flow, 1, &mut random);
            (side.ts_base.unwrap(), side.ip_id_base.unwrap())
        };
        (0..40).map(base).collect()
    }

    /// Share of the flows whose TSval lies on the line of the flow `apart` flows before.
    fn on_line(of: &[(u32, u16)], apart: usize) -> f64 {
        let pairs = of.iter().zip(&of[apart..]);
        let expected = 250 * apart as u32;
        let count = pairs.filter(|(a, b)| b.0.wrapping_sub(a.0) == expected).count();
        count as f64 / (of.len() - apart) as f64
    }

    #[test]
    fn clocks_are_of_the_host_of_the_pair_or_of_the_connection() {
        let shares = |ts| [1, 2].map(|apart| on_line(&bases(ts, IdPolicy::Connection), apart));
        assert_eq!(shares(TsPolicy::Host), [1.0, 1.0]);
        assert_eq!(shares(TsPolicy::Pair), [0.0, 1.0]);
        assert_eq!(shares(TsPolicy::Connection), [0.0, 0.0]);
    }

    #[test]
    fn identifications_count_on_by_the_policy() {
        let steps = |ids, apart: usize| -> Vec<u16> {
            let of = bases(TsPolicy::None, ids);
            of.iter().zip(&of[apart..]).map(|(a, b)| b.1.wrapping_sub(a.1)).collect()
        };
        assert!(steps(IdPolicy::Global, 1).iter().all(|step| *step == 10));
        assert!(steps(IdPolicy::Destination, 2).iter().all(|step| *step == 10));
        assert!(steps(IdPolicy::Destination, 1).iter().any(|step| *step > 64));
        assert!(steps(IdPolicy::Connection, 1).iter().any(|step| *step > 64));
    }

    #[test]
    fn the_first_syn_tells_the_policies() {
        let mut guess = machine(PortPolicy::Random, TsPolicy::None, IdPolicy::Zero);
        guess.is_guess = true;
        let known = machine(PortPolicy::PlusOne, TsPolicy::Pair, IdPolicy::Global);
        guess.settle(&known);
        assert_eq!(guess.policies, known.policies);
        let other = machine(PortPolicy::Fixed, TsPolicy::Host, IdPolicy::Zero);
        guess.settle(&other);
        assert_eq!(guess.policies, known.policies);
    }

    #[test]
    fn given_bases_stay() {
        let mut machine = machine(PortPolicy::Random, TsPolicy::Host, IdPolicy::Global);
        let mut side =
            SideIdentity { ts_base: Some(7), ip_id_base: Some(9), ..SideIdentity::default() };
        let flow = FlowSide { ip_version: 4, peer: SERVERS[0], first_ts_ns: 0, packets: 1 };
        machine.fill(&mut side, &flow, 1, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!((side.ts_base, side.ip_id_base), (Some(7), Some(9)));
        assert!(side.seq_base.is_some());
    }
}
