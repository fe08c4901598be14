// The heap of CPU tensors: mimalloc, for them alone. Rows rarely have the same length twice, and so
// neither do their tensors: in glibc's heap, which all else shares, they leave holes that no later
// tensor fills.
#include "shim.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <mimalloc.h>

#include <atomic>

namespace {

std::atomic<int64_t> now{0}, peak{0};

// Counts the octets of a new block, and returns the block.
void *count_allocation(void *at) {
  const int64_t octets = mi_usable_size(at), all = now.fetch_add(octets) + octets;
  for (int64_t most = peak.load(); all > most && !peak.compare_exchange_weak(most, all);) {
  }
  return at;
}

void release(void *at) {
  if (at) now.fetch_sub(mi_usable_size(at));
  mi_free(at);
}

struct TensorHeap final : c10::Allocator {
  c10::DataPtr allocate(size_t octets) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (octets == 0) return {nullptr, cpu};
    void *at = mi_malloc_aligned(octets, c10::gAlignment);
    TORCH_CHECK(at, "memory: ", octets, " octets for a tensor are not to be had");
    return {count_allocation(at), at, &release, cpu};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void *to, const void *from, size_t octets) const override {
    default_copy_data(to, from, octets);
  }
};

}  // namespace

namespace lf {

bool use_tensor_heap() {
  static TensorHeap heap;
  // Milliseconds until the memory that is free at that time is returned to the system. The next
  // training step allocates most of a step's tensors again, and the kernel clears what it gives.
  mi_option_set_default(mi_option_purge_delay, 60000);
  c10::SetCPUAllocator(&heap);
  return true;
}

}  // namespace lf

// Octets allocated to CPU tensors: at present, and at most so far.
extern "C" void lf_tensor_memory(int64_t *out_now, int64_t *out_peak) {
  *out_now = now.load(), *out_peak = peak.load();
}
