// An eventfd that any thread signals and one thread waits for. Signals merge: however many, one wake-up.
//
// A producer publishes its news before signal(); the consumer reads them after clear(). So none is missed.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace sealdisk {

class Wake {
 public:
  Wake() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~Wake() { close(); }
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;

  // Gives the descriptor back; not beside a signal(). Twice is fine.
  void close() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  int fd() const noexcept { return fd_; }

  // Signalled and not cleared yet.
  bool pending() const noexcept { return pending_.load(std::memory_order_relaxed); }

  void signal() noexcept {
    if (fd_ < 0 || pending_.exchange(true)) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
  }

  void clear() noexcept {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof count);
    pending_.store(false);
  }

 private:
  int fd_;
  std::atomic<bool> pending_{false};
};

}  // namespace sealdisk
