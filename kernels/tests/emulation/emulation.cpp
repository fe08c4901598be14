// Runs the CUDA kernels' device code on the CPU. Every thread of a block is a fiber that yields
// where the block synchronises. bfloat16 is rounded as on the GPU; products of tensor cores are
// sums in float, in another order.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#define DEVICE inline

namespace lf {
namespace cuda {

constexpr int THREADS = 64;        // of a block of attention.cuh
constexpr int MOST_THREADS = 256;  // of any

struct Bf16 {
  uint16_t bits;
};

// The running block and thread.
static int now_thread;
static int64_t now_x, now_y;
alignas(128) static unsigned char now_shared[1 << 20];
static ucontext_t scheduler, fibers[MOST_THREADS];
static int threads_of_block;

inline int thread() { return now_thread; }
inline int64_t block_x() { return now_x; }
inline int64_t block_y() { return now_y; }
// Gives the turn to another thread.
inline void yield() { swapcontext(&fibers[now_thread], &scheduler); }

// Threads that wait for each other: a block or a warp.
struct Barrier {
  int arrived, round;
  void wait(int of) {
    const int now = round;
    if (++arrived == of)
      arrived = 0, round++;
    else
      while (round == now) yield();
  }
};
static Barrier block_barrier, warp_barriers[MOST_THREADS / 32];
inline void sync() { block_barrier.wait(threads_of_block); }
inline void sync_warp() { warp_barriers[now_thread / 32].wait(32); }
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
inline float least(float x, float y) { return x > y ? y : x; }
inline float greatest(float x, float y) { return x < y ? y : x; }
inline float rough_exponential(float x) { return std::exp(x); }
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

// Instructions of a warp: each lane leaves its operands, and reads those of others once all have.
// Two instructions in a row use different places, so that one barrier each is enough.
struct Operands {
  const void *row;
  uint32_t a[4], b[2];
  float x;
};
static Operands operands[MOST_THREADS][2];
static int turn[MOST_THREADS];
inline Operands &mine() {
  turn[now_thread] ^= 1;
  return operands[now_thread][turn[now_thread]];
}
inline const Operands &of_lane(int lane) {
  return operands[now_thread / 32 * 32 + lane][turn[now_thread]];
}
template <bool TRANSPOSED, int N>
void load_some(uint32_t (&to)[N], const void *row) {
  mine().row = row;
  sync_warp();
  const int lane = now_thread % 32;
  for (int i = 0; i < N; i++)
    for (int e = 0; e < 2; e++) {
      const int r = TRANSPOSED ? lane % 4 * 2 + e : lane / 4,
                c = TRANSPOSED ? lane / 4 : lane % 4 * 2 + e;
      uint16_t x;
      std::memcpy(&x, static_cast<const uint16_t *>(of_lane(8 * i + r).row) + c, 2);
      to[i] = e ? to[i] | uint32_t(x) << 16 : x;
    }
}
inline void load_matrices(uint32_t (&to)[4], const void *row) { load_some<false>(to, row); }
inline void load_matrices_transposed(uint32_t (&to)[4], const void *row) {
  load_some<true>(to, row);
}
inline void load_two_matrices_transposed(uint32_t (&to)[2], const void *row) {
  load_some<true>(to, row);
}
inline float half_of(uint32_t pair, int e) { return to_float(Bf16{uint16_t(pair >> 16 * e)}); }
inline float low(uint32_t pair) { return half_of(pair, 0); }
inline float high(uint32_t pair) { return half_of(pair, 1); }
inline uint32_t pack(float x, float y) {
  return from_float<Bf16>(x).bits | uint32_t(from_float<Bf16>(y).bits) << 16;
}
inline void multiply_add(float (&y)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Operands &own = mine();
  std::memcpy(own.a, a, sizeof a), own.b[0] = b0, own.b[1] = b1;
  sync_warp();
  const int lane = now_thread % 32;
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k++)
      y[i] += half_of(of_lane(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k % 2) *
              half_of(of_lane(col * 4 + k % 8 / 2).b[k / 8], k % 2);
  }
}
inline float sum_of_four(float x) {
  mine().x = x;
  sync_warp();
  const int at = now_thread % 32 / 4 * 4;
  return (of_lane(at).x + of_lane(at + 1).x) + (of_lane(at + 2).x + of_lane(at + 3).x);
}
inline float sum_of_rows(float x) {
  mine().x = x;
  sync_warp();
  float sum = 0.0f;
  for (int row = 0; row < 8; row++) sum += of_lane(4 * row + now_thread % 4).x;
  return sum;
}
struct Pair {
  float x, y;
};
inline Pair load_pair(const float *from) { return {from[0], from[1]}; }
inline Pair load_coherent(const float *from) { return {from[0], from[1]}; }
inline float load_one_coherent(const float *from) { return *from; }
inline void store_coherent(float *to, Pair x) { to[0] = x.x, to[1] = x.y; }
inline void store_one_coherent(float *to, float x) { *to = x; }
inline void store_word(void *to, uint32_t x) { std::memcpy(to, &x, 4); }
template <class O, class T>
O load_whole(const T *from) {
  O x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
#define load_octet load_whole<Octet>
#define load_shared_octet load_whole<Octet>
template <class T, class O>
void store_octet(T *to, const O &x) {
  std::memcpy(to, &x, sizeof x);
}
inline void copy_octet(void *to, const void *from, bool in) {
  in ? std::memcpy(to, from, 16) : std::memset(to, 0, 16);
}
inline void wait_for_copies() {}
#define store_last_use store_octet
// Blocks run in the order of their numbers: what a block waits for is there, or the order is wrong.
inline void wait_for(const int32_t *flag, int lane) {
  if (lane == 0 && *flag == 0) std::abort();
  sync_warp();
}
inline void tell(int32_t *flag, int lane) {
  sync_warp();
  if (lane == 0) *flag = 1;
}

}  // namespace cuda
}  // namespace lf

#include "../../csrc/cuda/attention.cuh"
#include "../../csrc/cuda/attention_mma.cuh"
#include "../../csrc/cuda/segments.h"

using namespace lf::cuda;

namespace {

struct Task {
  void (*run)(const void *);
  const void *with;
  bool done[MOST_THREADS];
};
Task *task;

void fiber() {
  task->run(task->with);
  task->done[now_thread] = true;
  swapcontext(&fibers[now_thread], &scheduler);
}

// Runs every block of a grid, one after the other, with so many octets of shared memory. Threads take turns, in an order that `shuffle`
// draws anew for each turn unless it is 0.
uint32_t shuffle;
template <class F>
void grid(int64_t across, int64_t down, int threads, const F &kernel,
          size_t octets = sizeof now_shared) {
  constexpr size_t STACK = 64 << 10;
  static std::vector<char> stacks(STACK * MOST_THREADS);
  int turns[MOST_THREADS];
  for (int i = 0; i < threads; i++) turns[i] = i;
  uint32_t random = shuffle;
  threads_of_block = threads;
  for (now_x = 0; now_x < across; now_x++)
    for (now_y = 0; now_y < down; now_y++) {
      Task now{[](const void *f) { (*static_cast<const F *>(f))(); }, &kernel, {}};
      task = &now;
      std::memset(now_shared, 0xff, sizeof now_shared);  // NaN: shows reads before writes
      for (int i = 0; i < threads; i++) {
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks.data() + STACK * i;
        fibers[i].uc_stack.ss_size = STACK;
        fibers[i].uc_link = nullptr;
        makecontext(&fibers[i], fiber, 0);
      }
      for (bool running = true; running;) {
        running = false;
        for (int i = 0; i < threads; i++) {
          if (shuffle) {
            random = random * 1664525 + 1013904223;
            std::swap(turns[i], turns[i + (random >> 8) % (threads - i)]);
          }
          now_thread = turns[i];
          if (now.done[now_thread]) continue;
          swapcontext(&scheduler, &fibers[now_thread]);
          running |= !now.done[now_thread];
        }
      }
      // What lies beyond the shared memory that the kernel asks for stays as it was.
      for (size_t i = octets; i < sizeof now_shared && i < octets + 4096; i++)
        if (now_shared[i] != 0xff) std::abort();
    }
}

// Segments and workspace of a call, as launch.h makes them.
struct Made {
  Segments segments;
  std::vector<float> states, w, back;
  std::vector<int32_t> flags;
  Work work{};
};
template <class T>
Made make(const Attention<T> &a, const int64_t *cu_seqlens, int64_t sequences, int64_t most) {
  Made made;
  made.segments = divide(cu_seqlens, nullptr, sequences, most);
  Work &w = made.work;
  w.segments = made.segments.all.data(), w.first = made.segments.first.data();
  w.count = made.segments.count(), w.sequences = sequences;
  for (const Segment &x : made.segments.all) {
    w.longest = std::max(w.longest, x.end - x.begin);
    w.chained |= x.edges != (FIRST | LAST);
  }
  made.states.assign(w.count * CHUNKS * a.heads * (a.d * a.m + a.d), NAN);
  made.back = made.states;
  made.w.assign(a.heads * a.tokens, NAN);
  made.flags.resize(flag_count(w, a.heads));
  w.states = made.states.data(), w.back = made.back.data();
  w.w = made.w.data(), w.flags = made.flags.data();
  return made;
}

template <class T, int P, int C>
void run(const Attention<T> &a, const Made &made, bool backward) {
  const Work &w = made.work;
  Work back = w;
  back.states = w.back;
  const auto all = [&](int64_t across, const auto &kernel) {
    grid(across, a.heads, THREADS, kernel);
  };
  const int64_t scans = w.sequences * scan_parts(a.d, a.m);
  if (!backward) {
    if (w.chained) {
      all(w.count, [&] { sum_segment<T, P, C, false>(a, w); });
      all(scans, [&] { scan_segments<false>(a, w); });
    } else {
      all(w.sequences, [&] { carry_states<false>(a, w); });
    }
    return all(w.count, [&] { forward_segment<T, P, C>(a, w); });
  }
  all(w.count, [&] { backward_queries<T, P, C>(a, w); });
  if (w.chained) {
    all(w.count, [&] { sum_segment<T, P, C, true>(a, back); });
    all(scans, [&] { scan_segments<true>(a, back); });
  } else {
    all(w.sequences, [&] { carry_states<true>(a, w); });
  }
  all(w.count, [&] { backward_keys_and_values<T, P, C>(a, back); });
}

// Chooses the same tiles as attention.cu.
template <class T>
void sized(const Attention<T> &a, const Made &made, bool backward) {
  const int64_t size = std::max(a.d, a.m);
  constexpr bool SHORT = sizeof(T) == 2;
  if (size <= 32) return run<T, 32, SHORT ? 64 : 32>(a, made, backward);
  if (size <= 64) return run<T, 64, SHORT ? 64 : 32>(a, made, backward);
  run<T, 128, SHORT ? 32 : 16>(a, made, backward);
}

template <int P, int W, bool TWO, bool PLAIN>
void run_mma(const Attention<Bf16> &a, Made &made, bool backward) {
  using M = Mma<Bf16, P, W, PLAIN>;
  Work w = made.work;
  const int64_t blocks = w.count * a.heads;
  std::fill(made.flags.begin(), made.flags.end(), 0);
  if (!w.chained && !(backward && TWO)) w.flags = nullptr;
  grid(w.sequences, a.heads, THREADS,
       [&] { backward ? carry_states<true>(a, w) : carry_states<false>(a, w); });
  if (backward)
    return grid(TWO ? 2 * blocks : blocks, 1, 32 * W,
                [&] { mma_backward<Bf16, P, W, TWO, PLAIN>(a, w); }, M::octets(5, 2));
  grid(blocks, 1, 32 * W, [&] { mma_forward<Bf16, P, W, TWO, PLAIN>(a, w); },
       M::octets(TWO ? 5 : 3, TWO ? 2 : 1));
}
template <int P, int W>
void plain_mma(const Attention<Bf16> &a, Made &made, bool backward) {
  const bool two = made.work.longest > 16 * W;
  if (!a.cos && !a.decay)
    return two ? run_mma<P, W, true, true>(a, made, backward)
               : run_mma<P, W, false, true>(a, made, backward);
  return two ? run_mma<P, W, true, false>(a, made, backward)
             : run_mma<P, W, false, false>(a, made, backward);
}
template <int W>
void sized_mma(const Attention<Bf16> &a, Made &made, bool backward) {
  if (!fits_mma(a) || made.work.longest > 32 * W) std::abort();
  return a.d == 32 ? plain_mma<32, W>(a, made, backward) : plain_mma<64, W>(a, made, backward);
}

std::vector<Bf16> rounded(const float *x, int64_t n) {
  std::vector<Bf16> y(n);
  for (int64_t i = 0; i < n; i++) y[i] = from_float<Bf16>(x ? x[i] : NAN);
  return y;
}
void widened(const std::vector<Bf16> &x, float *y) {
  for (size_t i = 0; i < x.size(); i++) y[i] = to_float(x[i]);
}

std::mutex one_at_a_time;  // the running block is global

}  // namespace

// Runs forward, then backward. All tensors are contiguous floats; inputs and outputs are rounded
// unless `warps` is 0. 0 and 1: the kernels of attention.cuh; 2, 4 or 8: those of attention_mma.cuh,
// with so many warps.
extern "C" void emulate_attention(const Attention<float> *given, const int64_t *cu_seqlens,
                                  int64_t sequences, int64_t longest, int warps, uint32_t order) {
  const std::lock_guard<std::mutex> held(one_at_a_time);
  shuffle = order;
  Attention<float> a = *given;
  a.q_t = a.k_t = a.dq_t = a.dk_t = a.heads * a.d, a.q_h = a.k_h = a.dq_h = a.dk_h = a.d;
  a.v_t = a.dv_t = a.grad_t = a.heads * a.m, a.v_h = a.dv_h = a.grad_h = a.m;
  Made made = make(a, cu_seqlens, sequences, longest);
  if (warps == 0) {
    sized(a, made, false);
    return sized(a, made, true);
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
  for (bool backward : {false, true})
    switch (warps) {
      case 1: sized(b, made, backward); break;
      case 2: sized_mma<2>(b, made, backward); break;
      case 4: sized_mma<4>(b, made, backward); break;
      default: sized_mma<8>(b, made, backward);
    }
  widened(o, a.out), widened(dq, a.dq), widened(dk, a.dk), widened(dv, a.dv);
}

extern "C" void emulate_step(const Step *p) {
  const std::lock_guard<std::mutex> held(one_at_a_time);
  shuffle = 0;
  grid(p->rows, 1, THREADS, [&] { step_head(*p); });
}
