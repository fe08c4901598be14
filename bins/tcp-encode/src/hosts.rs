//! The hosts table of `--traces`.

use std::path::Path;

use anyhow::bail;
use arrowio::{Compression, DatasetFormat, WriteOptions};
use clikit::{SideOutput, is_dash};
use dataset::HostTable;

use crate::args::Args;
use crate::rows;

/// Fails if the table would lie in the folder of the dataset, whose files are all shards.
pub(crate) fn ensure_apart(hosts: &Path, output: &Path) -> anyhow::Result<()> {
    if !is_dash(hosts) && !is_dash(output) && hosts.starts_with(output) && hosts != output {
        bail!(
            "{}: expected HOSTS beside OUTPUT, found it in {}",
            hosts.display(),
            output.display()
        );
    }
    Ok(())
}

/// Writes the table, in the format of its name: Arrow where the name says none, a stream on stdout.
pub(crate) fn write(hosts: HostTable, to: SideOutput, args: &Args) -> anyhow::Result<SideOutput> {
    let name = to.name();
    let format = match args.traces.as_deref() {
        Some(path) if !is_dash(path) => {
            DatasetFormat::from_path(path).unwrap_or(DatasetFormat::Arrow)
        }
        _ => DatasetFormat::Stream,
    };
    let options = WriteOptions { format, compression: Compression::Lz4, ..WriteOptions::default() };
    let tool = rows::meta(args).tool;
    Ok(arrowio::write_hosts(&name, to, &hosts.into_rows(), &tool, &options)?.1)
}
