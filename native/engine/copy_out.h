// A copy of a disk's file as it is at one instant, made while the disk is written: copy before write.
//
// At the instant requests are held for a moment. From then on a write waits until the chunks that it changes stand in the copy,
// those that nobody writes are copied behind, and the disk's own requests go first. What is copied is what lies in the file, header
// and all; holes stay holes. The copy is on stable storage when it is over. When it cannot go on (no space left, cancelled) it has
// failed, and the disk goes on.
//
// One thread makes the copy, so that no two copy the same chunk; it alone sets bits of the map. Threads: pass() and has() are for
// connections, cancel(), progress(), join() for the control thread. Lock order: Copies, then mutex_; told is called without either.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/arena.h"
#include "engine/copy_map.h"
#include "engine/fd.h"

namespace sealdisk {

class Disk;

struct CopyOptions {
  std::string path;     // of the copy; the file must be empty or not be there, unless it resumes
  std::string mapPath;  // must not be there, unless it resumes
  bool resume = false;  // goes on with a copy whose process was killed, before the disk goes live
};

class CopyOut {
 public:
  // Lies in its owner and stays there from pass() until it is told.
  struct Wait {
    uint64_t begin = 0, end = 0;  // bytes of the file that are to be changed
    void (*told)(Wait*) = nullptr;
    void* owner = nullptr;

   private:
    friend class CopyOut;
    Wait* next_ = nullptr;
  };

  struct Progress {
    uint64_t copiedBytes, totalBytes;
  };

  // `begun` is called when the instant is over (how long requests were held), `ended` as the last act of the copy's thread (an
  // errno, or 0). Throws std::system_error.
  CopyOut(Disk& disk, CopyOptions options, std::function<void(uint64_t heldNs)> begun, std::function<void(int error)> ended);
  ~CopyOut();
  CopyOut(const CopyOut&) = delete;
  CopyOut& operator=(const CopyOut&) = delete;

  // True when the bytes may be changed; else it is told when that may be so.
  bool pass(Wait* wait) noexcept;
  bool has(uint64_t begin, uint64_t end) const noexcept;

  Progress progress() const noexcept;
  // It has failed, and nobody waits for it any more, also when its target does not answer. Twice is fine.
  void cancel() noexcept;
  void join() noexcept;
  bool finished() const noexcept { return finished_.load(); }

 private:
  struct Run {
    size_t begin, end;  // chunks
  };

  void run() noexcept;
  void openFiles();
  void take();
  void copyAll();
  std::optional<Run> next();
  Run runFrom(size_t chunk, size_t limit) const noexcept;
  void giveWay(std::unique_lock<std::mutex>& lock);
  void skipHole() noexcept;
  void copy(Run run);
  void copyBytes(uint64_t begin, uint64_t end);
  void writeOutBehind() noexcept;
  void tellThoseWhoMay() noexcept;
  void fail() noexcept;

  Disk& disk_;
  const CopyOptions options_;
  std::function<void(uint64_t)> begun_;
  std::function<void(int)> ended_;
  Arena memory_;
  uint8_t* const buffer_;
  Fd target_{-1};
  std::shared_ptr<CopyMap> map_;  // under mutex_ until it is there; then it stays
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Wait* waiting_ = nullptr;  // in the order in which they came
  bool over_ = false;  // no write waits for it
  std::atomic<bool> finished_{false};
  // Of the copy's thread.
  size_t cursor_ = 0;          // chunks before it have been copied
  uint64_t lastRunNs_ = 0;     // what the last run took
  uint64_t requestsSeen_ = 0;  // of the disk
  uint64_t writtenOut_ = 0;    // bytes whose way to storage has begun
  std::thread thread_;
};

// The copies that are being made of a disk. Any thread; the mutex guards the list.
class Copies {
 public:
  // A write that entered the gate after the instant of a copy sees it here: the gate orders the two.
  bool any() const noexcept { return count_.load(std::memory_order_relaxed) != 0; }

  // As CopyOut's, of all.
  bool pass(CopyOut::Wait* wait) noexcept;
  bool has(uint64_t begin, uint64_t end) noexcept;

  void add(CopyOut* copy);
  void remove(CopyOut* copy) noexcept;

 private:
  std::atomic<size_t> count_{0};
  std::mutex mutex_;
  std::vector<CopyOut*> copies_;
};

}  // namespace sealdisk
