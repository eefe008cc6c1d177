#include "engine/gate.h"

#include <cstdlib>

namespace sealdisk {

Gate::~Gate() {
  if (passes_ != 0) std::abort();
}

std::optional<Gate::Pass> Gate::enter() noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::live || holds_ != 0) return std::nullopt;
  ++passes_;
  return Pass(this);
}

Gate::State Gate::state() const noexcept {
  const std::lock_guard lock(mutex_);
  return state_;
}

bool Gate::held() const noexcept {
  const std::lock_guard lock(mutex_);
  return holds_ != 0;
}

void Gate::open(XtsKey key) {
  Calls superseded;
  {
    const std::lock_guard lock(mutex_);
    if (passes_ == 0) key_ = std::move(key);
    state_ = State::live;
    superseded.swap(waitingForWipe_);
  }
  for (auto& call : superseded) call();
}

void Gate::shut(State to, std::function<void()> wiped) {
  {
    const std::lock_guard lock(mutex_);
    state_ = to;
    if (passes_ != 0) {
      waitingForWipe_.push_back(std::move(wiped));
      return;
    }
    key_ = XtsKey();
  }
  wiped();
}

void Gate::hold(std::function<void()> still) {
  {
    const std::lock_guard lock(mutex_);
    ++holds_;
    if (passes_ != 0) {
      waitingForStillness_.push_back(std::move(still));
      return;
    }
  }
  still();
}

void Gate::release() noexcept {
  const std::lock_guard lock(mutex_);
  if (holds_-- == 0) std::abort();
}

// Who waits for stillness is told also when its hold is over: it was still, once.
void Gate::leave() noexcept {
  Calls wiped, still;
  {
    const std::lock_guard lock(mutex_);
    if (--passes_ != 0 || (state_ == State::live && waitingForStillness_.empty())) return;
    still.swap(waitingForStillness_);
    if (state_ != State::live) {
      key_ = XtsKey();
      wiped.swap(waitingForWipe_);
    }
  }
  for (auto& call : wiped) call();
  for (auto& call : still) call();
}

}  // namespace sealdisk
