// What warping operators have in common. Each output pixel is a weighted sum of a few pixels of the frame, its taps. An
// operator says where a row of output pixels has its taps (`locate`), which rows of the frame these may be in (`rows`), and
// what follows for its other inputs (`differentiate`).
#pragma once
#include <omp.h>

#include "bands.hpp"
#include "four.hpp"

namespace refilm::REFILM_ISA {

// Most pixels of a row at a time. (With 16, GCC unrolls the loops over them before it could vectorise them.)
constexpr int WIDE = 32;

// The taps of up to WIDE pixels, a multiple of four. Each array is [taps][WIDE].
template <typename T>
struct Taps {
  unsigned* place;  // of the pixel in its FourMap, in bytes; outside the frame, that of the pixel after the last
  T* share;    // what the position alone gives to the tap
  T* weight;   // the share times the kernel
  T* product;  // in the backward pass: the gradient of the output times the pixel, over all channels
};

// Some pixels in a row of the output.
struct Run {
  int64_t n;
  int y, x, count;
};

template <typename T>
static REFILM_INLINE void read_run(T* __restrict to, const T* __restrict from, int count) {
  if (count == WIDE) memcpy(to, from, sizeof(T) * WIDE);
  else for (int k = 0; k < WIDE; k++) to[k] = k < count ? from[k] : T(0);
}

template <typename T>
static REFILM_INLINE void write_run(T* __restrict to, const T* __restrict from, int count) {
  if (count == WIDE) memcpy(to, from, sizeof(T) * WIDE);
  else for (int k = 0; k < count; k++) to[k] = from[k];
}

template <typename T>
struct TapsLayout : Layout {
  int64_t taps, place, share, weight, product;
  explicit TapsLayout(int64_t taps) : taps(taps) {
    place = add(taps * WIDE, sizeof(unsigned));
    share = add(taps * WIDE, sizeof(T)), weight = add(taps * WIDE, sizeof(T)), product = add(taps * WIDE, sizeof(T));
  }
  Taps<T> at(const Scratch& scratch, int64_t start) const {
    return {scratch.at<unsigned>(start + place), scratch.at<T>(start + share), scratch.at<T>(start + weight),
            scratch.at<T>(start + product)};
  }
};

static REFILM_INLINE Run run_at(const MapShape& s, int64_t n, int64_t y, int64_t x) {
  return {n, int(y), int(x), int(smaller<int64_t>(WIDE, s.width - x))};
}

template <typename T, typename Op>
void warp(const Op& op, const T* frame, T* out, int threads) {
  const MapShape s = op.shape;
  const TapsLayout<T> layout(op.taps());
  const Scratch scratch(layout.bytes * threads);
  const FourMap<T> pixels(s);
#pragma omp parallel num_threads(threads)
  {
    pixels.copy(frame);
    const Taps<T> taps = layout.at(scratch, omp_get_thread_num() * layout.bytes);
#pragma omp for schedule(dynamic, 4)
    for (int64_t job = 0; job < s.batch * s.height; job++)
      for (int64_t x = 0; x < s.width; x += WIDE) {
        const Run run = run_at(s, job / s.height, job % s.height, x);
        op.locate(run, taps);
        for (int64_t group = 0; group < s.groups(); group++) {
          const Four<T>* from = pixels.at(run.n, group);
          Four<T> found[WIDE];
          for (int k = 0; k < run.count; k++) {
            Four<T> sum[4] = {};
            const unsigned* place = taps.place + k;
            const T* weight = taps.weight + k;
            for (int64_t tap = 0; tap < op.taps(); tap += 4, place += 4 * WIDE, weight += 4 * WIDE)
              REFILM_UNROLL for (int i = 0; i < 4; i++) sum[i] += weight[i * WIDE] * at_byte(from, place[i * WIDE]);
            found[k] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
          }
          write_four(found, out, s, run.n, group, run.y * s.width + x, run.count);
        }
      }
  }
}

// The gradients of what is not the frame: each output pixel has its own.
template <typename T, typename Op>
void warp_slopes(const Op& op, const T* grad, const T* frame, int threads) {
  const MapShape s = op.shape;
  const TapsLayout<T> layout(op.taps());
  const Scratch scratch(layout.bytes * threads);
  const FourMap<T> pixels(s);
#pragma omp parallel num_threads(threads)
  {
    pixels.copy(frame);
    const Taps<T> taps = layout.at(scratch, omp_get_thread_num() * layout.bytes);
#pragma omp for schedule(dynamic, 4)
    for (int64_t job = 0; job < s.batch * s.height; job++)
      for (int64_t x = 0; x < s.width; x += WIDE) {
        const Run run = run_at(s, job / s.height, job % s.height, x);
        op.locate(run, taps);
        memset(taps.product, 0, sizeof(T) * WIDE * op.taps());
        for (int64_t group = 0; group < s.groups(); group++) {
          const Four<T>* from = pixels.at(run.n, group);
          Four<T> above[WIDE] = {};
          read_four(above, grad, s, run.n, group, run.y * s.width + x, run.count);
          for (int k = 0; k < run.count; k += 4)
            for (int64_t tap = 0; tap < op.taps(); tap++) {
              const unsigned* place = taps.place + tap * WIDE + k;
              Four<T>* product = (Four<T>*)(taps.product + tap * WIDE + k);
              *product += sums_of_four(above[k] * at_byte(from, place[0]), above[k + 1] * at_byte(from, place[1]),
                                       above[k + 2] * at_byte(from, place[2]), above[k + 3] * at_byte(from, place[3]));
            }
        }
        op.differentiate(run, taps);
      }
  }
}

// The gradient of the frame: each pixel gets something from the output pixels that have it as a tap.
template <typename T, typename Op>
void warp_frame_grad(const Op& op, const T* grad, T* frame_grad, int threads) {
  const MapShape s = op.shape;
  const Bands bands(s.batch, s.height, threads);
  TapsLayout<T> layout(op.taps());
  const int64_t sums_at = layout.add(bands.rows * s.width, sizeof(Four<T>));
  const Scratch scratch(layout.bytes * threads, false);
#pragma omp parallel num_threads(threads)
  {
    const int64_t mine = omp_get_thread_num() * layout.bytes;
    const Taps<T> taps = layout.at(scratch, mine);
    Four<T>* const sums = scratch.at<Four<T>>(mine + sums_at);
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < s.batch * bands.count; job++) {
      const int64_t n = job / bands.count, first = job % bands.count * bands.rows;
      const int64_t last = smaller(first + bands.rows, s.height);
      const int64_t start = first * s.width, size = (last - first) * s.width;
      const unsigned start_byte = start * sizeof(Four<T>), bytes = size * sizeof(Four<T>);
      for (int64_t group = 0; group < s.groups(); group++) {
        memset(sums, 0, bytes);
        for (int64_t y = 0; y < s.height; y++)
          for (int64_t x = 0; x < s.width; x += WIDE) {
            const Run run = run_at(s, n, y, x);
            int top, bottom;
            op.rows(run, top, bottom);
            if (bottom < first || top >= last) continue;
            op.locate(run, taps);
            Four<T> above[WIDE];
            read_four(above, grad, s, n, group, y * s.width + x, run.count);
            for (int k = 0; k < run.count; k++)
              for (int64_t tap = 0; tap < op.taps(); tap++) {
                const unsigned place = taps.place[tap * WIDE + k] - start_byte;
                if (place < bytes) at_byte(sums, place) += taps.weight[tap * WIDE + k] * above[k];
              }
          }
        write_four(sums, frame_grad, s, n, group, start, size);
      }
    }
  }
}

}  // namespace refilm::REFILM_ISA
