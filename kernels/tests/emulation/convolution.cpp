// Runs the device code of the convolution on the CPU, one thread after another.
#include <cmath>
#include <vector>

#define DEVICE inline

namespace lf {
namespace cuda {
namespace {

inline float to_float(float x) { return x; }
template <class E>
E from_float(float x) {
  return x;
}

}  // namespace
}  // namespace cuda
}  // namespace lf

#include "../../csrc/cuda/convolution.cuh"
#include "../../csrc/cuda/segments.h"

using namespace lf::cuda;

// x, dy [tokens, channels], w [taps, channels]. Writes y, dx and dw, which has the shape of w.
extern "C" void emulate_convolution(const float *x, const float *w, const float *dy, float *y,
                                    float *dx, float *dw, int64_t channels, int64_t taps,
                                    const int64_t *cu_seqlens, int64_t sequences, int64_t longest) {
  const Segments made = divide(cu_seqlens, nullptr, sequences, longest);
  Work work{};
  work.segments = made.all.data(), work.first = made.first.data();
  work.count = made.count(), work.sequences = sequences;
  std::vector<float> shares(size_t(work.count * taps * channels), NAN);
  const Convolution<float> c{x, w, y, dy, dx, shares.data(), channels, taps};
  const int64_t parts = (longest + CONVOLUTION_ROWS - 1) / CONVOLUTION_ROWS;
  for (int64_t channel = 0; channel < channels; channel++)
    for (int64_t segment = 0; segment < work.count; segment++) {
      for (int64_t part = 0; part < parts; part++) {
        convolve_rows(c, rows_of(work, segment, part), channel);
        convolve_back_rows(c, rows_of(work, segment, part), channel);
      }
      for (int64_t tap = 0; tap < taps; tap++)
        convolve_back_tap(c, work, segment, tap, channel);
    }
  for (int64_t i = 0; i < taps * channels; i++) {
    dw[i] = 0.0f;
    for (int64_t segment = 0; segment < work.count; segment++)
      dw[i] += shares[size_t(segment * taps * channels + i)];
  }
}
