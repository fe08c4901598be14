// Vectors, register blocks and elementary functions for the instruction set that the file is
// compiled for.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif
// LF_BYTES: octets of a vector. LF_MR, LF_NV: rows and vectors of a register block. LF_TALL: rows
// of a block that is one vector wide.
#ifndef LF_BYTES
#define LF_BYTES 16
#define LF_MR 4
#define LF_NV 2
#define LF_TALL 4
#endif

namespace lf {
namespace {

constexpr int64_t C = 16;  // tokens in a chunk; sizes are padded to multiples of it

// Elements of a vector.
template <class T>
constexpr int64_t W = LF_BYTES / sizeof(T);

typedef float Floats __attribute__((vector_size(LF_BYTES), aligned(4), may_alias));
typedef double Doubles __attribute__((vector_size(LF_BYTES), aligned(8), may_alias));
typedef int32_t Ints __attribute__((vector_size(LF_BYTES)));
typedef int64_t Longs __attribute__((vector_size(LF_BYTES)));
template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef Floats type;
  typedef Ints index;
};
template <>
struct VecOf<double> {
  typedef Doubles type;
  typedef Longs index;
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
// Returns 1 in lane `at` and 0 in the others; zeros if there is no such lane.
template <class T>
inline Vec<T> unit(int64_t at) {
  typedef typename VecOf<T>::index Index;
  Index lane;
  for (int i = 0; i < W<T>; i++) lane[i] = i;
  return lane == Index{} + decltype(lane[0] + 0)(at) ? Vec<T>{} + T(1) : Vec<T>{};
}
inline int64_t padded(int64_t n) { return (n + C - 1) / C * C; }

template <class T>
T *aligned(T *p) {
  return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64);
}

// Operands of a product: of the left one, element (i, k) is at p[i * row + k * col]; of the right
// one, row k is at p + k * row.
template <class T>
struct Left {
  const T *p;
  int64_t row, col;
};
template <class T>
struct Right {
  const T *p;
  int64_t row;
};

template <int MR, int NV, class T>
inline __attribute__((always_inline)) void multiply(Vec<T> (&sum)[MR][NV], int64_t depth,
                                                    const T *__restrict a, int64_t a_row,
                                                    int64_t a_col, const T *__restrict b,
                                                    int64_t b_row) {
  for (int64_t k = 0; k < depth; k++) {
    Vec<T> row[NV];
    for (int j = 0; j < NV; j++) row[j] = load(b + k * b_row + j * W<T>);
    for (int i = 0; i < MR; i++) {
      const T x = a[i * a_row + k * a_col];
      for (int j = 0; j < NV; j++) sum[i][j] += x * row[j];
    }
  }
}

// Computes one block of ended(scaled(first + a b) + a2 b2), in registers throughout. `first`,
// `scaled` and `ended` get a row and a column of the whole product and, except `first`, the sum so
// far.
template <int MR, int NV, class T, class First, class Scaled, class Ended>
inline __attribute__((always_inline)) void block(int64_t row, int64_t col, int64_t depth, Left<T> a,
                                                 Right<T> b, int64_t depth2, Left<T> a2,
                                                 Right<T> b2, First first, Scaled scaled,
                                                 Ended ended) {
  Vec<T> sum[MR][NV];
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NV; j++) sum[i][j] = first(row + i, col + j * W<T>);
  multiply<MR, NV, T>(sum, depth, a.p + row * a.row, a.row, a.col, b.p + col, b.row);
  if (depth2 > 0) {
    for (int i = 0; i < MR; i++)
      for (int j = 0; j < NV; j++) sum[i][j] = scaled(row + i, col + j * W<T>, sum[i][j]);
    multiply<MR, NV, T>(sum, depth2, a2.p + row * a2.row, a2.row, a2.col, b2.p + col, b2.row);
  }
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NV; j++) ended(row + i, col + j * W<T>, sum[i][j]);
}

// Rows prefetched after each block of a product (see Prefetcher): enough for all rows of a chunk.
constexpr int64_t STEPS = 12;

// Computes the whole product block by block, with steps of the prefetcher after each. rows and cols
// are multiples of 16.
template <class T, class Steps, class First, class Scaled, class Ended>
inline __attribute__((always_inline)) void products(Steps &prefetcher, int64_t rows, int64_t cols,
                                                    int64_t depth, Left<T> a, Right<T> b,
                                                    int64_t depth2, Left<T> a2, Right<T> b2,
                                                    First first, Scaled scaled, Ended ended) {
  int64_t n = 0;
  for (; n + LF_NV * W<T> <= cols; n += LF_NV * W<T>)
    for (int64_t i = 0; i < rows; i += LF_MR) {
      block<LF_MR, LF_NV>(i, n, depth, a, b, depth2, a2, b2, first, scaled, ended);
      prefetcher.steps(STEPS);
    }
  for (; n < cols; n += W<T>)
    for (int64_t i = 0; i < rows; i += LF_TALL) {
      block<LF_TALL, 1>(i, n, depth, a, b, depth2, a2, b2, first, scaled, ended);
      prefetcher.steps(STEPS);
    }
}

template <class T>
struct Zero {
  Vec<T> operator()(int64_t, int64_t) const { return Vec<T>{}; }
};
template <class T>
struct Same {
  Vec<T> operator()(int64_t, int64_t, Vec<T> x) const { return x; }
};

// y = y scale + a b
template <class T, class Steps>
void update(Steps &prefetcher, int64_t rows, int64_t cols, int64_t depth, Left<T> a, Right<T> b,
            T scale, T *y, int64_t ldy) {
  const auto end = [=](int64_t i, int64_t j, Vec<T> x) { store(y + i * ldy + j, x); };
  const auto old = [=](int64_t i, int64_t j) { return load(y + i * ldy + j); };
  const auto scaled = [=](int64_t i, int64_t j) { return load(y + i * ldy + j) * scale; };
  if (scale == 1)
    products(prefetcher, rows, cols, depth, a, b, 0, a, b, old, Same<T>(), end);
  else
    products(prefetcher, rows, cols, depth, a, b, 0, a, b, scaled, Same<T>(), end);
}

// Transposes a square of W x W: each round interleaves the two halves of its rows.
template <class T>
inline __attribute__((always_inline)) void transpose_square(const T *x, int64_t ldx, T *t,
                                                            int64_t ldt) {
  constexpr int N = W<T>;
  typedef typename VecOf<T>::index Index;
  Index low, high;
  for (int i = 0; i < N; i++) {
    low[i] = i / 2 + (i % 2) * N;
    high[i] = N / 2 + i / 2 + (i % 2) * N;
  }
  Vec<T> a[N], b[N];
  for (int i = 0; i < N; i++) a[i] = load(x + i * ldx);
  for (int round = 1; round < N; round *= 2) {
    for (int i = 0; i < N / 2; i++) {
      b[2 * i] = __builtin_shuffle(a[i], a[i + N / 2], low);
      b[2 * i + 1] = __builtin_shuffle(a[i], a[i + N / 2], high);
    }
    for (int i = 0; i < N; i++) a[i] = b[i];
  }
  for (int i = 0; i < N; i++) store(t + i * ldt, a[i]);
}
// t[n, 16] = x[16, n] transposed. n is a multiple of 16.
template <class T>
void transpose(const T *x, int64_t ldx, int64_t n, T *t) {
  for (int64_t j = 0; j < n; j += W<T>)
    for (int64_t i = 0; i < C; i += W<T>) transpose_square(x + i * ldx + j, ldx, t + j * C + i, C);
}

#ifdef __AVX512F__
inline Floats smaller(Floats x, Floats y) { return _mm512_min_ps(x, y); }
inline Floats larger(Floats x, Floats y) { return _mm512_max_ps(x, y); }
#elif defined(__AVX2__)
inline Floats smaller(Floats x, Floats y) { return _mm256_min_ps(x, y); }
inline Floats larger(Floats x, Floats y) { return _mm256_max_ps(x, y); }
#else
inline Floats smaller(Floats x, Floats y) { return x < y ? x : y; }
inline Floats larger(Floats x, Floats y) { return x > y ? x : y; }
#endif
inline Doubles smaller(Doubles x, Doubles y) { return x < y ? x : y; }
inline Doubles larger(Doubles x, Doubles y) { return x > y ? x : y; }

// e^x for x <= 0, within 2 units in the last place; constant below -80. Computed as 2^n e^r with
// |r| at most ln 2 / 2, by a polynomial with the least maximal relative error there. NaN stays NaN:
// it is the second operand, which the machine's min and max return.
inline Floats exp_negative(Floats x) {
  x = larger(Floats{} - 80.0f, x);
#ifdef __AVX512F__
  const Floats n =
      _mm512_roundscale_ps(x * 1.44269504088896341f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  // Rounds to nearest, since x <= 0.
  const Ints whole = __builtin_convertvector(x * 1.44269504088896341f - 0.5f, Ints);
  const Floats n = __builtin_convertvector(whole, Floats);
#endif
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = r * 8.2975119874e-3f + 4.1916371720e-2f;
  p = p * r + 1.6667582005e-1f;
  p = p * r + 4.9998886072e-1f;
  p = p * r + 9.9999968829e-1f;
  p = p * r + 1.0f;
#ifdef __AVX512F__
  return _mm512_scalef_ps(p, n);
#else
  return (Floats)((Ints)p + (whole << 23));
#endif
}
inline Doubles exp_negative(Doubles x) {
  for (int i = 0; i < W<double>; i++) x[i] = __builtin_exp(x[i] < -80.0 ? -80.0 : x[i]);
  return x;
}
inline float exp_negative(float x) { return exp_negative(Floats{} + x)[0]; }

// phi(x) = elu(x) + 1
template <class V>
inline V phi(V x) {
  const V zero{};
  return larger(zero, x) + exp_negative(smaller(zero, x));
}
// row[n] = phi(x[n]), then zeros up to np, a multiple of 16. x has np readable elements, or is row
// itself.
template <class T>
inline void phi_row(const T *x, int64_t n, int64_t np, T *row) {
  for (int64_t j = 0; j < np; j += W<T>) store(row + j, phi(load(x + j)));
  for (int64_t j = n; j < np; j++) row[j] = 0;
}

// row = x rotated by the angles of one position (RoPE). Pair i is x[i] and x[i + half].
template <class T>
inline void rotate(const T *__restrict x, const T *__restrict cos, const T *__restrict sin,
                   int64_t half, T *__restrict row) {
  for (int64_t i = 0; i < half; i++) {
    row[i] = x[i] * cos[i] - x[i + half] * sin[i];
    row[i + half] = x[i + half] * cos[i] + x[i] * sin[i];
  }
}

}  // namespace
}  // namespace lf
