// Numbers as the wire has them: big-endian, at any address.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace sealdisk {

static_assert(std::endian::native == std::endian::little);

constexpr uint16_t swapped(uint16_t value) noexcept { return __builtin_bswap16(value); }
constexpr uint32_t swapped(uint32_t value) noexcept { return __builtin_bswap32(value); }
constexpr uint64_t swapped(uint64_t value) noexcept { return __builtin_bswap64(value); }

template <typename T>
T loadRaw(const uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
T loadBig(const uint8_t* from) noexcept {
  return swapped(loadRaw<T>(from));
}

// Each returns where the next one goes.
template <typename T>
uint8_t* storeRaw(uint8_t* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

template <typename T>
uint8_t* storeBig(uint8_t* to, T value) noexcept {
  return storeRaw(to, swapped(value));
}

}  // namespace sealdisk
