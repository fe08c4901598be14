//! Several processes that train one model: libtorch's c10d, started the way `torchrun` starts them.

use std::ffi::CString;
use std::ptr::NonNull;

use tch::{Kind, Tensor};

use crate::KernelError;
use crate::ffi::{self, outcome};

/// How long one process waits for the others.
const TIMEOUT_MS: i64 = 30 * 60 * 1000;

/// Where and as which one a process joins a team.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessInfo {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process on its machine.
    pub local_rank: usize,
    /// Where the processes learn of each other.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Whether somebody else, as `torchrun`, keeps the port open.
    pub is_served: bool,
    /// What keys in the store begin with: another one for each attempt.
    pub prefix: String,
}

impl ProcessInfo {
    /// Reads what `torchrun` sets: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`,
    /// `MASTER_PORT`. `None` without `WORLD_SIZE`.
    ///
    /// # Errors
    /// Where a variable is missing or makes no sense.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<ProcessInfo>, KernelError> {
        let Some(size) = variable("WORLD_SIZE") else { return Ok(None) };
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
        let size = match size.parse::<usize>() {
            Ok(n) if (1..=1 << 16).contains(&n) => n,
            _ => return Err(wrong("WORLD_SIZE", "a number of processes", Some(size))),
        };
        let rank = number("RANK", size)?;
        let attempt = variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
        Ok(Some(ProcessInfo {
            rank,
            size,
            local_rank: if variable("LOCAL_RANK").is_some() {
                number("LOCAL_RANK", size)?
            } else {
                rank
            },
            host: variable("MASTER_ADDR").ok_or_else(|| wrong("MASTER_ADDR", "a host", None))?,
            port: number("MASTER_PORT", 1 << 16)? as u16,
            is_served: variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            prefix: format!("linformer/{attempt}"),
        }))
    }
}

/// Processes that sum tensors together. All call the same methods in the same order.
#[derive(Debug)]
pub struct ProcessGroup {
    info: ProcessInfo,
    handle: NonNull<ffi::CTeam>,
}

impl ProcessGroup {
    /// Joins the others, and waits for them.
    ///
    /// # Errors
    /// Where they do not come in time.
    pub fn init(info: ProcessInfo) -> Result<ProcessGroup, KernelError> {
        let refused =
            |message: &str| KernelError::Refused { operator: "team", message: message.to_owned() };
        let text = |s: &str| CString::new(s).map_err(|_| refused("a name with a zero octet"));
        let (host, prefix) = (text(&info.host)?, text(&info.prefix)?);
        let serves = i32::from(info.rank == 0 && !info.is_served);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the strings end in 0 and outlive the call; `handle` is a place for the answer.
        let code = unsafe {
            ffi::lf_team_join(
                &raw mut handle,
                host.as_ptr(),
                info.port,
                info.rank as i32,
                info.size as i32,
                prefix.as_ptr(),
                serves,
                TIMEOUT_MS,
            )
        };
        outcome("team", code)?;
        Ok(ProcessGroup { info, handle: NonNull::new(handle).ok_or_else(|| refused("no team"))? })
    }

    /// Returns the rank, size and rendezvous address that the group was joined with.
    #[must_use]
    pub fn info(&self) -> &ProcessInfo {
        &self.info
    }

    /// Returns whether this process has rank 0, the one that writes.
    #[must_use]
    pub fn is_rank_zero(&self) -> bool {
        self.info.rank == 0
    }

    /// Puts the sum over all processes into `x`, which is contiguous.
    ///
    /// # Errors
    /// Where one of the others is gone.
    pub fn all_reduce(&self, x: &Tensor) -> Result<(), KernelError> {
        // SAFETY: the team and the tensor are alive; the tensor's memory is shared on purpose.
        outcome("team", unsafe { ffi::lf_team_sum(self.handle.as_ptr(), x.as_ptr().cast_mut()) })
    }

    /// The sums of each number over all processes.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn all_reduce_numbers(&self, numbers: &[f64]) -> Result<Vec<f64>, KernelError> {
        let x = Tensor::from_slice(numbers);
        self.all_reduce(&x)?;
        Ok((0..numbers.len()).map(|i| x.double_value(&[i as i64])).collect())
    }

    /// Puts what each tensor is in process 0 into the others'.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<(), KernelError> {
        let _guard = tch::no_grad_guard();
        for x in tensors {
            let mut x = x.detach();
            if self.info.rank > 0 {
                let _ = x.zero_();
            }
            self.all_reduce(&x)?;
        }
        Ok(())
    }

    /// Puts the sum over all processes into each of `tensors`, in one go.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
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
        // SAFETY: the handle came from `lf_team_join` and is used no more.
        unsafe { ffi::lf_team_leave(self.handle.as_ptr()) }
    }
}

/// While it lives, operations on this thread that gain from it compute in bfloat16; weights, sums
/// and losses stay in 32 bits.
#[derive(Debug)]
pub struct Bf16 {
    cuda: i32,
    /// Neither sent nor shared: the setting is the thread's.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Bf16 {
    /// Begins.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn begin(device: tch::Device) -> Result<Bf16, KernelError> {
        let cuda = i32::from(device.is_cuda());
        // SAFETY: plain numbers.
        outcome("autocast", unsafe { ffi::lf_autocast_bf16(cuda, 1) })?;
        Ok(Bf16 { cuda, _thread: std::marker::PhantomData })
    }
}

impl Drop for Bf16 {
    fn drop(&mut self) {
        // SAFETY: plain numbers.
        unsafe { ffi::lf_autocast_bf16(self.cuda, 0) };
    }
}
