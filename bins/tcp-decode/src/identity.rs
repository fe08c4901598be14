//! Identities of generated flows, drawn from a seed: addresses, client port, start time, and bases
//! of the numbers that tokens encode relative to them.

use std::net::IpAddr;
use std::ops::Range;

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::FlowIdentity;
use tokenizer::field::FlowHeader;

use crate::args::IdentityArgs;
use crate::background::Background;
use crate::hosts::{Hosts, Stack};
use crate::networks::{CLIENT_NETS, NetworkPair, SERVER_NETS};
use crate::ports::EphemeralPorts;
use crate::reject_reason::RejectReason;
use crate::tuples::{FourTuple, TuplesInUse};

/// Number of 4-tuples drawn in search of a new one, before one that an earlier flow had is reused.
const NEW_TUPLE_TRIES: usize = 100;
/// Number of address pairs whose ports are then searched for a free 4-tuple.
const ADDRESS_PAIR_TRIES: usize = 16;
/// Time that a 4-tuple stays in use after the last packet of its flow: Linux's TIME-WAIT state (RFC
/// 9293, section 3.6.1).
const TIME_WAIT_NS: i64 = 60_000_000_000;

/// Properties of a flow that restrict its 4-tuple.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TupleHints {
    /// Time from the first packet to the last one.
    pub(crate) duration_ns: i64,
    /// Way in which the client's system picks its port.
    pub(crate) client_ports: EphemeralPorts,
    /// TCP stack of the client.
    pub(crate) client: Stack,
    /// TCP stack of the server.
    pub(crate) server: Stack,
}

/// Draws identities, flow after flow, in the order of the dataset.
pub(crate) struct IdentitySampler {
    random: ChaCha8Rng,
    clients: NetworkPair,
    servers: NetworkPair,
    next_start_ns: i64,
    flows_per_second: f64,
    in_use: TuplesInUse,
    client_hosts: Hosts,
    server_hosts: Hosts,
    background: Option<Background>,
}

impl IdentitySampler {
    /// Creates a sampler that starts at the seed and the start time of `args`. With a background,
    /// flows begin within its times, and have none of its addresses.
    ///
    /// # Errors
    /// If `args` have two networks of one IP version for clients or for servers.
    pub(crate) fn new(
        args: &IdentityArgs,
        background: Option<Background>,
    ) -> anyhow::Result<IdentitySampler> {
        Ok(IdentitySampler {
            random: ChaCha8Rng::seed_from_u64(args.seed),
            clients: NetworkPair::new(&args.client_net, CLIENT_NETS, "--client-net")?,
            servers: NetworkPair::new(&args.server_net, SERVER_NETS, "--server-net")?,
            next_start_ns: args.start_time.0,
            flows_per_second: args.flows_per_second,
            in_use: TuplesInUse::default(),
            client_hosts: Hosts::default(),
            server_hosts: Hosts::default(),
            background,
        })
    }

    /// Draws the values that `identity` lacks, or returns why the flow cannot be written.
    ///
    /// A flow with both addresses comes from a capture: only its start is drawn if it is unknown,
    /// and a base that its packets never needed stays unknown. `hints` is called for other flows
    /// alone, with an identity that is complete but for addresses and client port.
    ///
    /// # Errors
    /// If the start is later than the 64-bit clock can express.
    pub(crate) fn complete(
        &mut self,
        identity: &mut FlowIdentity,
        header: &FlowHeader,
        hints: impl FnOnce(&FlowIdentity) -> TupleHints,
    ) -> anyhow::Result<Option<RejectReason>> {
        if let Some(rejected) = check_ip_version(identity, header) {
            return Ok(Some(rejected));
        }
        let start_ns = match identity.start_ns {
            Some(start_ns) => start_ns,
            None => *identity.start_ns.insert(self.next_start(header.unit_ns())?),
        };
        if identity.client.addr.is_some() && identity.server.addr.is_some() {
            return Ok(None);
        }
        for side in [&mut identity.client, &mut identity.server] {
            dataset::draw_bases(side, header.ip_version, &mut self.random);
        }
        let hints = hints(identity);
        let end_ns = start_ns.saturating_add(hints.duration_ns).saturating_add(TIME_WAIT_NS);
        Ok(self.assign_tuple(identity, header, hints, start_ns..end_ns))
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

    /// Assigns addresses and a client port, in use during `alive`: a 4-tuple that no remembered
    /// flow has, or else one whose flow is over. Returns the reason if the networks have none.
    fn assign_tuple(
        &mut self,
        identity: &mut FlowIdentity,
        header: &FlowHeader,
        hints: TupleHints,
        alive: Range<i64>,
    ) -> Option<RejectReason> {
        let given = identity.clone();
        let found = self
            .find_new_tuple(&given, header, &hints)
            .or_else(|| self.find_free_tuple(&given, header, &hints, alive.start));
        let Some(tuple) = found else {
            let (clients, servers) = (
                self.clients.of_version(header.ip_version),
                self.servers.of_version(header.ip_version),
            );
            let message = format!(
                "addresses and ports: expected free ones in {clients} and {servers}, found none"
            );
            return Some(RejectReason::new(
                "addresses and ports",
                "none is free in the networks",
                message,
            ));
        };
        self.in_use.add(tuple, alive);
        self.client_hosts.add(tuple.client, hints.client);
        self.server_hosts.add(tuple.server, hints.server);
        identity.client.addr = Some(tuple.client);
        identity.client_port = Some(tuple.client_port);
        identity.server.addr = Some(tuple.server);
        None
    }

    /// Draws the address of the client and that of the server, each unless it is given.
    fn draw_addresses(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &TupleHints,
    ) -> (IpAddr, IpAddr) {
        let (clients, servers) = (
            self.clients.of_version(header.ip_version),
            self.servers.of_version(header.ip_version),
        );
        let random = &mut self.random;
        let client = given
            .client
            .addr
            .unwrap_or_else(|| self.client_hosts.draw(&hints.client, clients, false, random));
        let server = given
            .server
            .addr
            .unwrap_or_else(|| self.server_hosts.draw(&hints.server, servers, true, random));
        (client, server)
    }

    /// Returns whether a flow may have these addresses: two, and none of the background's.
    fn may_meet(&self, client: IpAddr, server: IpAddr) -> bool {
        let is_taken = |addr| self.background.as_ref().is_some_and(|b| b.has(addr));
        client != server && !is_taken(client) && !is_taken(server)
    }

    /// Draws 4-tuples until no remembered flow has one, [`NEW_TUPLE_TRIES`] times at most.
    fn find_new_tuple(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &TupleHints,
    ) -> Option<FourTuple> {
        (0..NEW_TUPLE_TRIES).find_map(|_| {
            let (client, server) = self.draw_addresses(given, header, hints);
            let client_port =
                given.client_port.unwrap_or_else(|| hints.client_ports.sample(&mut self.random));
            let tuple = FourTuple { client, client_port, server, server_port: header.server_port };
            (self.may_meet(client, server) && self.in_use.is_new(tuple)).then_some(tuple)
        })
    }

    /// Searches all ports of [`ADDRESS_PAIR_TRIES`] pairs of addresses for a 4-tuple that is free
    /// at `time_ns`.
    fn find_free_tuple(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        hints: &TupleHints,
        time_ns: i64,
    ) -> Option<FourTuple> {
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
            ports.map(tuple).find(|tuple| self.in_use.is_free(*tuple, time_ns))
        })
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
    use tokenizer::field::TimeUnit;

    use super::*;
    use crate::args::Args;

    fn sampler(options: &[&str]) -> IdentitySampler {
        let args = Args::parse_from([&["tcp-decode", "in", "out"], options].concat());
        IdentitySampler::new(&args.identity, None).unwrap()
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
        let hints = TupleHints {
            duration_ns,
            client_ports: EphemeralPorts::Linux,
            client: Stack::default(),
            server: Stack::default(),
        };
        sampler.complete(identity, &header(ip_version), |_| hints).unwrap()
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
            (0..4_000).map(|_| drawn(&mut sampler, 4).server.ts_base.unwrap()).collect();
        // Of those from the start 63 %, of the others 0.3 %.
        let early = bases.iter().filter(|base| **base < 14_000_000).count();
        assert!((270..420).contains(&early), "{early}");
        let late = bases.iter().filter(|base| **base > 1 << 31).count();
        assert!((1_600..2_000).contains(&late), "{late}");
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
