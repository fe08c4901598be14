//! Links the program and its tests with libtorch and tells them where it lies at run time.

fn main() {
    // Unset without the feature `torch`.
    let Ok(run_path) = std::env::var("DEP_LINFORMER_KERNELS_RUN_PATH") else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{run_path}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
