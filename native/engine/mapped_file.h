// A file that lies in memory only (tmpfs), mapped for reading: its pages are the page cache itself.
//
// Who reads a hole of a mapped file takes memory for it. So only what is known to be there is handed out: a chunk that has
// been read a few times is looked at, and once all of its pages are there they stay, for nobody makes holes in the file of
// a disk without discard. Others are read with system calls. A file that is cut short all the same ends in a fault (fault.h).
//
// Threads: any, at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sealdisk {

class MappedFile {
 public:
  MappedFile() noexcept = default;
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Nothing is handed out when it is not called, or the file is no such file.
  void map(int fileFd, uint64_t bytes) noexcept;

  explicit operator bool() const noexcept { return base_; }

  // `bytes` (not 0) of the file, to be read under reachable(); null when they are not all known to be in memory.
  const uint8_t* at(uint64_t offset, uint64_t bytes) noexcept;

  // Into the processor's cache, if they are.
  void prefetch(uint64_t offset, uint64_t bytes) const noexcept;

 private:
  bool holds(size_t chunk) noexcept;
  bool whole(size_t chunk) const noexcept;

  const uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  std::vector<std::atomic<uint8_t>> reads_;  // of each chunk; kWhole: all of its pages are there
};

// Whether the file is in memory and nowhere else.
bool isInMemory(int fileFd) noexcept;

}  // namespace sealdisk
