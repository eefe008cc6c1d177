// One event that one thread waits for and another reports. Lives until both have done so.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace sealdisk {

class Event {
 public:
  // Under the lock to the end: who waits may destroy us as soon as it is told.
  void set() noexcept {
    const std::lock_guard lock(mutex_);
    set_ = true;
    told_.notify_all();
  }
  void wait() noexcept {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [this] { return set_; });
  }
  // False when it did not come in time.
  bool waitFor(std::chrono::milliseconds time) noexcept {
    std::unique_lock lock(mutex_);
    return told_.wait_for(lock, time, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  bool set_ = false;
};

}  // namespace sealdisk
