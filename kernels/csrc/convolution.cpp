// A causal convolution of each channel, which starts from zeros in each sequence, as an operator
// that autograd differentiates. Floats on the CPU; with LF_CUDA_KERNELS, floats and bfloat16 on a
// GPU, with weights and their gradient in float.
#include "shim.h"

#include <torch/csrc/autograd/custom_function.h>

#ifdef LF_CUDA_KERNELS
#include "cuda/convolution.h"
#include "cuda/launch.h"
#endif

using namespace lf;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

namespace {

// Divides the channels among threads, so that one thread computes each sum over tokens: the same
// bits for any number of threads.
template <class F>
void each_channel(int64_t channels, F work) {
  at::parallel_for(0, (channels + 15) / 16, 4, [&](int64_t from, int64_t to) {
    work(from * 16, std::min<int64_t>(to * 16, channels));
  });
}

#ifdef LF_CUDA_KERNELS
constexpr const char *SUPPORTED = "float on the CPU, float or bfloat16 on a GPU,";
bool is_supported(const Tensor &x) {
  return x.scalar_type() == at::kFloat ? x.is_cpu() || x.is_cuda()
                                       : x.is_cuda() && x.scalar_type() == at::kBFloat16;
}

// Runs the kernels of a GPU, forward or, with `dy`, backward.
template <class T>
void run_on_gpu(const Tensor &x, const Tensor &w, const Tensor &y, const Tensor &dy,
                const Tensor &dx, const Tensor &dw, const cuda::Work &work) {
  const c10::cuda::CUDAGuard guard(x.device());
  cuda::Convolution<T> c{};
  c.x = x.const_data_ptr<T>(), c.w = w.const_data_ptr<float>();
  c.channels = x.size(1), c.taps = w.size(0);
  if (dy.defined())
    c.dy = dy.const_data_ptr<T>(), c.dx = dx.data_ptr<T>(), c.dw = dw.data_ptr<float>();
  else
    c.y = y.data_ptr<T>();
  void *stream = c10::cuda::getCurrentCUDAStream().stream();
  const auto &in_float = reinterpret_cast<const cuda::Convolution<float> &>(c);
  const auto f32 = dy.defined() ? cuda::convolve_back_f32 : cuda::convolve_f32;
  const auto bf16 = dy.defined() ? cuda::convolve_back_bf16 : cuda::convolve_bf16;
  cuda::check("convolution", sizeof(T) == 2 ? bf16(&c, work, stream) : f32(in_float, work, stream));
}
#else
constexpr const char *SUPPORTED = "float on the CPU, as this was built without CUDA,";
bool is_supported(const Tensor &x) { return x.scalar_type() == at::kFloat && x.is_cpu(); }
#endif

struct Convolve : torch::autograd::Function<Convolve> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x_in, const Tensor &w_in,
                        const Tensor &cu_seqlens, const Maybe &segments_in) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(x_in.dim() == 2 && is_supported(x_in), "x: expected ", SUPPORTED,
                " [N, channels], found ", x_in.scalar_type(), " ", x_in.sizes(), " on ",
                x_in.device());
    TORCH_CHECK(w_in.device() == x_in.device(), "w: expected a tensor on ", x_in.device());
    TORCH_CHECK(w_in.dim() == 3 && w_in.size(0) == x_in.size(1) && w_in.size(1) == 1 &&
                    w_in.size(2) > 0 && w_in.scalar_type() == at::kFloat,
                "w: expected float [", x_in.size(1), ", 1, taps], found ", w_in.sizes());
    const Tensor x = x_in.contiguous(), w = w_in.select(1, 0).t().contiguous(),
                 y = at::empty_like(x);
    const auto b = checked_cu_seqlens(cu_seqlens, {}, x.size(0));
    const Tensor segments = segments_in.value_or(Tensor());
    ctx->save_for_backward({x, w, cu_seqlens, segments});
#ifdef LF_CUDA_KERNELS
    if (x.is_cuda()) {
      const auto work = cuda::work_of(b, segments, x.device());
      x.scalar_type() == at::kBFloat16 ? run_on_gpu<at::BFloat16>(x, w, y, {}, {}, {}, work)
                                       : run_on_gpu<float>(x, w, y, {}, {}, {}, work);
      return y;
    }
#endif
    Convolution c{};
    c.x = x.const_data_ptr<float>(), c.w = w.const_data_ptr<float>(), c.y = y.data_ptr<float>();
    c.channels = x.size(1), c.taps = w.size(0);
    each_channel(c.channels, [&](int64_t from, int64_t to) {
      table()->convolve(c, b.offsets, b.sequences, from, to);
    });
    return y;
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "convolution: no second derivative");
    const auto saved = ctx->get_saved_variables();
    const Tensor x = saved[0], w = saved[1], dy = grads[0].contiguous(), dx = at::empty_like(x);
    const auto b = checked_cu_seqlens(saved[2], {}, x.size(0));
#ifdef LF_CUDA_KERNELS
    if (x.is_cuda()) {
      const auto work = cuda::work_of(b, saved[3], x.device());
      const Tensor shares = at::empty({work.count, w.size(0), w.size(1)}, w.options());
      x.scalar_type() == at::kBFloat16 ? run_on_gpu<at::BFloat16>(x, w, {}, dy, dx, shares, work)
                                       : run_on_gpu<float>(x, w, {}, dy, dx, shares, work);
      return {dx, shares.sum(0).t().contiguous().unsqueeze(1), Tensor(), Tensor()};
    }
#endif
    const Tensor dw = at::empty_like(w);
    Convolution c{};
    c.x = x.const_data_ptr<float>(), c.w = w.const_data_ptr<float>(),
    c.dy = dy.const_data_ptr<float>();
    c.dx = dx.data_ptr<float>(), c.dw = dw.data_ptr<float>();
    c.channels = x.size(1), c.taps = w.size(0);
    each_channel(c.channels, [&](int64_t from, int64_t to) {
      table()->convolve_back(c, b.offsets, b.sequences, from, to);
    });
    return {dx, dw.t().contiguous().unsqueeze(1), Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" {

// x [N, channels], w [channels, 1, taps]; segments as in attention.cpp. out: one new tensor [N,
// channels].
int lf_convolve(Tensor **out, const Tensor *x, const Tensor *w, const Tensor *cu_seqlens,
                const Tensor *segments) {
  return guarded(
      [&] { *out = new Tensor(Convolve::apply(*x, *w, *cu_seqlens, given(segments))); });
}

}  // extern "C"
