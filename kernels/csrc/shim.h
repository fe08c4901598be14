// Shared by the files of the C interface. No exception crosses it: a call that fails returns 1 and
// leaves a message, which belongs to the thread.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <optional>
#include <string>
#include <vector>

#include "cpu.h"

namespace lf {

using at::Tensor;
using Maybe = std::optional<Tensor>;

// Returns the CPU kernels in use.
const Table *table();

// Returns the products of linear layers in bfloat16; null: this machine lacks them, or kernels
// without AVX-512 were chosen.
const LinearTable *bf16_products();

// Allocates CPU tensors in a heap of their own from now on. Returns true.
bool use_tensor_heap();

// Message of this thread's last failure.
extern thread_local std::string last_error;

// Runs `work` and turns an exception into a code and a message.
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

inline Maybe given(const Tensor *x) { return x ? Maybe(*x) : Maybe(); }

// Boundaries of the sequences of a row, checked.
struct CuSeqlens {
  const int64_t *offsets;  // [S + 1]: 0, then the end of each sequence
  const int64_t *starts;   // [S]: position of each sequence's first token; null: 0
  int64_t sequences;
  int64_t longest;       // tokens of the longest sequence
  int64_t max_position;  // exclusive upper bound of all positions

  // Returns the index in the row of a sequence's position 0, which may be before the row.
  int64_t origin(int64_t seq) const { return offsets[seq] - (starts ? starts[seq] : 0); }
};

// Checks kinds, shapes and order of the offsets, and of `starts` if defined, for a row of `tokens`.
CuSeqlens checked_cu_seqlens(const Tensor &cu_seqlens, const Tensor &starts, int64_t tokens);

}  // namespace lf
