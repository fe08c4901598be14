//! Policies of a host, by the numbers of its flows. A policy that the numbers do not tell apart
//! from another one is none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokenizer::host::{IdPolicy, PortPolicy, TsPolicy};

use super::traits::{SMALL_STEP, SideTraits, TICKS, Tsval};

/// Number of flows from which on policies are told.
pub(super) const MIN_FLOWS: usize = 5;
/// Least number of steps that tell something of a relation.
const MIN_STEPS: usize = 2;
/// Share of steps from which on a relation holds, and up to which it does not.
const HOLDS: f64 = 0.8;
const FAILS: f64 = 0.2;

/// One flow of a host, as its side shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sighting {
    pub(super) start_ns: i64,
    /// Address and port of the other side: of a client's flows the server.
    pub(super) peer: (IpAddr, u16),
    /// Port of the client.
    pub(super) port: u16,
    pub(super) side: SideTraits,
}

/// Steps of a number from one flow to the next, and how many are as a relation has them.
#[derive(Clone, Copy, Default)]
struct Steps {
    all: usize,
    fitting: usize,
}

impl Steps {
    fn add(&mut self, fits: bool) {
        self.all += 1;
        self.fitting += usize::from(fits);
    }

    fn share(self) -> f64 {
        self.fitting as f64 / self.all.max(1) as f64
    }

    fn hold(self) -> bool {
        self.all >= MIN_STEPS && self.share() >= HOLDS
    }

    fn fail(self) -> bool {
        self.all >= MIN_STEPS && self.share() <= FAILS
    }
}

/// Calls `add` with each flow and the one before it to the same peer, then with each flow and the
/// one before it if that was to another peer.
fn relations<K: Ord>(
    flows: &[Sighting],
    peer: impl Fn(&Sighting) -> K,
    fits: impl Fn(&Sighting, &Sighting) -> bool,
) -> [Steps; 2] {
    let (mut same, mut other) = (Steps::default(), Steps::default());
    let mut last: BTreeMap<K, &Sighting> = BTreeMap::new();
    for pair in flows.windows(2) {
        let [before, flow] = pair else { continue };
        last.insert(peer(before), before);
        if let Some(before) = last.get(&peer(flow)) {
            same.add(fits(before, flow));
        }
        if peer(before) != peer(flow) {
            other.add(fits(before, flow));
        }
    }
    [same, other]
}

/// Returns the choice of client ports, and the port behind the last one if ports go up. `flows` are
/// in order of their starts.
pub(super) fn ports(flows: &[Sighting]) -> (Option<PortPolicy>, Option<u16>) {
    let Some(last) = flows.last().filter(|_| flows.len() >= MIN_FLOWS) else { return (None, None) };
    if flows.iter().all(|flow| flow.port == last.port) {
        return (Some(PortPolicy::Fixed), None);
    }
    let step = |a: &Sighting, b: &Sighting| b.port.wrapping_sub(a.port);
    let is_small = |a: &Sighting, b: &Sighting| (1..=SMALL_STEP).contains(&step(a, b));
    let is_even = |a: &Sighting, b: &Sighting| is_small(a, b) && step(a, b).is_multiple_of(2);
    let all = |fits: &dyn Fn(&Sighting, &Sighting) -> bool| {
        relations(flows, |flow| (flow.peer, flow.start_ns, flow.port), fits)[1]
    };
    let by_peer =
        |fits: &dyn Fn(&Sighting, &Sighting) -> bool| relations(flows, |flow| flow.peer, fits)[0];
    let next = |step| Some(last.port.wrapping_add(step));
    if all(&is_even).hold() {
        (Some(PortPolicy::EvenStep), next(2))
    } else if all(&is_small).hold() {
        (Some(PortPolicy::PlusOne), next(1))
    } else if by_peer(&is_even).hold() {
        (Some(PortPolicy::EvenStep), next(2))
    } else if all(&is_small).fail() && by_peer(&is_small).fail() {
        (Some(PortPolicy::Random), None)
    } else {
        (None, None)
    }
}

/// Extent of a host's timestamp clocks, their tick, and the value at its first flow.
pub(super) struct Clock {
    pub(super) policy: Option<TsPolicy>,
    pub(super) tick: Option<u32>,
    pub(super) base: Option<u32>,
}

/// Returns the timestamp clocks of a host. `flows` are in order of their starts.
pub(super) fn clock(flows: &[Sighting]) -> Clock {
    let none = Clock { policy: None, tick: None, base: None };
    if flows.len() < MIN_FLOWS {
        return none;
    }
    let with: Vec<Sighting> = flows.iter().filter(|flow| flow.side.ts.is_some()).copied().collect();
    match with.len() {
        0 => return Clock { policy: Some(TsPolicy::None), ..none },
        count if count < MIN_FLOWS => return none,
        _ => {}
    }
    let ticks = with.iter().filter_map(|flow| flow.side.tick);
    let known = TICKS.into_iter().find(|tick| {
        let (all, same) = (ticks.clone().count(), ticks.clone().filter(|t| t == tick).count());
        all > 0 && same as f64 >= HOLDS * all as f64
    });
    let at = |tick: u32| {
        relations(&with, |flow| flow.peer.0, |a, b| is_on_line(a.side.ts, b.side.ts, tick))
    };
    let ticks_tried = known.map_or_else(|| TICKS.to_vec(), |tick| vec![tick]);
    for tick in ticks_tried.iter().copied() {
        let [same, other] = at(tick);
        let policy = match () {
            () if other.hold() && (same.hold() || same.all < MIN_STEPS) => TsPolicy::Host,
            () if same.hold() && other.fail() => TsPolicy::Pair,
            () => continue,
        };
        let base = with.first().and_then(|flow| {
            let ts = flow.side.ts.filter(|_| policy == TsPolicy::Host)?;
            let ticks = (ts.at_ns - flows.first()?.start_ns) * i64::from(tick) / 1_000_000_000;
            Some(ts.value.wrapping_sub(ticks as u32))
        });
        return Clock { policy: Some(policy), tick: Some(tick), base };
    }
    // No clock of a known tick goes through the timestamps of two flows.
    let is_none = ticks_tried.iter().all(|tick| {
        let [same, other] = at(*tick);
        same.fail() && (other.fail() || other.all < MIN_STEPS)
    });
    Clock { policy: is_none.then_some(TsPolicy::Connection), tick: known, ..none }
}

/// Returns whether two timestamps are those of one clock, within 500 millionths of the time
/// between them and 50 milliseconds.
fn is_on_line(a: Option<Tsval>, b: Option<Tsval>, tick: u32) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    let ticks = (b.at_ns - a.at_ns) as f64 * f64::from(tick) / 1e9;
    let found = b.value.wrapping_sub(a.value);
    // Ticks beyond 2^32 wrap around.
    let off = found.wrapping_sub(ticks as i64 as u32) as i32;
    f64::from(off.unsigned_abs()) <= f64::from(tick) * 0.05 + ticks.abs() * 0.0005 + 1.0
}

/// Returns the extent of a host's counters of IPv4 identifications, and the number behind that of
/// its last packet if it has one counter. `flows` are in order of their starts.
pub(super) fn ids(flows: &[Sighting]) -> (Option<IdPolicy>, Option<u16>) {
    /// Greatest step between the first identifications of two flows of one counter.
    const FLOW_STEP: u16 = 2048;
    let v4: Vec<Sighting> = flows.iter().filter(|flow| flow.side.is_v4).copied().collect();
    if v4.len() < MIN_FLOWS {
        return (None, None);
    }
    let with: Vec<Sighting> = v4.iter().filter(|flow| flow.side.ids.is_some()).copied().collect();
    if with.is_empty() {
        return (Some(IdPolicy::Zero), None);
    }
    let sum = |i: usize| with.iter().map(|flow| flow.side.id_steps[i] as usize).sum();
    let within = Steps { all: sum(0), fitting: sum(1) };
    if with.len() < MIN_FLOWS {
        return (None, None);
    }
    if within.fail() && within.all >= 2 * MIN_FLOWS {
        return (Some(IdPolicy::Random), None);
    }
    let first = |flow: &Sighting| flow.side.ids.map_or(0, |[first, _]| first);
    let goes_on =
        |a: &Sighting, b: &Sighting| (1..=FLOW_STEP).contains(&first(b).wrapping_sub(first(a)));
    let [same, other] = relations(&with, |flow| flow.peer.0, goes_on);
    match () {
        () if !within.hold() => (None, None),
        () if other.hold() && (same.hold() || same.all < MIN_STEPS) => {
            let last = with.last().and_then(|flow| flow.side.ids);
            (Some(IdPolicy::Global), last.map(|[_, last]| last.wrapping_add(1)))
        }
        () if same.hold() && other.fail() => (Some(IdPolicy::Destination), None),
        () if same.fail() && (other.fail() || other.all < MIN_STEPS) => {
            (Some(IdPolicy::Connection), None)
        }
        () => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Builds ten flows, one a second, to three peers in turn; `set` gives a flow its numbers.
    fn flows(peers: u64, mut set: impl FnMut(u64, &mut Sighting)) -> Vec<Sighting> {
        let flow = |n: u64| {
            let peer = Ipv4Addr::new(10, 0, 0, (n % peers) as u8);
            let side = SideTraits { is_opened: true, is_v4: true, ..SideTraits::default() };
            let start_ns = n as i64 * 1_000_000_000;
            let mut flow = Sighting { start_ns, peer: (peer.into(), 80), port: 0, side };
            set(n, &mut flow);
            flow
        };
        (0..10).map(flow).collect()
    }

    /// Returns a number that has no relation to `n`.
    fn far(n: u64) -> u32 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_shr(29) as u32
    }

    fn check_ports(peers: u64, port: fn(u64) -> u16, expected: Option<PortPolicy>) {
        assert_eq!(ports(&flows(peers, |n, flow| flow.port = port(n))).0, expected);
    }

    #[test]
    fn ports_tell_their_policy() {
        check_ports(3, |_| 1024, Some(PortPolicy::Fixed));
        check_ports(3, |n| 40_000 + n as u16, Some(PortPolicy::PlusOne));
        check_ports(3, |n| 40_000 + 6 * n as u16, Some(PortPolicy::EvenStep));
        check_ports(3, |n| [50_000, 40_000, 33_000][n as usize % 3] + n as u16 / 3 * 4, {
            Some(PortPolicy::EvenStep)
        });
        check_ports(3, |n| 32_768 + (far(n) % 28_000) as u16, Some(PortPolicy::Random));
        // Odd steps for each destination are those of no policy.
        check_ports(3, |n| [50_000, 40_000, 33_000][n as usize % 3] + n as u16 / 3, None);
        let rising = flows(3, |n, flow| flow.port = u16::MAX - 9 + n as u16);
        assert_eq!(ports(&rising), (Some(PortPolicy::PlusOne), Some(0)));
        assert_eq!(ports(&rising[..4]), (None, None));
    }

    fn check_clock(peers: u64, value: impl Fn(u64) -> Option<u32>, expected: Option<TsPolicy>) {
        let flows = flows(peers, |n, flow| {
            let at_ns = flow.start_ns;
            flow.side.ts = value(n).map(|value| Tsval { at_ns, value });
            flow.side.tick = (n == 2).then_some(250);
        });
        assert_eq!(clock(&flows).policy, expected);
        assert_eq!(clock(&flows[..4]).policy, None);
    }

    #[test]
    fn timestamps_tell_the_extent_of_a_clock() {
        let ticks = |n: u64| (n * 250) as u32;
        check_clock(3, |_| None, Some(TsPolicy::None));
        check_clock(3, |n| Some((u32::MAX - 500).wrapping_add(ticks(n))), Some(TsPolicy::Host));
        check_clock(3, |n| Some(far(n % 3).wrapping_add(ticks(n))), Some(TsPolicy::Pair));
        check_clock(3, |n| Some(far(n)), Some(TsPolicy::Connection));
        // Of one peer a clock of the host and one of the pair look alike.
        check_clock(1, |n| Some(ticks(n)), None);
        check_clock(1, |n| Some(far(n)), Some(TsPolicy::Connection));
        let host = flows(3, |n, flow| {
            flow.side.ts = Some(Tsval { at_ns: flow.start_ns, value: 7 + ticks(n) });
        });
        let clock = clock(&host);
        assert_eq!((clock.tick, clock.base), (Some(250), Some(7)));
    }

    fn check_ids(peers: u64, first: impl Fn(u64) -> Option<u16>, expected: Option<IdPolicy>) {
        let flows = flows(peers, |n, flow| {
            flow.side.ids = first(n).map(|first| [first, first + 3]);
            flow.side.id_steps = [3, 3];
        });
        assert_eq!(ids(&flows).0, expected);
    }

    #[test]
    fn identifications_tell_the_extent_of_a_counter() {
        check_ids(3, |_| None, Some(IdPolicy::Zero));
        check_ids(3, |n| Some(7 + 4 * n as u16), Some(IdPolicy::Global));
        check_ids(3, |n| Some((far(n % 3) % 60_000) as u16 + 4 * n as u16), {
            Some(IdPolicy::Destination)
        });
        check_ids(3, |n| Some((far(n) % 60_000) as u16), Some(IdPolicy::Connection));
        check_ids(1, |n| Some(7 + 4 * n as u16), None);
        let random = flows(3, |n, flow| {
            flow.side.ids = Some([far(n) as u16, far(n + 40) as u16]);
            flow.side.id_steps = [3, 0];
        });
        assert_eq!(ids(&random).0, Some(IdPolicy::Random));
        let one = flows(3, |n, flow| {
            flow.side.ids = Some([n as u16 * 9, n as u16 * 9 + 5]);
            flow.side.id_steps = [3, 3];
        });
        assert_eq!(ids(&one), (Some(IdPolicy::Global), Some(87)));
    }
}
