// Memory for the threads of a kernel.
#pragma once
#include <cstdlib>
#include <new>

#include "vector.hpp"

namespace refilm::REFILM_ISA {

// Memory for all threads. It is allocated before they start, because nothing may throw in a parallel region.
class Scratch {
 public:
  explicit Scratch(int64_t bytes, bool zero = true) : data_(aligned_alloc(64, round_up(larger<int64_t>(bytes, 64), 64))) {
    if (!data_) throw std::bad_alloc();
    if (zero) memset(data_, 0, bytes);
  }
  ~Scratch() { free(data_); }
  Scratch(const Scratch&) = delete;
  template <typename T>
  T* at(int64_t byte) const { return (T*)((char*)data_ + byte); }

 private:
  void* data_;
};

// The arrays of one thread in a Scratch, by their offsets in bytes.
struct Layout {
  int64_t bytes = 0;
  int64_t add(int64_t count, int64_t size) {
    const int64_t start = bytes;
    bytes += round_up(count * size, 64);
    return start;
  }
};

}  // namespace refilm::REFILM_ISA
