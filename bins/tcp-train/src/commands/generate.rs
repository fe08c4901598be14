//! The subcommand `generate`: a model to a dataset.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use anyhow::bail;
use arrowio::{Compression, DatasetMeta, FlowRow, Tokens};
use clikit::text::count;
use clikit::{Console, Interrupts, Unit, is_dash};
use dataset::{
    Destination, Outcome, PartReport, PartRun, RowCodec, RowDecoder, Sink, SinkOptions, summarize,
};
use linformer::{Generated, Generator, Job, Prompt, Sampling, StopReason, TensorMemory};
use tokenizer::{FlowIdentity, field};

use super::conditions::PromptConditions;
use super::filter::{FlowFilter, LengthClass, PacketBounds};
use super::folder;
use super::memory::peak_memory;
use super::parts;
use super::summary::GenerateSummary;
use super::trace;
use crate::args::{Constrain, Ends, Format, Generate};
use crate::config::Config;

/// Number of tokens that a flow is allowed for each packet, several times that of any packet. Ends
/// flows that `--constrain none` does not end.
const TOKENS_PER_PACKET: u64 = 128;

/// Largest number of tokens of finished flows that wait for an earlier flow: 64 MiB of them.
const MAX_WAITING_TOKENS: usize = 1 << 25;

/// Number of tokens in a record batch of a stream: few, so that the program behind the pipe gets
/// flows while others are generated.
const STREAM_BATCH_TOKENS: usize = 1 << 14;

/// Generates flows and writes them as a dataset.
pub(crate) fn generate(args: &Generate, console: &Console) -> anyhow::Result<()> {
    if args.join {
        return parts::join(args, console);
    }
    clikit::ensure_distinct_paths(
        &[("--checkpoint-path", &args.checkpoint_path)],
        &[("--output-dir", &args.output_dir)],
    )?;
    check(args)?;
    let run_of = |part| parts::run_of(args, part, meta(args), asked_format(args));
    let mut part = args.part.map(run_of).transpose()?;
    if let Some(part) = &mut part
        && parts::is_kept(args, part, console)?
    {
        return Ok(());
    }
    if !is_dash(&args.output_dir) {
        Destination::at(&args.output_dir, asked_format(args)).ensure_free(args.force)?;
    }
    if args.trace.is_some() {
        return trace::generate(args, console);
    }
    let device = linformer::device(&args.machine.device)?;
    let model = folder::read_model(&args.checkpoint_path, linformer::Device::Cpu)?;
    warn_of_unseen_ports(args)?;
    let generator = generator(device, model.decoder(args.precision.into())?)?;
    drop(model);
    // Without --length-class, a flow ends where the model ends it, even in another class than the
    // one in its header.
    let length =
        if args.length_class.is_some() { LengthClass::Enforced } else { LengthClass::Advisory };
    let packets = PacketBounds { min: args.min_packets_per_flow, max: args.max_packets_per_flow };
    let filter = |_| FlowFilter::new(args.constrain, packets, length);
    let prompts = PromptConditions::new(args).prompts(&generator, || filter(0), &sampling(args))?;
    let mut output = Output::create(args, part.as_ref(), console)?;
    let started = Instant::now();
    let progress = console.progress(
        "generating",
        args.packets.or_else(|| Some(count_of(sequences(args)))),
        Unit::Items,
    );
    let mut summary = GenerateSummary {
        constrain: name_of(args.constrain).to_owned(),
        ..GenerateSummary::default()
    };
    // A part that is not whole is of no use.
    let interrupts = part.is_none().then(|| console.catch_interrupts());
    let is_interrupted = || interrupts.is_some_and(Interrupts::requested);
    let job = job(args, &generator, prompts);
    let outcome = generator.run(&job, filter, |generated, filter| {
        write_flow(&generated, &filter, &mut summary, &mut output)?;
        progress.set(if args.packets.is_some() { summary.packets } else { summary.generated });
        progress.message(format!("generating, {} packets", count(summary.packets)));
        Ok::<_, anyhow::Error>(if is_interrupted() || has_enough_packets(args, &summary) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    outcome.map_err(|error| with_slots(error, &job))?;
    progress.finish();
    summary.seconds = started.elapsed().as_secs_f64();
    summary.peak_memory = peak_memory();
    summary.peak_tensor_memory = TensorMemory::read().peak;
    report_missing(args, &summary, console);
    match &part {
        Some(part) => {
            let left_out = console.left_out_count();
            output.sink.finish_part(part, |_| PartReport::new(left_out, &summary))?;
        }
        None => drop(output.sink.finish()?),
    }
    console.summary(&summary)
}

/// Returns the generator of a device; a program without CUDA's kernels generates on the CPU.
pub(super) fn generator(
    device: linformer::Device,
    decoder: linformer::Decoder,
) -> anyhow::Result<Generator> {
    if let Some(generator) = Generator::on(device, decoder.clone())? {
        return Ok(generator);
    }
    tracing::warn!("this program has no kernels for GPUs: generation runs on the CPU");
    Ok(Generator::new(decoder))
}

/// Adds the options that decide on the memory of a GPU to an error of the model.
fn with_slots(error: anyhow::Error, job: &Job) -> anyhow::Error {
    if error.is::<linformer::ModelError>() {
        error.context(format!("--batch {} --threads {}", job.slots, job.threads))
    } else {
        error
    }
}

/// Checks that the arguments do not contradict one another.
fn check(args: &Generate) -> anyhow::Result<()> {
    if args.constrain == Constrain::Session && args.ends.contains(&Ends::Open) {
        bail!("--ends open: expected --constrain syntax or none, since a session is closed");
    }
    if args.min_packets_per_flow > args.max_packets_per_flow {
        let (least, most) = (args.min_packets_per_flow, args.max_packets_per_flow);
        bail!(
            "--min-packets-per-flow: expected at most {most}, as --max-packets-per-flow says, \
             found {least}"
        );
    }
    if args.min_packets_per_flow > 0 && args.constrain != Constrain::Session {
        bail!("--min-packets-per-flow: expected --constrain session");
    }
    Ok(())
}

/// Warns of server ports that no training flow had: the model generates flows to them, but has not
/// seen how such services talk.
fn warn_of_unseen_ports(args: &Generate) -> anyhow::Result<()> {
    let Some(trained_on) = Config::of_model(&args.checkpoint_path)?.trained_on else {
        return Ok(());
    };
    for port in args.server_port.iter().filter(|&&port| !trained_on.server_ports.contains(port)) {
        tracing::warn!(
            "--server-port {port}: the model has seen no flow to this port: what it makes of it \
             is a guess"
        );
    }
    Ok(())
}

/// Returns the numbers of the flows to generate, at most.
fn sequences(args: &Generate) -> Range<u64> {
    let flows = args.flows.unwrap_or(if args.packets.is_some() { u64::MAX } else { 1000 });
    args.part.map_or(0..flows, |part| part.share_of(flows))
}

/// Returns how many numbers there are.
fn count_of(numbers: Range<u64>) -> u64 {
    numbers.end - numbers.start
}

/// Returns whether the flows written have as many packets as `--packets` demands.
fn has_enough_packets(args: &Generate, summary: &GenerateSummary) -> bool {
    args.packets.is_some_and(|packets| summary.packets >= packets)
}

/// Reports flows that were not generated after an interruption, and flows that do not decode.
fn report_missing(args: &Generate, summary: &GenerateSummary, console: &Console) {
    let flows = count_of(sequences(args));
    if !has_enough_packets(args, summary) && summary.generated < flows {
        match args.flows {
            Some(_) => {
                console.left_out(format!("{} flows: interrupted", count(flows - summary.generated)))
            }
            None => console.left_out("the rest: interrupted"),
        }
    }
    if let Some(fault) = &summary.first_fault {
        let broken = count(summary.generated - summary.flows);
        console.left_out(format!("{broken} flows do not decode, the first of them {fault}"));
    }
}

/// Returns how tokens are drawn from the distribution of the model.
pub(super) fn sampling(args: &Generate) -> Sampling {
    Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p }
}

/// Returns the job that the generator runs.
pub(super) fn job(args: &Generate, generator: &Generator, prompts: Vec<Prompt>) -> Job {
    let max_tokens = args.max_packets_per_flow.saturating_add(16).saturating_mul(TOKENS_PER_PACKET);
    Job {
        sequences: sequences(args),
        prompts,
        sampling: sampling(args),
        seed: args.seed,
        slots: args.batch.map_or(generator.default_slots(), |batch| batch as usize),
        threads: args.machine.threads(),
        max_tokens: usize::try_from(max_tokens).unwrap_or(usize::MAX),
        max_waiting_tokens: MAX_WAITING_TOKENS,
    }
}

/// Counts a flow, and writes it to the dataset if it decodes.
///
/// # Errors
/// If the model gave no numbers, the grammar no token, or the dataset cannot be written.
fn write_flow(
    generated: &Generated,
    filter: &FlowFilter,
    summary: &mut GenerateSummary,
    output: &mut Output,
) -> anyhow::Result<()> {
    let why = match generated.stop_reason {
        StopReason::Done | StopReason::CutOff => None,
        StopReason::NonFiniteLogits => Some("the model's scores are no numbers"),
        StopReason::NoAllowedToken => {
            Some("no token may follow by the grammar, which is a fault of the program")
        }
    };
    if let Some(why) = why {
        bail!("flow {}: token {}: {why}", generated.index, generated.tokens.len());
    }
    summary.generated += 1;
    summary.tokens += generated.tokens.len() as u64;
    let tokens = Tokens::U16(generated.tokens.clone());
    let mut row = FlowRow { tokens, identity: FlowIdentity::default(), summary: None };
    match output.decoder.decode_with_stand_ins(&row) {
        Ok(flow) => {
            let outcome = Outcome::of_decoded(&flow);
            let is_complete = outcome.class.is_complete();
            summary.add(flow.packets.len() as u64, is_complete && filter.is_session());
            if filter.needs_length_class()
                && let Tokens::U16(tokens) = &mut row.tokens
            {
                field::set_length_class(tokens, flow.packets.len());
            }
            row.summary = Some(summarize(&flow, outcome, ""));
            output.sink.write(&row)?;
            output.decoder.recycle(flow);
        }
        Err(error) => {
            summary.first_fault.get_or_insert_with(|| format!("flow {}: {error}", generated.index));
        }
    }
    Ok(())
}

/// Output dataset, and the decoder that its rows are summarized with.
pub(super) struct Output {
    decoder: RowDecoder,
    pub(super) sink: Sink<'static>,
}

impl Output {
    /// Creates the output that `--output-dir`, `--format` and `--force` describe.
    pub(super) fn create(
        args: &Generate,
        part: Option<&PartRun>,
        console: &Console,
    ) -> anyhow::Result<Output> {
        let path = args.output_dir.as_path();
        let asked = asked_format(args);
        let options = SinkOptions {
            force: args.force,
            stream_batch_tokens: Some(STREAM_BATCH_TOKENS),
            compression: Compression::Lz4,
        };
        let decoder = RowDecoder::default();
        if let Some(part) = part {
            let format = asked.unwrap_or(arrowio::DatasetFormat::Arrow);
            let sink = Sink::create_part(part, format, &meta(args), &options)?;
            return Ok(Output { decoder, sink });
        }
        let destination = if is_dash(path) {
            Destination::stream("standard output", console.stdout(), asked)?
        } else {
            Destination::at(path, asked)
        };
        if destination.is_folder() {
            clikit::warn_if_named_like_a_file(path, arrowio::DatasetFormat::FILES);
        }
        let sink = Sink::create(destination, &meta(args), &options)?;
        Ok(Output { decoder, sink })
    }
}

/// Returns the format that `--format` names.
fn asked_format(args: &Generate) -> Option<arrowio::DatasetFormat> {
    args.format.map(Format::dataset_format)
}

impl Format {
    /// Returns the format of a dataset's files.
    pub(crate) fn dataset_format(self) -> arrowio::DatasetFormat {
        match self {
            Format::Arrow => arrowio::DatasetFormat::Arrow,
            Format::Parquet => arrowio::DatasetFormat::Parquet,
        }
    }
}

/// Returns the metadata of the dataset, which names the options that decide on its flows.
fn meta(args: &Generate) -> DatasetMeta {
    let list = |all: Vec<String>| all.join(",");
    let lengths =
        args.length_class.as_ref().map_or(String::new(), |r| format!("{}-{}", r.start(), r.end()));
    let options = [
        ("seed", args.seed.to_string()),
        ("flows", args.flows.map_or(String::new(), |n| n.to_string())),
        ("packets", args.packets.map_or(String::new(), |n| n.to_string())),
        ("server-port", list(args.server_port.iter().map(u16::to_string).collect())),
        ("ends", list(args.ends.iter().map(|ends| ends.name().to_owned()).collect())),
        ("length-class", lengths),
        ("constrain", name_of(args.constrain).to_owned()),
        ("temperature", args.temperature.to_string()),
        ("top-k", args.top_k.to_string()),
        ("top-p", args.top_p.to_string()),
        ("min-packets-per-flow", args.min_packets_per_flow.to_string()),
        ("max-packets-per-flow", args.max_packets_per_flow.to_string()),
        ("hosts", args.hosts.map_or(String::new(), |n| n.to_string())),
        ("duration-ns", args.duration.map_or(String::new(), |ns| ns.to_string())),
    ];
    let options = options
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    RowCodec::Field.meta(concat!("tcp-train ", env!("CARGO_PKG_VERSION")), options)
}

/// Returns the constraint as `--constrain` spells it.
pub(super) fn name_of(constrain: Constrain) -> &'static str {
    match constrain {
        Constrain::Session => "session",
        Constrain::Syntax => "syntax",
        Constrain::None => "none",
    }
}
