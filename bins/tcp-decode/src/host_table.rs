//! Hosts that a dataset's flows belong to, as a hosts table says.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{bail, ensure};
use arrowio::HostRow;
use tokenizer::FlowIdentity;
use tokenizer::host::HostRole;

/// Hosts table, read along with the rows of its dataset.
pub(crate) struct HostTable {
    /// Path of the file, for messages.
    name: String,
    hosts: Vec<HostRow>,
    /// Rows of the dataset with their hosts, by row: of clients, and of servers.
    flows: [Vec<(u64, u32)>; 2],
    /// Number of entries of `flows` before the current row.
    before: [usize; 2],
    /// Hosts of the current row.
    current: [Option<u32>; 2],
}

impl HostTable {
    /// Reads a table.
    ///
    /// # Errors
    /// If the file is no hosts table, or a flow has two hosts on one side.
    pub(crate) fn read(path: &Path) -> anyhow::Result<HostTable> {
        let hosts = arrowio::read_hosts(path)?;
        HostTable::new(path.display().to_string(), hosts)
    }

    fn new(name: String, mut hosts: Vec<HostRow>) -> anyhow::Result<HostTable> {
        let mut flows = [Vec::new(), Vec::new()];
        for host in &mut hosts {
            let rows = std::mem::take(&mut host.flows);
            flows[index(host.role)].extend(rows.into_iter().map(|row| (row, host.host)));
        }
        for (side, role) in flows.iter_mut().zip(HostRole::ALL) {
            side.sort_unstable();
            if let Some([(row, a), (_, b)]) = side.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                bail!(
                    "{name}: row {row} of the dataset: expected one {}, found hosts {a} and {b}",
                    role.name()
                );
            }
        }
        Ok(HostTable { name, hosts, flows, before: [0; 2], current: [None; 2] })
    }

    /// Moves to a row of the dataset, which lies behind the current one.
    pub(crate) fn seek(&mut self, row: u64) {
        for side in 0..2 {
            let flows = &self.flows[side];
            let before = &mut self.before[side];
            *before += flows[*before..].partition_point(|(of, _)| *of < row);
            self.current[side] = flows.get(*before).filter(|(of, _)| *of == row).map(|(_, h)| *h);
        }
    }

    /// Returns the number of the host that the current row has on a side.
    pub(crate) fn host(&self, role: HostRole) -> Option<u32> {
        self.current[index(role)]
    }

    /// Returns the address of a host in an IP version: the first of the table, or else `drawn`,
    /// which the host keeps.
    pub(crate) fn addr(
        &mut self,
        number: u32,
        ip_version: u8,
        drawn: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let addrs = &mut self.hosts[number as usize].addrs;
        let is_of_version = |addr: &&IpAddr| addr.is_ipv6() == (ip_version == 6);
        addrs.iter().find(is_of_version).copied().or_else(|| {
            let addr = drawn()?;
            addrs.push(addr);
            Some(addr)
        })
    }

    /// Checks that the addresses of the current row, as far as it has them, are those of its hosts.
    ///
    /// # Errors
    /// If one is not.
    pub(crate) fn check_addresses(&self, row: u64, identity: &FlowIdentity) -> anyhow::Result<()> {
        for (role, side) in HostRole::ALL.iter().zip([identity.client, identity.server]) {
            let (Some(addr), Some(number)) = (side.addr, self.host(*role)) else { continue };
            let addrs = &self.hosts[number as usize].addrs;
            let listed = || addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            ensure!(
                addrs.is_empty() || addrs.contains(&addr),
                "{}: host {number}: expected {addr}, the {} of row {row} of the dataset, found {}",
                self.name,
                role.name(),
                listed()
            );
        }
        Ok(())
    }

    /// Checks that no flow lies beyond the rows of the dataset.
    ///
    /// # Errors
    /// If one does.
    pub(crate) fn check_rows(&self, rows: u64) -> anyhow::Result<()> {
        match self.flows.iter().filter_map(|side| side.last()).max() {
            Some((row, host)) if *row >= rows => bail!(
                "{}: host {host}: expected rows below {rows}, the number of the dataset's, found \
                 {row}",
                self.name
            ),
            _ => Ok(()),
        }
    }

    /// Returns the row of a host.
    pub(crate) fn row(&self, number: u32) -> &HostRow {
        &self.hosts[number as usize]
    }
}

/// Returns the place of a role in arrays with an entry per side.
fn index(role: HostRole) -> usize {
    match role {
        HostRole::Client => 0,
        HostRole::Server => 1,
    }
}
