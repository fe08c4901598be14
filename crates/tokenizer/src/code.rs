//! The interface of the token codes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowtrack::{Completeness, Endpoint, Flow};

use crate::{DecodeError, EncodeError, FlowIdentity};

/// A code for flows. A value of it keeps buffers from flow to flow and no other state: the tokens
/// of a flow depend on that flow alone.
pub trait TokenCode: Default {
    /// Type of the tokens that it writes.
    type Token: Copy;
    /// Name of the code in dataset metadata.
    const NAME: &'static str;
    /// Version of the code in dataset metadata.
    const VERSION: u32;
    /// Number of token ids, from 0 on.
    const VOCAB_SIZE: usize;

    /// Encodes a flow: appends its tokens to `out`, and returns the values that they do not hold.
    ///
    /// # Errors
    /// If the flow holds a value that the code cannot encode: see [`EncodeError`]. `out` is then
    /// unchanged.
    fn encode(
        &mut self,
        flow: &Flow,
        out: &mut Vec<Self::Token>,
    ) -> Result<FlowIdentity, EncodeError>;

    /// Decodes a flow into `out`, whose buffers are reused. Values that `identity` does not hold
    /// become zero.
    ///
    /// # Errors
    /// At the first misplaced token, and if the tokens end before the flow does. `out` then holds
    /// the packets before it.
    fn decode(
        &mut self,
        tokens: &[Self::Token],
        identity: &FlowIdentity,
        out: &mut Flow,
    ) -> Result<Synthesized, DecodeError>;
}

/// Counts of the packets for which [`TokenCode::decode`] made up values that the code does not
/// hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synthesized {
    /// Number of packets whose time, TTL, IP identification, DSCP, ECN and DF are made up: all of
    /// them in `word16`, none in `field`.
    pub packets: u64,
    /// Number of packets whose options were too short, or whose length was less than that of their
    /// header, and which were padded.
    pub repaired: u64,
}

/// Removes the packets of `flow`, and sets its ends to those of `identity`. The server's port is 0:
/// the tokens hold it.
pub(crate) fn restart(flow: &mut Flow, identity: &FlowIdentity, v6: bool) {
    let (client, server) = addresses(identity, v6);
    flow.client = Endpoint { addr: client, port: identity.client_port.unwrap_or(0) };
    flow.server = Endpoint { addr: server, port: 0 };
    flow.first_frame = 0;
    flow.packets.clear();
    flow.options.clear();
    flow.completeness = Completeness::default();
}

/// Returns the addresses of both ends; unspecified ones if `identity` has none of this version.
pub(crate) fn addresses(identity: &FlowIdentity, v6: bool) -> (IpAddr, IpAddr) {
    let none =
        if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let of = |addr: Option<IpAddr>| addr.filter(|a| a.is_ipv6() == v6).unwrap_or(none);
    (of(identity.client.addr), of(identity.server.addr))
}
