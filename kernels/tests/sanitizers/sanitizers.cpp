// Runs the CPU kernels over sizes around the padding, without libtorch, for AddressSanitizer and
// UndefinedBehaviorSanitizer. Each buffer is an allocation of its own, of exactly the size that
// cpu.h requires. scripts/check/sanitizers compiles it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "../../csrc/cpu.h"

namespace {

using namespace lf;

uint64_t state = 88172645463325252ULL;
double number() {  // between -1 and 1
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return double(state >> 11) / double(1ULL << 52) - 1;
}

template <class T>
std::vector<T> numbers(int64_t n) {
  std::vector<T> all(n);
  for (T &x : all) x = T(number());
  all.shrink_to_fit();
  return all;
}

const AttentionTable<float> &of(const Table &t, float) { return t.f32; }
const AttentionTable<double> &of(const Table &t, double) { return t.f64; }

double phi(double x) { return x > 0 ? x + 1 : std::exp(x); }

// Compares the first head's output for the last token of the first sequence with the definition: no
// rotation, no decay, no state.
template <class T>
void check_last(const Attention<T> &a, int64_t end) {
  const int64_t t = end - 1;
  double den = a.eps;
  std::vector<double> out(a.m);
  for (int64_t s = 0; s < end; s++) {
    double dot = 0;
    for (int64_t i = 0; i < a.d; i++) dot += phi(a.q[t * a.q_t + i]) * phi(a.k[s * a.k_t + i]);
    den += dot;
    for (int64_t j = 0; j < a.m; j++) out[j] += dot * a.v[s * a.v_t + j];
  }
  for (int64_t j = 0; j < a.m; j++)
    if (std::abs(out[j] / den - a.out[t * a.heads * a.m + j]) > 1e-4) {
      std::fprintf(stderr, "attention: expected %g, found %g\n", out[j] / den,
                   double(a.out[t * a.heads * a.m + j]));
      std::exit(1);
    }
}

template <class T>
void attention(const Table &table, int64_t tokens, int64_t heads, int64_t d, int64_t m,
               int extras) {
  const std::vector<int64_t> cu_seqlens =
      tokens > 2 ? std::vector<int64_t>{0, tokens / 3, tokens} : std::vector<int64_t>{0, tokens};
  const int64_t sequences = int64_t(cu_seqlens.size()) - 1,
                longest = tokens - (tokens > 2 ? tokens / 3 : 0);
  const auto q = numbers<T>(tokens * heads * d), k = numbers<T>(tokens * heads * d),
             v = numbers<T>(tokens * heads * m);
  const auto grad = numbers<T>(tokens * heads * m), s0 = numbers<T>(sequences * heads * d * m),
             z0 = numbers<T>(sequences * heads * d);
  std::vector<T> out(tokens * heads * m), den(heads * tokens), dq(q.size()), dk(k.size()),
      dv(v.size());
  std::vector<T> s1(s0.size()), z1(z0.size()), ds0(s0.size()), dz0(z0.size()), decay(heads, T(0.9)),
      log_decay(tokens * heads, T(-0.5)), dlog_decay(tokens * heads);
  auto cos = numbers<T>(tokens * (d / 2)), sin = numbers<T>(tokens * (d / 2));
  Attention<T> a{};
  a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.den = den.data(),
  a.grad = grad.data();
  a.q_t = a.k_t = a.dq_t = a.dk_t = heads * d, a.q_h = a.k_h = a.dq_h = a.dk_h = d;
  a.v_t = a.grad_t = a.dv_t = heads * m, a.v_h = a.grad_h = a.dv_h = m;
  a.dq = dq.data(), a.dk = dk.data(), a.dv = dv.data();
  a.tokens = tokens, a.heads = heads, a.d = d, a.m = m, a.eps = T(1e-6);
  if (extras & 1) a.decay = decay.data();
  if ((extras & 2) && d % 2 == 0) a.cos = cos.data(), a.sin = sin.data();
  if (extras & 4) {
    a.s0 = s0.data(), a.z0 = z0.data(), a.s1 = s1.data(), a.z1 = z1.data();
    a.ds1 = s0.data(), a.dz1 = z0.data(), a.ds0 = ds0.data(), a.dz0 = dz0.data();
  }
  if (extras & 8) a.log_decay = log_decay.data(), a.dlog_decay = dlog_decay.data();
  const auto &kernels = of(table, T());
  for (int64_t seq = 0; seq < sequences; seq++)
    for (int64_t head = 0; head < heads; head += GROUP) {
      const Item item{seq, head, heads - head < GROUP ? heads - head : GROUP, cu_seqlens[seq],
                      cu_seqlens[seq + 1]};
      const int64_t size = kernels.scratch(d, m, longest, heads < GROUP ? heads : GROUP);
      auto scratch = std::make_unique<T[]>(size);
      kernels.forward(a, item, scratch.get());
      scratch = std::make_unique<T[]>(size);
      kernels.backward(a, item, scratch.get());
    }
  if (extras == 0 && cu_seqlens[1] > 0) check_last(a, cu_seqlens[1]);
}

void convolution(const Table &table, int64_t tokens, int64_t channels, int64_t taps) {
  const std::vector<int64_t> cu_seqlens{0, tokens / 2, tokens};
  const auto x = numbers<float>(tokens * channels), w = numbers<float>(taps * channels),
             dy = numbers<float>(tokens * channels);
  std::vector<float> y(x.size()), dx(x.size()), dw(w.size());
  Convolution c{x.data(), w.data(), y.data(), channels, taps, dy.data(), dx.data(), dw.data()};
  for (int64_t from = 0; from < channels; from += 16) {
    const int64_t to = from + 16 < channels ? from + 16 : channels;
    table.convolve(c, cu_seqlens.data(), 2, from, to);
    table.convolve_back(c, cu_seqlens.data(), 2, from, to);
  }
}

void step(const Table &table, int64_t d, int64_t m) {
  const auto q = numbers<float>(d), k = numbers<float>(d), v = numbers<float>(m);
  std::vector<float> s(d * m), z(d), out(m), scratch(2 * ((d + 15) / 16 * 16));
  for (int i = 0; i < 3; i++)
    table.step(d, m, q.data(), k.data(), v.data(), 0.9f, 1e-6f, s.data(), z.data(), out.data(),
               scratch.data());
}

void decode(const Table &table, bool extras) {
  Model m{};
  m.vocab = 64, m.hidden_size = 32, m.heads = 2, m.ffn_size = 64, m.layers = 2, m.conv_kernel = 4,
  m.rms = extras, m.gated = extras;
  m.norm_eps = m.attention_eps = 1e-5f;
  const int64_t rows = 8, slots = 9, d = m.hidden_size / m.heads,
                up = extras ? 2 * m.ffn_size : m.ffn_size;
  const auto decay = numbers<float>(m.heads), embed = numbers<float>(m.vocab * m.hidden_size),
             vector = numbers<float>(m.hidden_size);
  const auto qkv = numbers<float>(m.hidden_size * 3 * m.hidden_size),
             square = numbers<float>(m.hidden_size * m.hidden_size);
  const auto wide = numbers<float>(m.hidden_size * up),
             down = numbers<float>(m.ffn_size * m.hidden_size),
             conv = numbers<float>(m.conv_kernel * 3 * m.hidden_size);
  const auto bias3 = numbers<float>(3 * m.hidden_size), bias_up = numbers<float>(up),
             head = numbers<float>(m.hidden_size * m.vocab);
  const auto own_decay = numbers<float>(m.hidden_size * 16);
  const auto head_bias = numbers<float>(m.vocab);
  const std::vector<double> frequency(d / 2, 0.1);
  std::vector<Block> blocks(m.layers);
  for (Block &b : blocks) {
    const float *no_bias = extras ? nullptr : vector.data();
    b.attention_norm = b.feed_norm = {vector.data(), no_bias};
    b.qkv = {qkv.data(), bias3.data()}, b.out = {square.data(), vector.data()};
    if (extras) b.gate = {square.data(), vector.data()}, b.conv = conv.data();
    if (extras) b.decay = {own_decay.data(), vector.data()}, b.rate = vector.data();
    b.up = {wide.data(), bias_up.data()}, b.down = {down.data(), vector.data()};
  }
  m.decay = decay.data(), m.frequency = frequency.data(), m.embed = embed.data(),
  m.blocks = blocks.data();
  m.norm = {vector.data(), vector.data()}, m.head = {head.data(), head_bias.data()};
  std::vector<float> s(m.layers * slots * m.heads * d * d), z(m.layers * slots * m.heads * d);
  std::vector<float> past(m.layers * slots * (m.conv_kernel - 1) * 3 * m.hidden_size),
      logits(rows * m.vocab);
  std::vector<int32_t> slot(rows), tokens(rows);
  std::vector<int64_t> positions(rows);
  for (int64_t at = 0; at < 6; at++) {
    for (int64_t r = 0; r < rows; r++)
      slot[r] = int32_t(r), tokens[r] = int32_t((r * 7 + at) % m.vocab), positions[r] = at;
    std::vector<float> scratch(table.decode_scratch(m, rows));
    table.decode(m, rows, slots, slot.data(), tokens.data(), positions.data(), s.data(), z.data(),
                 past.data(), logits.data(), scratch.data());
  }
}

void all(const Table &table) {
  int runs = 0;
  for (const int64_t tokens : {1, 2, 15, 16, 17, 33, 50})
    for (const int64_t heads : {1, 3, 9})
      for (const auto [d, m] :
           {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {16, 16}, {17, 8}, {32, 33}})
        for (int extras = 0; extras < 16; extras++, runs += 2) {
          attention<float>(table, tokens, heads, d, m, extras);
          attention<double>(table, tokens, heads, d, m, extras);
        }
  for (const int64_t tokens : {0, 1, 3, 20})
    for (const int64_t channels : {1, 15, 16, 40})
      for (const int64_t taps : {1, 4}) convolution(table, tokens, channels, taps), runs++;
  for (const int64_t d : {1, 8, 17, 32})
    for (const int64_t m : {1, 8, 33}) step(table, d, m), runs++;
  decode(table, false), decode(table, true);
  std::vector<float> sink(64);
  table.multiply_adds(10, sink.data());
  std::printf("%s: %d runs\n", table.name, runs + 2);
}

}  // namespace

int main() {
  all(table_baseline);
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all(table_avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    all(table_avx512);
#endif
}
