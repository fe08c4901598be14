// The CUDA kernels: the primitives that attention.cuh needs, the kernels and their launches.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>

#include <type_traits>

#define DEVICE __device__ __forceinline__

namespace lf {
namespace cuda {

using Bf16 = __nv_bfloat16;
constexpr int THREADS = 256;

DEVICE int thread() { return int(threadIdx.x); }
DEVICE int64_t block_x() { return blockIdx.x; }
DEVICE int64_t block_y() { return blockIdx.y; }
DEVICE void sync() { __syncthreads(); }
DEVICE unsigned char *shared() {
  extern __shared__ __align__(128) unsigned char memory[];
  return memory;
}
DEVICE float to_float(float x) { return x; }
DEVICE float to_float(Bf16 x) { return __bfloat162float(x); }
template <class E>
DEVICE E from_float(float x);
template <>
DEVICE float from_float<float>(float x) {
  return x;
}
template <>
DEVICE Bf16 from_float<Bf16>(float x) {
  return __float2bfloat16_rn(x);
}
DEVICE float exponential(float x) { return expf(x); }
DEVICE float power_of(float x, float n) { return powf(x, n); }

// y[M, N] (+)= a b. a is [M, K], or [K, M] if TA; b is [K, N], or [N, K] if TB. The whole block
// computes it in tensor cores: each warp takes tiles of 16 x 16, row by row.
template <int M, int N, int K, bool TA, bool TB>
DEVICE void multiply(const Bf16 *a, int lda, const Bf16 *b, int ldb, float *y, int ldy, bool add) {
  using namespace nvcuda::wmma;
  using ALayout = typename std::conditional<TA, col_major, row_major>::type;
  using BLayout = typename std::conditional<TB, col_major, row_major>::type;
  constexpr int ACROSS = N / 16;
  for (int tile = thread() / 32; tile < M / 16 * ACROSS; tile += THREADS / 32) {
    const int i = tile / ACROSS * 16, j = tile % ACROSS * 16;
    fragment<accumulator, 16, 16, 16, float> sum;
    if (add)
      load_matrix_sync(sum, y + i * ldy + j, ldy, mem_row_major);
    else
      fill_fragment(sum, 0.0f);
#pragma unroll
    for (int k = 0; k < K; k += 16) {
      fragment<matrix_a, 16, 16, 16, Bf16, ALayout> left;
      fragment<matrix_b, 16, 16, 16, Bf16, BLayout> right;
      load_matrix_sync(left, TA ? a + k * lda + i : a + i * lda + k, lda);
      load_matrix_sync(right, TB ? b + j * ldb + k : b + k * ldb + j, ldb);
      mma_sync(sum, left, right, sum);
    }
    store_matrix_sync(y + i * ldy + j, sum, ldy, mem_row_major);
  }
}
// The product in float: each thread computes blocks of 2 x 4, with float's own rounding.
template <int M, int N, int K, bool TA, bool TB>
DEVICE void multiply(const float *a, int lda, const float *b, int ldb, float *y, int ldy,
                     bool add) {
  for (int tile = thread(); tile < M / 2 * (N / 4); tile += THREADS) {
    const int i = tile / (N / 4) * 2, j = tile % (N / 4) * 4;
    float sum[2][4];
    for (int r = 0; r < 2; r++)
      for (int c = 0; c < 4; c++) sum[r][c] = add ? y[(i + r) * ldy + j + c] : 0.0f;
#pragma unroll 4
    for (int k = 0; k < K; k++) {
      float left[2], right[4];
      for (int r = 0; r < 2; r++) left[r] = TA ? a[k * lda + i + r] : a[(i + r) * lda + k];
      for (int c = 0; c < 4; c++) right[c] = TB ? b[(j + c) * ldb + k] : b[k * ldb + j + c];
      for (int r = 0; r < 2; r++)
        for (int c = 0; c < 4; c++) sum[r][c] += left[r] * right[c];
    }
    for (int r = 0; r < 2; r++)
      for (int c = 0; c < 4; c++) y[(i + r) * ldy + j + c] = sum[r][c];
  }
}

}  // namespace cuda
}  // namespace lf

#include "attention.cuh"

namespace lf {
namespace cuda {
namespace {

#define KERNEL                     \
  template <class T, int P, int C> \
  __global__ void __launch_bounds__(THREADS, 1)
KERNEL sum_forward(const Attention<T> a, const Work w) { sum_segment<T, P, C, false>(a, w); }
KERNEL sum_backward(const Attention<T> a, const Work w) { sum_segment<T, P, C, true>(a, w); }
KERNEL forward(const Attention<T> a, const Work w) { forward_segment<T, P, C>(a, w); }
KERNEL backward_q(const Attention<T> a, const Work w) { backward_queries<T, P, C>(a, w); }
KERNEL backward_kv(const Attention<T> a, const Work w) { backward_keys_and_values<T, P, C>(a, w); }
template <class T, bool BACK>
__global__ void __launch_bounds__(THREADS, 1) scan(const Attention<T> a, const Work w) {
  scan_segments<BACK>(a, w);
}
__global__ void __launch_bounds__(THREADS, 1) step(const Step p) { step_head(p); }

// Octets of shared memory of the largest kernel, with up to 128 octets of rounding for each tile.
template <class T, int P, int C>
constexpr size_t shared_octets() {
  return 4 * (P * P + 2 * P + C * P + C * C + 2 * C + 1) + sizeof(T) * (P * P + 4 * C * P + C * C) +
         16 * 128;
}

template <class T, int P, int C, class Kernel>
int launch(Kernel kernel, const Attention<T> &a, const Work &w, cudaStream_t stream) {
  const size_t bytes = shared_octets<T, P, C>();
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
  if (error != cudaSuccess) return error;
  if (w.count > 0)
    kernel<<<dim3(unsigned(w.count), unsigned(a.heads)), THREADS, bytes, stream>>>(a, w);
  return cudaGetLastError();
}

template <bool BACK, class T>
int launch_scan(const Attention<T> &a, const Work &w, cudaStream_t stream) {
  if (w.sequences > 0)
    scan<T, BACK><<<dim3(unsigned(w.sequences), unsigned(a.heads)), THREADS, 0, stream>>>(a, w);
  return cudaGetLastError();
}

template <class T, int P, int C>
int run(const Attention<T> &a, const Work &w, bool backward, cudaStream_t stream) {
  int error = launch<T, P, C>(sum_forward<T, P, C>, a, w, stream);
  if (!error) error = launch_scan<false>(a, w, stream);
  if (!backward) return error ? error : launch<T, P, C>(forward<T, P, C>, a, w, stream);
  if (!error) error = launch<T, P, C>(backward_q<T, P, C>, a, w, stream);
  if (!error) error = launch<T, P, C>(sum_backward<T, P, C>, a, w, stream);
  if (!error) error = launch_scan<true>(a, w, stream);
  return error ? error : launch<T, P, C>(backward_kv<T, P, C>, a, w, stream);
}

// Chooses tiles for the head dimension.
template <class T>
int sized(const Attention<T> &a, const Work &w, bool backward, void *stream) {
  const int64_t size = a.d > a.m ? a.d : a.m;
  const auto s = static_cast<cudaStream_t>(stream);
  constexpr bool SHORT = sizeof(T) == 2;  // bfloat16 tiles leave memory for longer chunks
  if (size <= 32) return run<T, 32, SHORT ? 64 : 32>(a, w, backward, s);
  if (size <= 64) return run<T, 64, SHORT ? 64 : 32>(a, w, backward, s);
  if (size <= LARGEST) return run<T, 128, SHORT ? 32 : 16>(a, w, backward, s);
  return cudaErrorInvalidValue;
}

}  // namespace

int forward_f32(const Attention<float> &a, const Work &w, void *stream) {
  return sized(a, w, false, stream);
}
int backward_f32(const Attention<float> &a, const Work &w, void *stream) {
  return sized(a, w, true, stream);
}
int forward_bf16(const void *a, const Work &w, void *stream) {
  return sized(*static_cast<const Attention<Bf16> *>(a), w, false, stream);
}
int backward_bf16(const void *a, const Work &w, void *stream) {
  return sized(*static_cast<const Attention<Bf16> *>(a), w, true, stream);
}
int step_f32(const Step &p, void *stream) {
  if (p.d > LARGEST) return cudaErrorInvalidValue;
  const auto s = static_cast<cudaStream_t>(stream);
  if (p.rows > 0) step<<<dim3(unsigned(p.rows)), THREADS, 3 * LARGEST * sizeof(float), s>>>(p);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace lf
