//! The subcommand `embed`: a dataset to the same dataset with a vector for each flow.

use std::path::Path;

use anyhow::bail;
use arrowio::{Compression, DatasetMeta, VectorColumn};
use clikit::{Console, Unit, is_dash};
use dataset::{Destination, Sink, SinkOptions};
use linformer::{Rows, Whitening, WhiteningSums};
use serde::Serialize;
use tokenizer::field::PortMask;

use super::embedder::{Embedder, Moments};
use super::flow_rows::{FlowRows, Pace, tokens};
use super::workers::Workers;
use crate::args::{Embed, Format};

/// Name of the column with the vector at the end of a flow.
const COLUMN: &str = "embedding";

/// Number of tokens in a record batch of a stream.
const STREAM_BATCH_TOKENS: usize = 1 << 14;

/// Directions of whitened vectors, at most.
pub(crate) const DIRECTIONS: usize = 256;

/// Embeds the flows of a dataset.
pub(crate) fn embed(args: &Embed, console: &Console) -> anyhow::Result<()> {
    if is_dash(&args.dataset) && args.whiten_by.as_deref().is_some_and(is_dash) {
        bail!("-: expected one input on stdin, found DATASET and --whiten-by");
    }
    let mut inputs = vec![("MODEL", args.model.as_path()), ("DATASET", &args.dataset)];
    inputs.extend(args.whiten_by.as_deref().map(|path| ("--whiten-by", path)));
    clikit::ensure_distinct_paths(&inputs, &[("OUTPUT", &args.output)])?;
    if !is_dash(&args.output) {
        let asked = args.format.map(Format::dataset_format);
        Destination::at(&args.output, asked).ensure_free(args.force)?;
    }
    let device = linformer::device(&args.machine.device)?;
    let (threads, batch) = (args.machine.threads(), args.batch as usize);
    let workers = Workers::new(&args.model, device, threads, batch)?;
    let port = if args.with_port { PortMask::Shown } else { PortMask::Hidden };
    let mut at = args.at.clone();
    at.sort_unstable();
    at.dedup();
    let mut embedder = Embedder::new(workers, Moments { packets: at, end: true }, port);
    let whitening =
        args.whiten_by.as_deref().map(|path| whitening(path, args, &mut embedder, console));
    let whitening = whitening.transpose()?;
    let width = whitening.as_ref().map_or(embedder.width(), Whitening::width);
    let mut rows = FlowRows::open(&args.dataset, args.reading)?;
    let mut sink = create(args, rows.meta(), &embedder.moments, width, console)?;
    let progress = console.progress("embedding flows", None, Unit::Items);
    while let Some(chunk) = rows.next_chunk(embedder.tokens_at_once(), Pace::Full, console) {
        let flows: Vec<&[u16]> = chunk.iter().map(tokens).collect();
        let all = embedder.embed(&flows)?.into_iter().flatten().flatten().collect::<Vec<f32>>();
        let all = match &whitening {
            Some(map) => map.apply(Rows { values: &all, width: embedder.width() })?,
            None => all,
        };
        let of_flow = width * embedder.moments.count();
        for (row, vectors) in chunk.iter().zip(all.chunks_exact(of_flow)) {
            sink.write_with_vectors(row, &vectors.chunks_exact(width).collect::<Vec<_>>())?;
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    let written = sink.finish()?;
    console.summary(&EmbedSummary { flows: written.flows, values: width })
}

/// Fits the whitening of vectors at the ends of a dataset's flows.
fn whitening(
    path: &Path,
    args: &Embed,
    embedder: &mut Embedder,
    console: &Console,
) -> anyhow::Result<Whitening> {
    let mut rows = FlowRows::open(path, args.reading)?;
    let moments = std::mem::replace(&mut embedder.moments, Moments { packets: vec![], end: true });
    let mut sums = WhiteningSums::new(embedder.width());
    let progress = console.progress("whitening", None, Unit::Items);
    let mut read = 0;
    while let Some(chunk) = rows.next_chunk(embedder.tokens_at_once(), Pace::Full, console) {
        let flows: Vec<&[u16]> = chunk.iter().map(tokens).collect();
        let values = embedder.embed(&flows)?.into_iter().flatten().flatten().collect::<Vec<f32>>();
        sums.add(Rows { values: &values, width: embedder.width() });
        read += chunk.len();
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    embedder.moments = moments;
    if read == 0 {
        bail!("{}: expected flows to whiten by, found none", path.display());
    }
    Ok(sums.finish(DIRECTIONS)?)
}

/// Summary of the run.
#[derive(Serialize)]
struct EmbedSummary {
    /// Number of flows embedded.
    flows: u64,
    /// Number of values of each vector.
    values: usize,
}

impl std::fmt::Display for EmbedSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "embedded {} flows as vectors of {} numbers", self.flows, self.values)
    }
}

/// Creates the output: the dataset's columns, and those of the vectors.
fn create(
    args: &Embed,
    meta: &DatasetMeta,
    moments: &Moments,
    len: usize,
    console: &Console,
) -> anyhow::Result<Sink<'static>> {
    let asked = args.format.map(Format::dataset_format);
    let destination = if is_dash(&args.output) {
        Destination::stream("standard output", console.stdout(), asked)?
    } else {
        Destination::at(&args.output, asked)
    };
    let before = moments.packets.iter().map(|packets| format!("{COLUMN}_{packets}"));
    let names = before.chain([COLUMN.to_owned()]);
    let columns: Vec<VectorColumn> = names.map(|name| VectorColumn { name, len }).collect();
    let options = SinkOptions {
        force: args.force,
        stream_batch_tokens: Some(STREAM_BATCH_TOKENS),
        compression: Compression::Lz4,
    };
    Ok(Sink::create_with_vectors(destination, meta, &options, &columns)?)
}
