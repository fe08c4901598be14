//! Compiles `csrc/` against the libtorch that torch-sys has found, and passes its path on to
//! dependents.

use std::env;
use std::path::{Path, PathBuf};

/// Floating-point flags of the CPU kernels. With them, results are the same from run to run, and
/// NaN stays NaN.
const ARITHMETIC: [&str; 6] = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-freciprocal-math",
    "-ffp-contract=fast",
];

/// CUDA runtime that libtorch 2.11 loads.
const CUDA_RUNTIME: &str = "libcudart.so.13";

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let lib =
        PathBuf::from(env::var_os("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names its libtorch"));
    compile_kernel("cpu_baseline", &[]);
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        compile_kernel("cpu_avx2", &["-mavx2", "-mfma"]);
        let avx512 = [
            "-mavx512f",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx512vl",
            "-mfma",
            "-mprefer-vector-width=512",
        ];
        compile_kernel("cpu_avx512", &avx512);
        compile_kernel("cpu_avx512_bf16", &[&avx512[..], &["-mavx512bf16"]].concat());
    }
    let cuda = env::var_os("CARGO_FEATURE_CUDA").is_some().then(cuda_home);
    if let Some(home) = &cuda {
        compile_cuda(home);
    }
    compile_shim(&lib, cuda.as_deref());
    compile_emulation();
    let mut run_path = lib.display().to_string();
    if let Some(home) = &cuda {
        let runtime = cuda_runtime(&lib, home);
        println!("cargo:rustc-link-search=native={}", lib.display());
        println!("cargo:rustc-link-search=native={}", runtime.display());
        println!("cargo:rustc-link-lib=dylib=c10_cuda");
        // Verbatim, as the wheels lack libcudart.so. A library, unlike an argument, also reaches the
        // programs of other packages.
        println!("cargo:rustc-link-lib=dylib:+verbatim={CUDA_RUNTIME}");
        if runtime != lib {
            run_path = format!("{run_path}:{}", runtime.display());
        }
    }
    println!("cargo:run_path={run_path}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{run_path}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}

/// Returns the folder of the CUDA runtime: libtorch's own, that of pip's `nvidia` packages beside
/// pip's torch, or that of CUDA's compiler.
fn cuda_runtime(lib: &Path, home: &Path) -> PathBuf {
    let beside = lib.join("../../nvidia/cu13/lib");
    let beside = beside.canonicalize().unwrap_or(beside);
    let folders = [lib.to_owned(), beside, home.join("lib"), home.join("lib64")];
    let found = folders.iter().find(|folder| folder.join(CUDA_RUNTIME).exists());
    found.unwrap_or(&folders[3]).clone()
}

/// Returns the folder of CUDA; scripts/fetch/nvcc prints a `CUDA_HOME` if none is installed.
fn cuda_home() -> PathBuf {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rerun-if-env-changed=NVCC");
    env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("/usr/local/cuda"), PathBuf::from)
}

/// Compiles the CUDA kernels for Ampere and Hopper, and as PTX for later GPUs. The CUDA runtime is
/// libtorch's: a second one would not share its state.
fn compile_cuda(home: &Path) {
    let mut build = cc::Build::new();
    build.cuda(true).cudart("none").std("c++17").opt_level(3).debug(false);
    if env::var_os("NVCC").is_none() {
        build.compiler(home.join("bin/nvcc"));
    }
    for code in [
        "arch=compute_80,code=sm_80",
        "arch=compute_90,code=sm_90",
        "arch=compute_90,code=compute_90",
    ] {
        build.flag(format!("-gencode={code}"));
    }
    build.flag("-Xptxas=-warn-spills,-warn-lmem-usage");
    build.include(home.join("include")).include(home.join("include/cccl"));
    let sources = ["attention", "convolution", "decode"];
    build.files(sources.map(|name| format!("csrc/cuda/{name}.cu"))).compile("lf_cuda");
}

fn cpp() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).opt_level(3).debug(false).flag("-Wno-psabi");
    build
}

fn compile_kernel(name: &str, target: &[&str]) {
    // -Wno-maybe-uninitialized: g++ 12 warns about its own header.
    cpp()
        .flags(ARITHMETIC)
        .flags(target)
        .flag("-Wno-maybe-uninitialized")
        .flag("-Wno-uninitialized")
        .file(format!("csrc/{name}.cpp"))
        .compile(&format!("lf_{name}"));
}

/// Compiles the CUDA kernels' device code for the CPU. Only tests link it.
fn compile_emulation() {
    // decode.cpp includes emulation.cpp.
    let files = ["tests/emulation/decode.cpp", "tests/emulation/convolution.cpp"];
    println!("cargo:rerun-if-changed=tests/emulation");
    cpp().cargo_metadata(false).files(files).compile("lf_emulation");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rustc-link-arg-tests={}", out.join("liblf_emulation.a").display());
}

fn compile_shim(lib: &Path, cuda: Option<&Path>) {
    let beside = lib.parent().expect("a library folder has a parent").join("include");
    let include =
        env::var_os("LIBTORCH_INCLUDE").map_or(beside, |root| PathBuf::from(root).join("include"));
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut shim = cpp();
    if let Some(cuda) = cuda_headers(lib) {
        shim.define("LF_CUDA", None).flag("-isystem").flag(cuda.display().to_string());
    }
    if let Some(home) = cuda {
        shim.define("LF_CUDA_KERNELS", None)
            .flag("-isystem")
            .flag(home.join("include").display().to_string());
    }
    let mimalloc =
        env::var_os("DEP_MIMALLOC_INCLUDE_DIR").expect("libmimalloc-sys names its headers");
    shim.include(mimalloc)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .flag("-isystem")
        .flag(include.display().to_string())
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include").display().to_string())
        .flag("-fopenmp") // at::parallel_for is a template and serial without it
        .files([
            "csrc/shim.cpp",
            "csrc/allocator.cpp",
            "csrc/attention.cpp",
            "csrc/convolution.cpp",
            "csrc/linear.cpp",
            "csrc/process_group.cpp",
        ])
        .compile("lf_shim");
}

/// Returns CUDA's headers if this libtorch is one for GPUs: processes then reduce tensors on them.
fn cuda_headers(lib: &Path) -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let home =
        env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("/usr/local/cuda"), PathBuf::from);
    let include = home.join("include");
    (lib.join("libtorch_cuda.so").exists() && include.join("cuda_runtime_api.h").exists())
        .then_some(include)
}
