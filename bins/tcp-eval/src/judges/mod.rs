//! What Wireshark and Suricata say of real and generated flows.
//!
//! Both sides are written alike to temporary captures: the flows that are compared, one after
//! another, between addresses of their own, so that one flow never continues another and both sides
//! are of the same kind.

mod capture;
mod suricata;
mod tshark;

use std::process::Command;

use anyhow::Context;
use fidelity::{Said, VerdictRate, rates};
use flowtrack::Flow;
use serde::Serialize;

/// What one program says.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judge {
    /// It was run.
    Run(Judgement),
    /// It was not, for this reason.
    NotRun(String),
}

/// What one program says, where it was run.
#[derive(Clone, Serialize)]
pub(crate) struct Judgement {
    /// Its name and version, as it says.
    pub(crate) program: String,
    /// What rates are of: `packet` or `flow`.
    pub(crate) per: &'static str,
    /// Real and generated flows that were judged.
    pub(crate) flows: [usize; 2],
    /// Each verdict.
    pub(crate) verdicts: Vec<VerdictRate>,
}

/// What all programs say.
#[derive(Clone, Serialize)]
pub(crate) struct Judges {
    /// Verdicts of the TCP analysis, `tcp.analysis.*`.
    pub(crate) wireshark: Judge,
    /// States of sessions and events of the stream engine.
    pub(crate) suricata: Judge,
}

impl Judges {
    /// None asked.
    pub(crate) fn none() -> Judges {
        let not_run = || Judge::NotRun("--no-judges".to_owned());
        Judges { wireshark: not_run(), suricata: not_run() }
    }

    /// Both, by name.
    pub(crate) fn each(&self) -> [(&'static str, &Judge); 2] {
        [("Wireshark", &self.wireshark), ("Suricata", &self.suricata)]
    }

    /// All rates of those that were run.
    pub(crate) fn rates(&self) -> Option<Vec<VerdictRate>> {
        let run = self.each().into_iter().filter_map(|(_, judge)| match judge {
            Judge::Run(judgement) => Some(judgement.verdicts.clone()),
            Judge::NotRun(_) => None,
        });
        run.reduce(|all, more| [all, more].concat())
    }
}

/// Asks both programs.
pub(crate) fn ask(real: &[Flow], generated: &[Flow], seed: u64) -> Judges {
    Judges {
        wireshark: judge([real, generated], seed, tshark::PROGRAM, "packet", tshark::said),
        suricata: judge([real, generated], seed, suricata::PROGRAM, "flow", suricata::said),
    }
}

fn judge(
    sides: [&[Flow]; 2],
    seed: u64,
    program: &str,
    per: &'static str,
    said: fn(&[&Flow]) -> anyhow::Result<Said>,
) -> Judge {
    let Some(version) = version(program) else { return Judge::NotRun("not installed".to_owned()) };
    let [real, generated] = sides.map(|flows| capture::sample(flows, seed));
    match said(&real).and_then(|r| Ok((r, said(&generated)?))) {
        Ok((r, g)) => Judge::Run(Judgement {
            program: version,
            per,
            flows: [r.of.len(), g.of.len()],
            verdicts: rates(&r, &g, seed),
        }),
        Err(error) => Judge::NotRun(format!("{error:#}")),
    }
}

/// The first line of what a program says of its version.
fn version(program: &str) -> Option<String> {
    let flag = if program == suricata::PROGRAM { "-V" } else { "--version" };
    let said = Command::new(program).arg(flag).output().ok()?;
    String::from_utf8_lossy(&said.stdout)
        .lines()
        .find(|line| line.contains(char::is_numeric))
        .map(str::to_owned)
}

/// What a program writes to stdout.
fn output(command: &mut Command) -> anyhow::Result<String> {
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
