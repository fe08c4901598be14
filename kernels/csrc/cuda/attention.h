// Arguments of the CUDA kernels: raw pointers on the device, without headers of libtorch or of
// CUDA.
#pragma once
#include <cstdint>

namespace lf {
namespace cuda {

// Like lf::Attention, with sums and states in float for any T.
template <class T>
struct Attention {
  const T *q, *k, *v;
  int64_t q_t, q_h, k_t, k_h, v_t, v_h;
  T *out;
  float *den;
  int64_t tokens, heads, d, m;
  float eps;
  const float *cos, *sin, *decay;
  const T *grad;
  int64_t grad_t, grad_h;
  T *dq, *dk, *dv;
  int64_t dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  const float *s0, *z0, *ds1, *dz1;
  float *s1, *z1, *ds0, *dz0;
};

// Part of a sequence. Segments run in parallel; the state before each comes from the sums of those
// before it.
struct Segment {
  int64_t seq, begin, end, origin;  // token `origin` has position 0
};
// Segments of a call, and its workspace.
struct Work {
  const Segment *segments;  // [count], in order
  const int64_t *first;     // [sequences + 1]: the first segment of each sequence
  int64_t count, sequences;
  float *states;  // [count, heads, d m + d]: state before a segment, or gradient of that after it
  float *w;       // [heads, tokens]: number of each token for backward
};

// One token of each of `rows` heads: q, k [rows, d], v [rows, m]. States are updated in place.
struct Step {
  const float *q, *k, *v, *decay;  // decay [heads], or null
  float *s, *z, *out;
  int64_t rows, heads, d, m;
  float eps;
};

constexpr int64_t LARGEST = 128;  // largest D and M

// Each returns a cudaError_t. The bfloat16 ones take Attention<T> with any 16-bit T.
int forward_f32(const Attention<float> &, const Work &, void *stream);
int backward_f32(const Attention<float> &, const Work &, void *stream);
int forward_bf16(const void *attention, const Work &, void *stream);
int backward_bf16(const void *attention, const Work &, void *stream);
int step_f32(const Step &, void *stream);

}  // namespace cuda
}  // namespace lf
