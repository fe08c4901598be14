// The decoder's device code on the CPU, under the emulation's threads, with the memory and the
// queue of a device that computes a step when it is waited for.
#include "emulation.cpp"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <utility>

#define UNROLL

namespace lf {
namespace cuda {
namespace decode {

constexpr int THREADS = 128;
inline float error_function(float x) { return std::erf(x); }
inline float log_one_plus(float x) { return std::log1p(x); }
inline float square_root(float x) { return std::sqrt(x); }
inline double cosine(double x) { return std::cos(x); }
inline double sine(double x) { return std::sin(x); }

}  // namespace decode
}  // namespace cuda
}  // namespace lf

#include "../../csrc/cuda/decode.inl"

namespace {

constexpr int64_t MEMORY = 64 << 20;  // octets

struct Emulated {
  struct Free {
    int64_t octets;
    void operator()(void *memory) const {
      in_use -= octets;
      std::free(memory);
    }
  };
  using Memory = std::unique_ptr<void, Free>;
  using PinnedMemory = Memory;
  static std::atomic<int64_t> in_use;

  explicit Emulated(int32_t) {}
  Memory allocate(int64_t octets, const std::string &what) const {
    if (in_use + octets > MEMORY)
      throw std::runtime_error("memory for " + what + ": expected " + std::to_string(octets) +
                               " octets, found " + std::to_string(MEMORY - in_use));
    in_use += octets;
    void *memory = std::aligned_alloc(256, size_t(octets));
    std::memset(memory, 0xff, size_t(octets));  // NaN: shows reads before writes
    return Memory(memory, Free{octets});
  }
  PinnedMemory allocate_pinned(int64_t octets) const { return allocate(octets, "the host"); }
  void copy_to_device(void *to, const void *from, int64_t octets) const {
    std::memcpy(to, from, size_t(octets));
  }
  void finish_copies() const {}

  class Queue {
   public:
    explicit Queue(const Emulated &) {}
    void record(std::function<void()> work) {
      const std::lock_guard<std::mutex> held(one_at_a_time);
      work();
      work_ = std::move(work);
    }
    template <class Kernel>
    void run(const Kernel &kernel, int64_t across, int64_t down) {
      if (size_t(kernel.shared_floats()) * sizeof(float) > sizeof now_shared)
        throw std::runtime_error("shared memory");
      grid(across, down, decode::THREADS, kernel);
    }
    void copy_to_device(void *to, const void *from, int64_t octets) {
      std::memcpy(to, from, size_t(octets));
    }
    void copy_to_host(void *to, const void *from, int64_t octets) {
      std::memcpy(to, from, size_t(octets));
    }
    void launch() { launched_ = true; }
    void finish() {
      const std::lock_guard<std::mutex> held(one_at_a_time);
      // Threads take turns in another order in each step.
      const uint32_t before = std::exchange(shuffle, ++steps_);
      if (launched_) work_();
      shuffle = before;
      launched_ = false;
    }
    void wait() {}

   private:
    std::function<void()> work_;
    bool launched_ = false;
    uint32_t steps_ = 0;
  };
};
std::atomic<int64_t> Emulated::in_use{0};

}  // namespace

extern "C" const decode::Api *emulated_decoder() { return decode::api_of<Emulated>(); }
