// How a call's sequences are divided into segments, on the host.
#pragma once
#include <algorithm>
#include <vector>

#include "attention.h"

namespace lf {
namespace cuda {

struct Segments {
  std::vector<Segment> all;       // Work::segments
  std::vector<int64_t> first{0};  // [sequences + 1]: the first segment of each sequence
  int64_t count() const { return first.back(); }
};

// Divides sequences that end at `offsets` [sequences + 1]. `starts` [sequences], the position of
// each one's first token, may be null.
inline Segments divide(const int64_t *offsets, const int64_t *starts, int64_t sequences,
                       int64_t longest = LONGEST_SEGMENT) {
  Segments made;
  int64_t most = 0;
  for (int64_t seq = 0; seq < sequences; seq++) {
    const int64_t end = offsets[seq + 1], origin = offsets[seq] - (starts ? starts[seq] : 0);
    for (int64_t t = offsets[seq]; t < end; t += longest)
      made.all.push_back({seq, t, std::min(t + longest, end), origin, int64_t(made.all.size()),
                          (t == offsets[seq] ? FIRST : 0) | (t + longest >= end ? LAST : 0)});
    made.first.push_back(int64_t(made.all.size()));
    most = std::max(most, made.first[seq + 1] - made.first[seq]);
  }
  for (const bool back : {false, true})
    for (int64_t place = 0; place < most; place++)
      for (int64_t seq = 0; seq < sequences; seq++)
        if (const int64_t first = made.first[seq], end = made.first[seq + 1]; place < end - first)
          made.all.push_back(made.all[back ? end - 1 - place : first + place]);
  return made;
}

}  // namespace cuda
}  // namespace lf
