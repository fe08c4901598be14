//! Measures that learn: each finds the damage that it is for, and real against real scores what
//! chance does.

use fidelity::{Comparison, FlowSets, compare};
use flowtrack::{Direction, Flow};
use tcpwire::{Flags, SeqNum};

use super::{REAL, SETTINGS, against, bits, decades, gcd};

fn trees(found: &Comparison) -> f64 {
    found.discriminators.trees.generated.value
}

fn with_identifiers(found: &Comparison) -> f64 {
    found.discriminators.trees_with_identifiers.unwrap().generated.value
}

fn sequence(found: &Comparison) -> f64 {
    found.discriminators.sequence.generated.value
}

#[test]
fn real_against_real_is_not_told_apart_and_teaches_as_much() {
    let found = against(&REAL[1]);
    // Neighbours in a capture are alike, and every second one is on the other side: scores are
    // rather below 0.5 than above.
    let is_told = |auc: f64| auc > 0.58;
    for kind in [&found.discriminators.trees, &found.discriminators.sequence] {
        assert!(!is_told(kind.generated.value), "{:?}", found.discriminators);
        assert!((kind.floor.value - 0.5).abs() < 0.1, "{:?}", found.discriminators);
        assert!(
            kind.generated.low < kind.generated.value && kind.generated.value < kind.generated.high
        );
    }
    assert!(!is_told(with_identifiers(&found)), "{:?}", found.discriminators);
    let utility = found.utility.unwrap();
    assert!(utility.real.value > utility.chance + 0.3, "{utility:?}");
    assert!(utility.ratio.value > 0.95, "{utility:?}");
    assert_eq!(found.memorisation, None);
}

#[test]
fn one_field_that_is_off_is_found_by_trees() {
    let mut damaged = REAL[1].clone();
    damaged.iter_mut().flat_map(|f| &mut f.packets).for_each(|p| p.ttl = p.ttl.wrapping_sub(3));
    let found = against(&damaged);
    assert!(trees(&found) > 0.95, "{:?}", found.discriminators);
    let tells = &found.discriminators.single_features;
    assert!(
        tells[..2].iter().all(|t| t.name.starts_with("ttl_") && t.generated > t.floor + 0.1),
        "{tells:?}"
    );
    assert!(tells[2].generated < tells[2].floor + 0.05, "{tells:?}");
    // Packets in order are as they were.
    assert!(sequence(&found) < 0.6, "{:?}", found.discriminators);
}

#[test]
fn with_a_reference_what_is_learnt_from_it_is_tried_on_others() {
    let every_second =
        |from: usize| REAL[1].iter().skip(from).step_by(2).cloned().collect::<Vec<_>>();
    let (reference, mut generated) = (every_second(0), every_second(1));
    let told = |generated: &[Flow]| {
        let sides = FlowSets {
            real: &REAL[0],
            generated,
            reference: Some(&reference),
            training: None,
            has_identifiers: false,
        };
        compare(&sides, SETTINGS, |_| ()).unwrap()
    };
    let same = told(&generated);
    assert_eq!(same.discriminators.held_out, fidelity::HeldOut::Captures);
    let trees = same.discriminators.trees;
    assert!(
        [trees.generated.value, trees.floor.value].iter().all(|auc| (auc - 0.5).abs() < 0.12),
        "{trees:?}"
    );
    assert!(same.utility.unwrap().ratio.value > 0.9);
    generated.iter_mut().flat_map(|f| &mut f.packets).for_each(|p| p.ttl = p.ttl.wrapping_sub(3));
    let damaged = told(&generated).discriminators.trees;
    assert!(
        damaged.generated.value > 0.95 && (damaged.floor.value - trees.floor.value).abs() < 1e-12,
        "{damaged:?}"
    );
}

#[test]
fn an_identifier_that_gives_away_is_found_by_trees_that_see_it_and_by_no_other() {
    let mut damaged = REAL[1].clone();
    for flow in &mut damaged {
        // Every flow's first number is below 2^20.
        let by = flow.packets[0].seq.0 >> 20 << 20;
        for p in &mut flow.packets {
            match p.direction {
                Direction::Forward => p.seq = SeqNum(p.seq.0.wrapping_sub(by)),
                Direction::Reverse => p.ack = SeqNum(p.ack.0.wrapping_sub(by)),
            }
        }
    }
    let found = against(&damaged);
    assert!(with_identifiers(&found) > 0.95, "{:?}", found.discriminators);
    assert!(trees(&found) < 0.6, "{:?}", found.discriminators);
}

/// The gaps before a side's packets between the handshake and the end, moved on by one packet of
/// that side: no sum, mean or extreme over the flow changes, nor does any header.
fn moved_on(flow: &Flow) -> Flow {
    let mut flow = flow.clone();
    let n = flow.packets.len();
    let mut gaps: Vec<i64> =
        (0..n).map(|i| flow.packets[i].time_ns - flow.packets[i.max(1) - 1].time_ns).collect();
    let last = |d: Direction| flow.packets.iter().rposition(|p| p.direction == d).unwrap_or(0);
    let end = last(Direction::Forward).min(last(Direction::Reverse));
    for d in [Direction::Forward, Direction::Reverse] {
        let of: Vec<usize> = (3..end).filter(|&i| flow.packets[i].direction == d).collect();
        let mut moved: Vec<i64> = of.iter().map(|&i| gaps[i]).collect();
        let by = usize::from(!moved.is_empty());
        moved.rotate_right(by);
        of.iter().zip(moved).for_each(|(&i, gap)| gaps[i] = gap);
    }
    let mut time = flow.packets[0].time_ns;
    for (p, gap) in flow.packets.iter_mut().zip(gaps) {
        time += gap;
        p.time_ns = time;
    }
    flow
}

#[test]
fn gaps_in_another_order_are_found_by_the_sequence_model_and_by_no_tree() {
    let damaged: Vec<Flow> = REAL[1].iter().map(moved_on).collect();
    let found = against(&damaged);
    assert!(sequence(&found) > 0.75, "{:?}", found.discriminators);
    assert!(trees(&found) < sequence(&found) - 0.2, "{:?}", found.discriminators);
    assert!(decades(&found, "gap_client") < 0.05 && decades(&found, "duration") < 0.05);
}

#[test]
fn packets_in_another_order_are_found_by_both() {
    let mut damaged = REAL[1].clone();
    for flow in &mut damaged {
        let n = flow.packets.len();
        let times: Vec<i64> = flow.packets.iter().map(|p| p.time_ns).collect();
        if n > 9 {
            flow.packets[5..n - 3].rotate_left(1);
        }
        flow.packets.iter_mut().zip(times).for_each(|(p, t)| p.time_ns = t);
    }
    let found = against(&damaged);
    assert!(sequence(&found) > 0.9 && trees(&found) > 0.8, "{:?}", found.discriminators);
}

/// Flows with one of two server ports, TTLs and MSS, by a bit for each of the five.
fn marked(flows: &[Flow], bit: impl Fn(usize, usize) -> bool) -> Vec<Flow> {
    let mark = |(i, flow): (usize, &Flow)| {
        let mut flow = flow.clone();
        flow.server.port = if bit(i, 0) { 7_001 } else { 7_002 };
        for p in &mut flow.packets {
            let d = p.direction.index();
            p.ttl = if bit(i, 1 + d) { 100 } else { 101 };
            let start = p.options.start as usize;
            if p.flags.contains(Flags::SYN) && flow.options[start..].first() == Some(&2) {
                flow.options[start + 3] = if bit(i, 3 + d) { 100 } else { 101 };
            }
        }
        flow
    };
    flows.iter().enumerate().map(mark).collect()
}

#[test]
fn values_that_go_with_the_wrong_others_are_found_by_cmd_and_by_no_marginal() {
    let real = marked(&REAL[0], |i, _| i.is_multiple_of(2));
    let compared = |generated: &[Flow]| {
        let sides = FlowSets {
            real: &real,
            generated,
            reference: None,
            training: None,
            has_identifiers: false,
        };
        compare(&sides, SETTINGS, |_| ()).unwrap()
    };
    let apart = compared(&marked(&REAL[1], |i, field| i >> field & 1 == 0));
    let cmd = apart.dependence.cmd;
    assert!(cmd.generated.value > cmd.floor.value + 0.05, "{cmd:?}");
    assert!(["server_port", "ttl", "mss"].iter().all(|name| bits(&apart, name) < 0.02));
    let cmd = compared(&marked(&REAL[1], |i, _| i.is_multiple_of(2))).dependence.cmd;
    assert!(cmd.generated.value < cmd.floor.value + 0.02, "{cmd:?}");
}

#[test]
fn ports_that_go_with_nothing_teach_nothing() {
    let mut damaged = REAL[1].clone();
    let ports: Vec<u16> = damaged.iter().map(|f| f.server.port).collect();
    let n = ports.len();
    let step = (n / 2 + 1..).find(|s| gcd(n, *s) == 1).unwrap();
    damaged.iter_mut().enumerate().for_each(|(i, f)| f.server.port = ports[i * step % n]);
    let found = against(&damaged);
    assert!(bits(&found, "server_port") < 0.02);
    let utility = found.utility.as_ref().unwrap();
    assert!(utility.ratio.value < 0.85, "{utility:?}");
}

#[test]
fn flows_of_the_training_data_are_known_again() {
    let every_second =
        |from: usize| REAL[1].iter().skip(from).step_by(2).cloned().collect::<Vec<_>>();
    let training = every_second(0);
    let remembered = |generated: &[Flow]| {
        let sides = FlowSets {
            real: &REAL[0],
            generated,
            reference: None,
            training: Some(&training),
            has_identifiers: false,
        };
        let found = compare(&sides, SETTINGS, |_| ()).unwrap();
        assert_eq!(found.discriminators.trees_with_identifiers, None);
        found.memorisation.unwrap()
    };
    let copied = remembered(&training);
    assert_eq!(copied.copies.generated.value, 1.0);
    assert_eq!(copied.nearest_training.generated.value, 0.0);
    assert!(copied.closer_to_training.generated.value > 0.8, "{copied:?}");
    assert!((copied.closer_to_training.floor.value - 0.5).abs() < 0.15, "{copied:?}");
    let fresh = remembered(&every_second(1));
    assert!((fresh.closer_to_training.generated.value - 0.5).abs() < 0.15, "{fresh:?}");
    assert!(fresh.copies.generated.value < copied.copies.floor.value + 0.1, "{fresh:?}");
}
