//! The state in which Suricata's stream engine would be: it closes a session on conditions of its
//! own, so that the end of a session waits for them.
//!
//! The rules are those of Suricata 7 with its default settings, which judges as Windows does
//! (RFC 5961 is not followed: a RST counts at the next sequence number alone).

use flowtrack::Packet;
use tcpwire::Flags;

/// Packet as the watcher sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    /// Side that sends: 0 for the client, 1 for the server.
    side: usize,
    flags: Flags,
    /// Sequence offset of the packet.
    seq: i64,
    /// Sequence offset after the payload; neither SYN nor FIN counts.
    end: i64,
    /// Acknowledgment, as an offset in the other side's space.
    ack: i64,
    /// Window that it offers, in octets.
    window: i64,
    /// TSval, if both sides offered timestamps and the packet has one.
    tsval: Option<u32>,
}

impl Sighting {
    /// Creates the sighting of `packet`. `shift` is that of its window, `tsval` its timestamp.
    pub(super) fn new(
        packet: &Packet,
        seq: i64,
        ack: i64,
        shift: u32,
        tsval: Option<u32>,
    ) -> Sighting {
        Sighting {
            side: packet.direction.index(),
            flags: packet.flags,
            seq,
            end: seq + i64::from(packet.payload_len),
            ack,
            window: i64::from(packet.window) << shift,
            tsval,
        }
    }

    fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    fn is_empty(&self) -> bool {
        self.end == self.seq
    }

    /// Returns the sender's side, then the other one.
    fn sides(&self) -> [usize; 2] {
        [self.side, 1 - self.side]
    }
}

/// State of a connection, as Suricata names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    #[default]
    SynReceived,
    Established,
    /// The server has sent its FIN.
    FinWait1,
    /// The server's FIN is acknowledged.
    FinWait2,
    /// The client has sent its FIN.
    CloseWait,
    /// The server has sent its FIN after the client's.
    LastAck,
    /// The client has sent its FIN after the server's.
    TimeWait,
    Closed,
}

/// Octets of one side, as Suricata follows them.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Sequence offset that comes next. A FIN counts only if it is the server's and the first one.
    next: i64,
    /// Highest acknowledgment of the octets.
    acked: i64,
    /// Window that the other side offers.
    window: i64,
    /// Furthest right edge of that window.
    edge: i64,
    /// TSval that later ones must not be behind.
    stamp: Option<u32>,
    /// Whether the last packet was a keep-alive.
    is_kept_alive: bool,
    /// Whether the last packet probed a closed window.
    is_probed: bool,
}

/// Suricata's view of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Watcher {
    phase: Phase,
    /// The client's octets, then the server's.
    streams: [Stream; 2],
}

impl Watcher {
    /// Returns the state of the connection.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the one sequence offset at which a RST of side `side` counts.
    pub(super) fn reset_at(&self, side: usize) -> i64 {
        self.streams[side].next
    }

    /// Returns whether a second FIN of the connection that is not said again lies in the window, if
    /// side `side` sends it at `seq`.
    pub(super) fn takes_fin(&self, side: usize, seq: i64) -> bool {
        let stream = &self.streams[side];
        let least = match self.phase {
            Phase::FinWait1 => stream.next - 1,
            Phase::FinWait2 | Phase::CloseWait => stream.next,
            _ => return true,
        };
        (least..=stream.acked + stream.window).contains(&seq)
    }

    /// Returns the TSval that those of side `side` must not be behind.
    pub(super) fn stamp(&self, side: usize) -> Option<u32> {
        self.streams[side].stamp
    }

    /// Returns the least acknowledgment that may come from side `side`.
    pub(super) fn least_ack(&self, side: usize) -> i64 {
        let stream = &self.streams[1 - side];
        if self.phase == Phase::Closed || stream.window == 0 {
            0
        } else {
            stream.acked - stream.window
        }
    }

    /// Returns the sequence offset up to which side `side` may send: `i64::MAX` once the connection
    /// is closed.
    pub(super) fn edge(&self, side: usize) -> i64 {
        if self.phase == Phase::Closed { i64::MAX } else { self.streams[side].edge }
    }

    /// Follows a packet of either side.
    pub(super) fn observe(&mut self, p: &Sighting) {
        if self.phase == Phase::Closed {
            return;
        }
        if p.has(Flags::SYN) {
            self.open(p);
        } else if self.phase == Phase::SynReceived && !p.has(Flags::RST) && !p.has(Flags::FIN) {
            self.establish(p);
        } else if !self.is_passed_over(p) && !self.is_late(p) {
            self.dispatch(p);
        }
    }

    fn open(&mut self, p: &Sighting) {
        let [own, other] = p.sides();
        if self.streams[own].next > 0 {
            return;
        }
        let is_fast_open = i64::from(own == 0) * (p.end - p.seq);
        self.streams[own].next = 1 + is_fast_open;
        self.streams[own].stamp = p.tsval;
        self.streams[other].window = p.window;
        if own == 1 {
            self.streams[0].acked = p.ack;
            self.streams[1].acked = 1;
            for stream in &mut self.streams {
                stream.edge = stream.acked + stream.window;
            }
        }
    }

    fn establish(&mut self, p: &Sighting) {
        let [own, other] = p.sides();
        if own == 1 || p.seq != self.streams[0].next || p.ack != self.streams[1].next {
            return;
        }
        self.phase = Phase::Established;
        self.streams[own].next = p.end;
        let acked = self.streams[other].acked.max(p.ack);
        let stream = &mut self.streams[other];
        (stream.acked, stream.window, stream.edge) = (acked, p.window, acked + p.window);
        self.note(p);
    }

    /// Returns whether the packet changes nothing: keep-alives, their answers, answers to probes,
    /// windows that are taken back, acknowledgments that are overtaken.
    fn is_passed_over(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let is_plain = !p.has(Flags::FIN) && !p.has(Flags::RST);
        let acks_last = p.ack == self.streams[other].acked;
        let is_next = p.seq == self.streams[own].next;
        if is_plain && p.end - p.seq <= 1 && acks_last && p.seq == self.streams[own].next - 1 {
            self.streams[own].is_kept_alive = true;
            return true;
        }
        let is_answer = is_plain && p.is_empty() && acks_last && is_next;
        let is_same_window = p.window == self.streams[other].window;
        self.streams[own].is_kept_alive = false;
        if is_answer && p.window != 0 && is_same_window && self.streams[other].is_kept_alive {
            self.streams[other].is_kept_alive = false;
            return true;
        }
        if std::mem::take(&mut self.streams[other].is_probed)
            && is_answer
            && p.window == 0
            && is_same_window
        {
            return true;
        }
        let is_window_update = is_answer && p.window != 0 && !is_same_window;
        if self.is_last_ack(p) || is_window_update {
            return false;
        }
        let is_overtaken = is_plain && p.is_empty() && is_next && !acks_last;
        self.takes_window_back(p) || (is_overtaken && p.ack < self.streams[other].acked)
    }

    fn is_last_ack(&self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        matches!(self.phase, Phase::TimeWait | Phase::CloseWait | Phase::LastAck)
            && p.flags == Flags::ACK
            && p.is_empty()
            && p.seq == self.streams[own].next + 1
            && p.ack == self.streams[other].next + 1
    }

    fn takes_window_back(&self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let less = self.streams[other].window - p.window;
        let slack = if p.window > 1024 { 32 } else { 0 };
        !p.has(Flags::FIN)
            && !p.has(Flags::RST)
            && less > p.end - p.seq
            && p.ack > self.streams[other].next
            && p.seq > self.streams[own].next
            && less > p.ack - self.streams[other].acked + slack
    }

    /// Returns whether the packet's TSval is behind the one that counts.
    fn is_late(&self, p: &Sighting) -> bool {
        let stamps = p.tsval.zip(self.streams[p.side].stamp);
        stamps.is_some_and(|(value, noted)| (value.wrapping_sub(noted) as i32) < 0)
    }

    fn is_ack_valid(&self, p: &Sighting) -> bool {
        let stream = &self.streams[1 - p.side];
        !p.has(Flags::ACK)
            || (self.least_ack(p.side)..=stream.edge.max(stream.acked)).contains(&p.ack)
    }

    fn dispatch(&mut self, p: &Sighting) {
        if !self.is_ack_valid(p) {
            return;
        }
        if p.has(Flags::RST) {
            if p.seq == self.streams[p.side].next {
                self.phase = Phase::Closed;
            }
            return;
        }
        let fin = p.has(Flags::FIN);
        let is_taken = match (self.phase, fin) {
            (Phase::SynReceived | Phase::Established, true) => self.first_fin(p),
            (Phase::SynReceived | Phase::Established, false) => self.established(p),
            (Phase::FinWait1, _) => self.fin_wait_1(p),
            (Phase::FinWait2, _) => self.fin_wait_2(p),
            (Phase::CloseWait, _) => self.close_wait(p),
            (Phase::LastAck, false) => self.last_ack(p),
            (Phase::TimeWait, false) => self.time_wait(p),
            _ => false,
        };
        if is_taken {
            self.note(p);
        }
    }

    /// Records the TSval of a packet that was taken. Packets with payload have moved the next
    /// number beyond their own.
    fn note(&mut self, p: &Sighting) {
        let stream = &mut self.streams[p.side];
        if p.seq == stream.next && p.tsval.is_some() {
            stream.stamp = p.tsval;
        }
    }

    /// Records the acknowledgment of a packet.
    fn acknowledge(&mut self, p: &Sighting) {
        let stream = &mut self.streams[1 - p.side];
        stream.acked = stream.acked.max(p.ack);
    }

    fn widen(&mut self, p: &Sighting) {
        let stream = &mut self.streams[1 - p.side];
        stream.edge = stream.edge.max(stream.acked + stream.window);
    }

    fn established(&mut self, p: &Sighting) -> bool {
        let own = self.streams[p.side];
        let is_keep_alive = p.end - p.seq <= 1 && p.seq == own.next - 1;
        let fills = own.acked > own.next && p.end > own.next;
        if !is_keep_alive && p.end < own.acked && !fills {
            return false;
        }
        if p.end - p.seq == 1 && p.seq == own.next && own.window == 0 {
            self.streams[p.side].is_probed = true;
            return false;
        }
        self.streams[p.side].next = own.next.max(p.end);
        if p.end > own.edge {
            return false;
        }
        self.streams[1 - p.side].window = p.window;
        self.acknowledge(p);
        self.widen(p);
        true
    }

    fn first_fin(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        if p.seq < self.streams[own].acked || p.end > self.streams[own].edge {
            return false;
        }
        self.phase = if own == 0 { Phase::CloseWait } else { Phase::FinWait1 };
        self.streams[own].next = p.end + own as i64;
        self.streams[other].window = p.window;
        self.streams[other].next = self.streams[other].next.max(p.ack);
        self.acknowledge(p);
        true
    }

    fn is_repeated(&self, p: &Sighting) -> bool {
        let own = &self.streams[p.side];
        !p.is_empty() && (p.seq < own.acked || p.end <= own.next)
    }

    /// Returns whether a packet that is no repeat begins in the window, from `least` on.
    fn is_in_window(&self, p: &Sighting, least: i64) -> bool {
        let own = &self.streams[p.side];
        (least..=own.acked + own.window).contains(&p.seq)
    }

    /// Returns the sequence offset of the octet that side `side` sends next: the server's FIN is
    /// counted.
    fn after(&self, side: usize) -> i64 {
        self.streams[side].next - i64::from(self.phase == Phase::FinWait1 && side == 1)
    }

    fn fin_wait_1(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let mut is_repeated = self.is_repeated(p);
        if p.has(Flags::FIN) {
            is_repeated |= own == 1 && p.seq == self.after(1) && p.ack == self.streams[other].acked;
            if !is_repeated && !self.is_in_window(p, self.streams[own].next - 1) {
                return false;
            }
            if !is_repeated {
                self.phase = Phase::TimeWait;
                self.streams[other].window = p.window;
            } else if own == 1 {
                return true;
            }
        } else if !is_repeated && (own == 1 || p.ack == self.streams[1].next) {
            if p.end > self.streams[own].edge {
                return false;
            }
            if p.seq == self.after(own) {
                self.phase = Phase::FinWait2;
            }
            self.streams[other].window = p.window;
        }
        let is_next = p.seq == self.streams[own].next - own as i64;
        self.streams[other].next = self.streams[other].next.max(p.ack);
        if is_next {
            self.streams[own].next = p.end;
        }
        self.acknowledge(p);
        if !p.has(Flags::FIN) {
            self.widen(p);
        }
        true
    }

    fn fin_wait_2(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let mut is_repeated = self.is_repeated(p);
        let is_next = p.seq == self.streams[own].next;
        if p.has(Flags::FIN) {
            is_repeated |=
                p.seq == self.streams[own].next - 1 && p.ack == self.streams[other].acked;
            if !is_repeated && !self.is_in_window(p, self.streams[own].next) {
                return false;
            }
            if !is_repeated {
                self.phase = Phase::TimeWait;
                self.streams[other].window = p.window;
                if own == 0 && is_next {
                    self.streams[own].next = p.end;
                }
            }
            self.streams[other].next = self.streams[other].next.max(p.ack);
            self.acknowledge(p);
            return true;
        }
        if !is_repeated {
            if p.end > self.streams[own].edge {
                return false;
            }
            self.streams[other].window = p.window;
        }
        if is_next {
            self.streams[own].next = p.end;
        }
        self.acknowledge(p);
        self.widen(p);
        true
    }

    fn close_wait(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let (is_repeated, fin) = (self.is_repeated(p), p.has(Flags::FIN));
        let least = if fin { self.streams[own].next } else { i64::MIN };
        let is_spent = !fin && !p.is_empty() && p.end <= self.streams[own].acked;
        if is_spent || !(self.is_in_window(p, least) || fin && is_repeated) {
            return false;
        }
        if !is_repeated {
            self.streams[other].window = p.window;
            if fin && own == 1 {
                self.phase = Phase::LastAck;
            }
        }
        self.streams[other].next = self.streams[other].next.max(p.ack);
        if !fin && p.seq == self.streams[own].next {
            self.streams[own].next = p.end;
        }
        self.acknowledge(p);
        true
    }

    fn last_ack(&mut self, p: &Sighting) -> bool {
        if p.side == 1 {
            return false;
        }
        let next = self.streams[0].next;
        if !self.is_repeated(p) {
            if p.seq > next + 1 {
                return false;
            }
            if p.seq >= next {
                self.phase = Phase::Closed;
            }
            self.streams[1].window = p.window;
        }
        self.streams[1].next = self.streams[1].next.max(p.ack);
        self.acknowledge(p);
        true
    }

    fn time_wait(&mut self, p: &Sighting) -> bool {
        let [own, other] = p.sides();
        let next = self.streams[own].next;
        if !self.is_repeated(p) {
            if p.seq != next && p.seq != next + 1 - 2 * own as i64 {
                return false;
            }
            self.phase = Phase::Closed;
        }
        self.streams[other].next = self.streams[other].next.max(p.ack);
        self.acknowledge(p);
        true
    }
}
