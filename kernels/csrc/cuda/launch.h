// From libtorch's tensors to the CUDA kernels: segments, workspace, device and stream.
#pragma once
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../shim.h"
#include "attention.h"

namespace lf {
namespace cuda {

constexpr int64_t LONGEST_SEGMENT = 256;  // tokens

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
           t += LONGEST_SEGMENT) {
        const int64_t end = std::min(t + LONGEST_SEGMENT, cu_seqlens.offsets[seq + 1]);
        all.insert(all.end(), {seq, t, end, cu_seqlens.origin(seq)});
        work_.longest = std::max(work_.longest, end - t);
      }
      first.push_back(int64_t(all.size()) / 4);
      work_.chained |= first[seq + 1] - first[seq] > 1;
    }
    work_.count = first.back(), work_.sequences = cu_seqlens.sequences;
    std::vector<int32_t> order(2 * work_.count);
    chain_order(first.data(), work_.sequences, order.data());
    segments_ = at::tensor(all, at::kLong).to(q.device()),
    first_ = at::tensor(first, at::kLong).to(q.device());
    order_ = at::tensor(order, at::kInt).to(q.device());
    work_.segments = reinterpret_cast<const Segment *>(segments_.const_data_ptr<int64_t>());
    work_.first = first_.const_data_ptr<int64_t>();
    work_.order = order_.const_data_ptr<int32_t>();
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
    flags_ = at::empty({flag_count(work_, a.heads)}, q_.options().dtype(at::kInt));
    Work w = work_;
    w.flags = flags_.data_ptr<int32_t>();
    return w;
  }
  template <class T>
  Tensor states_like(const Attention<T> &a) const {
    return at::empty({work_.count, a.heads, a.d * a.m + a.d}, q_.options().dtype(at::kFloat));
  }
  c10::cuda::CUDAGuard guard_;
  const Tensor q_;
  void *stream_;
  Work work_{};
  Tensor segments_, first_, order_;
  mutable Tensor flags_;
};

}  // namespace cuda
}  // namespace lf
