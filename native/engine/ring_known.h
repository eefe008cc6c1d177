// What a ring is told once, so that the kernel need not look it up for each operation: the disk's file, the payload's memory,
// and the ring's own descriptor.
//
// Each where the kernel takes it (a container, an old kernel, a low RLIMIT_MEMLOCK may refuse one or all): what is not
// known is named in each operation, as ever. The polls are not of it: kernels before 6.13 wait for them when a descriptor is
// to be given back, and a poll ends when it likes. Owner: the ring's thread.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace sealdisk {

class RingKnown {
 public:
  explicit RingKnown(int fileFd) noexcept : fileFd_(fileFd) {}

  // `memory` is pinned and stays as long as the ring: it is to be what is touched anyway. Only past the page cache, where each
  // operation would pin its pages; a copy from or to the page cache does not.
  void tell(io_uring& ring, std::span<uint8_t> memory) noexcept;
  // Gives all back now, when no operation is out: the kernel takes a closed ring apart later, and as long as the file is open it
  // is locked against others.
  void forget(io_uring& ring) noexcept;

  bool holds(const uint8_t* data, size_t bytes) const noexcept {
    const auto at = reinterpret_cast<uintptr_t>(data), begin = reinterpret_cast<uintptr_t>(memory_.data());
    return at >= begin && bytes <= memory_.size() && at - begin <= memory_.size() - bytes;
  }
  // What an operation on the file names it by; mark() follows its preparation.
  int file() const noexcept { return fileKnown_ ? 0 : fileFd_; }
  void mark(io_uring_sqe* sqe) const noexcept {
    if (fileKnown_) sqe->flags |= IOSQE_FIXED_FILE;
  }

 private:
  const int fileFd_;
  bool fileKnown_ = false;
  std::span<uint8_t> memory_;  // empty when it is not known
};

}  // namespace sealdisk
