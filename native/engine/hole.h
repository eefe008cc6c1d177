// How a hole is told from ciphertext: a sector of nothing but zeros is a hole, and reads as zeros. XTS makes such a
// sector of one plaintext in 2^4096 or more, which nobody can find without the key. See docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sealdisk {

// `bytes` is a sector's, at least 16. Of ciphertext the first word says it.
inline bool isHole(const uint8_t* sector, size_t bytes) noexcept {
  uint64_t first;
  std::memcpy(&first, sector, sizeof first);
  return first == 0 && std::memcmp(sector, sector + sizeof first, bytes - sizeof first) == 0;
}

}  // namespace sealdisk
