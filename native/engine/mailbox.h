// What other threads tell a connection: its gate has changed, it is to drain or to close, a job of its that waited for a claim or a
// sync goes on.
//
// Any thread posts, also when the connection is gone; the connection's thread takes. The mutex guards the list of jobs, and
// the wake from its end.
#pragma once

#include <atomic>
#include <mutex>

#include "engine/job.h"
#include "engine/wake.h"

namespace sealdisk {

class Mailbox {
 public:
  Wake& wake() noexcept { return wake_; }

  void gateChanged() noexcept { post(gateChanged_); }
  void drain() noexcept { post(draining_); }
  void close() noexcept { post(closing_); }
  // Under the lock to the end: the connection may be gone as soon as it has taken its last job.
  void goOn(Job* job) noexcept {
    const std::lock_guard lock(mutex_);
    goingOn_.push(job);
    wake_.signal();
  }

  // Nobody takes any more: the wake is given back, what is posted is lost.
  void shut() noexcept {
    const std::lock_guard lock(mutex_);
    wake_.close();
  }

  bool takeGateChanged() noexcept { return gateChanged_.exchange(false); }
  bool draining() const noexcept { return draining_.load(); }
  bool closing() const noexcept { return closing_.load(); }
  Job* takeGoingOn() noexcept {
    const std::lock_guard lock(mutex_);
    return goingOn_.pop();
  }

 private:
  void post(std::atomic<bool>& news) noexcept {
    const std::lock_guard lock(mutex_);
    news.store(true);
    wake_.signal();
  }

  Wake wake_;
  std::atomic<bool> gateChanged_{false}, draining_{false}, closing_{false};
  std::mutex mutex_;
  JobList goingOn_;
};

}  // namespace sealdisk
