// A model on a device, and the steps of its slots: what the host does. `Device` has the memory of a
// device and a queue of work on it; CUDA's is in decode.cu, that of tests in tests/emulation.
#pragma once
#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "decode.cuh"

extern "C" void lf_set_last_error(const char *message);

namespace lf {
namespace cuda {
namespace decode {

// Arrays of one allocation. They are asked for twice: first to learn the size, then to get them.
class Arena {
 public:
  explicit Arena(void *memory) : memory_(static_cast<char *>(memory)) {}
  template <class T>
  T *take(int64_t n) {
    T *at = memory_ ? reinterpret_cast<T *>(memory_ + octets_) : nullptr;
    octets_ += (std::max<int64_t>(n, 0) * int64_t(sizeof(T)) + 255) / 256 * 256;
    return at;
  }
  int64_t octets() const { return octets_; }

 private:
  char *memory_;
  int64_t octets_ = 0;
};

// Columns of the product that gives each head its decay.
inline int64_t decay_columns(const Model &m) { return (m.heads + 15) / 16 * 16; }

// A model's weights in the memory of a device.
template <class Device>
class Decoder {
 public:
  Decoder(const Model &host, int64_t ids, int32_t number) : device_(number), model_(host) {
    if (host.hidden_size / host.heads > LARGEST_HEAD)
      throw std::runtime_error("expected heads of at most " + std::to_string(LARGEST_HEAD) +
                               ", found " + std::to_string(host.hidden_size / host.heads));
    Arena size(nullptr);
    place(host, ids, size);
    memory_ = device_.allocate(size.octets(), "the weights");
    Arena arena(memory_.get());
    place(host, ids, arena);
    device_.finish_copies();
  }
  const Device &device() const { return device_; }
  const Model &model() const { return model_; }

 private:
  template <class T>
  const T *copy(const T *from, int64_t n, Arena &arena) {
    if (!from) return nullptr;
    T *to = arena.take<T>(n);
    if (to) device_.copy_to_device(to, from, n * int64_t(sizeof(T)));
    return to;
  }
  Norm copy(const Norm &norm, int64_t width, Arena &arena) {
    return {copy(norm.weight, width, arena), copy(norm.bias, width, arena)};
  }
  Linear copy(const Linear &linear, int64_t inputs, int64_t outputs, Arena &arena) {
    return {copy(linear.weight, inputs * outputs, arena), copy(linear.bias, outputs, arena)};
  }
  void place(const Model &m, int64_t ids, Arena &arena) {
    const int64_t w = m.hidden_size, up = (m.gated ? 2 : 1) * m.ffn_size;
    blocks_.clear();
    for (int64_t l = 0; l < m.layers; l++) {
      const lf::Block &b = m.blocks[l];
      blocks_.push_back({copy(b.attention_norm, w, arena), copy(b.feed_norm, w, arena),
                         copy(b.qkv, w, 3 * w, arena), copy(b.gate, w, w, arena),
                         copy(b.out, w, w, arena), copy(b.up, w, up, arena),
                         copy(b.down, m.ffn_size, w, arena),
                         copy(b.conv, m.conv_kernel * 3 * w, arena),
                         copy(b.decay, w, decay_columns(m), arena), copy(b.rate, m.heads, arena)});
    }
    model_.blocks = blocks_.data();
    model_.decay = copy(m.decay, m.heads, arena);
    model_.frequency = copy(m.frequency, w / m.heads / 2, arena);
    model_.embed = copy(m.embed, ids * w, arena);
    model_.norm = copy(m.norm, w, arena), model_.head = copy(m.head, w, m.vocab, arena);
  }

  Device device_;
  Model model_;  // sizes, and pointers on the device
  std::vector<lf::Block> blocks_;
  typename Device::Memory memory_;
};

// Sequences that advance together. A step is recorded once and then launched as a whole.
template <class Device>
class Slots {
 public:
  Slots(const Decoder<Device> &decoder, int64_t slots)
      : decoder_(decoder), slots_(slots), queue_(decoder.device()) {
    const Device &device = decoder.device();
    Arena size(nullptr), shared_size(nullptr);
    place(size), place_shared(shared_size);
    const std::string what = std::to_string(slots) + " sequences";
    memory_ = device.allocate(size.octets(), what);
    shared_memory_ = device.allocate_pinned(shared_size.octets());
    Arena arena(memory_.get()), shared_arena(shared_memory_.get());
    place(arena), place_shared(shared_arena);
    *const_cast<int64_t *>(sent_.count) = 0;  // recording may run the step
    queue_.record([this] { step(); });
  }
  // A step under way uses the memory.
  ~Slots() { queue_.wait(); }

  void begin(int64_t rows, const int32_t *slot, const int32_t *tokens, const int64_t *positions) {
    if (rows < 0 || rows > slots_)
      throw std::runtime_error("expected at most " + std::to_string(slots_) + " rows, found " +
                               std::to_string(rows));
    *const_cast<int64_t *>(sent_.count) = rows;
    std::copy_n(positions, rows, const_cast<int64_t *>(sent_.position));
    std::copy_n(slot, rows, const_cast<int32_t *>(sent_.slot));
    std::copy_n(tokens, rows, const_cast<int32_t *>(sent_.token));
    queue_.launch();
  }
  void finish() { queue_.finish(); }
  const float *logits() const { return scores_; }

 private:
  static Rows rows(Arena &arena, int64_t slots) {
    // One array, so that one copy takes all to the device.
    int64_t *count = arena.take<int64_t>(1 + 2 * slots);
    if (!count) return {};
    auto *slot = reinterpret_cast<int32_t *>(count + 1 + slots);
    return {count, count + 1, slot, slot + slots};
  }
  int64_t rows_octets() const { return (1 + 2 * slots_) * int64_t(sizeof(int64_t)); }
  void place_shared(Arena &arena) {
    sent_ = rows(arena, slots_);
    scores_ = arena.take<float>(slots_ * decoder_.model().vocab);
  }
  void place(Arena &arena) {
    const Model &m = decoder_.model();
    const int64_t w = m.hidden_size, d = w / m.heads;
    rows_ = rows(arena, slots_);
    s_ = arena.take<float>(m.layers * slots_ * w * d);
    z_ = arena.take<float>(m.layers * slots_ * w);
    past_ = arena.take<float>(m.layers * slots_ * past_floats());
    x_ = arena.take<float>(slots_ * w), y_ = arena.take<float>(slots_ * w);
    qkv_ = arena.take<float>(slots_ * 3 * w), mixed_ = arena.take<float>(slots_ * w);
    left_ = arena.take<float>(slots_ * decay_columns(m));
    gate_ = arena.take<float>(slots_ * w), angle_ = arena.take<float>(slots_ * d);
    up_ = arena.take<float>(slots_ * (m.gated ? 2 : 1) * m.ffn_size);
    logits_ = arena.take<float>(slots_ * m.vocab);
  }
  // Floats that the convolution of one layer keeps for a slot.
  int64_t past_floats() const {
    const Model &m = decoder_.model();
    return m.conv_kernel > 1 ? (m.conv_kernel - 1) * 3 * m.hidden_size : 0;
  }

  void normalise(const Norm &norm) {
    const Model &m = decoder_.model();
    queue_.run(Normalise{rows_.count, norm, m.rms != 0, m.norm_eps, m.hidden_size, x_, y_}, slots_,
               1);
  }
  template <Input INPUT>
  void product(const float *x, const Linear &linear, int64_t inputs, int64_t outputs, float *y,
               bool add) {
    const Product<INPUT> kernel{rows_.count, x, gate_, linear, inputs, outputs, y, add};
    queue_.run(kernel, (outputs + PANEL - 1) / PANEL, (slots_ + TILE - 1) / TILE);
  }
  void layer(int64_t l) {
    const Model &m = decoder_.model();
    const lf::Block &b = m.blocks[l];
    const int64_t w = m.hidden_size, d = w / m.heads;
    normalise(b.attention_norm);
    product<Input::PLAIN>(y_, b.qkv, w, 3 * w, qkv_, false);
    if (b.gate.weight) product<Input::PLAIN>(y_, b.gate, w, w, gate_, false);
    if (b.decay.weight) product<Input::PLAIN>(y_, b.decay, w, decay_columns(m), left_, false);
    queue_.run(Mix{rows_, qkv_, angle_, b.conv, m.conv_kernel, w, m.heads, m.decay, left_, b.rate,
                   decay_columns(m), m.attention_eps, s_ + l * slots_ * w * d, z_ + l * slots_ * w,
                   past_ + l * slots_ * past_floats(), mixed_},
               slots_, m.heads);
    if (b.gate.weight)
      product<Input::GATED>(mixed_, b.out, w, w, x_, true);
    else
      product<Input::PLAIN>(mixed_, b.out, w, w, x_, true);
    normalise(b.feed_norm);
    product<Input::PLAIN>(y_, b.up, w, (m.gated ? 2 : 1) * m.ffn_size, up_, false);
    if (m.gated)
      product<Input::SWIGLU>(up_, b.down, m.ffn_size, w, x_, true);
    else
      product<Input::GELU>(up_, b.down, m.ffn_size, w, x_, true);
  }
  void step() {
    const Model &m = decoder_.model();
    queue_.copy_to_device(const_cast<int64_t *>(rows_.count), sent_.count, rows_octets());
    queue_.run(Embed{rows_, m.embed, m.frequency, m.hidden_size,
                     int(m.hidden_size / m.heads / 2), x_, angle_},
               slots_, 1);
    for (int64_t l = 0; l < m.layers; l++) layer(l);
    normalise(m.norm);
    product<Input::PLAIN>(y_, m.head, m.hidden_size, m.vocab, logits_, false);
    queue_.copy_to_host(scores_, logits_, slots_ * m.vocab * int64_t(sizeof(float)));
  }

  const Decoder<Device> &decoder_;
  const int64_t slots_;
  typename Device::Memory memory_;
  typename Device::PinnedMemory shared_memory_;
  Rows sent_{}, rows_{};  // on the host, and on the device
  float *scores_, *s_, *z_, *past_, *x_, *y_, *qkv_, *mixed_, *gate_, *angle_, *left_, *up_,
      *logits_;
  typename Device::Queue queue_;
};

// Runs `work` and returns its result, or `failed` after an exception, which leaves a message.
template <class T, class F>
T guarded(T failed, F work) {
  try {
    return work();
  } catch (const std::exception &error) {
    lf_set_last_error(error.what());
  } catch (...) {
    lf_set_last_error("unknown exception");
  }
  return failed;
}

template <class Device>
const Api *api_of() {
  static const Api all{
      [](const Model *model, int64_t ids, int32_t device) {
        return guarded<void *>(nullptr, [&] { return new Decoder<Device>(*model, ids, device); });
      },
      [](void *decoder) { delete static_cast<Decoder<Device> *>(decoder); },
      [](void *decoder, int64_t slots) {
        return guarded<void *>(nullptr, [&] {
          return new Slots<Device>(*static_cast<Decoder<Device> *>(decoder), slots);
        });
      },
      [](void *slots) { delete static_cast<Slots<Device> *>(slots); },
      [](void *slots, int64_t rows, const int32_t *slot, const int32_t *tokens,
         const int64_t *positions) {
        return guarded<int32_t>(1, [&] {
          static_cast<Slots<Device> *>(slots)->begin(rows, slot, tokens, positions);
          return 0;
        });
      },
      [](void *slots) {
        return guarded<int32_t>(1, [&] {
          static_cast<Slots<Device> *>(slots)->finish();
          return 0;
        });
      },
      [](void *slots) -> const float * { return static_cast<Slots<Device> *>(slots)->logits(); },
  };
  return &all;
}

}  // namespace decode
}  // namespace cuda
}  // namespace lf
