// Replaces libtorch's header of the same name, which needs Python.
#pragma once
#include <torch/types.h>
#define TORCH_EXTENSION_NAME peer
#define PYBIND11_MODULE(name, m) \
  struct Ignored { \
    template <class... A> \
    void def(A...) {} \
  }; \
  [[maybe_unused]] static void ignored(Ignored m)
