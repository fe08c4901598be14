//! Processes that train one model together, started by torchrun.

use std::path::Path;

use anyhow::bail;
use clikit::is_dash;
use linformer::{Device, ProcessGroup, ProcessInfo};

use crate::args::Machine;

/// Run of torchrun, which starts its processes anew where one of them fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Torchrun {
    /// Id that the run keeps over its restarts.
    pub(crate) id: String,
    /// Whether these processes are not the first ones of the run.
    pub(crate) is_restart: bool,
}

impl Torchrun {
    /// Returns the run that started this process, by the variables of torchrun; `None` if the
    /// process was started otherwise.
    pub(crate) fn from_environment() -> Option<Torchrun> {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let restarts: u64 = variable("TORCHELASTIC_RESTART_COUNT")?.parse().ok()?;
        // Runs without an id are all called `none`: their torchrun differs by its process.
        let own = || format!("process {}", std::os::unix::process::parent_id());
        let id = variable("TORCHELASTIC_RUN_ID").filter(|id| id != "none").unwrap_or_else(own);
        Some(Torchrun { id, is_restart: restarts > 0 })
    }
}

/// Process group of a run. A run of one process has none, and its sums are its own numbers.
pub(crate) struct Processes(Option<ProcessGroup>);

impl Processes {
    /// Joins the process group that the environment describes, if any, and selects the device and
    /// the number of threads of this process.
    ///
    /// # Errors
    /// If the environment describes no valid member of a group, a group is to read a stream, the
    /// device does not exist, or the other processes cannot be reached.
    pub(crate) fn init(machine: &Machine, input: &Path) -> anyhow::Result<(Processes, Device)> {
        let info = ProcessInfo::from_variables(|name| std::env::var(name).ok())?;
        let info = info.filter(|info| info.world_size > 1);
        if info.is_some() && is_dash(input) {
            bail!("standard input: expected a dataset that every process can read, found a stream");
        }
        let device = match &info {
            Some(info) if machine.device == "cuda" => format!("cuda:{}", info.local_rank),
            _ => machine.device.clone(),
        };
        let device = linformer::device(&device)?;
        linformer::set_threads(machine.threads());
        let processes = Processes(info.map(ProcessGroup::init).transpose()?);
        if processes.0.is_some() {
            tracing::info!("process {} of {}", processes.rank() + 1, processes.size());
        }
        Ok((processes, device))
    }

    /// Returns the process group, if there are several processes.
    pub(crate) fn group(&self) -> Option<&ProcessGroup> {
        self.0.as_ref()
    }

    /// Returns the rank of this process, from 0.
    pub(crate) fn rank(&self) -> usize {
        self.group().map_or(0, |group| group.info().rank)
    }

    /// Returns the number of processes.
    pub(crate) fn size(&self) -> usize {
        self.group().map_or(1, |group| group.info().world_size)
    }

    /// Returns whether this process writes the model folder and the summary: rank 0 does.
    pub(crate) fn is_writer(&self) -> bool {
        self.rank() == 0
    }

    /// Returns the element-wise sum of the numbers of all processes. Every process must call this
    /// at the same point of its run.
    pub(crate) fn sum(&self, numbers: &[f64]) -> anyhow::Result<Vec<f64>> {
        match self.group() {
            Some(group) => Ok(group.all_reduce_numbers(numbers)?),
            None => Ok(numbers.to_vec()),
        }
    }
}
