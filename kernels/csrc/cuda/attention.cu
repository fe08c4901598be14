// The CUDA kernels: the primitives that attention.cuh and attention_mma.cuh need, the kernels and
// their launches.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>

#include <algorithm>
#include <cstdint>
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
// NaN if x is.
DEVICE float least(float x, float y) {
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
DEVICE float greatest(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
// Of x in [-80, 0], within 2^-20 of it.
DEVICE float rough_exponential(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504088896341f));
  return y;
}
DEVICE float power_of(float x, float n) { return powf(x, n); }

// Pairs of bfloat16, and of float.
DEVICE float low(uint32_t pair) { return __uint_as_float(pair << 16); }
DEVICE float high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
DEVICE uint32_t pack(float x, float y) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(y), "f"(x));
  return pair;
}
using Pair = float2;
DEVICE Pair load_pair(const float *from) { return __ldg(reinterpret_cast<const float2 *>(from)); }
// What another block writes while this one runs lies in the L2 cache alone.
DEVICE Pair load_coherent(const float *from) {
  return __ldcg(reinterpret_cast<const float2 *>(from));
}
DEVICE float load_one_coherent(const float *from) { return __ldcg(from); }
DEVICE void store_coherent(float *to, Pair x) { __stcg(reinterpret_cast<float2 *>(to), x); }
DEVICE void store_one_coherent(float *to, float x) { __stcg(to, x); }
DEVICE void store_word(void *to, uint32_t x) { *static_cast<uint32_t *>(to) = x; }

struct Octet;
template <class T>
DEVICE Octet load_octet(const T *from);
template <class T>
DEVICE Octet load_shared_octet(const T *from);
template <class T>
DEVICE void store_octet(T *to, const Octet &x);
template <class T>
DEVICE void store_last_use(T *to, const Octet &x);

// Copies 16 octets to shared memory, or zeros, while the thread goes on.
DEVICE void copy_octet(void *to, const void *from, bool in) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from),
                 "r"(in ? 16 : 0)
               : "memory");
}
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" : : : "memory"); }

// Instructions of a warp.
DEVICE void sync_warp() { __syncwarp(); }
DEVICE uint32_t shared_address(const void *p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
DEVICE void load_matrices(uint32_t (&to)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
DEVICE void load_matrices_transposed(uint32_t (&to)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
DEVICE void load_two_matrices_transposed(uint32_t (&to)[2], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(shared_address(row))
               : "memory");
}
// y [16, 8] += a [16, 16] b [16, 8]
DEVICE void multiply_add(float (&y)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(y[0]), "+f"(y[1]), "+f"(y[2]), "+f"(y[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Adds the numbers of four lanes that share a row.
DEVICE float sum_of_four(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Adds the numbers of eight lanes that share a column.
DEVICE float sum_of_rows(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 4);
  x += __shfl_xor_sync(0xffffffffu, x, 8);
  return x + __shfl_xor_sync(0xffffffffu, x, 16);
}

// The chain of segments.
DEVICE void wait_for(const int32_t *flag, int lane) {
  if (lane == 0) {
    int32_t told;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(told) : "l"(flag) : "memory");
    while (told == 0);
  }
  __syncwarp();
}
DEVICE void tell(int32_t *flag, int lane) {
  __syncwarp();  // what the other lanes wrote comes before, too
  if (lane == 0)
    asm volatile("st.release.gpu.global.s32 [%0], %1;" : : "l"(flag), "r"(1) : "memory");
}

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
#include "attention_mma.cuh"

namespace lf {
namespace cuda {

// Of memory that no block writes while this one runs.
template <class T>
DEVICE Octet load_octet(const T *from) {
  const uint4 x = __ldg(reinterpret_cast<const uint4 *>(from));
  return Octet{{x.x, x.y, x.z, x.w}};
}
template <class T>
DEVICE Octet load_shared_octet(const T *from) {
  const uint4 x = *reinterpret_cast<const uint4 *>(from);
  return Octet{{x.x, x.y, x.z, x.w}};
}
template <class T>
DEVICE void store_octet(T *to, const Octet &x) {
  *reinterpret_cast<uint4 *>(to) = make_uint4(x.pair[0], x.pair[1], x.pair[2], x.pair[3]);
}
// To memory that is not read soon: it may leave the cache first.
template <class T>
DEVICE void store_last_use(T *to, const Octet &x) {
  __stcs(reinterpret_cast<uint4 *>(to), make_uint4(x.pair[0], x.pair[1], x.pair[2], x.pair[3]));
}

}  // namespace cuda
}  // namespace lf

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

// Kernels of attention_mma.cuh. So many blocks fit a multiprocessor: their registers are bounded.
#define MMA_KERNEL                                       \
  template <class T, int P, int W, bool TWO, bool PLAIN> \
  __global__ void __launch_bounds__(32 * W, P == 64 ? (W < 8 ? 10 / W : 2) : 24 / W)
MMA_KERNEL forward_mma(const Attention<T> a, const Work w) {
  mma_forward<T, P, W, TWO, PLAIN>(a, w);
}
MMA_KERNEL backward_mma(const Attention<T> a, const Work w) {
  mma_backward<T, P, W, TWO, PLAIN>(a, w);
}
template <class T, bool BACK>
__global__ void __launch_bounds__(THREADS) carry(const Attention<T> a, const Work w) {
  carry_states<BACK>(a, w);
}

template <class T, class Kernel>
int launch(Kernel kernel, size_t octets, const Attention<T> &a, const Work &w,
           cudaStream_t stream) {
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(octets));
  if (error != cudaSuccess) return error;
  if (w.count > 0)
    kernel<<<dim3(unsigned(w.count), unsigned(a.heads)), THREADS, octets, stream>>>(a, w);
  return cudaGetLastError();
}

// Passes on the states of empty sequences, where last ones are asked for.
template <bool BACK, class T>
int launch_carry(const Attention<T> &a, const Work &w, cudaStream_t stream) {
  if (w.sequences > 0 && (BACK ? a.ds0 : a.s1))
    carry<T, BACK><<<dim3(unsigned(w.sequences), unsigned(a.heads)), THREADS, 0, stream>>>(a, w);
  return cudaGetLastError();
}

// Turns the sums of segments into states.
template <bool BACK, class T, int P, int C, class Kernel>
int launch_chain(Kernel sum, const Attention<T> &a, const Work &w, cudaStream_t stream) {
  if (!w.chained) return launch_carry<BACK>(a, w, stream);
  const int error = launch(sum, sum_octets<T, P, C>(), a, w, stream);
  if (error) return error;
  const dim3 blocks(unsigned(w.sequences * scan_parts(a.d, a.m)), unsigned(a.heads));
  scan<T, BACK><<<blocks, THREADS, 0, stream>>>(a, w);
  return cudaGetLastError();
}

template <class T, int P, int C>
int run(const Attention<T> &a, const Work &w, bool backward, cudaStream_t stream) {
  if (!backward) {
    const int error = launch_chain<false, T, P, C>(sum_forward<T, P, C>, a, w, stream);
    if (error) return error;
    return launch(forward<T, P, C>, pass_octets<T, P, C>(false, false), a, w, stream);
  }
  Work back = w;
  back.states = w.back;
  int error = launch(backward_q<T, P, C>, pass_octets<T, P, C>(true, true), a, w, stream);
  if (!error) error = launch_chain<true, T, P, C>(sum_backward<T, P, C>, a, back, stream);
  if (error) return error;
  return launch(backward_kv<T, P, C>, pass_octets<T, P, C>(true, false), a, back, stream);
}

template <class Kernel>
int launch_mma(Kernel kernel, int64_t blocks, size_t octets, int threads, const Attention<Bf16> &a,
               const Work &w, cudaStream_t stream) {
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(octets));
  if (error != cudaSuccess) return error;
  if (blocks > 0) kernel<<<unsigned(blocks), threads, octets, stream>>>(a, w);
  return cudaGetLastError();
}

// TWO: segments may have two chunks.
template <int P, int W, bool TWO, bool PLAIN>
int run_mma(const Attention<Bf16> &a, const Work &w, bool backward, cudaStream_t stream) {
  using M = Mma<Bf16, P, W, PLAIN>;
  Work chain = w;
  if (w.chained || (backward && TWO)) {
    const size_t octets = sizeof(int32_t) * size_t(flag_count(w, a.heads));
    const cudaError_t error = cudaMemsetAsync(w.flags, 0, octets, stream);
    if (error != cudaSuccess) return error;
  } else {
    chain.flags = nullptr;
  }
  const int error = backward ? launch_carry<true>(a, w, stream) : launch_carry<false>(a, w, stream);
  if (error) return error;
  const int64_t blocks = w.count * a.heads;
  if (backward)
    return launch_mma(backward_mma<Bf16, P, W, TWO, PLAIN>, TWO ? 2 * blocks : blocks, M::octets(5, 2),
                      32 * W, a, chain, stream);
  return launch_mma(forward_mma<Bf16, P, W, TWO, PLAIN>, blocks, M::octets(TWO ? 5 : 3, TWO ? 2 : 1),
                    32 * W, a, chain, stream);
}

// Chooses the chunk by the longest segment: short sequences take blocks of fewer warps.
template <int P, bool PLAIN>
int sized_mma(const Attention<Bf16> &a, const Work &w, bool backward, cudaStream_t stream) {
  if (P == 32 && w.longest <= 32) return run_mma<32, 2, false, PLAIN>(a, w, backward, stream);
  if (w.longest <= 64) return run_mma<P, 4, false, PLAIN>(a, w, backward, stream);
  if (w.longest <= 128) return run_mma<P, 8, false, PLAIN>(a, w, backward, stream);
  return run_mma<P, 8, true, PLAIN>(a, w, backward, stream);
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

int64_t shared_octets(int64_t d, int64_t m, bool bf16) {
  const int64_t size = d > m ? d : m;
  if (!bf16)
    return int64_t(size <= 32   ? pass_octets<float, 32, 32>(true, true)
                   : size <= 64 ? pass_octets<float, 64, 32>(true, true)
                                : pass_octets<float, 128, 16>(true, true));
  // Heads of 32 and 64 may take either form, by where their rows begin.
  if (size <= 32) return int64_t(pass_octets<Bf16, 32, 64>(true, true));
  if (size <= 64)
    return int64_t(std::max(Mma<Bf16, 64, 8, true>::octets(5, 2),
                            pass_octets<Bf16, 64, 64>(true, true)));
  return int64_t(pass_octets<Bf16, 128, 32>(true, true));
}

int forward_f32(const Attention<float> &a, const Work &w, void *stream) {
  return sized(a, w, false, stream);
}
int backward_f32(const Attention<float> &a, const Work &w, void *stream) {
  return sized(a, w, true, stream);
}
static int run_bf16(const Attention<Bf16> &a, const Work &w, bool backward, void *stream) {
  if (!fits_mma(a)) return sized(a, w, backward, stream);
  const auto s = static_cast<cudaStream_t>(stream);
  const bool plain = !a.cos && !a.decay;
  if (a.d == 32)
    return plain ? sized_mma<32, true>(a, w, backward, s) : sized_mma<32, false>(a, w, backward, s);
  return plain ? sized_mma<64, true>(a, w, backward, s) : sized_mma<64, false>(a, w, backward, s);
}
int forward_bf16(const void *a, const Work &w, void *stream) {
  return run_bf16(*static_cast<const Attention<Bf16> *>(a), w, false, stream);
}
int backward_bf16(const void *a, const Work &w, void *stream) {
  return run_bf16(*static_cast<const Attention<Bf16> *>(a), w, true, stream);
}
int step_f32(const Step &p, void *stream) {
  if (p.d > LARGEST) return cudaErrorInvalidValue;
  const auto s = static_cast<cudaStream_t>(stream);
  if (p.rows > 0) step<<<dim3(unsigned(p.rows)), THREADS, 3 * LARGEST * sizeof(float), s>>>(p);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace lf
