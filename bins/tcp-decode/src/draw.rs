//! What a generated flow has that its tokens do not say, drawn from a seed.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use anyhow::Context;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizer::field::FlowHeader;
use tokenizer::{FlowIdentity, SideIdentity};

use crate::args::{CLIENT_NETS, IdentityArgs, Net, SERVER_NETS};

/// The ports that Linux gives to clients by default (`net.ipv4.ip_local_port_range`).
const CLIENT_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// So many of the latest flows have ends unlike any other's.
const REMEMBERED: usize = 1 << 20;
/// So often ends are drawn again before two flows may share them: a network may have too few addresses.
const TRIES: usize = 100;

/// Draws identities, one flow after the other.
pub(crate) struct Draw {
    random: ChaCha8Rng,
    clients: Nets,
    servers: Nets,
    next_start_ns: i64,
    flows_per_second: f64,
    recent: Recent,
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
            recent: Recent::default(),
        })
    }

    /// Fills in what is missing. A flow with its addresses came from a capture and keeps what it has and has not; only
    /// its start is drawn where it is unknown.
    pub(crate) fn fill(&mut self, identity: &mut FlowIdentity, header: &FlowHeader) -> anyhow::Result<()> {
        if identity.start_ns.is_none() {
            identity.start_ns = Some(self.start(header.unit_ns)?);
        }
        if identity.client.addr.is_some() && identity.server.addr.is_some() {
            return Ok(());
        }
        for side in [&mut identity.client, &mut identity.server] {
            self.bases(side, header.ip_version);
        }
        self.ends(identity, header);
        Ok(())
    }

    /// The start of the next flow, in whole units of its clock. The gaps are exponential: arrivals are a Poisson process.
    fn start(&mut self, unit_ns: i64) -> anyhow::Result<i64> {
        let start = self.next_start_ns;
        let gap = -(1.0 - self.random.random::<f64>()).ln() / self.flows_per_second;
        let gap_ns = (gap * 1e9) as i64;
        self.next_start_ns = start.checked_add(gap_ns).context("start of a flow: beyond the year 2261")?;
        Ok(start - start.rem_euclid(unit_ns.max(1)))
    }

    fn bases(&mut self, side: &mut SideIdentity, ip_version: u8) {
        let numbers: [u32; 4] = self.random.random();
        side.seq_base.get_or_insert(numbers[0]);
        side.ts_base.get_or_insert(numbers[1]);
        if ip_version == 4 {
            side.ip_id_base.get_or_insert((numbers[2] >> 16) as u16);
        } else {
            // 20 bits, and not 0, which stands for no label.
            side.flow_label_base.get_or_insert(1 + numbers[3] % 0xf_ffff);
        }
    }

    /// Addresses and the client's port, unlike those of the flows before.
    fn ends(&mut self, identity: &mut FlowIdentity, header: &FlowHeader) {
        let (clients, servers) = (self.clients.of(header.ip_version), self.servers.of(header.ip_version));
        let given = *identity;
        for _ in 0..TRIES {
            let client = given.client.addr.unwrap_or_else(|| clients.host(random_host(&mut self.random)));
            let server = given.server.addr.unwrap_or_else(|| servers.host(random_host(&mut self.random)));
            let port = given.client_port.unwrap_or_else(|| self.random.random_range(CLIENT_PORTS));
            identity.client.addr = Some(client);
            identity.server.addr = Some(server);
            identity.client_port = Some(port);
            if self.recent.is_new((client, port, server, header.server_port)) {
                break;
            }
        }
    }
}

fn random_host(random: &mut impl Rng) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

impl Nets {
    fn new(nets: &[Net], defaults: &str, flag: &str) -> anyhow::Result<Nets> {
        let of = |v6: bool| {
            let mut given = nets.iter().copied().filter(|net| net.addr.is_ipv6() == v6);
            let first = given.next();
            anyhow::ensure!(given.next().is_none(), "{flag}: expected one network per IP version, found two");
            let default =
                || defaults.split(',').find_map(|net| net.parse().ok().filter(|n: &Net| n.addr.is_ipv6() == v6));
            first.or_else(default).with_context(|| format!("{flag}: no default network"))
        };
        Ok(Nets { v4: of(false)?, v6: of(true)? })
    }

    fn of(&self, ip_version: u8) -> Net {
        if ip_version == 4 { self.v4 } else { self.v6 }
    }
}

/// The ends of the latest flows, as hashes: two that collide only mean one more draw.
#[derive(Default)]
struct Recent {
    set: std::collections::HashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    fn is_new(&mut self, ends: (IpAddr, u16, IpAddr, u16)) -> bool {
        let mut hasher = DefaultHasher::new();
        ends.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.set.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn draw(options: &[&str]) -> Draw {
        let args = Args::parse_from([&["tcp-decode", "in", "out"], options].concat());
        Draw::new(&args.identity).unwrap()
    }

    fn header(ip_version: u8) -> FlowHeader {
        FlowHeader {
            ip_version,
            unit_ns: 1_000,
            close: tokenizer::field::Close::Graceful,
            opened: true,
            length_class: 3,
            server_port: 443,
        }
    }

    fn drawn(draw: &mut Draw, ip_version: u8) -> FlowIdentity {
        let mut identity = FlowIdentity::default();
        draw.fill(&mut identity, &header(ip_version)).unwrap();
        identity
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
    fn no_two_flows_share_their_ends() {
        // One client and one server: only the port is left to differ, out of 28,232.
        let mut draw = draw(&["--client-net", "10.0.0.1/32", "--server-net", "10.0.0.2/32"]);
        let ports: HashSet<_> = (0..10_000).map(|_| drawn(&mut draw, 4).client_port).collect();
        assert_eq!(ports.len(), 10_000);
    }

    #[test]
    fn what_a_captured_flow_never_showed_stays_unknown() {
        let mut identity = FlowIdentity { start_ns: Some(5), client_port: Some(1), ..FlowIdentity::default() };
        identity.client.addr = Some([192, 0, 2, 1].into());
        identity.server.addr = Some([192, 0, 2, 2].into());
        let before = identity;
        draw(&[]).fill(&mut identity, &header(4)).unwrap();
        assert_eq!(identity, before);
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
        let mut draw = draw(&["--client-net", "10.0.0.0/8,fd00::/64", "--server-net", "172.16.0.0/12"]);
        let v4 = drawn(&mut draw, 4);
        assert!(v4.client.addr.unwrap().to_string().starts_with("10."));
        assert!(v4.client.ip_id_base.is_some() && v4.client.flow_label_base.is_none());
        let v6 = drawn(&mut draw, 6);
        assert!(v6.client.addr.unwrap().to_string().starts_with("fd00:"));
        assert!(v6.server.addr.unwrap().to_string().starts_with("2001:db8:5:"), "the default stays");
    }
}
