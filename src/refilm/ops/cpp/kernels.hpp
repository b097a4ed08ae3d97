// The kernels of all operators, for each instruction set that they are compiled for.
#pragma once
#include "../ls3d_conv/cpu.hpp"
#include "call.hpp"

namespace refilm {

constexpr int OTHERS = 12;

struct Kernels {
  const Ls3dKernels* ls3d;
  const Kernel* others[OTHERS];
};

namespace baseline { extern const Kernels kernels; }
#ifdef __x86_64__
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
namespace avx512bf16 { extern const Kernels kernels; }
#endif

}  // namespace refilm
