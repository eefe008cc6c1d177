// The payload memory of one connection: one mapping, page-aligned, handed out in runs of pages.
//
// It is the connection's byte budget: a request that finds no run waits, so a client that never reads its replies holds
// this much and no more. Locked where the process may, left out of core files, its hot part touched
// beforehand. Pages go out lowest first, so that the cold part stays untouched under ordinary load.
//
// Owner: the connection's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sealdisk {

class Arena {
 public:
  Arena(size_t bytes, size_t hotBytes);  // throws std::system_error
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A page-aligned run of at least `bytes`; null when there is none now. `bytes` is not zero.
  uint8_t* take(size_t bytes) noexcept;
  void give(uint8_t* run, size_t bytes) noexcept;

  // The part that was touched beforehand.
  std::span<uint8_t> hot() noexcept { return {base_, hotBytes_}; }

 private:
  bool used(size_t page) const noexcept { return used_[page / 64] >> (page % 64) & 1; }
  void mark(size_t first, size_t count, bool used) noexcept;

  uint8_t* base_;
  size_t pages_;
  const size_t hotBytes_;
  size_t lowest_ = 0;            // no page below it is free
  std::vector<uint64_t> used_;  // one bit a page
};

}  // namespace sealdisk
