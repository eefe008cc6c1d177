#include "engine/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace sealdisk {

namespace {

bool locksFreely() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  return syscall(SYS_capget, &header, sets) == 0 && sets[0].effective >> CAP_IPC_LOCK & 1;
}

}  // namespace

int becomeIoFlusher() noexcept { return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0 ? 0 : errno; }

int becomeUndumpable() noexcept { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno; }

int setOomScore(int adjustment) noexcept {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = dprintf(fd, "%d\n", adjustment) < 0 ? errno : 0;
  close(fd);
  return error;
}

int lockMappedFiles() noexcept {
  const std::unique_ptr<FILE, int (*)(FILE*)> maps(fopen("/proc/self/maps", "re"), fclose);
  if (!maps) return errno;
  char line[8192];
  int error = 0;
  while (fgets(line, sizeof line, maps.get())) {
    uintptr_t start = 0, end = 0, inode = 0;
    char mode[5] = "";
    if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &start, &end, mode, &inode) != 4) continue;
    if (inode == 0 || mode[0] != 'r') continue;
    if (mlock2(reinterpret_cast<void*>(start), end - start, MLOCK_ONFAULT) != 0) error = errno;
  }
  return error;
}

size_t emergencyReserveBytes() noexcept {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen("/proc/sys/vm/min_free_kbytes", "re"), fclose);
  size_t kilobytes = 0;
  return file && fscanf(file.get(), "%zu", &kilobytes) == 1 ? kilobytes * 1024 : 0;
}

int lockPages(void* pages, size_t bytes) noexcept {
  if (!locksFreely()) return EPERM;
  return mlock2(pages, bytes, MLOCK_ONFAULT) == 0 ? 0 : errno;
}

int lockOwnStack() noexcept {
  pthread_attr_t attributes;
  if (const int error = pthread_getattr_np(pthread_self(), &attributes)) return error;
  void* stack = nullptr;
  size_t bytes = 0;
  pthread_attr_getstack(&attributes, &stack, &bytes);
  pthread_attr_destroy(&attributes);
  return lockPages(stack, bytes);
}

SignalsBlocked::SignalsBlocked() noexcept {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace sealdisk
