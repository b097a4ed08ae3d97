// How Python calls the kernels of an operator: with contiguous arrays of one type, float or double, inputs before outputs,
// and numbers. The array of an output that is not wanted has no data.
#pragma once
#include <cstdint>

namespace refilm {

constexpr int MOST_ARRAYS = 8, MOST_DIMENSIONS = 5, MOST_NUMBERS = 8;

struct Array {
  void* data;
  int64_t shape[MOST_DIMENSIONS];
};

struct Call {
  Array arrays[MOST_ARRAYS];
  double numbers[MOST_NUMBERS];
  int threads;
};

struct Kernel {
  const char* name;
  void (*for_float)(const Call&);
  void (*for_double)(const Call&);
};

}  // namespace refilm
