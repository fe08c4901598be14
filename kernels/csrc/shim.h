// What the files of the C face share. No exception crosses it; a failure is a code and a message of this thread.
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

// The CPU kernels in use.
const Table *table();

// Gives tensors on the CPU a heap of their own, those that are made from now on.
bool use_tensor_heap();

// Where this thread's last failure is told.
extern thread_local std::string last_error;

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

struct Bounds {
  const int64_t *at;
  const int64_t *starts;               // the position of each sequence's first token; null: 0
  int64_t sequences, longest, reach;   // reach: positions are below it

  int64_t origin(int64_t seq) const { return at[seq] - (starts ? starts[seq] : 0); }
};

Bounds checked_bounds(const Tensor &bounds, const Tensor &starts, int64_t tokens);

}  // namespace lf
