// The CPU kernels for AVX-512.
#define LF_TABLE table_avx512
#define LF_NAME "avx512"
#define LF_BYTES 64
#define LF_MR 8
#define LF_NV 2
#define LF_TALL 16
#include "cpu.inl"
