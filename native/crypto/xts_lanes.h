// AES-256-XTS written once for vectors of one, two or four AES blocks; included by one file per instruction set.
//
// The includer defines SEALDISK_TARGET, SEALDISK_INLINE and a `Lanes` type in an anonymous namespace, so that nothing
// here is shared between instruction sets by the linker. Eight vectors are in flight. Round keys are read from the
// schedule at every round and never live longer than a round: the compiler has no reason to put one on the stack. It does
// put tweaks and half-done blocks there, from which and a known plaintext a round key follows: so the stack that a run
// used is cleared after it. Needs no alignment of the data.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/residue.h"
#include "crypto/xts_kernel.h"

namespace sealdisk {

enum class Direction { kEncrypt, kDecrypt };

template <class Lanes>
struct LaneCipher {
  using Vector = typename Lanes::Vector;

  static constexpr size_t kVectors = 8;
  static constexpr size_t kVectorBytes = Lanes::kBlocks * kAesBlockBytes;
  static constexpr size_t kBlocksInFlight = kVectors * Lanes::kBlocks;
  static constexpr size_t kStrideBytes = kVectors * kVectorBytes;
  static_assert(512 % kStrideBytes == 0, "the smallest sector is a whole number of strides");

  // The processor's own prefetcher stops at the end of a page: what comes a page later is fetched by us.
  static constexpr size_t kAheadBytes = 4096;
  static constexpr size_t kCacheLineBytes = 64;

  using RoundKeys = const uint8_t (*)[kAesBlockBytes];

  // A round key from the schedule. The pointer is made unknown to the compiler, so that no load is moved out of a loop.
  SEALDISK_INLINE static Vector roundKey(RoundKeys& keys, size_t round) {
    asm("" : "+r"(keys));
    return Lanes::broadcast(keys[round]);
  }

  template <Direction kDirection>
  SEALDISK_INLINE static void cipher(Vector (&blocks)[kVectors], RoundKeys keys) {
    const Vector whitening = roundKey(keys, 0);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) blocks[i] = Lanes::exclusiveOr(blocks[i], whitening);
#pragma GCC unroll 16
    for (size_t round = 1; round < kAes256RoundKeys - 1; round++) {
      const Vector key = roundKey(keys, round);
#pragma GCC unroll 8
      for (size_t i = 0; i < kVectors; i++) {
        blocks[i] = kDirection == Direction::kEncrypt ? Lanes::encryptRound(blocks[i], key)
                                                      : Lanes::decryptRound(blocks[i], key);
      }
    }
    const Vector last = roundKey(keys, kAes256RoundKeys - 1);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) {
      blocks[i] = kDirection == Direction::kEncrypt ? Lanes::encryptLast(blocks[i], last)
                                                    : Lanes::decryptLast(blocks[i], last);
    }
  }

  // First tweaks of kBlocksInFlight sectors: LE64 of their numbers, encrypted under the tweak key.
  SEALDISK_INLINE static void sectorTweaks(RoundKeys tweakKeys, uint64_t firstSector512, uint64_t step, uint8_t* out) {
    Vector tweaks[kVectors];
    tweaks[0] = Lanes::numbers(firstSector512, step);
    const Vector increment = Lanes::numbers(Lanes::kBlocks * step, 0);
#pragma GCC unroll 8
    for (size_t i = 1; i < kVectors; i++) tweaks[i] = Lanes::addNumbers(tweaks[i - 1], increment);
    cipher<Direction::kEncrypt>(tweaks, tweakKeys);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) Lanes::store(out + i * kVectorBytes, tweaks[i]);
  }

  SEALDISK_INLINE static void fetch(const uint8_t* ahead) {
#pragma GCC unroll 8
    for (size_t at = 0; at < kStrideBytes; at += kCacheLineBytes) __builtin_prefetch(ahead + at, 0, 3);
  }

  template <Direction kDirection>
  SEALDISK_INLINE static void stride(RoundKeys keys, const uint8_t* from, uint8_t* to, const Vector (&tweaks)[kVectors]) {
    Vector blocks[kVectors];
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) {
      blocks[i] = Lanes::exclusiveOr(Lanes::load(from + i * kVectorBytes), tweaks[i]);
    }
    cipher<kDirection>(blocks, keys);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) {
      Lanes::store(to + i * kVectorBytes, Lanes::exclusiveOr(blocks[i], tweaks[i]));
    }
  }

  template <Direction kDirection>
  SEALDISK_INLINE static void sector(RoundKeys keys, const uint8_t* from, uint8_t* to, size_t sectorBytes,
                                     const uint8_t* firstTweak, const uint8_t* runEnd) {
    Vector tweaks[kVectors];
    const Vector first = Lanes::broadcast(firstTweak);
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) tweaks[i] = Lanes::powers(first, i * Lanes::kBlocks);
    for (uint8_t* const end = to + sectorBytes;;) {
      if (from + kAheadBytes < runEnd) fetch(from + kAheadBytes);
      stride<kDirection>(keys, from, to, tweaks);
      from += kStrideBytes;
      to += kStrideBytes;
      if (to == end) return;
#pragma GCC unroll 8
      for (size_t i = 0; i < kVectors; i++) tweaks[i] = Lanes::template advance<kBlocksInFlight / 8>(tweaks[i]);
    }
  }

  template <Direction kDirection>
  static void crypt(const XtsSchedule& schedule, const XtsRun& run) noexcept {
    cryptSectors<kDirection>(schedule, run);
    clearKernelStack();
  }

  template <Direction kDirection>
  SEALDISK_TARGET __attribute__((noinline)) static void cryptSectors(const XtsSchedule& schedule, const XtsRun& run) noexcept {
    alignas(64) uint8_t tweaks[kBlocksInFlight][kAesBlockBytes];
    const RoundKeys keys = kDirection == Direction::kEncrypt ? schedule.encrypt : schedule.decrypt;
    const uint64_t step = run.sectorBytes / 512;
    uint64_t sector512 = run.firstSector512;
    const uint8_t* from = run.from;
    uint8_t* to = run.to;
    for (size_t left = run.bytes / run.sectorBytes; left > 0;) {
      const size_t batch = left < kBlocksInFlight ? left : kBlocksInFlight;
      sectorTweaks(schedule.tweak, sector512, step, tweaks[0]);
      for (size_t i = 0; i < batch; i++) {
        sector<kDirection>(keys, from, to, run.sectorBytes, tweaks[i], run.from + run.bytes);
        from += run.sectorBytes;
        to += run.sectorBytes;
      }
      sector512 += batch * step;
      left -= batch;
    }
    Lanes::clearRegisters();
  }
};

}  // namespace sealdisk
