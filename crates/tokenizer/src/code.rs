//! What the token codes have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowtrack::{Completeness, Endpoint, Flow};

use crate::{DecodeError, EncodeError, FlowIdentity};

/// A code for flows. A value of it keeps its buffers from flow to flow, and nothing else: what it
/// makes of a flow depends on that flow alone.
pub trait TokenCode: Default {
    /// What it writes.
    type Token: Copy;
    /// Its name, as datasets give it.
    const NAME: &'static str;
    /// Its version, as datasets give it.
    const VERSION: u32;
    /// Number of ids.
    const VOCAB_SIZE: usize;

    /// Encodes a flow: its tokens are appended to `out`; what they do not say is returned.
    ///
    /// # Errors
    /// Where the flow holds what the code can not say: see [`EncodeError`]. `out` is then as it
    /// was.
    fn encode(
        &mut self,
        flow: &Flow,
        out: &mut Vec<Self::Token>,
    ) -> Result<FlowIdentity, EncodeError>;

    /// Decodes a flow over `out`, whose buffers are used again. What `identity` leaves open is
    /// zero: whoever generates draws it first.
    ///
    /// # Errors
    /// At the first token that may not stand where it stands, and where the tokens end before the
    /// flow does. `out` then holds the packets before it.
    fn decode(
        &mut self,
        tokens: &[Self::Token],
        identity: &FlowIdentity,
        out: &mut Flow,
    ) -> Result<Synthesized, DecodeError>;
}

/// What [`TokenCode::decode`] had to make up, since the code does not hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synthesized {
    /// Packets whose time, TTL, IP identification, DSCP, ECN and DF are made up: in `word16` all of
    /// them, in `field` none.
    pub packets: u64,
    /// Packets whose options were cut short or whose length did not hold their header, and were
    /// filled up.
    pub repaired: u64,
}

/// Takes the packets out of `flow` and gives it the ends of `identity`. Its server's port is for
/// the tokens to say.
pub(crate) fn restart(flow: &mut Flow, identity: &FlowIdentity, v6: bool) {
    let (client, server) = addresses(identity, v6);
    flow.client = Endpoint { addr: client, port: identity.client_port.unwrap_or(0) };
    flow.server = Endpoint { addr: server, port: 0 };
    flow.first_frame = 0;
    flow.packets.clear();
    flow.options.clear();
    flow.completeness = Completeness::default();
}

/// The addresses of both ends, unspecified where `identity` has none of this version.
pub(crate) fn addresses(identity: &FlowIdentity, v6: bool) -> (IpAddr, IpAddr) {
    let none =
        if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let of = |addr: Option<IpAddr>| addr.filter(|a| a.is_ipv6() == v6).unwrap_or(none);
    (of(identity.client.addr), of(identity.server.addr))
}
