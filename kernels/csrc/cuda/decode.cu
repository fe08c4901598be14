// The decoder on a GPU: primitives for decode.cuh, CUDA's memory, and graphs of a step's kernels.
#include <cuda_runtime.h>

#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll 4")

namespace lf {
namespace cuda {
namespace decode {

constexpr int THREADS = 128;

DEVICE int thread() { return int(threadIdx.x); }
DEVICE int64_t block_x() { return blockIdx.x; }
DEVICE int64_t block_y() { return blockIdx.y; }
DEVICE void sync() { __syncthreads(); }
DEVICE unsigned char *shared() {
  extern __shared__ __align__(128) unsigned char memory[];
  return memory;
}
DEVICE float exponential(float x) { return expf(x); }
DEVICE float error_function(float x) { return erff(x); }
DEVICE float log_one_plus(float x) { return log1pf(x); }
DEVICE float square_root(float x) { return sqrtf(x); }
// In half turns, whose reduction is exact and needs no local memory. The quotient's rounding is as
// large as that of x itself.
DEVICE double cosine(double x) { return cospi(x * 0.31830988618379067154); }
DEVICE double sine(double x) { return sinpi(x * 0.31830988618379067154); }

}  // namespace decode
}  // namespace cuda
}  // namespace lf

#include "decode.inl"

namespace lf {
namespace cuda {
namespace decode {
namespace {

template <class Kernel>
__global__ void __launch_bounds__(THREADS) run_kernel(const Kernel kernel) {
  kernel();
}

void check(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // forgets it, so that the next call is not blamed
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Makes a device the current one of this thread while it lives.
class Current {
 public:
  explicit Current(int32_t number) {
    check(cudaGetDevice(&before_), "device");
    check(cudaSetDevice(number), "device");
  }
  ~Current() { cudaSetDevice(before_); }
  Current(const Current &) = delete;

 private:
  int before_ = 0;
};

struct Gpu {
  struct Free {
    int32_t number;
    void operator()(void *memory) const {
      const Current current(number);
      cudaFree(memory);
    }
  };
  struct FreePinned {
    void operator()(void *memory) const { cudaFreeHost(memory); }
  };
  using Memory = std::unique_ptr<void, Free>;
  using PinnedMemory = std::unique_ptr<void, FreePinned>;

  int32_t number;
  explicit Gpu(int32_t number) : number(number) {}

  Memory allocate(int64_t octets, const std::string &what) const {
    const Current current(number);
    void *memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, size_t(octets));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t left = 0, all = 0;
      check(cudaMemGetInfo(&left, &all), "memory");
      const auto mebi = [](int64_t n) { return std::to_string((n + (1 << 20) - 1) >> 20); };
      throw std::runtime_error("memory for " + what + ": expected " + mebi(octets) +
                               " MiB, found " + mebi(int64_t(left)) + " MiB");
    }
    check(error, "memory");
    return Memory(memory, Free{number});
  }
  PinnedMemory allocate_pinned(int64_t octets) const {
    const Current current(number);
    void *memory = nullptr;
    check(cudaHostAlloc(&memory, size_t(octets), cudaHostAllocDefault), "pinned memory");
    return PinnedMemory(memory, FreePinned{});
  }
  void copy_to_device(void *to, const void *from, int64_t octets) const {
    const Current current(number);
    check(cudaMemcpy(to, from, size_t(octets), cudaMemcpyHostToDevice), "copy");
  }
  // A copy from pageable memory returns once the host's memory is free for other use.
  void finish_copies() const {
    const Current current(number);
    check(cudaDeviceSynchronize(), "copy");
  }

  // A stream with the graph of one step.
  class Queue {
   public:
    explicit Queue(const Gpu &gpu) : number_(gpu.number) {
      const Current current(number_);
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
      check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming | cudaEventBlockingSync),
            "event");
    }
    ~Queue() {
      if (graph_) cudaGraphExecDestroy(graph_);
      if (done_) cudaEventDestroy(done_);
      if (stream_) cudaStreamDestroy(stream_);
    }
    Queue(const Queue &) = delete;

    // Does the work once before: a kernel is loaded at its first launch, which a capture may not do.
    template <class F>
    void record(F work) {
      const Current current(number_);
      work();
      check(cudaStreamSynchronize(stream_), "step");
      check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "graph");
      cudaGraph_t graph = nullptr;
      try {
        work();
      } catch (...) {
        cudaStreamEndCapture(stream_, &graph);
        if (graph) cudaGraphDestroy(graph);
        cudaGetLastError();
        throw;
      }
      check(cudaStreamEndCapture(stream_, &graph), "graph");
      const cudaError_t error = cudaGraphInstantiate(&graph_, graph, 0);
      cudaGraphDestroy(graph);
      check(error, "graph");
    }
    template <class Kernel>
    void run(const Kernel &kernel, int64_t across, int64_t down) {
      const size_t octets = size_t(kernel.shared_floats()) * sizeof(float);
      run_kernel<<<dim3(unsigned(across), unsigned(down)), THREADS, octets, stream_>>>(kernel);
      check(cudaGetLastError(), "kernel");
    }
    void copy_to_device(void *to, const void *from, int64_t octets) {
      check(cudaMemcpyAsync(to, from, size_t(octets), cudaMemcpyHostToDevice, stream_), "copy");
    }
    void copy_to_host(void *to, const void *from, int64_t octets) {
      check(cudaMemcpyAsync(to, from, size_t(octets), cudaMemcpyDeviceToHost, stream_), "copy");
    }
    void launch() {
      const Current current(number_);
      check(cudaGraphLaunch(graph_, stream_), "step");
      check(cudaEventRecord(done_, stream_), "step");
    }
    void finish() { check(cudaEventSynchronize(done_), "step"); }
    void wait() { cudaStreamSynchronize(stream_); }

   private:
    int32_t number_;
    cudaStream_t stream_ = nullptr;
    cudaEvent_t done_ = nullptr;
    cudaGraphExec_t graph_ = nullptr;
  };
};

}  // namespace

const Api *api() { return api_of<Gpu>(); }

}  // namespace decode
}  // namespace cuda
}  // namespace lf
