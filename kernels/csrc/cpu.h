// The CPU kernels' faces. Included by files that are compiled for different instruction sets, so nothing
// here may be an inline function or a template of the standard library: the linker keeps one copy of each.
#pragma once
#include <cstdint>

namespace lf {

// One head of one sequence, tokens [begin, end). Strides in elements; the innermost stride is 1.
template <class T>
struct Attention {
  const T *q, *k, *v;                  // [N, H, D], [N, H, D], [N, H, M]
  int64_t q_t, q_h, k_t, k_h, v_t, v_h;
  T *out;                              // [N, H, M], contiguous
  T *den;                              // [N, H]: the denominators, eps included
  int64_t heads, d, m;
  T eps;
  const T *cos, *sin;                  // [positions, D / 2], or null: no rotation
  int64_t positions;
  // backward
  const T *grad;                       // [N, H, M], contiguous
  T *dq, *dk, *dv;
  int64_t dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  // states of each sequence: [S, H, D, M] and [S, H, D]; null: zero, or not wanted
  const T *s0, *z0, *ds1, *dz1;
  T *s1, *z1, *ds0, *dz0;
};

// A decoder-only model's weights, each matrix as [inputs, outputs] in panels of 32 columns (see `linear`).
struct Norm {
  const float *weight, *bias;          // bias may be null
};
struct Linear {
  const float *weight, *bias;          // bias may be null
};
struct Block {
  Norm attention_norm, feed_norm;
  Linear qkv, out, up, down;
};
struct Model {
  int64_t vocab, width, heads, feed, layers;
  float norm_eps, attention_eps;
  int32_t rms, gated;                  // RMSNorm, else LayerNorm; SwiGLU, else GELU
  const double *frequency;             // [width / heads / 2]: turn of each pair per position, in radians
  const float *embed;                  // [vocab, width]
  const Block *blocks;
  Norm norm;
  Linear head;
};

template <class T>
struct AttentionTable {
  int64_t (*scratch)(int64_t d, int64_t m);
  void (*forward)(const Attention<T> &, int64_t seq, int64_t head, int64_t begin, int64_t end, T *scratch);
  void (*backward)(const Attention<T> &, int64_t seq, int64_t head, int64_t begin, int64_t end, T *scratch);
};

struct Table {
  const char *name;
  AttentionTable<float> f32;
  AttentionTable<double> f64;
  // One token for each of `rows` sequences (a multiple of 8); row r's state is in slot[r]. States: s
  // [layers, slots, H, D, D], z [layers, slots, H, D]. tokens, positions and logits are by row.
  int64_t (*decode_scratch)(const Model &, int64_t rows);
  void (*decode)(const Model &, int64_t rows, int64_t slots, const int32_t *slot, const int32_t *tokens,
                 const int64_t *positions, float *s, float *z, float *logits, float *scratch);
  // states, per head: s [D, M], z [D]; phi, update, product and normaliser in one pass
  void (*step)(int64_t d, int64_t m, const float *q, const float *k, const float *v, float eps, float *s, float *z,
               float *out, float *scratch);
};

extern const Table table_baseline;
#if defined(__x86_64__)
extern const Table table_avx2;
extern const Table table_avx512;
#endif

}  // namespace lf
