// The CPU kernels for AVX2 with FMA.
#define LF_TABLE table_avx2
#define LF_NAME "avx2"
#define LF_BYTES 32
#define LF_MR 4
#define LF_NV 2
#define LF_TALL 8
#include "cpu.inl"
