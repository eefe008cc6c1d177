#include "engine/backing.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace sealdisk {

const int kPunchMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const int kZeroMode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

bool IoOp::advance(int64_t result) noexcept {
  if (result == -EINTR || result == -EAGAIN) return false;
  if (result < 0) {
    error = static_cast<int>(-result);
    return true;
  }
  if (kind != Kind::read && kind != Kind::write) {
    error = 0;
    return true;
  }
  if (result == 0) {  // a read at the end of the file; a write that makes no progress is no better
    error = EIO;
    return true;
  }
  data += result;
  offset += static_cast<uint64_t>(result);
  bytes -= static_cast<uint64_t>(result);
  error = 0;
  return bytes == 0;
}

int64_t IoOp::call(int fileFd) const noexcept {
  ssize_t result = -1;
  switch (kind) {
    case Kind::read:
      result = pread(fileFd, data, bytes, static_cast<off_t>(offset));
      break;
    case Kind::write:
      result = pwrite(fileFd, data, bytes, static_cast<off_t>(offset));
      break;
    case Kind::sync:
      result = fdatasync(fileFd);
      break;
    case Kind::punch:
      result = fallocate(fileFd, kPunchMode, static_cast<off_t>(offset), static_cast<off_t>(bytes));
      break;
    case Kind::zero:
      result = fallocate(fileFd, kZeroMode, static_cast<off_t>(offset), static_cast<off_t>(bytes));
      break;
    case Kind::cache:
      return -posix_fadvise(fileFd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
  }
  return result < 0 ? -errno : result;
}

BackingKind backingFromEnvironment() noexcept {
  const char* wanted = std::getenv("SEALDISK_IO");
  if (wanted && std::strcmp(wanted, "pool") == 0) return BackingKind::pool;
  if (wanted && std::strcmp(wanted, "ring") == 0) return BackingKind::ring;
  return BackingKind::automatic;
}

}  // namespace sealdisk
