//! Hosts table: the hosts of a dataset's flows, in a file of its own.

use std::io::Write;
use std::path::Path;

use crate::arrow2::{FileEncoder, host_batch, host_rows};
use crate::host::is_host_column;
use crate::read::Batches;
use crate::{Error, ErrorKind, HostRow, WriteOptions};

/// Writes a hosts table and flushes the output; returns it with the size in octets. `name` is the
/// path in errors, `tool` the program in the metadata.
///
/// ```
/// use arrowio::{HostRow, WriteOptions, write_hosts};
///
/// let hosts = [HostRow { flows: vec![0, 2], ..HostRow::default() }];
/// let options = WriteOptions::default();
/// let (octets, file) = write_hosts("memory", Vec::new(), &hosts, "an example", &options)?;
/// assert_eq!(octets, file.len() as u64);
/// # Ok::<(), arrowio::Error>(())
/// ```
///
/// # Errors
/// If the output cannot be written.
pub fn write_hosts<W: Write>(
    name: &str,
    to: W,
    hosts: &[HostRow],
    tool: &str,
    options: &WriteOptions,
) -> Result<(u64, W), Error> {
    /// Number of hosts in a record batch.
    const BATCH: usize = 1 << 14;
    let write = || {
        let mut encoder = FileEncoder::of_hosts(to, tool, options)?;
        // A table without rows has one batch without rows.
        for batch in hosts.chunks(BATCH).chain(hosts.is_empty().then_some(hosts)) {
            encoder.write(host_batch(batch)?)?;
        }
        encoder.finish()
    };
    write().map_err(|e| e.at(name))
}

/// Reads the hosts table in a file: Arrow or Parquet.
///
/// # Errors
/// If the file is no hosts table, is damaged, or has hosts in another order than their numbers.
pub fn read_hosts(path: &Path) -> Result<Vec<HostRow>, Error> {
    let read = || {
        let mut batches = Batches::open(path, is_host_column)?;
        let mut hosts: Vec<HostRow> = Vec::new();
        while let Some(columns) = batches.next_batch()? {
            for host in host_rows(&columns)? {
                if host.host as usize != hosts.len() {
                    let place = format!("column host, row {}", hosts.len());
                    let (expected, found) = (hosts.len().to_string(), host.host.to_string());
                    return Err(ErrorKind::format(place, expected, found));
                }
                hosts.push(host);
            }
        }
        Ok(hosts)
    };
    read().map_err(|e: ErrorKind| e.at(&path.display().to_string()))
}

/// Returns whether the file at a path holds a hosts table: Arrow or Parquet with its columns.
#[must_use]
pub fn is_hosts(path: &Path) -> bool {
    Batches::open(path, is_host_column).is_ok_and(|batches| batches.is_hosts())
}
