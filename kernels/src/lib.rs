//! Causal linear attention for libtorch: C++ and CUDA kernels and their safe Rust face.
