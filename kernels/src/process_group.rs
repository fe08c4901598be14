//! Processes that train one model together: all-reduce by libtorch's c10d, started the way
//! `torchrun` starts them.

use std::ffi::CString;
use std::ptr::NonNull;

use tch::{Kind, Tensor};

use crate::KernelError;
use crate::ffi::{self, outcome};

/// Milliseconds that a process waits for the others, as in torch.distributed: half an hour.
const TIMEOUT_MS: i64 = 30 * 60 * 1000;

/// Rank of a process and the address where its group meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessInfo {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes in the group.
    pub world_size: usize,
    /// Number of this process among those of its machine, from 0.
    pub local_rank: usize,
    /// Host of the store where the processes find each other.
    pub master_addr: String,
    /// TCP port of the store.
    pub master_port: u16,
    /// Whether another program, such as `torchrun`, serves the store. Else rank 0 does.
    pub is_served: bool,
    /// Prefix of the keys in the store; another one for each restart.
    pub prefix: String,
}

impl ProcessInfo {
    /// Reads the variables that `torchrun` sets: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`,
    /// `MASTER_PORT`. Returns `None` without `WORLD_SIZE`.
    ///
    /// # Errors
    /// If a variable is missing or out of range.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<ProcessInfo>, KernelError> {
        let Some(world_size) = variable("WORLD_SIZE") else { return Ok(None) };
        let wrong = |name: &str, expected: &str, found: Option<String>| KernelError::Shape {
            what: name.to_owned(),
            expected: expected.to_owned(),
            found: found.unwrap_or_else(|| "nothing".to_owned()),
        };
        let number =
            |name: &str, below: usize| match variable(name).as_deref().map(str::parse::<usize>) {
                Some(Ok(n)) if n < below => Ok(n),
                _ => Err(wrong(name, &format!("a number below {below}"), variable(name))),
            };
        let world_size = match world_size.parse::<usize>() {
            Ok(n) if (1..=1 << 16).contains(&n) => n,
            _ => return Err(wrong("WORLD_SIZE", "a number of processes", Some(world_size))),
        };
        let rank = number("RANK", world_size)?;
        let attempt = variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
        let has_local_rank = variable("LOCAL_RANK").is_some();
        Ok(Some(ProcessInfo {
            rank,
            world_size,
            local_rank: if has_local_rank { number("LOCAL_RANK", world_size)? } else { rank },
            master_addr: variable("MASTER_ADDR")
                .ok_or_else(|| wrong("MASTER_ADDR", "a host", None))?,
            master_port: number("MASTER_PORT", 1 << 16)? as u16,
            is_served: variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            prefix: format!("linformer/{attempt}"),
        }))
    }
}

/// Group of processes that reduce tensors together. All ranks call the same methods in the same
/// order.
#[derive(Debug)]
pub struct ProcessGroup {
    info: ProcessInfo,
    handle: NonNull<ffi::CProcessGroup>,
}

impl ProcessGroup {
    /// Joins the group and waits until all its processes have.
    ///
    /// # Errors
    /// If they do not come within half an hour.
    pub fn init(info: ProcessInfo) -> Result<ProcessGroup, KernelError> {
        let refused = |message: &str| KernelError::Refused {
            operator: "process group",
            message: message.to_owned(),
        };
        let text = |s: &str| CString::new(s).map_err(|_| refused("a name with a zero octet"));
        let (host, prefix) = (text(&info.master_addr)?, text(&info.prefix)?);
        let serves = i32::from(info.rank == 0 && !info.is_served);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the strings end in 0 and outlive the call; `handle` receives the result.
        let code = unsafe {
            ffi::lf_group_init(
                &raw mut handle,
                host.as_ptr(),
                info.master_port,
                info.rank as i32,
                info.world_size as i32,
                prefix.as_ptr(),
                serves,
                TIMEOUT_MS,
            )
        };
        outcome("process group", code)?;
        let handle = NonNull::new(handle).ok_or_else(|| refused("none was made"))?;
        Ok(ProcessGroup { info, handle })
    }

    /// Returns the rank, world size and address that the group was joined with.
    #[must_use]
    pub fn info(&self) -> &ProcessInfo {
        &self.info
    }

    /// Returns whether this process has rank 0, the one that writes.
    #[must_use]
    pub fn is_rank_zero(&self) -> bool {
        self.info.rank == 0
    }

    /// Replaces `x`, which is contiguous, by its sum over all processes.
    ///
    /// # Errors
    /// If another process is gone.
    pub fn all_reduce(&self, x: &Tensor) -> Result<(), KernelError> {
        // SAFETY: the group and the tensor are alive; the tensor's memory is shared on purpose.
        let code = unsafe { ffi::lf_group_all_reduce(self.handle.as_ptr(), x.as_ptr().cast_mut()) };
        outcome("process group", code)
    }

    /// Returns the sum of each number over all processes.
    ///
    /// # Errors
    /// Like [`ProcessGroup::all_reduce`].
    pub fn all_reduce_numbers(&self, numbers: &[f64]) -> Result<Vec<f64>, KernelError> {
        let x = Tensor::from_slice(numbers);
        self.all_reduce(&x)?;
        Ok((0..numbers.len()).map(|i| x.double_value(&[i as i64])).collect())
    }

    /// Replaces each tensor by that of rank 0.
    ///
    /// # Errors
    /// Like [`ProcessGroup::all_reduce`].
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<(), KernelError> {
        let _guard = tch::no_grad_guard();
        for x in tensors {
            let mut x = x.detach();
            // The sum of one tensor and zeros: broadcast without an operation of its own.
            if !self.is_rank_zero() {
                let _ = x.zero_();
            }
            self.all_reduce(&x)?;
        }
        Ok(())
    }

    /// Replaces each tensor by its sum over all processes, in one all-reduce of float32.
    ///
    /// # Errors
    /// Like [`ProcessGroup::all_reduce`].
    pub fn all_reduce_many(&self, tensors: &[Tensor]) -> Result<(), KernelError> {
        let _guard = tch::no_grad_guard();
        let flat: Vec<Tensor> = tensors.iter().map(|x| x.reshape([-1])).collect();
        let all = Tensor::cat(&flat, 0).to_kind(Kind::Float);
        self.all_reduce(&all)?;
        let mut start = 0;
        for x in tensors {
            let size = x.numel() as i64;
            x.shallow_clone().copy_(&all.narrow(0, start, size).view(x.size().as_slice()));
            start += size;
        }
        Ok(())
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // SAFETY: the handle came from `lf_group_init` and is not used again.
        unsafe { ffi::lf_group_free(self.handle.as_ptr()) }
    }
}
