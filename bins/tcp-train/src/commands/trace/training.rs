//! Skeletons as training reads them: a dataset of one host a row.

use std::path::Path;

use anyhow::{Context, bail};
use arrowio::{
    CodecId, DatasetFormat, DatasetMeta, DatasetReader, DatasetWriter, FlowRow, FlowSummary,
    ReadOptions, Tokens, WriteOptions,
};
use dataset::TraceFlows;
use tokenizer::{FlowIdentity, skeleton};

/// Code of the rows.
pub(in crate::commands) const SKELETON: CodecId =
    CodecId { name: skeleton::NAME, version: skeleton::VERSION };

/// Writes the skeletons of a dataset's hosts to a temporary file in `folder`. The packets of a row
/// are the flows of the host.
///
/// # Errors
/// If the dataset or the hosts table cannot be read, they do not fit, or no host has a flow.
pub(in crate::commands) fn skeleton_file(
    dataset: &Path,
    hosts: &Path,
    read: &ReadOptions<'_>,
    folder: &Path,
) -> anyhow::Result<tempfile::NamedTempFile> {
    let table = arrowio::read_hosts(hosts)?;
    let mut flows = TraceFlows::default();
    for row in DatasetReader::open_with(dataset, read)? {
        flows.push(&row?);
    }
    let traces = flows.traces(&table).with_context(|| hosts.display().to_string())?;
    let file = tempfile::Builder::new().suffix(".arrows").tempfile_in(folder);
    let file = file.with_context(|| folder.display().to_string())?;
    let meta = DatasetMeta {
        token_code: SKELETON.name.to_owned(),
        token_version: SKELETON.version,
        vocab_size: skeleton::VOCAB_SIZE as u32,
        tool: concat!("tcp-train ", env!("CARGO_PKG_VERSION")).to_owned(),
        options: Default::default(),
    };
    let options = WriteOptions { format: DatasetFormat::Stream, ..WriteOptions::default() };
    let to = std::io::BufWriter::new(file.reopen()?);
    let mut writer = DatasetWriter::new(&file.path().display().to_string(), to, &meta, &options)?;
    let mut hosts_written = 0;
    for trace in traces {
        for host in trace.hosts {
            let mut tokens = Vec::new();
            skeleton::encode(&host.skeleton, host.shared, &mut tokens)
                .with_context(|| format!("{}: host {}", hosts.display(), host.row))?;
            let summary = FlowSummary {
                source: trace.source.clone(),
                packets: [host.flows.len() as u64, 0],
                ..FlowSummary::default()
            };
            let (tokens, identity) = (Tokens::U16(tokens), FlowIdentity::default());
            writer.write(&FlowRow { tokens, identity, summary: Some(summary) })?;
            hosts_written += 1;
        }
    }
    writer.finish()?;
    if hosts_written == 0 {
        bail!("{}: expected clients with flows that begin with a SYN, found none", hosts.display());
    }
    Ok(file)
}
