#include "engine/page_cache.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "engine/limits.h"
#include "engine/mapped_file.h"

namespace sealdisk {

namespace {

ssize_t readWithoutWaiting(int fileFd, const IoOp& op) noexcept {
  const iovec target{op.data, op.bytes};
  return preadv2(fileFd, &target, 1, static_cast<off_t>(op.offset), RWF_NOWAIT);
}

}  // namespace

PageCache::PageCache(int fileFd) noexcept
    : fileFd_(fileFd), cached_(!(fcntl(fileFd, F_GETFL) & O_DIRECT)), inMemory_(isInMemory(fileFd)) {}

bool PageCache::tryRead(IoOp* op) noexcept {
  if (op->bytes > kCopiedMaxBytes) return false;
  while (cached_ && (readsAsked_ || inMemory_)) {
    const ssize_t got = inMemory_ ? pread(fileFd_, op->data, op->bytes, static_cast<off_t>(op->offset)) : readWithoutWaiting(fileFd_, *op);
    if (got < 0 && errno == EAGAIN) return false;
    if (got < 0 && errno == EOPNOTSUPP) {
      readsAsked_ = false;
      return false;
    }
    if (op->advance(got < 0 ? -errno : got)) return true;
  }
  return false;
}

// No file system says of a write that it would wait. Whole pages wait for nothing, unless the kernel slows down who dirties
// memory: then this connection's reads wait, too, which is why a write that takes long goes elsewhere.
bool PageCache::tryWrite(IoOp* op) noexcept {
  if (!cached_ || op->bytes > kCopiedMaxBytes || op->bytes % kPageBytes || op->offset % kPageBytes) return false;
  while (!op->advance(op->call(fileFd_))) {
  }
  return true;
}

}  // namespace sealdisk
