//! Which endpoint is the client, where no SYN tells.

use tcpwire::TcpView;

use crate::Direction;

/// Evidence that one endpoint is the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientEvidence {
    /// The first SYN, which the client sent.
    Syn,
    /// A SYN-ACK that was sent to the client.
    SynAck,
    /// The conversation before on the same 4-tuple, which has the same client.
    Earlier,
    /// The server's port, which is the lower one and below the ports that systems choose.
    Ports,
    /// Nothing: the sender of the first packet stands in the client's place.
    Unknown,
}

impl ClientEvidence {
    /// Returns the name in flow logs and datasets.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ClientEvidence::Syn => "syn",
            ClientEvidence::SynAck => "syn-ack",
            ClientEvidence::Earlier => "earlier",
            ClientEvidence::Ports => "ports",
            ClientEvidence::Unknown => "unknown",
        }
    }
}

/// Lowest port that Linux chooses for a client; other systems begin higher (RFC 6056, section 3.2;
/// RFC 6335, section 6).
const FIRST_EPHEMERAL: u16 = 32768;

/// Returns the direction of the client by the ports of the first packet.
pub(crate) fn by_ports(first: &TcpView<'_>) -> (Direction, ClientEvidence) {
    let (from, to) = (first.src_port, first.dst_port);
    if from == to || from.min(to) >= FIRST_EPHEMERAL {
        (Direction::Forward, ClientEvidence::Unknown)
    } else if from < to {
        (Direction::Reverse, ClientEvidence::Ports)
    } else {
        (Direction::Forward, ClientEvidence::Ports)
    }
}
