// Adaptive warping on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name.
#include "../cpp/warp.hpp"

namespace refilm::REFILM_ISA {
namespace {

template <typename T>
struct AdaptiveWarp {
  MapShape shape;
  int size;  // R
  const T *flow, *kernel;
  T *flow_grad, *kernel_grad;

  int64_t taps() const { return size * size; }

  // The position along one axis, clamped to the frame; a position that is no number stays so.
  static REFILM_INLINE T clamped(T position, T last) {
    position = position < 0 ? T(0) : position;
    return position > last ? last : position;
  }
  static REFILM_INLINE int whole(T position) { return position >= 0 ? (int)position : 0; }
  static REFILM_INLINE int inside(int place, int last) { return place < 0 ? 0 : place > last ? last : place; }

  const T* flow_at(const Run& run, int axis) const {
    return flow + (2 * run.n + axis) * shape.plane() + run.y * shape.width + run.x;
  }

  void rows(const Run& run, int& top, int& bottom) const {
    const T* dy = flow_at(run, 1);
    const int last = shape.height - 1;
    top = last, bottom = 0;
    for (int k = 0; k < run.count; k++) {
      const int row = whole(clamped(run.y + dy[k], last));
      top = smaller(top, row), bottom = larger(bottom, row);
    }
    top = inside(top + 1 - size / 2, last), bottom = inside(bottom + size / 2, last);
  }

  void locate(const Run& run, const Taps<T>& taps) const {
    const int width = shape.width, height = shape.height, half = size / 2;
    constexpr unsigned pixel = sizeof(Four<T>);
    T u[WIDE], v[WIDE];
    int left[WIDE], top[WIDE];
    read_run(u, flow_at(run, 0), run.count), read_run(v, flow_at(run, 1), run.count);
    for (int k = 0; k < WIDE; k++) {
      u[k] = clamped(run.x + k + u[k], width - 1), v[k] = clamped(run.y + v[k], height - 1);
      left[k] = whole(u[k]), top[k] = whole(v[k]);
      u[k] -= left[k], v[k] -= top[k];
      left[k] += 1 - half, top[k] += 1 - half;
    }
    const T* coefficients = kernel + run.n * taps_plane() + run.y * shape.width + run.x;
    for (int j = 0; j < size; j++) {
      unsigned row[WIDE];
      T share_y[WIDE];
      for (int k = 0; k < WIDE; k++) {
        row[k] = inside(top[k] + j, height - 1) * width * pixel;
        share_y[k] = j < half ? 1 - v[k] : v[k];
      }
      for (int i = 0; i < size; i++) {
        const int64_t tap = j * size + i, at = tap * WIDE;
        const T* own = coefficients + tap * shape.plane();
        // the run after the next: there are too many streams for the hardware prefetcher
        for (int64_t ahead = 0; ahead < WIDE; ahead += 64 / sizeof(T)) __builtin_prefetch(own + 2 * WIDE + ahead);
        read_run(taps.weight + at, own, run.count);
        for (int k = 0; k < WIDE; k++) {
          taps.place[at + k] = row[k] + inside(left[k] + i, width - 1) * pixel;
          taps.share[at + k] = share_y[k] * (i < half ? 1 - u[k] : u[k]);
          taps.weight[at + k] *= taps.share[at + k];
        }
      }
    }
  }

  int64_t taps_plane() const { return taps() * shape.plane(); }

  void differentiate(const Run& run, const Taps<T>& taps) const {
    const int half = size / 2;
    const int64_t place = run.n * taps_plane() + run.y * shape.width + run.x;
    T quadrant[2][2][WIDE] = {};
    for (int j = 0; j < size; j++)
      for (int i = 0; i < size; i++) {
        const int64_t tap = j * size + i;
        T own[WIDE], slope[WIDE];
        read_run(own, kernel + place + tap * shape.plane(), run.count);
        T* sum = quadrant[j >= half][i >= half];
        for (int k = 0; k < WIDE; k++) {
          const T product = taps.product[tap * WIDE + k];
          sum[k] += own[k] * product;
          slope[k] = taps.share[tap * WIDE + k] * product;
        }
        if (kernel_grad) write_run(kernel_grad + place + tap * shape.plane(), slope, run.count);
      }
    if (!flow_grad) return;
    const T right_most = shape.width - 1, lowest = shape.height - 1;
    T dx[WIDE], dy[WIDE], to_dx[WIDE], to_dy[WIDE];
    read_run(dx, flow_at(run, 0), run.count), read_run(dy, flow_at(run, 1), run.count);
    for (int k = 0; k < WIDE; k++) {
      const T x = run.x + k + dx[k], y = run.y + dy[k];
      const T u = clamped(x, right_most), v = clamped(y, lowest), a = u - whole(u), b = v - whole(v);
      const T tl = quadrant[0][0][k], tr = quadrant[0][1][k], bl = quadrant[1][0][k], br = quadrant[1][1][k];
      // a position that was clamped does not move with the flow
      to_dx[k] = u == x ? (1 - b) * (tr - tl) + b * (br - bl) : T(0);
      to_dy[k] = v == y ? (1 - a) * (bl - tl) + a * (br - tr) : T(0);
    }
    T* to = flow_grad + 2 * run.n * shape.plane() + run.y * shape.width + run.x;
    write_run(to, to_dx, run.count), write_run(to + shape.plane(), to_dy, run.count);
  }
};

template <typename T>
AdaptiveWarp<T> problem(const Array* frame, const Array* grads) {
  const int64_t taps = frame[2].shape[1];
  int size = 2;
  while (size * size < taps) size += 2;
  return {MapShape(frame[0]), size, (const T*)frame[1].data, (const T*)frame[2].data,
          grads ? (T*)grads[1].data : nullptr, grads ? (T*)grads[2].data : nullptr};
}

// frame, flow, kernel -> out
template <typename T>
void forward(const Call& call) {
  const Array* a = call.arrays;
  warp(problem<T>(a, nullptr), (const T*)a[0].data, (T*)a[3].data, call.threads);
}

// grad, frame, flow, kernel -> frame_grad, flow_grad, kernel_grad
template <typename T>
void backward(const Call& call) {
  const Array* a = call.arrays;
  const AdaptiveWarp<T> op = problem<T>(a + 1, a + 4);
  const T* grad = (const T*)a[0].data;
  if (op.flow_grad || op.kernel_grad) warp_slopes(op, grad, (const T*)a[1].data, call.threads);
  if (a[4].data) warp_frame_grad(op, grad, (T*)a[4].data, call.threads);
}

}  // namespace

extern const Kernel adaptive_warp_forward, adaptive_warp_backward;
const Kernel adaptive_warp_forward = {"adaptive_warp_forward", forward<float>, forward<double>};
const Kernel adaptive_warp_backward = {"adaptive_warp_backward", backward<float>, backward<double>};

}  // namespace refilm::REFILM_ISA
