//! The header of a flow: the values of its first tokens, before any packet.

use super::digits;
use super::time_unit::TimeUnit;
use super::ts_clock::ClockId;
use super::vocab;
use crate::TokenId;

/// Way in which a flow closes, as its class token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CloseKind {
    /// Both sides sent a FIN, and neither sent a RST before that (RFC 9293, section 3.6).
    #[default]
    Graceful,
    /// A side sent a RST before both had sent a FIN (RFC 9293, section 3.5.2).
    Reset,
    /// No RST, and at most one side sent a FIN.
    Open,
}

impl CloseKind {
    /// Every kind, in the order of the class tokens.
    pub const ALL: [CloseKind; 3] = [CloseKind::Graceful, CloseKind::Reset, CloseKind::Open];
}

/// Class of a flow: how it closes, and whether its handshake is part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionClass {
    /// Way in which the flow closes.
    pub close: CloseKind,
    /// Whether the flow holds a SYN of the client and a SYN-ACK of the server.
    pub has_handshake: bool,
}

impl SessionClass {
    /// Number of classes, each of which has a token.
    pub const COUNT: usize = 2 * CloseKind::ALL.len();

    /// Returns the class whose token is number `id` of [`vocab::CLASS`], or `None` for ids from
    /// [`COUNT`](Self::COUNT) on.
    #[must_use]
    pub fn from_id(id: usize) -> Option<SessionClass> {
        let kinds = CloseKind::ALL.len();
        (id < Self::COUNT)
            .then(|| SessionClass { close: CloseKind::ALL[id % kinds], has_handshake: id < kinds })
    }

    /// Returns the number of the class in [`vocab::CLASS`]: with a handshake first.
    #[must_use]
    pub const fn id(self) -> usize {
        self.close as usize + if self.has_handshake { 0 } else { CloseKind::ALL.len() }
    }
}

impl Default for SessionClass {
    fn default() -> SessionClass {
        SessionClass { close: CloseKind::Graceful, has_handshake: true }
    }
}

/// Header of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowHeader {
    /// Version of the table of ids that the flow is written in.
    pub version: u32,
    /// IP version of both ends: 4 or 6.
    pub ip_version: u8,
    /// Unit of the flow's times.
    pub unit: TimeUnit,
    /// How the flow closes, and whether it begins with a handshake.
    pub class: SessionClass,
    /// Binary logarithm of the number of packets, rounded down: a flow of class `n` has from `2^n`
    /// to `2^(n+1) - 1` packets. Flows without packets are of class 0, and the last class has no
    /// upper bound.
    pub length_class: u8,
    /// TCP port of the server.
    pub server_port: u16,
    /// Timestamp clocks of the client and of the server (RFC 7323, section 5.4).
    pub ts_clocks: [ClockId; 2],
}

impl FlowHeader {
    /// Returns the unit of the flow's times in nanoseconds.
    #[must_use]
    pub const fn unit_ns(&self) -> i64 {
        self.unit.ns()
    }

    /// Returns whether both ends have IPv6 addresses.
    #[inline]
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.ip_version == 6
    }

    /// Appends the tokens of the header, from `begin` on.
    pub(crate) fn write(&self, out: &mut Vec<TokenId>) {
        out.push(vocab::BOS);
        let unit = self.unit as usize;
        out.push(vocab::FLOW.at(usize::from(self.is_v6()) * 2 + unit));
        out.push(vocab::CLASS.at(self.class.id()));
        out.push(vocab::LENGTH.at(self.length_class.into()));
        write_server_port(self.server_port, out);
        for (side, clock) in self.ts_clocks.iter().enumerate() {
            if !clock.is_default() {
                out.push(clock.token(side));
            }
        }
    }
}

impl Default for FlowHeader {
    fn default() -> FlowHeader {
        FlowHeader {
            version: vocab::VERSION,
            ip_version: 4,
            unit: TimeUnit::default(),
            class: SessionClass::default(),
            length_class: 0,
            server_port: 0,
            ts_clocks: [ClockId::default(); 2],
        }
    }
}

/// Appends the tokens of a server port: one if the port has a token, else an escape and two digits.
#[inline]
pub(crate) fn write_server_port(port: u16, out: &mut Vec<TokenId>) {
    match vocab::PORTS.iter().position(|&p| p == port) {
        Some(i) => out.push(vocab::PORT.at(i)),
        None => digits::write_raw(vocab::PORT_RAW, port.into(), 2, out),
    }
}

/// Index of the class among a flow's tokens: after `begin` and `flow`.
pub(super) const CLASS_AT: usize = 2;
/// Index of the length class among a flow's tokens.
pub(super) const LENGTH_AT: usize = CLASS_AT + 1;
/// Index of the first token of the server's port among a flow's tokens.
pub(super) const PORT_AT: usize = LENGTH_AT + 1;

/// Returns the length class of a flow of `packets` packets.
pub(crate) fn length_class(packets: usize) -> u8 {
    packets.max(1).ilog2().min(vocab::LENGTH.count() as u32 - 1) as u8
}

/// Sets the length class in a flow's tokens to that of `packets` packets. Does nothing if the
/// tokens end before it.
pub(crate) fn set_length_class(tokens: &mut [TokenId], packets: usize) {
    if let Some(token) =
        tokens.get_mut(LENGTH_AT).filter(|token| vocab::LENGTH.arg(**token).is_some())
    {
        *token = vocab::LENGTH.at(length_class(packets).into());
    }
}
