// Several processes that sum tensors together: libtorch's own c10d. A TCPStore tells them of each other; Gloo sums on
// the CPU, NCCL on GPUs where this libtorch has it. No exception crosses the C face.
#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <string>
#include <vector>

#if defined(LF_CUDA)
#include <c10/cuda/CUDAStream.h>
// As torch/csrc/cuda/nccl.h says, which needs headers of all of CUDA's libraries.
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
void all_reduce(const std::vector<at::Tensor> &inputs, std::vector<at::Tensor> &outputs, int32_t op, const stream_list &streams,
                const comm_list &comms);
}  // namespace torch::cuda::nccl
#endif

namespace gloo::transport {
class Device;
}

namespace c10d {

// As ProcessGroupGloo.hpp of libtorch 2.11 says (the version is checked in shim.cpp), whose own includes, Gloo's headers,
// come with no libtorch. Only what is called; the object is larger than this class lets see, hence `room`.
class ProcessGroupGloo : public Backend {
 public:
  struct Options : public Backend::Options {
    static c10::intrusive_ptr<Options> create_default(std::chrono::milliseconds timeout);
    std::vector<std::shared_ptr<::gloo::transport::Device>> devices;
    int threads;
  };
  explicit ProcessGroupGloo(const c10::intrusive_ptr<Store> &store, int rank, int size, c10::intrusive_ptr<Options> options);
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

struct Team {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
#if defined(LF_CUDA)
  torch::cuda::nccl::ncclComm_t nccl = nullptr;
#endif
  int rank, size;
};

void sum_on_cpu(Team &team, Tensor x) {
  std::vector<Tensor> tensors{x};
  team.gloo->allreduce(tensors)->wait();
}

#if defined(LF_CUDA)
void sum_on_gpu(Team &team, const Tensor &x) {
  namespace nccl = torch::cuda::nccl;
  if (!team.nccl) {
    nccl::ncclUniqueId id;
    if (team.rank == 0) {
      nccl::get_unique_id(id);
      team.store->set("nccl", std::vector<uint8_t>(id.internal, id.internal + sizeof id.internal));
    } else {
      const auto octets = team.store->get("nccl");
      TORCH_CHECK(octets.size() == sizeof id.internal, "NCCL's id: expected ", sizeof id.internal, " octets, found ", octets.size());
      std::copy(octets.begin(), octets.end(), id.internal);
    }
    team.nccl = nccl::comm_init_rank(team.size, id, team.rank);
  }
  std::vector<Tensor> tensors{x};
  nccl::all_reduce(tensors, tensors, 0, {}, {team.nccl});
}
#endif

}  // namespace

extern "C" {

// Joins `size` processes as number `rank`. The store is at host:port: number 0 opens it there where `serves`.
int lf_team_join(Team **out, const char *host, uint16_t port, int rank, int size, const char *prefix, int serves,
                 int64_t timeout_ms) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.numWorkers = size;
    options.waitWorkers = false;
    options.multiTenant = true;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto team = std::make_unique<Team>();
    auto tcp = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    team->store = c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), tcp);
    team->rank = rank, team->size = size;
    auto gloo = c10d::ProcessGroupGloo::Options::create_default(options.timeout);
    team->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(team->store, rank, size, gloo);
    *out = team.release();
  });
}

// In place: every process gets the sum of all. Contiguous tensors.
int lf_team_sum(Team *team, Tensor *x) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    TORCH_CHECK(x->is_contiguous(), "sum: expected a contiguous tensor");
    if (x->device().is_cpu()) return sum_on_cpu(*team, *x);
#if defined(LF_CUDA)
    if (x->device().is_cuda()) return sum_on_gpu(*team, *x);
#endif
    TORCH_CHECK(false, "sum: this build has nothing that sums on ", x->device());
  });
}

void lf_team_leave(Team *team) {
  guarded([&] {
#if defined(LF_CUDA)
    if (team->nccl) torch::cuda::nccl::comm_destroy(team->nccl);
#endif
    delete team;
  });
}

// Operations that gain from it compute in bfloat16 on this thread until told otherwise; sums and losses stay in float.
int lf_autocast_bf16(int cuda, int on) {
  return guarded([&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    if (on) at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, on);
    if (!on) at::autocast::clear_cache();
  });
}

}  // extern "C"
