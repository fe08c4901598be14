// Causal linear attention, forward and backward; formulas and shapes: docs/causal-linear-attention.md.
#pragma once
//
// A sequence is worked off in chunks of C tokens. What is 16 wide lies with its tokens in the lanes of a vector
// (names end in t: [D, 16]), so that sums over D or M need no sum across lanes.
#include "cpu.h"
#include "cpu_vector.inl"

namespace lf {
namespace {

// What a pass over one head of one sequence works with.
template <class T>
struct Pass {
  const Attention<T> &a;
  const Item item;
  const int64_t d, m, dp, mp, line;
  T *free;           // scratch not yet given out
  T power[C + 1];    // decay^i
  T lower[C * C];    // [t, s]: decay^(t - s) where s <= t, else 0
  T upper[C * C];    // its transpose

  Pass(const Attention<T> &a, const Item &item, T *scratch)
      : a(a), item(item), d(a.d), m(a.m), dp(padded(a.d)), mp(padded(a.m)), line(item.seq * a.heads + item.head),
        free(aligned(scratch)) {
    const T decay = a.decay ? a.decay[item.head] : T(1);
    power[0] = 1;
    for (int64_t i = 0; i < C; i++) power[i + 1] = power[i] * decay;
    for (int64_t t = 0; t < C; t++)
      for (int64_t s = 0; s < C; s++) upper[s * C + t] = lower[t * C + s] = s <= t ? power[t - s] : T(0);
  }
  T *take(int64_t n) {
    T *p = free;
    free += padded(n);
    return p;
  }
  int64_t len(int64_t t) const { return item.end - t < C ? item.end - t : C; }
  int64_t last_chunk() const { return item.begin + (item.end - item.begin - 1) / C * C; }
};

// Rows of `len` tokens as 16 rows of np, zeros added: x itself where it is that already, else a copy in `tile`.
template <class T>
Left<T> rows(const T *x, int64_t stride, int64_t len, int64_t n, int64_t np, T *tile) {
  if (len == C && n == np) return {x, stride, 1};
  for (int64_t i = 0; i < C; i++)
    for (int64_t j = 0; j < np; j++) tile[i * np + j] = i < len && j < n ? x[i * stride + j] : T(0);
  return {tile, np, 1};
}

// Asks for the 16 rows of n elements from token t of this head, which the next chunk reads or writes: they lie apart, and
// no prefetcher of the machine's sees far enough. Beyond the sequence it is of no use, and of no harm.
template <class T>
inline void fetch(const Pass<T> &p, const T *x, int64_t x_t, int64_t x_h, int64_t t, int64_t n) {
  if (t < p.item.begin || t >= p.item.end) return;
  const T *from = x + t * x_t + p.item.head * x_h;
  for (int64_t i = 0, len = p.len(t); i < len; i++)
    for (int64_t j = 0; j < n; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(from + i * x_t + j);
}
// The inputs of the chunk at t.
template <class T>
void fetch_inputs(const Pass<T> &p, int64_t t) {
  fetch(p, p.a.q, p.a.q_t, p.a.q_h, t, p.d);
  fetch(p, p.a.k, p.a.k_t, p.a.k_h, t, p.d);
  fetch(p, p.a.v, p.a.v_t, p.a.v_h, t, p.m);
}

// phi of rotated rows: tile [16, dp], zero in rows from len and columns from d.
template <class T>
void load_features(const Pass<T> &p, const T *x, int64_t x_t, int64_t x_h, int64_t t, T *tile) {
  const int64_t half = p.d / 2, len = p.len(t), dp = p.dp;
  for (int64_t i = 0; i < len; i++) {
    T *row = tile + i * dp;
    const T *from = x + (t + i) * x_t + p.item.head * x_h;
    const int64_t place = (t + i - p.item.begin) * half;
    if (p.a.cos) {
      rotate(from, p.a.cos + place, p.a.sin + place, half, row);
      from = row;
    } else if (p.d != dp) {
      for (int64_t j = 0; j < p.d; j++) row[j] = from[j];
      from = row;
    }
    phi_row(from, p.d, dp, row);
  }
  for (int64_t j = len * dp; j < C * dp; j++) tile[j] = 0;
}
template <class T>
void load_q(const Pass<T> &p, int64_t t, T *tile) {
  load_features(p, p.a.q, p.a.q_t, p.a.q_h, t, tile);
}
template <class T>
void load_k(const Pass<T> &p, int64_t t, T *tile) {
  load_features(p, p.a.k, p.a.k_t, p.a.k_h, t, tile);
}
template <class T>
Left<T> load_v(const Pass<T> &p, int64_t t, T *tile) {
  return rows(p.a.v + t * p.a.v_t + p.item.head * p.a.v_h, p.a.v_t, p.len(t), p.m, p.mp, tile);
}

// Gradient of feature rows back to the input: phi'(x) = min(phi(x), 1), then the rotation undone.
template <class T>
void store_features(const Pass<T> &p, const T *features, T *grad, int64_t t, T *x, int64_t x_t, int64_t x_h) {
  const int64_t half = p.d / 2, len = p.len(t), dp = p.dp;
  for (int64_t i = 0; i < len; i++) {
    const T *f = features + i * dp;
    T *g = grad + i * dp;
    for (int64_t j = 0; j < dp; j += W<T>) {
      const Vec<T> one = Vec<T>{} + T(1), y = load(f + j);
      store(g + j, load(g + j) * (y < one ? y : one));
    }
    T *__restrict to = x + (t + i) * x_t + p.item.head * x_h;
    const int64_t place = (t + i - p.item.begin) * half;
    if (p.a.cos) {
      const T *__restrict cos = p.a.cos + place, *__restrict sin = p.a.sin + place, *__restrict from = g;
      for (int64_t j = 0; j < half; j++) {
        to[j] = from[j] * cos[j] + from[j + half] * sin[j];
        to[j + half] = from[j + half] * cos[j] - from[j] * sin[j];
      }
    } else {
      for (int64_t j = 0; j < p.d; j++) to[j] = g[j];
    }
  }
}

// Rows of x times decay^(power of the row), in `tile`; x itself without decay.
template <class T>
const T *decayed(const Pass<T> &p, const T *x, int64_t n, int64_t first, int64_t step, T *tile) {
  if (!p.a.decay) return x;
  for (int64_t i = 0; i < C; i++) {
    const int64_t power = first + step * i;
    const T scale = power < 0 ? T(0) : p.power[power];
    for (int64_t j = 0; j < n; j += W<T>) store(tile + i * n + j, load(x + i * n + j) * scale);
  }
  return tile;
}

// z = z scale + the rows of x, each times its weight
template <class T, class Weight>
inline void add_rows(const T *x, int64_t len, int64_t n, T scale, Weight weight, T *z) {
  for (int64_t j = 0; j < n; j += W<T>) {
    Vec<T> sum = load(z + j) * scale;
    for (int64_t i = 0; i < len; i++) sum += load(x + i * n + j) * weight(i);
    store(z + j, sum);
  }
}

// [rows, cols] of a state padded to [rows_p, cols_p]; element (i, j) lies at from[i * row + j * col].
template <class T>
void load_state(const T *from, int64_t row, int64_t col, int64_t rows, int64_t cols, int64_t rows_p, int64_t cols_p, T *to) {
  for (int64_t i = 0; i < rows_p; i++)
    for (int64_t j = 0; j < cols_p; j++) to[i * cols_p + j] = from && i < rows && j < cols ? from[i * row + j * col] : T(0);
}
template <class T>
void load_z(const Pass<T> &p, const T *from, T *z) {
  load_state(from ? from + p.line * p.d : nullptr, 0, 1, 1, p.d, 1, p.dp, z);
}
template <class T>
void load_transposed(const Pass<T> &p, const T *from, T *st) {  // [M, D] of [D, M]
  load_state(from ? from + p.line * p.d * p.m : nullptr, 1, p.m, p.m, p.d, p.mp, p.dp, st);
}
template <class T>
void store_z(const Pass<T> &p, const T *z, T *to) {
  for (int64_t j = 0; to && j < p.d; j++) to[p.line * p.d + j] = z[j];
}

template <class T>
int64_t attention_scratch(int64_t d, int64_t m, int64_t longest) {
  const int64_t dp = padded(d), mp = padded(m);
  return dp * mp + 8 * C * (dp + mp) + 4 * C * C + dp + padded(longest) + 64;
}

template <class T>
void attention_forward(const Attention<T> &a, Item item, T *scratch) {
  Pass<T> p(a, item, scratch);
  const int64_t d = a.d, m = a.m, dp = p.dp, mp = p.mp;
  T *s = p.take(dp * mp), *z = p.take(dp), *q = p.take(C * dp), *qt = p.take(C * dp), *k = p.take(C * dp),
    *k2 = p.take(C * dp), *v_tile = p.take(C * mp), *o_tile = p.take(C * mp), *scores = p.take(C * C), *den = p.take(C),
    *rest = p.take(C);
  load_state(a.s0 ? a.s0 + p.line * d * m : nullptr, m, 1, d, m, dp, mp, s);
  load_z(p, a.z0, z);
  for (int64_t t = item.begin; t < item.end; t += C) {
    const int64_t len = p.len(t);
    fetch_inputs(p, t + C);
    fetch<T>(p, a.out, a.heads * m, m, t + C, m);
    load_q(p, t, q);
    load_k(p, t, k);
    transpose(q, dp, dp, qt);
    const Left<T> v = load_v(p, t, v_tile);
    // scores [s, t] = lower(Q K^T)^T
    products<T>(C, C, dp, {k, dp, 1}, {qt, C}, 0, {}, {}, Zero<T>(), Same<T>(), [&](int64_t i, int64_t j, Vec<T> x) {
      store(scores + i * C + j, x * load(p.upper + i * C + j));
    });
    for (int64_t j = 0; j < C; j += W<T>) {
      Vec<T> sum{};
      for (int64_t i = 0; i < dp; i++) sum += load(qt + i * C + j) * z[i];
      sum = sum * load(p.power + 1 + j) + a.eps;
      for (int64_t i = 0; i < C; i++) sum += load(scores + i * C + j);
      store(den + j, sum);
      store(rest + j, 1 / sum);
    }
    for (int64_t i = 0; i < len; i++) a.den[item.head * a.tokens + t + i] = den[i];
    const bool whole = len == C && m == mp;
    T *out = a.out + (t * a.heads + item.head) * m, *o = whole ? out : o_tile;
    const int64_t o_row = whole ? a.heads * m : mp;
    products<T>(
        C, mp, dp, {q, dp, 1}, {s, mp}, C, {scores, 1, C}, {v.p, v.row}, Zero<T>(),
        [&](int64_t i, int64_t, Vec<T> x) { return x * p.power[i + 1]; },
        [&](int64_t i, int64_t j, Vec<T> x) { store(o + i * o_row + j, x * rest[i]); });
    for (int64_t i = 0; !whole && i < len; i++)
      for (int64_t j = 0; j < m; j++) out[i * a.heads * m + j] = o_tile[i * mp + j];
    const T *weighed = decayed(p, k, dp, len - 1, -1, k2);
    update<T>(dp, mp, C, {weighed, 1, dp}, {v.p, v.row}, p.power[len], s, mp);
    add_rows(weighed, len, dp, p.power[len], [](int64_t) { return T(1); }, z);
  }
  for (int64_t i = 0; a.s1 && i < d; i++)
    for (int64_t j = 0; j < m; j++) a.s1[(p.line * d + i) * m + j] = s[i * mp + j];
  store_z(p, z, a.z1);
}

// gt [mp, 16] = (G / den)^T; where w is given, w[16] = -(G / den) . O too
template <class T>
void load_gradient(const Pass<T> &p, int64_t t, T *tile, T *tile2, T *gt, T *w) {
  const Attention<T> &a = p.a;
  const int64_t len = p.len(t), mp = p.mp;
  const Left<T> g = rows(a.grad + t * a.grad_t + p.item.head * a.grad_h, a.grad_t, len, p.m, mp, tile);
  const T *den = a.den + p.item.head * a.tokens + t;
  T rest[C], sums[C * W<T>];
  for (int64_t i = 0; i < C; i++) rest[i] = i < len ? 1 / den[i] : T(0);
  if (w) {
    T turned[C * C];
    const Left<T> o = rows(a.out + (t * a.heads + p.item.head) * a.m, a.heads * a.m, len, p.m, mp, tile2);
    for (int64_t i = 0; i < C; i++) {
      Vec<T> sum{};
      for (int64_t j = 0; j < mp; j += W<T>) sum += load(g.p + i * g.row + j) * load(o.p + i * o.row + j);
      store(sums + i * W<T>, sum);
    }
    for (int64_t i = 0; i < C; i += W<T>) transpose_square(sums + i * W<T>, W<T>, turned + i, C);
    for (int64_t j = 0; j < C; j += W<T>) {
      Vec<T> sum{};
      for (int64_t i = 0; i < W<T>; i++) sum += load(turned + i * C + j);
      store(w + j, -sum * load(rest + j));
    }
  }
  transpose(g.p, g.row, mp, gt);
  for (int64_t j = 0; j < mp; j++)
    for (int64_t i = 0; i < C; i += W<T>) store(gt + j * C + i, load(gt + j * C + i) * load(rest + i));
}

// pt [s, t] = lower(g V^T + w 1^T)^T
template <class T>
void score_gradient(const Pass<T> &p, const T *gt, const T *w, Left<T> v, T *pt) {
  products<T>(C, C, p.mp, v, {gt, C}, 0, {}, {}, [&](int64_t, int64_t j) { return load(w + j); }, Same<T>(),
              [&](int64_t i, int64_t j, Vec<T> x) { store(pt + i * C + j, x * load(p.upper + i * C + j)); });
}

// Forward in time: the state before each chunk gives dq. Fills w, a number for each token.
template <class T>
void backward_queries(Pass<T> p, T *w) {
  const Attention<T> &a = p.a;
  const int64_t dp = p.dp, mp = p.mp;
  T *st = p.take(dp * mp), *z = p.take(dp), *q = p.take(C * dp), *k = p.take(C * dp), *k2 = p.take(C * dp),
    *dx = p.take(C * dp), *v_tile = p.take(C * mp), *g_tile = p.take(C * mp), *o_tile = p.take(C * mp), *gt = p.take(C * mp),
    *pt = p.take(C * C);
  load_transposed(p, a.s0, st);
  load_z(p, a.z0, z);
  for (int64_t t = p.item.begin; t < p.item.end; t += C, w += C) {
    const int64_t len = p.len(t);
    fetch_inputs(p, t + C);
    fetch(p, a.grad, a.grad_t, a.grad_h, t + C, a.m);
    fetch<T>(p, a.out, a.heads * a.m, a.m, t + C, a.m);
    fetch<T>(p, a.dq, a.dq_t, a.dq_h, t + C, a.d);
    load_q(p, t, q);
    load_k(p, t, k);
    const Left<T> v = load_v(p, t, v_tile);
    load_gradient(p, t, g_tile, o_tile, gt, w);
    score_gradient(p, gt, w, v, pt);
    products<T>(
        C, dp, mp, {gt, 1, C}, {st, dp}, C, {pt, 1, C}, {k, dp}, [&](int64_t i, int64_t j) { return load(z + j) * w[i]; },
        [&](int64_t i, int64_t, Vec<T> x) { return x * p.power[i + 1]; },
        [&](int64_t i, int64_t j, Vec<T> x) { store(dx + i * dp + j, x); });
    store_features(p, q, dx, t, a.dq, a.dq_t, a.dq_h);
    const T *weighed = decayed(p, k, dp, len - 1, -1, k2);
    update<T>(mp, dp, C, {v.p, 1, v.row}, {weighed, dp}, p.power[len], st, dp);
    add_rows(weighed, len, dp, p.power[len], [](int64_t) { return T(1); }, z);
  }
}

// Backward in time: R^T [M, D] and r [D] of all later chunks give dk and dv.
template <class T>
void backward_keys_and_values(Pass<T> p, const T *w_all) {
  const Attention<T> &a = p.a;
  const int64_t d = a.d, m = a.m, dp = p.dp, mp = p.mp;
  T *rt = p.take(dp * mp), *r = p.take(dp), *q = p.take(C * dp), *q2 = p.take(C * dp), *k = p.take(C * dp), *kt = p.take(C * dp),
    *dx = p.take(C * dp), *v_tile = p.take(C * mp), *g_tile = p.take(C * mp), *gt = p.take(C * mp), *dvt = p.take(C * mp),
    *dv = p.take(C * mp), *pt = p.take(C * C), *scores = p.take(C * C);
  T from_end[C];
  load_transposed(p, a.ds1, rt);
  load_z(p, a.dz1, r);
  for (int64_t t = p.last_chunk(); t >= p.item.begin && p.item.end > p.item.begin; t -= C) {
    const int64_t len = p.len(t);
    const T *w = w_all + (t - p.item.begin);
    for (int64_t i = 0; i < C; i++) from_end[i] = i < len ? p.power[len - 1 - i] : T(0);
    fetch_inputs(p, t - C);
    fetch(p, a.grad, a.grad_t, a.grad_h, t - C, m);
    fetch<T>(p, a.dk, a.dk_t, a.dk_h, t - C, d);
    fetch<T>(p, a.dv, a.dv_t, a.dv_h, t - C, m);
    load_q(p, t, q);
    load_k(p, t, k);
    transpose(k, dp, dp, kt);
    const Left<T> v = load_v(p, t, v_tile);
    load_gradient<T>(p, t, g_tile, nullptr, gt, nullptr);
    score_gradient(p, gt, w, v, pt);
    products<T>(C, C, dp, {q, dp, 1}, {kt, C}, 0, {}, {}, Zero<T>(), Same<T>(), [&](int64_t i, int64_t j, Vec<T> x) {
      store(scores + i * C + j, x * load(p.lower + i * C + j));  // [t, s]
    });
    products<T>(
        C, dp, mp, v, {rt, dp}, C, {pt, C, 1}, {q, dp}, [&](int64_t, int64_t j) { return load(r + j); },
        [&](int64_t i, int64_t, Vec<T> x) { return x * from_end[i]; },
        [&](int64_t i, int64_t j, Vec<T> x) { store(dx + i * dp + j, x); });
    store_features(p, k, dx, t, a.dk, a.dk_t, a.dk_h);
    products<T>(
        mp, C, dp, {rt, dp, 1}, {kt, C}, C, {gt, C, 1}, {scores, C}, Zero<T>(),
        [&](int64_t, int64_t j, Vec<T> x) { return x * load(from_end + j); },
        [&](int64_t i, int64_t j, Vec<T> x) { store(dvt + i * C + j, x); });
    for (int64_t i = 0; i < mp; i += C) transpose(dvt + i * C, C, C, dv + i * C);
    for (int64_t i = 0; i < len; i++) {
      T *to = a.dv + (t + i) * a.dv_t + p.item.head * a.dv_h;
      for (int64_t j = 0; j < m; j += C) {
        const T *__restrict from = dv + j * C + i * C;
        if (m - j >= C)
          for (int64_t c = 0; c < C; c++) to[j + c] = from[c];
        else
          for (int64_t c = 0; c < m - j; c++) to[j + c] = from[c];
      }
    }
    const T *weighed = decayed(p, q, dp, 1, 1, q2);
    update<T>(mp, dp, C, {gt, C, 1}, {weighed, dp}, p.power[len], rt, dp);
    add_rows(weighed, len, dp, p.power[len], [&](int64_t i) { return w[i]; }, r);
  }
  for (int64_t i = 0; a.ds0 && i < d; i++)
    for (int64_t j = 0; j < m; j++) a.ds0[(p.line * d + i) * m + j] = rt[j * dp + i];
  store_z(p, r, a.dz0);
}

template <class T>
void attention_backward(const Attention<T> &a, Item item, T *scratch) {
  Pass<T> p(a, item, scratch);
  T *w = p.take(item.end - item.begin);
  backward_queries(p, w);
  backward_keys_and_values(p, w);
}

}  // namespace
}  // namespace lf
