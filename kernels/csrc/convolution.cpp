// A causal convolution of each channel, which starts from zeros in each sequence, as an operator
// that autograd differentiates. Floats on the CPU.
#include "shim.h"

#include <torch/csrc/autograd/custom_function.h>

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

struct Convolve : torch::autograd::Function<Convolve> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x_in, const Tensor &w_in,
                        const Tensor &cu_seqlens) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(x_in.dim() == 2 && x_in.scalar_type() == at::kFloat && x_in.device().is_cpu(),
                "x: expected float [N, channels] on the CPU");
    TORCH_CHECK(w_in.dim() == 3 && w_in.size(0) == x_in.size(1) && w_in.size(1) == 1 &&
                    w_in.size(2) > 0 && w_in.scalar_type() == at::kFloat,
                "w: expected float [", x_in.size(1), ", 1, taps], found ", w_in.sizes());
    const Tensor x = x_in.contiguous(), w = w_in.select(1, 0).t().contiguous(),
                 y = at::empty_like(x);
    const auto b = checked_cu_seqlens(cu_seqlens, {}, x.size(0));
    Convolution c{};
    c.x = x.const_data_ptr<float>(), c.w = w.const_data_ptr<float>(), c.y = y.data_ptr<float>();
    c.channels = x.size(1), c.taps = w.size(0);
    each_channel(c.channels, [&](int64_t from, int64_t to) {
      table()->convolve(c, b.offsets, b.sequences, from, to);
    });
    ctx->save_for_backward({x, w, cu_seqlens});
    return y;
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "convolution: no second derivative");
    const auto saved = ctx->get_saved_variables();
    const Tensor x = saved[0], w = saved[1], dy = grads[0].contiguous(), dx = at::empty_like(x),
                 dw = at::empty_like(w);
    const auto b = checked_cu_seqlens(saved[2], {}, x.size(0));
    Convolution c{};
    c.x = x.const_data_ptr<float>(), c.w = w.const_data_ptr<float>(),
    c.dy = dy.const_data_ptr<float>();
    c.dx = dx.data_ptr<float>(), c.dw = dw.data_ptr<float>();
    c.channels = x.size(1), c.taps = w.size(0);
    each_channel(c.channels, [&](int64_t from, int64_t to) {
      table()->convolve_back(c, b.offsets, b.sequences, from, to);
    });
    return {dx, dw.t().contiguous().unsqueeze(1), Tensor()};
  }
};

}  // namespace

extern "C" {

// x [N, channels], w [channels, 1, taps]. out: one new tensor [N, channels].
int lf_convolve(Tensor **out, const Tensor *x, const Tensor *w, const Tensor *cu_seqlens) {
  return guarded([&] { *out = new Tensor(Convolve::apply(*x, *w, *cu_seqlens)); });
}

}  // extern "C"
