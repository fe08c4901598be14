// Linear layers, SwiGLU and the cross entropy as operators that autograd differentiates, for floats
// on the CPU. Each result has the same bits for any number of threads.
#include "shim.h"

#include <torch/csrc/autograd/custom_function.h>

using namespace lf;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

namespace {

bool is_float_rows(const Tensor &x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 2;
}

// Divides rows among threads, in multiples of `step`.
template <class F>
void each_share(int64_t rows, int64_t step, F work) {
  at::parallel_for(0, (rows + step - 1) / step, 1, [&](int64_t from, int64_t to) {
    work(from * step, std::min(to * step, rows));
  });
}

int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

const LinearTable &linear_table(bool bf16) {
  const LinearTable *found = bf16 ? bf16_products() : table()->linear;
  TORCH_CHECK(found, "linear: this processor has no ", bf16 ? "AVX512_BF16" : "AVX-512");
  return *found;
}

// Returns x[rows, depth] w^T or, for `transposed`, x w, plus bias and residual.
Tensor rows_by_weight(const LinearTable &t, const Tensor &x, const Tensor &w, bool transposed,
                      const Tensor &bias, const Tensor &residual) {
  const int64_t rows = x.size(0), depth = x.size(1), cols = w.size(transposed ? 1 : 0),
                lines = (depth + t.per_unit - 1) / t.per_unit, row = w.size(1);
  const Tensor packed = at::empty({rounded_up(cols, t.cols) * lines}, x.options()),
               y = at::empty({rows, cols}, x.options());
  const float *from_w = w.const_data_ptr<float>();
  float *to_packed = packed.data_ptr<float>();
  each_share(cols, t.cols, [&](int64_t from, int64_t to) {
    if (transposed)
      t.pack_right(from_w + from, depth, to - from, row, lines, to_packed + from * lines);
    else
      t.pack_transposed(from_w + from * row, depth, to - from, row, to_packed + from * lines);
  });
  each_share(rows, t.block, [&](int64_t from, int64_t to) {
    const Tensor scratch = at::empty({t.block * rounded_up(lines, 16)}, x.options());
    t.row_products(x.const_data_ptr<float>() + from * depth, to - from, depth, to_packed, cols,
                   bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                   residual.defined() ? residual.const_data_ptr<float>() + from * cols : nullptr,
                   y.data_ptr<float>() + from * cols, scratch.data_ptr<float>());
  });
  return y;
}

// Returns dy^T x and, with `with_sums`, the sums of dy's columns.
std::pair<Tensor, Tensor> weight_gradient(const LinearTable &t, const Tensor &dy, const Tensor &x,
                                          bool with_sums) {
  const int64_t tokens = x.size(0), rows = dy.size(1), cols = x.size(1),
                chunk = t.chunk * t.per_unit, chunks = (tokens + chunk - 1) / chunk;
  const int64_t left_size = t.chunk * rounded_up(rows, t.cols),
                right_size = t.chunk * rounded_up(cols, t.cols);
  const Tensor left = at::empty({chunks * left_size}, x.options()),
               right = at::empty({chunks * right_size}, x.options()),
               sums = with_sums ? at::empty({chunks, rows}, x.options()) : Tensor(),
               dw = at::empty({rows, cols}, x.options());
  each_share(chunks, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const int64_t first = i * chunk, count = std::min(chunk, tokens - first);
      const float *from_dy = dy.const_data_ptr<float>() + first * rows;
      t.pack_left(from_dy, count, rows, rows, t.chunk, left.data_ptr<float>() + i * left_size);
      t.pack_right(x.const_data_ptr<float>() + first * cols, count, cols, cols, t.chunk,
                   right.data_ptr<float>() + i * right_size);
      if (with_sums) t.column_sums(from_dy, count, rows, sums.data_ptr<float>() + i * rows);
    }
  });
  each_share(rows, t.cols, [&](int64_t from, int64_t to) {
    t.outer_product(left.const_data_ptr<float>(), rows, right.const_data_ptr<float>(), cols, tokens,
                    from, to, dw.data_ptr<float>());
  });
  if (!with_sums) return {dw, Tensor()};
  const Tensor total = at::empty({rows}, x.options());
  t.column_sums(sums.const_data_ptr<float>(), chunks, rows, total.data_ptr<float>());
  return {dw, total};
}

struct LinearLayer : torch::autograd::Function<LinearLayer> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x_in, const Tensor &w_in,
                        const Maybe &bias, const Maybe &residual, bool bf16) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(is_float_rows(x_in) && is_float_rows(w_in) && x_in.size(1) == w_in.size(1),
                "linear: expected float [N, inputs] and [outputs, inputs] on the CPU, found ",
                x_in.scalar_type(), " ", x_in.sizes(), " and ", w_in.sizes());
    const int64_t rows = x_in.size(0), outputs = w_in.size(0);
    TORCH_CHECK(!bias || (bias->sizes() == at::IntArrayRef({outputs}) &&
                          bias->scalar_type() == at::kFloat && bias->is_contiguous()),
                "bias: expected float [", outputs, "]");
    TORCH_CHECK(!residual || (is_float_rows(*residual) &&
                              residual->sizes() == at::IntArrayRef({rows, outputs})),
                "residual: expected float [", rows, ", ", outputs, "]");
    const Tensor x = x_in.contiguous(), w = w_in.contiguous();
    ctx->save_for_backward({x, w});
    ctx->saved_data["bf16"] = bf16;
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["has_residual"] = residual.has_value();
    return rows_by_weight(linear_table(bf16), x, w, false, bias.value_or(Tensor()),
                          residual ? residual->contiguous() : Tensor());
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "linear: no second derivative");
    const auto saved = ctx->get_saved_variables();
    const Tensor x = saved[0], w = saved[1], dy = grads[0].contiguous();
    const LinearTable &t = linear_table(ctx->saved_data["bf16"].toBool());
    const bool has_bias = ctx->saved_data["has_bias"].toBool();
    const Tensor dx = ctx->needs_input_grad(0)
                          ? rows_by_weight(t, dy, w, true, Tensor(), Tensor())
                          : Tensor();
    const auto [dw, sums] = weight_gradient(t, dy, x, has_bias);
    return {dx, dw, sums, ctx->saved_data["has_residual"].toBool() ? dy : Tensor(), Tensor()};
  }
};

constexpr int64_t ROWS_AT_ONCE = 16;  // least rows of a thread's share of an elementwise operator

struct Swiglu : torch::autograd::Function<Swiglu> {
  static Tensor forward(AutogradContext *ctx, const Tensor &up_in) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(is_float_rows(up_in) && up_in.size(1) % 32 == 0,
                "swiglu: expected float [N, a multiple of 32] on the CPU, found ",
                up_in.scalar_type(), " ", up_in.sizes());
    const Tensor up = up_in.contiguous();
    const int64_t rows = up.size(0), feed = up.size(1) / 2;
    const Tensor out = at::empty({rows, feed}, up.options());
    ctx->save_for_backward({up});
    each_share(rows, ROWS_AT_ONCE, [&](int64_t from, int64_t to) {
      table()->swiglu(up.const_data_ptr<float>() + from * 2 * feed, to - from, feed,
                      out.data_ptr<float>() + from * feed);
    });
    return out;
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "swiglu: no second derivative");
    const Tensor up = ctx->get_saved_variables()[0], dout = grads[0].contiguous(),
                 dup = at::empty_like(up);
    const int64_t rows = up.size(0), feed = up.size(1) / 2;
    each_share(rows, ROWS_AT_ONCE, [&](int64_t from, int64_t to) {
      table()->swiglu_back(up.const_data_ptr<float>() + from * 2 * feed,
                           dout.const_data_ptr<float>() + from * feed, to - from, feed,
                           dup.data_ptr<float>() + from * 2 * feed);
    });
    return {dup};
  }
};

struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static Tensor forward(AutogradContext *ctx, const Tensor &scores_in, const Tensor &targets_in) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(is_float_rows(scores_in) && scores_in.size(1) > 0,
                "cross entropy: expected float [N, V] on the CPU, found ", scores_in.scalar_type(),
                " ", scores_in.sizes());
    const Tensor scores = scores_in.contiguous(), targets = targets_in.contiguous();
    const int64_t rows = scores.size(0), vocab = scores.size(1);
    TORCH_CHECK(targets.sizes() == at::IntArrayRef({rows}) && targets.is_cpu() &&
                    targets.scalar_type() == at::kLong,
                "targets: expected int64 [", rows, "] on the CPU, found ", targets.sizes());
    const int64_t *ids = targets.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < rows; i++)
      TORCH_CHECK(0 <= ids[i] && ids[i] < vocab, "targets: expected ids below ", vocab, ", found ",
                  ids[i], " at ", i);
    const Tensor losses = at::empty({rows}, scores.options()),
                 log_sums = at::empty({rows}, scores.options());
    ctx->save_for_backward({scores, targets, log_sums});
    each_share(rows, ROWS_AT_ONCE, [&](int64_t from, int64_t to) {
      table()->cross_entropy(scores.const_data_ptr<float>() + from * vocab, ids + from, to - from,
                             vocab, losses.data_ptr<float>() + from,
                             log_sums.data_ptr<float>() + from);
    });
    return losses;
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "cross entropy: no second derivative");
    const auto saved = ctx->get_saved_variables();
    const Tensor scores = saved[0], targets = saved[1], log_sums = saved[2],
                 dlosses = grads[0].contiguous(), dscores = at::empty_like(scores);
    const int64_t vocab = scores.size(1);
    each_share(scores.size(0), ROWS_AT_ONCE, [&](int64_t from, int64_t to) {
      table()->cross_entropy_back(
          scores.const_data_ptr<float>() + from * vocab, targets.const_data_ptr<int64_t>() + from,
          log_sums.const_data_ptr<float>() + from, dlosses.const_data_ptr<float>() + from,
          to - from, vocab, dscores.data_ptr<float>() + from * vocab);
    });
    return {dscores, Tensor()};
  }
};

}  // namespace

extern "C" {

// Which products this processor has: 1 for bfloat16, 0 for float; returns 0 or 1.
int lf_has_products(int bf16) { return (bf16 ? bf16_products() : table()->linear) != nullptr; }

// x [N, inputs], w [outputs, inputs], bias [outputs] and residual [N, outputs], which may be null.
// out: one new tensor [N, outputs].
int lf_linear(Tensor **out, const Tensor *x, const Tensor *w, const Tensor *bias,
              const Tensor *residual, int bf16) {
  return guarded([&] {
    *out = new Tensor(LinearLayer::apply(*x, *w, given(bias), given(residual), bf16 != 0));
  });
}

// up [N, 2 F], gates before values. out: one new tensor [N, F].
int lf_swiglu(Tensor **out, const Tensor *up) {
  return guarded([&] { *out = new Tensor(Swiglu::apply(*up)); });
}

// scores [N, V], targets [N]. out: one new tensor [N] of nats.
int lf_cross_entropy(Tensor **out, const Tensor *scores, const Tensor *targets) {
  return guarded([&] { *out = new Tensor(CrossEntropy::apply(*scores, *targets)); });
}

}  // extern "C"
