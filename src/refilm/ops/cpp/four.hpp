// Maps with four channels of a pixel next to each other. What is read or added at scattered places of a map [N, C, H, W]
// then takes one load for four channels, and touches a quarter of the cache lines.
#pragma once
#include "call.hpp"
#include "scratch.hpp"

namespace refilm::REFILM_ISA {

template <typename T>
struct FourOf {
  typedef T type __attribute__((vector_size(4 * sizeof(T))));
};
template <typename T>
using Four = typename FourOf<T>::type;

// (sum a, sum b, sum c, sum d)
template <typename F>
static REFILM_INLINE F sums_of_four(F a, F b, F c, F d) {
  const F ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);  // a b a b
  const F cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

struct MapShape {
  int64_t batch, channels, height, width;
  explicit MapShape(const Array& a) : batch(a.shape[0]), channels(a.shape[1]), height(a.shape[2]), width(a.shape[3]) {}
  int64_t plane() const { return height * width; }
  int64_t groups() const { return (channels + 3) / 4; }  // of four channels; the last may have fewer
};

// Reads `count` pixels of a group of channels; channels that do not exist are zero.
template <typename T>
static REFILM_INLINE void read_four(Four<T>* __restrict to, const T* __restrict map, const MapShape& s, int64_t n, int64_t group,
                                    int64_t at, int64_t count) {
  const int64_t have = smaller<int64_t>(4, s.channels - 4 * group);
  const T* from[4];
  for (int64_t i = 0; i < have; i++) from[i] = map + (n * s.channels + 4 * group + i) * s.plane() + at;
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    Four<T> a, b = {}, c = {}, d = {};
    memcpy(&a, from[0] + k, sizeof a);
    if (have > 1) memcpy(&b, from[1] + k, sizeof b);
    if (have > 2) memcpy(&c, from[2] + k, sizeof c);
    if (have > 3) memcpy(&d, from[3] + k, sizeof d);
    const Four<T> ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Four<T> cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    to[k] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5), to[k + 1] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    to[k + 2] = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), to[k + 3] = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
  }
  for (; k < count; k++) {
    to[k] = Four<T>{};
    for (int64_t i = 0; i < have; i++) to[k][i] = from[i][k];
  }
}

// The pixel that lies `bytes` behind the first one.
template <typename F>
static REFILM_INLINE F& at_byte(F* first, unsigned bytes) { return *(F*)((char*)first + bytes); }

template <typename T>
static REFILM_INLINE void write_four(const Four<T>* __restrict from, T* __restrict map, const MapShape& s, int64_t n,
                                     int64_t group, int64_t at, int64_t count) {
  for (int64_t i = 0; i < smaller<int64_t>(4, s.channels - 4 * group); i++) {
    T* to = map + (n * s.channels + 4 * group + i) * s.plane() + at;
    for (int64_t k = 0; k < count; k++) to[k] = from[k][i];
  }
}

// A copy [N, C/4, H, W, 4] of a map. The pixel after the last one of each map is zero.
template <typename T>
struct FourMap {
  MapShape shape;
  Scratch scratch;
  explicit FourMap(const MapShape& shape)
      : shape(shape), scratch(shape.batch * shape.groups() * (shape.plane() + 1) * sizeof(Four<T>), false) {}
  Four<T>* at(int64_t n, int64_t group) const {
    return scratch.template at<Four<T>>(0) + (n * shape.groups() + group) * (shape.plane() + 1);
  }
  // To be called by all threads of a region.
  void copy(const T* map) const {
#pragma omp for schedule(static)
    for (int64_t job = 0; job < shape.batch * shape.groups() * shape.height; job++) {
      const int64_t n = job / shape.height / shape.groups(), group = job / shape.height % shape.groups();
      const int64_t y = job % shape.height;
      read_four(at(n, group) + y * shape.width, map, shape, n, group, y * shape.width, shape.width);
      if (y == 0) at(n, group)[shape.plane()] = Four<T>{};
    }
  }
};

}  // namespace refilm::REFILM_ISA
