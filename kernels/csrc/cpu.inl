// Causal linear attention and decoding on the CPU, for the instruction set this is compiled for.
//
// Formulas and shapes: docs/causal-linear-attention.md. A sequence is worked off in chunks of C tokens; every
// product is one small matrix product whose inner loop multiplies a broadcast element with vectors of W lanes.
// Each sum runs in one fixed order, whatever the number of threads, sequences or slots: same input, same bits.
#include "cpu.h"

#ifndef LF_MR  // rows and vectors of the register block
#define LF_MR 4
#define LF_NV 1
#endif

namespace lf {
namespace {

constexpr int64_t C = 16;
constexpr int64_t PANEL = 32;

template <class T>
constexpr int64_t W = 64 / sizeof(T);

typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef double Doubles __attribute__((vector_size(64), aligned(8), may_alias));
template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef Floats type;
};
template <>
struct VecOf<double> {
  typedef Doubles type;
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class T>
inline Vec<T> load(const T *p) {
  return *reinterpret_cast<const Vec<T> *>(p);
}
template <class T>
inline void store(T *p, Vec<T> x) {
  *reinterpret_cast<Vec<T> *>(p) = x;
}
template <class T>
inline int64_t padded(int64_t n) {
  return (n + 15) / 16 * 16;
}

// y[MR, NV * W] (+)= a[MR, K] b[K, NV * W]; element (i, k) of a lies at a[i * a_row + k * a_col].
template <int MR, int NV, class T>
inline void block(int64_t depth, const T *__restrict a, int64_t a_row, int64_t a_col, const T *__restrict b, int64_t ldb,
                  T *__restrict y, int64_t ldy, bool add) {
  Vec<T> sum[MR][NV];
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NV; j++) sum[i][j] = add ? load(y + i * ldy + j * W<T>) : Vec<T>{};
  for (int64_t k = 0; k < depth; k++) {
    Vec<T> row[NV];
    for (int j = 0; j < NV; j++) row[j] = load(b + k * ldb + j * W<T>);
    for (int i = 0; i < MR; i++) {
      const T x = a[i * a_row + k * a_col];
      for (int j = 0; j < NV; j++) sum[i][j] += x * row[j];
    }
  }
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NV; j++) store(y + i * ldy + j * W<T>, sum[i][j]);
}

// y[rows, cols] (+)= a b; rows a multiple of 8, cols of W.
template <class T>
void product(int64_t rows, int64_t cols, int64_t depth, const T *a, int64_t a_row, int64_t a_col, const T *b, int64_t ldb,
             T *y, int64_t ldy, bool add) {
  int64_t n = 0;
  for (; n + LF_NV * W<T> <= cols; n += LF_NV * W<T>)
    for (int64_t i = 0; i < rows; i += LF_MR)
      block<LF_MR, LF_NV>(depth, a + i * a_row, a_row, a_col, b + n, ldb, y + i * ldy + n, ldy, add);
  for (; n < cols; n += W<T>)
    for (int64_t i = 0; i < rows; i += LF_MR)
      block<LF_MR, 1>(depth, a + i * a_row, a_row, a_col, b + n, ldb, y + i * ldy + n, ldy, add);
}

// e^x for x <= 0, within 2 units in the last place.
inline float exp_negative(float x) {
  x = x < -80.0f ? -80.0f : x;
  const int32_t whole = int32_t(x * 1.44269504088896341f - 0.5f);  // to the nearest, as x is not positive
  const float n = float(whole);
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  union {
    float f;
    int32_t i;
  } bits;
  bits.f = p * (r * r) + r + 1.0f;
  bits.i += whole * (1 << 23);
  return bits.f;
}
inline double exp_negative(double x) { return __builtin_exp(x < -80.0 ? -80.0 : x); }

// phi(x) = elu(x) + 1
template <class T>
inline T phi(T x) {
  return (x > 0 ? x : T(0)) + exp_negative(x > 0 ? T(0) : x);
}

// row = rotate(x), the halves of x being the pairs (RoPE)
template <class T>
inline void rotate(const T *__restrict x, const T *__restrict cos, const T *__restrict sin, int64_t half, T *__restrict row) {
  for (int64_t i = 0; i < half; i++) {
    row[i] = x[i] * cos[i] - x[i + half] * sin[i];
    row[i + half] = x[i + half] * cos[i] + x[i] * sin[i];
  }
}

// Tiles of one chunk: rows of `len` tokens, zero from there to C, columns zero from n to np.
template <class T>
void load_tile(const T *x, int64_t stride, int64_t len, int64_t n, int64_t np, T *tile) {
  for (int64_t i = 0; i < C; i++) {
    T *__restrict row = tile + i * np;
    const T *__restrict from = x + i * stride;
    const int64_t filled = i < len ? n : 0;
    for (int64_t j = 0; j < filled; j++) row[j] = from[j];
    for (int64_t j = filled; j < np; j++) row[j] = 0;
  }
}

template <class T>
void load_features(const Attention<T> &a, const T *x, int64_t stride, int64_t position, int64_t len, int64_t np, T *tile) {
  const int64_t half = a.d / 2;
  for (int64_t i = 0; i < C; i++) {
    T *__restrict row = tile + i * np;
    const int64_t filled = i < len ? a.d : 0;
    if (filled) {
      const T *__restrict from = x + i * stride;
      if (a.cos)
        rotate(from, a.cos + (position + i) * half, a.sin + (position + i) * half, half, row);
      else
        for (int64_t j = 0; j < a.d; j++) row[j] = from[j];
      for (int64_t j = 0; j < a.d; j++) row[j] = phi(row[j]);
    }
    for (int64_t j = filled; j < np; j++) row[j] = 0;
  }
}

// Gradient of a feature row back to the input: phi'(x) = min(phi(x), 1), then the rotation undone.
template <class T>
void store_feature_gradient(const Attention<T> &a, const T *tile, const T *grad, int64_t np, int64_t position, int64_t len,
                            T *x, int64_t stride, T *__restrict row) {
  const int64_t half = a.d / 2;
  for (int64_t i = 0; i < len; i++) {
    const T *__restrict f = tile + i * np;
    const T *__restrict g = grad + i * np;
    T *__restrict to = x + i * stride;
    if (!a.cos) {
      for (int64_t j = 0; j < a.d; j++) to[j] = g[j] * (f[j] < 1 ? f[j] : T(1));
      continue;
    }
    const T *__restrict cos = a.cos + (position + i) * half;
    const T *__restrict sin = a.sin + (position + i) * half;
    for (int64_t j = 0; j < a.d; j++) row[j] = g[j] * (f[j] < 1 ? f[j] : T(1));
    for (int64_t j = 0; j < half; j++) {
      to[j] = row[j] * cos[j] + row[j + half] * sin[j];
      to[j + half] = row[j + half] * cos[j] - row[j] * sin[j];
    }
  }
}

template <class T>
void transpose(const T *__restrict tile, int64_t np, T *__restrict t) {
  for (int64_t j = 0; j < np; j += 16)
    for (int64_t i = 0; i < C; i++)
      for (int64_t jj = 0; jj < 16; jj++) t[(j + jj) * C + i] = tile[i * np + j + jj];
}

template <class T>
void keep_lower(T *a) {
  for (int64_t i = 0; i < C; i++)
    for (int64_t j = i + 1; j < C; j++) a[i * C + j] = 0;
}

template <class T>
T sum_of_products(const T *__restrict x, const T *__restrict y, int64_t n) {  // n a multiple of W
  Vec<T> sum{};
  for (int64_t j = 0; j < n; j += W<T>) sum += load(x + j) * load(y + j);
  T total = 0;
  for (int64_t j = 0; j < W<T>; j++) total += sum[j];
  return total;
}

template <class T>
void load_state(const T *from, int64_t rows, int64_t cols, int64_t rows_p, int64_t cols_p, T *to) {
  for (int64_t i = 0; i < rows_p; i++)
    for (int64_t j = 0; j < cols_p; j++) to[i * cols_p + j] = from && i < rows && j < cols ? from[i * cols + j] : T(0);
}
template <class T>
void load_state_transposed(const T *from, int64_t rows, int64_t cols, int64_t rows_p, int64_t cols_p, T *to) {
  for (int64_t i = 0; i < rows_p; i++)
    for (int64_t j = 0; j < cols_p; j++) to[i * cols_p + j] = from && i < rows && j < cols ? from[j * rows + i] : T(0);
}
template <class T>
void store_state(const T *from, int64_t rows, int64_t cols, int64_t cols_p, T *to) {
  if (!to) return;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) to[i * cols + j] = from[i * cols_p + j];
}

template <class T>
int64_t attention_scratch(int64_t d, int64_t m) {
  const int64_t dp = padded<T>(d), mp = padded<T>(m);
  return 2 * dp * mp + 8 * C * (dp + mp) + 2 * C * C + 3 * (dp + mp) + 4 * C + 64;
}

template <class T>
T *aligned(T *p) {
  return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64);
}

template <class T>
void attention_forward(const Attention<T> &a, int64_t seq, int64_t head, int64_t begin, int64_t end, T *scratch) {
  const int64_t d = a.d, m = a.m, dp = padded<T>(d), mp = padded<T>(m), line = seq * a.heads + head;
  T *s = aligned(scratch), *z = s + dp * mp, *q = z + dp, *k = q + C * dp, *kt = k + C * dp, *v = kt + C * dp,
    *scores = v + C * mp, *num = scores + C * C;
  load_state(a.s0 ? a.s0 + line * d * m : nullptr, d, m, dp, mp, s);
  load_state(a.z0 ? a.z0 + line * d : nullptr, int64_t(1), d, int64_t(1), dp, z);
  for (int64_t t = begin; t < end; t += C) {
    const int64_t len = end - t < C ? end - t : C;
    load_features(a, a.q + t * a.q_t + head * a.q_h, a.q_t, t - begin, len, dp, q);
    load_features(a, a.k + t * a.k_t + head * a.k_h, a.k_t, t - begin, len, dp, k);
    load_tile(a.v + t * a.v_t + head * a.v_h, a.v_t, len, m, mp, v);
    transpose(k, dp, kt);
    product(C, C, dp, q, dp, int64_t(1), kt, C, scores, C, false);
    keep_lower(scores);
    product(C, mp, C, scores, C, int64_t(1), v, mp, num, mp, false);
    product(C, mp, dp, q, dp, int64_t(1), s, mp, num, mp, true);
    for (int64_t i = 0; i < len; i++) {
      T den = sum_of_products(q + i * dp, z, dp);
      for (int64_t j = 0; j <= i; j++) den += scores[i * C + j];
      den += a.eps;
      a.den[(t + i) * a.heads + head] = den;
      T *__restrict out = a.out + ((t + i) * a.heads + head) * m;
      const T *__restrict n = num + i * mp;
      for (int64_t j = 0; j < m; j++) out[j] = n[j] / den;
    }
    product(dp, mp, C, k, int64_t(1), dp, v, mp, s, mp, true);
    for (int64_t i = 0; i < len; i++)
      for (int64_t j = 0; j < dp; j++) z[j] += k[i * dp + j];
  }
  store_state(s, d, m, mp, a.s1 ? a.s1 + line * d * m : nullptr);
  store_state(z, int64_t(1), d, dp, a.z1 ? a.z1 + line * d : nullptr);
}

// g = G / den, w = -(g . O)
template <class T>
void load_gradient(const Attention<T> &a, int64_t head, int64_t t, int64_t len, int64_t mp, T *g, T *w) {
  for (int64_t i = 0; i < C; i++) {
    T *__restrict row = g + i * mp;
    for (int64_t j = 0; j < mp; j++) row[j] = 0;
    w[i] = 0;
    if (i >= len) continue;
    const int64_t at = (t + i) * a.heads + head;
    const T *__restrict grad = a.grad + at * a.m;
    const T *__restrict out = a.out + at * a.m;
    const T scale = 1 / a.den[at];
    T sum = 0;
    for (int64_t j = 0; j < a.m; j++) {
      row[j] = grad[j] * scale;
      sum += row[j] * out[j];
    }
    w[i] = -sum;
  }
}

// p = lower(g v^T + w 1^T)
template <class T>
void score_gradient(const T *g, const T *w, const T *vt, int64_t mp, T *p) {
  for (int64_t i = 0; i < C; i++)
    for (int64_t j = 0; j < C; j++) p[i * C + j] = w[i];
  product(C, C, mp, g, mp, int64_t(1), vt, C, p, C, true);
  keep_lower(p);
}

template <class T>
void attention_backward(const Attention<T> &a, int64_t seq, int64_t head, int64_t begin, int64_t end, T *scratch) {
  const int64_t d = a.d, m = a.m, dp = padded<T>(d), mp = padded<T>(m), line = seq * a.heads + head;
  T *s = aligned(scratch), *st = s + dp * mp, *z = st + dp * mp, *q = z + dp, *k = q + C * dp, *kt = k + C * dp,
    *dx = kt + C * dp, *v = dx + C * dp, *vt = v + C * mp, *g = vt + C * mp, *dv = g + C * mp, *p = dv + C * mp,
    *scores = p + C * C, *w = scores + C * C, *row = w + C;

  // Forward in time: the state before each chunk gives dq.
  load_state_transposed(a.s0 ? a.s0 + line * d * m : nullptr, m, d, mp, dp, st);
  load_state(a.z0 ? a.z0 + line * d : nullptr, int64_t(1), d, int64_t(1), dp, z);
  for (int64_t t = begin; t < end; t += C) {
    const int64_t len = end - t < C ? end - t : C;
    load_features(a, a.q + t * a.q_t + head * a.q_h, a.q_t, t - begin, len, dp, q);
    load_features(a, a.k + t * a.k_t + head * a.k_h, a.k_t, t - begin, len, dp, k);
    load_tile(a.v + t * a.v_t + head * a.v_h, a.v_t, len, m, mp, v);
    load_gradient(a, head, t, len, mp, g, w);
    transpose(v, mp, vt);
    score_gradient(g, w, vt, mp, p);
    for (int64_t i = 0; i < C; i++)
      for (int64_t j = 0; j < dp; j++) dx[i * dp + j] = w[i] * z[j];
    product(C, dp, C, p, C, int64_t(1), k, dp, dx, dp, true);
    product(C, dp, mp, g, mp, int64_t(1), st, dp, dx, dp, true);
    store_feature_gradient(a, q, dx, dp, t - begin, len, a.dq + t * a.dq_t + head * a.dq_h, a.dq_t, row);
    product(mp, dp, C, v, int64_t(1), mp, k, dp, st, dp, true);
    for (int64_t i = 0; i < len; i++)
      for (int64_t j = 0; j < dp; j++) z[j] += k[i * dp + j];
  }

  // Backward in time: R = sum of Q^T G' over later chunks gives dk and dv. s holds R, st its transpose, z the r.
  load_state(a.ds1 ? a.ds1 + line * d * m : nullptr, d, m, dp, mp, s);
  load_state_transposed(a.ds1 ? a.ds1 + line * d * m : nullptr, m, d, mp, dp, st);
  load_state(a.dz1 ? a.dz1 + line * d : nullptr, int64_t(1), d, int64_t(1), dp, z);
  for (int64_t t = begin + (end - begin - 1) / C * C; t >= begin && end > begin; t -= C) {
    const int64_t len = end - t < C ? end - t : C;
    load_features(a, a.q + t * a.q_t + head * a.q_h, a.q_t, t - begin, len, dp, q);
    load_features(a, a.k + t * a.k_t + head * a.k_h, a.k_t, t - begin, len, dp, k);
    load_tile(a.v + t * a.v_t + head * a.v_h, a.v_t, len, m, mp, v);
    load_gradient(a, head, t, len, mp, g, w);
    transpose(k, dp, kt);
    transpose(v, mp, vt);
    product(C, C, dp, q, dp, int64_t(1), kt, C, scores, C, false);
    keep_lower(scores);
    score_gradient(g, w, vt, mp, p);
    for (int64_t i = 0; i < C; i++)
      for (int64_t j = 0; j < dp; j++) dx[i * dp + j] = z[j];
    product(C, dp, C, p, int64_t(1), C, q, dp, dx, dp, true);
    product(C, dp, mp, v, mp, int64_t(1), st, dp, dx, dp, true);
    store_feature_gradient(a, k, dx, dp, t - begin, len, a.dk + t * a.dk_t + head * a.dk_h, a.dk_t, row);
    product(C, mp, C, scores, int64_t(1), C, g, mp, dv, mp, false);
    product(C, mp, dp, k, dp, int64_t(1), s, mp, dv, mp, true);
    for (int64_t i = 0; i < len; i++) {
      T *__restrict to = a.dv + (t + i) * a.dv_t + head * a.dv_h;
      for (int64_t j = 0; j < m; j++) to[j] = dv[i * mp + j];
    }
    product(dp, mp, C, q, int64_t(1), dp, g, mp, s, mp, true);
    product(mp, dp, C, g, int64_t(1), mp, q, dp, st, dp, true);
    for (int64_t i = 0; i < len; i++)
      for (int64_t j = 0; j < dp; j++) z[j] += w[i] * q[i * dp + j];
  }
  store_state(s, d, m, mp, a.ds0 ? a.ds0 + line * d * m : nullptr);
  store_state(z, int64_t(1), d, dp, a.dz0 ? a.dz0 + line * d : nullptr);
}

// One head's step. q, k, v hold padded rows already mapped by phi (q, k).
void head_step(int64_t d, int64_t m, const float *__restrict q, const float *__restrict k, const float *__restrict v,
               float eps, float *__restrict s, float *__restrict z, float *__restrict out) {
  float den = eps;
  for (int64_t j = 0; j < m; j++) out[j] = 0;
  for (int64_t i = 0; i < d; i++) {
    z[i] += k[i];
    den += q[i] * z[i];
    float *__restrict row = s + i * m;
    for (int64_t j = 0; j < m; j++) {
      row[j] += k[i] * v[j];
      out[j] += q[i] * row[j];
    }
  }
  for (int64_t j = 0; j < m; j++) out[j] /= den;
}

void step(int64_t d, int64_t m, const float *q, const float *k, const float *v, float eps, float *s, float *z, float *out,
          float *scratch) {
  for (int64_t i = 0; i < d; i++) scratch[i] = phi(q[i]);
  for (int64_t i = 0; i < d; i++) scratch[d + i] = phi(k[i]);
  head_step(d, m, scratch, scratch + d, v, eps, s, z, out);
}

// ---- decoding ----

void normalise(const Norm &norm, bool rms, float eps, int64_t rows, int64_t width, const float *x, float *y) {
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
    for (int64_t j = 0; j < width; j++) to[j] = (from[j] - mean) * scale * norm.weight[j] + (norm.bias ? norm.bias[j] : 0.0f);
  }
}

// y[rows, outputs] = x[rows, inputs] weight + bias, or added to y. The weight lies in panels of 32 columns, each
// [inputs, 32]; the last one may be 16 wide.
void linear(const Linear &l, int64_t rows, int64_t inputs, int64_t outputs, const float *x, float *y, bool add) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < outputs; j++) {
      const float bias = l.bias ? l.bias[j] : 0.0f;
      y[r * outputs + j] = add ? y[r * outputs + j] + bias : bias;
    }
  for (int64_t n = 0; n < outputs; n += PANEL) {
    const int64_t cols = outputs - n < PANEL ? outputs - n : PANEL;
    product(rows, cols, inputs, x, inputs, int64_t(1), l.weight + n * inputs, cols, y + n, outputs, true);
  }
}

// erf within 1.5e-7 (Abramowitz and Stegun, 7.1.26)
inline float error_function(float x) {
  const float a = x < 0 ? -x : x;
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  const float poly = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  const float y = 1.0f - poly * exp_negative(-a * a);
  return x < 0 ? -y : y;
}

void activate(bool gated, int64_t rows, int64_t feed, float *up) {
  for (int64_t r = 0; r < rows; r++) {
    if (!gated) {
      float *__restrict x = up + r * feed;
      for (int64_t j = 0; j < feed; j++) x[j] = 0.5f * x[j] * (1.0f + error_function(x[j] * 0.70710678118654752f));
      continue;
    }
    const float *gate = up + r * 2 * feed, *value = gate + feed;  // row r of the result ends before row r of the input
    float *to = up + r * feed;
    for (int64_t j = 0; j < feed; j++) {
      const float g = gate[j], e = exp_negative(g < 0 ? g : -g);
      to[j] = g * (g < 0 ? e : 1.0f) / (1.0f + e) * value[j];
    }
  }
}

int64_t decode_scratch(const Model &model, int64_t rows) {
  const int64_t d = model.width / model.heads;
  return rows * (2 * model.width + 3 * model.width + model.width + (model.gated ? 2 : 1) * model.feed + d) + 4 * d + 64;
}

void decode(const Model &model, int64_t rows, int64_t slots, const int32_t *slot, const int32_t *tokens,
            const int64_t *positions, float *s, float *z, float *logits, float *scratch) {
  const int64_t width = model.width, heads = model.heads, d = width / heads, half = d / 2;
  float *x = aligned(scratch), *y = x + rows * width, *qkv = y + rows * width, *mixed = qkv + rows * 3 * width,
        *up = mixed + rows * width, *angle = up + rows * (model.gated ? 2 : 1) * model.feed, *pair = angle + rows * d;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t j = 0; j < width; j++) x[r * width + j] = model.embed[int64_t(tokens[r]) * width + j];
    for (int64_t i = 0; i < half; i++) {
      const double turn = double(positions[r]) * model.frequency[i];
      angle[r * d + i] = float(__builtin_cos(turn));
      angle[r * d + half + i] = float(__builtin_sin(turn));
    }
  }
  for (int64_t l = 0; l < model.layers; l++) {
    const Block &b = model.blocks[l];
    normalise(b.attention_norm, model.rms, model.norm_eps, rows, width, x, y);
    linear(b.qkv, rows, width, 3 * width, y, qkv, false);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t h = 0; h < heads; h++) {
        const float *from = qkv + r * 3 * width + h * d;
        float *q = pair, *k = pair + d;
        rotate(from, angle + r * d, angle + r * d + half, half, q);
        rotate(from + width, angle + r * d, angle + r * d + half, half, k);
        for (int64_t i = 0; i < d; i++) q[i] = phi(q[i]);
        for (int64_t i = 0; i < d; i++) k[i] = phi(k[i]);
        const int64_t line = (l * slots + slot[r]) * heads + h;
        head_step(d, d, q, k, from + 2 * width, model.attention_eps, s + line * d * d, z + line * d, mixed + r * width + h * d);
      }
    linear(b.out, rows, width, width, mixed, x, true);
    normalise(b.feed_norm, model.rms, model.norm_eps, rows, width, x, y);
    linear(b.up, rows, width, (model.gated ? 2 : 1) * model.feed, y, up, false);
    activate(model.gated, rows, model.feed, up);
    linear(b.down, rows, model.feed, width, up, x, true);
  }
  normalise(model.norm, model.rms, model.norm_eps, rows, width, x, y);
  linear(model.head, rows, width, model.vocab, y, logits, false);
}

}  // namespace

extern const Table LF_TABLE = {
    LF_NAME,
    {attention_scratch<float>, attention_forward<float>, attention_backward<float>},
    {attention_scratch<double>, attention_forward<double>, attention_backward<double>},
    decode_scratch,
    decode,
    step,
};

}  // namespace lf
