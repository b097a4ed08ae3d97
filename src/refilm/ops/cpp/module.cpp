// `refilm._native`: the Python module of the CPU kernels. The callers in Python have checked shapes, types and layouts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using Array = nb::ndarray<nb::device::cpu>;
using Triple = std::array<int64_t, 3>;

namespace {

struct Isa {
  const char* name;
  const refilm::Kernels* kernels;
  bool supported;
};

const std::vector<Isa>& isas() {  // the fastest first
  static const std::vector<Isa> all = [] {
    std::vector<Isa> found;
#ifdef __x86_64__
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    found.push_back({"avx512bf16", &refilm::avx512bf16::kernels, avx512 && __builtin_cpu_supports("avx512bf16")});
    found.push_back({"avx512", &refilm::avx512::kernels, avx512});
    found.push_back({"avx2", &refilm::avx2::kernels, avx2});
#endif
    found.push_back({"baseline", &refilm::baseline::kernels, true});
    return found;
  }();
  return all;
}

const Isa& find(const std::string& name) {
  for (const Isa& isa : isas())
    if (isa.supported && name == isa.name) return isa;
  throw nb::value_error(("this processor has no " + name).c_str());
}

const refilm::Kernel& find_kernel(const std::string& isa, const std::string& name) {
  for (const refilm::Kernel* kernel : find(isa).kernels->others)
    if (name == kernel->name) return *kernel;
  throw nb::value_error(("there is no kernel " + name).c_str());
}

template <typename T>
refilm::Planes<T> planes(const Array& a) {
  return {(T*)a.data(), a.stride(0), a.stride(1), a.stride(2), a.stride(3), a.stride(4)};
}

// `x` is [N, T, H, W, C] and contiguous, `grid` is [N, ., T', H', W'].
void describe(refilm::Ls3dProblem& p, const Array& x, const Array& weight, const Array& offset, const Array& importance,
              Triple stride, Triple padding, Triple dilation, int64_t groups, int threads) {
  refilm::Axis* axes[3] = {&p.t, &p.y, &p.x};
  for (int i = 0; i < 3; i++)
    *axes[i] = {int64_t(x.shape(1 + i)), int64_t(offset.shape(2 + i)), int64_t(weight.shape(2 + i)),
                stride[i],               padding[i],                   dilation[i]};
  p.batch = x.shape(0), p.channels = x.shape(4), p.outputs = weight.shape(0), p.groups = groups;
  p.input = x.data(), p.weight = weight.data(), p.threads = threads;
  p.offset = planes<const float>(offset), p.importance = planes<const float>(importance);
}

}  // namespace

NB_MODULE(_native, m) {
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const Isa& isa : isas())
      if (isa.supported) names.push_back(isa.name);
    return names;
  }, "The instruction sets that have kernels and that this processor supports, the fastest first.");
  m.def("has_bf16", [](const std::string& isa) { return find(isa).kernels->ls3d->forward_bf16 != nullptr; });
  m.def("run", [](const std::string& isa, const std::string& name, const std::vector<std::optional<Array>>& arrays,
                  const std::vector<double>& numbers, int threads) {
    if (arrays.size() > refilm::MOST_ARRAYS || numbers.size() > refilm::MOST_NUMBERS)
      throw nb::value_error(("too many arguments for " + name).c_str());
    refilm::Call call = {};
    call.threads = threads;
    for (size_t i = 0; i < arrays.size(); i++)
      if (arrays[i]) {
        call.arrays[i].data = arrays[i]->data();
        for (size_t d = 0; d < arrays[i]->ndim() && d < refilm::MOST_DIMENSIONS; d++)
          call.arrays[i].shape[d] = arrays[i]->shape(d);
      }
    for (size_t i = 0; i < numbers.size(); i++) call.numbers[i] = numbers[i];
    const refilm::Kernel& kernel = find_kernel(isa, name);
    const bool is_double = arrays[0]->dtype() == nb::dtype<double>();
    nb::gil_scoped_release unlocked;
    (is_double ? kernel.for_double : kernel.for_float)(call);
  }, "Runs a kernel on contiguous arrays of one type, float or double; None is an output that is not wanted.");
  m.def("ls3d_forward", [](const std::string& isa, bool bf16, Array x, Array weight, Array offset, Array importance,
                           std::optional<Array> bias, Array out, Triple stride, Triple padding, Triple dilation, int64_t groups, int threads) {
    refilm::Ls3dForward p;
    describe(p, x, weight, offset, importance, stride, padding, dilation, groups, threads);
    p.bias = bias ? (const float*)bias->data() : nullptr;
    p.output = planes<void>(out);
    const auto* kernels = find(isa).kernels->ls3d;
    nb::gil_scoped_release unlocked;
    (bf16 ? kernels->forward_bf16 : kernels->forward)(p);
  });
  m.def("ls3d_backward", [](const std::string& isa, Array grad, Array x, Array weight, Array offset, Array importance,
                            Array x_grad, Array weight_grad, Array offset_grad, Array importance_grad,
                            Triple stride, Triple padding, Triple dilation, int64_t groups, int threads) {
    refilm::Ls3dBackward p;
    describe(p, x, weight, offset, importance, stride, padding, dilation, groups, threads);
    p.grad = (const float*)grad.data(), p.input_grad = (float*)x_grad.data(), p.weight_grad = (float*)weight_grad.data();
    p.offset_grad = planes<float>(offset_grad), p.importance_grad = planes<float>(importance_grad);
    const auto* kernels = find(isa).kernels->ls3d;
    nb::gil_scoped_release unlocked;
    kernels->backward(p);
  });
  m.def("multiply_add", [](const std::string& isa, int64_t rounds, int threads) {
    const auto* kernels = find(isa).kernels->ls3d;
    nb::gil_scoped_release unlocked;
    return kernels->multiply_add(rounds, threads);
  }, "Only multiplies and adds, on data in the L1 cache; returns the number of operations.");
}
