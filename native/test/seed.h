// Random bytes that can be had again: the seed is printed, SEED=n in the environment repeats a run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

inline uint64_t testSeed() {
  static const uint64_t kSeed = [] {
    const char* const given = getenv("SEED");
    const uint64_t seed = given != nullptr ? strtoull(given, nullptr, 0) : std::random_device()();
    printf("# SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
  }();
  return kSeed;
}

inline std::mt19937_64& testRandom() {
  static std::mt19937_64 random(testSeed());
  return random;
}

inline std::vector<uint8_t> randomBytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(testRandom()());
  return bytes;
}
