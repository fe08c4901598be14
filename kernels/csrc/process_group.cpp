// All-reduce over processes by libtorch's c10d. The processes find each other through a TCPStore.
// Gloo sums on the CPU, NCCL on GPUs if this libtorch has it. No exception crosses the C interface.
#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <string>
#include <vector>

#if defined(LF_CUDA)
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
// Declarations of torch/csrc/cuda/nccl.h, which itself includes headers of all of CUDA's libraries.
namespace torch::cuda::nccl {
typedef void *ncclComm_t;
typedef struct {
  char internal[128];
} ncclUniqueId;
using stream_list = std::vector<std::optional<c10::cuda::CUDAStream>>;
using comm_list = std::vector<ncclComm_t>;
void get_unique_id(ncclUniqueId &id);
ncclComm_t comm_init_rank(int nranks, const ncclUniqueId &id, int rank);
void comm_destroy(ncclComm_t comm);
void all_reduce(const std::vector<at::Tensor> &inputs, std::vector<at::Tensor> &outputs, int32_t op,
                const stream_list &streams, const comm_list &comms);
}  // namespace torch::cuda::nccl
#endif

namespace gloo::transport {
class Device;
}

namespace c10d {

// The part of ProcessGroupGloo.hpp of libtorch 2.11 that is called here (shim.cpp checks the
// version). The header itself includes Gloo's, which no libtorch ships. The object is larger than
// this declaration shows, hence `room`.
class ProcessGroupGloo : public Backend {
 public:
  struct Options : public Backend::Options {
    static c10::intrusive_ptr<Options> create_default(std::chrono::milliseconds timeout);
    std::vector<std::shared_ptr<::gloo::transport::Device>> devices;
    int threads;
  };
  explicit ProcessGroupGloo(const c10::intrusive_ptr<Store> &store, int rank, int size,
                            c10::intrusive_ptr<Options> options);
  ~ProcessGroupGloo() override;

 private:
  char room[1 << 14];
};

}  // namespace c10d

extern "C" void lf_set_last_error(const char *message);

namespace {

using at::Tensor;

template <class F>
int guarded(F work) {
  try {
    work();
    return 0;
  } catch (const c10::Error &error) {
    lf_set_last_error(error.what_without_backtrace());
  } catch (const std::exception &error) {
    lf_set_last_error(error.what());
  } catch (...) {
    lf_set_last_error("unknown exception");
  }
  return 1;
}

// One process's handle on its group. The NCCL communicator is made by the first all-reduce on a
// GPU.
struct ProcessGroup {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
#if defined(LF_CUDA)
  torch::cuda::nccl::ncclComm_t nccl = nullptr;
#endif
  int rank, size;
};

void all_reduce_on_cpu(ProcessGroup &group, Tensor x) {
  std::vector<Tensor> tensors{x};
  group.gloo->allreduce(tensors)->wait();
}

#if defined(LF_CUDA)
void all_reduce_on_gpu(ProcessGroup &group, const Tensor &x) {
  namespace nccl = torch::cuda::nccl;
  // The communicator is made on the current GPU, which is the first one in every new process.
  const c10::DeviceGuard guard(x.device());
  if (!group.nccl) {
    nccl::ncclUniqueId id;
    // Rank 0 makes the communicator's id and publishes it in the store.
    if (group.rank == 0) {
      nccl::get_unique_id(id);
      group.store->set("nccl", std::vector<uint8_t>(id.internal, id.internal + sizeof id.internal));
    } else {
      const auto octets = group.store->get("nccl");
      TORCH_CHECK(octets.size() == sizeof id.internal, "NCCL's id: expected ", sizeof id.internal,
                  " octets, found ", octets.size());
      std::copy(octets.begin(), octets.end(), id.internal);
    }
    group.nccl = nccl::comm_init_rank(group.size, id, group.rank);
  }
  std::vector<Tensor> tensors{x};
  nccl::all_reduce(tensors, tensors, 0, {}, {group.nccl});
}
#endif

}  // namespace

extern "C" {

// Joins a group of `size` processes as `rank`. The store is at host:port; a process with `serves`
// opens it.
int lf_group_init(ProcessGroup **out, const char *host, uint16_t port, int rank, int size,
                  const char *prefix, int serves, int64_t timeout_ms) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.numWorkers = size;
    options.waitWorkers = false;
    options.multiTenant = true;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto group = std::make_unique<ProcessGroup>();
    auto tcp = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    group->store = c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), tcp);
    group->rank = rank, group->size = size;
    auto gloo = c10d::ProcessGroupGloo::Options::create_default(options.timeout);
    group->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(group->store, rank, size, gloo);
    *out = group.release();
  });
}

// Replaces a contiguous tensor by its sum over all processes.
int lf_group_all_reduce(ProcessGroup *group, Tensor *x) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    TORCH_CHECK(x->is_contiguous(), "all_reduce: expected a contiguous tensor");
    if (x->device().is_cpu()) return all_reduce_on_cpu(*group, *x);
#if defined(LF_CUDA)
    if (x->device().is_cuda()) return all_reduce_on_gpu(*group, *x);
#endif
    TORCH_CHECK(false, "all_reduce: this build cannot sum on ", x->device());
  });
}

// Leaves the group and frees the handle.
void lf_group_free(ProcessGroup *group) {
  guarded([&] {
#if defined(LF_CUDA)
    if (group->nccl) torch::cuda::nccl::comm_destroy(group->nccl);
#endif
    delete group;
  });
}

// Switches autocast to bfloat16 on or off for this thread. Sums and losses stay in float.
int lf_autocast_bf16(int cuda, int on) {
  return guarded([&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    if (on) at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, on);
    if (!on) at::autocast::clear_cache();
  });
}

}  // extern "C"
