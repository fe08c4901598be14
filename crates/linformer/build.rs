//! Adds libtorch's folder to the run path of this package's tests, benches and examples.

fn main() {
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    let lib = std::env::var("DEP_LINFORMER_KERNELS_LIBTORCH_LIB")
        .expect("linformer-kernels names its libtorch");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
