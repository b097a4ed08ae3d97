// Flow projection on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name.
#include <omp.h>

#include "../cpp/bands.hpp"
#include "../cpp/four.hpp"

namespace refilm::REFILM_ISA {
namespace {

constexpr int64_t WIDE = 16;  // most pixels of a row at a time

// Where a row of up to WIDE pixels lands: the pixel above and to the left of it; -1 outside the frame.
struct Landing {
  int left[WIDE], top[WIDE];
};

template <typename T>
REFILM_INLINE void land(const T* __restrict dx, const T* __restrict dy, int x, int y, int count, int width, int height,
                        Landing& __restrict to) {
  const T right_most = width - 1, lowest = height - 1;
  for (int k = 0; k < count; k++) {
    const T u = T(x + k) + dx[k], v = y + dy[k];
    const bool inside = (u >= 0) & (u <= right_most) & (v >= 0) & (v <= lowest);
    to.left[k] = inside ? (int)u : -1;
    to.top[k] = inside ? (int)v : -1;
  }
}

// The sums of weight * -dx, weight * -dy and weight at the pixels of a band; then the mean where anything landed.
template <typename T>
void throw_and_mean(const T* flow, const T* weight, int64_t batch, int64_t height, int64_t width, T* out, T* weights,
                    int threads) {
  const Bands bands(batch, height, threads);
  const int64_t plane = height * width, ld = width + 1;  // a column more for what falls off to the right
  const int64_t bytes = round_up(bands.rows * ld * sizeof(Four<T>), 64);
  const Scratch scratch(bytes * threads, false);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t job = 0; job < batch * bands.count; job++) {
    Four<T>* const sums = scratch.at<Four<T>>(omp_get_thread_num() * bytes);
    const int64_t n = job / bands.count, first = job % bands.count * bands.rows;
    const int64_t last = smaller(first + bands.rows, height);
    memset(sums, 0, sizeof(Four<T>) * (last - first) * ld);
    const T *dx = flow + 2 * n * plane, *dy = dx + plane, *own = weight + n * plane;
    const unsigned rows = last - first;
    Landing landing;
    for (int64_t y = 0; y < height; y++)
      for (int64_t x = 0; x < width; x += WIDE) {
        const int64_t at = y * width + x;
        const int count = smaller(WIDE, width - x);
        land(dx + at, dy + at, x, y, count, width, height, landing);
        int highest = -1;
        for (int k = 0; k < count; k++) highest = larger(highest, landing.top[k]);
        if (highest + 1 < first) continue;
        for (int k = 0; k < count; k++) {
          const unsigned upper = landing.top[k] - (int)first, lower = upper + 1;  // rows of the band
          if (landing.top[k] < 0 || (upper >= rows && lower >= rows)) continue;
          const T w = own[at + k];
          const Four<T> thrown = {-dx[at + k] * w, -dy[at + k] * w, w, 0};
          Four<T>* to = sums + (int)upper * ld + landing.left[k];
          if (upper < rows) to[0] += thrown, to[1] += thrown;
          if (lower < rows) to[ld] += thrown, to[ld + 1] += thrown;
        }
      }
    for (int64_t y = first; y < last; y++) {
      const Four<T>* from = sums + (y - first) * ld;
      T *to_x = out + 2 * n * plane + y * width, *to_y = to_x + plane, *to_weight = weights + n * plane + y * width;
      for (int64_t x = 0; x < width; x++) {
        const T total = from[x][2], divisor = total > 0 ? total : T(1);
        to_x[x] = from[x][0] / divisor, to_y[x] = from[x][1] / divisor, to_weight[x] = total;
      }
    }
  }
}

template <typename T>
REFILM_INLINE bool all_filled(const T* weights, int64_t count) {
  bool all = true;
  for (int64_t k = 0; k < count; k++) all &= weights[k] > 0;
  return all;
}

// Gives holes the mean of the nearest filled pixels in four directions. First columns, in strips for the threads: the sums
// of the nearest above and below go into the holes. Then rows.
template <typename T>
void fill_holes(int64_t batch, int64_t height, int64_t width, T* out, const T* weights, int threads) {
  constexpr int64_t STRIP = 64;
  const int64_t plane = height * width, across = (width + STRIP - 1) / STRIP;
  const Scratch found(batch * plane);  // how many of the nearest above and below there are, for each hole
  uint8_t* const counts = found.at<uint8_t>(0);
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < batch * across; job++) {
      const int64_t n = job / across, x0 = job % across * STRIP, strip = smaller(STRIP, width - x0);
      const T* filled = weights + n * plane + x0;
      T *to_x = out + 2 * n * plane + x0, *to_y = to_x + plane;
      uint8_t* const count = counts + n * plane + x0;
      for (int direction = 0; direction < 2; direction++) {
        // of each column, the filled pixel before the holes that we are in
        T near_x[STRIP], near_y[STRIP];
        uint8_t any[STRIP] = {};
        const int64_t back = direction ? width : -width;
        for (int64_t step = 0; step < height; step++) {
          const int64_t row = (direction ? height - 1 - step : step) * width;
          for (int64_t x = 0; x < strip; x += WIDE) {
            const int64_t end = smaller(strip, x + WIDE);
            if (all_filled(filled + row + x, end - x)) continue;
            for (int64_t k = x; k < end; k++) {
              const int64_t hole = row + k;
              if (filled[hole] > 0) continue;
              if (step > 0 && filled[hole + back] > 0) near_x[k] = to_x[hole + back], near_y[k] = to_y[hole + back], any[k] = 1;
              if (direction == 0) to_x[hole] = to_y[hole] = 0;
              if (any[k]) to_x[hole] += near_x[k], to_y[hole] += near_y[k], count[hole]++;
            }
          }
        }
      }
    }
#pragma omp for schedule(dynamic, 4)
    for (int64_t job = 0; job < batch * height; job++) {
      const int64_t n = job / height, row = job % height * width;
      const T* filled = weights + n * plane + row;
      T *to_x = out + 2 * n * plane + row, *to_y = to_x + plane;
      uint8_t* const count = counts + n * plane + row;
      for (int64_t x = 0; x < width;) {
        if (x + WIDE <= width && all_filled(filled + x, WIDE)) {
          x += WIDE;
          continue;
        }
        if (filled[x] > 0) {
          x++;
          continue;
        }
        int64_t end = x;  // of the holes that begin here
        while (end < width && !(filled[end] > 0)) end++;
        const bool left = x > 0, right = end < width;
        for (int64_t hole = x; hole < end; hole++) {
          T sum_x = to_x[hole], sum_y = to_y[hole];
          if (left) sum_x += to_x[x - 1], sum_y += to_y[x - 1];
          if (right) sum_x += to_x[end], sum_y += to_y[end];
          const T directions = larger(1, count[hole] + left + right);
          to_x[hole] = sum_x / directions, to_y[hole] = sum_y / directions;
        }
        x = end;
      }
    }
  }
}

// flow, weight -> out, weights
template <typename T>
void forward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t batch = a[0].shape[0], height = a[0].shape[2], width = a[0].shape[3];
  T *out = (T*)a[2].data, *weights = (T*)a[3].data;
  throw_and_mean((const T*)a[0].data, (const T*)a[1].data, batch, height, width, out, weights, call.threads);
  fill_holes(batch, height, width, out, weights, call.threads);
}

// The mean m at a pixel is the sum of w * -f over the sum s of w. So with g the gradient of m, what lands there gets
// -w g / s for its f, and -(f + m) . g / s for its w.
// grad, flow, weight, out, weights -> flow_grad, weight_grad
template <typename T>
void backward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t batch = a[0].shape[0], height = a[0].shape[2], width = a[0].shape[3], plane = height * width;
  const T *grad = (const T*)a[0].data, *flow = (const T*)a[1].data, *weight = (const T*)a[2].data;
  const T *out = (const T*)a[3].data, *weights = (const T*)a[4].data;
  T *flow_grad = (T*)a[5].data, *weight_grad = (T*)a[6].data;
  const int64_t ld = width + 1, rows = height + 1;  // a row and a column more, of zeros
  const Scratch scratch(batch * rows * ld * sizeof(Four<T>), false);
  Four<T>* const shares = scratch.at<Four<T>>(0);  // g_x / s, g_y / s, m . g / s
#pragma omp parallel num_threads(call.threads)
  {
#pragma omp for schedule(static)
    for (int64_t job = 0; job < batch * rows; job++) {
      const int64_t n = job / rows, y = job % rows;
      Four<T>* to = shares + job * ld;
      memset(to, 0, sizeof(Four<T>) * ld);
      if (y == height) continue;
      const T *gx = grad + 2 * n * plane + y * width, *gy = gx + plane;
      const T *mx = out + 2 * n * plane + y * width, *my = mx + plane, *s = weights + n * plane + y * width;
      for (int64_t x = 0; x < width; x++)
        if (s[x] > 0) to[x] = Four<T>{gx[x] / s[x], gy[x] / s[x], (mx[x] * gx[x] + my[x] * gy[x]) / s[x], 0};
    }
#pragma omp for schedule(static)
    for (int64_t job = 0; job < batch * height; job++) {
      const int64_t n = job / height, y = job % height;
      const int64_t at = 2 * n * plane + y * width, single = n * plane + y * width;
      const T *dx = flow + at, *dy = dx + plane;
      Landing landing;
      for (int64_t x0 = 0; x0 < width; x0 += WIDE) {
        const int count = smaller(WIDE, width - x0);
        land(dx + x0, dy + x0, x0, y, count, width, height, landing);
        for (int k = 0; k < count; k++) {
          const int64_t x = x0 + k;
          Four<T> sum = {};
          if (landing.top[k] >= 0) {
            const Four<T>* from = shares + (n * rows + landing.top[k]) * ld + landing.left[k];
            sum = (from[0] + from[1]) + (from[ld] + from[ld + 1]);
          }
          if (flow_grad) flow_grad[at + x] = -weight[single + x] * sum[0], flow_grad[at + plane + x] = -weight[single + x] * sum[1];
          if (weight_grad) weight_grad[single + x] = -(dx[x] * sum[0] + dy[x] * sum[1] + sum[2]);
        }
      }
    }
  }
}

}  // namespace

extern const Kernel flow_projection_forward, flow_projection_backward;
const Kernel flow_projection_forward = {"flow_projection_forward", forward<float>, forward<double>};
const Kernel flow_projection_backward = {"flow_projection_backward", backward<float>, backward<double>};

}  // namespace refilm::REFILM_ISA
