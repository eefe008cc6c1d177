// A disk's data key: 64 bytes, the two AES-256 keys of XTS, in secure memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/secure_memory.h"

namespace sealdisk {

constexpr size_t kDataKeyBytes = 64;

class DataKey {
 public:
  // Copies 64 bytes into secure memory and overwrites `source`, also when it throws:
  // std::invalid_argument for another length or for two equal halves (IEEE 1619 forbids them), std::system_error as
  // SecureMemory does.
  static DataKey take(std::span<uint8_t> source);

  // PBKDF2-HMAC-SHA-256 of the key (the digest of a LUKS2 header).
  void pbkdf2Sha256(std::span<const uint8_t> salt, uint32_t iterations, std::span<uint8_t> out) const;
  // HMAC-SHA-256 of `message` under HKDF-SHA-256(key, no salt, info = label).
  std::array<uint8_t, 32> hmac(std::span<const uint8_t> label, std::span<const uint8_t> message) const;

  // PBKDF2-HMAC-SHA-256 of `before`, the keys, `after`, as one text: how LUKS2 proves the record of a reencryption.
  static void pbkdf2Sha256Of(std::span<const uint8_t> before, std::span<const DataKey* const> keys, std::span<const uint8_t> after,
                             std::span<const uint8_t> salt, uint32_t iterations, std::span<uint8_t> out);

  std::span<const uint8_t, kDataKeyBytes> bytes() const noexcept;
  bool wiped() const noexcept { return !memory_; }
  void wipe() noexcept { memory_ = SecureMemory(); }

 private:
  SecureMemory memory_;
};

}  // namespace sealdisk
