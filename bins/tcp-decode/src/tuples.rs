//! 4-tuples of generated flows that are in use.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

/// Number of most recent flows whose 4-tuples are kept unique, if the networks are large enough.
const REMEMBERED_FLOWS: usize = 1 << 20;

/// Both endpoints of a TCP connection: addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FourTuple {
    /// Address that the first SYN comes from.
    pub(crate) client: IpAddr,
    /// Client's port, ephemeral in most flows.
    pub(crate) client_port: u16,
    /// Address that the first SYN goes to.
    pub(crate) server: IpAddr,
    /// Server's port, which the tokens encode.
    pub(crate) server_port: u16,
}

impl FourTuple {
    /// Hashes the tuple for [`TuplesInUse`], which keeps 8 octets of each instead of 38.
    ///
    /// std's `DefaultHasher` serves for membership alone, so its value shows in no output: two
    /// tuples that collide cost one more draw.
    fn digest(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.client, self.client_port, self.server, self.server_port).hash(&mut hasher);
        hasher.finish()
    }
}

/// Digests of the 4-tuples of recent flows, with the time until which each is in use.
#[derive(Default)]
pub(crate) struct TuplesInUse {
    /// End of use by digest, in nanoseconds since 1970.
    until: HashMap<u64, i64>,
    /// Digests and ends of use in the order in which the flows were added.
    order: VecDeque<(u64, i64)>,
}

impl TuplesInUse {
    /// Returns whether no remembered flow has the tuple.
    pub(crate) fn is_new(&self, tuple: FourTuple) -> bool {
        !self.until.contains_key(&tuple.digest())
    }

    /// Returns whether every remembered flow with the tuple is over at `time_ns`.
    pub(crate) fn is_free(&self, tuple: FourTuple, time_ns: i64) -> bool {
        self.until.get(&tuple.digest()).is_none_or(|until| *until <= time_ns)
    }

    /// Adds the tuple of a flow that uses it during `alive`, in nanoseconds since 1970.
    ///
    /// Beyond [`REMEMBERED_FLOWS`], the oldest flows are forgotten if they are over when `alive`
    /// begins.
    pub(crate) fn add(&mut self, tuple: FourTuple, alive: Range<i64>) {
        let digest = tuple.digest();
        self.until.insert(digest, alive.end);
        self.order.push_back((digest, alive.end));
        while self.order.len() > REMEMBERED_FLOWS
            && let Some(&(oldest, until)) = self.order.front()
            && until <= alive.start
        {
            self.order.pop_front();
            // A later flow may have taken the tuple over: its end of use stays.
            if self.until.get(&oldest) == Some(&until) {
                self.until.remove(&oldest);
            }
        }
    }
}
