//! Options of reading, from the command line.

use std::net::IpAddr;
use std::sync::Arc;

use flowtrack::TrackerOptions;

use crate::anonymize::CryptoPan;
use crate::args::TokenCodeArg;
use crate::filter::PcapFilter;
use crate::keep::KeepSet;
use crate::labels::Labels;

/// Options that all captures are read with.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    /// Conversations that go into the dataset.
    pub(crate) keep: KeepSet,
    /// Options of the tracker, which splits packets into conversations.
    pub(crate) tracker: TrackerOptions,
    /// Frames that are read: `--filter`.
    pub(crate) filter: Option<Arc<PcapFilter>>,
    /// UDP ports of VXLAN besides the usual ones: `--vxlan-port`.
    pub(crate) vxlan_ports: Vec<u16>,
    /// Whether each flow is handed over as soon as it is there: `--live`.
    pub(crate) live: bool,
    /// Whether a flow log is written.
    pub(crate) flow_log: bool,
    /// Whether a hosts table is written.
    pub(crate) traces: bool,
    /// Token code of the dataset.
    pub(crate) tokens: TokenCodeArg,
    /// Labels of flows: `--labels` or `--label-from`.
    pub(crate) labels: Option<Arc<Labels>>,
    /// Cipher that replaces addresses, with the key of `--anonymize`.
    pub(crate) anonymize: Option<CryptoPan>,
}

impl ReadOptions {
    /// Returns an address as outputs show it: anonymized with `--anonymize`.
    pub(crate) fn shown(&self, addr: IpAddr) -> IpAddr {
        self.anonymize.as_ref().map_or(addr, |pan| pan.anonymize(addr))
    }
}
