//! Numbers of a flow's packets that show how its two hosts number them.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, option_kind};
use tokenizer::host::HostSystem;

/// Numbers of both sides of a flow that tell policies of their hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowTraits {
    /// Sides of the flow: client, server.
    pub(super) sides: [SideTraits; 2],
}

/// Numbers of one side of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SideTraits {
    /// Whether the SYN or SYN-ACK of the side was seen.
    pub(super) is_opened: bool,
    /// System that the SYN shows; `None` for servers.
    pub(super) system: Option<HostSystem>,
    /// TTL of the first packet.
    pub(super) ttl: u8,
    /// Time and value of the first TSval.
    pub(super) ts: Option<Tsval>,
    /// Ticks a second of the timestamps, if they last long enough to tell.
    pub(super) tick: Option<u32>,
    /// IPv4 identification of the first packet that has another than 0, and of the last.
    pub(super) ids: Option<[u16; 2]>,
    /// Number of steps between the side's identifications other than 0, and of those up by at most
    /// [`SMALL_STEP`].
    pub(super) id_steps: [u32; 2],
    /// Whether the packets are IPv4.
    pub(super) is_v4: bool,
}

/// Time of a packet in nanoseconds, and its TSval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tsval {
    pub(super) at_ns: i64,
    pub(super) value: u32,
}

/// Greatest step of a number that counts as one of its counter.
pub(super) const SMALL_STEP: u16 = 64;
/// Ticks a second that clocks have.
pub(super) const TICKS: [u32; 5] = [1000, 250, 200, 100, 10];
/// Least time between two timestamps that tells the tick of their clock.
const TICK_TIME_NS: i64 = 300_000_000;

impl FlowTraits {
    /// Collects the numbers of a flow.
    #[must_use]
    pub fn of(flow: &Flow) -> FlowTraits {
        let side = |direction| SideTraits::of(flow, direction);
        FlowTraits { sides: [side(Direction::Forward), side(Direction::Reverse)] }
    }
}

impl SideTraits {
    fn of(flow: &Flow, direction: Direction) -> SideTraits {
        let packets = flow.packets.iter().filter(|packet| packet.direction == direction);
        let mut side = SideTraits { is_v4: flow.client.addr.is_ipv4(), ..SideTraits::default() };
        let Some(first) = packets.clone().next() else { return side };
        side.ttl = first.ttl;
        let opening = match direction {
            Direction::Forward => Flags::SYN,
            Direction::Reverse => Flags::SYN | Flags::ACK,
        };
        side.is_opened = first.flags & (Flags::SYN | Flags::ACK) == opening;
        if side.is_opened && direction == Direction::Forward {
            side.system = HostSystem::of_syn(first, flow.options_of(first));
        }
        side.ts = tsval(flow, first);
        let last = packets.clone().rev().find_map(|packet| tsval(flow, packet));
        side.tick = side.ts.zip(last).and_then(|(first, last)| tick(first, last));
        let mut before: Option<u16> = None;
        for packet in packets.filter(|packet| packet.ip_id != 0) {
            let id = packet.ip_id;
            side.ids.get_or_insert([id; 2])[1] = id;
            if let Some(before) = before.replace(id) {
                let is_small = (1..=SMALL_STEP).contains(&id.wrapping_sub(before));
                side.id_steps[0] += 1;
                side.id_steps[1] += u32::from(is_small);
            }
        }
        side
    }
}

fn tsval(flow: &Flow, packet: &Packet) -> Option<Tsval> {
    let mut options = tcpwire::options(flow.options_of(packet));
    let option = options.find(|option| option.kind() == Some(option_kind::TIMESTAMPS))?;
    let value = u32::from_be_bytes(*option.data().first_chunk()?);
    Some(Tsval { at_ns: packet.time_ns, value })
}

/// Returns the tick of a clock that shows two values, in ticks a second.
fn tick(first: Tsval, last: Tsval) -> Option<u32> {
    let time_ns = last.at_ns - first.at_ns;
    if time_ns < TICK_TIME_NS {
        return None;
    }
    let rate = f64::from(last.value.wrapping_sub(first.value)) * 1e9 / time_ns as f64;
    TICKS.into_iter().find(|tick| (rate / f64::from(*tick) - 1.0).abs() < 0.1)
}
