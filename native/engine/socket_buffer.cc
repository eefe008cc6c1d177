#include "engine/socket_buffer.h"

#include <sys/socket.h>

#include <algorithm>

#include "engine/fd.h"
#include "engine/limits.h"
#include "engine/process.h"

namespace sealdisk {

namespace {

size_t allowedBytes() noexcept {
  return std::clamp(emergencyReserveBytes() / kSocketPairShareOfReserve, kSocketPairMinBytes, kSocketPairMaxBytes);
}

// Beyond the system's maximum for those who may, up to it for the rest.
void size(int fd, int buffer, size_t bytes) noexcept {
  const int value = static_cast<int>(bytes), forced = buffer == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
  if (setsockopt(fd, SOL_SOCKET, forced, &value, sizeof value) != 0) setsockopt(fd, SOL_SOCKET, buffer, &value, sizeof value);
}

int option(int fd, int name) noexcept {
  int value = -1;
  socklen_t bytes = sizeof value;
  getsockopt(fd, SOL_SOCKET, name, &value, &bytes);
  return value;
}

// What the system gives a socket to send with (net.core.wmem_default).
int ofNewSockets() noexcept {
  const Fd fresh(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return option(fresh.get(), SO_SNDBUF);
}

}  // namespace

void sizeSocketPair(const int (&fds)[2]) noexcept {
  const size_t bytes = allowedBytes();
  for (const int fd : fds) {
    for (const int buffer : {SO_SNDBUF, SO_RCVBUF}) size(fd, buffer, bytes);
  }
}

void widenLocalSocket(int fd) noexcept {
  if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_SNDBUF) != ofNewSockets()) return;
  size(fd, SO_SNDBUF, std::min(kLocalSendBytes, allowedBytes()));
}

}  // namespace sealdisk
