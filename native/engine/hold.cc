#include "engine/hold.h"

#include <cerrno>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>

#include "engine/disk.h"
#include "engine/event.h"
#include "engine/limits.h"

namespace sealdisk {

namespace {

uint64_t nowNs() noexcept {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

}  // namespace

Hold::Hold(Disk& disk) : disk_(disk) {
  for (int tries = 1; tries < kHoldTries; ++tries) {
    if (tryFor(kHoldPatienceMs)) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(kHoldPauseMs));
  }
  if (!tryFor(kLastHoldPatienceMs))
    throw std::system_error(ETIME, std::generic_category(), "requests in flight do not end");
}

Hold::~Hold() {
  if (holds_) release();
}

// Of a try that is over the gate may still tell: what it tells outlives us.
bool Hold::tryFor(uint64_t patienceMs) {
  const auto still = std::make_shared<Event>();
  sinceNs_ = nowNs();
  disk_.hold([still] { still->set(); });
  holds_ = still->waitFor(std::chrono::milliseconds(patienceMs));
  if (!holds_) disk_.release();
  return holds_;
}

uint64_t Hold::release() noexcept {
  holds_ = false;
  disk_.release();
  return nowNs() - sinceNs_;
}

}  // namespace sealdisk
