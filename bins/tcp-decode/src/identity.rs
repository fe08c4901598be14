//! Identities of generated flows, drawn from a seed: addresses, client port, start time, and bases
//! of the numbers that tokens encode relative to them.

use std::net::IpAddr;
use std::ops::Range;

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::FlowIdentity;
use tokenizer::field::FlowHeader;
use tokenizer::host::{HostRole, HostSystem};

use crate::args::IdentityArgs;
use crate::background::Background;
use crate::habits::Policies;
use crate::host_table::HostTable;
use crate::hosts::Hosts;
use crate::machine::{FlowSide, HostClock, Machine, MachineId};
use crate::networks::{CLIENT_NETS, Network, NetworkPair, SERVER_NETS};
use crate::ports::EphemeralPorts;
use crate::reject_reason::RejectReason;
use crate::stack::Stack;
use crate::tuples::{FourTuple, TuplesInUse};

/// Number of 4-tuples drawn in search of a new one, before one that an earlier flow had is reused.
const NEW_TUPLE_TRIES: u16 = 100;
/// Number of address pairs whose ports are then searched for a free 4-tuple.
const ADDRESS_PAIR_TRIES: usize = 16;
/// Time that a 4-tuple stays in use after the last packet of its flow: Linux's TIME-WAIT state (RFC
/// 9293, section 3.6.1).
const TIME_WAIT_NS: i64 = 60_000_000_000;
/// Share of the later flows of a client that go to a server and port that it used before: 0.77 in
/// captures of which hosts have a median of four flows.
const PAIR_AGAIN_SHARE: f64 = 0.77;
/// Number of clients of a stack drawn in search of one that used a server like that of the flow.
const PAIR_AGAIN_TRIES: usize = 16;

/// Properties of one side that the first packets of a flow and its columns tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SideHints {
    /// TCP stack of the side.
    pub(crate) stack: Stack,
    /// Time from the start of the flow to the side's first packet with a TSval.
    pub(crate) first_ts_ns: i64,
    /// Number of packets, as far as it is known.
    pub(crate) packets: u64,
}

/// Properties of a flow that decide between identities.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FlowHints {
    /// Range of ports that the client's system picks from.
    pub(crate) client_ports: EphemeralPorts,
    /// System that the client's SYN shows, if the flow has one.
    pub(crate) system: Option<HostSystem>,
    /// Side of the client.
    pub(crate) client: SideHints,
    /// Side of the server.
    pub(crate) server: SideHints,
}

/// Ends of a flow that was drawn, and the machines behind them.
#[derive(Clone, Copy)]
struct Ends {
    tuple: FourTuple,
    client: MachineId,
    server: MachineId,
}

/// Draws identities, flow after flow, in the order of the dataset.
pub(crate) struct IdentitySampler {
    seed: u64,
    random: ChaCha8Rng,
    clients: NetworkPair,
    servers: NetworkPair,
    start_ns: i64,
    next_start_ns: i64,
    flows_per_second: f64,
    /// Share of flows whose client has flows already.
    known_client_share: f64,
    in_use: TuplesInUse,
    client_hosts: Hosts,
    server_hosts: Hosts,
    background: Option<Background>,
    table: Option<HostTable>,
}

impl IdentitySampler {
    /// Creates a sampler that starts at the seed and the start time of `args`. With a background,
    /// flows begin within its times, and have none of its addresses; with a table, flows of a host
    /// have its addresses and policies.
    ///
    /// # Errors
    /// If `args` have two networks of one IP version for clients or for servers.
    pub(crate) fn new(
        args: &IdentityArgs,
        background: Option<Background>,
        table: Option<HostTable>,
    ) -> anyhow::Result<IdentitySampler> {
        Ok(IdentitySampler {
            seed: args.seed,
            random: ChaCha8Rng::seed_from_u64(args.seed),
            clients: NetworkPair::new(&args.client_net, CLIENT_NETS, "--client-net")?,
            servers: NetworkPair::new(&args.server_net, SERVER_NETS, "--server-net")?,
            start_ns: args.start_time.0,
            next_start_ns: args.start_time.0,
            flows_per_second: args.flows_per_second,
            known_client_share: 1.0 - 1.0 / args.flows_per_client,
            in_use: TuplesInUse::default(),
            client_hosts: Hosts::default(),
            server_hosts: Hosts::default(),
            background,
            table,
        })
    }

    /// Draws the values that `identity`, of a row of the dataset from 0, lacks: returns the 4-tuple
    /// of a flow that got it here, or why the flow cannot be written.
    ///
    /// A flow with both addresses comes from a capture: only its start is drawn if it is unknown,
    /// and a base that its packets never needed stays unknown. `hints` is called for other flows
    /// alone.
    ///
    /// # Errors
    /// If the start is later than the 64-bit clock can express, or the hosts table says another
    /// address than the row.
    pub(crate) fn complete(
        &mut self,
        row: u64,
        identity: &mut FlowIdentity,
        header: &FlowHeader,
        hints: impl FnOnce() -> FlowHints,
    ) -> anyhow::Result<Result<Option<FourTuple>, RejectReason>> {
        if let Some(rejected) = check_ip_version(identity, header) {
            return Ok(Err(rejected));
        }
        if let Some(table) = &mut self.table {
            table.seek(row);
            table.check_addresses(row, identity)?;
        }
        let start_ns = match identity.start_ns {
            Some(start_ns) => start_ns,
            None => *identity.start_ns.insert(self.next_start(header.unit_ns())?),
        };
        if identity.client.addr.is_some() && identity.server.addr.is_some() {
            return Ok(Ok(None));
        }
        let hints = hints();
        let Some(ends) = self.find_ends(identity, header, &hints, start_ns) else {
            return Ok(Err(self.none_is_free(header)));
        };
        identity.client.addr = Some(ends.tuple.client);
        identity.client_port = Some(ends.tuple.client_port);
        identity.server.addr = Some(ends.tuple.server);
        self.fill_sides(identity, header, &hints, ends, start_ns);
        Ok(Ok(Some(ends.tuple)))
    }

    /// Records that a flow has a 4-tuple from its first packet to its last one.
    pub(crate) fn occupy(&mut self, tuple: FourTuple, packets: Range<i64>) {
        self.in_use.add(tuple, packets.start..packets.end.saturating_add(TIME_WAIT_NS));
    }

    /// Checks that the hosts table has no flows beyond the rows of the dataset.
    ///
    /// # Errors
    /// If it has.
    pub(crate) fn check_rows(&self, rows: u64) -> anyhow::Result<()> {
        self.table.as_ref().map_or(Ok(()), |table| table.check_rows(rows))
    }

    /// Returns the start of the next flow, rounded down to its unit of time, and draws the gap to
    /// the one after it. Gaps are exponential: flows arrive as a Poisson process. In a background
    /// every moment of it is as likely.
    fn next_start(&mut self, unit_ns: i64) -> anyhow::Result<i64> {
        if let Some(background) = &self.background {
            let start = self.random.random_range(background.first_ns..=background.last_ns);
            return Ok(start - start.rem_euclid(unit_ns.max(1)));
        }
        let start = self.next_start_ns;
        let gap = -(1.0 - self.random.random::<f64>()).ln() / self.flows_per_second;
        let gap_ns = (gap * 1e9) as i64;
        self.next_start_ns = start.checked_add(gap_ns).context(
            "start of a flow: expected one before 2262-04-11T23:47:16Z, found a later one",
        )?;
        Ok(start - start.rem_euclid(unit_ns.max(1)))
    }

    /// Returns addresses and a client port at `start_ns`: a 4-tuple that no remembered flow has, or
    /// else one whose flow is over; `None` if the networks have none.
    fn find_ends(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &FlowHints,
        start_ns: i64,
    ) -> Option<Ends> {
        let mut given = given.clone();
        self.assign_hosts(&mut given, header, hints);
        self.find_new_tuple(&given, header, hints)
            .or_else(|| self.find_free_tuple(&given, header, hints, start_ns))
    }

    fn none_is_free(&self, header: &FlowHeader) -> RejectReason {
        let [clients, servers] =
            [&self.clients, &self.servers].map(|networks| networks.of_version(header.ip_version));
        let message = format!(
            "addresses and ports: expected free ones in {clients} and {servers}, found none"
        );
        RejectReason::new("addresses and ports", "none is free in the networks", message)
    }

    /// Gives the addresses of the hosts that the table has for the flow, each unless it is given. A
    /// host without an address of the IP version gets one.
    fn assign_hosts(&mut self, given: &mut FlowIdentity, header: &FlowHeader, hints: &FlowHints) {
        let Some(table) = &mut self.table else { return };
        for (role, networks, hosts, side, stack) in [
            (
                HostRole::Client,
                &self.clients,
                &self.client_hosts,
                &mut given.client,
                &hints.client.stack,
            ),
            (
                HostRole::Server,
                &self.servers,
                &self.server_hosts,
                &mut given.server,
                &hints.server.stack,
            ),
        ] {
            let Some(number) = table.host(role) else { continue };
            let network = networks.of_version(header.ip_version);
            let mut random = MachineId::Number(number).random(self.seed, Some(network.addr));
            let is_free = |addr| !self.background.as_ref().is_some_and(|b| b.has(addr));
            let drawn = || {
                let mut draws =
                    (0..NEW_TUPLE_TRIES).map(|_| hosts.draw(stack, network, false, &mut random));
                draws.find(|addr| is_free(*addr))
            };
            let addr = side.addr.or_else(|| table.addr(number, header.ip_version, drawn));
            side.addr = addr;
        }
    }

    /// Draws the address of the client and that of the server, each unless it is given.
    fn draw_addresses(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &FlowHints,
    ) -> (IpAddr, IpAddr) {
        let [clients, servers] =
            [&self.clients, &self.servers].map(|networks| networks.of_version(header.ip_version));
        let known = match given.client.addr {
            None => self.draw_known_client(clients, header, hints),
            Some(client) => Some((client, None)),
        };
        let random = &mut self.random;
        let (client, again) = known.unwrap_or_else(|| {
            (self.client_hosts.draw(&hints.client.stack, clients, false, random), None)
        });
        let server =
            given.server.addr.or(again).unwrap_or_else(|| {
                self.server_hosts.draw(&hints.server.stack, servers, true, random)
            });
        (client, server)
    }

    /// Draws a client that has flows already, and mostly a server that it used; `None` for a client
    /// of its own.
    fn draw_known_client(
        &mut self,
        network: Network,
        header: &FlowHeader,
        hints: &FlowHints,
    ) -> Option<(IpAddr, Option<IpAddr>)> {
        let known = self.client_hosts.known(&hints.client.stack, network);
        let random = &mut self.random;
        if known.is_empty() || !random.random_bool(self.known_client_share) {
            return None;
        }
        let tries = if random.random_bool(PAIR_AGAIN_SHARE) { PAIR_AGAIN_TRIES } else { 0 };
        let some: Vec<IpAddr> =
            (0..=tries).map(|_| known[random.random_range(0..known.len())]).collect();
        let again = some[..tries].iter().find_map(|client| {
            Some((*client, Some(self.recent_server(*client, header, &hints.server.stack)?)))
        });
        again.or(Some((some[tries], None)))
    }

    /// Returns the server of this stack that a client went to last, at the port of a flow.
    fn recent_server(&self, client: IpAddr, header: &FlowHeader, stack: &Stack) -> Option<IpAddr> {
        let mut recent = self.client_hosts.get(MachineId::Addr(client))?.recent_servers();
        let fits = |addr| {
            let machine = self.server_hosts.get(MachineId::Addr(addr));
            machine.is_some_and(|machine| machine.stack == *stack)
        };
        let found = recent.find(|(addr, port)| *port == header.server_port && fits(*addr));
        found.map(|(addr, _)| addr)
    }

    /// Returns whether a flow may have these addresses: two, and none of the background's.
    fn may_meet(&self, client: IpAddr, server: IpAddr) -> bool {
        let is_taken = |addr| self.background.as_ref().is_some_and(|b| b.has(addr));
        client != server && !is_taken(client) && !is_taken(server)
    }

    /// Returns the machine behind an address in the current flow.
    fn machine_id(&self, role: HostRole, addr: IpAddr) -> MachineId {
        let number = self.table.as_ref().and_then(|table| table.host(role));
        number.map_or(MachineId::Addr(addr), MachineId::Number)
    }

    /// Returns the machines behind the addresses of a 4-tuple.
    fn ends(&self, tuple: FourTuple) -> Ends {
        Ends {
            tuple,
            client: self.machine_id(HostRole::Client, tuple.client),
            server: self.machine_id(HostRole::Server, tuple.server),
        }
    }

    /// Draws 4-tuples until no remembered flow has one, [`NEW_TUPLE_TRIES`] times at most.
    fn find_new_tuple(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &FlowHints,
    ) -> Option<Ends> {
        (0..NEW_TUPLE_TRIES).find_map(|tries| {
            let (client, server) = self.draw_addresses(given, header, hints);
            let client_port = match given.client_port {
                Some(port) => port,
                None => self.next_port(client, server, hints, tries),
            };
            let tuple = FourTuple { client, client_port, server, server_port: header.server_port };
            (self.may_meet(client, server) && self.in_use.is_new(tuple)).then(|| self.ends(tuple))
        })
    }

    /// Returns the port that a client takes next, after `tries` that did not serve.
    fn next_port(&mut self, client: IpAddr, server: IpAddr, hints: &FlowHints, tries: u16) -> u16 {
        let id = self.machine_id(HostRole::Client, client);
        let new;
        let machine = match self.client_hosts.get(id) {
            Some(machine) => machine,
            None => {
                new = self.new_machine(HostRole::Client, id, hints, self.start_ns);
                &new
            }
        };
        machine.next_port(hints.client_ports, server, tries, &mut self.random)
    }

    /// Searches all ports of [`ADDRESS_PAIR_TRIES`] pairs of addresses for a 4-tuple that is free
    /// at `time_ns`.
    fn find_free_tuple(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &FlowHints,
        time_ns: i64,
    ) -> Option<Ends> {
        let range = hints.client_ports.range();
        (0..ADDRESS_PAIR_TRIES).find_map(|_| {
            let (client, server) = self.draw_addresses(given, header, hints);
            // The search begins at a random port and wraps around.
            let first = self.random.random_range(range.clone());
            let ports = given.client_port.map_or(range.clone(), |port| port..=port);
            let (from, to) = (first.clamp(*ports.start(), *ports.end()), *ports.end());
            let may_meet = self.may_meet(client, server);
            let ports = (from..=to).chain(*ports.start()..from).filter(|_| may_meet);
            let tuple = |client_port| FourTuple {
                client,
                client_port,
                server,
                server_port: header.server_port,
            };
            let free = ports.map(tuple).find(|tuple| self.in_use.is_free(*tuple, time_ns));
            free.map(|tuple| self.ends(tuple))
        })
    }

    /// Creates a machine with the policies of the table, and drawn ones where it has none.
    fn new_machine(
        &self,
        role: HostRole,
        id: MachineId,
        hints: &FlowHints,
        start_ns: i64,
    ) -> Machine {
        let told = match (id, &self.table) {
            (MachineId::Number(number), Some(table)) => Some(table.row(number)),
            _ => None,
        };
        let system = told.and_then(|host| host.system).or(hints.system);
        let mut random = id.random(self.seed, None);
        let (side, policies) = match role {
            HostRole::Client => (&hints.client, Policies::of_client(system, &mut random)),
            HostRole::Server => (&hints.server, Policies::of_server(&mut random)),
        };
        let clock = HostClock { base: None, origin_ns: self.start_ns, tick_ns: side.stack.tick_ns };
        let is_guess = role == HostRole::Client && system.is_none();
        let machine = Machine::new(id, side.stack.clone(), policies, is_guess, clock);
        match told {
            Some(host) => machine.told(host, start_ns),
            None => machine,
        }
    }

    /// Fills in the bases of both sides, as their machines count.
    fn fill_sides(
        &mut self,
        identity: &mut FlowIdentity,
        header: &FlowHeader,
        hints: &FlowHints,
        ends: Ends,
        start_ns: i64,
    ) {
        let tuple = ends.tuple;
        for (role, id, peer, hints_of, side) in [
            (HostRole::Client, ends.client, tuple.server, &hints.client, &mut identity.client),
            (HostRole::Server, ends.server, tuple.client, &hints.server, &mut identity.server),
        ] {
            let new = self.new_machine(role, id, hints, start_ns);
            let hosts = match role {
                HostRole::Client => &mut self.client_hosts,
                HostRole::Server => &mut self.server_hosts,
            };
            if let (MachineId::Number(_), Some(addr)) = (id, side.addr) {
                // The address belongs to this machine: no other one draws it.
                hosts.machine(MachineId::Addr(addr), || new.clone());
            }
            let machine = hosts.machine(id, || new.clone());
            machine.settle(&new);
            if role == HostRole::Client {
                machine.note_flow(tuple.client_port, tuple.server, tuple.server_port);
            }
            let flow = FlowSide {
                ip_version: header.ip_version,
                peer,
                first_ts_ns: start_ns.saturating_add(hints_of.first_ts_ns),
                packets: hints_of.packets,
            };
            machine.fill(side, &flow, self.seed, &mut self.random);
        }
    }
}

/// Returns a reason if a column holds an address of another IP version than the tokens encode.
fn check_ip_version(identity: &FlowIdentity, header: &FlowHeader) -> Option<RejectReason> {
    let sides = [("client_addr", identity.client.addr), ("server_addr", identity.server.addr)];
    sides.into_iter().find_map(|(column, addr)| {
        let addr = addr.filter(|addr| addr.is_ipv6() != (header.ip_version == 6))?;
        let message =
            format!("column {column}: expected an IPv{} address, found {addr}", header.ip_version);
        Some(RejectReason::new(
            &format!("column {column}"),
            "an address of the other IP version",
            message,
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;
    use flowtrack::{Direction, Flow};
    use tokenizer::field::TimeUnit;

    use super::*;
    use crate::args::Args;

    fn sampler(options: &[&str]) -> IdentitySampler {
        let args = Args::parse_from([&["tcp-decode", "in", "out"], options].concat());
        IdentitySampler::new(&args.identity, None, None).unwrap()
    }

    fn header(ip_version: u8) -> FlowHeader {
        FlowHeader {
            ip_version,
            unit: TimeUnit::Microsecond,
            server_port: 443,
            ..FlowHeader::default()
        }
    }

    /// Completes `identity` as that of a Linux client's flow of this duration.
    fn complete(
        sampler: &mut IdentitySampler,
        identity: &mut FlowIdentity,
        ip_version: u8,
        duration_ns: i64,
    ) -> Option<RejectReason> {
        let stack = Stack::from_opening(&Flow::empty(), Direction::Forward, 1_000_000);
        let side = || SideHints { stack: stack.clone(), ..SideHints::default() };
        let hints = FlowHints {
            client_ports: EphemeralPorts::Linux,
            system: Some(HostSystem::Linux5),
            client: side(),
            server: side(),
        };
        let drawn = sampler.complete(0, identity, &header(ip_version), || hints).unwrap();
        let tuple = match drawn {
            Ok(tuple) => tuple?,
            Err(reason) => return Some(reason),
        };
        let start_ns = identity.start_ns.unwrap();
        sampler.occupy(tuple, start_ns..start_ns + duration_ns);
        None
    }

    fn try_draw(
        sampler: &mut IdentitySampler,
        ip_version: u8,
        duration_ns: i64,
    ) -> Result<FlowIdentity, RejectReason> {
        let mut identity = FlowIdentity::default();
        complete(sampler, &mut identity, ip_version, duration_ns).map_or(Ok(identity), Err)
    }

    fn drawn(sampler: &mut IdentitySampler, ip_version: u8) -> FlowIdentity {
        try_draw(sampler, ip_version, 0).unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let many = |seed| {
            let mut sampler = sampler(&["--seed", seed]);
            (0..20).map(|_| drawn(&mut sampler, 4)).collect::<Vec<_>>()
        };
        assert_eq!(many("7"), many("7"));
        assert_ne!(many("7"), many("8"));
    }

    #[test]
    fn some_clocks_count_from_the_start_of_their_machine() {
        let mut sampler = sampler(&[]);
        let bases: Vec<_> =
            (0..4_000).map(|_| drawn(&mut sampler, 4).client.ts_base.unwrap()).collect();
        // Of those from the start 63 %, of the others 0.3 %.
        let early = bases.iter().filter(|base| **base < 14_000_000).count();
        assert!((270..420).contains(&early), "{early}");
        let late = bases.iter().filter(|base| **base > 1 << 31).count();
        assert!((1_600..2_000).contains(&late), "{late}");
    }

    #[test]
    fn clients_have_as_many_flows_as_asked_for_and_go_back_to_servers() {
        let counts = |flows_per_client: &str| {
            let mut sampler = sampler(&["--flows-per-client", flows_per_client]);
            let drawn: Vec<_> = (0..2_000).map(|_| drawn(&mut sampler, 4)).collect();
            let clients: HashSet<_> = drawn.iter().map(|of| of.client.addr).collect();
            let pairs: HashSet<_> =
                drawn.iter().map(|of| (of.client.addr, of.server.addr)).collect();
            (clients.len(), drawn.len() - pairs.len())
        };
        let (clients, again) = counts("1");
        assert!(clients > 1_900 && again < 10, "{clients} {again}");
        let (clients, again) = counts("10");
        assert!((150..250).contains(&clients) && (1_250..1_600).contains(&again), "{again}");
    }

    #[test]
    fn flows_of_a_client_have_its_clock_and_ports() {
        let mut sampler = sampler(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.2/32"]);
        let drawn: Vec<_> = (0..50).map(|_| drawn(&mut sampler, 4)).collect();
        let on_line = drawn.windows(2).filter(|of| {
            let ticks = (of[1].start_ns.unwrap() - of[0].start_ns.unwrap()) / 1_000_000;
            let [a, b] = [0, 1].map(|i| of[i].client.ts_base.unwrap());
            i64::from(b.wrapping_sub(a)).abs_diff(ticks) <= 1
        });
        // Of Linux hosts 95 in 100 have a clock for each pair.
        assert_eq!(on_line.count(), 49);
    }

    #[test]
    fn no_two_flows_share_their_ends() {
        // One client and one server: only the port is left to differ, out of 28,232.
        let mut sampler = sampler(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.2/32"]);
        let ports: HashSet<_> = (0..10_000).map(|_| drawn(&mut sampler, 4).client_port).collect();
        assert_eq!(ports.len(), 10_000);
    }

    #[test]
    fn what_a_captured_flow_never_showed_stays_unknown() {
        let mut identity =
            FlowIdentity { start_ns: Some(5), client_port: Some(1), ..FlowIdentity::default() };
        identity.client.addr = Some([192, 0, 2, 1].into());
        identity.server.addr = Some([192, 0, 2, 2].into());
        let given = identity.clone();
        assert_eq!(complete(&mut sampler(&[]), &mut identity, 4, 0), None);
        assert_eq!(identity, given);
    }

    #[test]
    fn loopback_traffic_keeps_its_one_address() {
        let mut identity =
            FlowIdentity { start_ns: Some(5), client_port: Some(1), ..FlowIdentity::default() };
        identity.client.addr = Some([127, 0, 0, 1].into());
        identity.server.addr = identity.client.addr;
        let given = identity.clone();
        assert_eq!(complete(&mut sampler(&[]), &mut identity, 4, 0), None);
        assert_eq!(identity, given);
    }

    #[test]
    fn a_drawn_flow_never_talks_to_itself() {
        let mut many = sampler(&["--client-net", "10.0.0.0/30", "--server-net", "10.0.0.0/30"]);
        for _ in 0..1_000 {
            let identity = drawn(&mut many, 4);
            assert_ne!(identity.client.addr, identity.server.addr);
        }
        let mut one = sampler(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.1/32"]);
        assert_eq!(try_draw(&mut one, 4, 0).unwrap_err().field, "addresses and ports");
    }

    #[test]
    fn ends_are_used_again_only_once_their_flow_is_over() {
        let ports = EphemeralPorts::Linux.range().len();
        let nets = [
            "--client-net",
            "10.0.0.1/32",
            "--server-net",
            "10.0.0.2/32",
            "--flows-per-second",
            "1000000",
        ];
        let mut long = sampler(&nets);
        // All begin within a fraction of a second and last for an hour.
        let filled: Vec<_> =
            (0..ports + 5).map(|_| try_draw(&mut long, 4, 3_600_000_000_000)).collect();
        let used: HashSet<_> =
            filled.iter().flatten().map(|identity| identity.client_port).collect();
        assert_eq!((used.len(), filled.iter().filter(|f| f.is_err()).count()), (ports, 5));
        // Ports of flows that ended a minute ago are free.
        long.next_start_ns += 3_661_000_000_000;
        assert!((0..5).all(|_| try_draw(&mut long, 4, 0).is_ok()));
    }

    #[test]
    fn an_address_of_the_other_version_is_named() {
        let mut identity = FlowIdentity::default();
        identity.server.addr = "2001:db8::1".parse().ok();
        let rejected = complete(&mut sampler(&[]), &mut identity, 4, 0).unwrap();
        let expected = "column server_addr: expected an IPv4 address, found 2001:db8::1";
        assert_eq!(rejected.message, expected);
    }

    #[test]
    fn starts_come_at_the_rate_asked_for() {
        let mut sampler = sampler(&["--flows-per-second", "1000", "--start-time", "100"]);
        let starts: Vec<i64> =
            (0..20_000).map(|_| drawn(&mut sampler, 4).start_ns.unwrap()).collect();
        assert_eq!(starts[0], 100_000_000_000);
        assert!(starts.is_sorted() && starts.iter().all(|s| s % 1_000 == 0));
        let seconds = (starts[19_999] - starts[0]) as f64 / 1e9;
        assert!((19.0..21.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn each_version_has_its_own_networks() {
        let mut sampler =
            sampler(&["--client-net", "10.0.0.0/8,fd00::/64", "--server-net", "172.16.0.0/12"]);
        let v4 = drawn(&mut sampler, 4);
        assert!(v4.client.addr.unwrap().to_string().starts_with("10."));
        assert!(v4.client.ip_id_base.is_some() && v4.client.flow_label_base.is_none());
        let v6 = drawn(&mut sampler, 6);
        assert!(v6.client.addr.unwrap().to_string().starts_with("fd00:"));
        assert!(
            v6.server.addr.unwrap().to_string().starts_with("2001:db8:5:"),
            "the default stays"
        );
    }
}
