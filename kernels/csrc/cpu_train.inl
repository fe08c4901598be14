// Activation and loss of a model in training, with their gradients.
#pragma once
#include "cpu.h"
#include "cpu_decode.inl"
#include "cpu_vector.inl"

namespace lf {
namespace {

inline Floats sigmoid(Floats x) {
  const Floats one = Floats{} + 1.0f, e = exp_negative(x < 0 ? x : -x);
  return (x < 0 ? e : one) / (one + e);
}

void swiglu(const float *up, int64_t rows, int64_t feed, float *out) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < feed; j += W<float>) {
      const float *gate = up + r * 2 * feed + j;
      store(out + r * feed + j, silu(load(gate)) * load(gate + feed));
    }
}

void swiglu_back(const float *up, const float *dout, int64_t rows, int64_t feed, float *dup) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < feed; j += W<float>) {
      const float *gate = up + r * 2 * feed + j;
      const Floats x = load(gate), s = sigmoid(x), dy = load(dout + r * feed + j);
      store(dup + r * 2 * feed + j, dy * load(gate + feed) * s * (1.0f + x * (1.0f - s)));
      store(dup + r * 2 * feed + feed + j, dy * x * s);
    }
}

// Folds the lanes of x, from the first to the last.
template <class F>
inline float fold(Floats x, F both) {
  float all = x[0];
  for (int i = 1; i < W<float>; i++) all = both(all, x[i]);
  return all;
}

void cross_entropy(const float *scores, const int64_t *targets, int64_t rows, int64_t vocab,
                   float *losses, float *log_sums) {
  const int64_t whole = vocab / W<float> * W<float>;
  for (int64_t r = 0; r < rows; r++) {
    const float *row = scores + r * vocab;
    Floats most = Floats{} + row[0], sum{};
    for (int64_t j = 0; j < whole; j += W<float>) most = larger(most, load(row + j));
    // A NaN is no largest number, and reaches the sum below.
    float largest = fold(most, [](float a, float b) { return a > b ? a : b; });
    for (int64_t j = whole; j < vocab; j++) largest = row[j] > largest ? row[j] : largest;
    for (int64_t j = 0; j < whole; j += W<float>) sum += exp_negative(load(row + j) - largest);
    float total = fold(sum, [](float a, float b) { return a + b; });
    for (int64_t j = whole; j < vocab; j++) total += exp_negative(row[j] - largest);
    log_sums[r] = largest + __builtin_logf(total);
    losses[r] = log_sums[r] - row[targets[r]];
  }
}

void cross_entropy_back(const float *scores, const int64_t *targets, const float *log_sums,
                        const float *dlosses, int64_t rows, int64_t vocab, float *dscores) {
  const int64_t whole = vocab / W<float> * W<float>;
  for (int64_t r = 0; r < rows; r++) {
    const float *row = scores + r * vocab, scale = dlosses[r];
    float *to = dscores + r * vocab;
    for (int64_t j = 0; j < whole; j += W<float>)
      store(to + j, scale * exp_negative(load(row + j) - log_sums[r]));
    for (int64_t j = whole; j < vocab; j++) to[j] = scale * exp_negative(row[j] - log_sums[r]);
    to[targets[r]] -= scale;
  }
}

}  // namespace
}  // namespace lf
