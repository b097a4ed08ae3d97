// Blending along motion on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name. All that a new
// pixel needs is computed while it is at hand, LANES pixels at a time: done step by step over whole pictures, most of the
// time went into writing and reading what lies between the steps.
#include <omp.h>

#include "../cpp/call.hpp"
#include "../cpp/vector.hpp"

namespace refilm::REFILM_ISA {
namespace {

struct Point {
  Vector x, y;
};

// Bilinear sampling at LANES positions, clamped to the frame. The taps of a row are neighbours and read as pairs.
struct Footprint {
  Ints place[2];
  Vector weight[4];

  REFILM_INLINE Footprint(Point at, int width, int height) {
    const Vector x = clamped(at.x, width - 1), y = clamped(at.y, height - 1);
    Ints left = __builtin_convertvector(x, Ints), top = __builtin_convertvector(y, Ints);
    left = left < width - 2 ? left : width - 2 - Ints{};  // of the last pixel, too, there is a pair
    const Vector right = x - __builtin_convertvector(left, Vector), down = y - __builtin_convertvector(top, Vector);
    place[0] = top * width + left;
    place[1] = place[0] + (top < height - 1 ? width - Ints{} : Ints{});
    weight[0] = (1 - down) * (1 - right), weight[1] = (1 - down) * right;
    weight[2] = down * (1 - right), weight[3] = down * right;
  }
  static REFILM_INLINE Vector clamped(Vector position, float last) {
    position = position > 0 ? position : Vector{};
    return position < last ? position : broadcast(last);
  }
  REFILM_INLINE Vector sample(const float* plane) const {
    Vector a, b, c, d;
    read_pairs(plane, place[0], a, b), read_pairs(plane, place[1], c, d);
    return (weight[0] * a + weight[1] * b) + (weight[2] * c + weight[3] * d);
  }
};

struct Blend {
  int64_t batch, channels, length, plane;  // length: frames of the clip
  int width, height, first, last, steps;
  float time, occlusion, floor, border;
  const float *motion, *clip;

  // 1 in the frame, falling outside
  REFILM_INLINE Vector visibility(Point at) const {
    const Vector x = at.x - Footprint::clamped(at.x, width - 1), y = at.y - Footprint::clamped(at.y, height - 1);
    Vector weight = broadcast(1);
    if (all((x == 0) & (y == 0))) return weight;
    for (int k = 0; k < LANES; k++)
      weight[k] = larger(1e-3f, __builtin_expf(-(__builtin_fabsf(x[k]) + __builtin_fabsf(y[k])) / border));
    return weight;
  }

  // The motion at LANES pixels: the displacement so far, and over the whole interval.
  struct Motion {
    Point gone, flow;
  };
  template <typename Read>
  REFILM_INLINE Motion motion_of(const float* planes, float elapsed, const Read& read) const {
    const Point flow = {read(planes), read(planes + plane)};
    const float half = elapsed * (1 - elapsed) / 2;
    return {{elapsed * flow.x - half * read(planes + 2 * plane), elapsed * flow.y - half * read(planes + 3 * plane)}, flow};
  }

  void row(int64_t n, int64_t y, float* out) const {
    Vector lanes;
    for (int k = 0; k < LANES; k++) lanes[k] = k;
    for (int64_t x = 0; x < width; x += LANES) {
      const int64_t count = smaller<int64_t>(LANES, width - x);
      const Point here = {float(x) + lanes, broadcast(y)};
      const auto at_once = [&](const float* planes) {
        Vector v = {};
        memcpy(&v, planes + y * width + x, sizeof(float) * count);
        return v;
      };
      // of four samples: from the origin of each motion and from the other frame
      const Footprint nothing({Vector{}, Vector{}}, width, height);
      Footprint taps[4] = {nothing, nothing, nothing, nothing};
      Vector vote[4], votes = {};
      for (int origin = 0; origin < 2; origin++) {
        const float elapsed = origin ? 1 - time : time;
        const float* own = motion + (origin * batch + n) * 4 * plane;
        const float* other = motion + ((1 - origin) * batch + n) * 4 * plane;
        Motion m = motion_of(own, elapsed, at_once);
        for (int step = 0; step < steps; step++) {
          const Footprint from({here.x - m.gone.x, here.y - m.gone.y}, width, height);
          m = motion_of(own, elapsed, [&](const float* planes) { return from.sample(planes); });
        }
        const Point start = {here.x - m.gone.x, here.y - m.gone.y};
        const Point end = {here.x + (m.flow.x - m.gone.x), here.y + (m.flow.y - m.gone.y)};
        taps[2 * origin] = Footprint(start, width, height), taps[2 * origin + 1] = Footprint(end, width, height);
        const Vector off_x = m.flow.x + taps[2 * origin + 1].sample(other);
        const Vector off_y = m.flow.y + taps[2 * origin + 1].sample(other + plane);
        const Vector consistency = 1 / (1 + (off_x * off_x + off_y * off_y) / (occlusion * occlusion));
        const Vector trust = floor + (1 - floor) * consistency;
        vote[2 * origin] = trust * (1 - elapsed) * visibility(start);
        vote[2 * origin + 1] = trust * elapsed * visibility(end);
        votes += vote[2 * origin] + vote[2 * origin + 1];
      }
      for (int64_t c = 0; c < channels; c++) {
        // the pair in the middle of the clip
        const float *before = clip + ((n * channels + c) * length + length / 2 - 1) * plane, *after = before + plane;
        Vector sum = vote[0] * taps[0].sample(before) + vote[1] * taps[1].sample(after);
        sum += vote[2] * taps[2].sample(after) + vote[3] * taps[3].sample(before);
        sum /= votes;
        memcpy(out + ((n * channels + c) * (last - first) + y - first) * width + x, &sum, sizeof(float) * count);
      }
    }
  }
};

// motion, clip -> out; time, steps, occlusion, floor, border, first row, last row
void forward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t* shape = a[1].shape;
  const double* number = call.numbers;
  Blend blend;
  blend.batch = shape[0], blend.channels = shape[1], blend.length = shape[2];
  blend.height = shape[3], blend.width = shape[4], blend.plane = shape[3] * shape[4];
  blend.motion = (const float*)a[0].data, blend.clip = (const float*)a[1].data;
  blend.time = number[0], blend.steps = number[1];
  blend.occlusion = number[2], blend.floor = number[3], blend.border = number[4];
  blend.first = number[5], blend.last = number[6];
  const int64_t rows = blend.last - blend.first;
#pragma omp parallel for schedule(dynamic, 4) num_threads(call.threads)
  for (int64_t job = 0; job < blend.batch * rows; job++)
    blend.row(job / rows, blend.first + job % rows, (float*)a[2].data);
}

}  // namespace

extern const Kernel motion_blend_forward;
const Kernel motion_blend_forward = {"motion_blend_forward", forward, nullptr};

}  // namespace refilm::REFILM_ISA
