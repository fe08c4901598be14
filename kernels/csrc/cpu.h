// The CPU kernels' faces. Included by files that are compiled for different instruction sets, so nothing
// here may be an inline function or a template of the standard library: the linker keeps one copy of each.
#pragma once
#include <cstdint>

namespace lf {

// The operator's arguments. Strides in elements; the innermost stride is 1.
template <class T>
struct Attention {
  const T *q, *k, *v;                  // [N, H, D], [N, H, D], [N, H, M]
  int64_t q_t, q_h, k_t, k_h, v_t, v_h;
  T *out;                              // [N, H, M], contiguous
  T *den;                              // [H, N]: the denominators, eps included
  int64_t tokens, heads, d, m;
  T eps;
  const T *cos, *sin;                  // [positions, D / 2], or null: no rotation
  const T *decay;                      // [H]: what is left of the state after a token; null: all of it
  // backward
  const T *grad;                       // [N, H, M]
  int64_t grad_t, grad_h;
  T *dq, *dk, *dv;
  int64_t dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  // states of each sequence: [S, H, D, M] and [S, H, D]; null: zero, or not wanted
  const T *s0, *z0, *ds1, *dz1;
  T *s1, *z1, *ds0, *dz0;
};

// Heads [head, head + heads) of one sequence, tokens [begin, end); position 0 is that of token `origin`.
struct Item {
  int64_t seq, head, heads, begin, end, origin;
};
constexpr int64_t GROUP = 8;           // heads of an item, at most

// A causal convolution of each channel over the tokens of one sequence: y_t = sum_j w_j x_{t - (taps - 1) + j}.
struct Convolution {
  const float *x, *w;                  // [N, channels], [taps, channels]
  float *y;                            // [N, channels]
  int64_t channels, taps;
  // backward
  const float *dy;
  float *dx, *dw;                      // dw [taps, channels]
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
  Linear qkv, gate, out, up, down;     // gate.weight may be null
  const float *conv;                   // [taps, 3 width], or null
};
struct Model {
  int64_t vocab, width, heads, feed, layers, taps;
  float norm_eps, attention_eps;
  int32_t rms, gated;                  // RMSNorm, else LayerNorm; SwiGLU, else GELU
  const float *decay;                  // [heads]
  const double *frequency;             // [width / heads / 2]: turn of each pair per position, in radians
  const float *embed;                  // [vocab, width]
  const Block *blocks;
  Norm norm;
  Linear head;
};

template <class T>
struct AttentionTable {
  int64_t (*scratch)(int64_t d, int64_t m, int64_t longest, int64_t heads);
  void (*forward)(const Attention<T> &, Item, T *scratch);
  void (*backward)(const Attention<T> &, Item, T *scratch);
};

struct Table {
  const char *name;
  AttentionTable<float> f32;
  AttentionTable<double> f64;
  // Channels [from, to), multiples of 16 but for the last, of sequences that end at bounds[1..].
  void (*convolve)(const Convolution &, const int64_t *bounds, int64_t sequences, int64_t from, int64_t to);
  void (*convolve_back)(const Convolution &, const int64_t *bounds, int64_t sequences, int64_t from, int64_t to);
  // One token for each of `rows` sequences (a multiple of 8); row r's state is in slot[r]. States: s
  // [layers, slots, H, D, D], z [layers, slots, H, D], past [layers, slots, taps - 1, 3 width]. tokens, positions and
  // logits are by row.
  int64_t (*decode_scratch)(const Model &, int64_t rows);
  void (*decode)(const Model &, int64_t rows, int64_t slots, const int32_t *slot, const int32_t *tokens,
                 const int64_t *positions, float *s, float *z, float *past, float *logits, float *scratch);
  // states, per head: s [D, M], z [D]; phi, update, product and normaliser in one pass
  void (*step)(int64_t d, int64_t m, const float *q, const float *k, const float *v, float decay, float eps, float *s,
               float *z, float *out, float *scratch);
  // For the peak: `rounds` times as many fused multiply-adds in registers as the return value says, times 2.
  int64_t (*multiply_adds)(int64_t rounds, float *sink);
};

extern const Table table_baseline;
#if defined(__x86_64__)
extern const Table table_avx2;
extern const Table table_avx512;
#endif

}  // namespace lf
