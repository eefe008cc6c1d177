// Threads that do blocking disk I/O, where io_uring is not there. One pool per disk, shared by its connections.
//
// The one mutex guards the queue and is held for a few instructions. The destructor waits for what is queued.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/backing.h"

namespace sealdisk {

class Pool {
 public:
  // Called on a worker when the operation has ended.
  struct Task {
    IoOp* op;
    int fileFd;
    void (*done)(void* context, IoOp* op);
    void* context;
  };

  explicit Pool(size_t threads);  // throws std::system_error when one cannot be started
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void push(const std::vector<Task>& tasks);

 private:
  void work() noexcept;
  void end() noexcept;

  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Task> queue_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sealdisk
