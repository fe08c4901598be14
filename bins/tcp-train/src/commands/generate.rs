//! A model to a dataset.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::bail;
use arrowio::{
    Compression, DatasetMeta, DatasetWriter, FlowRow, FlowSummary, Tokens, WriteOptions,
};
use atomic_output::{AtomicFile, AtomicFolder, Lender, OnExisting};
use clikit::text::count;
use clikit::{Console, Unit, is_dash};
use flowtrack::{Class, Close, Direction, Flow};
use linformer::{Generated, Generator, Job, Prompt, Sampling, StopReason, TensorMemory};
use tokenizer::{DecodeError, FlowIdentity, SideIdentity, field};

use super::conditions::PromptConditions;
use super::filter::FlowFilter;
use super::folder;
use super::memory::peak_memory;
use super::summary::GenerateSummary;
use crate::args::{Constrain, Ends, Format, Generate};
use crate::config::Config;

/// Tokens that one packet may take at most, far above what any does: ends flows that nothing else
/// ends.
const TOKENS_PER_PACKET: u64 = 128;

/// Tokens of finished flows that may wait for an earlier one: 64 MiB of them.
const MAX_WAITING_TOKENS: usize = 1 << 25;

pub(crate) fn generate(args: &Generate, console: &Console) -> anyhow::Result<()> {
    clikit::ensure_distinct_paths(
        &[("--checkpoint-path", &args.checkpoint_path)],
        &[("--output-dir", &args.output_dir)],
    )?;
    check(args)?;
    if linformer::device(&args.machine.device)? != linformer::Device::Cpu {
        tracing::warn!("generation runs on the CPU");
    }
    let model = folder::read_model(&args.checkpoint_path, linformer::Device::Cpu)?;
    name_unseen_ports(args)?;
    let generator = Generator::new(model.decoder()?);
    drop(model);
    // A length class that was asked for holds. Else it is what the model means a flow to be, and
    // where the flow ends is what it is.
    let holds_length = args.length_class.is_some();
    let (least, most) = (args.min_packets_per_flow, args.max_packets_per_flow);
    let filter = |_| FlowFilter::new(args.constrain, least, most, holds_length);
    let prompts = PromptConditions::new(args).prompts(&generator, || filter(0), &sampling(args))?;
    let mut output = Output::create(args, console)?;
    let started = Instant::now();
    let progress =
        console.progress("generating", args.packets.or_else(|| Some(flows(args))), Unit::Items);
    let mut summary =
        GenerateSummary { constrain: name_of(args.constrain), ..GenerateSummary::default() };
    let interrupts = console.catch_interrupts();
    generator.run(&job(args, prompts), filter, |generated, filter| {
        take(&generated, &filter, &mut summary, &mut output)?;
        progress.set(if args.packets.is_some() { summary.packets } else { summary.generated });
        progress.message(format!("generating, {} packets", count(summary.packets)));
        Ok::<_, anyhow::Error>(!interrupts.requested() && !is_enough(args, &summary))
    })?;
    progress.finish();
    summary.seconds = started.elapsed().as_secs_f64();
    summary.peak_memory = peak_memory();
    summary.peak_tensor_memory = TensorMemory::read().peak;
    name_what_is_missing(args, &summary, console);
    output.finish()?;
    console.summary(&summary)
}

fn check(args: &Generate) -> anyhow::Result<()> {
    if args.constrain == Constrain::Session && args.ends.contains(&Ends::Open) {
        bail!("--ends open: expected --constrain syntax or none, since a session is closed");
    }
    if args.min_packets_per_flow > args.max_packets_per_flow {
        let (least, most) = (args.min_packets_per_flow, args.max_packets_per_flow);
        bail!(
            "--min-packets-per-flow: expected at most {most}, as --max-packets-per-flow says, found {least}"
        );
    }
    if args.min_packets_per_flow > 0 && args.constrain != Constrain::Session {
        bail!("--min-packets-per-flow: expected --constrain session");
    }
    Ok(())
}

/// A model goes to any port that it is told to: where it has seen none such, it knows nothing of
/// what is said there.
fn name_unseen_ports(args: &Generate) -> anyhow::Result<()> {
    let Some(trained_on) = Config::of_model(&args.checkpoint_path)?.trained_on else {
        return Ok(());
    };
    for port in args.server_port.iter().filter(|&&port| !trained_on.server_ports.contains(port)) {
        tracing::warn!(
            "--server-port {port}: the model has seen no flow to this port: what it makes of it is a guess"
        );
    }
    Ok(())
}

fn flows(args: &Generate) -> u64 {
    args.flows.unwrap_or(if args.packets.is_some() { u64::MAX } else { 1000 })
}

fn is_enough(args: &Generate, summary: &GenerateSummary) -> bool {
    args.packets.is_some_and(|packets| summary.packets >= packets)
}

fn name_what_is_missing(args: &Generate, summary: &GenerateSummary, console: &Console) {
    if !is_enough(args, summary) && summary.generated < flows(args) {
        match args.flows {
            Some(flows) => {
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

fn sampling(args: &Generate) -> Sampling {
    Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p }
}

fn job(args: &Generate, prompts: Vec<Prompt>) -> Job {
    let max_tokens = args.max_packets_per_flow.saturating_add(16).saturating_mul(TOKENS_PER_PACKET);
    Job {
        sequences: flows(args),
        prompts,
        sampling: sampling(args),
        seed: args.seed,
        slots: args.batch as usize,
        threads: args.machine.threads(),
        max_tokens: usize::try_from(max_tokens).unwrap_or(usize::MAX),
        max_waiting_tokens: MAX_WAITING_TOKENS,
    }
}

/// Counts a flow, and writes it where it decodes.
fn take(
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
    match decoded(&generated.tokens) {
        Ok(flow) => {
            let described = describe(&flow);
            let is_whole = described.class == "graceful" || described.class == "reset";
            summary.add(flow.packets.len() as u64, is_whole && filter.is_session());
            let mut tokens = generated.tokens.clone();
            if filter.is_any_length() {
                field::set_length_class(&mut tokens, flow.packets.len());
            }
            let tokens = Tokens::U16(tokens);
            output.writer.write(&FlowRow {
                tokens,
                identity: FlowIdentity::default(),
                summary: Some(described),
            })?;
        }
        Err(error) => {
            summary.first_fault.get_or_insert_with(|| format!("flow {}: {error}", generated.index));
        }
    }
    Ok(())
}

/// The flow between ends of the documentation's addresses: whoever decodes it next draws others.
fn decoded(tokens: &[u16]) -> Result<Flow, DecodeError> {
    let is_v6 = field::header(tokens)?.ip_version == 6;
    let side = |n: u8| {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into());
        let addr = if is_v6 { v6.into() } else { Ipv4Addr::new(192, 0, 2, n).into() };
        SideIdentity { addr: Some(addr), ..SideIdentity::default() }
    };
    let identity = FlowIdentity {
        client_port: Some(49_152),
        client: side(1),
        server: side(2),
        ..FlowIdentity::default()
    };
    field::decode(tokens, &identity)
}

/// What stands beside the tokens, the verdict by the same judge as for captured flows.
fn describe(flow: &Flow) -> FlowSummary {
    let times = flow.packets.iter().map(|p| p.time_ns);
    let of = |direction: Direction| flow.packets.iter().filter(move |p| p.direction == direction);
    let both = [Direction::Forward, Direction::Reverse];
    let judged = flow.verdict();
    let (class, close) =
        judged.as_ref().map_or((Class::Partial, Close::Open), |(v, _)| (v.class, v.close));
    FlowSummary {
        duration_ns: times.clone().max().unwrap_or(0).saturating_sub(times.min().unwrap_or(0)),
        server_port: flow.server.port,
        ip_version: if flow.server.addr.is_ipv4() { 4 } else { 6 },
        packets: both.map(|d| of(d).count() as u64),
        payload_octets: both.map(|d| of(d).map(|p| u64::from(p.payload_len)).sum()),
        completeness: judged.map_or(0, |(_, completeness)| completeness.bits()),
        close: close.name().to_owned(),
        class: class.name().to_owned(),
        source: String::new(),
        first_frame: 0,
    }
}

struct Output {
    writer: DatasetWriter<'static>,
    appears: Appears,
}

enum Appears {
    AtOnce,
    File(Lender),
    Folder(AtomicFolder),
}

impl Output {
    fn create(args: &Generate, console: &Console) -> anyhow::Result<Output> {
        let options = |format| WriteOptions {
            format,
            compression: Compression::Lz4,
            ..WriteOptions::default()
        };
        if is_dash(&args.output_dir) {
            if args.format == Some(Format::Parquet) {
                bail!("-: expected a format for a stream (arrow), found parquet");
            }
            let options =
                WriteOptions { batch_tokens: 1 << 14, ..options(arrowio::DatasetFormat::Stream) };
            let writer =
                DatasetWriter::to("standard output", console.stdout(), &meta(args), &options)?;
            return Ok(Output { writer, appears: Appears::AtOnce });
        }
        let asked = args.format.map(|format| match format {
            Format::Arrow => arrowio::DatasetFormat::Arrow,
            Format::Parquet => arrowio::DatasetFormat::Parquet,
        });
        let named = arrowio::DatasetFormat::from_path(&args.output_dir)
            .filter(|_| !args.output_dir.is_dir());
        if let Some(named) = named {
            let (file, lender) = AtomicFile::create(&args.output_dir)?.lend();
            let name = args.output_dir.display().to_string();
            let writer =
                DatasetWriter::to(&name, file, &meta(args), &options(asked.unwrap_or(named)))?;
            return Ok(Output { writer, appears: Appears::File(lender) });
        }
        clikit::warn_if_named_like_a_file(&args.output_dir, arrowio::DatasetFormat::FILES);
        let existing =
            if args.force { OnExisting::Replace(arrowio::SHARDS) } else { OnExisting::Fail };
        let folder = AtomicFolder::create(&args.output_dir, existing)?;
        let format = asked.unwrap_or(arrowio::DatasetFormat::Arrow);
        let writer = DatasetWriter::folder(folder.path(), &meta(args), &options(format))?;
        Ok(Output { writer, appears: Appears::Folder(folder) })
    }

    fn finish(self) -> anyhow::Result<()> {
        self.writer.finish()?;
        match self.appears {
            Appears::AtOnce => Ok(()),
            Appears::File(lender) => Ok(lender.commit()?),
            Appears::Folder(folder) => Ok(folder.commit()?),
        }
    }
}

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
    ];
    DatasetMeta {
        token_code: field::NAME.to_owned(),
        token_version: field::VERSION,
        vocab_size: field::VOCAB_SIZE as u32,
        tool: concat!("tcp-train ", env!("CARGO_PKG_VERSION")).to_owned(),
        options: options
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn name_of(constrain: Constrain) -> &'static str {
    match constrain {
        Constrain::Session => "session",
        Constrain::Syntax => "syntax",
        Constrain::None => "none",
    }
}
