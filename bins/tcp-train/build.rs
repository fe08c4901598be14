//! Links the program and its tests with libtorch and tells them where it lies at run time.

fn main() {
    // Unset without the feature `torch`.
    let Ok(lib) = std::env::var("DEP_LINFORMER_KERNELS_LIBTORCH_LIB") else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
