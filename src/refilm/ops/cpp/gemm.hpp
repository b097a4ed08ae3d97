// Small matrix products on data that is already in the cache: c = a b, or c += a b, one register block at a time.
//
// b is packed into panels that are up to PANEL vectors wide; a block of c stays in registers during the loop over k. A
// float panel is [K][width]; a bfloat16 panel is [K/2][width][2], since the instruction adds products in pairs.
#pragma once
#include "vector.hpp"

namespace refilm::REFILM_ISA {

constexpr int PANEL = REGISTERS == 32 ? 4 : 2;  // vectors in the widest panel

// Rows of c that fit in registers beside V vectors of b.
constexpr int rows_for(int V) { return REGISTERS == 32 ? (V == 4 ? 6 : V == 3 ? 8 : 12) : (V == 2 ? 6 : 10); }
constexpr int MOST_ROWS = 12;

struct Rows {  // strides of the operand a: element (i, k) is at data[i * row + k * step]
  int64_t row, step;
};

template <int M, int V>
static REFILM_INLINE void product(int64_t K, const float* __restrict a, Rows at, const float* __restrict b, int64_t ldb,
                                  float* __restrict c, int64_t ldc, bool add) {
  Vector sum[M][V];
  REFILM_UNROLL for (int i = 0; i < M; i++)
    REFILM_UNROLL for (int j = 0; j < V; j++) sum[i][j] = add ? load(c + i * ldc + j * LANES) : Vector{};
  for (int64_t k = 0; k < K; k++) {
    Vector bk[V];
    REFILM_UNROLL for (int j = 0; j < V; j++) bk[j] = load(b + k * ldb + j * LANES);
    REFILM_UNROLL for (int i = 0; i < M; i++) {
      Vector ai = broadcast(a[i * at.row + k * at.step]);
      REFILM_UNROLL for (int j = 0; j < V; j++) sum[i][j] += ai * bk[j];
    }
  }
  REFILM_UNROLL for (int i = 0; i < M; i++)
    REFILM_UNROLL for (int j = 0; j < V; j++) store(c + i * ldc + j * LANES, sum[i][j]);
}

#ifdef __AVX512BF16__
// As above, over pairs of k, which are adjacent in a (step 1) and interleaved in b.
template <int M, int V>
static REFILM_INLINE void product(int64_t K, const Bf16* __restrict a, Rows at, const Bf16* __restrict b, int64_t ldb,
                                  float* __restrict c, int64_t ldc, bool add) {
  Vector sum[M][V];
  REFILM_UNROLL for (int i = 0; i < M; i++)
    REFILM_UNROLL for (int j = 0; j < V; j++) sum[i][j] = add ? load(c + i * ldc + j * LANES) : Vector{};
  for (int64_t k = 0; k < K; k += 2) {
    __m512bh bk[V];
    REFILM_UNROLL for (int j = 0; j < V; j++) bk[j] = (__m512bh)_mm512_loadu_si512(b + k * ldb + j * 2 * LANES);
    REFILM_UNROLL for (int i = 0; i < M; i++) {
      int pair;
      memcpy(&pair, a + i * at.row + k, 4);
      __m512bh ai = (__m512bh)_mm512_set1_epi32(pair);
      REFILM_UNROLL for (int j = 0; j < V; j++) sum[i][j] = (Vector)_mm512_dpbf16_ps((__m512)sum[i][j], ai, bk[j]);
    }
  }
  REFILM_UNROLL for (int i = 0; i < M; i++)
    REFILM_UNROLL for (int j = 0; j < V; j++) store(c + i * ldc + j * LANES, sum[i][j]);
}
#endif

// c [m rounded up to rows_for(V)][V vectors] (+)= a b. The rows past m are undefined, but must exist.
template <int V, typename E>
static __attribute__((noinline)) void block(int64_t m, int64_t K, const E* a, int64_t row, const E* b, int64_t ldb, float* c,
                                            int64_t ldc, bool add) {
  constexpr int M = rows_for(V);
  for (int64_t i = 0; i < m; i += M) product<M, V>(K, a + i * row, {row, 1}, b, ldb, c + i * ldc, ldc, add);
}

// c [m][V vectors] += transpose(a) b, touching exactly m rows.
template <int V>
static __attribute__((noinline)) void transposed_block(int64_t m, int64_t K, const float* a, int64_t step, const float* b,
                                                       int64_t ldb, float* c, int64_t ldc) {
  constexpr int M = rows_for(V);
  int64_t i = 0;
  for (; i + M <= m; i += M) product<M, V>(K, a + i, {1, step}, b, ldb, c + i * ldc, ldc, true);
  for (; i < m; i++) product<1, V>(K, a + i, {1, step}, b, ldb, c + i * ldc, ldc, true);
}

// Calls f(first column, number of vectors as a constant) for every panel of a matrix that is `width` columns wide.
template <int V>
struct Vectors {
  static constexpr int count = V;
};
template <typename F>
static REFILM_INLINE void for_each_panel(int64_t width, F f) {
  constexpr int64_t full = PANEL * LANES;
  int64_t j = 0;
  for (; j + full <= width; j += full) f(j, Vectors<PANEL>());
  switch ((width - j + LANES - 1) / LANES) {
    case 3: if constexpr (PANEL > 3) f(j, Vectors<3>()); break;
    case 2: if constexpr (PANEL > 2) f(j, Vectors<2>()); else f(j, Vectors<PANEL>()); break;
    case 1: f(j, Vectors<1>()); break;
    case 4: f(j, Vectors<PANEL>()); break;
  }
}

// The number of values of k that `product` takes at a time; K must be a multiple of it.
template <typename E> constexpr int STEP = 1;
template <> constexpr int STEP<Bf16> = 2;

// Packs b[k][n] = source[k * k_stride + n * n_stride], K x N without padding, into panels of Kp rows, from row k0 on,
// with k in the order of `place`. Columns past N become zero. The caller must have zeroed rows that it does not pack.
template <typename E>
static void pack(const E* source, int64_t K, int64_t k_stride, int64_t N, int64_t n_stride, E* panels, int64_t k0, int64_t Kp) {
  const int64_t width = round_up(N, LANES);
  constexpr int S = STEP<E>;
  for_each_panel(width, [&](int64_t j, auto v) {
    constexpr int64_t columns = decltype(v)::count * LANES;
    E* panel = panels + j * Kp;
    const int64_t n = smaller(columns, N - j);
    for (int64_t i = 0; i < n; i++)
      for (int64_t k = 0; k < K; k++) {
        const int64_t to = k0 + place<E>(k, K);
        panel[to / S * S * columns + i * S + to % S] = source[k * k_stride + (j + i) * n_stride];
      }
    for (int64_t i = n; i < columns; i++)
      for (int64_t k = 0; k < K; k++) panel[(k0 + k) / S * S * columns + i * S + (k0 + k) % S] = E{};
  });
}

}  // namespace refilm::REFILM_ISA
