// Backward warping on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name.
#include "../cpp/warp.hpp"

namespace refilm::REFILM_ISA {
namespace {

template <typename T>
struct BackwardWarp {
  MapShape shape;
  const T* flow;
  T* flow_grad;

  int64_t taps() const { return 4; }  // top left, top right, bottom left, bottom right

  // Positions far outside and no numbers become positions just outside, which fit an int.
  static REFILM_INLINE T near(T position, T size) {
    position = position > -2 ? position : T(-2);
    return position < size + 1 ? position : size + 1;
  }
  static REFILM_INLINE int floor_of(T position) {
    const int whole = (int)position;
    return whole - (whole > position);
  }

  const T* flow_at(const Run& run, int axis) const {
    return flow + (2 * run.n + axis) * shape.plane() + run.y * shape.width + run.x;
  }

  void rows(const Run& run, int& top, int& bottom) const {
    const T* dy = flow_at(run, 1);
    const T height = shape.height;
    top = shape.height, bottom = -2;
    for (int k = 0; k < run.count; k++) {
      const int row = floor_of(near(run.y + dy[k], height));
      top = smaller(top, row), bottom = larger(bottom, row);
    }
    bottom++;
  }

  REFILM_INLINE void fractions(const Run& run, int* left, int* top, T* right, T* down) const {
    const T width = shape.width, height = shape.height;
    T dx[WIDE], dy[WIDE];
    read_run(dx, flow_at(run, 0), run.count), read_run(dy, flow_at(run, 1), run.count);
    for (int k = 0; k < WIDE; k++) {
      const T u = near(run.x + k + dx[k], width), v = near(run.y + dy[k], height);
      left[k] = floor_of(u), top[k] = floor_of(v);
      right[k] = u - left[k], down[k] = v - top[k];
    }
  }

  void locate(const Run& run, const Taps<T>& taps) const {
    const int width = shape.width, height = shape.height;
    int left[WIDE], top[WIDE];
    T right[WIDE], down[WIDE];
    fractions(run, left, top, right, down);
    for (int tap = 0; tap < 4; tap++)
      for (int k = 0; k < WIDE; k++) {
        const int row = top[k] + tap / 2, column = left[k] + tap % 2;
        const bool inside = ((unsigned)row < (unsigned)height) & ((unsigned)column < (unsigned)width);
        taps.place[tap * WIDE + k] = (inside ? row * width + column : height * width) * (unsigned)sizeof(Four<T>);
        taps.weight[tap * WIDE + k] = (tap / 2 ? down[k] : 1 - down[k]) * (tap % 2 ? right[k] : 1 - right[k]);
      }
  }

  void differentiate(const Run& run, const Taps<T>& taps) const {
    int left[WIDE], top[WIDE];
    T right[WIDE], down[WIDE], to_dx[WIDE], to_dy[WIDE];
    fractions(run, left, top, right, down);
    const T *tl = taps.product, *tr = tl + WIDE, *bl = tr + WIDE, *br = bl + WIDE;
    for (int k = 0; k < WIDE; k++) {
      to_dx[k] = (1 - down[k]) * (tr[k] - tl[k]) + down[k] * (br[k] - bl[k]);
      to_dy[k] = (1 - right[k]) * (bl[k] - tl[k]) + right[k] * (br[k] - tr[k]);
    }
    T* to = flow_grad + 2 * run.n * shape.plane() + run.y * shape.width + run.x;
    write_run(to, to_dx, run.count), write_run(to + shape.plane(), to_dy, run.count);
  }
};

// frame, flow -> out
template <typename T>
void forward(const Call& call) {
  const Array* a = call.arrays;
  const BackwardWarp<T> op = {MapShape(a[0]), (const T*)a[1].data, nullptr};
  warp(op, (const T*)a[0].data, (T*)a[2].data, call.threads);
}

// grad, frame, flow -> frame_grad, flow_grad
template <typename T>
void backward(const Call& call) {
  const Array* a = call.arrays;
  const BackwardWarp<T> op = {MapShape(a[1]), (const T*)a[2].data, (T*)a[4].data};
  const T* grad = (const T*)a[0].data;
  if (op.flow_grad) warp_slopes(op, grad, (const T*)a[1].data, call.threads);
  if (a[3].data) warp_frame_grad(op, grad, (T*)a[3].data, call.threads);
}

}  // namespace

extern const Kernel backward_warp_forward, backward_warp_backward;
const Kernel backward_warp_forward = {"backward_warp_forward", forward<float>, forward<double>};
const Kernel backward_warp_backward = {"backward_warp_backward", backward<float>, backward<double>};

}  // namespace refilm::REFILM_ISA
