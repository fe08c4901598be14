// Products of linear layers for AVX-512, forward and backward. Operands are floats or, compiled for
// AVX512_BF16, floats rounded to bfloat16; sums are floats.
//
// A unit is what a lane multiplies at once: a float, or two bfloat16 that are neighbours along the
// depth of the product. Packed operands are in panels of columns, each [units of the depth, columns
// of the panel], padded with zeros. Each sum runs along the depth in one order for any number of
// rows, columns and threads.
#pragma once
#include "cpu.h"
#include "cpu_vector.inl"

namespace lf {
namespace {

constexpr int64_t COLS = 32;    // columns of a right operand's panel and of a register block
constexpr int64_t MR = 8;       // rows of a register block, columns of a left operand's panel
constexpr int64_t BLOCK = 64;   // rows whose units stay in the cache while panels pass by
constexpr int64_t CHUNK = 128;  // units of an outer product's depth that stay in the cache

inline __mmask16 lanes(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1; }

#ifdef __AVX512BF16__
constexpr int64_t PER_UNIT = 2;
inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
// Units of the floats from p on, of which n are there; zeros follow.
inline __m512 units_along(const float *p, int64_t n) {
  const __m512 low = _mm512_maskz_loadu_ps(lanes(n), p),
               high = _mm512_maskz_loadu_ps(lanes(n - 16), p + 16);
  return (__m512)_mm512_cvtne2ps_pbh(high, low);
}
// Units of 16 columns: each has a float of a row and, if there is one, of the next row.
inline __m512 units_across(const float *p, int64_t row, int64_t rows, __mmask16 mask) {
  const auto wide = [=](const float *from) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from)));
  };
  const __m512i low = wide(p);
  return (__m512)(rows > 1 ? _mm512_or_si512(low, _mm512_slli_epi32(wide(p + row), 16)) : low);
}
#else
constexpr int64_t PER_UNIT = 1;
inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b) { return _mm512_fmadd_ps(a, b, sum); }
inline __m512 units_along(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(lanes(n), p); }
inline __m512 units_across(const float *p, int64_t, int64_t, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, p);
}
#endif

inline int64_t units(int64_t depth) { return (depth + PER_UNIT - 1) / PER_UNIT; }
inline int64_t panels(int64_t cols) { return (cols + COLS - 1) / COLS; }

// Packs x[depth, cols], whose rows are `row` apart, in panels of WIDTH columns and `lines` units.
template <int64_t WIDTH>
void pack(const float *x, int64_t depth, int64_t cols, int64_t row, int64_t lines, float *out) {
  for (int64_t k = 0; k < units(depth); k++)
    for (int64_t j = 0; j < panels(cols) * COLS; j += 16) {
      const __m512 all = units_across(x + k * PER_UNIT * row + j, row, depth - k * PER_UNIT,
                                      lanes(cols - j));
      float *to = out + j / WIDTH * WIDTH * lines + k * WIDTH + j % WIDTH;
      _mm256_storeu_ps(to, _mm512_castps512_ps256(all));
      _mm256_storeu_ps(to + (WIDTH > 8 ? 8 : 8 * lines), _mm512_extractf32x8_ps(all, 1));
    }
}

// Packs the transpose of x[cols, depth], whose rows are `row` apart, in panels of 32 columns.
void pack_transposed(const float *x, int64_t depth, int64_t cols, int64_t row, float *out) {
  alignas(64) float square[16 * 16];
  const int64_t n = units(depth);
  for (int64_t half = 0; half < panels(cols) * COLS; half += 16)
    for (int64_t k = 0; k < n; k += 16) {
      for (int64_t i = 0; i < 16; i++)
        _mm512_store_ps(square + i * 16,
                        half + i < cols
                            ? units_along(x + (half + i) * row + k * PER_UNIT, depth - k * PER_UNIT)
                            : _mm512_setzero_ps());
      transpose_square(square, 16, square, 16);
      float *to_units = out + half / COLS * COLS * n + k * COLS + half % COLS;
      for (int64_t i = 0; i < 16 && k + i < n; i++)
        _mm512_storeu_ps(to_units + i * COLS, _mm512_load_ps(square + i * 16));
    }
}

// One register block: sum[8, 32] += a b over n units. Unit k of row i is a[i * a_row + k * a_unit].
struct Tile {
  __m512 sum[MR][2];

  inline __attribute__((always_inline)) void multiply(int64_t n, const float *__restrict a,
                                                      int64_t a_row, int64_t a_unit,
                                                      const float *__restrict b) {
    for (int64_t k = 0; k < n; k++, a += a_unit, b += COLS) {
      const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 8
      for (int64_t i = 0; i < MR; i++) {
        const __m512 x = _mm512_set1_ps(a[i * a_row]);
        sum[i][0] = multiply_add(sum[i][0], x, b0), sum[i][1] = multiply_add(sum[i][1], x, b1);
      }
    }
  }
  // Fills the block with y[rows, cols], and with zeros beyond.
  inline __attribute__((always_inline)) void load(const float *y, int64_t ldy, int64_t rows,
                                                  int64_t cols) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < MR; i++) {
      sum[i][0] = _mm512_maskz_loadu_ps(i < rows ? lanes(cols) : 0, y + i * ldy);
      sum[i][1] = _mm512_maskz_loadu_ps(i < rows ? lanes(cols - 16) : 0, y + i * ldy + 16);
    }
  }
  inline __attribute__((always_inline)) void store(float *y, int64_t ldy, int64_t rows,
                                                   int64_t cols) const {
#pragma GCC unroll 8
    for (int64_t i = 0; i < MR; i++) {
      _mm512_mask_storeu_ps(y + i * ldy, i < rows ? lanes(cols) : 0, sum[i][0]);
      _mm512_mask_storeu_ps(y + i * ldy + 16, i < rows ? lanes(cols - 16) : 0, sum[i][1]);
    }
  }
};

// y[rows, cols] = x[rows, depth] right + bias + residual[rows, cols]; the last two may be null.
// Scratch memory: BLOCK rows of units, each padded to 16.
void row_products(const float *x, int64_t rows, int64_t depth, const float *right, int64_t cols,
                 const float *bias, const float *residual, float *y, float *scratch) {
  const int64_t n = units(depth), line = padded(n);
  for (int64_t first = 0; first < rows; first += BLOCK) {
    const int64_t count = rows - first < BLOCK ? rows - first : BLOCK;
    for (int64_t i = 0; i < count; i++)
      for (int64_t k = 0; k < n; k += 16)
        _mm512_storeu_ps(scratch + i * line + k, units_along(x + (first + i) * depth + k * PER_UNIT,
                                                             depth - k * PER_UNIT));
    for (int64_t col = 0; col < cols; col += COLS)
      for (int64_t i = 0; i < count; i += MR) {
        const int64_t at = (first + i) * cols + col;
        Tile tile;
        tile.load(residual ? residual + at : y, cols, residual ? count - i : 0, cols - col);
        if (bias) {
          const __m512 b0 = _mm512_maskz_loadu_ps(lanes(cols - col), bias + col),
                       b1 = _mm512_maskz_loadu_ps(lanes(cols - col - 16), bias + col + 16);
#pragma GCC unroll 8
          for (int64_t r = 0; r < MR; r++) tile.sum[r][0] += b0, tile.sum[r][1] += b1;
        }
        tile.multiply(n, scratch + i * line, line, 1, right + col * n);
        tile.store(y + at, cols, count - i, cols - col);
      }
  }
}

// Rows [from, to) of y[rows, cols] = left^T right, of `depth` tokens. Operands are in chunks of
// CHUNK units; in each, the left one is in panels of 8 columns.
void outer_product(const float *left, int64_t rows, const float *right, int64_t cols, int64_t depth,
                  int64_t from, int64_t to, float *y) {
  const int64_t n = units(depth);
  for (int64_t k = 0; k < n; k += CHUNK) {
    const float *a = left + k * panels(rows) * COLS, *b = right + k * panels(cols) * COLS;
    for (int64_t col = 0; col < cols; col += COLS)
      for (int64_t row = from; row < to; row += MR) {
        Tile tile;
        float *to_y = y + row * cols + col;
        tile.load(to_y, cols, k > 0 ? to - row : 0, cols - col);
        tile.multiply(n - k < CHUNK ? n - k : CHUNK, a + row * CHUNK, 1, MR, b + col * CHUNK);
        tile.store(to_y, cols, to - row, cols - col);
      }
  }
}

// sums[cols] = sum of the rows of x[rows, cols].
void column_sums(const float *x, int64_t rows, int64_t cols, float *sums) {
  for (int64_t j = 0; j < cols; j++) sums[j] = 0;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) sums[j] += x[i * cols + j];
}

}  // namespace

extern const LinearTable LF_LINEAR = {
    PER_UNIT,     CHUNK,           COLS,         BLOCK,         pack<MR>,
    pack<COLS>,   pack_transposed, row_products, outer_product, column_sums,
};

}  // namespace lf
