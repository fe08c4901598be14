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
// Longest segment in tokens, and how many chunks of attention_mma.cuh it has.
constexpr int64_t LONGEST_SEGMENT = 256, CHUNKS = 2;
// Segments of a call, and its workspace.
struct Work {
  const Segment *segments;  // [count], in order
  const int64_t *first;     // [sequences + 1]: the first segment of each sequence
  int64_t count, sequences, longest;  // longest: tokens of the longest segment
  bool chained;                       // some sequence has more than one segment
  float *states;  // [count, CHUNKS, heads, d m + d]: state before a chunk; backward takes it again
  float *w;       // [heads, tokens]: number of each token for backward
  float *back;    // [count, CHUNKS, heads, d m + d]: gradient of the state after a chunk
  const int32_t *order;  // [2, count]: segments by their place from the start, and from the end
  int32_t *flags;        // [flag_count]: the kernels' own
};

// Returns how many numbers `Work::flags` holds: a counter in a line of its own, then one for each warp
// of a block.
inline int64_t flag_count(const Work &work, int64_t heads) {
  return 32 + 8 * CHUNKS * work.count * heads;
}

// Writes the order of segments along the chains: all first ones, all second ones, ...; then the same
// from the ends. A segment comes after the one that it waits for.
inline void chain_order(const int64_t *first, int64_t sequences, int32_t *order) {
  const int64_t count = first[sequences];
  int64_t longest = 0, at = 0;
  for (int64_t seq = 0; seq < sequences; seq++)
    longest = first[seq + 1] - first[seq] > longest ? first[seq + 1] - first[seq] : longest;
  for (int64_t place = 0; place < longest; place++)
    for (int64_t seq = 0; seq < sequences; seq++)
      if (place < first[seq + 1] - first[seq]) {
        order[at] = int32_t(first[seq] + place);
        order[count + at++] = int32_t(first[seq + 1] - 1 - place);
      }
}

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
