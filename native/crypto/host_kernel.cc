// Knows user-mode-linux by the vendor that its /proc/cpuinfo names (host_kernel.h).
#include "crypto/host_kernel.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace sealdisk {

bool kernelLosesZmmInSignals() noexcept {
  char beginning[256] = {};
  const int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t got = read(fd, beginning, sizeof beginning - 1);
  close(fd);
  return got > 0 && strstr(beginning, "User Mode Linux") != nullptr;
}

}  // namespace sealdisk
