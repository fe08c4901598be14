//! Real flows against real ones score at the floor, and known damage is found by the measure that
//! should find it.

mod learnt;
mod traces;

use std::sync::LazyLock;

use fidelity::{
    BEHAVIOURS, CHECKS, Comparison, Error, FlowSets, PartComparison, Settings, behaviours, compare,
    targets, validity,
};
use flowtrack::{Direction, Flow};
use tcpwire::Flags;
use testkit::captures::complete_flows;

/// Complete flows of some captures, in two halves: those with even and those with odd indices.
static REAL: LazyLock<[Vec<Flow>; 2]> = LazyLock::new(|| {
    let names = ["http-lan.pcap", "http-clients.pcap", "ssh.pcap", "quick.pcap"];
    let flows = names.into_iter().flat_map(|name| complete_flows(&testkit::testdata(name)));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (i, flow) in flows.enumerate() {
        if i % 2 == 0 { &mut a } else { &mut b }.push(flow);
    }
    a.truncate(400);
    b.truncate(400);
    [a, b]
});

const SETTINGS: Settings = Settings { seed: 1, repeats: 5, neighbours: 300, learners: 400 };

fn try_against(generated: &[Flow]) -> Result<Comparison, Error> {
    let real = &REAL[0];
    let sides =
        FlowSets { real, generated, reference: None, training: None, has_identifiers: true };
    compare(&sides, SETTINGS, |_| ())
}

fn against(generated: &[Flow]) -> Comparison {
    try_against(generated).unwrap()
}

/// Returns the divergence of a categorical field above its floor, in bits.
fn bits(found: &Comparison, name: &str) -> f64 {
    let field = found.categorical.iter().find(|f| f.name == name).unwrap();
    field.jsd_bits.generated.value - field.jsd_bits.floor.value
}

/// Returns the distance of a continuous field above its floor, in decades.
fn decades(found: &Comparison, name: &str) -> f64 {
    let field = found.continuous.iter().find(|f| f.name == name).unwrap();
    field.wasserstein1.generated.value - field.wasserstein1.floor.value
}

fn share(found: &Comparison, name: &str) -> f64 {
    found.validity_generated.share(CHECKS.iter().position(|c| c.name == name).unwrap())
}

#[test]
fn real_against_real_is_at_the_floor() {
    let found = against(&REAL[1]);
    for field in &found.categorical {
        assert!(bits(&found, field.name) < 0.02, "{}: {:?}", field.name, field.jsd_bits);
    }
    for field in &found.continuous {
        assert!(decades(&found, field.name) < 0.05, "{}: {:?}", field.name, field.wasserstein1);
    }
    let diversity = &found.diversity;
    assert!(diversity.coverage.generated.value > 0.9, "{:?}", diversity.coverage);
    assert!((diversity.density.generated.value - 1.0).abs() < 0.15, "{:?}", diversity.density);
    assert!(found.dependence.pcd.generated.value < found.dependence.pcd.floor.value + 0.05);
    assert!(found.validity_generated.share_all() > 0.99, "{:?}", found.validity_generated);
}

#[test]
fn one_constant_ttl_is_found_by_its_field_alone() {
    let mut damaged = REAL[1].clone();
    damaged.iter_mut().flat_map(|f| &mut f.packets).for_each(|p| p.ttl = 77);
    let found = against(&damaged);
    assert!(bits(&found, "ttl") > 0.9, "{}", bits(&found, "ttl"));
    assert!(bits(&found, "flags") < 0.02);
    assert!(decades(&found, "gap_client") < 0.05);
}

#[test]
fn a_wrong_rate_of_flags_is_found_by_flags_and_what_is_made_of_them() {
    let mut damaged = REAL[1].clone();
    let data = damaged.iter_mut().flat_map(|f| &mut f.packets).filter(|p| p.payload_len > 0);
    data.for_each(|p| p.flags = Flags::from_bits_retain(p.flags.bits() & !Flags::PSH.bits()));
    let found = against(&damaged);
    assert!(bits(&found, "flags") > 0.03, "{}", bits(&found, "flags"));
    assert!(bits(&found, "flag_bigram") > 0.06, "{}", bits(&found, "flag_bigram"));
    assert!(bits(&found, "ttl") < 0.02);
}

#[test]
fn shuffled_gaps_are_found_by_gaps_and_dependence_and_leave_marginals_of_headers() {
    let mut damaged = REAL[1].clone();
    let mut gaps: Vec<i64> = damaged
        .iter()
        .flat_map(|f| f.packets.windows(2))
        .map(|w| w[1].time_ns - w[0].time_ns)
        .collect();
    // Every gap at another place, the same at each run: a large step through all of them.
    let n = gaps.len();
    let step = (n / 2 + 1..).find(|s| gcd(n, *s) == 1).unwrap();
    gaps = (0..n).map(|i| gaps[i * step % n]).collect();
    let mut next = gaps.into_iter();
    for flow in &mut damaged {
        for i in 1..flow.packets.len() {
            flow.packets[i].time_ns = flow.packets[i - 1].time_ns + next.next().unwrap();
        }
    }
    let found = against(&damaged);
    assert!(decades(&found, "handshake_rtt") > 0.1, "{}", decades(&found, "handshake_rtt"));
    let pcd = found.dependence.pcd;
    assert!(pcd.generated.value > pcd.floor.value + 0.05, "{pcd:?}");
    assert!(bits(&found, "flag_bigram") < 0.02);
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn repeated_flows_are_found_by_coverage_and_repeats() {
    let damaged: Vec<Flow> = (0..300).map(|i| REAL[1][i % 10].clone()).collect();
    let found = against(&damaged);
    let diversity = &found.diversity;
    assert!(diversity.exact_repeats.generated.value > 0.9, "{:?}", diversity.exact_repeats);
    assert!(diversity.exact_repeats.floor.value < 0.05, "{:?}", diversity.exact_repeats);
    assert!(diversity.coverage.generated.value < 0.5, "{:?}", diversity.coverage);
}

#[test]
fn broken_acknowledgments_are_found_by_validity() {
    let mut damaged = REAL[1].clone();
    for flow in &mut damaged {
        let last = flow.packets.iter_mut().rev().find(|p| p.flags.contains(Flags::ACK)).unwrap();
        last.ack = last.ack.add(5_000);
    }
    let found = against(&damaged);
    assert_eq!(share(&found, "acknowledgments"), 0.0);
    assert_eq!(share(&found, "handshake"), found.validity_generated.share(0));
    assert!(share(&found, "options") > 0.99);
}

#[test]
fn every_check_finds_its_damage_in_one_flow() {
    let flow = REAL[0].iter().find(|f| {
        validity(f).iter().all(|&ok| ok)
            && f.packets.len() > 10
            && f.options.len() > 12 * f.packets.len() / 2
    });
    let whole = flow.unwrap();
    let index = |name: &str| CHECKS.iter().position(|c| c.name == name).unwrap();
    let broken = |name: &str, damage: &dyn Fn(&mut Flow)| {
        let mut flow = whole.clone();
        damage(&mut flow);
        assert!(!validity(&flow)[index(name)], "{name}");
    };
    broken("handshake", &|f| f.packets[1].ack = f.packets[1].ack.add(1));
    broken("time", &|f| f.packets[5].time_ns = f.packets[4].time_ns - 1);
    broken("octets", &|f| {
        let at = f.packets.iter().position(|p| p.payload_len > 0).unwrap();
        f.packets.remove(at);
    });
    broken("acknowledgments", &|f| f.packets[4].ack = f.packets[4].ack.add(1 << 20));
    broken("window", &|f| f.packets.iter_mut().for_each(|p| p.window = 0));
    broken("after_fin", &|f| {
        let fin = *f.packets.iter().find(|p| p.flags.contains(Flags::FIN)).unwrap();
        let mut more = fin;
        (more.payload_len, more.flags, more.seq) =
            (100, Flags::ACK, fin.seq.add(fin.payload_len + 1));
        f.packets.push(flowtrack::Packet { time_ns: f.packets.last().unwrap().time_ns, ..more });
    });
    broken("options", &|f| {
        let at = f.packets[3].options.start as usize;
        f.options[at..at + 4].copy_from_slice(&[8, 60, 0, 0]);
    });
    broken("tsval", &|f| {
        let p = f
            .packets
            .iter()
            .rev()
            .find(|p| p.payload_len > 0 || p.flags.contains(Flags::FIN))
            .unwrap();
        let at = p.options.start as usize;
        f.options[at + 4..at + 8].fill(0);
    });
    broken("tsecr", &|f| {
        let at = f.packets[4].options.start as usize;
        f.options[at + 8..at + 12].copy_from_slice(&[1, 2, 3, 4]);
    });
    broken("close", &|f| {
        f.packets.retain(|p| !p.flags.contains(Flags::FIN) && !p.flags.contains(Flags::RST))
    });
}

#[test]
fn the_same_seed_gives_the_same_and_too_few_flows_are_refused() {
    assert_eq!(against(&REAL[1][..50]), against(&REAL[1][..50]));
    let refused = try_against(&REAL[1][..19]).unwrap_err();
    assert_eq!(refused, Error::TooFew { side: "generated", least: 20, found: 19 });
}

/// Returns a flow of testdata with four data segments or more of the client, answered after 5 ms or
/// more, that shows no behaviour.
fn well_behaved(flow: &&Flow) -> bool {
    let data = |p: &&flowtrack::Packet| p.direction == Direction::Forward && p.payload_len > 0;
    flow.packets.iter().filter(data).count() >= 4
        && flow.client.addr.is_ipv4()
        && behaviours(flow).iter().all(|b| b.shown == 0)
        && behaviours(flow)[0].units == 1
}

#[test]
fn every_behaviour_is_found_where_it_is_put_into_one_flow() {
    let flows: Vec<Flow> =
        ["ssh.pcap", "http-wan.pcap", "quick.pcap", "http-clients.pcap", "http-lan.pcap"]
            .into_iter()
            .filter(|name| testkit::testdata(name).exists())
            .flat_map(|name| complete_flows(&testkit::testdata(name)))
            .collect();
    let whole = flows.iter().find(well_behaved).expect("testdata has such a flow");
    let index = |name: &str| BEHAVIOURS.iter().position(|b| b.name == name).unwrap();
    let shown = |name: &str, change: &dyn Fn(&mut Flow)| {
        let mut flow = whole.clone();
        change(&mut flow);
        let found = behaviours(&flow)[index(name)];
        assert!(found.shown > 0 && found.shown <= found.units, "{name}: {found:?}");
    };
    let forward = |p: &flowtrack::Packet| p.direction == Direction::Forward;
    // The answer to a segment comes as soon as it is sent.
    let hurry = |from: Direction| {
        move |f: &mut Flow| {
            let mut last_data = None;
            for p in &mut f.packets {
                if p.direction == from && p.payload_len > 0 {
                    last_data = Some(p.time_ns);
                } else if let (true, Some(at)) = (p.direction != from, last_data) {
                    p.time_ns = at + 1_000;
                }
            }
        }
    };
    shown("early_ack_of_client", &hurry(Direction::Forward));
    shown("early_ack_of_server", &|f| {
        // The client answers SYN-ACK after 10 ms more, and data at once.
        f.packets[2..].iter_mut().for_each(|p| p.time_ns += 10_000_000);
        hurry(Direction::Reverse)(f);
    });
    shown("window_taken_back", &|f| {
        let last = f.packets.iter_mut().rfind(|p| forward(p) && p.payload_len > 0).unwrap();
        last.window = 0;
    });
    let after = |flags: Flags, window: u16| {
        move |f: &mut Flow| {
            let last = *f.packets.last().unwrap();
            f.packets.push(flowtrack::Packet { flags, window, payload_len: 0, ..last });
        }
    };
    shown("reset_after_fins", &after(Flags::RST | Flags::ACK, 0));
    shown("packets_after_close", &after(Flags::ACK, 100));
    shown("reset_with_window", &after(Flags::RST, 100));
    shown("repetition", &|f| *f = with_a_loop(f, 40));
    shown("probe_run", &|f| *f = with_a_loop(f, 40));
    shown("long_flow", &|f| *f = with_a_loop(f, 1_024));
    shown("ip_id_repeated", &|f| f.packets.iter_mut().for_each(|p| p.ip_id = 7));
    shown("d_sack", &|f| {
        let mut p = *f.packets.iter().rfind(|p| p.flags.contains(Flags::ACK)).unwrap();
        let end = p.ack.0;
        let block =
            [end.wrapping_sub(20).to_be_bytes(), end.wrapping_sub(10).to_be_bytes()].concat();
        let at = f.options.len() as u32;
        f.options.extend([&[1, 1, 5, 10][..], &block].concat());
        p.options.start = at;
        p.options.len = 12;
        f.packets.push(p);
    });
}

/// Returns a flow whose second half is one keep-alive and its answer after another.
fn with_a_loop(flow: &Flow, packets: usize) -> Flow {
    let mut flow = flow.clone();
    let half = flow.packets.len() / 2;
    let tail = flow.packets.split_off(half);
    let last = |flow: &Flow, side| *flow.packets.iter().rfind(|p| p.direction == side).unwrap();
    let sides = [Direction::Forward, Direction::Reverse].map(|side| last(&flow, side));
    let mut time_ns = flow.packets[half - 1].time_ns;
    for i in 0..packets {
        let p = sides[i % 2];
        time_ns += if i % 2 == 0 { 1_000_000_000 } else { 30_000_000 };
        let end = p.seq.add(p.payload_len);
        let seq = if i % 2 == 0 { end.add(u32::MAX) } else { end };
        let flags = Flags::ACK;
        flow.packets.push(flowtrack::Packet { seq, flags, time_ns, payload_len: 0, ..p });
    }
    let by = time_ns - tail[0].time_ns + 1_000;
    flow.packets.extend(tail.into_iter().map(|mut p| {
        p.time_ns += by;
        p
    }));
    flow
}

#[test]
fn a_loop_in_one_flow_of_many_is_found_by_packets_and_not_by_flows() {
    let plain = |flow: &&Flow| flow.packets.len() > 10 && flow.packets.len() < 100;
    let at = REAL[1].iter().position(|flow| plain(&flow)).unwrap();
    let mut damaged = REAL[1].clone();
    damaged[at] = with_a_loop(&REAL[1][at], 4_000);
    let rate = |found: &Comparison, name: &str| {
        found.behaviours.iter().find(|b| b.name == name).unwrap().generated.value
    };
    let [same, found] = [&REAL[1], &damaged].map(|flows| against(flows));
    for name in ["repetition", "probe_run", "long_flow"] {
        let [before, after] = [&same, &found].map(|found| rate(found, name));
        assert!(after > before + 0.1, "{name}: {before} and {after}");
    }
    let met = |found: &Comparison| -> Vec<(&'static str, bool)> {
        let long =
            targets(found, None).into_iter().filter(|t| ["long flows", "loops"].contains(&t.name));
        long.map(|t| (t.name, t.is_met)).collect()
    };
    assert_eq!(met(&same), [("long flows", true), ("loops", true)]);
    // The flow is in hardly any draw of the bootstrap twice, and in a third of them not at all.
    let loops = damaged.iter().filter(|flow| plain(flow)).take(60);
    let many: Vec<Flow> =
        REAL[1].iter().cloned().chain(loops.map(|f| with_a_loop(f, 4_000))).collect();
    assert_eq!(met(&against(&many)), [("long flows", false), ("loops", false)]);
    // By flows, one of four hundred is nothing.
    for field in &found.categorical {
        assert!(field.name.contains("gram") || bits(&found, field.name) < 0.1, "{}", field.name);
    }
    // Weighted by packets, one flow is a third of all.
    let packets = |of: &PartComparison| {
        let fields = &of.distances.as_ref().unwrap().continuous;
        let field = fields.iter().find(|f| f.name == "packets_client").unwrap();
        field.distance.generated.value - field.distance.floor.value
    };
    let [by_flows, by_packets] = [decades(&found, "packets_client"), packets(&found.by_packets)];
    assert!(by_flows < 0.05 && by_packets > 0.1, "{by_flows} and {by_packets}");
}

#[test]
fn parts_hold_every_flow_once_and_find_damage_in_their_own_flows() {
    let mut damaged = REAL[1].clone();
    let long = damaged.iter_mut().filter(|f| (16..128).contains(&f.packets.len()));
    long.flat_map(|f| &mut f.packets).for_each(|p| p.ttl = 77);
    let found = against(&damaged);
    let sum = |of: fn(&PartComparison) -> [u64; 2], side: usize| -> u64 {
        found.by_length.iter().map(|part| of(part)[side]).sum()
    };
    for (side, all) in [found.real, found.generated].into_iter().enumerate() {
        assert_eq!([sum(|p| p.flows, side), sum(|p| p.packets, side)], all);
        assert_eq!([found.by_packets.flows[side], found.by_packets.packets[side]], all);
    }
    let ttl = |name: &str| {
        let part = found.by_length.iter().find(|part| part.name == name).unwrap();
        let fields = &part.distances.as_ref().unwrap().categorical;
        fields.iter().find(|f| f.name == "ttl").unwrap().distance.generated.value
    };
    assert!(ttl("16 to 127") > 0.9 && ttl("under 16") < 0.1);
}

#[test]
fn a_behaviour_that_only_generated_flows_show_is_off() {
    let mut damaged = REAL[1].clone();
    for flow in &mut damaged {
        let last = *flow.packets.last().unwrap();
        let ip_id = last.ip_id.wrapping_add(u16::from(flow.client.addr.is_ipv4()));
        flow.packets.push(flowtrack::Packet { flags: Flags::RST, ip_id, ..last });
    }
    let found = against(&damaged);
    let off: Vec<&str> =
        found.behaviours.iter().filter(|b| b.is_off()).map(|b| b.name.as_str()).collect();
    assert_eq!(off, ["reset_after_fins"]);
    let same = against(&REAL[1]);
    assert!(same.behaviours.iter().all(|b| !b.is_off()), "{:?}", same.behaviours);
}
