//! What identifies a flow and is kept beside its tokens, never in them.

use std::net::IpAddr;

/// What is random or personal on one side of a flow. `None` where the flow never shows it, or (in
/// generated flows) where the decoder is to draw it from its seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SideIdentity {
    /// Address.
    pub addr: Option<IpAddr>,
    /// First sequence number of this side: its initial sequence number where its SYN was seen.
    pub seq_base: Option<u32>,
    /// First TSval of this side (RFC 7323).
    pub ts_base: Option<u32>,
    /// First non-zero IPv4 identification of this side.
    pub ip_id_base: Option<u16>,
    /// First non-zero IPv6 flow label of this side, 20 bits.
    pub flow_label_base: Option<u32>,
}

/// What identifies a flow: everything that tokens do not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowIdentity {
    /// Time of the first packet, in nanoseconds since the Unix epoch.
    pub start_ns: Option<i64>,
    /// The client's port. (The server's is in the tokens.)
    pub client_port: Option<u16>,
    /// The side that opened the flow.
    pub client: SideIdentity,
    /// The other side.
    pub server: SideIdentity,
}
