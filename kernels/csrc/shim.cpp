// The C interface for Rust, except for the operators that autograd differentiates (attention.cpp,
// convolution.cpp) and the process group.
#include "shim.h"

#include "cuda/decode.h"
#ifdef LF_CUDA_KERNELS
#include "cuda/launch.h"
#endif

#include <c10/core/GradMode.h>
#include <torch/headeronly/version.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11,
              "tch 0.24 speaks to libtorch 2.11");

namespace lf {

thread_local std::string last_error;

namespace {

// Returns the best table of this machine that ATEN_CPU_CAPABILITY, libtorch's limit for its own
// kernels, allows.
const Table *best_table() {
#if defined(__x86_64__)
  const char *limit = std::getenv("ATEN_CPU_CAPABILITY");
  const bool avx2_at_most = limit && !std::strcmp(limit, "avx2");
  if (limit && !std::strcmp(limit, "default")) return &table_baseline;
  if (!avx2_at_most && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return &table_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &table_avx2;
#endif
  return &table_baseline;
}

std::atomic<const Table *> chosen{nullptr};

// Initialised before main, and so before the first tensor is made.
[[maybe_unused]] const bool heap_in_use = use_tensor_heap();

}  // namespace

const Table *table() {
  const Table *now = chosen.load();
  if (!now) chosen.store(now = best_table());
  return now;
}

const LinearTable *bf16_products() {
#if defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("avx512bf16");
  return supported && table() == &table_avx512 ? &linear_avx512_bf16 : nullptr;
#else
  return nullptr;
#endif
}

CuSeqlens checked_cu_seqlens(const Tensor &cu_seqlens, const Tensor &starts, int64_t tokens) {
  TORCH_CHECK(cu_seqlens.device().is_cpu() && cu_seqlens.scalar_type() == at::kLong &&
                  cu_seqlens.dim() == 1 && cu_seqlens.is_contiguous() && cu_seqlens.numel() >= 1,
              "cu_seqlens: expected a contiguous int64 vector on the CPU");
  const int64_t *offsets = cu_seqlens.const_data_ptr<int64_t>();
  const int64_t sequences = cu_seqlens.numel() - 1;
  TORCH_CHECK(offsets[0] == 0 && offsets[sequences] == tokens, "cu_seqlens: expected 0 to ", tokens,
              ", found ", offsets[0], " to ", offsets[sequences]);
  const int64_t *start = nullptr;
  if (starts.defined()) {
    TORCH_CHECK(starts.device().is_cpu() && starts.scalar_type() == at::kLong &&
                    starts.is_contiguous() && starts.dim() == 1 && starts.numel() == sequences,
                "starts: expected a contiguous int64 vector of ", sequences, " on the CPU");
    start = starts.const_data_ptr<int64_t>();
  }
  int64_t longest = 0, max_position = 0;
  for (int64_t i = 0; i < sequences; i++) {
    TORCH_CHECK(offsets[i] <= offsets[i + 1], "cu_seqlens: entry ", i + 1,
                " is less than the one before");
    TORCH_CHECK(!start || (start[i] >= 0 && start[i] <= INT64_MAX - offsets[i + 1]),
                "starts: entry ", i, ": expected a position, found ", start[i]);
    const int64_t length = offsets[i + 1] - offsets[i];
    longest = std::max(longest, length),
    max_position = std::max(max_position, length + (start && length ? start[i] : 0));
  }
  return {offsets, start, sequences, longest, max_position};
}

}  // namespace lf

using namespace lf;

namespace {

#ifdef LF_CUDA_KERNELS
struct Timer {
  cudaEvent_t from = nullptr, to = nullptr;
  cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();

  Timer() {
    cuda::check("timer", cudaEventCreate(&from));
    cuda::check("timer", cudaEventCreate(&to));
    cuda::check("timer", cudaEventRecord(from, stream));
  }
  ~Timer() {
    cudaEventDestroy(from);
    cudaEventDestroy(to);
  }
  double stop() {
    float milliseconds = 0;
    cuda::check("timer", cudaEventRecord(to, stream));
    cuda::check("timer", cudaEventSynchronize(to));
    cuda::check("timer", cudaEventElapsedTime(&milliseconds, from, to));
    return 1000.0 * milliseconds;
  }
};
#else
struct Timer {
  Timer() { TORCH_CHECK(false, "no time of a GPU, as this was built without CUDA"); }
  double stop() { return 0; }
};
#endif

// Copies the handles of `n` tensors.
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

// Name of the instruction set in use.
const char *lf_instruction_set() { return table()->name; }

// For tests and comparison. Returns 0 if this machine lacks the instruction set.
int lf_choose_instruction_set(const char *name) {
  const Table *found = nullptr;
  if (!std::strcmp(name, "best")) found = best_table();
  if (!std::strcmp(name, "baseline")) found = &table_baseline;
#if defined(__x86_64__)
  const Table *best = best_table();
  if (!std::strcmp(name, "avx2") && best != &table_baseline) found = &table_avx2;
  if (!std::strcmp(name, "avx512") && best == &table_avx512) found = &table_avx512;
#endif
  if (found) chosen.store(found);
  return found != nullptr;
}

// One step of B sequences. q, k [B, H, D], v [B, H, M]; updates s [B, H, D, M] and z [B, H, D] in
// place. `decay` is [H] or, for each sequence, [B, H]. out: one new tensor [B, H, M].
int lf_step(Tensor **out, const Tensor *q, const Tensor *k, const Tensor *v, Tensor *s, Tensor *z,
            const Tensor *decay, double eps) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    const Tensor qc = q->contiguous(), kc = k->contiguous(), vc = v->contiguous();
    TORCH_CHECK(qc.dim() == 3 && qc.scalar_type() == at::kFloat, "q: expected float [B, H, D]");
    for (const Tensor *x :
         {&kc, &vc, static_cast<const Tensor *>(s), static_cast<const Tensor *>(z)})
      TORCH_CHECK(x->device() == qc.device(), "step: expected everything on ", qc.device());
    TORCH_CHECK(kc.sizes() == qc.sizes() && kc.scalar_type() == at::kFloat, "k: expected ",
                qc.sizes(), ", found ", kc.sizes());
    const int64_t b = qc.size(0), h = qc.size(1), d = qc.size(2), m = vc.size(-1);
    TORCH_CHECK(vc.sizes() == at::IntArrayRef({b, h, m}) && vc.scalar_type() == at::kFloat,
                "v: expected [B, H, M], found ", vc.sizes());
    TORCH_CHECK(s->sizes() == at::IntArrayRef({b, h, d, m}) &&
                    z->sizes() == at::IntArrayRef({b, h, d}) && s->is_contiguous() &&
                    z->is_contiguous() && s->scalar_type() == at::kFloat &&
                    z->scalar_type() == at::kFloat,
                "state: expected contiguous float [B, H, D, M] and [B, H, D]");
    const Tensor left =
        decay ? decay->to(qc.device(), at::kFloat).contiguous() : at::ones({h}, qc.options());
    TORCH_CHECK(left.sizes() == at::IntArrayRef({h}) || left.sizes() == at::IntArrayRef({b, h}),
                "decay: expected [", h, "] or [", b, ", ", h, "], found ", left.sizes());
    const int64_t decays = left.numel();
    const Tensor y = at::empty({b, h, m}, qc.options());
    if (!qc.device().is_cpu()) {
#ifdef LF_CUDA_KERNELS
      TORCH_CHECK(d <= cuda::LARGEST, "step: expected heads of at most ", cuda::LARGEST, ", found ",
                  d);
      const c10::cuda::CUDAGuard guard(qc.device());
      const cuda::Step p{qc.const_data_ptr<float>(),
                         kc.const_data_ptr<float>(),
                         vc.const_data_ptr<float>(),
                         left.const_data_ptr<float>(),
                         s->data_ptr<float>(),
                         z->data_ptr<float>(),
                         y.data_ptr<float>(),
                         b * h,
                         decays,
                         d,
                         m,
                         float(eps)};
      cuda::check("step", cuda::step_f32(p, c10::cuda::getCurrentCUDAStream().stream()));
      *out = new Tensor(y);
      return;
#else
      TORCH_CHECK(false,
                  "step: expected tensors on the CPU, as this was built without CUDA, found ",
                  qc.device());
#endif
    }
    at::parallel_for(0, b * h, 64, [&](int64_t from, int64_t to) {
      std::vector<float> scratch(2 * ((d + 15) / 16 * 16));
      for (int64_t i = from; i < to; i++)
        table()->step(d, m, qc.const_data_ptr<float>() + i * d, kc.const_data_ptr<float>() + i * d,
                      vc.const_data_ptr<float>() + i * m, left.const_data_ptr<float>()[i % decays],
                      float(eps), s->data_ptr<float>() + i * d * m, z->data_ptr<float>() + i * d,
                      y.data_ptr<float>() + i * m, scratch.data());
    });
    *out = new Tensor(y);
  });
}

// For tests: makes libtorch fill new memory with NaN.
void lf_fill_outputs(int on) {
  at::globalContext().setDeterministicAlgorithms(on != 0, true);
  at::globalContext().setDeterministicFillUninitializedMemory(on != 0);
}

// For benches: events on the current stream of the current GPU.
int lf_gpu_timer_start(Timer **out) {
  return guarded([&] { *out = new Timer(); });
}
int lf_gpu_timer_stop(Timer *timer, double *microseconds) {
  return guarded([&] { *microseconds = timer->stop(); });
}
void lf_gpu_timer_free(Timer *timer) { delete timer; }

// Does multiply-adds in registers and returns how many: timed, the peak rate of one core.
int64_t lf_multiply_adds(int64_t rounds) {
  float sink[64] = {0.5f};
  return table()->multiply_adds(rounds, sink);
}

// One AdamW step over all parameters, in place. `step` counts from 1.
int lf_adamw(Tensor *const *params, Tensor *const *grads, Tensor *const *exp_avg,
             Tensor *const *exp_avg_sq, int64_t n, double step, double lr, double beta1,
             double beta2, double weight_decay, double eps) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    if (n == 0) return;
    auto p = list(params, n), g = list(grads, n), m = list(exp_avg, n), v = list(exp_avg_sq, n);
    // The fused step on the CPU reads memory in one sweep and ignores strides, so all lists must be
    // contiguous.
    for (Tensor &x : g) x = x.contiguous();
    for (const auto *all : {&p, &m, &v})
      for (const Tensor &x : *all)
        TORCH_CHECK(x.is_contiguous(),
                    "adamw: expected contiguous weights and moments, found strides ", x.strides());
    // One number for all, since the fused step only reads it.
    const std::vector<Tensor> steps(
        n, at::full({}, step, p[0].options().dtype(at::kFloat).requires_grad(false)));
    at::_fused_adamw_(p, g, m, v, {}, steps, lr, beta1, beta2, weight_decay, eps, false, false);
  });
}

// Scales gradients in place so that their total norm is at most `max_norm`; writes the norm before
// to `norm`.
int lf_clip_grad_norm(Tensor *const *grads, int64_t n, double max_norm, double *norm) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    auto g = list(grads, n);
    auto norms = at::_foreach_norm(g, 2);
    const Tensor total = at::stack(norms).norm(2);
    *norm = total.item<double>();
    // The 1e-6 is that of torch.nn.utils.clip_grad_norm_.
    if (*norm > max_norm) at::_foreach_mul_(g, max_norm / (*norm + 1e-6));
  });
}

// Functions of the decoder on a GPU; null: this was built without CUDA.
const cuda::decode::Api *lf_decode_api() {
#ifdef LF_CUDA_KERNELS
  return cuda::decode::api();
#else
  return nullptr;
#endif
}

// Products of a model's matrices in bfloat16; null: this processor lacks them.
const LinearTable *lf_bf16_products() { return bf16_products(); }

// Packs weight[inputs, outputs] for lf_bf16_products, which must be there: (inputs + 1) / 2 units
// of each output, of which there are a multiple of 32.
void lf_pack_bf16(const float *weight, int64_t inputs, int64_t outputs, float *out) {
  bf16_products()->pack_right(weight, inputs, outputs, outputs, (inputs + 1) / 2, out);
}

// Floats of scratch memory that lf_decode needs.
int64_t lf_decode_scratch(const Model *model, int64_t rows) {
  return table()->decode_scratch(*model, rows);
}

// One token of each row (see Table::decode). Plain memory and no tensor: safe from any thread.
void lf_decode(const Model *model, int64_t rows, int64_t slots, const int32_t *slot,
               const int32_t *tokens, const int64_t *positions, float *s, float *z, float *past,
               float *logits, float *scratch) {
  table()->decode(*model, rows, slots, slot, tokens, positions, s, z, past, logits, scratch);
}

}  // extern "C"
