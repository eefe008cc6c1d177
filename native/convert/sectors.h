// Runs of sectors: which are holes, and the cipher over those that are not. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/xts.h"

namespace sealdisk {

// The length of the run of sectors at `data` that are all holes, or all not; its kind in `hole`. `bytes` is not zero.
size_t runOf(const uint8_t* data, size_t bytes, size_t sectorBytes, bool& hole) noexcept;

// In place; what is a hole stays zeros. `firstSector512` is the number of the first 512 bytes.
void decryptBetweenHoles(const XtsKey& key, uint8_t* data, size_t bytes, size_t sectorBytes, uint64_t firstSector512) noexcept;

}  // namespace sealdisk
