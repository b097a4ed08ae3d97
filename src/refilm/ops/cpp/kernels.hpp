// The kernels of all operators, for each instruction set that they are compiled for.
#pragma once
#include "../ls3d_conv/cpu.hpp"
#include "call.hpp"

namespace refilm {

constexpr int OPERATORS = 5;

struct Kernels {
  const Ls3dKernels* ls3d;
  const Kernel* others[OPERATORS][2];  // forward, backward
};

namespace baseline { extern const Kernels kernels; }
#ifdef __x86_64__
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
namespace avx512bf16 { extern const Kernels kernels; }
#endif

}  // namespace refilm
