//! What a generated flow has that its tokens do not say, drawn from a seed.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

use anyhow::Context;
use arrowio::FlowRow;
use dataset::RowDecoder;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::field::FlowHeader;
use tokenizer::{FlowIdentity, SideIdentity};

use crate::args::{CLIENT_NETS, IdentityArgs, Net, SERVER_NETS};
use crate::fault::Fault;
use crate::ports::Ports;

/// The share of timestamp clocks that count from when their machine was started, as in Linux before
/// 4.10; others have an offset of their own (RFC 7323, section 7.1). Of the sides of 7,900 captured
/// flows 9 in 100 begin below 14,000,000.
const FROM_START: f64 = 0.13;
/// Ticks since then: two seconds to a month of milliseconds, as often in each decade.
const UPTIME_TICKS: Range<f64> = 2e3..2.6e9;
/// So many of the latest flows have ends unlike any other's, where the networks are large enough.
const REMEMBERED: usize = 1 << 20;
/// So often ends are drawn before some that an earlier flow had, which is over, will do.
const TRIES: usize = 100;
/// So many pairs of addresses are then searched for a free port.
const PAIRS: usize = 16;
/// Ends stay taken for so long after a flow's last packet: a TIME-WAIT state (RFC 9293, section
/// 3.6.1) in Linux.
const TIME_WAIT_NS: i64 = 60_000_000_000;

/// Draws identities, one flow after the other.
pub(crate) struct Draw {
    random: ChaCha8Rng,
    clients: Nets,
    servers: Nets,
    next_start_ns: i64,
    flows_per_second: f64,
    taken: Taken,
    decoder: RowDecoder,
}

/// A network per IP version.
struct Nets {
    v4: Net,
    v6: Net,
}

impl Draw {
    pub(crate) fn new(args: &IdentityArgs) -> anyhow::Result<Draw> {
        Ok(Draw {
            random: ChaCha8Rng::seed_from_u64(args.seed),
            clients: Nets::new(&args.client_net, CLIENT_NETS, "--client-net")?,
            servers: Nets::new(&args.server_net, SERVER_NETS, "--server-net")?,
            next_start_ns: args.start_time.0,
            flows_per_second: args.flows_per_second,
            taken: Taken::default(),
            decoder: RowDecoder::default(),
        })
    }

    /// Fills in what is missing. A flow with its addresses came from a capture and keeps what it
    /// has and has not; only its start is drawn where it is unknown. Answers what keeps the flow
    /// from being written.
    pub(crate) fn fill(
        &mut self,
        row: &mut FlowRow,
        header: &FlowHeader,
    ) -> anyhow::Result<Option<Fault>> {
        if let Some(fault) = wrong_version(&row.identity, header) {
            return Ok(Some(fault));
        }
        if row.identity.start_ns.is_none() {
            row.identity.start_ns = Some(self.start(header.unit_ns())?);
        }
        if row.identity.client.addr.is_some() && row.identity.server.addr.is_some() {
            return Ok(None);
        }
        for side in [&mut row.identity.client, &mut row.identity.server] {
            self.bases(side, header.ip_version);
        }
        let start = row.identity.start_ns.unwrap_or(0);
        let until =
            start.saturating_add(duration_ns(row, &mut self.decoder)).saturating_add(TIME_WAIT_NS);
        let ports = self.decoder.decode_opening(row, Ports::of);
        Ok(self.ends(&mut row.identity, header, ports, start..until))
    }

    /// The start of the next flow, in whole units of its clock. The gaps are exponential: arrivals
    /// are a Poisson process.
    fn start(&mut self, unit_ns: i64) -> anyhow::Result<i64> {
        let start = self.next_start_ns;
        let gap = -(1.0 - self.random.random::<f64>()).ln() / self.flows_per_second;
        let gap_ns = (gap * 1e9) as i64;
        self.next_start_ns = start.checked_add(gap_ns).context(
            "start of a flow: expected one before 2262-04-11T23:47:16Z, found a later one",
        )?;
        Ok(start - start.rem_euclid(unit_ns.max(1)))
    }

    fn bases(&mut self, side: &mut SideIdentity, ip_version: u8) {
        let numbers: [u32; 4] = self.random.random();
        side.seq_base.get_or_insert(numbers[0]);
        let uptime =
            self.random.random_range(UPTIME_TICKS.start.ln()..UPTIME_TICKS.end.ln()).exp() as u32;
        let is_from_start = self.random.random_bool(FROM_START);
        side.ts_base.get_or_insert(if is_from_start { uptime } else { numbers[1] });
        if ip_version == 4 {
            side.ip_id_base.get_or_insert((numbers[2] >> 16) as u16);
        } else {
            // 20 bits, and not 0, which stands for no label.
            side.flow_label_base.get_or_insert(1 + numbers[3] % 0xf_ffff);
        }
    }

    /// Addresses and the client's port, taken for the time of `alive`: ends that no flow before
    /// had, or else ones whose flow is over.
    fn ends(
        &mut self,
        identity: &mut FlowIdentity,
        header: &FlowHeader,
        ports: Ports,
        alive: Range<i64>,
    ) -> Option<Fault> {
        let given = *identity;
        let found = self
            .new_ends(&given, header, ports)
            .or_else(|| self.free_ends(&given, header, ports, alive.start));
        let Some((client, port, server)) = found else {
            let nets = (self.clients.of(header.ip_version), self.servers.of(header.ip_version));
            let said = format!(
                "addresses and ports: expected free ones in {} and {}, found none",
                nets.0, nets.1
            );
            return Some(Fault::new("addresses and ports", "none is free in the networks", said));
        };
        self.taken.take(ends_hash(client, port, server, header.server_port), alive);
        (identity.client.addr, identity.client_port, identity.server.addr) =
            (Some(client), Some(port), Some(server));
        None
    }

    fn addresses(&mut self, given: &FlowIdentity, header: &FlowHeader) -> (IpAddr, IpAddr) {
        let (clients, servers) =
            (self.clients.of(header.ip_version), self.servers.of(header.ip_version));
        let client =
            given.client.addr.unwrap_or_else(|| clients.host(random_host(&mut self.random)));
        let server =
            given.server.addr.unwrap_or_else(|| servers.host(random_host(&mut self.random)));
        (client, server)
    }

    fn new_ends(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        ports: Ports,
    ) -> Option<(IpAddr, u16, IpAddr)> {
        (0..TRIES).find_map(|_| {
            let (client, server) = self.addresses(given, header);
            let port = given.client_port.unwrap_or_else(|| ports.draw(&mut self.random));
            let is_new = client != server
                && self.taken.is_new(ends_hash(client, port, server, header.server_port));
            is_new.then_some((client, port, server))
        })
    }

    /// Looks through all ports between some pairs of addresses.
    fn free_ends(
        &mut self,
        given: &FlowIdentity,
        header: &FlowHeader,
        ports: Ports,
        at: i64,
    ) -> Option<(IpAddr, u16, IpAddr)> {
        let range = ports.range();
        (0..PAIRS).find_map(|_| {
            let (client, server) = self.addresses(given, header);
            let first = self.random.random_range(range.clone());
            let ports = given.client_port.map_or(range.clone(), |port| port..=port);
            let (from, to) = (first.clamp(*ports.start(), *ports.end()), *ports.end());
            let mut ports = (from..=to).chain(*ports.start()..from).filter(|_| client != server);
            let port = ports.find(|port| {
                self.taken.is_free(ends_hash(client, *port, server, header.server_port), at)
            })?;
            Some((client, port, server))
        })
    }
}

/// A column whose address is not of the version that the tokens say.
fn wrong_version(identity: &FlowIdentity, header: &FlowHeader) -> Option<Fault> {
    let sides = [("client_addr", identity.client.addr), ("server_addr", identity.server.addr)];
    sides.into_iter().find_map(|(column, addr)| {
        let addr = addr.filter(|addr| addr.is_ipv6() != (header.ip_version == 6))?;
        let said =
            format!("column {column}: expected an IPv{} address, found {addr}", header.ip_version);
        Some(Fault::new(&format!("column {column}"), "an address of the other IP version", said))
    })
}

/// From the dataset's column, or else from the tokens.
fn duration_ns(row: &FlowRow, decoder: &mut RowDecoder) -> i64 {
    if let Some(summary) = &row.summary {
        return summary.duration_ns.max(0);
    }
    let Ok((flow, _)) = decoder.decode(row) else { return 0 };
    let [first, last] =
        [flow.packets.first(), flow.packets.last()].map(|p| p.map_or(0, |p| p.time_ns));
    decoder.recycle(flow);
    last.saturating_sub(first).max(0)
}

/// Two that collide only mean one more draw.
fn ends_hash(client: IpAddr, port: u16, server: IpAddr, server_port: u16) -> u64 {
    let mut hasher = DefaultHasher::new();
    (client, port, server, server_port).hash(&mut hasher);
    hasher.finish()
}

fn random_host(random: &mut impl Rng) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

impl Nets {
    fn new(nets: &[Net], defaults: &str, flag: &str) -> anyhow::Result<Nets> {
        let of = |v6: bool| {
            let mut given = nets.iter().copied().filter(|net| net.addr.is_ipv6() == v6);
            let first = given.next();
            anyhow::ensure!(
                given.next().is_none(),
                "{flag}: expected one network per IP version, found two"
            );
            let default = || {
                defaults
                    .split(',')
                    .find_map(|net| net.parse().ok().filter(|n: &Net| n.addr.is_ipv6() == v6))
            };
            first.or_else(default).with_context(|| format!("{flag}: no default network"))
        };
        Ok(Nets { v4: of(false)?, v6: of(true)? })
    }

    fn of(&self, ip_version: u8) -> Net {
        if ip_version == 4 { self.v4 } else { self.v6 }
    }
}

/// The ends of the latest flows, as hashes, and until when they are taken.
#[derive(Default)]
struct Taken {
    until: HashMap<u64, i64>,
    order: VecDeque<(u64, i64)>,
}

impl Taken {
    fn is_new(&self, ends: u64) -> bool {
        !self.until.contains_key(&ends)
    }

    fn is_free(&self, ends: u64, at: i64) -> bool {
        self.until.get(&ends).is_none_or(|until| *until <= at)
    }

    fn take(&mut self, ends: u64, alive: Range<i64>) {
        self.until.insert(ends, alive.end);
        self.order.push_back((ends, alive.end));
        // What is forgotten is over.
        while self.order.len() > REMEMBERED
            && let Some(&(oldest, until)) = self.order.front()
            && until <= alive.start
        {
            self.order.pop_front();
            if self.until.get(&oldest) == Some(&until) {
                self.until.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrowio::{FlowSummary, Tokens};
    use clap::Parser;

    use tokenizer::field::TimeUnit;

    use super::*;
    use crate::args::Args;

    fn draw(options: &[&str]) -> Draw {
        let args = Args::parse_from([&["tcp-decode", "in", "out"], options].concat());
        Draw::new(&args.identity).unwrap()
    }

    fn header(ip_version: u8) -> FlowHeader {
        FlowHeader {
            ip_version,
            unit: TimeUnit::Microsecond,
            length_class: 3,
            server_port: 443,
            ..FlowHeader::default()
        }
    }

    fn row(identity: FlowIdentity, duration_ns: i64) -> FlowRow {
        let summary = FlowSummary { duration_ns, ..FlowSummary::default() };
        FlowRow { tokens: Tokens::U16(Vec::new()), identity, summary: Some(summary) }
    }

    fn fill(draw: &mut Draw, ip_version: u8, duration_ns: i64) -> Result<FlowIdentity, Fault> {
        let mut row = row(FlowIdentity::default(), duration_ns);
        draw.fill(&mut row, &header(ip_version)).unwrap().map_or(Ok(row.identity), Err)
    }

    fn drawn(draw: &mut Draw, ip_version: u8) -> FlowIdentity {
        fill(draw, ip_version, 0).unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let many = |seed| {
            let mut draw = draw(&["--seed", seed]);
            (0..20).map(|_| drawn(&mut draw, 4)).collect::<Vec<_>>()
        };
        assert_eq!(many("7"), many("7"));
        assert_ne!(many("7"), many("8"));
    }

    #[test]
    fn some_clocks_count_from_the_start_of_their_machine() {
        let mut draw = draw(&[]);
        let bases: Vec<_> =
            (0..4_000).map(|_| drawn(&mut draw, 4).server.ts_base.unwrap()).collect();
        // Of those from the start 63 %, of the others 0.3 %.
        let early = bases.iter().filter(|base| **base < 14_000_000).count();
        assert!((270..420).contains(&early), "{early}");
        let late = bases.iter().filter(|base| **base > 1 << 31).count();
        assert!((1_600..2_000).contains(&late), "{late}");
    }

    #[test]
    fn no_two_flows_share_their_ends() {
        // One client and one server: only the port is left to differ, out of 28,232.
        let mut draw = draw(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.2/32"]);
        let ports: HashSet<_> = (0..10_000).map(|_| drawn(&mut draw, 4).client_port).collect();
        assert_eq!(ports.len(), 10_000);
    }

    #[test]
    fn what_a_captured_flow_never_showed_stays_unknown() {
        let mut identity =
            FlowIdentity { start_ns: Some(5), client_port: Some(1), ..FlowIdentity::default() };
        identity.client.addr = Some([192, 0, 2, 1].into());
        identity.server.addr = Some([192, 0, 2, 2].into());
        let mut row = row(identity, 0);
        assert_eq!(draw(&[]).fill(&mut row, &header(4)).unwrap(), None);
        assert_eq!(row.identity, identity);
    }

    #[test]
    fn loopback_traffic_keeps_its_one_address() {
        let mut identity =
            FlowIdentity { start_ns: Some(5), client_port: Some(1), ..FlowIdentity::default() };
        identity.client.addr = Some([127, 0, 0, 1].into());
        identity.server.addr = identity.client.addr;
        let mut row = row(identity, 0);
        assert_eq!(draw(&[]).fill(&mut row, &header(4)).unwrap(), None);
        assert_eq!(row.identity, identity);
    }

    #[test]
    fn a_drawn_flow_never_talks_to_itself() {
        let mut draws = draw(&["--client-net", "10.0.0.0/30", "--server-net", "10.0.0.0/30"]);
        for _ in 0..1_000 {
            let identity = drawn(&mut draws, 4);
            assert_ne!(identity.client.addr, identity.server.addr);
        }
        let mut one = draw(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.1/32"]);
        assert_eq!(fill(&mut one, 4, 0).unwrap_err().field, "addresses and ports");
    }

    #[test]
    fn ends_are_used_again_only_once_their_flow_is_over() {
        let ports = Ports::Linux.range().len();
        let nets = [
            "--client-net",
            "10.0.0.1/32",
            "--server-net",
            "10.0.0.2/32",
            "--flows-per-second",
            "1000000",
        ];
        let mut long = draw(&nets);
        // All begin within a fraction of a second and last for an hour.
        let filled: Vec<_> =
            (0..ports + 5).map(|_| fill(&mut long, 4, 3_600_000_000_000)).collect();
        let used: HashSet<_> =
            filled.iter().flatten().map(|identity| identity.client_port).collect();
        assert_eq!((used.len(), filled.iter().filter(|f| f.is_err()).count()), (ports, 5));
        // Ports of flows that ended a minute ago are free.
        long.next_start_ns += 3_661_000_000_000;
        assert!((0..5).all(|_| fill(&mut long, 4, 0).is_ok()));
    }

    #[test]
    fn an_address_of_the_other_version_is_named() {
        let mut identity = FlowIdentity::default();
        identity.server.addr = "2001:db8::1".parse().ok();
        let fault = draw(&[]).fill(&mut row(identity, 0), &header(4)).unwrap().unwrap();
        assert_eq!(fault.said, "column server_addr: expected an IPv4 address, found 2001:db8::1");
    }

    #[test]
    fn starts_come_at_the_rate_asked_for() {
        let mut draw = draw(&["--flows-per-second", "1000", "--start-time", "100"]);
        let starts: Vec<i64> = (0..20_000).map(|_| drawn(&mut draw, 4).start_ns.unwrap()).collect();
        assert_eq!(starts[0], 100_000_000_000);
        assert!(starts.is_sorted() && starts.iter().all(|s| s % 1_000 == 0));
        let seconds = (starts[19_999] - starts[0]) as f64 / 1e9;
        assert!((19.0..21.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn each_version_has_its_own_networks() {
        let mut draw =
            draw(&["--client-net", "10.0.0.0/8,fd00::/64", "--server-net", "172.16.0.0/12"]);
        let v4 = drawn(&mut draw, 4);
        assert!(v4.client.addr.unwrap().to_string().starts_with("10."));
        assert!(v4.client.ip_id_base.is_some() && v4.client.flow_label_base.is_none());
        let v6 = drawn(&mut draw, 6);
        assert!(v6.client.addr.unwrap().to_string().starts_with("fd00:"));
        assert!(
            v6.server.addr.unwrap().to_string().starts_with("2001:db8:5:"),
            "the default stays"
        );
    }
}
