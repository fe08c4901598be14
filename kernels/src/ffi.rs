//! C interface of `csrc/`, and the steps that every call shares: pointers to tensors before it, a
//! result or new tensors after it.

use std::ffi::{CStr, c_char, c_void};

// Linked for csrc/allocator.cpp, which calls its C functions.
use libmimalloc_sys as _;
use tch::Tensor;
use torch_sys::C_tensor;

use crate::KernelError;

/// Weights of a normalisation: `lf::Norm` of `csrc/cpu.h`. `bias` may be null.
#[repr(C)]
pub(crate) struct CNorm {
    pub(crate) weight: *const f32,
    pub(crate) bias: *const f32,
}

/// Weights of a linear layer: `lf::Linear` of `csrc/cpu.h`. `bias` may be null.
#[repr(C)]
pub(crate) struct CLinear {
    pub(crate) weight: *const f32,
    pub(crate) bias: *const f32,
}

/// Weights of a block: `lf::Block` of `csrc/cpu.h`. `conv`, `gate.weight` and `decay.weight` may be
/// null.
#[repr(C)]
pub(crate) struct CBlock {
    pub(crate) attention_norm: CNorm,
    pub(crate) feed_norm: CNorm,
    pub(crate) qkv: CLinear,
    pub(crate) gate: CLinear,
    pub(crate) out: CLinear,
    pub(crate) up: CLinear,
    pub(crate) down: CLinear,
    pub(crate) conv: *const f32,
    pub(crate) decay: CLinear,
    pub(crate) rate: *const f32,
}

/// Sizes and weights of a model: `lf::Model` of `csrc/cpu.h`.
#[repr(C)]
pub(crate) struct CModel {
    pub(crate) vocab: i64,
    pub(crate) hidden_size: i64,
    pub(crate) heads: i64,
    pub(crate) ffn_size: i64,
    pub(crate) layers: i64,
    pub(crate) conv_kernel: i64,
    pub(crate) norm_eps: f32,
    pub(crate) attention_eps: f32,
    pub(crate) rms: i32,
    pub(crate) gated: i32,
    pub(crate) decay: *const f32,
    pub(crate) frequency: *const f64,
    pub(crate) embed: *const f32,
    pub(crate) blocks: *const CBlock,
    pub(crate) norm: CNorm,
    pub(crate) head: CLinear,
    pub(crate) products: *const CLinearTable,
}

/// Opaque `lf::LinearTable` of `csrc/cpu.h`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CLinearTable {
    _opaque: [u8; 0],
}

/// Functions of the decoder on a device: `lf::cuda::decode::Api` of `csrc/cuda/decode.h`.
#[repr(C)]
#[derive(Debug)]
pub struct CDecodeApi {
    pub(crate) create:
        unsafe extern "C" fn(model: *const CModel, ids: i64, device: i32) -> *mut c_void,
    pub(crate) destroy: unsafe extern "C" fn(decoder: *mut c_void),
    pub(crate) create_slots: unsafe extern "C" fn(decoder: *mut c_void, slots: i64) -> *mut c_void,
    pub(crate) destroy_slots: unsafe extern "C" fn(slots: *mut c_void),
    pub(crate) begin: unsafe extern "C" fn(
        slots: *mut c_void,
        rows: i64,
        slot: *const i32,
        tokens: *const i32,
        positions: *const i64,
    ) -> i32,
    pub(crate) finish: unsafe extern "C" fn(slots: *mut c_void) -> i32,
    pub(crate) logits: unsafe extern "C" fn(slots: *mut c_void) -> *const f32,
}

/// Opaque `ProcessGroup` of `csrc/process_group.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CProcessGroup {
    _opaque: [u8; 0],
}

/// Opaque `Timer` of `csrc/shim.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CGpuTimer {
    _opaque: [u8; 0],
}

// SAFETY: the declarations are those of `csrc/shim.cpp`, `csrc/attention.cpp`,
// `csrc/convolution.cpp`, `csrc/linear.cpp`, `csrc/allocator.cpp` and `csrc/process_group.cpp`. No
// exception crosses any of them.
unsafe extern "C" {
    pub(crate) fn lf_group_init(
        out: *mut *mut CProcessGroup,
        host: *const c_char,
        port: u16,
        rank: i32,
        world_size: i32,
        prefix: *const c_char,
        serves: i32,
        timeout_ms: i64,
    ) -> i32;
    pub(crate) fn lf_group_all_reduce(group: *mut CProcessGroup, x: *mut C_tensor) -> i32;
    pub(crate) fn lf_group_free(group: *mut CProcessGroup);
    pub(crate) fn lf_tensor_memory(now: *mut i64, peak: *mut i64);
    pub(crate) fn lf_autocast_bf16(cuda: i32, on: i32) -> i32;
    fn lf_last_error() -> *const c_char;
    pub(crate) fn lf_instruction_set() -> *const c_char;
    pub(crate) fn lf_choose_instruction_set(name: *const c_char) -> i32;
    pub(crate) fn lf_segments(
        out: *mut *mut C_tensor,
        cu_seqlens: *const C_tensor,
        starts: *const C_tensor,
        index: i32,
    ) -> i32;
    pub(crate) fn lf_attention(
        out: *mut *mut C_tensor,
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        s0: *const C_tensor,
        z0: *const C_tensor,
        cu_seqlens: *const C_tensor,
        starts: *const C_tensor,
        segments: *const C_tensor,
        cos: *const C_tensor,
        sin: *const C_tensor,
        decay: *const C_tensor,
        log_decay: *const C_tensor,
        eps: f64,
    ) -> i32;
    pub(crate) fn lf_attention_packed(
        out: *mut *mut C_tensor,
        qkv: *const C_tensor,
        heads: i64,
        s0: *const C_tensor,
        z0: *const C_tensor,
        states: i32,
        cu_seqlens: *const C_tensor,
        starts: *const C_tensor,
        segments: *const C_tensor,
        cos: *const C_tensor,
        sin: *const C_tensor,
        decay: *const C_tensor,
        log_decay: *const C_tensor,
        eps: f64,
    ) -> i32;
    pub(crate) fn lf_step(
        out: *mut *mut C_tensor,
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        s: *const C_tensor,
        z: *const C_tensor,
        decay: *const C_tensor,
        eps: f64,
    ) -> i32;
    pub(crate) fn lf_convolve(
        out: *mut *mut C_tensor,
        x: *const C_tensor,
        w: *const C_tensor,
        cu_seqlens: *const C_tensor,
        segments: *const C_tensor,
    ) -> i32;
    pub(crate) fn lf_has_products(bf16: i32) -> i32;
    pub(crate) fn lf_linear(
        out: *mut *mut C_tensor,
        x: *const C_tensor,
        w: *const C_tensor,
        bias: *const C_tensor,
        residual: *const C_tensor,
        bf16: i32,
    ) -> i32;
    pub(crate) fn lf_swiglu(out: *mut *mut C_tensor, up: *const C_tensor) -> i32;
    pub(crate) fn lf_cross_entropy(
        out: *mut *mut C_tensor,
        scores: *const C_tensor,
        targets: *const C_tensor,
    ) -> i32;
    pub(crate) fn lf_fill_outputs(on: i32);
    pub(crate) fn lf_gpu_timer_start(out: *mut *mut CGpuTimer) -> i32;
    pub(crate) fn lf_gpu_timer_stop(timer: *mut CGpuTimer, microseconds: *mut f64) -> i32;
    pub(crate) fn lf_gpu_timer_free(timer: *mut CGpuTimer);
    pub(crate) fn lf_multiply_adds(rounds: i64) -> i64;
    pub(crate) fn lf_adamw(
        params: *const *const C_tensor,
        grads: *const *const C_tensor,
        exp_avg: *const *const C_tensor,
        exp_avg_sq: *const *const C_tensor,
        n: i64,
        step: f64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> i32;
    pub(crate) fn lf_clip_grad_norm(
        grads: *const *const C_tensor,
        n: i64,
        max_norm: f64,
        norm: *mut f64,
    ) -> i32;
    pub(crate) fn lf_bf16_products() -> *const CLinearTable;
    pub(crate) fn lf_pack_bf16(weight: *const f32, inputs: i64, outputs: i64, out: *mut f32);
    pub(crate) fn lf_decode_api() -> *const CDecodeApi;
    pub(crate) fn lf_decode_scratch(model: *const CModel, rows: i64) -> i64;
    pub(crate) fn lf_decode(
        model: *const CModel,
        rows: i64,
        slots: i64,
        slot: *const i32,
        tokens: *const i32,
        positions: *const i64,
        s: *mut f32,
        z: *mut f32,
        past: *mut f32,
        logits: *mut f32,
        scratch: *mut f32,
    );
}

/// Turns the code of a call into a result, with the C++ side's message if it failed.
pub(crate) fn outcome(operator: &'static str, code: i32) -> Result<(), KernelError> {
    if code == 0 { Ok(()) } else { Err(failure(operator)) }
}

/// Returns the error of this thread's last call that failed.
pub(crate) fn failure(operator: &'static str) -> KernelError {
    // SAFETY: the pointer is to this thread's message, which lives until the thread's next failure.
    let message = unsafe { CStr::from_ptr(lf_last_error()) };
    // libtorch's messages have more lines: where in its own source the check failed.
    let message = message.to_string_lossy();
    KernelError::Refused {
        operator,
        message: message.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Takes ownership of the tensors that a successful call has made.
pub(crate) fn owned<const N: usize>(made: [*mut C_tensor; N]) -> [Tensor; N] {
    // SAFETY: each points to a tensor made by `new` for this call, and nobody else owns it.
    made.map(|tensor| unsafe { Tensor::from_ptr(tensor) })
}

/// Returns the tensor's pointer, or null if there is none.
pub(crate) fn optional(tensor: Option<&Tensor>) -> *const C_tensor {
    tensor.map_or(std::ptr::null(), Tensor::as_ptr)
}

/// Returns pointers to tensors, which the caller keeps alive.
pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}
