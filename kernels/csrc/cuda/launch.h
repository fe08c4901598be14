// From libtorch's tensors to the CUDA kernels: segments, workspace, device and stream.
#pragma once
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../shim.h"
#include "attention.h"
#include "segments.h"

namespace lf {
namespace cuda {

inline void check(const char *name, int error) {
  TORCH_CHECK(error == 0, name, ": ", cudaGetErrorString(static_cast<cudaError_t>(error)));
}

constexpr int64_t SEGMENT_NUMBERS = 3 * sizeof(Segment) / sizeof(int64_t);

// Divides the sequences of a batch into segments, in one tensor on a GPU: the segments, then the
// first segment of each sequence. The copy is queued; nothing waits for it.
inline Tensor segments_on(const CuSeqlens &cu_seqlens, c10::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  const Segments made = divide(cu_seqlens.offsets, cu_seqlens.starts, cu_seqlens.sequences);
  const int64_t count = made.count(), sequences = cu_seqlens.sequences;
  const Tensor pinned = at::empty({SEGMENT_NUMBERS * count + sequences + 1},
                                  at::TensorOptions(at::kLong).pinned_memory(true));
  int64_t *at = pinned.data_ptr<int64_t>();
  at = std::copy_n(reinterpret_cast<const int64_t *>(made.all.data()), SEGMENT_NUMBERS * count, at);
  std::copy(made.first.begin(), made.first.end(), at);
  return pinned.to(device, at::kLong, true);
}

// Returns the segments of `segments_on` for the same sequences, without a workspace.
inline Work work_of(const CuSeqlens &cu_seqlens, const Tensor &segments, c10::Device device) {
  TORCH_CHECK(segments.defined(), "segments: expected those of the sequences, found none");
  const int64_t sequences = cu_seqlens.sequences,
                count = (segments.numel() - sequences - 1) / SEGMENT_NUMBERS;
  TORCH_CHECK(segments.device() == device && segments.scalar_type() == at::kLong &&
                  segments.numel() == count * SEGMENT_NUMBERS + sequences + 1,
              "segments: expected those of the sequences on ", device);
  const int64_t *numbers = segments.const_data_ptr<int64_t>();
  Work work{};
  work.count = count, work.sequences = sequences;
  work.longest = std::min(cu_seqlens.longest, LONGEST_SEGMENT);
  work.chained = cu_seqlens.longest > LONGEST_SEGMENT;
  work.segments = reinterpret_cast<const Segment *>(numbers);
  work.first = numbers + SEGMENT_NUMBERS * count;
  return work;
}

// One call of the operator. Owns the workspace.
class Call {
 public:
  Call(const Tensor &q, const CuSeqlens &cu_seqlens, const Tensor &segments)
      : guard_(q.device()),
        q_(q),
        segments_(segments),
        stream_(c10::cuda::getCurrentCUDAStream().stream()) {
    TORCH_CHECK(q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16,
                "q: expected float or bfloat16 on a GPU");
    work_ = work_of(cu_seqlens, segments, q.device());
  }
  // Returns the states between segments, which backward takes.
  template <class T>
  Tensor forward(const Attention<T> &a) const {
    Work w = workspace(a);
    const Tensor states = states_like(a);
    w.states = states.data_ptr<float>();
    check("attention",
          sizeof(T) == 2 ? forward_bf16(&a, w, stream_)
                         : forward_f32(reinterpret_cast<const Attention<float> &>(a), w, stream_));
    return states;
  }
  template <class T>
  void backward(const Attention<T> &a, const Tensor &states) const {
    Work w = workspace(a);
    const Tensor back = states_like(a),
                 numbers = at::empty({a.heads, a.tokens}, q_.options().dtype(at::kFloat));
    w.states = states.data_ptr<float>(), w.back = back.data_ptr<float>();
    w.w = numbers.data_ptr<float>();
    check("attention",
          sizeof(T) == 2 ? backward_bf16(&a, w, stream_)
                         : backward_f32(reinterpret_cast<const Attention<float> &>(a), w, stream_));
  }

 private:
  template <class T>
  Work workspace(const Attention<T> &a) const {
    TORCH_CHECK(a.d <= LARGEST && a.m <= LARGEST, "attention: expected heads of at most ", LARGEST,
                ", found ", a.d, " and ", a.m);
    const int64_t needed = shared_octets(a.d, a.m, sizeof(T) == 2);
    int most = 0;
    check("attention", cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                              q_.device().index()));
    TORCH_CHECK(needed <= most, "attention: heads of ", a.d, " and ", a.m, " of ", q_.scalar_type(),
                " need ", needed, " octets of shared memory a block, and this GPU has ", most);
    flags_ = at::empty({flag_count(work_, a.heads)}, q_.options().dtype(at::kInt));
    Work w = work_;
    w.flags = flags_.data_ptr<int32_t>();
    return w;
  }
  template <class T>
  Tensor states_like(const Attention<T> &a) const {
    return at::empty({work_.count, CHUNKS, a.heads, a.d * a.m + a.d},
                     q_.options().dtype(at::kFloat));
  }
  c10::cuda::CUDAGuard guard_;
  const Tensor q_, segments_;
  void *stream_;
  Work work_{};
  mutable Tensor flags_;
};

}  // namespace cuda
}  // namespace lf
