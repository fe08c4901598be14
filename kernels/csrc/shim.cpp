// The C face: what Rust calls. No exception crosses it; a failure is a code and a message of this thread.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/headeronly/version.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "cpu.h"

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11, "tch 0.24 speaks to libtorch 2.11");

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using torch::autograd::Variable;
using Maybe = std::optional<Tensor>;

const lf::Table *best_table() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return &lf::table_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &lf::table_avx2;
#endif
  return &lf::table_baseline;
}

std::atomic<const lf::Table *> chosen{nullptr};

const lf::Table *table() {
  const lf::Table *now = chosen.load();
  if (!now) chosen.store(now = best_table());
  return now;
}

template <class T>
const lf::AttentionTable<T> &attention_table();
template <>
const lf::AttentionTable<float> &attention_table<float>() {
  return table()->f32;
}
template <>
const lf::AttentionTable<double> &attention_table<double>() {
  return table()->f64;
}

// Runs `work` for every head of every sequence, the tokens shared out evenly. Who does which is no matter to the result.
template <class T, class F>
void each_head(const int64_t *bounds, int64_t sequences, int64_t heads, int64_t scratch, F work) {
  const int64_t items = sequences * heads, tokens = bounds[sequences] * heads;
  const int64_t shares = std::max<int64_t>(1, std::min<int64_t>(items, at::get_num_threads()));
  std::vector<int64_t> first(shares + 1, items);
  int64_t share = 0, done = 0;
  for (int64_t item = 0; item < items; item++) {
    while (share < shares && done * shares >= share * tokens) first[share++] = item;
    const int64_t seq = item / heads;
    done += bounds[seq + 1] - bounds[seq];
  }
  at::parallel_for(0, shares, 1, [&](int64_t from, int64_t to) {
    std::vector<T> memory(scratch);
    for (int64_t item = first[from]; item < first[to]; item++) {
      const int64_t seq = item / heads;
      work(seq, item % heads, bounds[seq], bounds[seq + 1], memory.data());
    }
  });
}

struct Bounds {
  const int64_t *at;
  int64_t sequences;
};

Bounds checked_bounds(const Tensor &bounds, int64_t tokens) {
  TORCH_CHECK(bounds.device().is_cpu() && bounds.scalar_type() == at::kLong && bounds.dim() == 1 && bounds.is_contiguous() &&
                  bounds.numel() >= 1,
              "bounds: expected a contiguous int64 vector on the CPU");
  const int64_t *at = bounds.const_data_ptr<int64_t>();
  const int64_t sequences = bounds.numel() - 1;
  TORCH_CHECK(at[0] == 0 && at[sequences] == tokens, "bounds: expected 0 to ", tokens, ", found ", at[0], " to ", at[sequences]);
  for (int64_t i = 0; i < sequences; i++) TORCH_CHECK(at[i] <= at[i + 1], "bounds: entry ", i + 1, " is less than the one before");
  return {at, sequences};
}

void check_input(const char *name, const Tensor &x, const Tensor &like) {
  TORCH_CHECK(x.dim() == 3 && x.device().is_cpu(), name, ": expected [N, H, D] on the CPU, found ", x.sizes());
  TORCH_CHECK(x.scalar_type() == like.scalar_type(), name, ": expected the same kind as q");
  TORCH_CHECK(x.size(0) == like.size(0) && x.size(1) == like.size(1), name, ": expected N and H of q, ", like.sizes(), ", found ",
              x.sizes());
}

Tensor rows_contiguous(const Tensor &x) { return x.size(-1) <= 1 || x.stride(-1) == 1 ? x : x.contiguous(); }

template <class T>
const T *maybe(const Tensor &x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}
template <class T>
T *maybe_out(const Tensor &x) {
  return x.defined() ? x.data_ptr<T>() : nullptr;
}

struct Inputs {
  Tensor q, k, v, bounds, cos, sin, s0, z0;
  double eps;
};

template <class T>
lf::Attention<T> arguments(const Inputs &in, const Tensor &out, const Tensor &den) {
  lf::Attention<T> a{};
  a.q = in.q.const_data_ptr<T>(), a.k = in.k.const_data_ptr<T>(), a.v = in.v.const_data_ptr<T>();
  a.q_t = in.q.stride(0), a.q_h = in.q.stride(1);
  a.k_t = in.k.stride(0), a.k_h = in.k.stride(1);
  a.v_t = in.v.stride(0), a.v_h = in.v.stride(1);
  a.out = out.data_ptr<T>(), a.den = den.data_ptr<T>();
  a.heads = in.q.size(1), a.d = in.q.size(2), a.m = in.v.size(2);
  a.eps = T(in.eps);
  a.cos = maybe<T>(in.cos), a.sin = maybe<T>(in.sin);
  a.s0 = maybe<T>(in.s0), a.z0 = maybe<T>(in.z0);
  return a;
}

struct Outputs {
  Tensor out, den, s1, z1;
};

Outputs run_forward(const Inputs &in, bool states) {
  check_input("q", in.q, in.q);
  check_input("k", in.k, in.q);
  check_input("v", in.v, in.q);
  TORCH_CHECK(in.k.size(2) == in.q.size(2), "k: expected D of q, ", in.q.size(2), ", found ", in.k.size(2));
  const auto bounds = checked_bounds(in.bounds, in.q.size(0));
  const int64_t tokens = in.q.size(0), heads = in.q.size(1), d = in.q.size(2), m = in.v.size(2);
  if (in.cos.defined()) {
    TORCH_CHECK(d % 2 == 0, "rotary positions: expected an even D, found ", d);
    int64_t longest = 0;
    for (int64_t i = 0; i < bounds.sequences; i++) longest = std::max(longest, bounds.at[i + 1] - bounds.at[i]);
    TORCH_CHECK(in.cos.size(0) >= longest && in.cos.size(1) == d / 2 && in.cos.is_contiguous() && in.sin.is_contiguous() &&
                    in.cos.sizes() == in.sin.sizes() && in.cos.scalar_type() == in.q.scalar_type(),
                "rotary positions: expected at least [", longest, ", ", d / 2, "], found ", in.cos.sizes());
  }
  if (in.s0.defined())
    TORCH_CHECK(in.s0.sizes() == at::IntArrayRef({bounds.sequences, heads, d, m}) && in.z0.sizes() == at::IntArrayRef({bounds.sequences, heads, d}) &&
                    in.s0.is_contiguous() && in.z0.is_contiguous(),
                "state: expected [S, H, D, M] and [S, H, D], contiguous");
  Outputs o;
  o.out = at::empty({tokens, heads, m}, in.q.options());
  o.den = at::empty({tokens, heads}, in.q.options());
  if (states) {
    o.s1 = at::empty({bounds.sequences, heads, d, m}, in.q.options());
    o.z1 = at::empty({bounds.sequences, heads, d}, in.q.options());
  }
  AT_DISPATCH_FLOATING_TYPES(in.q.scalar_type(), "attention", [&] {
    auto a = arguments<scalar_t>(in, o.out, o.den);
    a.s1 = maybe_out<scalar_t>(o.s1), a.z1 = maybe_out<scalar_t>(o.z1);
    const auto &kernels = attention_table<scalar_t>();
    each_head<scalar_t>(bounds.at, bounds.sequences, heads, kernels.scratch(d, m),
                        [&](int64_t seq, int64_t head, int64_t begin, int64_t end, scalar_t *scratch) {
                          kernels.forward(a, seq, head, begin, end, scratch);
                        });
  });
  return o;
}

struct Gradients {
  Tensor dq, dk, dv, ds0, dz0;
};

void run_backward(const Inputs &in, const Outputs &o, const Tensor &grad, const Tensor &ds1, const Tensor &dz1, Gradients &to) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "attention: no second derivative");
  const auto bounds = checked_bounds(in.bounds, in.q.size(0));
  const Tensor g = grad.contiguous();
  AT_DISPATCH_FLOATING_TYPES(in.q.scalar_type(), "attention", [&] {
    auto a = arguments<scalar_t>(in, o.out, o.den);
    a.grad = g.const_data_ptr<scalar_t>();
    a.dq = to.dq.data_ptr<scalar_t>(), a.dk = to.dk.data_ptr<scalar_t>(), a.dv = to.dv.data_ptr<scalar_t>();
    a.dq_t = to.dq.stride(0), a.dq_h = to.dq.stride(1);
    a.dk_t = to.dk.stride(0), a.dk_h = to.dk.stride(1);
    a.dv_t = to.dv.stride(0), a.dv_h = to.dv.stride(1);
    a.ds1 = maybe<scalar_t>(ds1), a.dz1 = maybe<scalar_t>(dz1);
    a.ds0 = maybe_out<scalar_t>(to.ds0), a.dz0 = maybe_out<scalar_t>(to.dz0);
    const auto &kernels = attention_table<scalar_t>();
    each_head<scalar_t>(bounds.at, bounds.sequences, in.q.size(1), kernels.scratch(in.q.size(2), in.v.size(2)),
                        [&](int64_t seq, int64_t head, int64_t begin, int64_t end, scalar_t *scratch) {
                          kernels.backward(a, seq, head, begin, end, scratch);
                        });
  });
}

struct Attend : torch::autograd::Function<Attend> {
  static tensor_list forward(AutogradContext *ctx, const Tensor &q, const Tensor &k, const Tensor &v, const Maybe &s0,
                             const Maybe &z0, const Tensor &bounds, const Maybe &cos, const Maybe &sin, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Inputs in{rows_contiguous(q), rows_contiguous(k), rows_contiguous(v), bounds, cos.value_or(Tensor()), sin.value_or(Tensor()),
              s0 ? s0->contiguous() : Tensor(), z0 ? z0->contiguous() : Tensor(), eps};
    auto o = run_forward(in, true);
    ctx->save_for_backward({in.q, in.k, in.v, in.bounds, in.cos, in.sin, in.s0, in.z0, o.out, o.den});
    ctx->saved_data["eps"] = eps;
    return {o.out, o.s1, o.z1};
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    const auto x = ctx->get_saved_variables();
    const Inputs in{x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], ctx->saved_data["eps"].toDouble()};
    const Outputs o{x[8], x[9], {}, {}};
    const auto fresh = [](const Tensor &like) { return like.defined() ? at::empty(like.sizes(), like.options()) : Tensor(); };
    Gradients to{fresh(in.q), fresh(in.k), fresh(in.v), fresh(in.s0), fresh(in.z0)};
    run_backward(in, o, grads[0], grads[1].contiguous(), grads[2].contiguous(), to);
    return {to.dq, to.dk, to.dv, to.ds0, to.dz0, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// q, k and v side by side in rows of one product: [N, 3 H D]. Gradients go into one such buffer.
struct AttendPacked : torch::autograd::Function<AttendPacked> {
  static Inputs split(const Tensor &qkv, int64_t heads, const Tensor &bounds, const Tensor &cos, const Tensor &sin, double eps) {
    const auto x = qkv.view({qkv.size(0), 3, heads, qkv.size(1) / (3 * heads)});
    return {x.select(1, 0), x.select(1, 1), x.select(1, 2), bounds, cos, sin, {}, {}, eps};
  }

  static Tensor forward(AutogradContext *ctx, const Tensor &qkv_in, int64_t heads, const Tensor &bounds, const Maybe &cos,
                        const Maybe &sin, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(qkv_in.dim() == 2 && heads > 0 && qkv_in.size(1) % (3 * heads) == 0, "qkv: expected [N, 3 H D] with H = ", heads,
                ", found ", qkv_in.sizes());
    const Tensor qkv = qkv_in.contiguous();
    const Inputs in = split(qkv, heads, bounds, cos.value_or(Tensor()), sin.value_or(Tensor()), eps);
    auto o = run_forward(in, false);
    ctx->save_for_backward({qkv, bounds, in.cos, in.sin, o.out, o.den});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["heads"] = heads;
    return o.out;
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    const auto x = ctx->get_saved_variables();
    const int64_t heads = ctx->saved_data["heads"].toInt();
    const Inputs in = split(x[0], heads, x[1], x[2], x[3], ctx->saved_data["eps"].toDouble());
    const Tensor d = at::empty_like(x[0]);
    const auto parts = d.view({d.size(0), 3, heads, d.size(1) / (3 * heads)});
    Gradients to{parts.select(1, 0), parts.select(1, 1), parts.select(1, 2), {}, {}};
    run_backward(in, {x[4], x[5], {}, {}}, grads[0], {}, {}, to);
    return {d, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

thread_local std::string last_error;

template <class F>
int guarded(F work) {
  try {
    work();
    return 0;
  } catch (const c10::Error &error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception &error) {
    last_error = error.what();
  } catch (...) {
    last_error = "unknown exception";
  }
  return 1;
}

Maybe given(const Tensor *x) { return x ? Maybe(*x) : Maybe(); }

std::vector<Tensor> list(Tensor *const *x, int64_t n) {
  std::vector<Tensor> all;
  all.reserve(n);
  for (int64_t i = 0; i < n; i++) all.push_back(*x[i]);
  return all;
}

}  // namespace

extern "C" {

const char *lf_last_error() { return last_error.c_str(); }

void lf_set_last_error(const char *message) { last_error = message; }

const char *lf_instruction_set() { return table()->name; }

// For tests: 0 where this machine lacks it.
int lf_choose_instruction_set(const char *name) {
  const lf::Table *found = nullptr;
  if (!std::strcmp(name, "best")) found = best_table();
  if (!std::strcmp(name, "baseline")) found = &lf::table_baseline;
#if defined(__x86_64__)
  const lf::Table *best = best_table();
  if (!std::strcmp(name, "avx2") && best != &lf::table_baseline) found = &lf::table_avx2;
  if (!std::strcmp(name, "avx512") && best == &lf::table_avx512) found = &lf::table_avx512;
#endif
  if (found) chosen.store(found);
  return found != nullptr;
}

// out: three new tensors: [N, H, M], [S, H, D, M], [S, H, D]
int lf_attention(Tensor **out, const Tensor *q, const Tensor *k, const Tensor *v, const Tensor *s0, const Tensor *z0,
                 const Tensor *bounds, const Tensor *cos, const Tensor *sin, double eps) {
  return guarded([&] {
    auto o = Attend::apply(*q, *k, *v, given(s0), given(z0), *bounds, given(cos), given(sin), eps);
    for (int i = 0; i < 3; i++) out[i] = new Tensor(o[i]);
  });
}

// out: one new tensor [N, H, D]
int lf_attention_packed(Tensor **out, const Tensor *qkv, int64_t heads, const Tensor *bounds, const Tensor *cos,
                        const Tensor *sin, double eps) {
  return guarded([&] { *out = new Tensor(AttendPacked::apply(*qkv, heads, *bounds, given(cos), given(sin), eps)); });
}

// q, k [B, H, D], v [B, H, M]; s [B, H, D, M] and z [B, H, D] change in place; out: one new tensor [B, H, M]
int lf_step(Tensor **out, const Tensor *q, const Tensor *k, const Tensor *v, Tensor *s, Tensor *z, double eps) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const Tensor qc = q->contiguous(), kc = k->contiguous(), vc = v->contiguous();
    TORCH_CHECK(qc.dim() == 3 && qc.scalar_type() == at::kFloat && qc.device().is_cpu(), "q: expected float [B, H, D] on the CPU");
    TORCH_CHECK(kc.sizes() == qc.sizes() && kc.scalar_type() == at::kFloat, "k: expected ", qc.sizes(), ", found ", kc.sizes());
    const int64_t b = qc.size(0), h = qc.size(1), d = qc.size(2), m = vc.size(-1);
    TORCH_CHECK(vc.sizes() == at::IntArrayRef({b, h, m}) && vc.scalar_type() == at::kFloat, "v: expected [B, H, M], found ", vc.sizes());
    TORCH_CHECK(s->sizes() == at::IntArrayRef({b, h, d, m}) && z->sizes() == at::IntArrayRef({b, h, d}) && s->is_contiguous() &&
                    z->is_contiguous() && s->scalar_type() == at::kFloat && z->scalar_type() == at::kFloat,
                "state: expected contiguous float [B, H, D, M] and [B, H, D]");
    Tensor y = at::empty({b, h, m}, qc.options());
    at::parallel_for(0, b * h, 64, [&](int64_t from, int64_t to) {
      std::vector<float> scratch(2 * d);
      for (int64_t i = from; i < to; i++)
        table()->step(d, m, qc.const_data_ptr<float>() + i * d, kc.const_data_ptr<float>() + i * d,
                      vc.const_data_ptr<float>() + i * m, float(eps), s->data_ptr<float>() + i * d * m,
                      z->data_ptr<float>() + i * d, y.data_ptr<float>() + i * m, scratch.data());
    });
    *out = new Tensor(y);
  });
}

// One AdamW step over all parameters, in place. `step` counts from 1.
int lf_adamw(Tensor *const *params, Tensor *const *grads, Tensor *const *first, Tensor *const *second, int64_t n, double step,
             double lr, double beta1, double beta2, double weight_decay, double eps) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    if (n == 0) return;
    auto p = list(params, n), g = list(grads, n), m = list(first, n), v = list(second, n);
    std::vector<Tensor> steps;
    for (int64_t i = 0; i < n; i++) steps.push_back(at::full({}, step, p[i].options().dtype(at::kFloat).requires_grad(false)));
    at::_fused_adamw_(p, g, m, v, {}, steps, lr, beta1, beta2, weight_decay, eps, false, false);
  });
}

// Scales gradients in place so that their common norm is at most `limit`; the norm before goes to `norm`.
int lf_clip_grad_norm(Tensor *const *grads, int64_t n, double limit, double *norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto g = list(grads, n);
    auto norms = at::_foreach_norm(g, 2);
    const Tensor total = at::stack(norms).norm(2);
    *norm = total.item<double>();
    if (*norm > limit) at::_foreach_mul_(g, limit / (*norm + 1e-6));
  });
}

int64_t lf_decode_scratch(const lf::Model *model, int64_t rows) { return table()->decode_scratch(*model, rows); }

// Plain memory, no tensor: safe from any thread.
void lf_decode(const lf::Model *model, int64_t rows, int64_t slots, const int32_t *slot, const int32_t *tokens,
               const int64_t *positions, float *s, float *z, float *logits, float *scratch) {
  table()->decode(*model, rows, slots, slot, tokens, positions, s, z, logits, scratch);
}

}  // extern "C"
