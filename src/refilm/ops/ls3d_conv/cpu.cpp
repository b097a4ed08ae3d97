// LS3D-Conv on a CPU. This file is compiled once for each instruction set, with REFILM_ISA set to its name. The design
// is in README.md: for a tile of output pixels, sample a few taps into a column buffer, multiply the buffer by the
// packed weights while it is in the cache, and continue with the next taps.
#include "cpu.hpp"

#include <omp.h>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "../cpp/gemm.hpp"
#include "../cpp/scratch.hpp"

namespace refilm::REFILM_ISA {
namespace {

constexpr int WIDE = 16;            // most pixels in a row of a tile
constexpr int64_t TILE_PIXELS = 96; // most pixels in a tile, so that its columns stay in the L2 cache
constexpr int64_t COLUMN_VALUES = 640;  // most values of a pixel's column at a time: taps x channels
constexpr int64_t MOST_SHARES = 8;       // most shares of a backward pass, for any number of threads
constexpr int64_t SHARE_BYTES = 64 << 20;      // most memory for the weight gradients of more than 4 shares
constexpr int64_t WHOLE_FRAMES = 4;           // with at least so many frames, shares are whole frames

// Asks for large pages for an output. Its memory is often new from the system, which takes longer to provide small
// pages than the kernel takes to fill them. A system may ignore this advice.
void expect_large([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr int64_t PAGE = 4096;
  const int64_t start = round_up((int64_t)data, PAGE), end = ((int64_t)data + bytes) / PAGE * PAGE;
  if (end > start) madvise((void*)start, end - start, MADV_HUGEPAGE);
#endif
}

// The output plane, divided into tiles of nearly equal size.
struct Tiles {
  int64_t width, height, across, down;
  Tiles(int64_t rows, int64_t columns) {
    across = (columns + WIDE - 1) / WIDE;
    width = (columns + across - 1) / across;
    const int64_t most = larger<int64_t>(1, TILE_PIXELS / width);
    down = (rows + most - 1) / most;
    height = (rows + down - 1) / down;
  }
  int64_t count() const { return across * down; }
  int64_t pixels() const { return width * height; }
};

struct Tile {
  int64_t y, x, rows, width;
  Tile(const Ls3dProblem& p, const Tiles& tiles, int64_t i) {
    y = i / tiles.across * tiles.height, x = i % tiles.across * tiles.width;
    rows = smaller(tiles.height, p.y.out - y), width = smaller(tiles.width, p.x.out - x);
  }
  int64_t pixels() const { return larger<int64_t>(0, rows) * larger<int64_t>(0, width); }
};

// Where one tap samples, for a row of up to WIDE pixels. Corners: top left, top right, bottom left, bottom right.
struct Samples {
  // Index of each corner's pixel in its frame. A corner of weight zero has the index of another corner whose weight is
  // not zero, so that its own value, which may be infinite, cannot reach the sum. -1 if all four weights are zero.
  int32_t index[4][WIDE];
  float weight[4][WIDE];  // bilinear weight of the corner times importance; zero outside the frame
};

// What the gradients need in addition.
struct Slopes {
  int32_t corner[4][WIDE];  // index of the corner itself; -1 outside the frame
  float down[WIDE], right[WIDE], importance[WIDE];
};

struct RowInputs {
  float dy[WIDE], dx[WIDE], importance[WIDE];
};

REFILM_INLINE void read_row(float* to, const float* from, int64_t step, int64_t width) {
  if (step == 1 && width == WIDE) memcpy(to, from, sizeof(float) * WIDE);
  else for (int64_t i = 0; i < width; i++) to[i] = from[i * step];
}

template <bool WITH_SLOPES>
__attribute__((noinline)) void locate(const RowInputs& __restrict in, float y, float x, float x_step, int height, int width,
                                      int channels, Samples& __restrict s, Slopes* __restrict slopes) {
  const float lowest = height + 1.f, rightmost = width + 1.f;
  for (int i = 0; i < WIDE; i++) {
    float py = y + in.dy[i], px = x + i * x_step + in.dx[i];
    // Positions far outside and NaN become positions just outside, which fit an int.
    py = py > -2.f ? py : -2.f, px = px > -2.f ? px : -2.f;
    py = py < lowest ? py : lowest, px = px < rightmost ? px : rightmost;
    int top = (int)py, left = (int)px;
    top -= (float)top > py, left -= (float)left > px;
    const float down = py - (float)top, right = px - (float)left, m = in.importance[i];
    const bool in_top = (unsigned)top < (unsigned)height, in_bottom = (unsigned)(top + 1) < (unsigned)height;
    const bool in_left = (unsigned)left < (unsigned)width, in_right = (unsigned)(left + 1) < (unsigned)width;
    const float w0 = in_top & in_left ? m * ((1 - down) * (1 - right)) : 0.f;
    const float w1 = in_top & in_right ? m * ((1 - down) * right) : 0.f;
    const float w2 = in_bottom & in_left ? m * (down * (1 - right)) : 0.f;
    const float w3 = in_bottom & in_right ? m * (down * right) : 0.f;
    const int i0 = (top * width + left) * channels, i1 = i0 + channels, i2 = i0 + width * channels, i3 = i2 + channels;
    int weighty = w3 != 0.f ? i3 : -1;
    weighty = w2 != 0.f ? i2 : weighty;
    weighty = w1 != 0.f ? i1 : weighty;
    weighty = w0 != 0.f ? i0 : weighty;
    s.index[0][i] = weighty;
    s.index[1][i] = w1 != 0.f ? i1 : weighty;
    s.index[2][i] = w2 != 0.f ? i2 : weighty;
    s.index[3][i] = w3 != 0.f ? i3 : weighty;
    s.weight[0][i] = w0, s.weight[1][i] = w1, s.weight[2][i] = w2, s.weight[3][i] = w3;
    if constexpr (WITH_SLOPES) {
      slopes->corner[0][i] = in_top & in_left ? i0 : -1;
      slopes->corner[1][i] = in_top & in_right ? i1 : -1;
      slopes->corner[2][i] = in_bottom & in_left ? i2 : -1;
      slopes->corner[3][i] = in_bottom & in_right ? i3 : -1;
      slopes->down[i] = down, slopes->right[i] = right, slopes->importance[i] = m;
    }
  }
}

// Calls `locate` for `count` taps, from `first` on, of a row of output pixels that starts at (t, y, x).
template <bool WITH_SLOPES>
void locate_row(const Ls3dProblem& p, int64_t n, int64_t t, int64_t y, int64_t x, int64_t width, int64_t first,
                int64_t count, Samples* samples, Slopes* slopes) {
  RowInputs in = {};
  const auto &o = p.offset, &m = p.importance;
  const float* offset = o.data + n * o.n + t * o.t + y * o.y + x * o.x;
  const float* importance = m.data + n * m.n + t * m.t + y * m.y + x * m.x;
  for (int64_t q = 0; q < count; q++) {
    const int64_t tap = first + q, ky = tap / p.x.kernel % p.y.kernel, kx = tap % p.x.kernel;
    read_row(in.dy, offset + 2 * tap * o.k, o.x, width);
    read_row(in.dx, offset + (2 * tap + 1) * o.k, o.x, width);
    read_row(in.importance, importance + tap * m.k, m.x, width);
    // the next row: there are too many streams for the hardware prefetcher
    __builtin_prefetch(offset + 2 * tap * o.k + o.y, 0, 2);
    __builtin_prefetch(offset + (2 * tap + 1) * o.k + o.y, 0, 2);
    __builtin_prefetch(importance + tap * m.k + m.y, 0, 2);
    locate<WITH_SLOPES>(in, p.y.position(y, ky), p.x.position(x, kx), p.x.stride, p.y.in, p.x.in, p.channels,
                        samples[q], WITH_SLOPES ? slopes + q : nullptr);
  }
}

// columns[i][q * pitch + c] = the sample of tap q for pixel i of a row, c < CHANNELS (or `channels` if that is 0).
// All taps of a pixel come before the next pixel: their corners are neighbours, so most are in the L1 cache.
template <int CHANNELS, typename E>
void sample_row_of(int64_t channels, const E* const* frames, const Samples* samples, int64_t count, int64_t begin,
                   int64_t end, E* __restrict columns, int64_t ld, int64_t pitch) {
  const int64_t C = CHANNELS ? CHANNELS : channels;
  for (int64_t i = begin; i < end; i++)
    for (int64_t q = 0; q < count; q++) {
      const Samples& s = samples[q];
      E* __restrict to = columns + i * ld + q * pitch;
      if (s.index[0][i] < 0) {
        memset(to, 0, sizeof(E) * C);
        continue;
      }
      const E *a = frames[q] + s.index[0][i], *b = frames[q] + s.index[1][i];
      const E *c = frames[q] + s.index[2][i], *d = frames[q] + s.index[3][i];
      const float wa = s.weight[0][i], wb = s.weight[1][i], wc = s.weight[2][i], wd = s.weight[3][i];
      const Vector va = broadcast(wa), vb = broadcast(wb), vc = broadcast(wc), vd = broadcast(wd);
      int64_t k = 0;
#pragma GCC unroll 4
      for (; k + MIX<E> <= C; k += MIX<E>) mix(to + k, a + k, b + k, c + k, d + k, va, vb, vc, vd);
      if constexpr (!CHANNELS)
        for (; k < C; k++) narrow(to + k, widen(a[k]) * wa + widen(b[k]) * wb + widen(c[k]) * wc + widen(d[k]) * wd);
    }
}

template <typename E>
void sample_row(int64_t channels, const E* const* frames, const Samples* samples, int64_t count, int64_t width,
                E* columns, int64_t ld, int64_t pitch) {
  switch (channels) {
    case 32: return sample_row_of<32>(channels, frames, samples, count, 0, width, columns, ld, pitch);
    case 64: return sample_row_of<64>(channels, frames, samples, count, 0, width, columns, ld, pitch);
    default: return sample_row_of<0>(channels, frames, samples, count, 0, width, columns, ld, pitch);
  }
}

// Row length of a buffer that is read down its columns: an odd number of cache lines. With a power of two, all rows
// would share a few sets of the L1 cache and evict each other.
template <typename E>
int64_t spread(int64_t values) {
  const int64_t line = 64 / sizeof(E), lines = (values + line - 1) / line;
  return (lines | 1) * line;
}

// Sizes that follow from a problem.
struct Plan {
  Tiles tiles;
  int64_t c, o, padded_o, taps, area, together;  // channels and outputs of a group; taps in all, in a plane, at a time
  int64_t rows;                                  // pixels of a tile, and what a register block may touch past them
  explicit Plan(const Ls3dProblem& p, int64_t most_together)
      : tiles(p.y.out, p.x.out), c(p.channels / p.groups), o(p.outputs / p.groups), padded_o(round_up(o, LANES)),
        taps(p.taps()), area(p.y.kernel * p.x.kernel), rows(tiles.pixels() + MOST_ROWS) {
    const int64_t fit = larger<int64_t>(1, smaller(most_together, COLUMN_VALUES / p.channels));
    const int64_t parts = (most_together + fit - 1) / fit;
    together = (most_together + parts - 1) / parts;
  }
};

template <typename E>
void write_tile(const Ls3dForward& p, const Tile& tile, int64_t n, int64_t t, const Plan& plan, const float* sums) {
  const auto& out = p.output;
  const int64_t row = p.groups * plan.padded_o;
  for (int64_t r = 0; r < tile.rows; r++) {
    E* to = (E*)out.data + n * out.n + t * out.t + (tile.y + r) * out.y + tile.x * out.x;
    const float* from = sums + r * tile.width * row;
    for (int64_t g = 0; g < p.groups; g++, to += plan.o * out.k, from += plan.padded_o)
      if (out.k == 1)
        for (int64_t i = 0; i < tile.width; i++) {
          int64_t k = 0;
          for (; k + LANES <= plan.o; k += LANES) store(to + i * out.x + k, load(from + i * row + k));
          for (; k < plan.o; k++) narrow(to + i * out.x + k, from[i * row + k]);
        }
      else
        for (int64_t k = 0; k < plan.o; k++)
          for (int64_t i = 0; i < tile.width; i++) narrow(to + i * out.x + k * out.k, from[i * row + k]);
  }
}

template <typename E>
void forward(const Ls3dForward& p) {
  constexpr int S = STEP<E>;
  const Plan plan(p, p.taps());
  const int64_t pitch = round_up(plan.c, S), ld = spread<E>(plan.together * pitch), K = plan.taps * pitch;
  const int64_t sums_row = p.groups * plan.padded_o, frame = p.y.in * p.x.in * p.channels;
  const E* input = (const E*)p.input;

  const Scratch packed(p.groups * K * plan.padded_o * sizeof(E));
  expect_large(p.output.data, p.batch * p.outputs * p.t.out * p.y.out * p.x.out * sizeof(E));
  E* const weight = packed.at<E>(0);
  Layout layout;
  const int64_t columns_at = layout.add(p.groups * plan.rows * ld, sizeof(E));
  const int64_t sums_at = layout.add(plan.rows * sums_row, sizeof(float));
  const int64_t samples_at = layout.add(plan.together, sizeof(Samples));
  const int64_t frames_at = layout.add(plan.together, sizeof(E*));
  const Scratch scratch(layout.bytes * p.threads);

#pragma omp parallel num_threads(p.threads)
  {
    const int64_t mine = omp_get_thread_num() * layout.bytes;
    E* const columns = scratch.at<E>(mine + columns_at);
    float* const sums = scratch.at<float>(mine + sums_at);
    Samples* const samples = scratch.at<Samples>(mine + samples_at);
    const E** const frames = scratch.at<const E*>(mine + frames_at);

#pragma omp for
    for (int64_t job = 0; job < p.groups * plan.taps; job++) {
      const int64_t g = job / plan.taps, tap = job % plan.taps;
      pack((const E*)p.weight + g * plan.o * plan.c * plan.taps + tap, plan.c, plan.taps, plan.o, plan.c * plan.taps,
           weight + g * K * plan.padded_o, tap * pitch, K);
    }
    // one thread computes a whole tile, so the assignment of tiles to threads does not change the result
#pragma omp for schedule(dynamic, 1)
    for (int64_t job = 0; job < p.batch * p.t.out * plan.tiles.count(); job++) {
      const int64_t n = job / plan.tiles.count() / p.t.out, t = job / plan.tiles.count() % p.t.out;
      const Tile tile(p, plan.tiles, job % plan.tiles.count());
      const int64_t pixels = tile.pixels();
      if (!pixels) continue;
      for (int64_t i = 0; i < pixels; i++)
        for (int64_t g = 0; g < p.groups; g++) {
          float* sum = sums + i * sums_row + g * plan.padded_o;
          if (p.bias) memcpy(sum, p.bias + g * plan.o, sizeof(float) * plan.o);
          else memset(sum, 0, sizeof(float) * plan.o);
        }
      // the taps whose frame exists are consecutive, since the frame number grows with the tap
      int64_t first = 0, last = p.t.kernel;
      while (first < last && p.t.position(t, first) < 0) first++;
      while (last > first && p.t.position(t, last - 1) >= p.t.in) last--;
      for (int64_t tap = first * plan.area; tap < last * plan.area; tap += plan.together) {
        const int64_t count = smaller(plan.together, last * plan.area - tap);
        for (int64_t q = 0; q < count; q++)
          frames[q] = input + (n * p.t.in + p.t.position(t, (tap + q) / plan.area)) * frame;
        for (int64_t r = 0; r < tile.rows; r++) {
          locate_row<false>(p, n, t, tile.y + r, tile.x, tile.width, tap, count, samples, nullptr);
          for (int64_t g = 0; g < p.groups; g++) {
            E* to = columns + (g * plan.rows + r * tile.width) * ld;
            // one plane of taps at a time: what they read of one frame fits in the L1 cache
            for (int64_t q = 0, run; q < count; q += run) {
              run = smaller(count - q, plan.area - (tap + q) % plan.area);
              sample_row(plan.c, frames + q, samples + q, run, tile.width, to + q * pitch, ld, pitch);
            }
            for (int64_t q = 0; q < count; q++) frames[q] += plan.c;
          }
          for (int64_t q = 0; q < count; q++) frames[q] -= p.channels;
        }
        for (int64_t g = 0; g < p.groups; g++)
          for_each_panel(plan.padded_o, [&](int64_t j, auto v) {
            constexpr int V = decltype(v)::count;
            block<V>(pixels, count * pitch, columns + g * plan.rows * ld, ld,
                     weight + g * K * plan.padded_o + j * K + tap * pitch * V * LANES, V * LANES,
                     sums + g * plan.padded_o + j, sums_row, true);
          });
      }
      write_tile<E>(p, tile, n, t, plan, sums);
    }
  }
}

// For one pixel and tap: adds the gradient of the column to the gradients of the four corners, returns its product with
// each corner, and overwrites it with the column itself, sampled again. All this in one pass, while the corners and the
// column are in the L1 cache.
template <int CHANNELS>
REFILM_INLINE Quad scatter(int64_t some, float* column, const float* const* corner, float* const* corner_grad,
                           const float* weight) {
  const int64_t channels = CHANNELS ? CHANNELS : some;
  Vector sum[4] = {}, w[4];
  REFILM_UNROLL for (int k = 0; k < 4; k++) w[k] = broadcast(weight[k]);
  int64_t c = 0;
#pragma GCC unroll 2
  for (; c + LANES <= channels; c += LANES) {
    const Vector g = load(column + c);
    Vector mixed = {};
    // read all corners before the first store: the compiler must assume that a store can change them
    REFILM_UNROLL for (int k = 0; k < 4; k++) {
      const Vector x = load(corner[k] + c);
      sum[k] += g * x;
      mixed += w[k] * x;
    }
    store(column + c, mixed);
    REFILM_UNROLL for (int k = 0; k < 4; k++) store(corner_grad[k] + c, load(corner_grad[k] + c) + w[k] * g);
  }
  Quad total = sums(sum[0], sum[1], sum[2], sum[3]);
  for (; c < channels; c++) {
    const float g = column[c];
    float mixed = 0;
    for (int k = 0; k < 4; k++) {
      total[k] += g * corner[k][c];
      mixed += weight[k] * corner[k][c];
      corner_grad[k][c] += weight[k] * g;
    }
    column[c] = mixed;
  }
  return total;
}

REFILM_INLINE void write_row(float* to, const float* from, int64_t step, int64_t width) {
  if (step == 1 && width == WIDE) memcpy(to, from, sizeof(float) * WIDE);
  else for (int64_t i = 0; i < width; i++) to[i * step] = from[i];
}

struct RowGradients {
  float dy[WIDE], dx[WIDE], importance[WIDE];
};

// The gradients of a tap's offset and importance for a row, from the products of column gradient and corners.
__attribute__((noinline)) void slope_gradients(const float (*__restrict products)[4], const Samples& __restrict s,
                                               const Slopes& __restrict slopes, RowGradients& __restrict to) {
  for (int i = 0; i < WIDE; i++) {
    float d[4];
    // as in the reference, a pixel that is not finite counts only where its weight is not zero
    for (int k = 0; k < 4; k++) {
      const float product = products[i][k];
      d[k] = (s.weight[k][i] == 0.f) & !(product - product == 0.f) ? 0.f : product;
    }
    const float down = slopes.down[i], right = slopes.right[i], m = slopes.importance[i];
    const float top = (1 - right) * d[0] + right * d[1], bottom = (1 - right) * d[2] + right * d[3];
    to.importance[i] = (1 - down) * top + down * bottom;
    to.dy[i] = m * (bottom - top);
    to.dx[i] = m * ((1 - down) * (d[1] - d[0]) + down * (d[3] - d[2]));
  }
}

void write_slopes(const Ls3dBackward& p, int64_t tap, int64_t n, int64_t t, int64_t y, int64_t x, int64_t width,
                  const Samples& s, const Slopes& slopes, const Quad* products) {
  RowGradients row;
  slope_gradients((const float (*)[4])products, s, slopes, row);
  const auto &o = p.offset_grad, &m = p.importance_grad;
  float* offset = o.data + n * o.n + 2 * tap * o.k + t * o.t + y * o.y + x * o.x;
  write_row(offset, row.dy, o.x, width);
  write_row(offset + o.k, row.dx, o.x, width);
  write_row(m.data + n * m.n + tap * m.k + t * m.t + y * m.y + x * m.x, row.importance, m.x, width);
}

// The work of a backward pass, divided into shares of nearly equal cost. The shares do not depend on the number of
// threads, sums within a share have a fixed order, and the shares are added up in order. An item is a tile together
// with an input frame; items are ordered by (batch, frame, tile).
struct Shares {
  int64_t count, start[MOST_SHARES + 1];
  Shares(const Ls3dProblem& p, int64_t tiles, int64_t most) {
    const int64_t items = p.batch * p.t.in * tiles;
    count = larger<int64_t>(1, smaller(most, items));
    int64_t total = 0;
    for (int64_t f = 0; f < p.t.in; f++) total += cost(p, f) * tiles;
    total *= p.batch;
    int64_t share = 0, done = 0;
    for (int64_t item = 0; item < items; item += tiles) {
      const int64_t each = cost(p, item / tiles % p.t.in);
      while (share < count && share * total < count * (done + each * tiles)) {
        start[share] = item + (share * total - count * done + count * each - 1) / (count * each);
        share++;
      }
      done += each * tiles;
    }
    while (share <= count) start[share++] = items;
    // With enough frames, no share starts inside a frame; that would need a second copy of the frame's gradient.
    if (p.batch * p.t.in >= WHOLE_FRAMES)
      for (int64_t s = 0; s <= count; s++) start[s] = round_up(start[s], tiles);
  }
  static int64_t output_frame(const Ls3dProblem& p, int64_t frame, int64_t k) {  // -1 if there is none
    const int64_t place = frame + p.t.padding - k * p.t.dilation;
    return place >= 0 && place % p.t.stride == 0 && place / p.t.stride < p.t.out ? place / p.t.stride : -1;
  }
  static int64_t cost(const Ls3dProblem& p, int64_t frame) {
    int64_t planes = 0;
    for (int64_t k = 0; k < p.t.kernel; k++) planes += output_frame(p, frame, k) >= 0;
    return planes;
  }
};

struct Backward {
  const Ls3dBackward& p;
  const Plan plan;
  const int64_t padded_c, ld, frame, weights;
  const Shares shares;
  int64_t columns_at, grad_at, samples_at, slopes_at, products_at, zeros_at, waste_at;
  Layout layout;

  explicit Backward(const Ls3dBackward& problem)
      : p(problem), plan(p, p.y.kernel * p.x.kernel), padded_c(round_up(plan.c, LANES)),
        ld(spread<float>(plan.together * padded_c)),
        frame(p.y.in * p.x.in * p.channels), weights(p.groups * plan.taps * plan.c * plan.padded_o),
        shares(p, plan.tiles.count(), larger<int64_t>(4, smaller(MOST_SHARES, SHARE_BYTES / (weights * 4)))) {
    columns_at = layout.add(p.groups * plan.rows * ld, 4);
    grad_at = layout.add(p.groups * plan.rows * plan.padded_o, 4);
    samples_at = layout.add(plan.tiles.height * plan.together, sizeof(Samples));
    slopes_at = layout.add(plan.tiles.height * plan.together, sizeof(Slopes));
    products_at = layout.add(plan.together * WIDE, sizeof(Quad));
    zeros_at = layout.add(p.channels, 4);
    waste_at = layout.add(p.channels, 4);
  }

  // One tile and one plane of taps: the taps that read `frame_in` for the output frame t.
  void tile(char* scratch, const Tile& tile, int64_t n, int64_t frame_in, int64_t t, int64_t plane, const float* packed,
            float* frame_grad, float* weight_grad) const {
    float* const columns = (float*)(scratch + columns_at);  // first the gradients of the columns, then the columns
    float* const grad = (float*)(scratch + grad_at);
    Samples* const samples = (Samples*)(scratch + samples_at);
    Slopes* const slopes = (Slopes*)(scratch + slopes_at);
    const int64_t pixels = tile.pixels(), grad_rows = plan.rows * plan.padded_o;
    const float* const input = (const float*)p.input + (n * p.t.in + frame_in) * frame;

    for (int64_t r = 0; r < tile.rows; r++) {
      const float* from = p.grad + (((n * p.t.out + t) * p.y.out + tile.y + r) * p.x.out + tile.x) * p.outputs;
      float* to = grad + r * tile.width * plan.padded_o;
      if (p.groups == 1 && plan.padded_o == plan.o) memcpy(to, from, sizeof(float) * tile.width * p.outputs);
      else
        for (int64_t i = 0; i < tile.width; i++, to += plan.padded_o)
          for (int64_t g = 0; g < p.groups; g++, from += plan.o)
            memcpy(to + g * grad_rows, from, sizeof(float) * plan.o);
    }

    for (int64_t tap = plane * plan.area; tap < (plane + 1) * plan.area; tap += plan.together) {
      const int64_t count = smaller(plan.together, (plane + 1) * plan.area - tap);
      for (int64_t r = 0; r < tile.rows; r++)
        locate_row<true>(p, n, t, tile.y + r, tile.x, tile.width, tap, count, samples + r * plan.together,
                         slopes + r * plan.together);
      for (int64_t g = 0; g < p.groups; g++)
        for (int64_t q = 0; q < count; q++)
          for_each_panel(padded_c, [&](int64_t j, auto v) {
            constexpr int V = decltype(v)::count;
            block<V>(pixels, plan.o, grad + g * grad_rows, plan.padded_o,
                     packed + ((g * plan.taps + tap + q) * padded_c + j) * plan.o, V * LANES,
                     columns + g * plan.rows * ld + q * padded_c + j, ld, false);
          });
      for (int64_t r = 0; r < tile.rows; r++)
        row(scratch, n, t, tile.y + r, tile.x, tile.width, tap, count, r, input, frame_grad);
      const int64_t run = plan.c == padded_c ? count : 1;  // taps whose columns are stored without gaps
      for (int64_t g = 0; g < p.groups; g++)
        for (int64_t q = 0; q < count; q += run)
          for_each_panel(plan.padded_o, [&](int64_t j, auto v) {
            transposed_block<decltype(v)::count>(
                run * plan.c, pixels, columns + g * plan.rows * ld + q * padded_c, ld, grad + g * grad_rows + j,
                plan.padded_o, weight_grad + (g * plan.taps + tap + q) * plan.c * plan.padded_o + j, plan.padded_o);
          });
    }
  }

  template <int CHANNELS>
  void scatter_row(char* scratch, const Samples* samples, const Slopes* slopes, int64_t count, int64_t width,
                   bool first, const float* input, float* frame_grad, float* columns) const {
    Quad* const products = (Quad*)(scratch + products_at);
    // a corner outside the frame reads zeros, and writes to memory that is never read
    const float* const zeros = (const float*)(scratch + zeros_at);
    float* const waste = (float*)(scratch + waste_at);
    Quad all = {};
    for (int64_t i = 0; i < width; i++)
      for (int64_t q = 0; q < count; q++) {
        const float* corner[4];
        float* corner_grad[4];
        float weight[4];
        REFILM_UNROLL for (int k = 0; k < 4; k++) {
          const int32_t at = slopes[q].corner[k][i];
          corner[k] = at < 0 ? zeros : input + at;
          corner_grad[k] = at < 0 ? waste : frame_grad + at;
          weight[k] = samples[q].weight[k][i];
        }
        float* const column = columns + i * ld + q * padded_c;
        const Quad product = scatter<CHANNELS>(plan.c, column, corner, corner_grad, weight);
        products[q * WIDE + i] = first ? product : products[q * WIDE + i] + product;
        all += product;
      }
    // If a value is not finite, sample again as the forward does, which ignores corners of weight zero.
    if (!finite(all))
      for (int64_t q = 0; q < count; q++)
        sample_row_of<CHANNELS>(plan.c, &input, samples + q, 1, 0, width, columns + q * padded_c, ld, 0);
  }

  // For one row, turns the gradients of the columns into those of the frame, the offsets and the importances, and
  // replaces them by the columns, sampled again.
  void row(char* scratch, int64_t n, int64_t t, int64_t y, int64_t x, int64_t width, int64_t tap, int64_t count,
           int64_t r, const float* input, float* frame_grad) const {
    const Samples* samples = (const Samples*)(scratch + samples_at) + r * plan.together;
    const Slopes* slopes = (const Slopes*)(scratch + slopes_at) + r * plan.together;
    Quad* const products = (Quad*)(scratch + products_at);
    for (int64_t g = 0; g < p.groups; g++) {
      const float* from = input + g * plan.c;
      float* columns = (float*)(scratch + columns_at) + (g * plan.rows + r * width) * ld;
      float* to = frame_grad + g * plan.c;
      switch (plan.c) {
        case 32: scatter_row<32>(scratch, samples, slopes, count, width, !g, from, to, columns); break;
        case 64: scatter_row<64>(scratch, samples, slopes, count, width, !g, from, to, columns); break;
        default: scatter_row<0>(scratch, samples, slopes, count, width, !g, from, to, columns);
      }
    }
    for (int64_t q = 0; q < count; q++)
      write_slopes(p, tap + q, n, t, y, x, width, samples[q], slopes[q], products + q * WIDE);
  }

  void run() const {
    const int64_t tiles = plan.tiles.count(), O = plan.o, C = plan.c, T = plan.taps;
    const Scratch packed(p.groups * T * padded_c * O * 4), scratch(layout.bytes * p.threads);
    const Scratch weight_grads(shares.count * weights * 4);
    // A share that starts inside a frame has its own copy of that frame's gradient, since another share adds to it too.
    const Scratch frame_grads(p.batch * p.t.in < WHOLE_FRAMES ? shares.count * frame * 4 : 0);
    const float* weight = (const float*)p.weight;
    const int64_t plane = p.batch * p.t.out * p.y.out * p.x.out * sizeof(float);
    expect_large(p.input_grad, p.batch * p.t.in * frame * sizeof(float));
    expect_large(p.offset_grad.data, 2 * T * plane);
    expect_large(p.importance_grad.data, T * plane);

#pragma omp parallel num_threads(p.threads)
    {
      char* const mine = scratch.at<char>(omp_get_thread_num() * layout.bytes);
#pragma omp for nowait
      for (int64_t f = 0; f < p.batch * p.t.in; f++) memset(p.input_grad + f * frame, 0, sizeof(float) * frame);
#pragma omp for
      for (int64_t job = 0; job < p.groups * T; job++)
        pack(weight + job / T * O * C * T + job % T, O, C * T, C, T, packed.at<float>(job * padded_c * O * 4), 0, O);
#pragma omp for schedule(dynamic, 1)
      for (int64_t s = 0; s < shares.count; s++)
        for (int64_t item = shares.start[s]; item < shares.start[s + 1]; item++) {
          const int64_t slot = item / tiles, n = slot / p.t.in, frame_in = slot % p.t.in;
          const Tile t(p, plan.tiles, item % tiles);
          if (!t.pixels()) continue;
          const bool own = slot * tiles >= shares.start[s];
          float* frame_grad = own ? p.input_grad + slot * frame : frame_grads.at<float>(s * frame * 4);
          for (int64_t k = 0; k < p.t.kernel; k++) {
            const int64_t out = Shares::output_frame(p, frame_in, k);
            if (out >= 0)
              tile(mine, t, n, frame_in, out, k, packed.at<float>(0), frame_grad, weight_grads.at<float>(s * weights * 4));
          }
        }
#pragma omp for
      for (int64_t i = 0; i < frame; i += 1024)
        for (int64_t s = 0; s < shares.count; s++) {
          if (shares.start[s] % tiles == 0) continue;
          float* to = p.input_grad + shares.start[s] / tiles * frame;
          const float* from = frame_grads.at<float>(s * frame * 4);
          for (int64_t k = i; k < smaller(i + 1024, frame); k++) to[k] += from[k];
        }
#pragma omp for
      for (int64_t k = 0; k < p.groups * T * C; k++) {
        float* sum = weight_grads.at<float>(k * plan.padded_o * 4);
        for (int64_t s = 1; s < shares.count; s++)
          for (int64_t o = 0; o < O; o++) sum[o] += sum[s * weights + o];
        const int64_t g = k / (T * C), tap = k / C % T, c = k % C;
        for (int64_t o = 0; o < O; o++) p.weight_grad[((g * O + o) * C + c) * T + tap] = sum[o];
      }
      // zero gradients for taps that read a frame outside the clip
#pragma omp for
      for (int64_t job = 0; job < p.batch * p.t.out * p.y.out; job++) {
        const int64_t n = job / p.y.out / p.t.out, t = job / p.y.out % p.t.out, y = job % p.y.out;
        const auto &o = p.offset_grad, &m = p.importance_grad;
        for (int64_t tap = 0; tap < T; tap++) {
          const int64_t frame_in = p.t.position(t, tap / plan.area);
          if (frame_in >= 0 && frame_in < p.t.in) continue;
          for (int64_t x = 0; x < p.x.out; x++) {
            m.data[n * m.n + tap * m.k + t * m.t + y * m.y + x * m.x] = 0;
            for (int d = 0; d < 2; d++) o.data[n * o.n + (2 * tap + d) * o.k + t * o.t + y * o.y + x * o.x] = 0;
          }
        }
      }
    }
  }
};

void backward(const Ls3dBackward& p) { Backward(p).run(); }

// Only the product of a register block, on data in the L1 cache: the peak that the kernels are compared with.
int64_t multiply_add(int64_t rounds, int threads) {
  constexpr int64_t M = rows_for(PANEL), K = 64, N = PANEL * LANES;
#pragma omp parallel num_threads(threads)
  {
    alignas(64) float a[M * K], b[K * N], c[M * N] = {};
    for (float& v : a) v = 1.f;
    for (float& v : b) v = 1.f;
    for (int64_t i = 0; i < rounds; i++) block<PANEL>(M, K, a, K, b, N, c, N, true);
    volatile float kept = c[0];
    (void)kept;
  }
  return rounds * threads * M * K * N * 2;
}

}  // namespace

extern const Ls3dKernels ls3d_kernels;
const Ls3dKernels ls3d_kernels = {forward<float>,
#ifdef __AVX512BF16__
                                  forward<Bf16>,
#else
                                  nullptr,
#endif
                                  backward, multiply_add};

}  // namespace refilm::REFILM_ISA
