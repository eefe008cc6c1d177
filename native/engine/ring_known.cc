#include "engine/ring_known.h"

#include <fcntl.h>
#include <sys/uio.h>

namespace sealdisk {

namespace {

bool isDirect(int fileFd) noexcept { return fcntl(fileFd, F_GETFL) & O_DIRECT; }

}  // namespace

void RingKnown::tell(io_uring& ring, std::span<uint8_t> memory) noexcept {
  io_uring_register_ring_fd(&ring);
  fileKnown_ = io_uring_register_files(&ring, &fileFd_, 1) == 0;
  const iovec whole{memory.data(), memory.size()};
  if (isDirect(fileFd_) && io_uring_register_buffers(&ring, &whole, 1) == 0) memory_ = memory;
}

void RingKnown::forget(io_uring& ring) noexcept {
  if (fileKnown_) io_uring_unregister_files(&ring);
  if (!memory_.empty()) io_uring_unregister_buffers(&ring);
  fileKnown_ = false;
  memory_ = {};
}

}  // namespace sealdisk
