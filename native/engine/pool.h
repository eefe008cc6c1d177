// Threads that work for the connections of one disk. A disk has up to two pools: one for blocking I/O where io_uring is not
// there, and the crew, which does the cipher's part of long requests where there is more than one processor.
//
// The one mutex guards the queue and is held for a few instructions. The destructor waits for what is queued.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace sealdisk {

class Pool {
 public:
  // One call, on a worker.
  struct Task {
    void (*run)(void* context, void* item) noexcept;
    void* context;
    void* item;
  };

  explicit Pool(size_t threads);  // throws std::system_error when one cannot be started
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void push(std::span<const Task> tasks);
  // How many tasks wait or are being worked on.
  size_t busy() const noexcept { return busy_.load(std::memory_order_relaxed); }
  size_t threads() const noexcept { return threads_.size(); }

 private:
  void work() noexcept;
  void end() noexcept;

  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Task> queue_;
  bool closing_ = false;
  std::atomic<size_t> busy_{0};
  std::vector<std::thread> threads_;
};

}  // namespace sealdisk
