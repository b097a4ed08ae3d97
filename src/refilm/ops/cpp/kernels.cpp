// The table of one instruction set. Every operator's cpu.cpp defines its entries.
#include "kernels.hpp"

namespace refilm::REFILM_ISA {

extern const Ls3dKernels ls3d_kernels;
extern const Kernel adaptive_warp_forward, adaptive_warp_backward;
extern const Kernel backward_warp_forward, backward_warp_backward;
extern const Kernel correlation_forward, correlation_backward;
extern const Kernel dynamic_filter_forward, dynamic_filter_backward;
extern const Kernel flow_projection_forward, flow_projection_backward;
extern const Kernel motion_blend_forward;
extern const Kernel position_sensitive_pooling_forward;

extern const Kernels kernels;
const Kernels kernels = {&ls3d_kernels,
                         {&adaptive_warp_forward, &adaptive_warp_backward,
                          &backward_warp_forward, &backward_warp_backward,
                          &correlation_forward, &correlation_backward,
                          &dynamic_filter_forward, &dynamic_filter_backward,
                          &flow_projection_forward, &flow_projection_backward,
                          &motion_blend_forward,
                          &position_sensitive_pooling_forward}};

}  // namespace refilm::REFILM_ISA
