// A model on the GPU, one token of each row at a time: device code. The same steps as
// cpu_decode.inl.
//
// Every sum has an order that does not depend on the number of rows or on a row's place, so that a
// slot's scores have the same bits in any company. A row at position 0 takes its state as zero and
// overwrites it: nothing resets a slot. The including file defines THREADS, thread(), block_x(),
// block_y(), sync(), shared() and the functions of a float or double, so that the file also
// compiles for the CPU, where tests run it (tests/emulation).
#pragma once
#include <cstdint>

#include "decode.h"

namespace lf {
namespace cuda {
namespace decode {

// Divides a loop among the threads of a block.
#define EACH_OF(i, n) for (int i = thread(); i < (n); i += THREADS)

constexpr int PANEL = 32;                // columns of a panel of a weight (see lf::Linear)
constexpr int SLICES = THREADS / PANEL;  // parts of a sum, each in its own threads
constexpr int TILE = 16;                 // rows of a product in a block
constexpr int CHUNK = 256;               // inputs of a product in shared memory at once
constexpr int LARGEST_HEAD = 1024;       // D, by the shared memory of `Mix`
static_assert(SLICES * TILE * PANEL <= TILE * CHUNK, "partial sums take the place of the inputs");
static_assert(CHUNK % (4 * SLICES) == 0 && 16 % (4 * SLICES) == 0, "a slice is whole quads");

// Four floats of shared memory that are read at once.
struct alignas(16) Quad {
  float x[4];
};

DEVICE float *floats() { return reinterpret_cast<float *>(shared()); }
DEVICE float silu(float x) { return x / (1.0f + exponential(-x)); }
DEVICE float softplus(float x) {
  return (x > 0.0f ? x : 0.0f) + log_one_plus(exponential(x > 0.0f ? -x : x));
}
DEVICE float phi(float x) {
  return x > 0.0f ? x + 1.0f : exponential(x < -80.0f ? -80.0f : x);
}

// Sum of each thread's `x`, known to all threads. `scratch` has THREADS + SLICES floats.
DEVICE float sum_of_block(float x, float *scratch) {
  scratch[thread()] = x;
  sync();
  if (thread() < SLICES) {
    float part = 0.0f;
    for (int i = 0; i < PANEL; i++) part += scratch[thread() * PANEL + i];
    scratch[THREADS + thread()] = part;
  }
  sync();
  float sum = 0.0f;
  for (int i = 0; i < SLICES; i++) sum += scratch[THREADS + i];
  sync();
  return sum;
}

// Embedding and rotary angles of a row.
struct Embed {
  Rows rows;
  const float *embed;
  const double *frequency;
  int64_t width;
  int half;
  float *x, *angle;  // [rows, W], [rows, D]: cosines, then sines
  int shared_floats() const { return 0; }
  DEVICE void operator()() const {
    const int64_t row = block_x();
    if (row >= *rows.count) return;
    const float *from = embed + int64_t(rows.token[row]) * width;
    EACH_OF(j, width) x[row * width + j] = from[j];
    EACH_OF(j, half) {
      const double turn = double(rows.position[row]) * frequency[j];
      angle[row * 2 * half + j] = float(cosine(turn));
      angle[row * 2 * half + half + j] = float(sine(turn));
    }
  }
};

// LayerNorm or RMSNorm of a row.
struct Normalise {
  const int64_t *count;
  Norm norm;
  bool rms;
  float eps;
  int64_t width;
  const float *x;
  float *y;
  int shared_floats() const { return THREADS + SLICES; }
  DEVICE void operator()() const {
    const int64_t row = block_x();
    if (row >= *count) return;
    const float *from = x + row * width;
    float mean = 0.0f, sum = 0.0f;
    if (!rms) {
      EACH_OF(j, width) sum += from[j];
      mean = sum_of_block(sum, floats()) / float(width);
      sum = 0.0f;
    }
    EACH_OF(j, width) sum += (from[j] - mean) * (from[j] - mean);
    const float square = sum_of_block(sum, floats());
    const float scale = 1.0f / square_root(square / float(width) + eps);
    EACH_OF(j, width)
    y[row * width + j] =
        (from[j] - mean) * scale * norm.weight[j] + (norm.bias ? norm.bias[j] : 0.0f);
  }
};

// What happens to the inputs of a product on the way into shared memory.
enum class Input {
  PLAIN,
  GATED,   // times silu(gate)
  GELU,    //
  SWIGLU,  // [rows, 2 K]: silu of the first half of a row times the second
};

// y = x weight + bias, or y += it, of TILE rows and one panel.
template <Input INPUT>
struct Product {
  const int64_t *count;
  const float *x, *gate;  // [rows, K]
  Linear linear;
  int64_t inputs, outputs;
  float *y;  // [rows, N]
  bool add;
  int shared_floats() const { return TILE * CHUNK; }

  DEVICE float input(int64_t row, int64_t k) const {
    if (INPUT == Input::SWIGLU) {
      const float *from = x + row * 2 * inputs + k;
      return silu(from[0]) * from[inputs];
    }
    const float value = x[row * inputs + k];
    if (INPUT == Input::GATED) return value * silu(gate[row * inputs + k]);
    if (INPUT == Input::GELU)
      return 0.5f * value * (1.0f + error_function(value * 0.70710678118654752f));
    return value;
  }

  DEVICE void operator()() const {
    const int64_t first = block_y() * TILE, column = block_x() * PANEL;
    if (first >= *count) return;
    const int rows = *count - first < TILE ? int(*count - first) : TILE;
    const int columns = outputs - column < PANEL ? int(outputs - column) : PANEL;
    const int mine = thread() % PANEL, slice = thread() / PANEL;
    // The threads beyond the last panel's columns compute the first one once more.
    const float *weight = linear.weight + column * inputs + (mine < columns ? mine : 0);
    float *tile = floats(), sum[TILE];
    for (int r = 0; r < TILE; r++) sum[r] = 0.0f;
    for (int64_t from = 0; from < inputs; from += CHUNK) {
      const int depth = inputs - from < CHUNK ? int(inputs - from) : CHUNK;
      EACH_OF(i, TILE * CHUNK) {
        const int r = i / CHUNK, k = i % CHUNK;
        tile[i] = r < rows && k < depth ? input(first + r, from + k) : 0.0f;
      }
      sync();
      const int end = (slice + 1) * (depth / SLICES);
      UNROLL
      for (int k = slice * (depth / SLICES); k < end; k += 4) {
        float w[4];
        for (int i = 0; i < 4; i++) w[i] = weight[(from + k + i) * columns];
        for (int r = 0; r < TILE; r++) {
          const Quad a = *reinterpret_cast<const Quad *>(tile + r * CHUNK + k);
          for (int i = 0; i < 4; i++) sum[r] += a.x[i] * w[i];
        }
      }
      sync();
    }
    for (int r = 0; r < TILE; r++) tile[(slice * TILE + r) * PANEL + mine] = sum[r];
    sync();
    EACH_OF(i, rows * PANEL) {
      const int r = i / PANEL, c = i % PANEL;
      if (c >= columns) continue;
      float all = linear.bias ? linear.bias[column + c] : 0.0f;
      for (int s = 0; s < SLICES; s++) all += tile[(s * TILE + r) * PANEL + c];
      float *to = y + (first + r) * outputs + column + c;
      *to = add ? *to + all : all;
    }
  }
};

// Convolution, rotation, feature map and attention step of one head of a row.
struct Mix {
  Rows rows;
  const float *qkv, *angle;  // [rows, 3 W], [rows, D]
  const float *conv;         // [taps, 3 W], or null
  int64_t taps, width, heads;
  const float *decay;  // [H]
  // Of a token: left [rows, left_row], the product with its input, and rate [H], or null.
  const float *left, *rate;
  int64_t left_row;
  float eps;
  float *s, *z, *past;  // of the layer: [slots, H, D, D], [slots, H, D], [slots, taps - 1, 3 W]
  float *mixed;         // [rows, W]
  int shared_floats() const { return (5 + SLICES) * int(width / heads); }

  // Convolves the input x of a channel with the earlier ones, and appends it to them.
  DEVICE float convolve(float x, int64_t slot, int64_t channel, bool fresh) const {
    float *earlier = past + slot * (taps - 1) * 3 * width + channel;
    float sum = x * conv[(taps - 1) * 3 * width + channel];
    for (int64_t j = 0; j + 1 < taps; j++) {
      const float old = fresh ? 0.0f : earlier[j * 3 * width];
      sum += old * conv[j * 3 * width + channel];
      if (j > 0) earlier[(j - 1) * 3 * width] = old;
    }
    if (taps > 1) earlier[(taps - 2) * 3 * width] = x;
    return sum;
  }

  DEVICE void operator()() const {
    const int64_t row = block_x(), head = block_y();
    if (row >= *rows.count) return;
    const int d = int(width / heads), half = d / 2;
    const int64_t slot = rows.slot[row], line = slot * heads + head;
    const bool fresh = rows.position[row] == 0;
    float *raw = floats(), *q = raw + 3 * d, *k = q + d, *part = k + d;
    const float *v = raw + 2 * d;
    EACH_OF(i, 3 * d) {
      const int64_t channel = i / d * width + head * d + i % d;
      const float x = qkv[row * 3 * width + channel];
      raw[i] = conv ? convolve(x, slot, channel, fresh) : x;
    }
    sync();
    EACH_OF(i, d) {
      const int pair = i < half ? i : i - half, other = i < half ? i + half : pair;
      const float cos = angle[row * d + pair], sin = angle[row * d + half + pair];
      const float sign = i < half ? -sin : sin;
      q[i] = phi(raw[i] * cos + raw[other] * sign);
      k[i] = phi(raw[d + i] * cos + raw[d + other] * sign);
    }
    sync();
    const float factor =
        rate ? exponential(-rate[head] * softplus(left[row * left_row + head])) : decay[head];
    float *const state = s + line * d * d, *const keys = z + line * d;
    // raw's first third holds q z from here on.
    EACH_OF(i, d) {
      const float sum = (fresh ? 0.0f : keys[i] * factor) + k[i];
      keys[i] = sum;
      raw[i] = q[i] * sum;
    }
    const int slice = thread() / PANEL;
    constexpr int AHEAD = 8;  // loads in flight
    for (int j = thread() % PANEL; j < d; j += PANEL) {
      float sum = 0.0f, old[AHEAD];
      for (int from = slice; from < d; from += SLICES * AHEAD) {
        for (int n = 0; n < AHEAD; n++) {
          const int i = from + n * SLICES;
          old[n] = fresh || i >= d ? 0.0f : state[i * d + j];
        }
        for (int n = 0; n < AHEAD; n++) {
          const int i = from + n * SLICES;
          if (i >= d) continue;
          const float now = old[n] * factor + k[i] * v[j];
          state[i * d + j] = now;
          sum += q[i] * now;
        }
      }
      part[slice * d + j] = sum;
    }
    sync();
    EACH_OF(j, d) {
      float den = eps, sum = 0.0f;
      for (int i = 0; i < d; i++) den += raw[i];
      for (int n = 0; n < SLICES; n++) sum += part[n * d + j];
      mixed[row * width + head * d + j] = sum / den;
    }
  }
};

}  // namespace decode
}  // namespace cuda
}  // namespace lf
