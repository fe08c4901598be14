//! Traces of hosts against traces of hosts score at the floor, and known damage is found by the
//! measures that should find it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use fidelity::{
    Damage, TraceComparison, TraceFlow, TraceSides, Traces, compare_traces, trace_targets,
};
use flowtrack::{Direction, Flow, OptionsRef, Packet};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tcpwire::{Flags, SeqNum};

/// One flow of a host: a handshake, data and its end.
struct HostFlow {
    client: IpAddr,
    server: IpAddr,
    client_port: u16,
    start_ns: i64,
    duration_ns: i64,
    rtt_ns: i64,
    tsvals: [u32; 2],
    ids: [u16; 2],
    is_apple: bool,
    server_ttl: u8,
}

impl HostFlow {
    fn flow(&self) -> Flow {
        let mut flow = Flow::new(self.client, self.server);
        (flow.client.port, flow.server.port) = (self.client_port, 443);
        let times =
            [0, self.rtt_ns, self.rtt_ns + 1_000, self.duration_ns.max(self.rtt_ns + 2_000)];
        let sent = [
            (Direction::Forward, Flags::SYN),
            (Direction::Reverse, Flags::SYN | Flags::ACK),
            (Direction::Forward, Flags::ACK),
            (Direction::Reverse, Flags::ACK | Flags::RST),
        ];
        for ((direction, flags), after_ns) in sent.into_iter().zip(times) {
            let side = direction.index();
            let tsval = self.tsvals[side].wrapping_add((after_ns / 1_000_000) as u32);
            let mut options = vec![2, 4, 5, 180, 4, 2, 8, 10];
            if self.is_apple {
                options = vec![2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 8, 10];
            }
            options.extend(tsval.to_be_bytes());
            options.extend([0; 4]);
            let start = flow.options.len() as u32;
            flow.options.extend(&options);
            flow.packets.push(Packet {
                time_ns: self.start_ns + after_ns,
                seq: SeqNum(1),
                ack: SeqNum(1),
                payload_len: 0,
                flow_label: 0,
                options: OptionsRef { start, len: options.len() as u8 },
                flags,
                window: 64_240,
                urgent: 0,
                ip_id: self.ids[side].wrapping_add(u16::from(after_ns > self.rtt_ns)),
                ttl: if side == 0 { 64 } else { self.server_ttl },
                traffic_class: 0,
                dont_fragment: true,
                direction,
            });
        }
        flow
    }
}

/// Traces of hosts that come back to few servers, in bursts, with clocks for each pair, even port
/// steps to each server and one counter of identifications.
fn traces(seed: u64) -> Traces {
    let mut traces = Traces::default();
    for capture in 0..24 {
        let mut random = ChaCha8Rng::seed_from_u64(seed << 32 | capture);
        let clients = random.random_range(1..=3);
        for client in 0..clients {
            for flow in host(capture as u8, client, &mut random) {
                let flow = TraceFlow::from_flow(&flow.flow()).unwrap();
                traces.add(&capture.to_string(), flow);
            }
        }
    }
    traces.finish()
}

fn host(capture: u8, client: u8, random: &mut impl Rng) -> Vec<HostFlow> {
    let servers = random.random_range(2..=5);
    let mut next_port = [40_000_u16; 5].map(|port| port + 2 * random.random_range(0..5_000));
    let offsets: [[u32; 2]; 5] = std::array::from_fn(|_| random.random());
    let rtts = [(); 5].map(|()| 10_f64.powf(random.random_range(6.0..8.0)));
    let mut ids: [u16; 2] = random.random();
    let is_apple = random.random_bool(0.5);
    let mut start_ns = random.random_range(0..1_000_000_000_i64);
    let mut server = 0;
    let mut flow = || {
        if random.random_bool(0.2) {
            server = random.random_range(0..servers);
        }
        let decades = if random.random_bool(0.7) { 5.0..7.5 } else { 9.5..11.0 };
        start_ns += 10_f64.powf(random.random_range(decades)) as i64;
        next_port[server] += 2 * random.random_range(1..=3);
        ids = ids.map(|id| id.wrapping_add(random.random_range(2..20)));
        let tick = (start_ns / 1_000_000) as u32;
        HostFlow {
            client: Ipv4Addr::new(10, capture, 0, client).into(),
            server: Ipv4Addr::new(192, 0, 2, 20 * client + server as u8).into(),
            client_port: next_port[server],
            start_ns,
            duration_ns: 10_f64.powf(random.random_range(6.0..9.0)) as i64,
            rtt_ns: (rtts[server] * random.random_range(0.9..1.1)) as i64,
            tsvals: offsets[server].map(|offset| offset.wrapping_add(tick)),
            ids,
            is_apple,
            server_ttl: 50 + server as u8,
        }
    };
    (0..40).map(|_| flow()).collect()
}

/// Traces of hosts against traces of other such hosts.
static FOUND: LazyLock<TraceComparison> = LazyLock::new(|| {
    let (real, generated) = (traces(1), traces(2));
    let sides = TraceSides { real: &real, generated: &generated, reference: None };
    compare_traces(&sides, 8, 1, |_| ()).unwrap()
});

/// Returns the distance of a measure with a damage, above the floor.
fn above(name: &str, damage: Damage) -> f64 {
    let measure = FOUND.measures.iter().find(|measure| measure.name == name).unwrap();
    let number = Damage::ALL.iter().position(|of| *of == damage).unwrap();
    measure.damaged[number] - measure.floor.value
}

#[test]
fn hosts_against_such_hosts_are_at_the_floor() {
    for measure in &FOUND.measures {
        let (value, floor) = (measure.generated.value, measure.floor.value);
        assert!(value < floor + 0.05, "{}: {value} {floor}", measure.name);
    }
    let trees = FOUND.trees.as_ref().unwrap();
    for auc in [trees.generated, trees.floor, trees.generated_with_identifiers] {
        assert!((0.3..0.68).contains(&auc.value), "{auc:?}");
    }
    let missed: Vec<_> = trace_targets(&FOUND).into_iter().filter(|of| !of.is_met).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn each_damage_is_found_by_the_measures_that_should() {
    let found = [
        (Damage::PoissonStarts, &["gap_per_client", "gap_per_capture", "burstiness"][..]),
        (
            Damage::DealtFlows,
            &["servers_per_client", "destination", "syn_as_before", "open_to_server"],
        ),
        (Damage::RandomPorts, &["port_step", "port_step_in_pair"]),
        (Damage::RandomCounters, &["client_ids", "client_clocks", "server_ids", "server_clocks"]),
    ];
    for (damage, measures) in found {
        for name in measures {
            let above = above(name, damage);
            assert!(above > 0.05, "{name} with {}: {above}", damage.name());
        }
    }
    // Damage to other properties leaves a measure where it is.
    for (damage, name) in [
        (Damage::PoissonStarts, "destination"),
        (Damage::PoissonStarts, "port_step"),
        (Damage::PoissonStarts, "client_clocks"),
        (Damage::DealtFlows, "gap_per_client"),
        (Damage::RandomPorts, "client_ids"),
        (Damage::RandomPorts, "gap_per_client"),
        (Damage::RandomCounters, "port_step"),
        (Damage::RandomCounters, "syn_as_before"),
    ] {
        assert!(above(name, damage) < 1e-9, "{name} with {}", damage.name());
    }
}

#[test]
fn trees_find_each_damage() {
    let trees = FOUND.trees.as_ref().unwrap();
    for auc in trees.damaged.iter().chain(&trees.damaged_with_identifiers) {
        assert!(auc.value > 0.9, "{auc:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_distances() {
    let (real, generated) = (traces(1), traces(2));
    let sides = TraceSides { real: &real, generated: &generated, reference: None };
    assert_eq!(compare_traces(&sides, 8, 1, |_| ()).unwrap(), *FOUND);
    assert_ne!(compare_traces(&sides, 8, 2, |_| ()).unwrap().measures, FOUND.measures);
}

#[test]
fn strange_traces_are_refused_or_measured() {
    let (real, none) = (traces(1), Traces::default());
    let compared = |real: &Traces, generated: &Traces| {
        let sides = TraceSides { real, generated, reference: None };
        compare_traces(&sides, 8, 1, |_| ()).map_err(|error| error.to_string())
    };
    let expected = "traces of generated: expected at least 1 captures with flows that have \
                    addresses and a SYN, found 0";
    assert_eq!(compared(&real, &none).unwrap_err(), expected);
    let mut one = Traces::default();
    let flow = host(0, 0, &mut ChaCha8Rng::seed_from_u64(1)).remove(0).flow();
    one.add("one", TraceFlow::from_flow(&flow).unwrap());
    let one = one.finish();
    assert!(compared(&one, &real).unwrap_err().contains("traces of real: expected at least 2"));
    let found = compared(&real, &one).unwrap();
    assert_eq!((found.generated, found.trees), ([1, 1, 1], None));
    assert!(found.measures.iter().all(|measure| measure.generated.value.is_finite()));
    // A flow without its SYN is of no host.
    let mut later = flow.clone();
    later.packets.remove(0);
    assert_eq!(TraceFlow::from_flow(&later), None);
}
