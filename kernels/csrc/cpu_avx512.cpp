// The CPU kernels for AVX-512.
#define LF_TABLE table_avx512
#define LF_NAME "avx512"
#define LF_MR 8
#define LF_NV 2
#include "cpu.inl"
