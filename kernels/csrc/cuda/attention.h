// What the CUDA kernels are told. Raw pointers on the device; no header of libtorch or of CUDA.
#pragma once
#include <cstdint>

namespace lf {
namespace cuda {

// As lf::Attention, with sums and states in float whatever T is.
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

// Long sequences are cut into segments that run side by side; the state before each is known from sums over those
// before it.
struct Segment {
  int64_t seq, begin, end, origin;  // position 0 of its sequence is that of token `origin`
};
struct Work {
  const Segment *segments;   // in order
  const int64_t *first;      // [sequences + 1]: the first segment of each sequence
  int64_t count, sequences;
  float *states;             // [count, heads, d m + d]: the state before a segment, or the gradient of the one after it
  float *w;                  // [heads, tokens]: backward's number for each token
};

// One token of each of `rows` heads: q, k [rows, d], v [rows, m], states in place.
struct Step {
  const float *q, *k, *v, *decay;  // decay [heads], or null
  float *s, *z, *out;
  int64_t rows, heads, d, m;
  float eps;
};

constexpr int64_t LARGEST = 128;  // head size

// Each answers a cudaError_t. T: float, or bfloat16 under any name.
int forward_f32(const Attention<float> &, const Work &, void *stream);
int backward_f32(const Attention<float> &, const Work &, void *stream);
int forward_bf16(const void *attention, const Work &, void *stream);
int backward_bf16(const void *attention, const Work &, void *stream);
int step_f32(const Step &, void *stream);

}  // namespace cuda
}  // namespace lf
