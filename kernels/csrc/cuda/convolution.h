// Arguments of the convolution's CUDA kernels, without headers of libtorch or of CUDA.
#pragma once
#include "attention.h"

namespace lf {
namespace cuda {

// Causal convolution of each channel: x, y [tokens, channels], w [taps, channels]; the last tap
// weighs the token itself.
template <class T>
struct Convolution {
  const T *x;
  const float *w;
  T *y;
  const T *dy;
  T *dx;
  float *dw;  // [segments, taps, channels]: each segment's share
  int64_t channels, taps;
};

// Each returns a cudaError_t. The bfloat16 ones take Convolution<T> with any 16-bit T.
int convolve_f32(const Convolution<float> &, const Work &, void *stream);
int convolve_back_f32(const Convolution<float> &, const Work &, void *stream);
int convolve_bf16(const void *convolution, const Work &, void *stream);
int convolve_back_bf16(const void *convolution, const Work &, void *stream);

}  // namespace cuda
}  // namespace lf
