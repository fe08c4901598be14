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
  int64_t index;                    // in order of the row
  int64_t edges;                    // FIRST, LAST of its sequence
};
constexpr int64_t FIRST = 1, LAST = 2;
// Longest segment in tokens, and how many chunks of attention_mma.cuh it has.
constexpr int64_t LONGEST_SEGMENT = 256, CHUNKS = 2;
// Segments of a call, and its workspace.
struct Work {
  // [3, count]: in order; all first ones, all second ones, ... of the sequences; the same from their
  // ends. In the latter two, a segment comes after the one whose state it waits for.
  const Segment *segments;
  const int64_t *first;     // [sequences + 1]: the first segment of each sequence
  int64_t count, sequences, longest;  // longest: tokens of the longest segment
  bool chained;                       // some sequence has more than one segment
  float *states;  // [count, CHUNKS, heads, d m + d]: state before a chunk; backward takes it again
  float *w;       // [heads, tokens]: number of each token for backward
  float *back;    // [count, CHUNKS, heads, d m + d]: gradient of the state after a chunk
  int32_t *flags;        // [flag_count]: the kernels' own
};

// Returns how many numbers `Work::flags` holds: one for each warp of a block.
inline int64_t flag_count(const Work &work, int64_t heads) {
  return 8 * CHUNKS * work.count * heads;
}

// One token of each of `rows` heads: q, k [rows, d], v [rows, m]. States are updated in place.
struct Step {
  const float *q, *k, *v, *decay;  // decay [decays], of row i at i % decays, or null
  float *s, *z, *out;
  int64_t rows, decays, d, m;
  float eps;
};

constexpr int64_t LARGEST = 128;  // largest D and M

// Returns the octets of shared memory that a block needs at most for heads of these sizes.
int64_t shared_octets(int64_t d, int64_t m, bool bf16);

// Each returns a cudaError_t. The bfloat16 ones take Attention<T> with any 16-bit T.
int forward_f32(const Attention<float> &, const Work &, void *stream);
int backward_f32(const Attention<float> &, const Work &, void *stream);
int forward_bf16(const void *attention, const Work &, void *stream);
int backward_bf16(const void *attention, const Work &, void *stream);
int step_f32(const Step &, void *stream);

}  // namespace cuda
}  // namespace lf
