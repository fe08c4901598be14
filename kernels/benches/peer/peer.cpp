// A C interface to the CPU loops of pytorch-fast-transformers, and its attention step around them.
// scripts/bench/attention fetches the source, causal_product_cpu.cpp; the repository has no copy.
#include <torch/csrc/autograd/custom_function.h>

#include "causal_product_cpu.cpp"

using at::Tensor;

namespace {

// The autograd function of fast_transformers/causal_product/__init__.py.
struct Product : torch::autograd::Function<Product> {
  static Tensor forward(torch::autograd::AutogradContext *ctx, const Tensor &q, const Tensor &k,
                        const Tensor &v) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({q, k, v});
    const Tensor product = at::zeros({q.size(0), q.size(1), q.size(2), v.size(3)}, q.options());
    causal_dot_product(q, k, v, product);
    return product;
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *ctx,
                                               torch::autograd::tensor_list grads) {
    const auto x = ctx->get_saved_variables();
    const Tensor dq = at::zeros_like(x[0]), dk = at::zeros_like(x[1]), dv = at::zeros_like(x[2]);
    causal_dot_backward(x[0], x[1], x[2], grads[0], dq, dk, dv);
    return {dq, dk, dv};
  }
};

Tensor heads_first(const Tensor &x) { return x.permute({0, 2, 1, 3}).contiguous(); }

}  // namespace

extern "C" {

// Returns the bare product of fast_transformers/causal_product/__init__.py: all [B, H, T, D]. A new
// tensor.
Tensor *peer_product(const Tensor *q, const Tensor *k, const Tensor *v) {
  return new Tensor(Product::apply(*q, *k, *v));
}

// Returns the step of fast_transformers/attention/causal_linear_attention.py: all [B, T, H, D]. A
// new tensor.
Tensor *peer_step(const Tensor *queries, const Tensor *keys, const Tensor *values) {
  const Tensor q = at::elu(*queries) + 1;
  const Tensor k = (at::elu(*keys) + 1) *
                   at::ones({q.size(0), q.size(1)}, q.options()).unsqueeze(-1).unsqueeze(-1);
  const Tensor z = 1 / (at::einsum("nlhi,nlhi->nlh", {q, k.cumsum(1)}) + 1e-6);
  const Tensor v =
      heads_first(Product::apply(heads_first(q), heads_first(k), heads_first(*values)));
  return new Tensor(v * z.unsqueeze(-1));
}

}  // extern "C"
