// The gate of a disk: whether requests may use its key.
//
// live serves; hung parks; failed answers EIO. Only live holds a key, or a gate that is closing: a request that came in
// holds a Pass, and the key is wiped when the last Pass has left, never under one. A Gate destroyed while passes are out
// is a fault of ours, and aborts.
//
// A gate may be held, whatever its state is: a live one then parks what comes, as a hung one does, and keeps the key.
//
// Any thread may enter, leave, hold and release. open() and shut() come from the disk's control thread. The one mutex guards all
// members and is held for a few instructions, never across I/O or a callback.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/xts.h"

namespace sealdisk {

class Gate {
 public:
  enum class State { live, hung, failed };

  class Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      std::swap(gate_, other.gate_);
      return *this;
    }
    ~Pass() {
      if (gate_) gate_->leave();
    }
    // Valid as long as the Pass is.
    const XtsKey& key() const noexcept { return gate_->key_; }

   private:
    friend class Gate;
    explicit Pass(Gate* gate) noexcept : gate_(gate) {}
    Gate* gate_;
  };

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate();

  // Empty unless live and not held.
  std::optional<Pass> enter() noexcept;
  State state() const noexcept;
  bool held() const noexcept;

  // Goes live. While passes of an earlier life are still out, the key that they use stays and `key` is dropped: it is
  // the same disk's, as its header's digest has shown.
  void open(XtsKey key);

  // Leaves live, or changes between hung and failed. `wiped` is called once, when no key is held any more (or the gate
  // went live again before that), on this thread or on that of the last Pass.
  void shut(State to, std::function<void()> wiped);

  // Lets nobody in until release(). `still` is called once, when no pass is out, on this thread or on that of the last Pass.
  // Holds add up: each has its release().
  void hold(std::function<void()> still);
  void release() noexcept;

 private:
  using Calls = std::vector<std::function<void()>>;

  void leave() noexcept;

  mutable std::mutex mutex_;
  State state_ = State::hung;
  size_t passes_ = 0;
  XtsKey key_;
  size_t holds_ = 0;
  Calls waitingForWipe_, waitingForStillness_;
};

}  // namespace sealdisk
