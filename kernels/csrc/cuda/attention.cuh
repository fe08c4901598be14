// Causal linear attention on the GPU: device code. Formulas: docs/causal-linear-attention.md.
//
// A block of threads computes one head of one segment in chunks of C tokens. Operands of products
// are tiles in shared memory, in T: bfloat16, for tensor cores, or float. Sums, states and
// denominators are float. There are no atomics: every run gives the same bits. The including file
// defines THREADS, thread(), block_x(), block_y(), sync(), shared(), to_float, from_float<E>,
// exponential, power_of and multiply(), so that the file also compiles for the CPU, where tests run
// it (tests/emulation).
#pragma once
#include "attention.h"

namespace lf {
namespace cuda {

// Octets of an allocation in shared memory.
constexpr size_t allocated(size_t n, size_t size) { return (n * size + 127) / 128 * 128; }

// Shared memory, allocated from its start.
struct SharedArena {
  unsigned char *at;
  template <class T>
  DEVICE T *allocate(int n) {
    T *p = reinterpret_cast<T *>(at);
    at += (n * sizeof(T) + 127) / 128 * 128;
    return p;
  }
};

// Returns how many octets a kernel allocates, in the order of its allocations.
template <class T, int P, int C>
constexpr size_t sum_octets() {
  constexpr int ROW = P + (sizeof(T) == 2 ? 8 : 1);
  return allocated(C + 1, 4) + allocated(P * P, 4) + allocated(P, 4) + allocated(C, 4) +
         3 * allocated(C * ROW, sizeof(T));
}
template <class T, int P, int C>
constexpr size_t pass_octets(bool backward, bool centred) {
  constexpr int PAD = sizeof(T) == 2 ? 8 : 1;
  return allocated(C + 1, 4) + allocated(P * P, 4) + allocated(P, 4) + allocated(C * (P + 4), 4) +
         allocated(C * (C + 4), 4) + allocated(C, 4) + (centred ? allocated(P, 4) : 0) +
         allocated(P * (P + PAD), sizeof(T)) +
         (backward ? 4 : 3) * allocated(C * (P + PAD), sizeof(T)) +
         allocated(C * (C + PAD), sizeof(T));
}

// Divides a loop among the threads of a block.
#define EACH(i, n) for (int i = thread(); i < (n); i += THREADS)

// Work of a block of threads. D and M are padded to P in tiles. Rows of tiles lie apart such that
// neighbouring rows begin in different banks: ROW elements of T, LINE in scores, WIDE floats.
template <class T, int P, int C>
struct Block {
  static constexpr int PAD = sizeof(T) == 2 ? 8 : 1, ROW = P + PAD, LINE = C + PAD, WIDE = P + 4,
                       SQUARE = C + 4;
  const Attention<T> &a;
  const Work &work;
  Segment seg;
  int64_t head, index;
  int d, m;
  float *power;  // [C + 1]: decay^i

  DEVICE Block(const Attention<T> &a, const Work &work, SharedArena &arena)
      : a(a),
        work(work),
        seg(work.segments[block_x()]),
        head(block_y()),
        index(block_x()),
        d(int(a.d)),
        m(int(a.m)) {
    power = arena.allocate<float>(C + 1);
    if (thread() == 0) {
      const float decay = a.decay ? a.decay[head] : 1.0f;
      power[0] = 1.0f;
      for (int i = 0; i < C; i++) power[i + 1] = power[i] * decay;
    }
    sync();
  }
  DEVICE int len(int64_t t) const { return seg.end - t < C ? int(seg.end - t) : C; }
  DEVICE float *state() const {
    return work.states + (index * CHUNKS * a.heads + head) * (a.d * a.m + a.d);
  }

  // tile [C, P] = phi of the rotated rows, zero outside [len, d]
  DEVICE void load_features(const T *x, int64_t x_t, int64_t x_h, int64_t t, T *tile) const {
    const int half = d / 2, n = len(t);
    EACH(i, C * P) {
      const int row = i / P, col = i % P;
      float y = 0.0f;
      if (row < n && col < d) {
        const T *from = x + (t + row) * x_t + head * x_h;
        y = to_float(from[col]);
        if (a.cos) {
          const int pair = col < half ? col : col - half;
          const int64_t place = (t + row - seg.origin) * half + pair;
          const float other = to_float(from[col < half ? col + half : pair]);
          y = y * a.cos[place] + (col < half ? -other : other) * a.sin[place];
        }
        y = y > 0.0f ? y + 1.0f : exponential(y < -80.0f ? -80.0f : y);
      }
      tile[row * ROW + col] = from_float<T>(y);
    }
  }
  DEVICE void load_q(int64_t t, T *tile) const { load_features(a.q, a.q_t, a.q_h, t, tile); }
  DEVICE void load_k(int64_t t, T *tile) const { load_features(a.k, a.k_t, a.k_h, t, tile); }
  // tile [C, P] = rows of v minus `centre` [M], zero outside [len, m]
  DEVICE void load_v(int64_t t, const float *centre, T *tile) const {
    const int n = len(t);
    EACH(i, C * P) {
      const int row = i / P, col = i % P;
      const bool in = row < n && col < m;
      const float x = in ? to_float(a.v[(t + row) * a.v_t + head * a.v_h + col]) : 0.0f;
      tile[row * ROW + col] = from_float<T>(in && centre ? x - centre[col] : x);
    }
  }
  // tile [C, P] = G / den, zero outside [len, m]
  DEVICE void load_gradient(int64_t t, T *tile) const {
    const int n = len(t);
    EACH(i, C * P) {
      const int row = i / P, col = i % P;
      float x = 0.0f;
      if (row < n && col < m)
        x = to_float(a.grad[(t + row) * a.grad_t + head * a.grad_h + col]) /
            a.den[head * a.tokens + t + row];
      tile[row * ROW + col] = from_float<T>(x);
    }
  }
  DEVICE void load_w(int64_t t, float *w) const {
    const int n = len(t);
    EACH(i, C) w[i] = i < n ? work.w[head * a.tokens + t + i] : 0.0f;
  }
  // Returns the rows of a tile times decay^(first + step * row), in `to`; the tile itself without
  // decay.
  DEVICE const T *decayed(const T *tile, int first, int step, T *to) const {
    if (!a.decay) return tile;
    EACH(i, C * P) {
      const int at = i / P * ROW + i % P, age = first + step * (i / P);
      to[at] = from_float<T>(age < 0 ? 0.0f : to_float(tile[at]) * power[age]);
    }
    return to;
  }
  // to = lower(x + w 1^T) times the decay, in T
  DEVICE void keep_lower(const float *x, const float *w, T *to) const {
    EACH(i, C * C) {
      const int row = i / C, col = i % C;
      const float y = x[row * SQUARE + col] + (w ? w[row] : 0.0f);
      to[row * LINE + col] = from_float<T>(col <= row ? y * power[row - col] : 0.0f);
    }
  }
  // Loads the state s [P, P] and z [P] before this segment (backward: after it): the given one of its
  // sequence, or that in work.states.
  template <bool BACK>
  DEVICE void load_state(float *s, float *z) const {
    const float *from = state(), *from_z = from + d * m;
    if (BACK ? index + 1 == work.first[seg.seq + 1] : index == work.first[seg.seq]) {
      const int64_t line = seg.seq * a.heads + head;
      from = BACK ? a.ds1 : a.s0, from_z = BACK ? a.dz1 : a.z0;
      if (from) from += line * d * m, from_z += line * d;
    }
    EACH(i, P * P) s[i] = from && i / P < d && i % P < m ? from[(i / P) * m + i % P] : 0.0f;
    EACH(i, P) z[i] = from && i < d ? from_z[i] : 0.0f;
  }
  // Stores the last state of a sequence of one segment; a scan does of others.
  template <bool BACK>
  DEVICE void store_last(const float *s, const float *z) const {
    float *s1 = BACK ? a.ds0 : a.s1, *z1 = BACK ? a.dz0 : a.z1;
    if (work.chained || !s1) return;
    sync();
    const int64_t line = seg.seq * a.heads + head;
    EACH(i, d * m) s1[line * d * m + i] = s[i / m * P + i % m];
    EACH(i, d) z1[line * d + i] = z[i];
  }
  DEVICE void store_state(const float *s, const float *z) const {
    float *to = state();
    EACH(i, d * m) to[i] = s[i / m * P + i % m];
    EACH(i, d) to[d * m + i] = z[i];
  }
  // s = s left + x^T y, z = z left + sum of weighted rows of x. x has the decay already.
  DEVICE void add_to_state(const T *x, const T *y, const float *weight, float left, float *s,
                           float *z) const {
    if (left != 1.0f) {
      EACH(i, P * P) s[i] *= left;
    }
    EACH(i, P) {
      float sum = z[i] * left;
      for (int row = 0; row < C; row++)
        sum += to_float(x[row * ROW + i]) * (weight ? weight[row] : 1.0f);
      z[i] = sum;
    }
    sync();
    multiply<P, P, C, true, false>(x, ROW, y, ROW, s, P, true);
    sync();
  }
  // Turns the gradient of features, grad [C, P], into that of x: times phi' = min(phi, 1), then
  // rotated back. Overwrites grad.
  DEVICE void store_features(const T *features, float *grad, int64_t t, T *x, int64_t x_t,
                             int64_t x_h) const {
    const int half = d / 2, n = len(t);
    EACH(i, C * P) {
      const float f = to_float(features[i / P * ROW + i % P]);
      grad[i / P * WIDE + i % P] *= f < 1.0f ? f : 1.0f;
    }
    sync();
    EACH(i, n * d) {
      const int row = i / d, col = i % d;
      const float *g = grad + row * WIDE;
      float y = g[col];
      if (a.cos) {
        const int pair = col < half ? col : col - half;
        const int64_t place = (t + row - seg.origin) * half + pair;
        const float other = g[col < half ? col + half : pair];
        y = y * a.cos[place] + (col < half ? other : -other) * a.sin[place];
      }
      x[(t + row) * x_t + head * x_h + col] = from_float<T>(y);
    }
  }
};

// Sums one segment into a state: K^T V forward in time, or Q^T (G / den) backward.
template <class T, int P, int C, bool BACK>
DEVICE void sum_segment(const Attention<T> &a, const Work &work) {
  SharedArena arena{shared()};
  using B = Block<T, P, C>;
  B b(a, work, arena);
  float *s = arena.allocate<float>(P * P), *z = arena.allocate<float>(P),
        *w = arena.allocate<float>(C);
  T *x = arena.allocate<T>(C * B::ROW), *x2 = arena.allocate<T>(C * B::ROW), *y = arena.allocate<T>(C * B::ROW);
  EACH(i, P * P) s[i] = 0.0f;
  EACH(i, P) z[i] = 0.0f;
  const int64_t chunks = (b.seg.end - b.seg.begin + C - 1) / C;
  for (int64_t c = 0; c < chunks; c++) {
    const int64_t t = b.seg.begin + (BACK ? chunks - 1 - c : c) * C;
    const int n = b.len(t);
    if (BACK) {
      b.load_q(t, x);
      b.load_gradient(t, y);
      b.load_w(t, w);
    } else {
      b.load_k(t, x);
      b.load_v(t, nullptr, y);
    }
    sync();
    const T *weighed = BACK ? b.decayed(x, 1, 1, x2) : b.decayed(x, n - 1, -1, x2);
    sync();
    b.add_to_state(weighed, y, BACK ? w : nullptr, b.power[n], s, z);
  }
  b.store_state(s, z);
}

// Returns into how many parts a state is divided for the scan: an element a thread.
inline int64_t scan_parts(int64_t d, int64_t m) { return (d * m + d + THREADS - 1) / THREADS; }

// Turns the sums of a sequence's segments into the states before them (backward: after them), and
// stores the last state. A block has one part of one sequence.
template <bool BACK, class T>
DEVICE void scan_segments(const Attention<T> &a, const Work &work) {
  constexpr int AHEAD = 8;  // sums on their way at a time
  const int64_t n = a.d * a.m + a.d, parts = (n + THREADS - 1) / THREADS, seq = block_x() / parts,
                i = block_x() % parts * THREADS + thread(), head = block_y();
  const int64_t first = work.first[seq], count = work.first[seq + 1] - first,
                line = seq * a.heads + head;
  const float decay = a.decay ? a.decay[head] : 1.0f;
  const float *s0 = BACK ? a.ds1 : a.s0, *z0 = BACK ? a.dz1 : a.z0;
  float *s1 = BACK ? a.ds0 : a.s1, *z1 = BACK ? a.dz0 : a.z1;
  if (i >= n) return;
  const bool in_s = i < a.d * a.m;
  float now = 0.0f;
  if (in_s && s0) now = s0[line * a.d * a.m + i];
  if (!in_s && z0) now = z0[line * a.d + i - a.d * a.m];
  for (int64_t c = 0; c < count; c += AHEAD) {
    float sums[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int64_t index = first + (BACK ? count - 1 - c - j : c + j);
      sums[j] = c + j < count ? work.states[(index * CHUNKS * a.heads + head) * n + i] : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      if (c + j >= count) continue;
      const int64_t index = first + (BACK ? count - 1 - c - j : c + j);
      const Segment &seg = work.segments[index];
      work.states[(index * CHUNKS * a.heads + head) * n + i] = now;
      now = now * (a.decay ? power_of(decay, float(seg.end - seg.begin)) : 1.0f) + sums[j];
    }
  }
  if (in_s && s1) s1[line * a.d * a.m + i] = now;
  if (!in_s && z1) z1[line * a.d + i - a.d * a.m] = now;
}

// Passes the given state of empty sequences on: a block has one head of one sequence.
template <bool BACK, class T>
DEVICE void carry_states(const Attention<T> &a, const Work &work) {
  const int64_t seq = block_x(), line = seq * a.heads + block_y();
  float *s1 = BACK ? a.ds0 : a.s1, *z1 = BACK ? a.dz0 : a.z1;
  const float *s0 = BACK ? a.ds1 : a.s0, *z0 = BACK ? a.dz1 : a.z0;
  if (!s1 || work.first[seq] != work.first[seq + 1]) return;
  EACH(i, a.d * a.m) s1[line * a.d * a.m + i] = s0 ? s0[line * a.d * a.m + i] : 0.0f;
  EACH(i, a.d) z1[line * a.d + i] = z0 ? z0[line * a.d + i] : 0.0f;
}

// Computes outputs and denominators of one segment from the state before it.
template <class T, int P, int C>
DEVICE void forward_segment(const Attention<T> &a, const Work &work) {
  SharedArena arena{shared()};
  using B = Block<T, P, C>;
  B b(a, work, arena);
  float *s = arena.allocate<float>(P * P), *z = arena.allocate<float>(P),
        *num = arena.allocate<float>(C * B::WIDE), *a32 = arena.allocate<float>(C * B::SQUARE),
        *den = arena.allocate<float>(C);
  T *st = arena.allocate<T>(P * B::ROW), *q = arena.allocate<T>(C * B::ROW), *k = arena.allocate<T>(C * B::ROW),
    *v = arena.allocate<T>(C * B::ROW), *scores = arena.allocate<T>(C * B::LINE);
  b.template load_state<false>(s, z);
  for (int64_t t = b.seg.begin; t < b.seg.end; t += C) {
    const int n = b.len(t);
    sync();
    b.load_q(t, q);
    b.load_k(t, k);
    b.load_v(t, nullptr, v);
    EACH(i, P * P) st[i / P * B::ROW + i % P] = from_float<T>(s[i]);
    sync();
    multiply<C, C, P, false, true>(q, B::ROW, k, B::ROW, a32, B::SQUARE, false);
    multiply<C, P, P, false, false>(q, B::ROW, st, B::ROW, num, B::WIDE, false);
    sync();
    b.keep_lower(a32, nullptr, scores);
    if (a.decay) {
      EACH(i, C * P) num[i / P * B::WIDE + i % P] *= b.power[i / P + 1];
    }
    sync();
    // d sums the rounded scores, so that the weights of a row add up to one.
    EACH(i, C) {
      float sum = 0.0f, inner = 0.0f;
      for (int j = 0; j < C; j++) sum += to_float(scores[i * B::LINE + j]);
      for (int j = 0; j < P; j++) inner += to_float(q[i * B::ROW + j]) * z[j];
      den[i] = sum + inner * b.power[i + 1] + a.eps;
      if (i < n) a.den[b.head * a.tokens + t + i] = den[i];
    }
    multiply<C, P, C, false, false>(scores, B::LINE, v, B::ROW, num, B::WIDE, true);
    sync();
    EACH(i, n * b.m) {
      const int row = i / b.m, col = i % b.m;
      a.out[((t + row) * a.heads + b.head) * a.m + col] =
          from_float<T>(num[row * B::WIDE + col] / den[row]);
    }
    const T *weighed = b.decayed(k, n - 1, -1, q);
    sync();
    b.add_to_state(weighed, v, nullptr, b.power[n], s, z);
  }
  b.template store_last<false>(s, z);
}

// Computes dq and w, forward in time, with the state centred: see "In bfloat16" in
// docs/causal-linear-attention.md.
template <class T, int P, int C>
DEVICE void backward_queries(const Attention<T> &a, const Work &work) {
  SharedArena arena{shared()};
  using B = Block<T, P, C>;
  B b(a, work, arena);
  float *s = arena.allocate<float>(P * P), *z = arena.allocate<float>(P),
        *x32 = arena.allocate<float>(C * B::WIDE), *a32 = arena.allocate<float>(C * B::SQUARE),
        *w = arena.allocate<float>(C), *centre = arena.allocate<float>(P);
  T *st = arena.allocate<T>(P * B::ROW), *q = arena.allocate<T>(C * B::ROW), *k = arena.allocate<T>(C * B::ROW),
    *v = arena.allocate<T>(C * B::ROW), *g = arena.allocate<T>(C * B::ROW),
    *scores = arena.allocate<T>(C * B::LINE);
  b.template load_state<false>(s, z);
  for (int64_t t = b.seg.begin; t < b.seg.end; t += C) {
    const int n = b.len(t);
    sync();
    EACH(j, P) {  // the mean value by the state; by the chunk while the state is empty
      float sum = 0.0f, total = 0.0f;
      for (int i = 0; i < b.d; i++) {
        sum += s[i * P + j];
        total += z[i];
      }
      if (!(total > 0.0f)) {
        sum = 0.0f, total = float(n);
        for (int i = 0; j < b.m && i < n; i++)
          sum += to_float(a.v[(t + i) * a.v_t + b.head * a.v_h + j]);
      }
      centre[j] = j < b.m ? sum / total : 0.0f;
    }
    sync();
    b.load_q(t, q);
    b.load_k(t, k);
    b.load_v(t, centre, v);
    b.load_gradient(t, g);
    EACH(i, P * P)
      st[i / P * B::ROW + i % P] = from_float<T>(s[i] - z[i / P] * centre[i % P]);
    sync();
    multiply<C, C, P, false, true>(q, B::ROW, k, B::ROW, a32, B::SQUARE, false);
    multiply<C, P, P, false, false>(q, B::ROW, st, B::ROW, x32, B::WIDE, false);
    sync();
    b.keep_lower(a32, nullptr, scores);
    EACH(i, C * P) x32[i / P * B::WIDE + i % P] *= b.power[i / P + 1];
    sync();
    multiply<C, P, C, false, false>(scores, B::LINE, v, B::ROW, x32, B::WIDE, true);
    sync();
    EACH(i, C) {  // w = -g . (O - c); for the pass over keys, -g . O
      float sum = 0.0f, shift = 0.0f;
      for (int j = 0; i < n && j < b.m; j++) {
        const float x = to_float(g[i * B::ROW + j]);
        sum += x * (x32[i * B::WIDE + j] - a.eps * centre[j]);
        shift += x * centre[j];
      }
      w[i] = i < n ? -sum / a.den[b.head * a.tokens + t + i] : 0.0f;
      if (i < n) work.w[b.head * a.tokens + t + i] = w[i] - shift;
    }
    sync();
    multiply<C, C, P, false, true>(g, B::ROW, v, B::ROW, a32, B::SQUARE, false);
    multiply<C, P, P, false, true>(g, B::ROW, st, B::ROW, x32, B::WIDE, false);
    sync();
    b.keep_lower(a32, w, scores);
    EACH(i, C * P) {
      float *x = x32 + i / P * B::WIDE + i % P;
      *x = (*x + w[i / P] * z[i % P]) * b.power[i / P + 1];
    }
    sync();
    multiply<C, P, C, false, false>(scores, B::LINE, k, B::ROW, x32, B::WIDE, true);
    sync();
    b.store_features(q, x32, t, a.dq, a.dq_t, a.dq_h);
    sync();
    b.load_v(t, nullptr, v);
    const T *weighed = b.decayed(k, n - 1, -1, q);
    sync();
    b.add_to_state(weighed, v, nullptr, b.power[n], s, z);
  }
}

// Computes dk and dv, backward in time.
template <class T, int P, int C>
DEVICE void backward_keys_and_values(const Attention<T> &a, const Work &work) {
  SharedArena arena{shared()};
  using B = Block<T, P, C>;
  B b(a, work, arena);
  float *s = arena.allocate<float>(P * P), *z = arena.allocate<float>(P),
        *x32 = arena.allocate<float>(C * B::WIDE), *a32 = arena.allocate<float>(C * B::SQUARE),
        *w = arena.allocate<float>(C);
  T *st = arena.allocate<T>(P * B::ROW), *q = arena.allocate<T>(C * B::ROW), *k = arena.allocate<T>(C * B::ROW),
    *v = arena.allocate<T>(C * B::ROW), *g = arena.allocate<T>(C * B::ROW),
    *scores = arena.allocate<T>(C * B::LINE);
  b.template load_state<true>(s, z);
  const int64_t chunks = (b.seg.end - b.seg.begin + C - 1) / C;
  for (int64_t t = b.seg.begin + (chunks - 1) * C; t >= b.seg.begin; t -= C) {
    const int n = b.len(t);
    sync();
    b.load_q(t, q);
    b.load_k(t, k);
    b.load_v(t, nullptr, v);
    b.load_gradient(t, g);
    b.load_w(t, w);
    EACH(i, P * P) st[i / P * B::ROW + i % P] = from_float<T>(s[i]);
    sync();
    multiply<C, C, P, false, true>(g, B::ROW, v, B::ROW, a32, B::SQUARE, false);
    multiply<C, P, P, false, true>(v, B::ROW, st, B::ROW, x32, B::WIDE, false);
    sync();
    b.keep_lower(a32, w, scores);
    EACH(i, C * P) {
      float *x = x32 + i / P * B::WIDE + i % P;
      *x = i / P < n ? (*x + z[i % P]) * b.power[n - 1 - i / P] : 0.0f;
    }
    sync();
    multiply<C, P, C, true, false>(scores, B::LINE, q, B::ROW, x32, B::WIDE, true);
    sync();
    b.store_features(k, x32, t, a.dk, a.dk_t, a.dk_h);
    sync();
    multiply<C, C, P, false, true>(q, B::ROW, k, B::ROW, a32, B::SQUARE, false);
    multiply<C, P, P, false, false>(k, B::ROW, st, B::ROW, x32, B::WIDE, false);
    sync();
    b.keep_lower(a32, nullptr, scores);
    EACH(i, C * P) {
      float *x = x32 + i / P * B::WIDE + i % P;
      *x = i / P < n ? *x * b.power[n - 1 - i / P] : 0.0f;
    }
    sync();
    multiply<C, P, C, true, false>(scores, B::LINE, g, B::ROW, x32, B::WIDE, true);
    sync();
    EACH(i, n * b.m) {
      const int row = i / b.m, col = i % b.m;
      a.dv[(t + row) * a.dv_t + b.head * a.dv_h + col] = from_float<T>(x32[row * B::WIDE + col]);
    }
    const T *weighed = b.decayed(q, 1, 1, k);
    sync();
    b.add_to_state(weighed, g, w, b.power[n], s, z);
  }
  b.template store_last<true>(s, z);
}

// One token of one head: feature map, update, product and normaliser in one pass. Each thread has a
// column of the state.
DEVICE void step_head(const Step &p) {
  const int64_t row = block_x();
  const int d = int(p.d), m = int(p.m);
  float *memory = reinterpret_cast<float *>(shared()), *q = memory, *k = q + LARGEST,
        *z = k + LARGEST;
  const float left = p.decay ? p.decay[row % p.decays] : 1.0f;
  EACH(i, d) {
    const float x = p.q[row * d + i], y = p.k[row * d + i];
    q[i] = x > 0.0f ? x + 1.0f : exponential(x < -80.0f ? -80.0f : x);
    k[i] = y > 0.0f ? y + 1.0f : exponential(y < -80.0f ? -80.0f : y);
    z[i] = p.z[row * d + i] * left + k[i];
    p.z[row * d + i] = z[i];
  }
  sync();
  EACH(j, m) {
    float den = p.eps, sum = 0.0f;
    const float v = p.v[row * m + j];
    for (int i = 0; i < d; i++) {
      float *at = p.s + (row * d + i) * m + j;
      const float s = *at * left + k[i] * v;
      *at = s;
      sum += q[i] * s;
      den += q[i] * z[i];
    }
    p.out[row * m + j] = sum / den;
  }
}

}  // namespace cuda
}  // namespace lf
