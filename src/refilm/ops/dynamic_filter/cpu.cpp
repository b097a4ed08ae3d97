// Dynamic upsampling filters on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name. The
// filters are far larger than all else, so the loops are ordered so that each pass reads or writes them once, in long runs.
#include <omp.h>

#include "../cpp/call.hpp"
#include "../cpp/scratch.hpp"

namespace refilm::REFILM_ISA {
namespace {

template <typename T>
struct DynamicFilter {
  int64_t batch, channels, height, width, size, scale, half;  // size: K, scale: s
  const T* filters;

  DynamicFilter(const Array& frame, const Array& of_filters) : filters((const T*)of_filters.data) {
    batch = frame.shape[0], channels = frame.shape[1], height = frame.shape[2], width = frame.shape[3];
    size = scale = 1;
    while (size * size < of_filters.shape[1]) size += 2;
    while (scale * scale < of_filters.shape[2]) scale++;
    half = size / 2;
  }
  int64_t plane() const { return height * width; }
  int64_t parts() const { return scale * scale; }  // sub-pixels
  int64_t filter(int64_t n, int64_t tap, int64_t part, int64_t y) const {
    return ((n * size * size + tap) * parts() + part) * plane() + y * width;
  }
};

// The frame with a margin of zeros, [N, C, H + K - 1, W + K - 1].
template <typename T>
struct Padded {
  int64_t channels, height, width;
  Scratch scratch;
  Padded(const DynamicFilter<T>& p, const T* frame)
      : channels(p.channels), height(p.height + p.size - 1), width(p.width + p.size - 1),
        scratch((p.batch * channels * height * width + LANES_OF<T>) * sizeof(T)) {
    for (int64_t row = 0; row < p.batch * channels * p.height; row++) {
      const int64_t plane = row / p.height, y = row % p.height;
      memcpy(scratch.template at<T>(0) + (plane * height + y + p.half) * width + p.half, frame + row * p.width,
             sizeof(T) * p.width);
    }
  }
  const T* row(int64_t n, int64_t c, int64_t y) const {
    return scratch.template at<const T>(0) + ((n * channels + c) * height + y) * width;
  }
};

template <typename T>
REFILM_INLINE void multiply_add(T* __restrict sum, const T* __restrict a, const T* __restrict b, int64_t count) {
  for (int64_t x = 0; x < count; x++) sum[x] += a[x] * b[x];
}

// For C channels and a vector of pixels: the sum over the taps. `pixels` is where the first tap reads.
template <int C, typename T>
REFILM_INLINE void filter_vector(const DynamicFilter<T>& p, const Padded<T>& frame, const T* __restrict filter,
                                 const T* __restrict pixels, T* __restrict out, int64_t count) {
  constexpr int L = LANES_OF<T>;
  const int64_t step = p.parts() * p.plane(), plane = frame.height * frame.width, out_plane = p.parts() * p.plane();
  VectorOf<T> sum[C] = {};
  for (int64_t j = 0; j < p.size; j++, pixels += frame.width)
    for (int64_t i = 0; i < p.size; i++, filter += step) {
      __builtin_prefetch(filter + p.width);  // the next row: there are too many streams for the hardware prefetcher
      VectorOf<T> coefficient = {};
      if (count >= L) coefficient = load_vector(filter);
      else for (int k = 0; k < count; k++) coefficient[k] = filter[k];
      REFILM_UNROLL for (int c = 0; c < C; c++) sum[c] += coefficient * load_vector(pixels + c * plane + i);
    }
  for (int c = 0; c < C; c++)
    for (int k = 0; k < smaller<int64_t>(L, count); k++) out[c * out_plane + k * p.scale] = sum[c][k];
}

template <int C, typename T>
void filter_rows(const DynamicFilter<T>& p, const Padded<T>& frame, int64_t n, int64_t c, int64_t part, int64_t first,
                 int64_t last, T* out) {
  constexpr int L = LANES_OF<T>;
  for (int64_t y = first; y < last; y++) {
    const T* filter = p.filters + p.filter(n, 0, part, y);
    const T* pixels = frame.row(n, c, y);
    const int64_t row = (n * p.channels + c) * p.height * p.scale + y * p.scale + part / p.scale;
    T* to = out + row * p.width * p.scale + part % p.scale;
    for (int64_t x = 0; x < p.width; x += L) {
      // the last vector of a row begins earlier, so that it ends with the row
      const int64_t at = p.width < L ? 0 : smaller(x, p.width - L);
      filter_vector<C>(p, frame, filter + at, pixels + at, to + at * p.scale, p.width - at);
    }
  }
}

// frame, filters -> out
template <typename T>
void forward(const Call& call) {
  constexpr int64_t ROWS = 8;  // at a time
  const DynamicFilter<T> p(call.arrays[0], call.arrays[1]);
  const Padded<T> frame(p, (const T*)call.arrays[0].data);
  T* out = (T*)call.arrays[2].data;
  const int64_t down = (p.height + ROWS - 1) / ROWS;
#pragma omp parallel for schedule(dynamic, 1) num_threads(call.threads)
  for (int64_t job = 0; job < p.batch * down * p.parts(); job++) {
    const int64_t n = job / p.parts() / down, part = job % p.parts(), first = job / p.parts() % down * ROWS;
    const int64_t last = smaller(first + ROWS, p.height);
    int64_t c = 0;
    for (; c + 3 <= p.channels; c += 3) filter_rows<3>(p, frame, n, c, part, first, last, out);
    for (; c < p.channels; c++) filter_rows<1>(p, frame, n, c, part, first, last, out);
  }
}

// grad, frame, filters -> frame_grad, filters_grad
template <typename T>
void backward(const Call& call) {
  const Array* a = call.arrays;
  const DynamicFilter<T> p(a[1], a[2]);
  const Padded<T> frame(p, (const T*)a[1].data);
  const T* grad = (const T*)a[0].data;
  T *frame_grad = (T*)a[3].data, *filters_grad = (T*)a[4].data;
  const int64_t C = p.channels, W = p.width, parts = p.parts();
  const Scratch shuffled(p.batch * p.height * parts * C * W * sizeof(T), false);  // the gradient as [N, H, s*s, C, W]
  T* const above = shuffled.at<T>(0);
  Layout layout;
  const int64_t products_at = layout.add(C * W, sizeof(T)), sums_at = layout.add(C * frame.width, sizeof(T));
  const Scratch scratch(layout.bytes * call.threads, false);
#pragma omp parallel num_threads(call.threads)
  {
    T* const products = scratch.at<T>(omp_get_thread_num() * layout.bytes + products_at);  // [C, W]
    T* const sums = scratch.at<T>(omp_get_thread_num() * layout.bytes + sums_at);          // [C, W + K - 1]
#pragma omp for schedule(static)
    for (int64_t job = 0; job < p.batch * p.height; job++) {
      const int64_t n = job / p.height, y = job % p.height;
      for (int64_t part = 0; part < parts; part++)
        for (int64_t c = 0; c < C; c++) {
          const int64_t row = (n * C + c) * p.height * p.scale + y * p.scale + part / p.scale;
          const T* from = grad + row * W * p.scale + part % p.scale;
          T* to = above + ((job * parts + part) * C + c) * W;
          for (int64_t x = 0; x < W; x++) to[x] = from[x * p.scale];
        }
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < p.batch * p.height; job++) {
      const int64_t n = job / p.height, y = job % p.height;
      if (filters_grad)
        for (int64_t tap = 0; tap < p.size * p.size; tap++)
          for (int64_t part = 0; part < parts; part++) {
            T* to = filters_grad + p.filter(n, tap, part, y);
            memset(to, 0, sizeof(T) * W);
            for (int64_t c = 0; c < C; c++)
              multiply_add(to, above + ((job * parts + part) * C + c) * W,
                           frame.row(n, c, y + tap / p.size) + tap % p.size, W);
          }
      if (frame_grad) {
        // what reaches row y, from the rows of the output that have it in reach
        memset(sums, 0, sizeof(T) * C * frame.width);
        for (int64_t j = 0; j < p.size; j++) {
          const int64_t from = y + p.half - j;
          if (from < 0 || from >= p.height) continue;
          for (int64_t i = 0; i < p.size; i++) {
            memset(products, 0, sizeof(T) * C * W);
            for (int64_t part = 0; part < parts; part++)
              for (int64_t c = 0; c < C; c++)
                multiply_add(products + c * W, p.filters + p.filter(n, j * p.size + i, part, from),
                             above + (((n * p.height + from) * parts + part) * C + c) * W, W);
            for (int64_t c = 0; c < C; c++)
              for (int64_t x = 0; x < W; x++) sums[c * frame.width + x + i] += products[c * W + x];
          }
        }
        for (int64_t c = 0; c < C; c++)
          memcpy(frame_grad + ((n * C + c) * p.height + y) * W, sums + c * frame.width + p.half, sizeof(T) * W);
      }
    }
  }
}

}  // namespace

extern const Kernel dynamic_filter_forward, dynamic_filter_backward;
const Kernel dynamic_filter_forward = {"dynamic_filter_forward", forward<float>, forward<double>};
const Kernel dynamic_filter_backward = {"dynamic_filter_backward", backward<float>, backward<double>};

}  // namespace refilm::REFILM_ISA
