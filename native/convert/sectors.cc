#include "convert/sectors.h"

#include "engine/hole.h"

namespace sealdisk {

size_t runOf(const uint8_t* data, size_t bytes, size_t sectorBytes, bool& hole) noexcept {
  hole = isHole(data, sectorBytes);
  size_t run = sectorBytes;
  while (run < bytes && isHole(data + run, sectorBytes) == hole) run += sectorBytes;
  return run;
}

void decryptBetweenHoles(const XtsKey& key, uint8_t* data, size_t bytes, size_t sectorBytes, uint64_t firstSector512) noexcept {
  for (size_t at = 0; at < bytes;) {
    bool hole = false;
    const size_t run = runOf(data + at, bytes - at, sectorBytes, hole);
    if (!hole) key.decrypt(data + at, data + at, run, sectorBytes, firstSector512 + at / 512);
    at += run;
  }
}

}  // namespace sealdisk
