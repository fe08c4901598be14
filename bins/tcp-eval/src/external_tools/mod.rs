//! Verdicts of external tools, Wireshark and Suricata, on real and generated flows.
//!
//! Both sides are written to temporary captures in the same way: the flows that are compared, one
//! after another, each between addresses that no other flow has. No flow continues another one, and
//! both sides are of the same kind.

mod capture;
mod suricata;
mod tshark;

use std::process::Command;

use anyhow::Context;
use fidelity::{VerdictCounts, VerdictRate, rates};
use flowtrack::Flow;
use serde::Serialize;

/// Outcome of asking one tool.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolOutcome {
    /// The tool was run, with this report.
    Run(ToolReport),
    /// The tool was not run, for this reason.
    NotRun(String),
}

/// Verdicts of one tool.
#[derive(Clone, Serialize)]
pub(crate) struct ToolReport {
    /// Name and version that the tool prints.
    pub(crate) program: String,
    /// Unit of the rates: `packet` or `flow`.
    pub(crate) per: &'static str,
    /// Number of flows that were judged: real, generated.
    pub(crate) flows: [usize; 2],
    /// Rates of all verdicts.
    pub(crate) verdicts: Vec<VerdictRate>,
}

/// Outcomes of all tools.
#[derive(Clone, Serialize)]
pub(crate) struct ToolReports {
    /// Verdicts of the TCP analysis, `tcp.analysis.*`.
    pub(crate) wireshark: ToolOutcome,
    /// States of sessions and events of the stream engine.
    pub(crate) suricata: ToolOutcome,
}

impl ToolReports {
    /// Returns the outcomes of a run with `--no-judges`.
    pub(crate) fn not_run() -> ToolReports {
        let not_run = || ToolOutcome::NotRun("--no-judges".to_owned());
        ToolReports { wireshark: not_run(), suricata: not_run() }
    }

    /// Returns the outcomes with the names of the tools.
    pub(crate) fn by_name(&self) -> [(&'static str, &ToolOutcome); 2] {
        [("Wireshark", &self.wireshark), ("Suricata", &self.suricata)]
    }

    /// Returns the rates of all tools that were run, `None` if none was.
    pub(crate) fn rates(&self) -> Option<Vec<VerdictRate>> {
        let run = self.by_name().into_iter().filter_map(|(_, judge)| match judge {
            ToolOutcome::Run(judgement) => Some(judgement.verdicts.clone()),
            ToolOutcome::NotRun(_) => None,
        });
        run.reduce(|all, more| [all, more].concat())
    }
}

/// Runs both tools, if they are installed, on samples of the flows.
pub(crate) fn run(real: &[Flow], generated: &[Flow], seed: u64) -> ToolReports {
    ToolReports {
        wireshark: run_tool([real, generated], seed, tshark::PROGRAM, "packet", tshark::verdicts),
        suricata: run_tool([real, generated], seed, suricata::PROGRAM, "flow", suricata::verdicts),
    }
}

/// Runs a tool on both sides. A tool that fails is not run, with its error as the reason.
fn run_tool(
    sides: [&[Flow]; 2],
    seed: u64,
    program: &str,
    per: &'static str,
    verdicts: fn(&[&Flow]) -> anyhow::Result<VerdictCounts>,
) -> ToolOutcome {
    let Some(version) = version(program) else {
        return ToolOutcome::NotRun("not installed".to_owned());
    };
    let [real, generated] = sides.map(|flows| capture::sample(flows, seed));
    match verdicts(&real).and_then(|r| Ok((r, verdicts(&generated)?))) {
        Ok((r, g)) => ToolOutcome::Run(ToolReport {
            program: version,
            per,
            flows: [r.units.len(), g.units.len()],
            verdicts: rates(&r, &g, seed),
        }),
        Err(error) => ToolOutcome::NotRun(format!("{error:#}")),
    }
}

/// Returns the line with the version that a program prints, `None` if it is not installed.
fn version(program: &str) -> Option<String> {
    let flag = if program == suricata::PROGRAM { "-V" } else { "--version" };
    let output = Command::new(program).arg(flag).output().ok()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find(|line| line.contains(char::is_numeric))
        .map(str::to_owned)
}

/// Runs a program and returns its standard output.
///
/// # Errors
/// If it cannot be run or fails; the last line of its standard error is part of the message.
fn stdout_of(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().with_context(|| program.clone())?;
    anyhow::ensure!(
        done.status.success(),
        "{program}: {}: {}",
        done.status,
        String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or_default()
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
