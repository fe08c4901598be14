// The convolution on the GPU: device code. Each thread computes one channel of some rows, and no
// two threads share memory. The including file defines DEVICE, to_float and from_float<E>, so that
// the file also compiles for the CPU, where tests run it (tests/emulation).
#pragma once
#include "convolution.h"

namespace lf {
namespace cuda {

constexpr int CONVOLUTION_ROWS = 16;  // of a thread

// Rows that a thread computes, and the sequence that they are part of.
struct Rows {
  int64_t begin, end, first, last;  // last: exclusive
};
DEVICE Rows rows_of(const Work &work, int64_t segment, int64_t part) {
  const Segment &seg = work.segments[segment];
  const int64_t *first = work.first + seg.seq;
  const int64_t begin = seg.begin + part * CONVOLUTION_ROWS, end = begin + CONVOLUTION_ROWS;
  return {begin, end < seg.end ? end : seg.end, work.segments[first[0]].begin,
          work.segments[first[1] - 1].end};
}

template <class T>
DEVICE void convolve_rows(const Convolution<T> &c, const Rows &rows, int64_t channel) {
  for (int64_t t = rows.begin; t < rows.end; t++) {
    float sum = 0.0f;
    for (int64_t back = 0; back < c.taps && t - back >= rows.first; back++)
      sum += c.w[(c.taps - 1 - back) * c.channels + channel] *
             to_float(c.x[(t - back) * c.channels + channel]);
    c.y[t * c.channels + channel] = from_float<T>(sum);
  }
}

// dx: what each row gave to itself and to those behind it.
template <class T>
DEVICE void convolve_back_rows(const Convolution<T> &c, const Rows &rows, int64_t channel) {
  for (int64_t t = rows.begin; t < rows.end; t++) {
    float sum = 0.0f;
    for (int64_t ahead = 0; ahead < c.taps && t + ahead < rows.last; ahead++)
      sum += c.w[(c.taps - 1 - ahead) * c.channels + channel] *
             to_float(c.dy[(t + ahead) * c.channels + channel]);
    c.dx[t * c.channels + channel] = from_float<T>(sum);
  }
}

// One segment's share of one tap's gradient.
template <class T>
DEVICE void convolve_back_tap(const Convolution<T> &c, const Work &work, int64_t segment,
                              int64_t tap, int64_t channel) {
  const Segment &seg = work.segments[segment];
  const int64_t first = work.segments[work.first[seg.seq]].begin, back = c.taps - 1 - tap;
  const int64_t from = seg.begin - back < first ? first + back : seg.begin;
  float sum = 0.0f;
  for (int64_t t = from; t < seg.end; t++)
    sum += to_float(c.dy[t * c.channels + channel]) *
           to_float(c.x[(t - back) * c.channels + channel]);
  c.dw[(segment * c.taps + tap) * c.channels + channel] = sum;
}

}  // namespace cuda
}  // namespace lf
