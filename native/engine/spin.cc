#include "engine/spin.h"

#include <sched.h>

#include <atomic>
#include <chrono>

#include "engine/limits.h"

namespace sealdisk {

namespace {

uint64_t nowNs() noexcept {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

int countProcessors() noexcept {
  cpu_set_t mine;
  return sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1;
}

const int kProcessors = countProcessors();
std::atomic<int> awake{0};  // connections

}  // namespace

Spin::Spin() noexcept { awake.fetch_add(1, std::memory_order_relaxed); }
Spin::~Spin() { awake.fetch_sub(1, std::memory_order_relaxed); }

int Spin::processors() noexcept { return kProcessors; }

bool Spin::crowded() noexcept { return awake.load(std::memory_order_relaxed) >= kProcessors; }

bool Spin::begin() noexcept {
  if (lengthNs_ == 0 || crowded()) return false;
  sinceNs_ = nowNs();
  return true;
}

bool Spin::lasts() const noexcept { return nowNs() - sinceNs_ < lengthNs_; }

void Spin::end(bool found) noexcept {
  lengthNs_ = found ? kSpinMaxNs : lengthNs_ / 2;
  if (lengthNs_ < kSpinMinNs) lengthNs_ = 0;
}

void Spin::fallAsleep() noexcept {
  awake.fetch_sub(1, std::memory_order_relaxed);
  sinceNs_ = nowNs();
}

void Spin::wakeUp(bool input) noexcept {
  awake.fetch_add(1, std::memory_order_relaxed);
  if (input && nowNs() - sinceNs_ < kSpinMaxNs) lengthNs_ = kSpinMaxNs;
}

}  // namespace sealdisk
