//! Values that identify a flow: they are kept apart from its tokens, never in them.

use std::net::IpAddr;

/// Random and personal values of one side of a flow. `None` if the flow never shows the value, or
/// (in generated flows) if the decoder is to draw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SideIdentity {
    /// IP address of the side.
    pub addr: Option<IpAddr>,
    /// First sequence number of the side: its initial sequence number (RFC 9293, section 3.4.1) if
    /// its SYN was seen.
    pub seq_base: Option<u32>,
    /// First TSval of the side (RFC 7323, section 3.2).
    pub ts_base: Option<u32>,
    /// First IPv4 identification of the side other than 0.
    pub ip_id_base: Option<u16>,
    /// First IPv6 flow label of the side other than 0; 20 bits.
    pub flow_label_base: Option<u32>,
}

/// Values that identify a flow: all that its tokens do not hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowIdentity {
    /// Least time of the packets, in nanoseconds since the Unix epoch.
    pub start_ns: Option<i64>,
    /// TCP port of the client. The server's port is in the tokens.
    pub client_port: Option<u16>,
    /// Values of the side that opened the flow.
    pub client: SideIdentity,
    /// Values of the side that accepted the flow.
    pub server: SideIdentity,
    /// Octets of options that no token holds, in the order of the packets: keys, digests, cookies
    /// and counters.
    pub option_digits: Option<Vec<u8>>,
}
