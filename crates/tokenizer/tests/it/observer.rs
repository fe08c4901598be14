//! A passive observer: follows a session as intrusion detection systems do, strictly, and without
//! the knowledge of the ends.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, TcpOption, option_kind, options};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum State {
    #[default]
    Open,
    /// The client has sent its FIN, and waits for the server's.
    ClientShut,
    /// The server has sent its FIN after the client: the client's acknowledgment is the last
    /// packet.
    LastAck,
    /// The server has sent its FIN, and waits for the client's.
    ServerShut,
    /// The client has sent its FIN after the server.
    TimeWait,
    Closed,
}

/// Numbers of a packet as offsets, and its window in octets.
pub(crate) struct Seen {
    pub(crate) seq: i64,
    pub(crate) ack: i64,
    pub(crate) window: i64,
}

#[derive(Default)]
pub(crate) struct Observer {
    pub(crate) state: State,
    /// Next in-order offset of each side; FINs do not count.
    next: [i64; 2],
    /// Highest acknowledgment of each side's octets.
    acked: [i64; 2],
    /// Window that each side has offered last, in octets.
    window: [i64; 2],
    /// Last TSval of each side that the observer has noted.
    stamp: [Option<u32>; 2],
}

impl Observer {
    pub(crate) fn observe(&mut self, packet: &Packet, tsval: Option<u32>, seen: &Seen) {
        let (d, o) = (packet.direction.index(), 1 - packet.direction.index());
        let (flags, len, seq) = (packet.flags, i64::from(packet.payload_len), seen.seq);
        if flags.contains(Flags::RST) {
            self.state = State::Closed;
            return;
        }
        if flags.contains(Flags::SYN) {
            if self.next[d] == 0 {
                (self.next[d], self.window[d], self.stamp[d]) = (1, seen.window, tsval);
                self.acked[o] = seen.ack.max(0);
            }
            return;
        }
        let fin = flags.contains(Flags::FIN);
        let is_keepalive = len <= 1 && !fin && seq == self.next[d] - 1 && seen.ack == self.acked[o];
        if is_keepalive || self.is_stale(d, tsval) || self.takes_window_back(packet, seen) {
            return;
        }
        if self.state == State::Open {
            self.open(packet, seen)
        } else {
            self.closing(packet, seen)
        }
        if len == 0 && !fin && seq == self.next[d] {
            self.stamp[d] = tsval.or(self.stamp[d]);
        }
    }

    /// Returns whether a packet's TSval lies before the one noted last.
    fn is_stale(&self, d: usize, tsval: Option<u32>) -> bool {
        tsval
            .zip(self.stamp[d])
            .is_some_and(|(value, noted)| (value.wrapping_sub(noted) as i32) < 0)
    }

    /// Returns whether a packet is beyond all numbers seen of both sides, and shrinks its window by
    /// more than it acknowledges.
    fn takes_window_back(&self, packet: &Packet, seen: &Seen) -> bool {
        let (d, o) = (packet.direction.index(), 1 - packet.direction.index());
        let (less, more) = (self.window[d] - seen.window, seen.ack - self.acked[o]);
        let is_last = packet.flags == Flags::ACK
            && packet.payload_len == 0
            && self.state != State::Open
            && (seen.seq, seen.ack) == (self.next[d] + 1, self.next[o] + 1);
        !packet.flags.contains(Flags::FIN)
            && !is_last
            && seen.seq > self.next[d]
            && seen.ack > self.next[o]
            && less > i64::from(packet.payload_len)
            && less > more + if seen.window > 1024 { 32 } else { 0 }
    }

    fn open(&mut self, packet: &Packet, seen: &Seen) {
        let (d, o) = (packet.direction.index(), 1 - packet.direction.index());
        let end = seen.seq + i64::from(packet.payload_len);
        if packet.flags.contains(Flags::FIN) {
            if seen.seq > self.acked[d] + self.window[o] {
                return;
            }
            if seen.seq == self.next[d] {
                self.next[d] = end;
            }
            self.next[o] = self.next[o].max(seen.ack);
            self.state = if packet.direction == Direction::Forward {
                State::ClientShut
            } else {
                State::ServerShut
            };
        } else if packet.payload_len == 1 && seen.seq == self.next[d] && self.window[o] == 0 {
            return;
        } else if (seen.seq <= self.next[d] && self.next[d] < end) || self.next[d] < self.acked[d] {
            self.next[d] = end;
        }
        self.window[d] = seen.window;
        self.acked[o] = self.acked[o].max(seen.ack);
    }

    fn closing(&mut self, packet: &Packet, seen: &Seen) {
        let (d, o) = (packet.direction.index(), 1 - packet.direction.index());
        let (len, fin) = (i64::from(packet.payload_len), packet.flags.contains(Flags::FIN));
        let is_client = packet.direction == Direction::Forward;
        let is_again = len > 0 && (seen.seq + len <= self.next[d] || seen.seq < self.acked[d]);
        let is_next = !fin && !is_again && (0..=1).contains(&(seen.seq - self.next[d]));
        match self.state {
            State::LastAck | State::TimeWait => {
                if is_next && (is_client || self.state == State::TimeWait) {
                    self.state = State::Closed;
                }
                return;
            }
            State::Closed => return,
            _ => {}
        }
        let is_second = is_client == (self.state == State::ServerShut);
        if fin && !is_again && seen.seq > self.acked[d] + self.window[o] {
            return;
        }
        if fin && !is_again && is_second {
            self.state = if is_client { State::TimeWait } else { State::LastAck };
        }
        if !is_again && (!fin || is_second) {
            self.window[d] = seen.window;
        }
        if !fin && seen.seq == self.next[d] {
            self.next[d] += len;
        }
        self.next[o] = self.next[o].max(seen.ack);
        self.acked[o] = self.acked[o].max(seen.ack);
    }
}

/// Returns the state in which a flow leaves a passive observer. `bases` are the initial sequence
/// numbers of the sides, `shifts` the window shifts that they offered.
pub(crate) fn state(flow: &Flow, bases: [u32; 2], shifts: [u8; 2]) -> State {
    let mut observer = Observer::default();
    for packet in &flow.packets {
        let (d, o) = (packet.direction.index(), 1 - packet.direction.index());
        let offset = |number: tcpwire::SeqNum, side: usize| {
            i64::from(number.distance(tcpwire::SeqNum(bases[side])))
        };
        let shift = if packet.flags.contains(Flags::SYN) { 0 } else { shifts[d] };
        let ack = if packet.flags.contains(Flags::ACK) { offset(packet.ack, o) } else { 0 };
        let seen =
            Seen { seq: offset(packet.seq, d), ack, window: i64::from(packet.window) << shift };
        observer.observe(packet, tsval(flow.options_of(packet)), &seen);
    }
    observer.state
}

/// Returns the TSval among the options of a packet.
pub(crate) fn tsval(octets: &[u8]) -> Option<u32> {
    options(octets).find_map(|option| match option {
        TcpOption::Tlv { kind: option_kind::TIMESTAMPS, data } if data.len() == 8 => {
            Some(u32::from_be_bytes(*data.first_chunk()?))
        }
        _ => None,
    })
}
