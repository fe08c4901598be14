//! Flows into header-field tokens and back: lossless, compact, relative to TCP's state.
//!
//! Two codes: [`field`], ours, and [`word16`], tcpflowgen's. Knows nothing of Arrow, tensors or files.

mod error;
pub mod field;
mod identity;
pub mod word16;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowtrack::{Completeness, Endpoint, Flow};

pub use error::{DecodeError, EncodeError};
pub use identity::{FlowIdentity, SideIdentity};

/// A token id of the `field` code: at most 1,024 of them.
pub type TokenId = u16;

/// A flow without packets. Its server's port is for the tokens to say.
fn empty_flow(identity: &FlowIdentity, v6: bool) -> Flow {
    let (client, server) = addresses(identity, v6);
    Flow {
        client: Endpoint { addr: client, port: identity.client_port.unwrap_or(0) },
        server: Endpoint { addr: server, port: 0 },
        first_frame: 0,
        packets: Vec::new(),
        options: Vec::new(),
        completeness: Completeness::default(),
    }
}

/// The addresses of both ends, unspecified where `identity` has none of this version.
fn addresses(identity: &FlowIdentity, v6: bool) -> (IpAddr, IpAddr) {
    let none = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let of = |addr: Option<IpAddr>| addr.filter(|a| a.is_ipv6() == v6).unwrap_or(none);
    (of(identity.client.addr), of(identity.server.addr))
}
