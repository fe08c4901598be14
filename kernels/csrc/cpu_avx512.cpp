// The CPU kernels for AVX-512.
#define LF_TABLE table_avx512
#define LF_NAME "avx512"
#define LF_BYTES 64
#define LF_MR 8
#define LF_NV 2
#define LF_TALL 16
#define LF_LINEAR linear_avx512
#define LF_LINEAR_TABLE &linear_avx512
#include "cpu_linear.inl"
#include "cpu.inl"
