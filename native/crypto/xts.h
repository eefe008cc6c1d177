// AES-256-XTS (IEEE 1619-2018, XTS-AES-256) as dm-crypt's aes-xts-plain64 uses it.
//
// The tweak of a sector is LE64 of its 512-byte sector number from the start of the segment, also where sectors have
// 4096 bytes (then it advances by 8). Calls are const and lock-free: any number of threads may use one XtsKey.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/data_key.h"
#include "crypto/secure_memory.h"

namespace sealdisk {

// A key schedule in secure memory. Wiped by its destructor. In no other place does a byte of it outlive the call.
class XtsKey {
 public:
  XtsKey() noexcept = default;
  explicit XtsKey(const DataKey& key);  // throws std::system_error
  XtsKey(XtsKey&&) noexcept = default;
  XtsKey& operator=(XtsKey&&) noexcept = default;

  // Over `bytes`, a multiple of `sectorBytes` (512 or 4096); `firstSector512` numbers the first 512 bytes. In place; decrypt()
  // also from one place to another that does not overlap it.
  void encrypt(uint8_t* data, size_t bytes, size_t sectorBytes, uint64_t firstSector512) const noexcept;
  void decrypt(const uint8_t* from, uint8_t* to, size_t bytes, size_t sectorBytes, uint64_t firstSector512) const noexcept;

  explicit operator bool() const noexcept { return static_cast<bool>(schedule_); }

 private:
  SecureMemory schedule_;
};

// The kernel chosen for this processor: "vaes-avx512", "vaes-avx2", "aes-ni" or "openssl". The environment variable
// SEALDISK_CIPHER names another one that the processor has (tests and benchmarks).
const char* xtsKernelName() noexcept;
// What it does on one core in a microsecond, about.
size_t xtsKernelBytesPerUs() noexcept;

// Known answers (IEEE 1619 annex B, NIST CAVP XTSGenAES256) against every kernel that this processor has, each at every
// length class its code distinguishes. Null when all pass, else what failed; then nothing may be served.
const char* xtsSelfTest() noexcept;

}  // namespace sealdisk
