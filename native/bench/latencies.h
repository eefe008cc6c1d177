// Latencies in a fixed table: 64 steps for each doubling, so that a percentile is right to about one per cent.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace load {

class Latencies {
 public:
  void add(uint64_t ns) noexcept { ++counts_[slotOf(ns)]; }
  void add(const Latencies& others) noexcept {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += others.counts_[i];
  }
  void clear() noexcept { counts_.fill(0); }

  // In µs; 0 when there are none.
  double percentileUs(double percent) const noexcept {
    uint64_t total = 0, seen = 0;
    for (const uint64_t count : counts_) total += count;
    for (size_t slot = 0; slot < counts_.size(); ++slot) {
      seen += counts_[slot];
      if (total && static_cast<double>(seen) >= static_cast<double>(total) * percent / 100) return static_cast<double>(floorOf(slot)) / 1000;
    }
    return 0;
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr uint64_t kSteps = 1 << kStepBits;

  static size_t slotOf(uint64_t ns) noexcept {
    if (ns < kSteps) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kStepBits;
    return (shift + 1) * kSteps + ((ns >> shift) - kSteps);
  }
  static uint64_t floorOf(size_t slot) noexcept {
    if (slot < kSteps) return slot;
    return (kSteps + slot % kSteps) << (slot / kSteps - 1);
  }

  std::array<uint64_t, (64 - kStepBits) * kSteps> counts_{};
};

}  // namespace load
