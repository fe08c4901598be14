// Runs the CUDA kernels' device code on the CPU. Every thread of a block is a fiber that yields
// where the block synchronises. bfloat16 is rounded as on the GPU; products of tensor cores are
// sums in float, in another order.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

#define DEVICE inline

namespace lf {
namespace cuda {

constexpr int THREADS = 64;

struct Bf16 {
  uint16_t bits;
};

// The running block and thread.
static int now_thread;
static int64_t now_x, now_y;
alignas(128) static unsigned char now_shared[1 << 20];
static ucontext_t scheduler, fibers[THREADS];

inline int thread() { return now_thread; }
inline int64_t block_x() { return now_x; }
inline int64_t block_y() { return now_y; }
inline void sync() { swapcontext(&fibers[now_thread], &scheduler); }
inline unsigned char *shared() { return now_shared; }
inline float to_float(float x) { return x; }
inline float to_float(Bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}
template <class E>
E from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline Bf16 from_float<Bf16>(float x) {  // rounds to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return {0x7fff};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float exponential(float x) { return std::exp(x); }
inline float power_of(float x, float n) { return std::pow(x, n); }

template <int M, int N, int K, bool TA, bool TB, class E>
void multiply(const E *a, int lda, const E *b, int ldb, float *y, int ldy, bool add) {
  for (int i = thread(); i < M; i += THREADS) {
    float sum[N];
    for (int j = 0; j < N; j++) sum[j] = add ? y[i * ldy + j] : 0.0f;
    for (int k = 0; k < K; k++) {
      const float x = to_float(TA ? a[k * lda + i] : a[i * lda + k]);
      for (int j = 0; j < N; j++) sum[j] += x * to_float(TB ? b[j * ldb + k] : b[k * ldb + j]);
    }
    for (int j = 0; j < N; j++) y[i * ldy + j] = sum[j];
  }
}

}  // namespace cuda
}  // namespace lf

#include "../../csrc/cuda/attention.cuh"

using namespace lf::cuda;

namespace {

struct Task {
  void (*run)(const void *);
  const void *with;
  bool done[THREADS];
};
Task *task;

void fiber() {
  task->run(task->with);
  task->done[now_thread] = true;
  swapcontext(&fibers[now_thread], &scheduler);
}

// Every block of a grid, one after the other; its threads take turns at each sync, which all of
// them must max_position.
template <class F>
void grid(int64_t across, int64_t down, const F &kernel) {
  constexpr size_t STACK = 64 << 10;
  static std::vector<char> stacks(STACK * THREADS);
  for (now_x = 0; now_x < across; now_x++)
    for (now_y = 0; now_y < down; now_y++) {
      Task now{[](const void *f) { (*static_cast<const F *>(f))(); }, &kernel, {}};
      task = &now;
      std::memset(now_shared, 0xff, sizeof now_shared);  // NaN: shows reads before writes
      for (int i = 0; i < THREADS; i++) {
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks.data() + STACK * i;
        fibers[i].uc_stack.ss_size = STACK;
        fibers[i].uc_link = nullptr;
        makecontext(&fibers[i], fiber, 0);
      }
      for (bool running = true; running;) {
        running = false;
        for (now_thread = 0; now_thread < THREADS; now_thread++)
          if (!now.done[now_thread]) {
            swapcontext(&scheduler, &fibers[now_thread]);
            running |= !now.done[now_thread];
          }
      }
    }
}

struct Made {
  std::vector<Segment> segments;
  std::vector<int64_t> first{0};
  std::vector<float> states, w;
  Work work{};
};
template <class T>
Made make(const Attention<T> &a, const int64_t *cu_seqlens, int64_t sequences, int64_t longest) {
  Made made;
  for (int64_t seq = 0; seq < sequences; seq++) {
    for (int64_t t = cu_seqlens[seq]; t < cu_seqlens[seq + 1]; t += longest)
      made.segments.push_back(
          {seq, t, std::min(t + longest, cu_seqlens[seq + 1]), cu_seqlens[seq]});
    made.first.push_back(int64_t(made.segments.size()));
  }
  made.states.assign(made.segments.size() * a.heads * (a.d * a.m + a.d), NAN);
  made.w.assign(a.heads * a.tokens, NAN);
  made.work = {made.segments.data(), made.first.data(), int64_t(made.segments.size()), sequences,
               made.states.data(),   made.w.data()};
  return made;
}

template <class T, int P, int C>
void run(const Attention<T> &a, const int64_t *cu_seqlens, int64_t sequences, int64_t longest,
         bool backward) {
  const Made made = make(a, cu_seqlens, sequences, longest);
  const Work &w = made.work;
  grid(w.count, a.heads, [&] { sum_segment<T, P, C, false>(a, w); });
  grid(w.sequences, a.heads, [&] { scan_segments<false>(a, w); });
  if (!backward) return grid(w.count, a.heads, [&] { forward_segment<T, P, C>(a, w); });
  grid(w.count, a.heads, [&] { backward_queries<T, P, C>(a, w); });
  grid(w.count, a.heads, [&] { sum_segment<T, P, C, true>(a, w); });
  grid(w.sequences, a.heads, [&] { scan_segments<true>(a, w); });
  grid(w.count, a.heads, [&] { backward_keys_and_values<T, P, C>(a, w); });
}

// Chooses the same tiles as attention.cu.
template <class T>
void sized(const Attention<T> &a, const int64_t *cu_seqlens, int64_t sequences, int64_t longest,
           bool backward) {
  const int64_t size = std::max(a.d, a.m);
  constexpr bool SHORT = sizeof(T) == 2;
  if (size <= 32) return run<T, 32, SHORT ? 64 : 32>(a, cu_seqlens, sequences, longest, backward);
  if (size <= 64) return run<T, 64, SHORT ? 64 : 32>(a, cu_seqlens, sequences, longest, backward);
  run<T, 128, SHORT ? 32 : 16>(a, cu_seqlens, sequences, longest, backward);
}

std::vector<Bf16> rounded(const float *x, int64_t n) {
  std::vector<Bf16> y(n);
  for (int64_t i = 0; x && i < n; i++) y[i] = from_float<Bf16>(x[i]);
  return y;
}
void widened(const std::vector<Bf16> &x, float *y) {
  for (size_t i = 0; i < x.size(); i++) y[i] = to_float(x[i]);
}

std::mutex one_at_a_time;  // the running block is global

}  // namespace

// Runs forward, then backward. All tensors are contiguous floats; with `bf16`, inputs and outputs
// are rounded.
extern "C" void emulate_attention(const Attention<float> *given, const int64_t *cu_seqlens,
                                  int64_t sequences, int64_t longest, int bf16) {
  const std::lock_guard<std::mutex> held(one_at_a_time);
  Attention<float> a = *given;
  a.q_t = a.k_t = a.dq_t = a.dk_t = a.heads * a.d, a.q_h = a.k_h = a.dq_h = a.dk_h = a.d;
  a.v_t = a.dv_t = a.grad_t = a.heads * a.m, a.v_h = a.dv_h = a.grad_h = a.m;
  if (!bf16) {
    sized(a, cu_seqlens, sequences, longest, false);
    return sized(a, cu_seqlens, sequences, longest, true);
  }
  const int64_t nd = a.tokens * a.heads * a.d, nm = a.tokens * a.heads * a.m;
  auto q = rounded(a.q, nd), k = rounded(a.k, nd), v = rounded(a.v, nm), g = rounded(a.grad, nm),
       o = rounded(nullptr, nm), dq = rounded(nullptr, nd), dk = rounded(nullptr, nd),
       dv = rounded(nullptr, nm);
  Attention<Bf16> b;
  static_assert(sizeof a == sizeof b, "pointers and numbers alike");
  std::memcpy(static_cast<void *>(&b), &a, sizeof a);
  b.q = q.data(), b.k = k.data(), b.v = v.data(), b.grad = g.data(), b.out = o.data();
  b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
  sized(b, cu_seqlens, sequences, longest, false);
  sized(b, cu_seqlens, sequences, longest, true);
  widened(o, a.out), widened(dq, a.dq), widened(dk, a.dk), widened(dv, a.dv);
}

extern "C" void emulate_step(const Step *p) {
  const std::lock_guard<std::mutex> held(one_at_a_time);
  grid(p->rows, 1, [&] { step_head(*p); });
}
