// The convolution's kernels and their launches.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define DEVICE __device__ __forceinline__

namespace lf {
namespace cuda {
namespace {

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class E>
DEVICE E from_float(float x) {
  return E(x);
}
template <>
DEVICE __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

}  // namespace
}  // namespace cuda
}  // namespace lf

#include "convolution.cuh"

namespace lf {
namespace cuda {
namespace {

constexpr unsigned THREADS = 128;

// Blocks: segments, then groups of channels, then parts of a segment or taps.
#define CONVOLUTION_KERNEL \
  template <class T>        \
  __global__ void __launch_bounds__(THREADS)
DEVICE int64_t channel() { return int64_t(blockIdx.y) * THREADS + threadIdx.x; }

CONVOLUTION_KERNEL convolve(const Convolution<T> c, const Work work) {
  if (channel() < c.channels) convolve_rows(c, rows_of(work, blockIdx.x, blockIdx.z), channel());
}
CONVOLUTION_KERNEL convolve_back(const Convolution<T> c, const Work work) {
  if (channel() < c.channels)
    convolve_back_rows(c, rows_of(work, blockIdx.x, blockIdx.z), channel());
}
CONVOLUTION_KERNEL convolve_taps(const Convolution<T> c, const Work work) {
  if (channel() < c.channels) convolve_back_tap(c, work, blockIdx.x, blockIdx.z, channel());
}

template <class T>
int run(const Convolution<T> &c, const Work &work, bool backward, void *to) {
  const auto stream = static_cast<cudaStream_t>(to);
  if (work.count == 0 || c.channels == 0) return cudaSuccess;
  const unsigned count = unsigned(work.count),
                 groups = unsigned((c.channels + THREADS - 1) / THREADS);
  const dim3 rows(count, groups,
                  unsigned((work.longest + CONVOLUTION_ROWS - 1) / CONVOLUTION_ROWS));
  if (!backward) {
    convolve<T><<<rows, THREADS, 0, stream>>>(c, work);
    return cudaGetLastError();
  }
  convolve_back<T><<<rows, THREADS, 0, stream>>>(c, work);
  if (const cudaError_t error = cudaGetLastError()) return error;
  convolve_taps<T><<<dim3(count, groups, unsigned(c.taps)), THREADS, 0, stream>>>(c, work);
  return cudaGetLastError();
}

}  // namespace

int convolve_f32(const Convolution<float> &c, const Work &w, void *stream) {
  return run(c, w, false, stream);
}
int convolve_back_f32(const Convolution<float> &c, const Work &w, void *stream) {
  return run(c, w, true, stream);
}
int convolve_bf16(const void *c, const Work &w, void *stream) {
  return run(*static_cast<const Convolution<__nv_bfloat16> *>(c), w, false, stream);
}
int convolve_back_bf16(const void *c, const Work &w, void *stream) {
  return run(*static_cast<const Convolution<__nv_bfloat16> *>(c), w, true, stream);
}

}  // namespace cuda
}  // namespace lf
