//! The state that encoder and decoder share: the values that TCP makes likely in the next packet.
//!
//! [`FlowState::encode`] turns a packet into the differences from the expected values,
//! [`FlowState::decode`] turns the differences into header values again. Both end in the same
//! `FlowState::update`, so that the states of encoder and decoder cannot diverge. All arithmetic
//! wraps: every delta decodes to some packet.

mod ack;
mod flags;
mod ip;
mod len;
mod option_digits;
mod options;
mod sender;
mod seq;
mod time;
mod timestamps;
mod window;

use flowtrack::{Direction, OptionsRef, Packet};
use tcpwire::Flags;

use super::delta::{FlagPattern, PacketDelta};
use super::header::FlowHeader;
use super::options::{Elements, Timestamps};
use super::send_space::Sent;
use crate::{FlowIdentity, SideIdentity};
pub(crate) use flags::AccurateEcn;
pub(crate) use sender::SenderState;
use sender::{Offer, UnackedTsval};

/// TTL or hop limit of the first packet of a side if it has no TTL token.
const DEFAULT_TTL: u8 = 64;

/// State of a flow between two packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowState {
    /// State of the client and of the server, as senders.
    pub(crate) sides: [SenderState; 2],
    identity: FlowIdentity,
    is_v6: bool,
    /// Whether the flow is of version 1, whose predictions differ.
    is_version_1: bool,
    /// Time of the last packet, in nanoseconds since the Unix epoch.
    time_ns: i64,
    /// Unit of gaps, in nanoseconds.
    unit_ns: i64,
    /// Lists of options without a layout that either side has sent, the last one first.
    recent_options: Vec<Elements>,
    /// Number of option octets decoded so far that no token holds.
    option_digits: usize,
    /// Agreement of both sides on Accurate ECN.
    accurate_ecn: AccurateEcn,
    /// Scratch space for the option elements of one packet.
    elements: Elements,
}

impl FlowState {
    /// Creates the state before the first packet of a flow with this header.
    pub(crate) fn new(identity: &FlowIdentity, header: &FlowHeader) -> FlowState {
        let mut state = FlowState::default();
        state.restart(identity, header);
        state
    }

    /// Resets the state to that of [`new`](Self::new); keeps its buffers.
    pub(crate) fn restart(&mut self, identity: &FlowIdentity, header: &FlowHeader) {
        for (side, clock) in self.sides.iter_mut().zip(header.ts_clocks) {
            side.restart(clock.tick_ns());
        }
        self.identity.clone_from(identity);
        self.recent_options.clear();
        self.option_digits = 0;
        self.accurate_ecn = AccurateEcn::Off;
        self.is_v6 = header.is_v6();
        self.is_version_1 = header.version == 1;
        self.time_ns = identity.start_ns.unwrap_or(0);
        self.unit_ns = header.unit_ns();
    }

    /// Returns the identity of the flow, as far as it was given or the packets have shown it.
    pub(crate) fn identity(&self) -> &FlowIdentity {
        &self.identity
    }

    /// Sets the least time of the packets, in nanoseconds since the Unix epoch.
    pub(crate) fn set_start(&mut self, start_ns: i64) {
        self.identity.start_ns = Some(start_ns);
        self.time_ns = start_ns;
    }

    fn identity_of(&mut self, d: Direction) -> &mut SideIdentity {
        match d {
            Direction::Forward => &mut self.identity.client,
            Direction::Reverse => &mut self.identity.server,
        }
    }

    /// Returns the time of the last packet since the least one, in nanoseconds.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.time_ns.saturating_sub(self.identity.start_ns.unwrap_or(0)).max(0).unsigned_abs()
    }

    /// Returns the sender and the receiver of packets in direction `d`.
    pub(crate) fn pair(&self, d: Direction) -> (&SenderState, &SenderState) {
        (&self.sides[d.index()], &self.sides[d.reversed().index()])
    }

    /// Returns whether `has` holds for the SYNs of both sides.
    pub(crate) fn agreed(&self, has: impl Fn(&Offer) -> bool) -> bool {
        has(&self.sides[0].offer) && has(&self.sides[1].offer)
    }

    /// Returns whether either side has sent a FIN.
    pub(crate) fn has_fin(&self) -> bool {
        self.sides[0].space.fin().is_some() || self.sides[1].space.fin().is_some()
    }

    /// Binds the sequence space of side `d` to its first number: `first` in the encoder, that of
    /// the identity in the decoder. Does nothing if it is bound.
    fn bind_space(&mut self, d: Direction, first: Option<u32>) {
        if self.sides[d.index()].space.is_bound() {
            return;
        }
        let identity = self.identity_of(d);
        if first.is_some() {
            identity.seq_base = first;
        }
        let base = identity.seq_base.unwrap_or(0);
        self.sides[d.index()].space.bind(base);
    }

    /// Encodes `packet`, with its option octets, into `delta`, and updates the state with it.
    /// `delta` must be restarted, and the values of the packet be in range.
    pub(crate) fn encode(&mut self, packet: &Packet, octets: &[u8], delta: &mut PacketDelta) {
        let d = packet.direction;
        let has_ack = packet.flags.contains(Flags::ACK);
        self.bind_space(d, Some(packet.seq.0));
        if has_ack {
            self.bind_space(d.reversed(), Some(packet.ack.0));
        }
        let pattern = FlagPattern::nearest(packet.flags);
        delta.kind.direction = d;
        delta.kind.pattern = pattern;
        delta.kind.has_payload = packet.payload_len > 0;
        delta.flag_toggle = self.encode_flags(d, pattern, packet.flags);
        let (seq, seq_delta) = self.encode_seq(d, packet);
        let (ack, advances_ack, ack_delta) = self.encode_ack(d, packet);
        delta.seq = seq_delta;
        delta.ack = ack_delta;
        delta.kind.advances_ack = advances_ack;
        delta.len = self.encode_len(d, seq_delta, packet.payload_len);
        delta.say_fields();
        delta.window = self.encode_window(d, packet, ack);
        delta.urgent = packet.urgent;
        if has_ack {
            self.update_ts_recent(d, ack);
        }
        let ts = self.encode_options(packet, octets, ack, delta);
        Self::encode_syn_set(packet.window, delta);
        if let Some(ts) = ts {
            self.encode_timestamps(d, ts, packet.time_ns, ack, delta);
        }
        let side = &self.sides[d.index()];
        let class = side.traffic_class[usize::from(delta.kind.has_payload)];
        delta.traffic_class = (class != packet.traffic_class).then_some(packet.traffic_class);
        delta.ttl = (side.ttl.unwrap_or(DEFAULT_TTL) != packet.ttl).then_some(packet.ttl);
        delta.toggles_df = side.dont_fragment.unwrap_or(!self.is_v6) != packet.dont_fragment;
        if self.is_v6 {
            delta.flow_label = self.encode_flow_label(d, packet.flow_label);
        } else {
            delta.ip_id = self.encode_ip_id(d, packet.flags, packet.ip_id);
        }
        let answered = self.answered(d, has_ack.then_some(ack));
        delta.time = self.encode_time(d, packet.time_ns, answered);
        self.update(packet, octets, ts, (seq, ack), answered);
    }

    /// Decodes `delta` into a packet, appends its option octets to `options`, and updates the state
    /// with it.
    pub(crate) fn decode(&mut self, delta: &PacketDelta, options: &mut Vec<u8>) -> Packet {
        let d = delta.kind.direction;
        let flags = self.decode_flags(delta);
        let has_ack = flags.contains(Flags::ACK);
        self.bind_space(d, None);
        if has_ack {
            self.bind_space(d.reversed(), None);
        }
        let seq = self.decoded_seq(delta);
        let ack = self.decoded_ack(delta);
        let payload_len = self.decoded_len(delta);
        let window = self.decode_window(delta, ack);
        let answered = self.answered(d, has_ack.then_some(ack));
        let time_ns = self.decode_time(delta, answered);
        if has_ack {
            self.update_ts_recent(d, ack);
        }
        let start = options.len();
        self.decode_options(delta, ack, time_ns, options);
        let side = &self.sides[d.index()];
        let traffic_class =
            delta.traffic_class.unwrap_or(side.traffic_class[usize::from(delta.kind.has_payload)]);
        let ttl = delta.ttl.or(side.ttl).unwrap_or(DEFAULT_TTL);
        let dont_fragment = side.dont_fragment.unwrap_or(!self.is_v6) != delta.toggles_df;
        let ip_id = if self.is_v6 { 0 } else { self.decode_ip_id(d, flags, delta.ip_id) };
        let flow_label = if self.is_v6 { self.decode_flow_label(d, delta.flow_label) } else { 0 };
        let (side, peer) = self.pair(d);
        let packet = Packet {
            time_ns,
            seq: side.space.number(seq),
            ack: peer.space.number(ack),
            payload_len,
            flow_label,
            options: OptionsRef { start: start as u32, len: (options.len() - start) as u8 },
            flags,
            window,
            urgent: delta.urgent,
            ip_id,
            ttl,
            traffic_class,
            dont_fragment,
            direction: d,
        };
        let ts = self.parse_timestamps(&options[start..]);
        self.count_ecn_octets(&packet);
        self.update(&packet, &options[start..], ts, (seq, ack), answered);
        packet
    }

    /// Updates the state with a packet. `seq` and `ack` are its numbers, as offsets; `answered` is
    /// what it acknowledges for the first time.
    fn update(
        &mut self,
        packet: &Packet,
        octets: &[u8],
        ts: Option<Timestamps>,
        (seq, ack): (i64, i64),
        answered: Option<Sent>,
    ) {
        let d = packet.direction;
        self.time_ns = packet.time_ns;
        self.update_options(packet, octets);
        self.update_ace(packet);
        self.update_len(d, packet.payload_len);
        if let Some(ts) = ts {
            self.update_echoed(d, ts.echo);
        }
        let side = &mut self.sides[d.index()];
        side.packets += 1;
        let is_syn = packet.flags.contains(Flags::SYN);
        let is_rst = packet.flags.contains(Flags::RST);
        let seq_len = packet.flags.seq_len();
        if let Some(ts) = ts {
            // Passive observers note no TSval of a keep-alive.
            let is_noted = packet.payload_len == 0
                && seq_len == 0
                && side.space.fin().is_none()
                && seq == side.space.snd_nxt();
            side.last_echo = Some(ts.echo);
            side.clock.update(ts.value, packet.time_ns, is_noted);
            // Who takes a RST has no connection left that could echo its TSval.
            if !is_rst || self.is_version_1 {
                side.recent_tsvals.push(ts.value);
                let end = seq + i64::from(seq_len) + i64::from(packet.payload_len);
                side.push_unacked_tsval(UnackedTsval { seq, end, value: ts.value });
            }
        }
        // RFC 9293, section 3.10.7.4: a RST is processed before its text, which nobody receives.
        if !is_rst {
            side.space.record_sent(seq, packet.flags, packet.payload_len, packet.time_ns);
        }
        side.last_was_syn = is_syn;
        side.last_window = packet.window;
        side.max_window = if is_syn { 0 } else { side.max_window.max(packet.window) };
        side.update_ip(packet, self.is_version_1);
        if packet.flags.contains(Flags::ACK) {
            self.update_floor(d, packet.time_ns, answered);
            self.sides[d.index()].last_ack = ack;
            self.sides[d.reversed().index()].space.record_ack(ack);
        }
    }
}
