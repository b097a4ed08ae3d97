// Position-sensitive pooling on a CPU. Compiled once for each instruction set, with REFILM_ISA set to its name.
//
// The reference multiplies matrices over all places of the map, of which a bin covers one or a few. Here only these are
// read: a region of 40 pixels at a stride of 16 has bins of a third of a place.
#include <omp.h>

#include <cmath>

#include "../cpp/call.hpp"
#include "../cpp/vector.hpp"

namespace refilm::REFILM_ISA {
namespace {

// Least length of a bin's sides, in places of the map, as in reference.py.
constexpr double SHORTEST = 1.0 / 1024;

// The places of a side that a bin covers: from `first` on, before `last`.
template <typename T>
struct Span {
  T begin, end, size;
  int64_t first, last;

  Span(T low, T high, int64_t bin, int64_t bins, int64_t length) {
    size = larger<T>((high - low) / T(bins), T(SHORTEST));
    begin = low + size * T(bin), end = begin + size;
    // boxes may lie anywhere, or be no numbers at all
    first = begin > 0 ? int64_t(smaller<T>(std::floor(begin), T(length))) : 0;
    last = end > 0 ? int64_t(smaller<T>(std::ceil(end), T(length))) : 0;
  }
  // share of the bin that lies in a place
  T share(int64_t place) const {
    return larger<T>(smaller<T>(end, T(place + 1)) - larger<T>(begin, T(place)), T(0)) / size;
  }
};

// maps [N, bins * bins * C, H, W], boxes [N, R, 4] -> out [N, R, C, bins, bins]; bins
template <typename T>
void forward(const Call& call) {
  const Array* a = call.arrays;
  const int64_t bins = call.numbers[0], height = a[0].shape[2], width = a[0].shape[3], plane = height * width;
  const int64_t batch = a[1].shape[0], regions = a[1].shape[1], channels = a[2].shape[2];
  const T *maps = (const T*)a[0].data, *boxes = (const T*)a[1].data;
  T* out = (T*)a[2].data;
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (int64_t job = 0; job < batch * regions; job++) {
    const T* box = boxes + 4 * job;
    const T* own = maps + job / regions * bins * bins * channels * plane;
    T* to = out + job * channels * bins * bins;
    for (int64_t i = 0; i < bins; i++) {
      const Span<T> down(box[1], box[3], i, bins, height);
      for (int64_t j = 0; j < bins; j++) {
        const Span<T> across(box[0], box[2], j, bins, width);
        const T* map = own + (i * bins + j) * channels * plane;
        for (int64_t c = 0; c < channels; c++, map += plane) {
          T sum = 0;
          for (int64_t y = down.first; y < down.last; y++) {
            T row = 0;
            for (int64_t x = across.first; x < across.last; x++) row += across.share(x) * map[y * width + x];
            sum += down.share(y) * row;
          }
          to[(c * bins + i) * bins + j] = sum;
        }
      }
    }
  }
}

}  // namespace

extern const Kernel position_sensitive_pooling_forward;
const Kernel position_sensitive_pooling_forward = {"position_sensitive_pooling_forward", forward<float>, forward<double>};

}  // namespace refilm::REFILM_ISA
