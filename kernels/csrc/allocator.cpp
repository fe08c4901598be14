// Where tensors on the CPU live: a heap of their own, mimalloc's. Rows of flows are never twice as long, and so are their tensors: in
// glibc's heap, which they share with all else, they leave holes that no later one fills.
#include "shim.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <mimalloc.h>

#include <atomic>

namespace {

std::atomic<int64_t> now{0}, peak{0};

void *taken(void *at) {
  const int64_t octets = mi_usable_size(at), all = now.fetch_add(octets) + octets;
  for (int64_t most = peak.load(); all > most && !peak.compare_exchange_weak(most, all);) {
  }
  return at;
}

void give_back(void *at) {
  if (at) now.fetch_sub(mi_usable_size(at));
  mi_free(at);
}

struct TensorHeap final : c10::Allocator {
  c10::DataPtr allocate(size_t octets) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (octets == 0) return {nullptr, cpu};
    void *at = mi_malloc_aligned(octets, c10::gAlignment);
    TORCH_CHECK(at, "memory: ", octets, " octets for a tensor are not to be had");
    return {taken(at), at, &give_back, cpu};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void *to, const void *from, size_t octets) const override { default_copy_data(to, from, octets); }
};

}  // namespace

namespace lf {

bool use_tensor_heap() {
  static TensorHeap heap;
  // Milliseconds until free memory goes back to the system: most of a step's tensors are asked for again in the next.
  mi_option_set_default(mi_option_purge_delay, 10000);
  c10::SetCPUAllocator(&heap);
  return true;
}

}  // namespace lf

extern "C" void lf_tensor_memory(int64_t *at_present, int64_t *at_most) { *at_present = now.load(), *at_most = peak.load(); }
