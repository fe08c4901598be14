// The decoder on a device, behind a table of functions: one for CUDA, and one that tests make for
// the CPU.
#pragma once
#include <cstdint>

#include "../cpu.h"

namespace lf {
namespace cuda {
namespace decode {

// Rows of a step, as the host writes them. Only the first `*count` rows are computed.
struct Rows {
  const int64_t *count, *position;
  const int32_t *slot, *token;
};

// Functions that fail return null, or 1, and leave a message (`lf_last_error`).
struct Api {
  // Copies the model, whose embedding has `ids` rows, to the device.
  void *(*create)(const Model *, int64_t ids, int32_t device);
  void (*destroy)(void *decoder);
  // Allocates the states of `slots` sequences, which advance together. The decoder outlives them.
  void *(*create_slots)(void *decoder, int64_t slots);
  void (*destroy_slots)(void *slots);
  // Begins a step of `rows` rows, at most one for each slot, and does not wait for it.
  int32_t (*begin)(void *slots, int64_t rows, const int32_t *slot, const int32_t *tokens,
                   const int64_t *positions);
  // Waits for the step.
  int32_t (*finish)(void *slots);
  // Scores of each row of the last step, [rows, vocab], in memory of the host.
  const float *(*logits)(void *slots);
};

// Returns CUDA's table, or null if this was built without CUDA.
const Api *api();

}  // namespace decode
}  // namespace cuda
}  // namespace lf
