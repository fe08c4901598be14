//! State of a host that encoder and decoder share: its pairs, servers and SYNs so far.

use super::host::{FlowHead, Syn};

/// Pair of a server and a port, with the SYN of the host's last flow to it.
#[derive(Clone, Debug)]
struct Pair {
    server: usize,
    port: u16,
    syn: usize,
}

/// Server of a host, with the SYN of the host's last flow to it.
#[derive(Clone, Debug)]
struct Server {
    /// Number in the trace.
    number: u32,
    syn: usize,
}

/// Pairs, servers and SYNs of a host by first and by last use.
#[derive(Clone, Debug, Default)]
pub(super) struct HostState {
    pairs: Vec<Pair>,
    servers: Vec<Server>,
    syns: Vec<Syn>,
    /// Indices in `pairs`, `servers` and `syns`, the last used one at the end.
    last_pairs: Vec<usize>,
    last_servers: Vec<usize>,
    last_syns: Vec<usize>,
    /// Number of servers of the trace that hosts before have used.
    shared: u32,
    /// Number of servers that no host before has used.
    new: u32,
}

/// Destination of a flow, relative to the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// Pair of this index by first use.
    Pair(usize),
    /// Server of this index by first use, and a port of it.
    Server(usize),
    /// Server that no host of the trace has used.
    New,
    /// Server of this number in the trace, which a host before has used.
    Shared(u32),
}

impl HostState {
    /// Creates the state of a host behind hosts that have used `shared` servers.
    pub(super) fn new(shared: u32) -> HostState {
        HostState { shared, ..HostState::default() }
    }

    pub(super) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    pub(super) fn syns(&self) -> usize {
        self.syns.len()
    }

    /// Returns the number of servers that no host before has used.
    pub(super) fn new_servers(&self) -> u32 {
        self.new
    }

    pub(super) fn shared(&self) -> u32 {
        self.shared
    }

    /// Returns the destination of a flow; `None` if the server's number skips one.
    pub(super) fn destination(&self, number: u32, port: u16) -> Option<Destination> {
        let Some(server) = self.servers.iter().position(|server| server.number == number) else {
            return match number {
                _ if number < self.shared => Some(Destination::Shared(number)),
                _ if number == self.shared + self.new => Some(Destination::New),
                _ => None,
            };
        };
        let is_pair = |pair: &Pair| pair.server == server && pair.port == port;
        let pair = self.pairs.iter().position(is_pair);
        Some(pair.map_or(Destination::Server(server), Destination::Pair))
    }

    /// Returns the rank of a pair by last use, from 0.
    pub(super) fn pair_rank(&self, index: usize) -> usize {
        rank(&self.last_pairs, index)
    }

    /// Returns the rank of a server by last use, from 0.
    pub(super) fn server_rank(&self, index: usize) -> usize {
        rank(&self.last_servers, index)
    }

    /// Returns the k-th last pair.
    pub(super) fn recent_pair(&self, k: usize) -> Option<usize> {
        recent(&self.last_pairs, k)
    }

    /// Returns the k-th last server.
    pub(super) fn recent_server(&self, k: usize) -> Option<usize> {
        recent(&self.last_servers, k)
    }

    /// Returns the k-th last SYN.
    pub(super) fn recent_syn(&self, k: usize) -> Option<&Syn> {
        self.syns.get(recent(&self.last_syns, k)?)
    }

    /// Returns the rank of a SYN by last use; `None` if the host has not sent it.
    pub(super) fn syn_rank(&self, syn: &Syn) -> Option<usize> {
        let index = self.syns.iter().position(|known| known == syn)?;
        Some(rank(&self.last_syns, index))
    }

    /// Returns the SYN to expect with a destination: that of the pair's last flow, else of the
    /// server's, else of the host's.
    pub(super) fn expected_syn(&self, destination: Destination) -> Option<&Syn> {
        let index = match destination {
            Destination::Pair(pair) => Some(self.pairs[pair].syn),
            Destination::Server(server) => Some(self.servers[server].syn),
            Destination::New | Destination::Shared(_) => recent(&self.last_syns, 0),
        };
        self.syns.get(index?)
    }

    /// Returns the server's number and, of a pair, its port.
    pub(super) fn resolve(&self, destination: Destination) -> (u32, Option<u16>) {
        match destination {
            Destination::Pair(pair) => {
                let Pair { server, port, .. } = self.pairs[pair];
                (self.servers[server].number, Some(port))
            }
            Destination::Server(server) => (self.servers[server].number, None),
            Destination::New => (self.shared + self.new, None),
            Destination::Shared(number) => (number, None),
        }
    }

    /// Adds a SYN of the host, or marks it as the last used one.
    fn use_syn(&mut self, syn: &Syn) -> usize {
        // A host has few SYNs, most have one: a search is as fast as a table.
        let known = self.syns.iter().position(|known| known == syn);
        let index = known.unwrap_or_else(|| {
            self.syns.push(syn.clone());
            self.syns.len() - 1
        });
        touch(&mut self.last_syns, index);
        index
    }

    /// Adds the SYN that a host begins with.
    pub(super) fn begin(&mut self, syn: &Syn) {
        self.use_syn(syn);
    }

    /// Adds a flow. The one transition of the state.
    pub(super) fn update(&mut self, head: &FlowHead) {
        let syn = self.use_syn(&head.syn);
        let known = self.servers.iter().position(|server| server.number == head.server);
        let server = known.unwrap_or_else(|| {
            // Servers of hosts before have the lower numbers.
            self.new += u32::from(head.server >= self.shared);
            self.servers.push(Server { number: head.server, syn });
            self.servers.len() - 1
        });
        self.servers[server].syn = syn;
        touch(&mut self.last_servers, server);
        let is_pair = |pair: &Pair| pair.server == server && pair.port == head.port;
        let pair = self.pairs.iter().position(is_pair).unwrap_or_else(|| {
            self.pairs.push(Pair { server, port: head.port, syn });
            self.pairs.len() - 1
        });
        self.pairs[pair].syn = syn;
        touch(&mut self.last_pairs, pair);
    }
}

/// Returns the index that was used k-th last.
fn recent(last: &[usize], k: usize) -> Option<usize> {
    last.len().checked_sub(k + 1).map(|at| last[at])
}

/// Returns how many indices were used after `index`.
fn rank(last: &[usize], index: usize) -> usize {
    last.iter().rev().position(|known| *known == index).unwrap_or(last.len())
}

/// Marks an index as the last used one.
fn touch(last: &mut Vec<usize>, index: usize) {
    // The order of all others stays.
    last.retain(|known| *known != index);
    last.push(index);
}
