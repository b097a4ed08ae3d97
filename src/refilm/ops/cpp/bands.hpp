// Adding up what pixels give to other places, the same to the last bit for any number of threads. The rows of the map that
// is added to are divided into bands, and one thread fills a band: it goes through all pixels that may give something to
// it, in their order. So the order of the sums at a place depends neither on the bands nor on the threads, and no two
// threads add to the same place.
#pragma once
#include "scratch.hpp"

namespace refilm::REFILM_ISA {

struct Bands {
  int64_t rows, count;  // of a band, of bands in a map
  Bands(int64_t maps, int64_t height, int threads) {
    constexpr int64_t FEWEST_ROWS = 16;  // since pixels near an edge are looked at for both bands
    const int64_t wanted = larger<int64_t>(1, (4 * threads + maps - 1) / maps);
    rows = larger(FEWEST_ROWS, (height + wanted - 1) / wanted);
    count = (height + rows - 1) / rows;
  }
};

}  // namespace refilm::REFILM_ISA
