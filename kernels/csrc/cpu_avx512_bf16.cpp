// The products of linear layers in bfloat16, for AVX512_BF16.
#define LF_BYTES 64
#define LF_MR 8
#define LF_NV 2
#define LF_TALL 16
#define LF_LINEAR linear_avx512_bf16
#include "cpu_linear.inl"
