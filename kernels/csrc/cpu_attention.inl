// Causal linear attention, forward and backward; formulas and shapes:
// docs/causal-linear-attention.md.
//
// A sequence is computed in chunks of C = 16 tokens. Tiles whose names end in t are transposed, [D,
// 16], with the tokens in the lanes of a vector, so that sums over D or M need no sum across lanes.
#pragma once
#include "cpu.h"
#include "cpu_vector.inl"

namespace lf {
namespace {

// Scratch memory, allocated from its start.
template <class T>
struct Arena {
  T *free;
  explicit Arena(T *scratch) : free(aligned(scratch)) {}
  T *allocate(int64_t n) {
    T *p = free;
    free += padded(n);
    return p;
  }
};

// Factors that the tokens of a chunk have on one another and on the state: a_t is token t's factor
// on the state before it. Each is a product of factors and no exponential of a difference of sums:
// nothing overflows, and a factor near 0 takes no digits from the others.
template <class T>
struct Weights {
  T since[C];      // a_0 .. a_t: of the state before the chunk, in token t
  T until[C];      // a_{s+1} .. a_{len-1}: of token s in the state after the chunk; 0 from len
  T whole;         // a_0 .. a_{len-1}: of the state before the chunk in the one after it
  T upper[C * C];  // [s, t]: a_{s+1} .. a_t where s <= t, else 0
  T lower[C * C];  // its transpose

  // Fills all but `lower` from the factors of len tokens. From there on, factors are 1.
  void fill(const T *a, int64_t len) {
    whole = 1;
    for (int64_t i = C - 1; i >= 0; i--) until[i] = i < len ? whole : T(0), whole *= a[i];
    Vec<T> row[C / W<T>] = {};
    for (int64_t i = C - 1; i >= 0; i--)
      for (int64_t j = 0; j < C; j += W<T>) {
        Vec<T> &x = row[j / W<T>];
        store(upper + i * C + j, x += unit<T>(i - j));
        x *= a[i];
        if (i == 0) store(since + j, x);
      }
  }
  void fill_lower(const T *a) {
    Vec<T> row[C / W<T>] = {};
    for (int64_t i = 0; i < C; i++)
      for (int64_t j = 0; j < C; j += W<T>) {
        Vec<T> &x = row[j / W<T>];
        store(lower + i * C + j, x = x * a[i] + unit<T>(i - j));
      }
  }
};

// One head of one sequence on its way through the chunks. Its state is s [dp, mp] or transposed
// [mp, dp], and z [dp]; dp and mp are D and M padded to multiples of 16.
template <class T>
struct Pass {
  const Attention<T> *args;
  int64_t head, begin, end, origin, d, m, dp, mp, line;
  T *s, *z;
  Weights<T> fixed;  // of a whole chunk, if all tokens have the same factor

  void start(const Attention<T> &a, const Item &item, int64_t h, Arena<T> &arena) {
    args = &a, head = item.head + h, begin = item.begin, end = item.end, origin = item.origin;
    d = a.d, m = a.m, dp = padded(a.d), mp = padded(a.m), line = item.seq * a.heads + head;
    s = arena.allocate(dp * mp), z = arena.allocate(dp);
    if (a.log_decay) return;
    T factors[C];
    load_factors(begin, C, factors);
    fixed.fill(factors, C), fixed.fill_lower(factors);
  }
  int64_t len(int64_t t) const { return end - t < C ? end - t : C; }
  bool decays() const { return args->decay || args->log_decay; }

  // Returns the weights of the chunk at token t, made in `fresh` unless they are those of all
  // chunks. `lower` is filled if `both`.
  const Weights<T> &weights(int64_t t, bool both, Weights<T> &fresh) const {
    if (!args->log_decay && len(t) == C) return fixed;
    T factors[C];
    load_factors(t, len(t), factors);
    fresh.fill(factors, len(t));
    if (both) fresh.fill_lower(factors);
    return fresh;
  }
  void load_factors(int64_t t, int64_t n, T *a) const {
    const T decay = args->decay ? args->decay[head] : T(1);
    for (int64_t i = 0; i < C; i++) {
      if (args->log_decay)
        a[i] = i < n ? args->log_decay[(t + i) * args->heads + head] : T(0);
      else
        a[i] = i < n ? decay : T(1);
    }
    for (int64_t i = 0; args->log_decay && i < C; i += W<T>)
      store(a + i, exp_negative(load(a + i)));
  }
};

// Visits the heads of an item chunk by chunk, and head by head within a chunk, since the rows of
// neighbouring heads are adjacent in memory. `work` gets a head, its number and the chunk's first
// token, and the next head and chunk.
template <class T, class Work>
inline __attribute__((always_inline)) void each_chunk(const Item &item, const Pass<T> *heads,
                                                      bool forward, Work work) {
  const int64_t chunks = (item.end - item.begin + C - 1) / C;
  for (int64_t c = 0; c < chunks; c++) {
    const int64_t t = item.begin + (forward ? c : chunks - 1 - c) * C;
    for (int64_t h = 0; h < item.heads; h++) {
      const bool last = h + 1 == item.heads;
      work(heads[h], h, t, heads[last ? 0 : h + 1], last ? (forward ? t + C : t - C) : t);
    }
  }
}

// Returns the rows of `len` tokens as 16 rows of np, padded with zeros: x itself if it has that
// shape, else a copy in `tile`.
template <class T>
Left<T> rows(const T *x, int64_t stride, int64_t len, int64_t n, int64_t np, T *tile) {
  if (len == C && n == np) return {x, stride, 1};
  for (int64_t i = 0; i < C; i++)
    for (int64_t j = 0; j < np; j++) tile[i * np + j] = i < len && j < n ? x[i * stride + j] : T(0);
  return {tile, np, 1};
}

// Prefetches the rows that the next head's chunk reads and writes, one at each step: a core has
// about ten memory requests in flight, and more at once would make it wait. Outside the sequence it
// does nothing.
template <class T>
struct Prefetcher {
  const T *from[6];
  int64_t stride[6], size[6], streams = 0, stream = 0, head, t, rows;

  Prefetcher(const Pass<T> &p, int64_t t)
      : head(p.head), t(t), rows(t < p.begin || t >= p.end ? 0 : p.len(t)) {}
  void add(const T *x, int64_t x_t, int64_t x_h, int64_t n) {
    from[streams] = x + t * x_t + head * x_h, stride[streams] = x_t, size[streams++] = n;
  }
  void inputs(const Attention<T> &a) {
    add(a.q, a.q_t, a.q_h, a.d);
    add(a.k, a.k_t, a.k_h, a.d);
    add(a.v, a.v_t, a.v_h, a.m);
  }
  inline void step() {
    if (rows == 0) return;
    for (int64_t j = 0; j < size[stream]; j += 64 / int64_t(sizeof(T)))
      __builtin_prefetch(from[stream] + j);
    from[stream] += stride[stream];
    if (++stream == streams) stream = 0, rows--;
  }
  inline void steps(int64_t n) {
    for (int64_t i = 0; i < n; i++) step();
  }
};

// tile [16, dp] = phi of the rotated rows, zero in the rows from len and the columns from d.
template <class T>
void load_features(const Pass<T> &p, const T *x, int64_t x_t, int64_t x_h, int64_t t, T *tile,
                   Prefetcher<T> &prefetcher) {
  const int64_t half = p.d / 2, len = p.len(t), dp = p.dp;
  for (int64_t i = 0; i < len; i++) {
    T *row = tile + i * dp;
    const T *from = x + (t + i) * x_t + p.head * x_h;
    const int64_t place = (t + i - p.origin) * half;
    if (p.args->cos) {
      rotate(from, p.args->cos + place, p.args->sin + place, half, row);
      from = row;
    } else if (p.d != dp) {
      for (int64_t j = 0; j < p.d; j++) row[j] = from[j];
      from = row;
    }
    phi_row(from, p.d, dp, row);
    prefetcher.step();
  }
  for (int64_t j = len * dp; j < C * dp; j++) tile[j] = 0;
}
template <class T>
void load_q(const Pass<T> &p, int64_t t, T *tile, Prefetcher<T> &prefetcher) {
  load_features(p, p.args->q, p.args->q_t, p.args->q_h, t, tile, prefetcher);
}
template <class T>
void load_k(const Pass<T> &p, int64_t t, T *tile, Prefetcher<T> &prefetcher) {
  load_features(p, p.args->k, p.args->k_t, p.args->k_h, t, tile, prefetcher);
}
template <class T>
Left<T> load_v(const Pass<T> &p, int64_t t, T *tile) {
  return rows(p.args->v + t * p.args->v_t + p.head * p.args->v_h, p.args->v_t, p.len(t), p.m, p.mp,
              tile);
}

// Turns the gradient of features into that of the input: times phi'(x) = min(phi(x), 1), then
// rotated back.
template <class T>
void store_features(const Pass<T> &p, const T *features, T *grad, int64_t t, T *x, int64_t x_t,
                    int64_t x_h) {
  const int64_t half = p.d / 2, len = p.len(t), dp = p.dp;
  for (int64_t i = 0; i < len; i++) {
    const T *f = features + i * dp;
    T *g = grad + i * dp;
    for (int64_t j = 0; j < dp; j += W<T>) {
      const Vec<T> one = Vec<T>{} + T(1), y = load(f + j);
      store(g + j, load(g + j) * (y < one ? y : one));
    }
    T *__restrict to = x + (t + i) * x_t + p.head * x_h;
    const int64_t place = (t + i - p.origin) * half;
    if (p.args->cos) {
      const T *__restrict cos = p.args->cos + place, *__restrict sin = p.args->sin + place,
                          *__restrict from = g;
      for (int64_t j = 0; j < half; j++) {
        to[j] = from[j] * cos[j] + from[j + half] * sin[j];
        to[j + half] = from[j + half] * cos[j] - from[j] * sin[j];
      }
    } else {
      for (int64_t j = 0; j < p.d; j++) to[j] = g[j];
    }
  }
}

// Returns the rows of x times their factors, in `tile`; x itself without decay.
template <class T>
const T *decayed(const Pass<T> &p, const T *x, int64_t n, const T *factors, T *tile) {
  if (!p.decays()) return x;
  for (int64_t i = 0; i < C; i++)
    for (int64_t j = 0; j < n; j += W<T>) store(tile + i * n + j, load(x + i * n + j) * factors[i]);
  return tile;
}

// z = z scale + sum of the rows of x, each times its weight
template <class T, class Weight>
inline void add_rows(const T *x, int64_t len, int64_t n, T scale, Weight weight, T *z) {
  for (int64_t j = 0; j < n; j += W<T>) {
    Vec<T> sum = load(z + j) * scale;
    for (int64_t i = 0; i < len; i++) sum += load(x + i * n + j) * weight(i);
    store(z + j, sum);
  }
}

// Loads [rows, cols] of a state, zero-padded to [rows_p, cols_p]. Element (i, j) is at from[i * row
// + j * col].
template <class T>
void load_state(const T *from, int64_t row, int64_t col, int64_t rows, int64_t cols, int64_t rows_p,
                int64_t cols_p, T *to) {
  for (int64_t i = 0; i < rows_p; i++)
    for (int64_t j = 0; j < cols_p; j++)
      to[i * cols_p + j] = from && i < rows && j < cols ? from[i * row + j * col] : T(0);
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

// Upper bound of the scratch memory of forward and backward, in elements.
template <class T>
int64_t attention_scratch(int64_t d, int64_t m, int64_t longest, int64_t heads) {
  const int64_t dp = padded(d), mp = padded(m);
  return heads * (dp * mp + dp + padded(longest)) + 8 * C * (dp + mp) + 4 * C * C + 64;
}

// Computes the outputs, the denominators and, if wanted, the last states of an item.
template <class T>
void attention_forward(const Attention<T> &a, Item item, T *scratch) {
  Arena<T> arena(scratch);
  Pass<T> heads[GROUP];
  const int64_t d = a.d, m = a.m, dp = padded(d), mp = padded(m);
  for (int64_t h = 0; h < item.heads; h++) {
    Pass<T> &p = heads[h];
    p.start(a, item, h, arena);
    load_state(a.s0 ? a.s0 + p.line * d * m : nullptr, m, 1, d, m, dp, mp, p.s);
    load_z(p, a.z0, p.z);
  }
  Weights<T> fresh;
  T *q = arena.allocate(C * dp), *qt = arena.allocate(C * dp), *k = arena.allocate(C * dp),
    *k2 = arena.allocate(C * dp), *v_tile = arena.allocate(C * mp),
    *o_tile = arena.allocate(C * mp), *scores = arena.allocate(C * C), *den = arena.allocate(C),
    *rest = arena.allocate(C);
  each_chunk(item, heads, true,
             [&](const Pass<T> &p, int64_t, int64_t t, const Pass<T> &next, int64_t next_t) {
               const int64_t len = p.len(t);
               const Weights<T> &weights = p.weights(t, false, fresh);
               Prefetcher<T> prefetcher(next, next_t);
               prefetcher.inputs(a);
               prefetcher.add(a.out, a.heads * m, m, m);
               load_q(p, t, q, prefetcher);
               load_k(p, t, k, prefetcher);
               transpose(q, dp, dp, qt);
               const Left<T> v = load_v(p, t, v_tile);
               // scores [s, t] = lower(Q K^T)^T, times the decay
               products<T>(prefetcher, C, C, dp, {k, dp, 1}, {qt, C}, 0, {}, {}, Zero<T>(),
                           Same<T>(), [&](int64_t i, int64_t j, Vec<T> x) {
                             store(scores + i * C + j, x * load(weights.upper + i * C + j));
                           });
               for (int64_t j = 0; j < C; j += W<T>) {
                 Vec<T> sum{};
                 for (int64_t i = 0; i < dp; i++) sum += load(qt + i * C + j) * p.z[i];
                 sum = sum * load(weights.since + j) + a.eps;
                 for (int64_t i = 0; i < C; i++) sum += load(scores + i * C + j);
                 store(den + j, sum);
                 store(rest + j, 1 / sum);
               }
               for (int64_t i = 0; i < len; i++) a.den[p.head * a.tokens + t + i] = den[i];
               const bool whole = len == C && m == mp;
               T *out = a.out + (t * a.heads + p.head) * m, *o = whole ? out : o_tile;
               const int64_t o_row = whole ? a.heads * m : mp;
               products<T>(
                   prefetcher, C, mp, dp, {q, dp, 1}, {p.s, mp}, C, {scores, 1, C}, {v.p, v.row},
                   Zero<T>(), [&](int64_t i, int64_t, Vec<T> x) { return x * weights.since[i]; },
                   [&](int64_t i, int64_t j, Vec<T> x) { store(o + i * o_row + j, x * rest[i]); });
               for (int64_t i = 0; !whole && i < len; i++)
                 for (int64_t j = 0; j < m; j++) out[i * a.heads * m + j] = o_tile[i * mp + j];
               const T *weighed = decayed(p, k, dp, weights.until, k2);
               update<T>(prefetcher, dp, mp, C, {weighed, 1, dp}, {v.p, v.row}, weights.whole, p.s,
                         mp);
               add_rows(weighed, len, dp, weights.whole, [](int64_t) { return T(1); }, p.z);
             });
  for (int64_t h = 0; h < item.heads; h++) {
    const Pass<T> &p = heads[h];
    for (int64_t i = 0; a.s1 && i < d; i++)
      for (int64_t j = 0; j < m; j++) a.s1[(p.line * d + i) * m + j] = p.s[i * mp + j];
    store_z(p, p.z, a.z1);
  }
}

// y [16] = the products of the rows of two tiles, each row with its own. n is a multiple of 16.
template <class T>
void dots(Left<T> a, Left<T> b, int64_t n, T *y) {
  T sums[C * W<T>], turned[C * C];
  for (int64_t i = 0; i < C; i++) {
    Vec<T> sum{};
    for (int64_t j = 0; j < n; j += W<T>)
      sum += load(a.p + i * a.row + j) * load(b.p + i * b.row + j);
    store(sums + i * W<T>, sum);
  }
  for (int64_t i = 0; i < C; i += W<T>) transpose_square(sums + i * W<T>, W<T>, turned + i, C);
  for (int64_t j = 0; j < C; j += W<T>) {
    Vec<T> sum{};
    for (int64_t i = 0; i < W<T>; i++) sum += load(turned + i * C + j);
    store(y + j, sum);
  }
}

// gt [mp, 16] = (G / den)^T and, if w is given, w [16] = -(G / den) . O.
template <class T>
void load_gradient(const Pass<T> &p, int64_t t, T *tile, T *tile2, T *gt, T *w) {
  const Attention<T> &a = *p.args;
  const int64_t len = p.len(t), mp = p.mp;
  const Left<T> g = rows(a.grad + t * a.grad_t + p.head * a.grad_h, a.grad_t, len, p.m, mp, tile);
  const T *den = a.den + p.head * a.tokens + t;
  T rest[C];
  for (int64_t i = 0; i < C; i++) rest[i] = i < len ? 1 / den[i] : T(0);
  if (w) {
    dots(g, rows(a.out + (t * a.heads + p.head) * a.m, a.heads * a.m, len, p.m, mp, tile2), mp, w);
    for (int64_t j = 0; j < C; j += W<T>) store(w + j, -load(w + j) * load(rest + j));
  }
  transpose(g.p, g.row, mp, gt);
  for (int64_t j = 0; j < mp; j++)
    for (int64_t i = 0; i < C; i += W<T>)
      store(gt + j * C + i, load(gt + j * C + i) * load(rest + i));
}

// pt [s, t] = lower(g V^T + w 1^T)^T
template <class T>
void score_gradient(const Pass<T> &p, const T *upper, const T *gt, const T *w, Left<T> v, T *pt,
                    Prefetcher<T> &prefetcher) {
  products<T>(
      prefetcher, C, C, p.mp, v, {gt, C}, 0, {}, {},
      [&](int64_t, int64_t j) { return load(w + j); }, Same<T>(),
      [&](int64_t i, int64_t j, Vec<T> x) { store(pt + i * C + j, x * load(upper + i * C + j)); });
}

// Returns the place of a head's chunk in w.
template <class T>
inline T *chunk_of(T *w, const Item &item, int64_t h, int64_t t) {
  return w + ((t - item.begin) / C * item.heads + h) * C;
}

// Forward in time: computes dq from the state before each chunk, and fills w, a number for each
// token of each head.
template <class T>
void backward_queries(const Attention<T> &a, const Item &item, Pass<T> *heads, Arena<T> arena,
                      T *w_all) {
  const int64_t dp = padded(a.d), mp = padded(a.m);
  for (int64_t h = 0; h < item.heads; h++) {
    load_transposed(heads[h], a.s0, heads[h].s);
    load_z(heads[h], a.z0, heads[h].z);
  }
  T *q = arena.allocate(C * dp), *k = arena.allocate(C * dp), *k2 = arena.allocate(C * dp),
    *dx = arena.allocate(C * dp), *v_tile = arena.allocate(C * mp),
    *g_tile = arena.allocate(C * mp), *o_tile = arena.allocate(C * mp),
    *gt = arena.allocate(C * mp), *pt = arena.allocate(C * C);
  Weights<T> fresh;
  each_chunk(item, heads, true,
             [&](const Pass<T> &p, int64_t h, int64_t t, const Pass<T> &next, int64_t next_t) {
               const int64_t len = p.len(t);
               const Weights<T> &weights = p.weights(t, false, fresh);
               T *w = chunk_of(w_all, item, h, t);
               Prefetcher<T> prefetcher(next, next_t);
               prefetcher.inputs(a);
               prefetcher.add(a.grad, a.grad_t, a.grad_h, a.m);
               prefetcher.add(a.out, a.heads * a.m, a.m, a.m);
               prefetcher.add(a.dq, a.dq_t, a.dq_h, a.d);
               load_q(p, t, q, prefetcher);
               load_k(p, t, k, prefetcher);
               const Left<T> v = load_v(p, t, v_tile);
               load_gradient(p, t, g_tile, o_tile, gt, w);
               score_gradient(p, weights.upper, gt, w, v, pt, prefetcher);
               products<T>(
                   prefetcher, C, dp, mp, {gt, 1, C}, {p.s, dp}, C, {pt, 1, C}, {k, dp},
                   [&](int64_t i, int64_t j) { return load(p.z + j) * w[i]; },
                   [&](int64_t i, int64_t, Vec<T> x) { return x * weights.since[i]; },
                   [&](int64_t i, int64_t j, Vec<T> x) { store(dx + i * dp + j, x); });
               store_features(p, q, dx, t, a.dq, a.dq_t, a.dq_h);
               const T *weighed = decayed(p, k, dp, weights.until, k2);
               update<T>(prefetcher, mp, dp, C, {v.p, 1, v.row}, {weighed, dp}, weights.whole, p.s,
                         dp);
               add_rows(weighed, len, dp, weights.whole, [](int64_t) { return T(1); }, p.z);
             });
}

// Returns what the gradient of the last state gives to the gradient of log_decay in every token,
// S . dS + z . dz. The head's state is the transposed last one.
template <class T>
double last_state_gradient(const Pass<T> &p) {
  const T *ds = p.args->ds1, *dz = p.args->dz1;
  double sum = 0;
  for (int64_t i = 0; ds && i < p.d; i++)
    for (int64_t j = 0; j < p.m; j++)
      sum += double(p.s[j * p.dp + i]) * double(ds[(p.line * p.d + i) * p.m + j]);
  for (int64_t i = 0; dz && i < p.d; i++) sum += double(p.z[i]) * double(dz[p.line * p.d + i]);
  return sum;
}

// Computes the gradient of log_decay in a chunk from the gradient of its keys' features, which is
// not yet that of its keys, and `below`, the gradient in the token after the chunk.
template <class T>
void store_log_decay_gradient(const Pass<T> &p, const T *k, const T *dk, const T *w, int64_t t,
                              double &below) {
  T products[C];
  dots<T>({k, p.dp, 1}, {dk, p.dp, 1}, p.dp, products);
  for (int64_t i = p.len(t) - 1; i >= 0; i--) {
    below -= double(p.args->eps) * double(w[i]) + double(products[i]);
    // A first token decays nothing, which sums of rounded numbers would say only about.
    const bool decays_nothing = t + i == p.begin && !p.args->s0;
    p.args->dlog_decay[(t + i) * p.args->heads + p.head] = decays_nothing ? T(0) : T(below);
  }
}

// Backward in time: computes dk, dv and the gradient of log_decay from R^T [M, D] and r [D], the
// sums over all later chunks.
template <class T>
void backward_keys_and_values(const Attention<T> &a, const Item &item, Pass<T> *heads,
                              Arena<T> arena, const T *w_all) {
  const int64_t d = a.d, m = a.m, dp = padded(d), mp = padded(m);
  double below[GROUP] = {};  // gradient of log_decay in the token after the chunk
  for (int64_t h = 0; h < item.heads; h++) {
    if (a.log_decay) below[h] = last_state_gradient(heads[h]);
    load_transposed(heads[h], a.ds1, heads[h].s);
    load_z(heads[h], a.dz1, heads[h].z);
  }
  T *q = arena.allocate(C * dp), *q2 = arena.allocate(C * dp), *k = arena.allocate(C * dp),
    *kt = arena.allocate(C * dp), *dx = arena.allocate(C * dp), *v_tile = arena.allocate(C * mp),
    *g_tile = arena.allocate(C * mp), *gt = arena.allocate(C * mp), *dvt = arena.allocate(C * mp),
    *dv = arena.allocate(C * mp), *pt = arena.allocate(C * C), *scores = arena.allocate(C * C);
  Weights<T> fresh;
  each_chunk(
      item, heads, false,
      [&](const Pass<T> &p, int64_t h, int64_t t, const Pass<T> &next, int64_t next_t) {
        const int64_t len = p.len(t);
        const T *w = chunk_of(w_all, item, h, t);
        const Weights<T> &weights = p.weights(t, true, fresh);
        T *rt = p.s, *r = p.z;
        Prefetcher<T> prefetcher(next, next_t);
        prefetcher.inputs(a);
        prefetcher.add(a.grad, a.grad_t, a.grad_h, m);
        prefetcher.add(a.dk, a.dk_t, a.dk_h, d);
        prefetcher.add(a.dv, a.dv_t, a.dv_h, m);
        load_q(p, t, q, prefetcher);
        load_k(p, t, k, prefetcher);
        transpose(k, dp, dp, kt);
        const Left<T> v = load_v(p, t, v_tile);
        load_gradient<T>(p, t, g_tile, nullptr, gt, nullptr);
        score_gradient(p, weights.upper, gt, w, v, pt, prefetcher);
        products<T>(prefetcher, C, C, dp, {q, dp, 1}, {kt, C}, 0, {}, {}, Zero<T>(), Same<T>(),
                    [&](int64_t i, int64_t j, Vec<T> x) {
                      store(scores + i * C + j, x * load(weights.lower + i * C + j));  // [t, s]
                    });
        products<T>(
            prefetcher, C, dp, mp, v, {rt, dp}, C, {pt, C, 1}, {q, dp},
            [&](int64_t, int64_t j) { return load(r + j); },
            [&](int64_t i, int64_t, Vec<T> x) { return x * weights.until[i]; },
            [&](int64_t i, int64_t j, Vec<T> x) { store(dx + i * dp + j, x); });
        if (a.log_decay) store_log_decay_gradient(p, k, dx, w, t, below[h]);
        store_features(p, k, dx, t, a.dk, a.dk_t, a.dk_h);
        products<T>(
            prefetcher, mp, C, dp, {rt, dp, 1}, {kt, C}, C, {gt, C, 1}, {scores, C}, Zero<T>(),
            [&](int64_t, int64_t j, Vec<T> x) { return x * load(weights.until + j); },
            [&](int64_t i, int64_t j, Vec<T> x) { store(dvt + i * C + j, x); });
        for (int64_t i = 0; i < mp; i += C) transpose(dvt + i * C, C, C, dv + i * C);
        for (int64_t i = 0; i < len; i++) {
          T *to = a.dv + (t + i) * a.dv_t + p.head * a.dv_h;
          for (int64_t j = 0; j < m; j += C) {
            const T *from = dv + j * C + i * C;
            if (m - j >= C)
              for (int64_t c = 0; c < C; c += W<T>) store(to + j + c, load(from + c));
            else
              for (int64_t c = 0; c < m - j; c++) to[j + c] = from[c];
          }
        }
        const T *weighed = decayed(p, q, dp, weights.since, q2);
        update<T>(prefetcher, mp, dp, C, {gt, C, 1}, {weighed, dp}, weights.whole, rt, dp);
        add_rows(weighed, len, dp, weights.whole, [&](int64_t i) { return w[i]; }, r);
      });
  for (int64_t h = 0; h < item.heads; h++) {
    const Pass<T> &p = heads[h];
    for (int64_t i = 0; a.ds0 && i < d; i++)
      for (int64_t j = 0; j < m; j++) a.ds0[(p.line * d + i) * m + j] = p.s[j * dp + i];
    store_z(p, p.z, a.dz0);
  }
}

// Runs both passes; w is kept between them.
template <class T>
void attention_backward(const Attention<T> &a, Item item, T *scratch) {
  Arena<T> arena(scratch);
  Pass<T> heads[GROUP];
  for (int64_t h = 0; h < item.heads; h++) heads[h].start(a, item, h, arena);
  T *w = arena.allocate(item.heads * padded(item.end - item.begin));
  backward_queries(a, item, heads, arena, w);
  backward_keys_and_values(a, item, heads, arena, w);
}

}  // namespace
}  // namespace lf
