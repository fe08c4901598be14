// The CPU kernels, compiled once for each instruction set. Each sum runs in one fixed order for any
// number of threads, sequences or slots: the same input gives the same bits.
#include "cpu_attention.inl"
#include "cpu_decode.inl"

namespace lf {

extern const Table LF_TABLE = {
    LF_NAME,
    {attention_scratch<float>, attention_forward<float>, attention_backward<float>},
    {attention_scratch<double>, attention_forward<double>, attention_backward<double>},
    convolve,
    convolve_back,
    decode_scratch,
    decode,
    step,
    multiply_adds,
};

}  // namespace lf
