//! Lets the binary and its tests find libtorch at run time.

fn main() {
    let lib = std::env::var("DEP_LINFORMER_KERNELS_LIBTORCH_LIB")
        .expect("linformer-kernels names its libtorch");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
