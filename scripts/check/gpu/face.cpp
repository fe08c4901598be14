// The C interface over the kernels' emulation on the CPU: tries the harness where there is no GPU.
#include <cstdlib>

#include "emulation.cpp"

// Where kernels that return no code leave their message.
extern "C" void lf_set_last_error(const char *) {}

struct Call;
static int run(Call &call, bool backward, void *stream);

static int allocate(void **at, size_t octets, const void *from, size_t size) {
  *at = std::malloc(octets);
  std::memset(*at, 0xff, octets);
  if (from && size) std::memcpy(*at, from, size);
  return 0;
}
static void release(void *at) { std::free(at); }

#include "face.h"

static int run(Call &call, bool backward, void *) {
  const std::lock_guard<std::mutex> held(one_at_a_time);
  Made made;
  made.work = call.work;
  made.flags.resize(size_t(flag_count(call.work, call.f32.heads)));
  made.work.flags = made.flags.data();
  if (!call.bf16)
    sized(call.f32, made, backward);
  else if (fits_mma(call.b16))
    sized_mma<8>(call.b16, made, backward);
  else
    sized(call.b16, made, backward);
  return 0;
}

extern "C" const char *lf_error(int) { return "failed"; }
