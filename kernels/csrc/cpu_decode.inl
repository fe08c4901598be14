// The causal convolution, one step of the attention, and a whole model token by token.
#pragma once
#include "cpu.h"
#include "cpu_vector.inl"

namespace lf {
namespace {

constexpr int64_t PANEL = 32;

// Calls run(t, past, j) for each token t and tap j whose input, past = t - (taps - 1) + j, is in
// the sequence of t.
template <class F>
inline void each_tap(const Convolution &c, const int64_t *cu_seqlens, int64_t sequences, F run) {
  for (int64_t seq = 0; seq < sequences; seq++)
    for (int64_t t = cu_seqlens[seq]; t < cu_seqlens[seq + 1]; t++)
      for (int64_t j = 0; j < c.taps; j++) {
        const int64_t past = t - (c.taps - 1) + j;
        if (past >= cu_seqlens[seq]) run(t, past, j);
      }
}

void convolve(const Convolution &c, const int64_t *cu_seqlens, int64_t sequences, int64_t from,
              int64_t to) {
  for (int64_t t = 0; t < cu_seqlens[sequences]; t++)
    for (int64_t i = from; i < to; i++) c.y[t * c.channels + i] = 0;
  each_tap(c, cu_seqlens, sequences, [&](int64_t t, int64_t past, int64_t j) {
    const float *__restrict x = c.x + past * c.channels, *__restrict w = c.w + j * c.channels;
    float *__restrict y = c.y + t * c.channels;
    for (int64_t i = from; i < to; i++) y[i] += w[i] * x[i];
  });
}

void convolve_back(const Convolution &c, const int64_t *cu_seqlens, int64_t sequences, int64_t from,
                   int64_t to) {
  for (int64_t t = 0; t < cu_seqlens[sequences]; t++)
    for (int64_t i = from; i < to; i++) c.dx[t * c.channels + i] = 0;
  for (int64_t j = 0; j < c.taps; j++)
    for (int64_t i = from; i < to; i++) c.dw[j * c.channels + i] = 0;
  each_tap(c, cu_seqlens, sequences, [&](int64_t t, int64_t past, int64_t j) {
    const float *__restrict x = c.x + past * c.channels, *__restrict w = c.w + j * c.channels,
                            *__restrict dy = c.dy + t * c.channels;
    float *__restrict dx = c.dx + past * c.channels, *__restrict dw = c.dw + j * c.channels;
    for (int64_t i = from; i < to; i++) dx[i] += w[i] * dy[i];
    for (int64_t i = from; i < to; i++) dw[i] += x[i] * dy[i];
  });
}

// One head's step. q and k are features already.
void head_step(int64_t d, int64_t m, const float *__restrict q, const float *__restrict k,
               const float *__restrict v, float decay, float eps, float *__restrict s,
               float *__restrict z, float *__restrict out) {
  float den = eps;
  for (int64_t j = 0; j < m; j++) out[j] = 0;
  for (int64_t i = 0; i < d; i++) {
    z[i] = z[i] * decay + k[i];
    den += q[i] * z[i];
    float *__restrict row = s + i * m;
    for (int64_t j = 0; j < m; j++) {
      row[j] = row[j] * decay + k[i] * v[j];
      out[j] += q[i] * row[j];
    }
  }
  for (int64_t j = 0; j < m; j++) out[j] /= den;
}

// row[n] = phi(x[n]). row has n rounded up to 16 elements.
void features(int64_t n, const float *x, float *row) {
  for (int64_t i = 0; i < padded(n); i++) row[i] = i < n ? x[i] : 0.0f;
  phi_row(row, n, padded(n), row);
}

void step(int64_t d, int64_t m, const float *q, const float *k, const float *v, float decay,
          float eps, float *s, float *z, float *out, float *scratch) {
  features(d, q, scratch);
  features(d, k, scratch + padded(d));
  head_step(d, m, scratch, scratch + padded(d), v, decay, eps, s, z, out);
}

// LayerNorm or RMSNorm of each row.
void normalise(const Norm &norm, bool rms, float eps, int64_t rows, int64_t width, const float *x,
               float *y) {
  for (int64_t r = 0; r < rows; r++) {
    const float *__restrict from = x + r * width;
    float *__restrict to = y + r * width;
    float mean = 0;
    if (!rms) {
      for (int64_t j = 0; j < width; j++) mean += from[j];
      mean /= float(width);
    }
    float square = 0;
    for (int64_t j = 0; j < width; j++) square += (from[j] - mean) * (from[j] - mean);
    const float scale = 1.0f / __builtin_sqrtf(square / float(width) + eps);
    for (int64_t j = 0; j < width; j++)
      to[j] = (from[j] - mean) * scale * norm.weight[j] + (norm.bias ? norm.bias[j] : 0.0f);
  }
}

// y[rows, cols] += a b. rows is a multiple of 8, cols one of 16. Sums have the same order for any
// number of rows.
void add_product(int64_t rows, int64_t cols, int64_t depth, Left<float> a, Right<float> b, float *y,
                 int64_t ldy) {
  constexpr int MR = LF_MR < 8 ? LF_MR : 8, NV = 16 / W<float>;
  const auto old = [=](int64_t i, int64_t j) { return load(y + i * ldy + j); };
  const auto end = [=](int64_t i, int64_t j, Vec<float> x) { store(y + i * ldy + j, x); };
  int64_t n = 0;
  for (; n + LF_NV * W<float> <= cols; n += LF_NV * W<float>)
    for (int64_t i = 0; i < rows; i += MR)
      block<MR, LF_NV>(i, n, depth, a, b, 0, a, b, old, Same<float>(), end);
  for (; n < cols; n += NV * W<float>)
    for (int64_t i = 0; i < rows; i += MR)
      block<MR, NV>(i, n, depth, a, b, 0, a, b, old, Same<float>(), end);
}

// y[rows, outputs] = x[rows, inputs] weight + bias, or y += it. The weight is in panels of 32
// columns, each [inputs, 32]; the last one may be 16 wide.
void linear(const Linear &l, int64_t rows, int64_t inputs, int64_t outputs, const float *x,
            float *y, bool add) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < outputs; j++) {
      const float bias = l.bias ? l.bias[j] : 0.0f;
      y[r * outputs + j] = add ? y[r * outputs + j] + bias : bias;
    }
  for (int64_t n = 0; n < outputs; n += PANEL) {
    const int64_t cols = outputs - n < PANEL ? outputs - n : PANEL;
    add_product(rows, cols, inputs, {x, inputs, 1}, {l.weight + n * inputs, cols}, y + n, outputs);
  }
}

// erf(x), with an absolute error of at most 1.5e-7 (Abramowitz and Stegun, 7.1.26).
inline Floats error_function(Floats x) {
  const Floats a = x < 0 ? -x : x;
  const Floats t = 1.0f / (1.0f + 0.3275911f * a);
  const Floats poly =
      ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t +
       0.254829592f) *
      t;
  const Floats y = 1.0f - poly * exp_negative(-a * a);
  return x < 0 ? -y : y;
}
inline Floats silu(Floats x) {
  const Floats one = Floats{} + 1.0f, e = exp_negative(x < 0 ? x : -x);
  return x * (x < 0 ? e : one) / (one + e);
}

// ln(1 + e^x)
inline float softplus(float x) {
  return (x > 0 ? x : 0.0f) + __builtin_log1pf(exp_negative(x > 0 ? -x : x));
}

// Applies GELU to up[rows, feed] or, if gated, SwiGLU to up[rows, 2 feed]. In place: row r of the
// result ends before row r of the input.
void activate(bool gated, int64_t rows, int64_t feed, float *up) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < feed; j += W<float>) {
      float *to = up + r * feed + j;
      if (gated) {
        const float *gate = up + r * 2 * feed + j;
        store(to, silu(load(gate)) * load(gate + feed));
      } else {
        const Floats x = load(to);
        store(to, 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f)));
      }
    }
}

// Convolves one input x[width] with past [taps - 1, width], in place, and appends the input to
// past.
void convolve_step(const float *w, int64_t taps, int64_t width, float *past, float *x) {
  for (int64_t i = 0; i < width; i++) {
    float sum = x[i] * w[(taps - 1) * width + i];
    for (int64_t j = 0; j + 1 < taps; j++) sum += past[j * width + i] * w[j * width + i];
    for (int64_t j = 0; j + 2 < taps; j++) past[j * width + i] = past[(j + 1) * width + i];
    if (taps > 1) past[(taps - 2) * width + i] = x[i];
    x[i] = sum;
  }
}

// Returns the scratch memory of a product of the model.
int64_t product_scratch(const Model &model) {
  const int64_t depth =
      model.hidden_size > model.ffn_size ? model.hidden_size : model.ffn_size;
  return model.products ? model.products->block * padded(depth) : 0;
}

int64_t decode_scratch(const Model &model, int64_t rows) {
  const int64_t d = model.hidden_size / model.heads;
  return rows * (7 * model.hidden_size + (model.gated ? 2 : 1) * model.ffn_size + d +
                 padded(model.heads)) +
         4 * padded(d) + product_scratch(model) + 64;
}

// Like `linear`, with a matrix that the model's products have packed, if it has some.
void project(const Model &model, const Linear &l, int64_t rows, int64_t inputs, int64_t outputs,
             const float *x, float *y, bool add, float *scratch) {
  if (model.products)
    model.products->row_products(x, rows, inputs, l.weight, outputs, l.bias, add ? y : nullptr, y,
                                 scratch);
  else
    linear(l, rows, inputs, outputs, x, y, add);
}

// Buffers of one step of a model, by row.
struct Rows {
  int64_t n, slots;
  const int32_t *slot;
  float *s, *z, *past;
  float *x, *y, *qkv, *mixed, *up, *angle, *left, *pair;
};

// Fills left [rows, heads padded to 16] with each head's decay.
void decays(const Model &model, const Block &b, const Rows &r) {
  const int64_t heads = model.heads, row = padded(heads);
  if (b.decay.weight) linear(b.decay, r.n, model.hidden_size, row, r.y, r.left, false);
  for (int64_t i = 0; i < r.n; i++)
    for (int64_t h = 0; h < heads; h++) {
      float &left = r.left[i * row + h];
      left = b.decay.weight ? exp_negative(-b.rate[h] * softplus(left)) : model.decay[h];
    }
}

// Convolution, rotation, feature map and attention step of one layer, row by row.
void mix(const Model &model, const Block &b, int64_t layer, const Rows &r) {
  const int64_t width = model.hidden_size, heads = model.heads, d = width / heads, half = d / 2;
  for (int64_t i = 0; i < r.n; i++) {
    float *qkv = r.qkv + i * 3 * width;
    const int64_t place = layer * r.slots + r.slot[i];
    if (b.conv)
      convolve_step(b.conv, model.conv_kernel, 3 * width,
                    r.past + place * (model.conv_kernel - 1) * 3 * width, qkv);
    for (int64_t h = 0; h < heads; h++) {
      const float *from = qkv + h * d, *cos = r.angle + i * d;
      float *q = r.pair, *k = r.pair + padded(d);
      rotate(from, cos, cos + half, half, q);
      rotate(from + width, cos, cos + half, half, k);
      phi_row(q, d, padded(d), q);
      phi_row(k, d, padded(d), k);
      const int64_t line = place * heads + h;
      head_step(d, d, q, k, from + 2 * width, r.left[i * padded(heads) + h], model.attention_eps,
                r.s + line * d * d, r.z + line * d, r.mixed + i * width + h * d);
    }
  }
}

// Looks up the embeddings and computes the rotary angles of each row.
void embed(const Model &model, const int32_t *tokens, const int64_t *positions, const Rows &r) {
  const int64_t width = model.hidden_size, d = width / model.heads, half = d / 2;
  for (int64_t i = 0; i < r.n; i++) {
    for (int64_t j = 0; j < width; j++)
      r.x[i * width + j] = model.embed[int64_t(tokens[i]) * width + j];
    for (int64_t j = 0; j < half; j++) {
      const double turn = double(positions[i]) * model.frequency[j];
      r.angle[i * d + j] = float(__builtin_cos(turn));
      r.angle[i * d + half + j] = float(__builtin_sin(turn));
    }
  }
}

void decode(const Model &model, int64_t rows, int64_t slots, const int32_t *slot,
            const int32_t *tokens, const int64_t *positions, float *s, float *z, float *past,
            float *logits, float *scratch) {
  const int64_t width = model.hidden_size, d = width / model.heads,
                up_width = (model.gated ? 2 : 1) * model.ffn_size;
  float *x = aligned(scratch), *y = x + rows * width, *qkv = y + rows * width,
        *mixed = qkv + rows * 3 * width, *gate = mixed + rows * width, *up = gate + rows * width,
        *angle = up + rows * up_width, *left = angle + rows * d,
        *pair = left + rows * padded(model.heads), *product = pair + 4 * padded(d);
  const Rows r{rows, slots, slot, s, z, past, x, y, qkv, mixed, up, angle, left, pair};
  embed(model, tokens, positions, r);
  for (int64_t l = 0; l < model.layers; l++) {
    const Block &b = model.blocks[l];
    normalise(b.attention_norm, model.rms, model.norm_eps, rows, width, x, y);
    project(model, b.qkv, rows, width, 3 * width, y, qkv, false, product);
    decays(model, b, r);
    mix(model, b, l, r);
    if (b.gate.weight) {
      project(model, b.gate, rows, width, width, y, gate, false, product);
      for (int64_t j = 0; j < rows * width; j += W<float>)
        store(mixed + j, load(mixed + j) * silu(load(gate + j)));
    }
    project(model, b.out, rows, width, width, mixed, x, true, product);
    normalise(b.feed_norm, model.rms, model.norm_eps, rows, width, x, y);
    project(model, b.up, rows, width, up_width, y, up, false, product);
    activate(model.gated, rows, model.ffn_size, up);
    project(model, b.down, rows, model.ffn_size, width, up, x, true, product);
  }
  normalise(model.norm, model.rms, model.norm_eps, rows, width, x, y);
  project(model, model.head, rows, width, model.vocab, y, logits, false, product);
}

// Ten independent chains of multiply-adds: the peak rate of the machine.
int64_t multiply_adds(int64_t rounds, float *sink) {
  // Ten named variables, since the compiler keeps an array in memory. Two units of latency 4 need
  // eight chains.
  const Floats x = load(sink), y = load(sink + W<float>);
  Floats a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y, i = y, j = y;
  const auto next = [&](Floats &sum) __attribute__((always_inline)) {
    sum = sum * x + y;
    asm volatile("" : "+x"(sum));
  };
  for (int64_t k = 0; k < rounds; k++)
    next(a), next(b), next(c), next(d), next(e), next(f), next(g), next(h), next(i), next(j);
  store(sink, a + b + c + d + e + f + g + h + i + j);
  return rounds * 10 * W<float>;
}

}  // namespace
}  // namespace lf
