// The CPU kernels, compiled once for each instruction set. Each sum runs in one fixed order for any
// number of threads, sequences or slots: the same input gives the same bits.
#include "cpu_attention.inl"
#include "cpu_decode.inl"
#include "cpu_train.inl"
#ifndef LF_LINEAR_TABLE
#define LF_LINEAR_TABLE nullptr
#endif

namespace lf {

extern const Table LF_TABLE = {
    LF_NAME,
    LF_LINEAR_TABLE,
    {attention_scratch<float>, attention_forward<float>, attention_backward<float>},
    {attention_scratch<double>, attention_forward<double>, attention_backward<double>},
    convolve,
    convolve_back,
    decode_scratch,
    decode,
    step,
    swiglu,
    swiglu_back,
    cross_entropy,
    cross_entropy_back,
    multiply_adds,
};

}  // namespace lf
