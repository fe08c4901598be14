// Causal linear attention on tensor cores: bfloat16 heads of up to 64 elements. Formulas:
// docs/causal-linear-attention.md; the slow reference is attention.cuh.
//
// A block of 32 W threads computes one head of one segment, in chunks of C = 16 W tokens: forward one
// or two of them, backward one. The rows of all its chunks come from memory once, at the same time,
// and stay in shared memory. Products are mma.m16n8k16: scores, numerators, denominators and the
// state are in registers in float; tiles in shared memory are operands. Rows of tiles lie P + 8
// elements apart, which spreads eight rows over all banks. The state goes from chunk to chunk in
// order, as soon as the sums of one are known: every run gives the same bits.
#pragma once
#include <cmath>

#include "attention.h"

namespace lf {
namespace cuda {

// 8 elements of 16 bits: what a thread reads or writes at a time.
struct alignas(16) Octet {
  uint32_t pair[4];
};

// Returns whether the kernels of this file take these arguments: D = M = 32 or 64, and rows that begin
// at multiples of 16 octets.
template <class T>
inline bool fits_mma(const Attention<T> &a) {
  const int64_t strides = a.q_t | a.q_h | a.k_t | a.k_h | a.v_t | a.v_h | a.grad_t | a.grad_h |
                          a.dq_t | a.dq_h | a.dk_t | a.dk_h | a.dv_t | a.dv_h;
  const auto at = [](const void *p) { return reinterpret_cast<uintptr_t>(p); };
  const uintptr_t places = at(a.q) | at(a.k) | at(a.v) | at(a.out) | at(a.grad) | at(a.dq) |
                           at(a.dk) | at(a.dv) | at(a.cos) | at(a.sin) | at(a.s0) | at(a.s1) |
                           at(a.ds0) | at(a.ds1);
  return sizeof(T) == 2 && a.d == a.m && (a.d == 32 || a.d == 64) && strides % 8 == 0 &&
         places % 16 == 0;
}

// D = M = P. PLAIN: neither rotary positions nor decay.
template <class T, int P, int W, bool PLAIN>
struct Mma {
  static constexpr int C = 16 * W, PITCH = P + 8, COUNT = 32 * W, STEPS = P / 16, ACROSS = P / 8;
  // The state [P, P] as tiles of 16 x 8, in order to the warps: DOWN rows of LINE tiles each.
  static constexpr int TILES = STEPS * ACROSS / W, LINE = TILES < ACROSS ? TILES : ACROSS,
                       DOWN = TILES / LINE;
  static constexpr int TILE = C * PITCH, STATE = P * PITCH;  // elements
  static constexpr int PARTS = COUNT > STEPS * P ? COUNT : STEPS * P;
  // Octets of shared memory for so many tiles of tokens and states. The rest are floats.
  static constexpr size_t octets(int tiles, int states) {
    return 2 * (tiles * TILE + states * STATE) + 4 * (2 * C + 8 + 2 * P + PARTS);
  }
  static constexpr bool IS_PLAIN = PLAIN;
  static constexpr int SLOTS = P / 16;  // octets of a tile that a thread reads

  // Part of a state that a warp keeps: s, and beside it z in column 0 (with column 1 added to it).
  struct State {
    float s[DOWN][LINE][4], z[DOWN][4];
    DEVICE void clear() { scale(0.0f, true); }
    DEVICE void scale(float by, bool zero = false) {
#pragma unroll
      for (int i = 0; i < DOWN; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          z[i][e] = zero ? 0.0f : z[i][e] * by;
#pragma unroll
          for (int j = 0; j < LINE; j++) s[i][j][e] = zero ? 0.0f : s[i][j][e] * by;
        }
    }
    DEVICE void add(const State &x, float by) {
#pragma unroll
      for (int i = 0; i < DOWN; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          z[i][e] += x.z[i][e] * by;
#pragma unroll
          for (int j = 0; j < LINE; j++) s[i][j][e] += x.s[i][j][e] * by;
        }
    }
  };
  using Row = uint32_t[STEPS][4];   // 16 rows as left operands
  using Sums = float[ACROSS][4];    // 16 rows of a product

  const Attention<T> &a;
  const Work &work;
  int64_t index, head;
  Segment seg;
  int chunk;         // of the segment: the block's own
  bool first, last;  // of its sequence: the segment
  int lane, warp, row0;
  float decay;
  T *k, *v, *q, *g, *state;
  float *power, *w, *z, *centre, *parts;  // [C + 1], [C], [P], [P], [PARTS]

  // A block has the chunk of its number in the order of the chain, or the segment if `chunks` is 1. It
  // waits for blocks of lower numbers alone, and those start no later, as in cub's scans.
  DEVICE Mma(const Attention<T> &a, const Work &work, bool back, uint32_t chunks, int tiles,
             int states)
      : a(a), work(work), lane(thread() % 32), warp(thread() / 32) {
    row0 = 16 * warp;
    T *tile = reinterpret_cast<T *>(shared());
    k = tile, v = k + TILE, q = v + TILE, g = q + TILE, state = tile + tiles * TILE;
    power = reinterpret_cast<float *>(state + states * STATE);
    w = power + C + 8, z = w + C, centre = z + P, parts = centre + P;
    const uint32_t number = uint32_t(block_x()), heads = uint32_t(a.heads), at = number / heads;
    seg = work.segments[(back ? 2 : 1) * work.count + at / chunks];
    index = seg.index;
    chunk = chunks - 1 - int(at % chunks);
    head = number % heads;
    first = seg.edges & FIRST, last = seg.edges & LAST;
    decay = has_decay() ? a.decay[head] : 1.0f;
    if (has_decay() && thread() == 0) {
      power[0] = 1.0f;
      for (int i = 0; i < C; i++) power[i + 1] = power[i] * decay;
    }
  }
  DEVICE bool has_decay() const { return !PLAIN && a.decay; }
  // Returns how many tokens of the segment's chunk there are.
  DEVICE int len(int chunk) const {
    const int64_t left = seg.end - seg.begin - chunk * C;
    return left < 0 ? 0 : left < C ? int(left) : C;
  }
  // Place of a lane in a product: rows of_row() and of_row() + 8, columns 8 j + of_col() and the
  // next.
  DEVICE int of_row() const { return lane / 4; }
  DEVICE int of_col() const { return lane % 4 * 2; }

  // Tiles.

  // Rows are read by the whole block, or 16 of them by their own warp. Octets of features lie in
  // columns of both halves of a row, in turn; those of values in turn along it.
  template <bool OWN>
  DEVICE int feature_row(int i) const {
    return (OWN ? lane : thread()) / (P / 16) + i / 2 * ((OWN ? 32 : COUNT) / (P / 16));
  }
  DEVICE static int feature_col() { return thread() % (P / 16) * 8; }
  DEVICE static int value_row(int i) { return thread() / (P / 8) + i * (COUNT / (P / 8)); }
  DEVICE static int value_col() { return thread() % (P / 8) * 8; }

  // Starts to read rows `base` and on of features into a tile as they are; zero beyond row n.
  template <bool OWN>
  DEVICE void fetch_features(const T *x, int64_t x_t, int64_t x_h, int64_t t, int n, int base,
                             T *tile) const {
    const int row = feature_row<OWN>(0);
    const T *from = x + (t + base + row) * x_t + head * x_h + feature_col();
    T *to = tile + row * PITCH + feature_col();
#pragma unroll
    for (int i = 0; i < SLOTS; i += 2) {
      const int down = i / 2 * ((OWN ? 32 : COUNT) / (P / 16));
      const bool in = base + row + down < n;
      copy_octet(to + down * PITCH, from, in);
      copy_octet(to + down * PITCH + P / 2, from + P / 2, in);
      from += (OWN ? 32 : COUNT) / (P / 16) * x_t;
    }
  }
  // Of values, or their gradients.
  DEVICE void fetch_values(const T *x, int64_t x_t, int64_t x_h, int64_t t, int n, T *tile) const {
    const int row = value_row(0);
    const T *from = x + (t + row) * x_t + head * x_h + value_col();
    T *to = tile + row * PITCH + value_col();
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
      const int down = i * (COUNT / (P / 8));
      copy_octet(to + down * PITCH, from, row + down < n);
      from += COUNT / (P / 8) * x_t;
    }
  }
  // Reads the same rows of features into registers.
  template <bool OWN>
  DEVICE void read_features(const T *x, int64_t x_t, int64_t x_h, int64_t t, int n, int base,
                            Octet (&rows)[SLOTS]) const {
    const int row = feature_row<OWN>(0);
    const T *from = x + (t + base + row) * x_t + head * x_h + feature_col();
#pragma unroll
    for (int i = 0; i < SLOTS; i += 2) {
      const bool in = base + row + i / 2 * ((OWN ? 32 : COUNT) / (P / 16)) < n;
      rows[i] = in ? load_octet(from) : Octet{};
      rows[i + 1] = in ? load_octet(from + P / 2) : Octet{};
      from += (OWN ? 32 : COUNT) / (P / 16) * x_t;
    }
  }
  // Reads what the thread itself has fetched.
  template <bool OWN>
  DEVICE void read_fetched(const T *tile, Octet (&rows)[SLOTS]) const {
    const T *from = tile + feature_row<OWN>(0) * PITCH + feature_col();
#pragma unroll
    for (int i = 0; i < SLOTS; i++)
      rows[i] = load_shared_octet(from + i / 2 * ((OWN ? 32 : COUNT) / (P / 16)) * PITCH +
                                  i % 2 * (P / 2));
  }
  // tile = phi of the rotated rows, zero beyond row n
  template <bool OWN>
  DEVICE void put_features(const Octet (&rows)[SLOTS], int64_t t, int n, int base, T *tile) const {
    T *const first_to = tile + feature_row<OWN>(0) * PITCH + feature_col();
#pragma unroll
    for (int i = 0; i < SLOTS; i += 2) {
      const int row = base + feature_row<OWN>(i);
      T *const to = first_to + i / 2 * ((OWN ? 32 : COUNT) / (P / 16)) * PITCH;
      Octet to_low{}, to_high{};
      if (row < n) {
        const bool turns = !PLAIN && a.cos;
        const int64_t at = turns ? (t + row - seg.origin) * (P / 2) + feature_col() : 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
          float x0 = low(rows[i].pair[e]), x1 = high(rows[i].pair[e]),
                y0 = low(rows[i + 1].pair[e]), y1 = high(rows[i + 1].pair[e]);
          if (turns) {
            const Pair c = load_pair(a.cos + at + 2 * e), s = load_pair(a.sin + at + 2 * e);
            const float turned0 = x0 * c.x - y0 * s.x, turned1 = x1 * c.y - y1 * s.y;
            y0 = y0 * c.x + x0 * s.x, y1 = y1 * c.y + x1 * s.y;
            x0 = turned0, x1 = turned1;
          }
          to_low.pair[e] = pack(feature(x0), feature(x1));
          to_high.pair[e] = pack(feature(y0), feature(y1));
        }
      }
      store_octet(to, to_low);
      store_octet(to + P / 2, to_high);
    }
  }
  // phi: x + 1 is the larger one where x > 0, and the smaller one elsewhere.
  DEVICE static float feature(float x) {
    return greatest(x + 1.0f, rough_exponential(least(greatest(x, -80.0f), 0.0f)));
  }
  // Turns fetched rows into features, in place.
  DEVICE void make_features(int64_t t, int n, T *tile) const {
    Octet rows[SLOTS];
    read_fetched<false>(tile, rows);
    put_features<false>(rows, t, n, 0, tile);
  }
  // to = fetched values minus `centre`, zero outside [n, m]
  DEVICE void centre_values(const T *values, int n, T *to) const {
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
      const int row = value_row(i), col = value_col();
      Octet x = load_shared_octet(values + row * PITCH + col);
      if (row < n)
#pragma unroll
        for (int e = 0; e < 4; e++)
          x.pair[e] = pack(low(x.pair[e]) - centre[col + 2 * e],
                           high(x.pair[e]) - centre[col + 2 * e + 1]);
      store_octet(to + row * PITCH + col, x);
    }
  }
  // Reads the denominators of a thread's rows of values; infinite beyond row n.
  DEVICE void read_denominators(int64_t t, int n, float (&den)[SLOTS]) const {
#pragma unroll
    for (int i = 0; i < SLOTS; i++)
      den[i] = value_row(i) < n ? a.den[head * a.tokens + t + value_row(i)] : INFINITY;
  }
  // Divides fetched gradients by them, in place, and leaves them in w.
  DEVICE void divide_gradients(const float (&den)[SLOTS], T *tile) const {
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
      const int row = value_row(i), col = value_col();
      const float by = 1.0f / den[i];
      if (col == 0) w[row] = den[i];
      Octet x = load_shared_octet(tile + row * PITCH + col);
#pragma unroll
      for (int e = 0; e < 4; e++) x.pair[e] = pack(low(x.pair[e]) * by, high(x.pair[e]) * by);
      store_octet(tile + row * PITCH + col, x);
    }
  }
  // Writes rows `row` and on, 16 of a warp, through `mine`, which no other warp reads any more.
  DEVICE void store_rows(const Sums &x, T *mine, T *to, int64_t to_t, int64_t to_h, int64_t t,
                         int row, int n) const {
    sync_warp();
#pragma unroll
    for (int j = 0; j < ACROSS; j++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        store_word(mine + (of_row() + 8 * half) * PITCH + 8 * j + of_col(),
                   pack(x[j][2 * half], x[j][2 * half + 1]));
    sync_warp();
    const int down = lane / ACROSS, col = lane % ACROSS * 8;
    T *at = to + (t + row + down) * to_t + head * to_h + col;
#pragma unroll
    for (int i = 0; i < 16 * ACROSS / 32; i++) {
      const int further = i * (32 / ACROSS);
      if (row + down + further < n)
        store_last_use(at, load_shared_octet(mine + (down + further) * PITCH + col));
      at += 32 / ACROSS * to_t;
    }
  }

  // Products.

  DEVICE T *own_rows(T *tile) const { return tile + row0 * PITCH; }
  // Loads 16 rows of a tile as left operands.
  DEVICE void load_left(const T *rows, Row &row) const {
    const T *from = rows + lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
    for (int s = 0; s < STEPS; s++) load_matrices(row[s], from + 16 * s);
  }
  // y0, y1 [16, 8] += row tile[at .. at + 16]^T
  DEVICE void times_transposed(const Row &row, const T *tile, int at, float (&y0)[4],
                               float (&y1)[4]) const {
    const T *from = tile + (at + lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      uint32_t b[4];
      load_matrices(b, from + 16 * s);
      multiply_add(y0, row[s], b[0], b[1]);
      multiply_add(y1, row[s], b[2], b[3]);
    }
  }
  // y [16, P] += x tile[at .. at + 16]
  DEVICE void times_rows(const uint32_t (&x)[4], const T *tile, int at, Sums &y) const {
    const T *from = tile + (at + lane % 16) * PITCH + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < ACROSS; j += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, from + 8 * j);
      multiply_add(y[j], x, b[0], b[1]);
      multiply_add(y[j + 1], x, b[2], b[3]);
    }
  }
  // y += row state
  DEVICE void times_state(const Row &row, Sums &y) const {
#pragma unroll
    for (int s = 0; s < STEPS; s++) times_rows(row[s], state, 16 * s, y);
  }
  // y += row state^T
  DEVICE void times_state_transposed(const Row &row, Sums &y) const {
#pragma unroll
    for (int j = 0; j < ACROSS; j += 2) times_transposed(row, state, 8 * j, y[j], y[j + 1]);
  }
  // Returns row z by rows: of_row() in x, of_row() + 8 in y. z lies in columns P and P + 1.
  DEVICE Pair times_z(const Row &row) const {
    float y[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const T *from = state + lane % 16 * PITCH + P;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      uint32_t b[2];
      load_two_matrices_transposed(b, from + 16 * s * PITCH);
      multiply_add(y, row[s], b[0], b[1]);
    }
    return lane % 4 == 0 ? Pair{y[0] + y[1], y[2] + y[3]} : Pair{0.0f, 0.0f};
  }
  DEVICE static void clear(Sums &y) {
#pragma unroll
    for (int j = 0; j < ACROSS; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) y[j][e] = 0.0f;
  }
  // Multiplies rows by x.x and x.y.
  DEVICE static void scale(Sums &y, Pair x) {
#pragma unroll
    for (int j = 0; j < ACROSS; j++) y[j][0] *= x.x, y[j][1] *= x.x, y[j][2] *= x.y, y[j][3] *= x.y;
  }
  // Rounds scores of rows `row` + of_row() against columns `col`, with `later` rows or columns
  // masked, to a left operand; times the decay.
  template <bool TRANSPOSED>
  DEVICE void keep(const float (&y0)[4], const float (&y1)[4], int row, int col,
                   uint32_t (&x)[4]) const {
#pragma unroll
    for (int part = 0; part < 4; part++) {  // rows + 8 in parts 1, 3; columns + 8 in parts 2, 3
      const float *y = (part / 2 ? y1 : y0) + part % 2 * 2;
      const int r = row + of_row() + part % 2 * 8, c = col + of_col() + part / 2 * 8;
      float one = y[0], two = y[1];
      const int age = TRANSPOSED ? c - r : r - c, next = TRANSPOSED ? age + 1 : age - 1;
      if (row == col) one = age >= 0 ? one : 0.0f, two = next >= 0 ? two : 0.0f;
      if (has_decay()) one *= power[age < 0 ? 0 : age], two *= power[next < 0 ? 0 : next];
      x[part] = pack(one, two);
    }
  }

  // The state.

  DEVICE int state_row(int i) const { return 16 * (warp * TILES / ACROSS + i); }
  DEVICE int state_col(int j) const { return 8 * (warp * TILES % ACROSS + j); }
  DEVICE bool has_z() const { return warp * TILES % ACROSS == 0; }

  // s += x^T y over the rows of two tiles, z += x^T weight (or 1); x times decay^(from + step row).
  DEVICE void add_products(const T *x, const T *y, int n, const float *weight, int from, int step,
                           State &sum) const {
    if (has_decay()) sum.scale(power[n]);
    for (int at = 0; at < n; at += 16) {
      uint32_t right[LINE][2];
#pragma unroll
      for (int j = 0; j < LINE; j += 2) {
        const T *b = y + (at + lane % 16) * PITCH + state_col(j);
        if (LINE > 1) {
          uint32_t two[4];
          load_matrices_transposed(two, b + lane / 16 * 8);
          right[j][0] = two[0], right[j][1] = two[1];
          right[j + (LINE > 1)][0] = two[2], right[j + (LINE > 1)][1] = two[3];
        } else {
          load_two_matrices_transposed(right[j], b);
        }
      }
      uint32_t ones[2];
      if (has_z())
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int row = at + 8 * half + of_col();
          float one = 1.0f, two = 1.0f;
          if (weight) one = weight[row], two = weight[row + 1];
          uint32_t rounded = pack(one, two);
          if (weight && of_row() == 1) rounded = pack(one - low(rounded), two - high(rounded));
          ones[half] = of_row() == 0 || (weight && of_row() == 1) ? rounded : 0;
        }
#pragma unroll
      for (int i = 0; i < DOWN; i++) {
        uint32_t left[4];
        load_matrices_transposed(left, x + (at + lane % 8 + lane / 16 * 8) * PITCH + state_row(i) +
                                           lane / 8 % 2 * 8);
        if (has_decay())
#pragma unroll
          for (int part = 0; part < 4; part++) {
            const int row = at + of_col() + part / 2 * 8;
            const int one = from + step * row, two = one + step;
            left[part] = pack(low(left[part]) * (one < 0 ? 0.0f : power[one]),
                              high(left[part]) * (two < 0 ? 0.0f : power[two]));
          }
#pragma unroll
        for (int j = 0; j < LINE; j++) multiply_add(sum.s[i][j], left, right[j][0], right[j][1]);
        if (has_z()) multiply_add(sum.z[i], left, ones[0], ones[1]);
      }
    }
  }
  // Loads a state from memory; zero without one.
  DEVICE void load_state(const float *s, const float *z, State &to) const {
    to.clear();
    if (!s) return;
    const float *from = s + (state_row(0) + of_row()) * P + state_col(0) + of_col();
#pragma unroll
    for (int i = 0; i < DOWN; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int j = 0; j < LINE; j++) {
          const Pair x = load_coherent(from + (16 * i + 8 * half) * P + 8 * j);
          to.s[i][j][2 * half] = x.x, to.s[i][j][2 * half + 1] = x.y;
        }
        if (of_col() == 0 && has_z())
          to.z[i][2 * half] = load_one_coherent(z + state_row(i) + of_row() + 8 * half);
      }
  }
  DEVICE void store_state(const State &from, float *s, float *z) const {
    float *to = s + (state_row(0) + of_row()) * P + state_col(0) + of_col();
#pragma unroll
    for (int i = 0; i < DOWN; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int j = 0; j < LINE; j++)
          store_coherent(to + (16 * i + 8 * half) * P + 8 * j,
                         Pair{from.s[i][j][2 * half], from.s[i][j][2 * half + 1]});
        if (of_col() == 0 && has_z())
          store_one_coherent(z + state_row(i) + of_row() + 8 * half,
                             from.z[i][2 * half] + from.z[i][2 * half + 1]);
      }
  }
  // Rounds the state into shared memory as an operand, with z in columns P and P + 1 as the sum of
  // two rounded numbers.
  DEVICE void share_state(const State &from) const {
#pragma unroll
    for (int i = 0; i < DOWN; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = state_row(i) + of_row() + 8 * half;
#pragma unroll
        for (int j = 0; j < LINE; j++)
          store_word(state + row * PITCH + state_col(j) + of_col(),
                     pack(from.s[i][j][2 * half], from.s[i][j][2 * half + 1]));
        if (has_z()) {
          const float sum = from.z[i][2 * half] + from.z[i][2 * half + 1];
          const float rounded = low(pack(sum, 0.0f));
          store_word(state + row * PITCH + P + of_col(),
                     of_col() == 0 ? pack(rounded, sum - rounded) : 0);
        }
      }
  }
  // Leaves z in float in shared memory.
  DEVICE void share_z(const State &from) const {
    if (!has_z() || of_col() != 0) return;
#pragma unroll
    for (int i = 0; i < DOWN; i++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        z[state_row(i) + of_row() + 8 * half] = from.z[i][2 * half] + from.z[i][2 * half + 1];
  }
  // Place of the state before a chunk of a segment, or after it.
  DEVICE float *state_at(float *states, int64_t index, int chunk) const {
    return states + ((index * CHUNKS + chunk) * a.heads + head) * (P * P + P);
  }
  // The chain: warps of a block wait for, and tell, the same warp of the next chunk's block, since
  // both keep the same part of the state.
  DEVICE int32_t *flag(int64_t index, int chunk) const {
    return work.flags + ((index * CHUNKS + chunk) * a.heads + head) * W + warp;
  }
  // Loads the state before this chunk (after it, backward): at the `end` of the sequence the given
  // one; else what another block passes on.
  DEVICE void load_passed(bool end, const float *s0, const float *z0, float *states, int chunk,
                          State &to) const {
    if (end) {
      const int64_t line = seg.seq * a.heads + head;
      load_state(s0 ? s0 + line * P * P : nullptr, s0 ? z0 + line * P : nullptr, to);
    } else {
      wait_for(flag(index, chunk), lane);
      const float *from = state_at(states, index, chunk);
      load_state(from, from + P * P, to);
    }
  }
  DEVICE void pass_on(const State &x, float *states, int64_t index, int chunk) const {
    float *s = state_at(states, index, chunk);
    store_state(x, s, s + P * P);
    tell(flag(index, chunk), lane);
  }
};

// Computes the outputs of rows `row` and on of a chunk, 16 of a warp, and their denominators.
template <class B, class T>
DEVICE void attend(const B &b, const typename B::Row &q, const T *k, const T *v, bool empty,
                   int64_t t, int row, int n, T *mine) {
  const auto &a = b.a;
  typename B::Sums out;
  Pair den{0.0f, 0.0f};
  B::clear(out);
  if (!empty) {
    b.times_state(q, out);
    den = b.times_z(q);
    if (b.has_decay()) {
      const Pair left{b.power[row + b.of_row() + 1], b.power[row + b.of_row() + 9]};
      B::scale(out, left);
      den.x *= left.x, den.y *= left.y;
    }
  }
  // den sums the rounded scores, so that the weights of a row add up to one.
  const auto count = [&](const uint32_t(&scores)[4]) {
    den.x += low(scores[0]) + high(scores[0]) + low(scores[2]) + high(scores[2]);
    den.y += low(scores[1]) + high(scores[1]) + low(scores[3]) + high(scores[3]);
  };
  int at = 0;
  for (; at < row; at += 32) {  // two tiles at a time, for the sake of latency
    float y[4][4] = {};
    uint32_t scores[4], next[4];
    b.times_transposed(q, k, at, y[0], y[1]);
    b.times_transposed(q, k, at + 16, y[2], y[3]);
    b.template keep<false>(y[0], y[1], row, at, scores);
    b.template keep<false>(y[2], y[3], row, at + 16, next);
    count(scores);
    count(next);
    b.times_rows(scores, v, at, out);
    b.times_rows(next, v, at + 16, out);
  }
  if (at == row) {
    float y0[4] = {}, y1[4] = {};
    uint32_t scores[4];
    b.times_transposed(q, k, at, y0, y1);
    b.template keep<false>(y0, y1, row, at, scores);
    count(scores);
    b.times_rows(scores, v, at, out);
  }
  den = Pair{sum_of_four(den.x) + a.eps, sum_of_four(den.y) + a.eps};
  if (b.of_col() == 0) {
    float *to = a.den + b.head * a.tokens + t + row + b.of_row();
    if (row + b.of_row() < n) to[0] = den.x;
    if (row + b.of_row() + 8 < n) to[8] = den.y;
  }
  B::scale(out, Pair{1.0f / den.x, 1.0f / den.y});
  b.store_rows(out, mine, a.out, a.heads * 8 * B::ACROSS, 8 * B::ACROSS, t, row, n);
}

// Computes outputs, denominators and the states before chunks, which backward takes. TWO: segments may
// have two chunks. A warp computes 16 rows near the start of the first and 16 near the end of the
// second, so that each has as much to do.
template <class T, int P, int W, bool TWO, bool PLAIN>
DEVICE void mma_forward(const Attention<T> &a, const Work &work) {
  using B = Mma<T, P, W, PLAIN>;
  constexpr int SIZE = TWO ? 2 : 1;
  B b(a, work, false, 1, 2 * SIZE + 1, SIZE);
  const int64_t begin = b.seg.begin, next = begin + B::C;
  const int n0 = b.len(0), n1 = TWO ? b.len(1) : 0;
  T *const k = b.k, *const v = k + SIZE * B::TILE, *const q = v + SIZE * B::TILE + b.row0 * B::PITCH;
  const int row1 = 16 * (W - 1) - b.row0;
  Octet later[B::SLOTS];
  b.template fetch_features<false>(a.k, a.k_t, a.k_h, begin, n0, 0, k);
  b.fetch_values(a.v, a.v_t, a.v_h, begin, n0, v);
  if (n1) {
    b.template fetch_features<false>(a.k, a.k_t, a.k_h, next, n1, 0, k + B::TILE);
    b.fetch_values(a.v, a.v_t, a.v_h, next, n1, v + B::TILE);
  }
  b.template fetch_features<true>(a.q, a.q_t, a.q_h, begin, n0, b.row0, q);
  wait_for_copies();
  b.make_features(begin, n0, k);
  if (n1) b.make_features(next, n1, k + B::TILE);
  sync();
  const bool given = a.s0 || !b.first, passes = !b.last || a.s1;
  if (given || passes || n1) {
    typename B::State now, sum0, sum1;
    sum0.clear(), sum1.clear();
    if (passes || n1) b.add_products(k, v, n0, nullptr, n0 - 1, -1, sum0);
    if (passes && n1) b.add_products(k + B::TILE, v + B::TILE, n1, nullptr, n1 - 1, -1, sum1);
    b.load_passed(b.first, a.s0, a.z0, work.states, 0, now);
    sum0.add(now, b.has_decay() ? b.power[n0] : 1.0f);  // before the second chunk
    if (passes) {
      sum1.add(sum0, b.has_decay() ? b.power[n1] : 1.0f);  // after the segment
      if (!b.last) {
        b.pass_on(sum1, work.states, b.index + 1, 0);
      } else {
        const int64_t line = b.seg.seq * a.heads + b.head;
        b.store_state(sum1, a.s1 + line * P * P, a.z1 + line * P);
      }
    }
    b.share_state(now);
    if (n1) {
      float *kept = b.state_at(work.states, b.index, 1);
      b.store_state(sum0, kept, kept + P * P);
      b.state += B::STATE;
      b.share_state(sum0);
      b.state -= B::STATE;
    }
  }
  b.template read_fetched<true>(q, later);
  b.template put_features<true>(later, begin, n0, b.row0, q);
  if (n1) b.template read_features<true>(a.q, a.q_t, a.q_h, next, n1, row1, later);
  sync();
  typename B::Row row;
  if (b.row0 < n0) {
    b.load_left(q, row);
    attend(b, row, k, v, !given, begin, b.row0, n0, q);
  }
  if (TWO && row1 < n1) {
    sync_warp();
    b.template put_features<true>(later, next, n1, row1, q);
    sync_warp();
    b.load_left(q, row);
    b.state += B::STATE;
    attend(b, row, k + B::TILE, v + B::TILE, false, next, row1, n1, q);
  }
}

// Turns the gradient of features into that of x: times phi' = min(phi, 1), then rotated back.
template <class B>
DEVICE void of_features(const B &b, const typename B::Row &features, typename B::Sums &x,
                        int64_t t, int n) {
#pragma unroll
  for (int s = 0; s < B::STEPS; s++)
#pragma unroll
    for (int part = 0; part < 4; part++) {  // the left operand's parts, where products lie
      float *y = x[2 * s + part / 2] + part % 2 * 2;
      const float one = low(features[s][part]), two = high(features[s][part]);
      y[0] *= one < 1.0f ? one : 1.0f, y[1] *= two < 1.0f ? two : 1.0f;
    }
  if (B::IS_PLAIN || !b.a.cos) return;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = b.row0 + b.of_row() + 8 * half;
    if (row >= n) continue;
    const int64_t at = (t + row - b.seg.origin) * (B::ACROSS * 4) + b.of_col();
#pragma unroll
    for (int j = 0; j < B::ACROSS / 2; j++) {
      const Pair c = load_pair(b.a.cos + at + 8 * j), s = load_pair(b.a.sin + at + 8 * j);
      float *one = x[j] + 2 * half, *two = x[j + B::ACROSS / 2] + 2 * half;
      const float back0 = one[0] * c.x + two[0] * s.x, back1 = one[1] * c.y + two[1] * s.y;
      two[0] = two[0] * c.x - one[0] * s.x, two[1] = two[1] * c.y - one[1] * s.y;
      one[0] = back0, one[1] = back1;
    }
  }
}

// Finds the mean value by the state; by the chunk's values v while that is empty. Centres the state, and
// leaves z in shared memory.
template <class B, class T>
DEVICE void centre_state(const B &b, bool given, typename B::State &state, const T *v, int n) {
  constexpr int P = B::ACROSS * 8, PARTS = B::COUNT / P;
  const int col = thread() % P, part = thread() / P;
  if (given) {  // sums of columns over a warp's rows, then over warps
    float *const to = b.parts + b.state_row(0) / (16 * B::DOWN) * P + b.state_col(0) + b.of_col();
#pragma unroll
    for (int j = 0; j < B::LINE; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < B::DOWN; i++) sum += state.s[i][j][e] + state.s[i][j][2 + e];
        sum = sum_of_rows(sum);
        if (b.of_row() == 0) to[8 * j + e] = sum;
      }
    b.share_z(state);
  } else if (part < PARTS) {
    float sum = 0.0f;
    for (int i = part; i < n; i += PARTS) sum += to_float(v[i * B::PITCH + col]);
    b.parts[thread()] = sum;
  }
  sync();
  if (part == 0) {
    float sum = 0.0f, total = given ? 0.0f : float(n);
    for (int i = 0; i < (given ? B::STEPS / B::DOWN : PARTS); i++) sum += b.parts[i * P + col];
    if (given)
      for (int i = 0; i < P; i++) total += b.z[i];
    b.centre[col] = total > 0.0f ? sum / total : 0.0f;
  }
  sync();
  if (!given) return;
#pragma unroll
  for (int i = 0; i < B::DOWN; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float weight = b.z[b.state_row(i) + b.of_row() + 8 * half];
#pragma unroll
      for (int j = 0; j < B::LINE; j++)
#pragma unroll
        for (int e = 0; e < 2; e++)
          state.s[i][j][2 * half + e] -= weight * b.centre[b.state_col(j) + b.of_col() + e];
    }
}

// Computes all gradients of one chunk, with the state centred: see "In bfloat16" in
// docs/causal-linear-attention.md. dq needs the state before the chunk, which forward has kept; dk
// and dv need the gradient of the state after it, which comes along the chain, backward in time.
template <class T, int P, int W, bool TWO, bool PLAIN>
DEVICE void mma_backward(const Attention<T> &a, const Work &work) {
  using B = Mma<T, P, W, PLAIN>;
  B b(a, work, true, TWO ? 2 : 1, 5, 2);
  const int64_t t = b.seg.begin + b.chunk * B::C, line = b.seg.seq * a.heads + b.head;
  const int n = b.len(b.chunk), row = b.row0 + b.of_row();
  if (n == 0) return;  // of a block: all its threads
  T *const centred = b.g + B::TILE;
  const bool first = b.first && b.chunk == 0, last = b.last && b.len(b.chunk + 1) == 0;
  b.template fetch_features<false>(a.q, a.q_t, a.q_h, t, n, 0, b.q);
  b.template fetch_features<false>(a.k, a.k_t, a.k_h, t, n, 0, b.k);
  b.fetch_values(a.v, a.v_t, a.v_h, t, n, b.v);
  b.fetch_values(a.grad, a.grad_t, a.grad_h, t, n, b.g);
  const bool begun = a.s0 || !first;
  typename B::State state;
  if (begun) {
    const float *s = first ? a.s0 + line * P * P : b.state_at(work.states, b.index, b.chunk);
    b.load_state(s, first ? a.z0 + line * P : s + P * P, state);
  }
  float den[B::SLOTS];
  b.read_denominators(t, n, den);
  wait_for_copies();
  sync();
  centre_state(b, begun, state, b.v, n);
  b.make_features(t, n, b.q);
  b.make_features(t, n, b.k);
  b.centre_values(b.v, n, centred);
  b.divide_gradients(den, b.g);
  if (begun) b.share_state(state);
  sync();

  typename B::Row left, right;
  typename B::Sums x;
  if (b.row0 < n) {  // dq
    const Pair power = b.has_decay() ? Pair{b.power[row + 1], b.power[row + 9]} : Pair{1.0f, 1.0f};
    b.load_left(b.own_rows(b.q), left);
    B::clear(x);
    if (begun) {
      b.times_state(left, x);
      if (b.has_decay()) B::scale(x, power);
    }
    for (int at = 0; at <= b.row0; at += 16) {
      float y0[4] = {}, y1[4] = {};
      uint32_t scores[4];
      b.times_transposed(left, b.k, at, y0, y1);
      b.template keep<false>(y0, y1, b.row0, at, scores);
      b.times_rows(scores, centred, at, x);
    }
    // w = -g . (O - c); for the pass over keys, -g . O
    b.load_left(b.own_rows(b.g), right);
    Pair sum{0.0f, 0.0f}, shift{0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < B::ACROSS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const uint32_t up = right[j / 2][j % 2 * 2], down = right[j / 2][j % 2 * 2 + 1];
        const float c = b.centre[8 * j + b.of_col() + e];
        const float g0 = e ? high(up) : low(up), g1 = e ? high(down) : low(down);
        sum.x += g0 * (x[j][e] - a.eps * c), sum.y += g1 * (x[j][e + 2] - a.eps * c);
        shift.x += g0 * c, shift.y += g1 * c;
      }
    sum = Pair{sum_of_four(sum.x), sum_of_four(sum.y)};
    shift = Pair{sum_of_four(shift.x), sum_of_four(shift.y)};
    const Pair w{-sum.x / b.w[row], -sum.y / b.w[row + 8]};  // zero beyond row n
    sync_warp();
    if (b.of_col() == 0) {
      b.w[row] = row < n ? w.x - shift.x : 0.0f, b.w[row + 8] = row + 8 < n ? w.y - shift.y : 0.0f;
    }
    B::clear(x);
    if (begun) {
      b.times_state_transposed(right, x);
#pragma unroll
      for (int j = 0; j < B::ACROSS; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const float norm = b.z[8 * j + b.of_col() + e];
          x[j][e] += w.x * norm, x[j][e + 2] += w.y * norm;
        }
      if (b.has_decay()) B::scale(x, power);
    }
    for (int at = 0; at <= b.row0; at += 16) {
      float y0[4] = {w.x, w.x, w.y, w.y}, y1[4] = {w.x, w.x, w.y, w.y};
      uint32_t scores[4];
      b.times_transposed(right, centred, at, y0, y1);
      b.template keep<false>(y0, y1, b.row0, at, scores);
      b.times_rows(scores, b.k, at, x);
    }
    of_features(b, left, x, t, n);
  } else if (b.of_col() == 0) {
    b.w[row] = b.w[row + 8] = 0.0f;
  }
  sync();  // `centred` is free, and w is whole
  if (b.row0 < n)
    b.store_rows(x, b.own_rows(centred), a.dq, a.dq_t, a.dq_h, t, b.row0, n);

  const bool given = a.ds1 || !last, passes = a.ds0 || !first;
  if (given || passes) {
    typename B::State sum;
    sum.clear();
    if (passes) b.add_products(b.q, b.g, n, b.w, 1, 1, sum);
    b.load_passed(last, a.ds1, a.dz1, work.back, b.chunk, state);
    if (passes) {
      sum.add(state, b.has_decay() ? b.power[n] : 1.0f);
      if (first)
        b.store_state(sum, a.ds0 + line * P * P, a.dz0 + line * P);
      else if (b.chunk == 0)
        b.pass_on(sum, work.back, b.index - 1, TWO ? 1 : 0);
      else
        b.pass_on(sum, work.back, b.index, 0);
    }
    b.state += B::STATE;
    b.share_state(state);
    b.share_z(state);
    sync();
  }

  if (b.row0 >= n) return;
  const int age = n - 1 - row;
  const Pair power{age < 0 ? 0.0f : b.has_decay() ? b.power[age] : 1.0f,
                   age < 8 ? 0.0f : b.has_decay() ? b.power[age - 8] : 1.0f};
  b.load_left(b.own_rows(b.v), left);  // dk
  b.load_left(b.own_rows(b.k), right);
  B::clear(x);
  if (given) {
    b.times_state_transposed(left, x);
#pragma unroll
    for (int j = 0; j < B::ACROSS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float norm = b.z[8 * j + b.of_col() + e];
        x[j][e] += norm, x[j][e + 2] += norm;
      }
    B::scale(x, power);
  }
  for (int at = b.row0; at < n; at += 16) {
    const int col = at + b.of_col();
    float y0[4] = {b.w[col], b.w[col + 1], b.w[col], b.w[col + 1]},
          y1[4] = {b.w[col + 8], b.w[col + 9], b.w[col + 8], b.w[col + 9]};
    uint32_t scores[4];
    b.times_transposed(left, b.g, at, y0, y1);
    b.template keep<true>(y0, y1, b.row0, at, scores);
    b.times_rows(scores, b.q, at, x);
  }
  of_features(b, right, x, t, n);
  b.store_rows(x, b.own_rows(b.v), a.dk, a.dk_t, a.dk_h, t, b.row0, n);
  B::clear(x);  // dv
  if (given) {
    b.times_state(right, x);
    B::scale(x, power);
  }
  for (int at = b.row0; at < n; at += 16) {
    float y0[4] = {}, y1[4] = {};
    uint32_t scores[4];
    b.times_transposed(right, b.q, at, y0, y1);
    b.template keep<true>(y0, y1, b.row0, at, scores);
    b.times_rows(scores, b.g, at, x);
  }
  b.store_rows(x, b.own_rows(b.k), a.dv, a.dv_t, a.dv_h, t, b.row0, n);
}

}  // namespace cuda
}  // namespace lf
