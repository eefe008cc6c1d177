#include "addon/manager_verbs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "addon/glue.h"
#include "engine/fd.h"

namespace sealdisk {
namespace {

int socketOption(int fd, int option) {
  int value = 0;
  socklen_t bytes = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, option, &value, &bytes) != 0) failWith(errno, "getsockopt");
  return value;
}

// The name of a socket in the abstract namespace begins with a zero byte, and with '@' where people read it.
std::string pathOf(const sockaddr_un& address, socklen_t bytes) {
  const size_t length = bytes - offsetof(sockaddr_un, sun_path);
  if (length == 0) failWith(EDESTADDRREQ, "an unnamed socket");
  if (address.sun_path[0] == '\0') return "@" + std::string(address.sun_path + 1, length - 1);
  return std::string(address.sun_path, strnlen(address.sun_path, length));
}

std::string hostOf(int family, const void* address) {
  char text[INET6_ADDRSTRLEN];
  if (!inet_ntop(family, address, text, sizeof text)) failWith(errno, "inet_ntop");
  return text;
}

}  // namespace

// Where a socket that is listening listens: { path } or { host, port }. Its descriptor will not outlive an exec.
Napi::Value listeningSocket(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int fd = static_cast<int>(wholeNumber(info.Env(), info[0], "fd", 0, INT32_MAX));
    if (!socketOption(fd, SO_ACCEPTCONN)) failWith(EINVAL, "a socket that does not listen");
    if (socketOption(fd, SO_TYPE) != SOCK_STREAM) failWith(EPROTOTYPE, "a socket that is no stream");
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) failWith(errno, "FD_CLOEXEC");
    union {
      sockaddr any;
      sockaddr_un local;
      sockaddr_in v4;
      sockaddr_in6 v6;
    } address{};
    socklen_t bytes = sizeof address;
    if (getsockname(fd, &address.any, &bytes) != 0) failWith(errno, "getsockname");
    Napi::Object found = Napi::Object::New(info.Env());
    switch (address.any.sa_family) {
      case AF_UNIX:
        found.Set("path", pathOf(address.local, bytes));
        return found;
      case AF_INET:
        found.Set("host", hostOf(AF_INET, &address.v4.sin_addr));
        found.Set("port", Napi::Number::New(info.Env(), ntohs(address.v4.sin_port)));
        return found;
      case AF_INET6:
        found.Set("host", hostOf(AF_INET6, &address.v6.sin6_addr));
        found.Set("port", Napi::Number::New(info.Env(), ntohs(address.v6.sin6_port)));
        return found;
      default:
        failWith(EAFNOSUPPORT, "a socket of another family");
    }
  });
}

// One datagram to the socket at `path`, or, behind '@', in the abstract namespace (sd_notify(3)). Never waits.
void notifyManager(const CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Napi::Object options = objectArgument(info, 0);
    const std::string path = text(options, "path"), message = text(options, "message");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() < 2 || path.size() >= sizeof address.sun_path) failWith(EINVAL, "the path of a socket");
    std::memcpy(address.sun_path, path.data(), path.size());
    if (path[0] == '@') address.sun_path[0] = '\0';
    const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    const Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) failWith(errno, "socket");
    if (sendto(fd.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), bytes) < 0)
      failWith(errno, "sendto");
  });
}

}  // namespace sealdisk
