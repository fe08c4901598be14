// The C interface over the CUDA kernels.
#include <cstdint>

#include "attention.cu"

using lf::cuda::Bf16;

struct Call;
static int run(Call &call, bool backward, void *stream);

// Allocates on the GPU, filled with NaN, or with a copy of the host's `from`.
static int allocate(void **at, size_t octets, const void *from, size_t size) {
  int error = cudaMalloc(at, octets);
  if (!error) error = cudaMemset(*at, 0xff, octets);
  if (!error && from && size) error = cudaMemcpy(*at, from, size, cudaMemcpyHostToDevice);
  return error;
}
static void release(void *at) { cudaFree(at); }

#include "face.h"

static int run(Call &call, bool backward, void *stream) {
  if (call.bf16)
    return backward ? backward_bf16(&call.b16, call.work, stream)
                    : forward_bf16(&call.b16, call.work, stream);
  return backward ? backward_f32(call.f32, call.work, stream)
                  : forward_f32(call.f32, call.work, stream);
}

extern "C" const char *lf_error(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
