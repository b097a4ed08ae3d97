// Correlation on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name.
#include <omp.h>

#include "../cpp/call.hpp"
#include "../cpp/scratch.hpp"

namespace refilm::REFILM_ISA {
namespace {

// Maps [N, K, H, W] copied as rows [N, H, K, pitch], with at least `radius` zeros on both sides: one row of all planes is
// then adjacent, and displaced rows can be read without asking where the frame ends. Pixels 0 are aligned to vectors.
template <typename T>
struct Rows {
  int64_t planes, height, width, margin, pitch;
  Scratch scratch;

  Rows(const Array& maps, int64_t radius)
      : planes(maps.shape[1]), height(maps.shape[2]), width(maps.shape[3]), margin(round_up(radius, LANES_OF<T>)),
        pitch(round_up(width, LANES_OF<T>) + 2 * margin),
        scratch(maps.shape[0] * height * planes * pitch * sizeof(T), false) {}

  // the pixel (x, y) of a plane
  T* at(int64_t n, int64_t plane, int64_t y, int64_t x) const {
    return scratch.template at<T>(0) + ((n * height + y) * planes + plane) * pitch + margin + x;
  }

  void copy(const T* maps, int64_t n, int64_t y) const {
    for (int64_t k = 0; k < planes; k++) {
      T* to = at(n, k, y, 0);
      memset(to - margin, 0, sizeof(T) * margin);
      memcpy(to, maps + ((n * planes + k) * height + y) * width, sizeof(T) * width);
      memset(to + width, 0, sizeof(T) * (pitch - margin - width));
    }
  }
};

template <typename T>
REFILM_INLINE void write(T* to, VectorOf<T> v, int64_t count) {
  if (count >= LANES_OF<T>) store_vector(to, v);
  else for (int64_t k = 0; k < count; k++) to[k] = v[k];
}

// For I neighbouring displacements and V vectors of pixels: the mean over the channels of left times right.
template <int I, int V, typename T>
REFILM_INLINE void compare(const T* __restrict left, int64_t left_pitch, const T* __restrict right, int64_t right_pitch,
                           int64_t channels, T* __restrict out, int64_t plane, int64_t count) {
  constexpr int L = LANES_OF<T>;
  VectorOf<T> sum[I][V] = {};
  for (int64_t c = 0; c < channels; c++, left += left_pitch, right += right_pitch)
    REFILM_UNROLL for (int v = 0; v < V; v++) {
      const VectorOf<T> own = load_vector(left + v * L);
      REFILM_UNROLL for (int i = 0; i < I; i++) sum[i][v] += own * load_vector(right + v * L + i);
    }
  REFILM_UNROLL for (int i = 0; i < I; i++)
    REFILM_UNROLL for (int v = 0; v < V; v++)
      if (count > v * L) write(out + i * plane + v * L, sum[i][v] / T(channels), count - v * L);
}

// All displacements of a block of pixels that starts at x. While it lasts, its features stay in the L1 cache.
template <int V, typename T>
void compare_block(const Rows<T>& left, const Rows<T>& right, int64_t radius, int64_t n, int64_t y, int64_t x, T* out) {
  const int64_t side = 2 * radius + 1, plane = left.height * left.width, count = left.width - x;
  const T* own = left.at(n, 0, y, x);
  for (int64_t j = larger(-radius, -y); j <= smaller(radius, left.height - 1 - y); j++) {
    const T* other = right.at(n, 0, y + j, x);
    T* to = out + ((n * side + j + radius) * side + radius) * plane + y * left.width + x;
    int64_t i = -radius;
    for (; i + 2 <= radius; i += 3)
      compare<3, V>(own, left.pitch, other + i, right.pitch, left.planes, to + i * plane, plane, count);
    for (; i <= radius; i++)
      compare<1, V>(own, left.pitch, other + i, right.pitch, left.planes, to + i * plane, plane, count);
  }
}

// left, right -> out; radius
template <typename T>
void forward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t radius = call.numbers[0], side = 2 * radius + 1;
  const int64_t batch = a[0].shape[0], height = a[0].shape[2], width = a[0].shape[3], plane = height * width;
  const Rows<T> left(a[0], 0), right(a[1], radius);
#pragma omp parallel num_threads(call.threads)
  {
#pragma omp for schedule(static)
    for (int64_t job = 0; job < batch * height; job++) {
      left.copy((const T*)a[0].data, job / height, job % height);
      right.copy((const T*)a[1].data, job / height, job % height);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < batch * height; job++) {
      const int64_t n = job / height, y = job % height;
      T* out = (T*)a[2].data;
      for (int64_t j = -radius; j <= radius; j++)
        if (y + j < 0 || y + j >= height)
          for (int64_t i = 0; i < side; i++)
            memset(out + ((n * side + j + radius) * side + i) * plane + y * width, 0, sizeof(T) * width);
      constexpr int L = LANES_OF<T>, V = 3;
      int64_t x = 0;
      for (; x + (V - 1) * L < width; x += V * L) compare_block<V>(left, right, radius, n, y, x, out);
      for (; x < width; x += L) compare_block<1>(left, right, radius, n, y, x, out);
    }
  }
}

// Both gradients are sums over the displacements (j, i) of a row of `grad` times a row of features:
//   left_grad(y, x)  = sum of grad[k(j, i)](y, x)           * right(y + j, x + i)
//   right_grad(y, x) = sum of grad[k(-j, -i)](y + j, x + i) * left(y + j, x + i)
template <bool OF_RIGHT, int C, int V, typename T>
REFILM_INLINE void gather(const Rows<T>& grad, const Rows<T>& features, int64_t radius, int64_t n, int64_t c, int64_t y, int64_t x, T* out) {
  constexpr int L = LANES_OF<T>;
  const int64_t side = 2 * radius + 1, height = grad.height, width = grad.width;
  VectorOf<T> sum[C][V] = {};
  for (int64_t j = larger(-radius, -y); j <= smaller(radius, height - 1 - y); j++) {
    const int64_t first = ((OF_RIGHT ? -j : j) + radius) * side + radius;
    const T* above = grad.at(n, first, OF_RIGHT ? y + j : y, x);
    const T* pixel = features.at(n, c, y + j, x);
    for (int64_t i = -radius; i <= radius; i++) {
      const T* factor = above + (OF_RIGHT ? i - i * grad.pitch : i * grad.pitch);
      VectorOf<T> g[V];
      REFILM_UNROLL for (int v = 0; v < V; v++) g[v] = load_vector(factor + v * L);
      REFILM_UNROLL for (int b = 0; b < C; b++)
        REFILM_UNROLL for (int v = 0; v < V; v++) sum[b][v] += g[v] * load_vector(pixel + b * features.pitch + i + v * L);
    }
  }
  REFILM_UNROLL for (int b = 0; b < C; b++)
    REFILM_UNROLL for (int v = 0; v < V; v++)
      if (width - x > v * L)
        write(out + ((n * features.planes + c + b) * height + y) * width + x + v * L, sum[b][v] / T(features.planes),
              width - x - v * L);
}

template <bool OF_RIGHT, int V, typename T>
void gather_channels(const Rows<T>& grad, const Rows<T>& features, int64_t radius, int64_t n, int64_t y, int64_t x, T* out) {
  int64_t c = 0;
  for (; c + 4 <= features.planes; c += 4) gather<OF_RIGHT, 4, V>(grad, features, radius, n, c, y, x, out);
  for (; c < features.planes; c++) gather<OF_RIGHT, 1, V>(grad, features, radius, n, c, y, x, out);
}

template <bool OF_RIGHT, typename T>
void gather_row(const Rows<T>& grad, const Rows<T>& features, int64_t radius, int64_t n, int64_t y, T* out) {
  constexpr int L = LANES_OF<T>, V = 2;
  int64_t x = 0;
  for (; x + (V - 1) * L < grad.width; x += V * L) gather_channels<OF_RIGHT, V>(grad, features, radius, n, y, x, out);
  for (; x < grad.width; x += L) gather_channels<OF_RIGHT, 1>(grad, features, radius, n, y, x, out);
}

// grad, left, right -> left_grad, right_grad; radius
template <typename T>
void backward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t radius = call.numbers[0], batch = a[1].shape[0], height = a[1].shape[2];
  const Rows<T> grad(a[0], radius), left(a[1], radius), right(a[2], radius);
  T *left_grad = (T*)a[3].data, *right_grad = (T*)a[4].data;
#pragma omp parallel num_threads(call.threads)
  {
#pragma omp for schedule(static)
    for (int64_t job = 0; job < batch * height; job++) {
      const int64_t n = job / height, y = job % height;
      grad.copy((const T*)a[0].data, n, y);
      if (right_grad) left.copy((const T*)a[1].data, n, y);
      if (left_grad) right.copy((const T*)a[2].data, n, y);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < batch * height; job++) {
      const int64_t n = job / height, y = job % height;
      if (left_grad) gather_row<false>(grad, right, radius, n, y, left_grad);
      if (right_grad) gather_row<true>(grad, left, radius, n, y, right_grad);
    }
  }
}

}  // namespace

extern const Kernel correlation_forward, correlation_backward;
const Kernel correlation_forward = {"correlation_forward", forward<float>, forward<double>};
const Kernel correlation_backward = {"correlation_backward", backward<float>, backward<double>};

}  // namespace refilm::REFILM_ISA
