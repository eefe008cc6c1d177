// Which chunks of a copy have been made, and how the copy stands: a small file that outlives the process, so that a server that
// takes over goes on with the copy.
//
// A bit is set when its chunk stands in the target's page cache, which a killed process leaves behind, and never before. A power cut
// takes both away: the file is to lie in memory (/run). Its pages are there from the beginning, so that no bit finds no room.
//
// Threads: any; state and bits are atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/limits.h"

namespace sealdisk {

class CopyMap {
 public:
  // prepared: the instant has not come yet. taken: the copy is of that instant, as far as it goes. failed: it is of none.
  enum class State : uint32_t { prepared, taken, failed };

  // Of a file of `sourceBytes`. Throws std::system_error; EEXIST when the file is there.
  static std::unique_ptr<CopyMap> create(const std::string& path, uint64_t sourceBytes);
  // EINVAL when the file is no map.
  static std::unique_ptr<CopyMap> open(const std::string& path);
  ~CopyMap();
  CopyMap(const CopyMap&) = delete;
  CopyMap& operator=(const CopyMap&) = delete;

  uint64_t sourceBytes() const noexcept { return head_->sourceBytes; }
  size_t chunks() const noexcept { return (sourceBytes() + kCopyChunkBytes - 1) / kCopyChunkBytes; }

  State state() const noexcept { return head_->state.load(); }
  void enter(State state) noexcept { head_->state.store(state); }

  bool has(size_t chunk) const noexcept { return word(chunk).load(std::memory_order_acquire) >> (chunk % 64) & 1; }
  void set(size_t chunk) noexcept;
  // The first chunk from `chunk` on that is missing; chunks() when none is.
  size_t missing(size_t chunk) const noexcept;
  // How many are set.
  size_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  struct Head {
    uint64_t magic, sourceBytes;
    std::atomic<State> state;
  };
  static_assert(sizeof(Head) <= kPageBytes && std::atomic<uint64_t>::is_always_lock_free);

  CopyMap(int fd, uint64_t fileBytes);
  static uint64_t fileBytes(uint64_t sourceBytes) noexcept;
  std::atomic<uint64_t>& word(size_t chunk) const noexcept { return words_[chunk / 64]; }

  Head* head_;
  std::atomic<uint64_t>* words_;
  const uint64_t fileBytes_;
  std::atomic<size_t> count_{0};
};

}  // namespace sealdisk
