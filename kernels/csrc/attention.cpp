// The attention as operators that autograd differentiates, by the CPU kernels and, with
// LF_CUDA_KERNELS, those of cuda/.
#include "shim.h"

#include <torch/csrc/autograd/custom_function.h>

#ifdef LF_CUDA_KERNELS
#include "cuda/launch.h"
#endif

using namespace lf;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

namespace {

template <class T>
const AttentionTable<T> &attention_table();
template <>
const AttentionTable<float> &attention_table<float>() {
  return table()->f32;
}
template <>
const AttentionTable<double> &attention_table<double>() {
  return table()->f64;
}

// Runs `work` for every head of every sequence, up to GROUP heads of a sequence at a time, with
// about as many tokens for each thread. Each head is computed whole by one thread, so the division
// does not change the result.
template <class T, class F>
void each_head(const CuSeqlens &cu_seqlens, int64_t heads, int64_t scratch, F work) {
  const int64_t items = cu_seqlens.sequences * heads,
                tokens = cu_seqlens.offsets[cu_seqlens.sequences] * heads;
  const int64_t shares = std::max<int64_t>(1, std::min<int64_t>(items, at::get_num_threads()));
  std::vector<int64_t> first(shares + 1, items);
  int64_t share = 0, done = 0;
  for (int64_t item = 0; item < items; item++) {
    while (share < shares && done * shares >= share * tokens) first[share++] = item;
    const int64_t seq = item / heads;
    done += cu_seqlens.offsets[seq + 1] - cu_seqlens.offsets[seq];
  }
  at::parallel_for(0, shares, 1, [&](int64_t from, int64_t to) {
    const Tensor memory = at::empty({scratch}, at::CppTypeToScalarType<T>::value);
    for (int64_t item = first[from]; item < first[to];) {
      const int64_t seq = item / heads, head = item % heads;
      const int64_t group = std::min({heads - head, first[to] - item, GROUP});
      work(Item{seq, head, group, cu_seqlens.offsets[seq], cu_seqlens.offsets[seq + 1],
                cu_seqlens.origin(seq)},
           memory.data_ptr<T>());
      item += group;
    }
  });
}

void check_input(const char *name, const Tensor &x, const Tensor &like) {
  TORCH_CHECK(x.dim() == 3 && x.device() == like.device(), name,
              ": expected [N, H, D] on the device of q, found ", x.sizes());
  TORCH_CHECK(x.scalar_type() == like.scalar_type(), name, ": expected the same kind as q");
  TORCH_CHECK(x.size(0) == like.size(0) && x.size(1) == like.size(1), name,
              ": expected N and H of q, ", like.sizes(), ", found ", x.sizes());
}

// Copies x only if its innermost stride is not 1, which the kernels need.
Tensor rows_contiguous(const Tensor &x) {
  return x.size(-1) <= 1 || x.stride(-1) == 1 ? x : x.contiguous();
}

template <class T>
const T *maybe(const Tensor &x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}
template <class T>
T *maybe_out(const Tensor &x) {
  return x.defined() ? x.data_ptr<T>() : nullptr;
}

struct Inputs {
  Tensor q, k, v, cu_seqlens, starts, segments, cos, sin, decay, log_decay, s0, z0;
  double eps;
};
struct Outputs {
  Tensor out, den, s1, z1;
  Tensor states;  // on a GPU: what the kernels keep for backward
};
struct Gradients {
  Tensor dq, dk, dv, dlog_decay, ds0, dz0;
};

// Kind of states and sums: float for bfloat16 inputs, else that of the inputs.
at::ScalarType sum_kind(const Tensor &q) {
  return q.scalar_type() == at::kBFloat16 ? at::kFloat : q.scalar_type();
}

// Checks shapes, kinds and devices of all inputs.
void check(const Inputs &in, const CuSeqlens &cu_seqlens) {
  check_input("q", in.q, in.q);
  check_input("k", in.k, in.q);
  check_input("v", in.v, in.q);
  const int64_t heads = in.q.size(1), d = in.q.size(2), m = in.v.size(2);
  TORCH_CHECK(in.k.size(2) == d, "k: expected D of q, ", d, ", found ", in.k.size(2));
  if (in.cos.defined()) {
    TORCH_CHECK(d % 2 == 0, "rotary positions: expected an even D, found ", d);
    TORCH_CHECK(in.cos.size(0) >= cu_seqlens.max_position && in.cos.size(1) == d / 2 &&
                    in.cos.is_contiguous() && in.sin.is_contiguous() &&
                    in.cos.sizes() == in.sin.sizes() && in.cos.scalar_type() == sum_kind(in.q) &&
                    in.cos.device() == in.q.device(),
                "rotary positions: expected at least [", cu_seqlens.max_position, ", ", d / 2,
                "], found ", in.cos.sizes());
  }
  if (in.decay.defined())
    TORCH_CHECK(in.decay.sizes() == at::IntArrayRef({heads}) && in.decay.is_contiguous(),
                "decay: expected [", heads, "], found ", in.decay.sizes());
  if (in.log_decay.defined())
    TORCH_CHECK(in.log_decay.sizes() == at::IntArrayRef({in.q.size(0), heads}) &&
                    in.log_decay.is_contiguous() &&
                    in.log_decay.scalar_type() == sum_kind(in.q) && in.q.device().is_cpu() &&
                    in.log_decay.device().is_cpu(),
                "log_decay: expected ", sum_kind(in.q), " [", in.q.size(0), ", ", heads,
                "] on the CPU, found ", in.log_decay.scalar_type(), " ", in.log_decay.sizes(),
                " on ", in.log_decay.device(), ", with q on ", in.q.device());
  if (in.s0.defined())
    TORCH_CHECK(in.s0.sizes() == at::IntArrayRef({cu_seqlens.sequences, heads, d, m}) &&
                    in.z0.sizes() == at::IntArrayRef({cu_seqlens.sequences, heads, d}) &&
                    in.s0.is_contiguous() && in.z0.is_contiguous() &&
                    in.s0.scalar_type() == sum_kind(in.q) &&
                    in.z0.scalar_type() == sum_kind(in.q) &&
                    in.s0.device() == in.q.device() && in.z0.device() == in.q.device(),
                "state: expected contiguous [S, H, D, M] and [S, H, D] on ", in.q.device(),
                ", found ", in.s0.sizes(), " on ", in.s0.device(), " and ", in.z0.sizes(), " on ",
                in.z0.device());
}

// Fills the arguments that CPU and CUDA kernels share.
template <class A, class T, class Sum>
A arguments(const Inputs &in, const Outputs &o) {
  A a{};
  a.q = in.q.const_data_ptr<T>(), a.k = in.k.const_data_ptr<T>(), a.v = in.v.const_data_ptr<T>();
  a.q_t = in.q.stride(0), a.q_h = in.q.stride(1);
  a.k_t = in.k.stride(0), a.k_h = in.k.stride(1);
  a.v_t = in.v.stride(0), a.v_h = in.v.stride(1);
  a.out = o.out.data_ptr<T>(), a.den = o.den.data_ptr<Sum>();
  a.tokens = in.q.size(0), a.heads = in.q.size(1), a.d = in.q.size(2), a.m = in.v.size(2);
  a.eps = Sum(in.eps);
  a.cos = maybe<Sum>(in.cos), a.sin = maybe<Sum>(in.sin), a.decay = maybe<Sum>(in.decay);
  a.s0 = maybe<Sum>(in.s0), a.z0 = maybe<Sum>(in.z0);
  a.s1 = maybe_out<Sum>(o.s1), a.z1 = maybe_out<Sum>(o.z1);
  return a;
}
template <class A, class T, class Sum>
A arguments(const Inputs &in, const Outputs &o, const Tensor &grad, const Tensor &ds1,
            const Tensor &dz1, const Gradients &to) {
  A a = arguments<A, T, Sum>(in, o);
  a.grad = grad.const_data_ptr<T>(), a.grad_t = grad.stride(0), a.grad_h = grad.stride(1);
  a.dq = to.dq.data_ptr<T>(), a.dk = to.dk.data_ptr<T>(), a.dv = to.dv.data_ptr<T>();
  a.dq_t = to.dq.stride(0), a.dq_h = to.dq.stride(1);
  a.dk_t = to.dk.stride(0), a.dk_h = to.dk.stride(1);
  a.dv_t = to.dv.stride(0), a.dv_h = to.dv.stride(1);
  a.ds1 = maybe<Sum>(ds1), a.dz1 = maybe<Sum>(dz1);
  a.ds0 = maybe_out<Sum>(to.ds0), a.dz0 = maybe_out<Sum>(to.dz0);
  return a;
}

#ifdef LF_CUDA_KERNELS
bool on_gpu(const Tensor &x) { return x.is_cuda(); }
#else
bool on_gpu(const Tensor &x) {
  TORCH_CHECK(x.device().is_cpu(),
              "q: expected a tensor on the CPU, as this was built without CUDA, found one on ",
              x.device());
  return false;
}
#endif

Outputs run_forward(const Inputs &in, bool states) {
  const auto cu_seqlens = checked_cu_seqlens(in.cu_seqlens, in.starts, in.q.size(0));
  check(in, cu_seqlens);
  const int64_t tokens = in.q.size(0), heads = in.q.size(1), d = in.q.size(2), m = in.v.size(2);
  const auto sums = in.q.options().dtype(sum_kind(in.q));
  Outputs o{
      at::empty({tokens, heads, m}, in.q.options()), at::empty({heads, tokens}, sums), {}, {}, {}};
  if (states)
    o.s1 = at::empty({cu_seqlens.sequences, heads, d, m}, sums),
    o.z1 = at::empty({cu_seqlens.sequences, heads, d}, sums);
  if (on_gpu(in.q)) {
#ifdef LF_CUDA_KERNELS
    const cuda::Call call(in.q, cu_seqlens, in.segments);
    if (in.q.scalar_type() == at::kBFloat16)
      o.states = call.forward(arguments<cuda::Attention<at::BFloat16>, at::BFloat16, float>(in, o));
    else
      o.states = call.forward(arguments<cuda::Attention<float>, float, float>(in, o));
#endif
    return o;
  }
  AT_DISPATCH_FLOATING_TYPES(in.q.scalar_type(), "attention", [&] {
    auto a = arguments<Attention<scalar_t>, scalar_t, scalar_t>(in, o);
    a.log_decay = maybe<scalar_t>(in.log_decay);
    const auto &kernels = attention_table<scalar_t>();
    each_head<scalar_t>(cu_seqlens, heads,
                        kernels.scratch(d, m, cu_seqlens.longest, std::min(heads, GROUP)),
                        [&](Item item, scalar_t *scratch) { kernels.forward(a, item, scratch); });
  });
  return o;
}

void run_backward(const Inputs &in, const Outputs &o, const Tensor &grad, const Tensor &ds1,
                  const Tensor &dz1, Gradients &to) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "attention: no second derivative");
  const auto cu_seqlens = checked_cu_seqlens(in.cu_seqlens, in.starts, in.q.size(0));
  const Tensor g = rows_contiguous(grad);
  if (on_gpu(in.q)) {
#ifdef LF_CUDA_KERNELS
    const cuda::Call call(in.q, cu_seqlens, in.segments);
    if (in.q.scalar_type() == at::kBFloat16)
      call.backward(
          arguments<cuda::Attention<at::BFloat16>, at::BFloat16, float>(in, o, g, ds1, dz1, to),
          o.states);
    else
      call.backward(arguments<cuda::Attention<float>, float, float>(in, o, g, ds1, dz1, to),
                    o.states);
#endif
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(in.q.scalar_type(), "attention", [&] {
    auto a = arguments<Attention<scalar_t>, scalar_t, scalar_t>(in, o, g, ds1, dz1, to);
    a.log_decay = maybe<scalar_t>(in.log_decay);
    a.dlog_decay = maybe_out<scalar_t>(to.dlog_decay);
    const auto &kernels = attention_table<scalar_t>();
    each_head<scalar_t>(cu_seqlens, a.heads,
                        kernels.scratch(a.d, a.m, cu_seqlens.longest, std::min(a.heads, GROUP)),
                        [&](Item item, scalar_t *scratch) { kernels.backward(a, item, scratch); });
  });
}

// Returns an empty tensor like another one; none like none.
Tensor fresh(const Tensor &like) {
  return like.defined() ? at::empty(like.sizes(), like.options()) : Tensor();
}

// Arguments of both operators to which no gradient flows.
struct Options {
  Tensor cu_seqlens, starts, segments, cos, sin, decay;
  double eps;
};
Options options(const Tensor &like, const Tensor &cu_seqlens, const Maybe &starts,
                const Maybe &segments, const Maybe &cos, const Maybe &sin, const Maybe &decay,
                double eps) {
  const Tensor none;
  return {cu_seqlens,
          starts.value_or(none),
          segments.value_or(none),
          cos.value_or(none),
          sin.value_or(none),
          decay ? decay->to(like.device(), sum_kind(like)) : none,
          eps};
}

// The operator over separate q, k and v. Gradients flow through the states too.
struct Attend : torch::autograd::Function<Attend> {
  static tensor_list forward(AutogradContext *ctx, const Tensor &q, const Tensor &k,
                             const Tensor &v, const Maybe &log_decay, const Maybe &s0,
                             const Maybe &z0, const Options &t) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Inputs in{rows_contiguous(q),
                    rows_contiguous(k),
                    rows_contiguous(v),
                    t.cu_seqlens,
                    t.starts,
                    t.segments,
                    t.cos,
                    t.sin,
                    t.decay,
                    log_decay ? log_decay->contiguous() : Tensor(),
                    s0 ? s0->contiguous() : Tensor(),
                    z0 ? z0->contiguous() : Tensor(),
                    t.eps};
    auto o = run_forward(in, true);
    ctx->save_for_backward({in.q, in.k, in.v, in.cu_seqlens, in.starts, in.segments, in.cos, in.sin,
                            in.decay, in.log_decay, in.s0, in.z0, o.out, o.den, o.states});
    ctx->saved_data["eps"] = t.eps;
    return {o.out, o.s1, o.z1};
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    const auto x = ctx->get_saved_variables();
    const Inputs in{x[0],
                    x[1],
                    x[2],
                    x[3],
                    x[4],
                    x[5],
                    x[6],
                    x[7],
                    x[8],
                    x[9],
                    x[10],
                    x[11],
                    ctx->saved_data["eps"].toDouble()};
    Gradients to{fresh(in.q),         fresh(in.k),  fresh(in.v),
                 fresh(in.log_decay), fresh(in.s0), fresh(in.z0)};
    run_backward(in, {x[12], x[13], {}, {}, x[14]}, grads[0], grads[1].contiguous(),
                 grads[2].contiguous(), to);
    return {to.dq, to.dk, to.dv, to.dlog_decay, to.ds0, to.dz0, Tensor()};
  }
};

// The operator over q, k and v as rows of one product, [N, 3 H D]. Its gradient is one buffer of
// that shape; none flows into states.
struct AttendPacked : torch::autograd::Function<AttendPacked> {
  static Inputs split(const Tensor &qkv, int64_t heads, const Tensor &log_decay, const Tensor &s0,
                      const Tensor &z0, const Options &t) {
    const auto x = qkv.view({qkv.size(0), 3, heads, qkv.size(1) / (3 * heads)});
    return {x.select(1, 0), x.select(1, 1), x.select(1, 2), t.cu_seqlens, t.starts, t.segments,
            t.cos,          t.sin,          t.decay,        log_decay,    s0,       z0,
            t.eps};
  }

  static tensor_list forward(AutogradContext *ctx, const Tensor &qkv_in, int64_t heads,
                             const Maybe &log_decay, const Maybe &s0, const Maybe &z0, bool states,
                             const Options &t) {
    at::AutoDispatchBelowADInplaceOrView guard;
    TORCH_CHECK(qkv_in.dim() == 2 && heads > 0 && qkv_in.size(1) % (3 * heads) == 0,
                "qkv: expected [N, 3 H D] with H = ", heads, ", found ", qkv_in.sizes());
    const Tensor qkv = qkv_in.contiguous();
    const Tensor g = log_decay ? log_decay->contiguous() : Tensor(),
                 s = s0 ? s0->detach().contiguous() : Tensor(),
                 z = z0 ? z0->detach().contiguous() : Tensor();
    auto o = run_forward(split(qkv, heads, g, s, z, t), states);
    ctx->save_for_backward(
        {qkv, g, s, z, t.cu_seqlens, t.starts, t.segments, t.cos, t.sin, t.decay, o.out, o.den,
         o.states});
    ctx->saved_data["eps"] = t.eps;
    ctx->saved_data["heads"] = heads;
    if (!states) return {o.out};
    ctx->mark_non_differentiable({o.s1, o.z1});
    return {o.out, o.s1, o.z1};
  }

  static tensor_list backward(AutogradContext *ctx, tensor_list grads) {
    const auto x = ctx->get_saved_variables();
    const int64_t heads = ctx->saved_data["heads"].toInt();
    const double eps = ctx->saved_data["eps"].toDouble();
    const Inputs in =
        split(x[0], heads, x[1], x[2], x[3], {x[4], x[5], x[6], x[7], x[8], x[9], eps});
    const Tensor d = at::empty_like(x[0]);
    const auto parts = d.view({d.size(0), 3, heads, d.size(1) / (3 * heads)});
    Gradients to{
        parts.select(1, 0), parts.select(1, 1), parts.select(1, 2), fresh(in.log_decay), {}, {}};
    run_backward(in, {x[10], x[11], {}, {}, x[12]}, grads[0], {}, {}, to);
    return {d, Tensor(), to.dlog_decay, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" {

// Divides sequences into what the kernels of GPU `index` compute at once (cuda/segments.h). out:
// one new tensor, the `segments` of the operators below.
int lf_segments(Tensor **out, const Tensor *cu_seqlens, const Tensor *starts, int index) {
  return guarded([&] {
#ifdef LF_CUDA_KERNELS
    const int64_t tokens = (*cu_seqlens)[-1].item<int64_t>();
    const auto b = checked_cu_seqlens(*cu_seqlens, given(starts).value_or(Tensor()), tokens);
    *out = new Tensor(cuda::segments_on(b, c10::Device(c10::kCUDA, c10::DeviceIndex(index))));
#else
    TORCH_CHECK(false, "no segments for GPU ", index, ", as this was built without CUDA");
#endif
  });
}

// The operators' arguments: `segments` is for GPUs, null on the CPU; `log_decay` is for the CPU.

// out: three new tensors, the output [N, H, M] and the last states [S, H, D, M] and [S, H, D].
int lf_attention(Tensor **out, const Tensor *q, const Tensor *k, const Tensor *v, const Tensor *s0,
                 const Tensor *z0, const Tensor *cu_seqlens, const Tensor *starts,
                 const Tensor *segments, const Tensor *cos, const Tensor *sin, const Tensor *decay,
                 const Tensor *log_decay, double eps) {
  return guarded([&] {
    const auto t =
        options(*q, *cu_seqlens, given(starts), given(segments), given(cos), given(sin),
                given(decay), eps);
    auto o = Attend::apply(*q, *k, *v, given(log_decay), given(s0), given(z0), t);
    for (int i = 0; i < 3; i++) out[i] = new Tensor(o[i]);
  });
}

// out: a new tensor [N, H, D] and, if `states`, the last states [S, H, D, D] and [S, H, D].
int lf_attention_packed(Tensor **out, const Tensor *qkv, int64_t heads, const Tensor *s0,
                        const Tensor *z0, int states, const Tensor *cu_seqlens,
                        const Tensor *starts, const Tensor *segments, const Tensor *cos,
                        const Tensor *sin, const Tensor *decay, const Tensor *log_decay,
                        double eps) {
  return guarded([&] {
    const auto t =
        options(*qkv, *cu_seqlens, given(starts), given(segments), given(cos), given(sin),
                given(decay), eps);
    const auto o = AttendPacked::apply(*qkv, heads, given(log_decay), given(s0), given(z0),
                                       states != 0, t);
    for (size_t i = 0; i < o.size(); i++) out[i] = new Tensor(o[i]);
  });
}

}  // extern "C"
