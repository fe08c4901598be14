// From libtorch's tensors to the CUDA kernels: segments, workspace, device and stream.
#pragma once
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../shim.h"
#include "attention.h"

namespace lf {
namespace cuda {

constexpr int64_t LONGEST_SEGMENT = 512;  // tokens

inline void check(const char *name, int error) {
  TORCH_CHECK(error == 0, name, ": ", cudaGetErrorString(static_cast<cudaError_t>(error)));
}

// One call of the operator. Owns the workspace.
class Call {
 public:
  Call(const Tensor &q, const CuSeqlens &cu_seqlens)
      : guard_(q.device()), q_(q), stream_(c10::cuda::getCurrentCUDAStream().stream()) {
    TORCH_CHECK(q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16,
                "q: expected float or bfloat16 on a GPU");
    std::vector<int64_t> all;
    std::vector<int64_t> first{0};
    for (int64_t seq = 0; seq < cu_seqlens.sequences; seq++) {
      for (int64_t t = cu_seqlens.offsets[seq]; t < cu_seqlens.offsets[seq + 1];
           t += LONGEST_SEGMENT)
        all.insert(all.end(), {seq, t, std::min(t + LONGEST_SEGMENT, cu_seqlens.offsets[seq + 1]),
                               cu_seqlens.origin(seq)});
      first.push_back(int64_t(all.size()) / 4);
    }
    work_.count = first.back(), work_.sequences = cu_seqlens.sequences;
    segments_ = at::tensor(all, at::kLong).to(q.device()),
    first_ = at::tensor(first, at::kLong).to(q.device());
    work_.segments = reinterpret_cast<const Segment *>(segments_.const_data_ptr<int64_t>());
    work_.first = first_.const_data_ptr<int64_t>();
  }
  template <class T>
  void forward(const Attention<T> &a) const {
    const Work w = workspace(a.heads, a.d, a.m, 0);
    check("attention",
          sizeof(T) == 2 ? forward_bf16(&a, w, stream_)
                         : forward_f32(reinterpret_cast<const Attention<float> &>(a), w, stream_));
  }
  template <class T>
  void backward(const Attention<T> &a) const {
    const Work w = workspace(a.heads, a.d, a.m, a.tokens);
    check("attention",
          sizeof(T) == 2 ? backward_bf16(&a, w, stream_)
                         : backward_f32(reinterpret_cast<const Attention<float> &>(a), w, stream_));
  }

 private:
  Work workspace(int64_t heads, int64_t d, int64_t m, int64_t tokens) const {
    TORCH_CHECK(d <= LARGEST && m <= LARGEST, "attention: expected heads of at most ", LARGEST,
                ", found ", d, " and ", m);
    const auto options = q_.options().dtype(at::kFloat);
    states_ = at::empty({work_.count, heads, d * m + d}, options),
    w_ = at::empty({heads, tokens}, options);
    Work w = work_;
    w.states = states_.data_ptr<float>(), w.w = w_.data_ptr<float>();
    return w;
  }
  c10::cuda::CUDAGuard guard_;
  const Tensor q_;
  void *stream_;
  Work work_{};
  Tensor segments_, first_;
  mutable Tensor states_, w_;
};

}  // namespace cuda
}  // namespace lf
