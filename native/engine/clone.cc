#include "engine/clone.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "engine/disk.h"
#include "engine/fd.h"
#include "engine/hold.h"
#include "engine/limits.h"

namespace sealdisk {

namespace {

// Whole blocks of any file system that shares them.
constexpr uint64_t kCloneTryBytes = 64 * KiB;

void check(int result, const char* what) {
  if (result != 0) throw std::system_error(errno, std::generic_category(), what);
}

// The kernel writes out what is dirty before it shares blocks: done beforehand, but for what comes in between.
void writeOut(Disk& disk) {
  for (int pass = 0; pass < 2; ++pass) {
    if (const int error = disk.sync()) throw std::system_error(error, std::generic_category(), "sync before the clone");
  }
}

// Whether it can be had at all is asked before anybody is held or synced for it.
void tryFirst(int from, int to) {
  file_clone_range piece{};
  piece.src_fd = from;
  piece.src_length = kCloneTryBytes;
  check(ioctl(to, FICLONERANGE, &piece), "clone");
}

uint64_t cloneInto(Disk& disk, int fd) {
  tryFirst(disk.fd(), fd);
  writeOut(disk);
  Hold hold(disk);
  check(ioctl(fd, FICLONE, disk.fd()), "clone");
  const uint64_t heldNs = hold.release();
  check(fsync(fd), "sync of the clone");
  return heldNs;
}

}  // namespace

uint64_t cloneFile(Disk& disk, const std::string& path) {
  const Fd file(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (file.get() < 0) throw std::system_error(errno, std::generic_category(), "create");
  if (lseek(file.get(), 0, SEEK_END) != 0) throw std::system_error(EEXIST, std::generic_category(), "the file is not empty");
  try {
    return cloneInto(disk, file.get());
  } catch (...) {
    unlink(path.c_str());
    throw;
  }
}

}  // namespace sealdisk
