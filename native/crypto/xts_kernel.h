// One way to compute AES-256-XTS, and the list of all ways that this processor has.
//
// A kernel expands a key into an XtsSchedule that only the same kernel reads, and runs over whole sectors. It
// keeps no state, and leaves no byte of the key or the schedule on the stack, on the heap or in registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sealdisk {

constexpr size_t kAesBlockBytes = 16;
constexpr size_t kAes256RoundKeys = 15;

// Lives in SecureMemory only. The OpenSSL kernel uses just the first 32 bytes of `encrypt` and `tweak`: round keys 0
// and 1 of AES-256 are the key itself.
struct XtsSchedule {
  alignas(64) uint8_t encrypt[kAes256RoundKeys][kAesBlockBytes];
  alignas(64) uint8_t decrypt[kAes256RoundKeys][kAesBlockBytes];
  alignas(64) uint8_t tweak[kAes256RoundKeys][kAesBlockBytes];
};

// A run of whole sectors, numbered as xts.h says.
struct XtsRun {
  const uint8_t* from;
  uint8_t* to;  // as `from`, or memory that does not overlap it
  size_t bytes;
  size_t sectorBytes;
  uint64_t firstSector512;
};

struct XtsKernel {
  const char* name;
  size_t bytesPerUs;  // about, on one core of 2024
  bool (*available)() noexcept;
  void (*expand)(const uint8_t* key, XtsSchedule& schedule) noexcept;  // `key` has 64 bytes
  void (*encrypt)(const XtsSchedule& schedule, const XtsRun& run) noexcept;
  void (*decrypt)(const XtsSchedule& schedule, const XtsRun& run) noexcept;
};

extern const XtsKernel kXtsOpenssl;
#if defined(__x86_64__)
extern const XtsKernel kXtsAesNi;
extern const XtsKernel kXtsVaesAvx2;
extern const XtsKernel kXtsVaesAvx512;
#endif

// Every kernel of this build, fastest first; ask `available` before use.
std::span<const XtsKernel* const> xtsKernels() noexcept;

}  // namespace sealdisk
