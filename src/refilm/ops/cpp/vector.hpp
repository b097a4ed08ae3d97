// One SIMD register of floats on any processor: GCC's and Clang's vector types, in the size of the instruction set this
// file is compiled for. The sources that include it are compiled once for each set, so everything here is in a
// namespace of that set: otherwise the linker could choose the AVX-512 copy of a function for a processor without
// AVX-512. For the same reason these sources use no templates of the standard library.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined(__clang__)
#define REFILM_UNROLL _Pragma("unroll")
#else
#define REFILM_UNROLL _Pragma("GCC unroll 16")
#endif
#define REFILM_INLINE inline __attribute__((always_inline))

namespace refilm::REFILM_ISA {

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float UnalignedVector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef float Quad __attribute__((vector_size(16)));
typedef int Ints __attribute__((vector_size(LANES * 4)));  // as a result of a comparison, -1 stands for true

// The same for float and double.
template <typename T>
struct VectorType {
  typedef T type __attribute__((vector_size(LANES * 4)));
  typedef T unaligned __attribute__((vector_size(LANES * 4), aligned(sizeof(T)), may_alias));
};
template <typename T>
using VectorOf = typename VectorType<T>::type;
template <typename T>
constexpr int LANES_OF = LANES * 4 / sizeof(T);
template <typename T>
static REFILM_INLINE VectorOf<T> load_vector(const T* p) { return *(const typename VectorType<T>::unaligned*)p; }
template <typename T>
static REFILM_INLINE void store_vector(T* p, VectorOf<T> v) { *(typename VectorType<T>::unaligned*)p = v; }

static REFILM_INLINE Vector load(const float* p) { return *(const UnalignedVector*)p; }
static REFILM_INLINE void store(float* p, Vector v) { *(UnalignedVector*)p = v; }
static REFILM_INLINE Vector broadcast(float f) { return f - Vector{}; }  // free; f + 0 is not, since it changes -0

template <typename T>
static REFILM_INLINE T smaller(T a, T b) { return b < a ? b : a; }
template <typename T>
static REFILM_INLINE T larger(T a, T b) { return a < b ? b : a; }
static REFILM_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Adds up the parts of a register to four lanes.
static REFILM_INLINE Quad fold(Vector v) {
#if defined(__AVX512F__)
  auto half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif defined(__AVX2__)
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  return v;
#endif
}

// (sum a, sum b, sum c, sum d), with one transposition for the four sums.
static REFILM_INLINE Quad sums(Vector a, Vector b, Vector c, Vector d) {
  Quad qa = fold(a), qb = fold(b), qc = fold(c), qd = fold(d);
  Quad ab = __builtin_shufflevector(qa, qb, 0, 4, 1, 5) + __builtin_shufflevector(qa, qb, 2, 6, 3, 7);  // a b a b
  Quad cd = __builtin_shufflevector(qc, qd, 0, 4, 1, 5) + __builtin_shufflevector(qc, qd, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

static REFILM_INLINE bool all(Ints is_true) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)is_true) == 0xffff;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)is_true) == 0xff;
#else
  return is_true[0] & is_true[1] & is_true[2] & is_true[3];
#endif
}

// The floats at `place` and those behind them: one load for both.
static REFILM_INLINE void read_pairs(const float* from, Ints place, Vector& first, Vector& second) {
#if defined(__AVX512F__)
  const Vector a = (Vector)_mm512_i32gather_epi64(_mm512_castsi512_si256((__m512i)place), from, 4);
  const Vector b = (Vector)_mm512_i32gather_epi64(_mm512_extracti64x4_epi64((__m512i)place, 1), from, 4);
  first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  const long long* pairs = (const long long*)from;
  const Vector a = (Vector)_mm256_i32gather_epi64(pairs, _mm256_castsi256_si128((__m256i)place), 4);
  const Vector b = (Vector)_mm256_i32gather_epi64(pairs, _mm256_extracti128_si256((__m256i)place, 1), 4);
  first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
  second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  for (int k = 0; k < LANES; k++) first[k] = from[place[k]], second[k] = from[place[k] + 1];
#endif
}

static REFILM_INLINE bool finite(Quad q) {
  const auto same = q - q == Quad{};  // inf - inf and NaN - NaN are NaN
  int64_t halves[2];
  memcpy(halves, &same, 16);
  return (halves[0] & halves[1]) == -1;
}

// bfloat16, stored as its 16 bits, the upper half of a float's. A type of its own, so that functions can be overloaded.
struct Bf16 {
  uint16_t bits;
};
static REFILM_INLINE float widen(float f) { return f; }
static REFILM_INLINE float widen(Bf16 h) {
  uint32_t bits = uint32_t(h.bits) << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static REFILM_INLINE void narrow(float* p, float f) { *p = f; }
#ifdef __AVX512BF16__
static REFILM_INLINE Vector load(const Bf16* p) {
  return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
}
static REFILM_INLINE void store(Bf16* p, Vector v) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh((__m512)v)); }
static REFILM_INLINE void narrow(Bf16* p, float f) {
  Bf16 all[16];
  store(all, broadcast(f));
  *p = all[0];
}
#endif

// to = wa a + wb b + wc c + wd d, for the next MIX<E> channels of a column. In a bfloat16 column, each whole block of
// 32 channels has the even ones first (`place` gives the index): in that order, 32 values need only two instructions
// to become floats and one to become bfloat16 again.
template <typename E> constexpr int MIX = LANES;
static REFILM_INLINE void mix(float* to, const float* a, const float* b, const float* c, const float* d, Vector wa,
                              Vector wb, Vector wc, Vector wd) {
  store(to, load(a) * wa + load(b) * wb + load(c) * wc + load(d) * wd);
}
template <typename E>
static REFILM_INLINE int64_t place(int64_t c, int64_t channels) {
  if (MIX<E> == LANES || c >= channels / MIX<E> * MIX<E>) return c;
  return c / MIX<E> * MIX<E> + c % 2 * LANES + c % MIX<E> / 2;
}
#ifdef __AVX512BF16__
template <> constexpr int MIX<Bf16> = 2 * LANES;
static REFILM_INLINE void mix(Bf16* to, const Bf16* a, const Bf16* b, const Bf16* c, const Bf16* d, Vector wa, Vector wb,
                              Vector wc, Vector wd) {
  const __m512i odd_bits = _mm512_set1_epi32(0xffff0000);
  Vector even = {}, odd = {};
  const Bf16* corner[4] = {a, b, c, d};
  const Vector weight[4] = {wa, wb, wc, wd};
  REFILM_UNROLL for (int k = 0; k < 4; k++) {
    const __m512i both = _mm512_loadu_si512(corner[k]);
    even += (Vector)_mm512_slli_epi32(both, 16) * weight[k];
    odd += (Vector)_mm512_and_si512(both, odd_bits) * weight[k];
  }
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
}
#endif

}  // namespace refilm::REFILM_ISA
