// Interface of the CPU kernels. Files compiled for different instruction sets include it, so
// nothing here may be an inline function or a template of the standard library: the linker keeps
// one copy of each, for any of the sets.
#pragma once
#include <cstdint>

namespace lf {

// Arguments of the operator. Strides are in elements; the innermost stride is 1.
template <class T>
struct Attention {
  const T *q, *k, *v;  // [N, H, D], [N, H, D], [N, H, M]
  int64_t q_t, q_h, k_t, k_h, v_t, v_h;
  T *out;  // [N, H, M], contiguous
  T *den;  // [H, N]: the denominators, eps included
  int64_t tokens, heads, d, m;
  T eps;
  const T *cos, *sin;  // [positions, D / 2], or null: no rotation
  const T *decay;      // [H]: factor on the state per token; null: 1
  const T *log_decay;  // [N, H]: logarithm of the factor in each token; null: `decay`
  // backward
  const T *grad;  // [N, H, M]
  int64_t grad_t, grad_h;
  T *dq, *dk, *dv;
  int64_t dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  T *dlog_decay;  // [N, H]
  // states of each sequence: [S, H, D, M] and [S, H, D]; null: zero, or not wanted
  const T *s0, *z0, *ds1, *dz1;
  T *s1, *z1, *ds0, *dz0;
};

// Work of one call: heads [head, head + heads) of one sequence, tokens [begin, end). Token `origin`
// has position 0.
struct Item {
  int64_t seq, head, heads, begin, end, origin;
};
constexpr int64_t GROUP = 8;  // largest number of heads of an item

// A causal convolution of each channel over the tokens of one sequence: y_t = sum_j w_j x_{t -
// (taps - 1) + j}.
struct Convolution {
  const float *x, *w;  // [N, channels], [taps, channels]
  float *y;            // [N, channels]
  int64_t channels, taps;
  // backward
  const float *dy;
  float *dx, *dw;  // dw [taps, channels]
};

// Products of linear layers over rows of floats (cpu_linear.inl). Packed operands and scratch
// memory are counted in units of 4 octets.
struct LinearTable {
  int64_t per_unit;  // floats of the depth in a unit
  int64_t chunk;     // units of the depth that an outer product's operands are packed by
  int64_t cols;      // packed columns are a multiple of this
  int64_t block;     // rows that row_products has scratch memory for
  // Packs x[depth, cols], rows `row` apart, with room for `lines` units in each panel.
  void (*pack_left)(const float *x, int64_t depth, int64_t cols, int64_t row, int64_t lines,
                    float *out);
  void (*pack_right)(const float *x, int64_t depth, int64_t cols, int64_t row, int64_t lines,
                     float *out);
  void (*pack_transposed)(const float *x, int64_t depth, int64_t cols, int64_t row, float *out);
  void (*row_products)(const float *x, int64_t rows, int64_t depth, const float *right,
                       int64_t cols, const float *bias, const float *residual, float *y,
                       float *scratch);
  void (*outer_product)(const float *left, int64_t rows, const float *right, int64_t cols,
                        int64_t depth, int64_t from, int64_t to, float *y);
  void (*column_sums)(const float *x, int64_t rows, int64_t cols, float *sums);
};

// Weights of a decoder-only model. W: hidden_size, F: ffn_size. Each matrix is [inputs, outputs] in
// panels of 32 columns (see `linear`).
struct Norm {
  const float *weight, *bias;  // bias may be null
};
struct Linear {
  const float *weight, *bias;  // bias may be null
};
struct Block {
  Norm attention_norm, feed_norm;
  Linear qkv, gate, out, up, down;  // gate.weight may be null
  const float *conv;                // [taps, 3 W], or null
  // A token's decay by its input x, exp(-rate softplus(decay x)): decay [W, heads padded to 16]
  // with a bias, rate [heads]. decay.weight may be null: that of the model.
  Linear decay;
  const float *rate;
};
struct Model {
  int64_t vocab, hidden_size, heads, ffn_size, layers, conv_kernel;
  float norm_eps, attention_eps;
  int32_t rms, gated;       // RMSNorm, else LayerNorm; SwiGLU, else GELU
  const float *decay;       // [heads]
  const double *frequency;  // [W / heads / 2]: rotation of each pair per position, in radians
  const float *embed;       // [vocab, W]
  const Block *blocks;
  Norm norm;
  Linear head;
  // Products with all matrices but those of decays, which it has packed; null: of floats.
  const LinearTable *products;
};

template <class T>
struct AttentionTable {
  int64_t (*scratch)(int64_t d, int64_t m, int64_t longest, int64_t heads);
  void (*forward)(const Attention<T> &, Item, T *scratch);
  void (*backward)(const Attention<T> &, Item, T *scratch);
};

struct Table {
  const char *name;
  const LinearTable *linear;  // null: libtorch's products are as fast
  AttentionTable<float> f32;
  AttentionTable<double> f64;
  // Convolves channels [from, to), multiples of 16 except the last, of all sequences.
  void (*convolve)(const Convolution &, const int64_t *cu_seqlens, int64_t sequences, int64_t from,
                   int64_t to);
  void (*convolve_back)(const Convolution &, const int64_t *cu_seqlens, int64_t sequences,
                        int64_t from, int64_t to);
  // Runs the model on one token of each of `rows` sequences, a multiple of 8. Row r has its token,
  // position and logits at index r and its state in slot[r]: s [layers, slots, H, D, D], z [layers,
  // slots, H, D], past [layers, slots, taps - 1, 3 W].
  int64_t (*decode_scratch)(const Model &, int64_t rows);
  void (*decode)(const Model &, int64_t rows, int64_t slots, const int32_t *slot,
                 const int32_t *tokens, const int64_t *positions, float *s, float *z, float *past,
                 float *logits, float *scratch);
  // One token of one head: feature map, update of s [D, M] and z [D], product and normaliser in one
  // pass.
  void (*step)(int64_t d, int64_t m, const float *q, const float *k, const float *v, float decay,
               float eps, float *s, float *z, float *out, float *scratch);
  // SwiGLU of up[rows, 2 feed], gates before values: out[rows, feed]. The gradient of up from that
  // of out.
  void (*swiglu)(const float *up, int64_t rows, int64_t feed, float *out);
  void (*swiglu_back)(const float *up, const float *dout, int64_t rows, int64_t feed, float *dup);
  // Cross entropy of scores[rows, vocab] in nats, and the logarithm of the sum of each row's
  // exponentials. The gradient of the scores, which may be the scores themselves.
  void (*cross_entropy)(const float *scores, const int64_t *targets, int64_t rows, int64_t vocab,
                        float *losses, float *log_sums);
  void (*cross_entropy_back)(const float *scores, const int64_t *targets, const float *log_sums,
                             const float *dlosses, int64_t rows, int64_t vocab, float *dscores);
  // Does `rounds` rounds of fused multiply-adds in registers and returns their number.
  int64_t (*multiply_adds)(int64_t rounds, float *sink);
};

extern const Table table_baseline;
#if defined(__x86_64__)
extern const Table table_avx2;
extern const Table table_avx512;
extern const LinearTable linear_avx512, linear_avx512_bf16;
#endif

}  // namespace lf
