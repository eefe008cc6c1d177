#include "engine/gate.h"

#include <cstdlib>

namespace sealdisk {

Gate::~Gate() {
  if (passes_ != 0) std::abort();
}

std::optional<Gate::Pass> Gate::enter() noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::live) return std::nullopt;
  ++passes_;
  return Pass(this);
}

Gate::State Gate::state() const noexcept {
  const std::lock_guard lock(mutex_);
  return state_;
}

void Gate::open(XtsKey key) {
  std::vector<std::function<void()>> superseded;
  {
    const std::lock_guard lock(mutex_);
    if (passes_ == 0) key_ = std::move(key);
    state_ = State::live;
    superseded.swap(waiting_);
  }
  for (auto& call : superseded) call();
}

void Gate::shut(State to, std::function<void()> wiped) {
  {
    const std::lock_guard lock(mutex_);
    state_ = to;
    if (passes_ != 0) {
      waiting_.push_back(std::move(wiped));
      return;
    }
    key_ = XtsKey();
  }
  wiped();
}

void Gate::leave() noexcept {
  std::vector<std::function<void()>> ready;
  {
    const std::lock_guard lock(mutex_);
    if (--passes_ != 0 || state_ == State::live) return;
    key_ = XtsKey();
    ready.swap(waiting_);
  }
  for (auto& call : ready) call();
}

}  // namespace sealdisk
