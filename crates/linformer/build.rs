//! Adds libtorch's folder to the run path of this package's tests, benches and examples.

fn main() {
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    let run_path = std::env::var("DEP_LINFORMER_KERNELS_RUN_PATH")
        .expect("linformer-kernels names its run path");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{run_path}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
