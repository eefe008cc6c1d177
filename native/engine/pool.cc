#include "engine/pool.h"

#include <poll.h>

#include "engine/limits.h"
#include "engine/page_cache.h"
#include "engine/process.h"
#include "engine/wake.h"

namespace sealdisk {

namespace {

// One connection's operations on the disk's pool. The mutex guards done_, which workers fill.
class PoolBacking final : public Backing {
 public:
  PoolBacking(Pool& pool, int fileFd, int socketFd, Wake& wake)
      : pool_(pool), fileFd_(fileFd), socketFd_(socketFd), wake_(wake), pageCache_(fileFd) {
    batch_.reserve(kJobsPerConnection);
  }

  void submit(IoOp* op) noexcept override {
    if (endsHere(op)) {
      op->next = ended_;
      ended_ = op;
    } else {
      batch_.push_back({&PoolBacking::carryOut, this, op});
    }
  }

  void flush() noexcept override {
    if (!batch_.empty()) pool_.push(batch_);
    batch_.clear();
  }

  IoOp* ended() noexcept override {
    if (!ended_) {
      const std::lock_guard lock(mutex_);
      std::swap(ended_, done_);
    }
    IoOp* op = ended_;
    if (op) ended_ = op->next;
    return op;
  }

  Ready wait(short socketEvents, bool block) noexcept override {
    flush();
    if (ended_) block = false;
    pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {socketEvents ? socketFd_ : -1, socketEvents, 0}};
    if (poll(fds, 2, block ? -1 : 0) <= 0) return {};
    if (fds[0].revents) wake_.clear();
    return {fds[1].revents, fds[0].revents != 0};
  }

 private:
  bool endsHere(IoOp* op) noexcept {
    if (op->kind == IoOp::Kind::read) return pageCache_.tryRead(op);
    return op->kind == IoOp::Kind::write && pageCache_.tryWrite(op);
  }

  static void carryOut(void* context, void* item) noexcept {
    auto* self = static_cast<PoolBacking*>(context);
    auto* op = static_cast<IoOp*>(item);
    while (!op->advance(op->call(self->fileFd_))) {
    }
    // Under the lock to the end: the connection may destroy us as soon as it has seen the last operation.
    const std::lock_guard lock(self->mutex_);
    op->next = self->done_;
    self->done_ = op;
    self->wake_.signal();
  }

  Pool& pool_;
  const int fileFd_;
  const int socketFd_;
  Wake& wake_;
  PageCache pageCache_;
  std::vector<Pool::Task> batch_;
  IoOp* ended_ = nullptr;
  std::mutex mutex_;
  IoOp* done_ = nullptr;
};

}  // namespace

Pool::Pool(size_t threads) {
  const SignalsBlocked untilStarted;
  threads_.reserve(threads);
  try {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {
    end();
    throw;
  }
}

Pool::~Pool() { end(); }

void Pool::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  filled_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Pool::push(std::span<const Task> tasks) {
  busy_.fetch_add(tasks.size(), std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    queue_.insert(queue_.end(), tasks.begin(), tasks.end());
  }
  for (size_t i = 0; i < tasks.size(); ++i) filled_.notify_one();
}

void Pool::work() noexcept {
  lockOwnStack();
  std::unique_lock lock(mutex_);
  for (;;) {
    filled_.wait(lock, [this] { return !queue_.empty() || closing_; });
    if (queue_.empty()) return;
    const Task task = queue_.front();
    queue_.pop_front();
    lock.unlock();
    task.run(task.context, task.item);
    busy_.fetch_sub(1, std::memory_order_relaxed);
    lock.lock();
  }
}

std::unique_ptr<Backing> makePoolBacking(Pool& pool, int fileFd, int socketFd, Wake& wake) {
  return std::make_unique<PoolBacking>(pool, fileFd, socketFd, wake);
}

}  // namespace sealdisk
