// Bulk work on a payload: a range of it is read from one place, under one key or none, and written to another place, under
// another key or none; or the two places are compared.
//
// The two places may be one file, also the very same bytes: a chunk is read whole before it is written, and no two chunks
// meet. (Places that overlap with a shift are the caller's to cut so that they do not.) Plaintext stands in locked memory
// only and is overwritten at the end. Nothing is synced here: what that must come before, the caller knows.
//
// Threads: run() belongs to one thread and starts others, which it joins; doneBytes() and cancel() are for any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "crypto/xts.h"
#include "engine/arena.h"

namespace sealdisk {

// Where a payload lies. The descriptor stays the caller's.
struct Side {
  int fd = -1;
  uint64_t offsetBytes = 0;  // of the payload's first byte in the file
  uint32_t sectorBytes = 4096;
  XtsKey key;          // none: the payload lies there in the clear
  bool holes = false;  // under a key: a sector of nothing but zeros is a hole, which reads as zeros
};

struct TransformOptions {
  enum class Work : uint8_t { copy, compare };

  Work work = Work::copy;
  Side from, to;
  // The range, in bytes of the payload: whole sectors of both sides.
  uint64_t beginBytes = 0, sizeBytes = 0;
  // So many bytes of the payload `from` has; what the range has beyond them is zeros.
  uint64_t fromBytes = UINT64_MAX;
  // What is a hole in `from` is not written: there `to` reads as zeros already. Both sides have sectors of one size.
  bool keepHoles = false;
  // Before a comparison: what the page cache has of `to` is forgotten, so that it comes from the storage. Synced data only.
  bool reread = false;
};

struct TransformEnd {
  enum class Reason : uint8_t { done, cancelled, from, to, differs };
  Reason reason = Reason::done;
  int error = 0;         // from, to: the errno
  uint64_t atBytes = 0;  // of the payload: the beginning of what failed; the first byte that differs in its chunk
};

class Transform {
 public:
  // Throws std::invalid_argument for a range that is not whole sectors, std::system_error when there is no memory.
  explicit Transform(TransformOptions options);
  ~Transform();
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;

  // Blocks until it is done, has failed (other chunks may be done) or was cancelled. Once.
  TransformEnd run() noexcept;

  // Bytes of the range that are through: how far it is, not which they are.
  uint64_t doneBytes() const noexcept { return doneBytes_.load(std::memory_order_relaxed); }
  void cancel() noexcept { end({TransformEnd::Reason::cancelled, 0, 0}); }

 private:
  struct Worker;
  void work(Worker& worker) noexcept;
  bool copy(Worker& worker, uint64_t begin, uint64_t end) noexcept;
  bool copyRun(Worker& worker, uint64_t begin, uint64_t end) noexcept;
  bool compare(Worker& worker, uint64_t begin, uint64_t end) noexcept;
  bool readPlain(const Side& side, uint64_t begin, uint64_t end, uint8_t* to) noexcept;
  bool write(uint64_t begin, const uint8_t* data, uint64_t bytes) noexcept;
  void end(TransformEnd how) noexcept;

  TransformOptions options_;  // run() ends with its keys wiped
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<uint64_t> next_{0}, doneBytes_{0};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;  // of end_
  TransformEnd end_;
};

}  // namespace sealdisk
