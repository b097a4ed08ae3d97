// The arguments of the CPU kernels of LS3D-Conv. op.py documents them, README.md the design.
#pragma once
#include <cstdint>

namespace refilm {

template <typename T>
struct Planes {  // [N, K, T', H', W'] with any strides, in elements
  T* data;
  int64_t n, k, t, y, x;
};

struct Axis {
  int64_t in, out, kernel, stride, padding, dilation;
  int64_t position(int64_t o, int64_t k) const { return o * stride - padding + k * dilation; }
};

struct Ls3dProblem {
  int64_t batch, channels, outputs, groups;
  Axis t, y, x;
  const void* input;               // [N, T, H, W, C], float or bfloat16
  const void* weight;              // [O, C/groups, taps], of the type of input
  Planes<const float> offset;      // 2 planes for each tap: dy, dx
  Planes<const float> importance;  // 1 plane for each tap
  int threads;

  int64_t taps() const { return t.kernel * y.kernel * x.kernel; }
};

struct Ls3dForward : Ls3dProblem {
  const float* bias;    // [O] or null
  Planes<void> output;  // [N, O, T', H', W'], of the type of input
};

struct Ls3dBackward : Ls3dProblem {  // all float
  const float* grad;      // [N, T', H', W', O]
  float* input_grad;      // [N, T, H, W, C]
  float* weight_grad;     // [O, C/groups, taps]
  Planes<float> offset_grad, importance_grad;
};

// The kernels for one instruction set; `forward_bf16` is null where the set has no bfloat16 products.
struct Ls3dKernels {
  void (*forward)(const Ls3dForward&);
  void (*forward_bf16)(const Ls3dForward&);
  void (*backward)(const Ls3dBackward&);
  int64_t (*multiply_add)(int64_t rounds, int threads);  // measures the peak; returns the number of operations done
};

}  // namespace refilm
