// A plain C interface of the kernels, for Python's ctypes: tensors are pointers, and a call owns
// its segments and its workspace. The including file defines memory, Bf16 and run().
#pragma once
#include <cstring>

#include "segments.h"

using namespace lf::cuda;

struct Call {
  bool bf16;
  Attention<float> f32;
  Attention<Bf16> b16;
  Work work;
  void *memory[6];
};

template <class T>
static Attention<T> arguments(const int64_t *n, void *const *p, float eps) {
  Attention<T> a{};
  a.tokens = n[1], a.heads = n[2], a.d = n[3], a.m = n[4], a.eps = eps;
  int64_t *const strides[] = {&a.q_t,    &a.q_h,  &a.k_t,  &a.k_h,  &a.v_t,  &a.v_h,  &a.grad_t,
                              &a.grad_h, &a.dq_t, &a.dq_h, &a.dk_t, &a.dk_h, &a.dv_t, &a.dv_h};
  for (int i = 0; i < 14; i++) *strides[i] = n[6 + i];
  const auto in = [&](int i) { return static_cast<const T *>(p[i]); };
  const auto to = [&](int i) { return static_cast<T *>(p[i]); };
  const auto sums = [&](int i) { return static_cast<float *>(p[i]); };
  a.q = in(0), a.k = in(1), a.v = in(2), a.grad = in(3);
  a.out = to(4), a.dq = to(5), a.dk = to(6), a.dv = to(7);
  a.den = sums(8), a.cos = sums(9), a.sin = sums(10), a.decay = sums(11);
  a.s0 = sums(12), a.z0 = sums(13), a.ds1 = sums(14), a.dz1 = sums(15);
  a.s1 = sums(16), a.z1 = sums(17), a.ds0 = sums(18), a.dz0 = sums(19);
  return a;
}

// Returns how many sequences have no token.
static int64_t empty(const Segments &made) {
  int64_t count = 0;
  for (size_t i = 0; i + 1 < made.first.size(); i++) count += made.first[i] == made.first[i + 1];
  return count;
}

extern "C" {

// numbers: bf16, tokens, heads, d, m, sequences, then strides by token and head of q, k, v, grad,
// dq, dk, dv. pointers: as in arguments(); null where absent. offsets, starts: on the host.
int lf_call(Call **out, const int64_t *numbers, void *const *pointers, double eps,
            const int64_t *offsets, const int64_t *starts) {
  Call *call = new Call{};
  *out = call;
  const int64_t heads = numbers[2], d = numbers[3], m = numbers[4], sequences = numbers[5];
  call->bf16 = numbers[0] != 0;
  call->f32 = arguments<float>(numbers, pointers, float(eps));
  call->b16 = arguments<Bf16>(numbers, pointers, float(eps));
  const Segments made = divide(offsets, starts, sequences);
  Work &w = call->work;
  w.count = made.count(), w.sequences = sequences;
  for (const Segment &x : made.all) w.longest = std::max(w.longest, x.end - x.begin);
  w.chained = w.count > w.sequences - empty(made);
  const size_t state = size_t(w.count * CHUNKS * heads * (d * m + d)) * sizeof(float);
  const size_t octets[] = {made.all.size() * sizeof(Segment),
                           made.first.size() * sizeof(int64_t),
                           state,
                           state,
                           size_t(heads * numbers[1]) * sizeof(float),
                           size_t(flag_count(w, heads)) * sizeof(int32_t)};
  const void *const from[6] = {made.all.data(), made.first.data()};
  for (int i = 0; i < 6; i++)
    if (const int error = allocate(&call->memory[i], octets[i] + 1, from[i], octets[i]))
      return error;
  w.segments = static_cast<const Segment *>(call->memory[0]);
  w.first = static_cast<const int64_t *>(call->memory[1]);
  w.states = static_cast<float *>(call->memory[2]);
  w.back = static_cast<float *>(call->memory[3]);
  w.w = static_cast<float *>(call->memory[4]), w.flags = static_cast<int32_t *>(call->memory[5]);
  return 0;
}
int lf_forward(Call *call, void *stream) { return run(*call, false, stream); }
int lf_backward(Call *call, void *stream) { return run(*call, true, stream); }
void lf_free(Call *call) {
  for (void *at : call->memory) release(at);
  delete call;
}
}
