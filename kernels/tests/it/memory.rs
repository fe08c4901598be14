//! Test of the memory kept between forward and backward, by the counters of the tensors' heap.

use linformer_kernels::attention::{AttentionOptions, Qkv, fused};
use linformer_kernels::{CuSeqlens, TensorMemory};
use tch::{Device, Kind, Tensor};

const CHILD: &str = "LINFORMER_KERNELS_MEMORY_TEST";

/// Runs in a process of its own, since other tests allocate too.
#[test]
fn nothing_of_size_tokens_times_state_is_kept() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let name = "memory::nothing_of_size_tokens_times_state_is_kept";
    let me = std::env::current_exe().unwrap();
    let child =
        std::process::Command::new(me).args(["--exact", name]).env(CHILD, "1").output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

fn measure() {
    let (tokens, heads, d, m) = (20_000, 2, 64, 64);
    let leaf = |size| {
        Tensor::randn([tokens, heads, size], (Kind::Float, Device::Cpu)).set_requires_grad(true)
    };
    let (q, k, v) = (leaf(d), leaf(d), leaf(m));
    let (cu_seqlens, options) = (CuSeqlens::single(tokens as usize), AttentionOptions::new(1e-6));
    let qkv = Qkv { q: &q, k: &k, v: &v };
    // Creates threads and caches, which later calls find.
    drop(fused::attention(qkv, &cu_seqlens, &options).unwrap());
    let before = TensorMemory::read().now as usize;
    let out = fused::attention(qkv, &cu_seqlens, &options).unwrap();
    let kept = TensorMemory::read().now as usize - before;
    let (outputs, denominators) =
        ((tokens * heads * m * 4) as usize, (tokens * heads * 4) as usize);
    let states = (heads * d * (m + 1) * 4) as usize;
    // The heap rounds sizes up by an eighth at most.
    let slack = (outputs + denominators) / 8;
    assert!(kept >= outputs + denominators, "{kept}: the count sees what is kept");
    assert!(
        kept <= outputs + denominators + states + slack,
        "{kept} for {outputs} + {denominators} + {states}"
    );
    out.sum(Kind::Float).backward();
}
