// How a call's sequences are divided into segments, on the host.
#pragma once
#include <algorithm>
#include <vector>

#include "attention.h"

namespace lf {
namespace cuda {

struct Segments {
  std::vector<Segment> all;       // in order
  std::vector<int64_t> first{0};  // [sequences + 1]: the first segment of each sequence
  std::vector<int32_t> order;     // Work::order
};

// Divides sequences that end at `offsets` [sequences + 1]. `starts` [sequences], the position of
// each one's first token, may be null.
inline Segments divide(const int64_t *offsets, const int64_t *starts, int64_t sequences,
                       int64_t longest = LONGEST_SEGMENT) {
  Segments made;
  for (int64_t seq = 0; seq < sequences; seq++) {
    const int64_t end = offsets[seq + 1], origin = offsets[seq] - (starts ? starts[seq] : 0);
    for (int64_t t = offsets[seq]; t < end; t += longest)
      made.all.push_back({seq, t, std::min(t + longest, end), origin});
    made.first.push_back(int64_t(made.all.size()));
  }
  made.order.resize(2 * made.all.size());
  chain_order(made.first.data(), sequences, made.order.data());
  return made;
}

}  // namespace cuda
}  // namespace lf
