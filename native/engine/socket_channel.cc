// The plain channel: one system call a call, nothing held.
#include <sys/socket.h>

#include <cerrno>

#include "engine/channel.h"

namespace sealdisk {

namespace {

class SocketChannel final : public Channel {
 public:
  explicit SocketChannel(int socketFd) noexcept : socketFd_(socketFd) {}

  ssize_t receive(const iovec* vectors, size_t count) noexcept override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(vectors);
    message.msg_iovlen = count;
    return retried([&] { return recvmsg(socketFd_, &message, MSG_DONTWAIT); });
  }

  ssize_t send(const iovec* vectors, size_t count) noexcept override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(vectors);
    message.msg_iovlen = count;
    return retried([&] { return sendmsg(socketFd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
  }

  bool holdsInput() const noexcept override { return false; }
  bool holdsOutput() const noexcept override { return false; }
  int flush() noexcept override { return 0; }

 private:
  // ENOBUFS: the kernel has no memory for it now; like EAGAIN, it goes on when the socket is writable.
  template <typename Call>
  static ssize_t retried(Call call) noexcept {
    for (;;) {
      const ssize_t result = call();
      if (result >= 0) return result;
      if (errno != EINTR) return errno == ENOBUFS ? -EAGAIN : -errno;
    }
  }

  const int socketFd_;
};

}  // namespace

std::unique_ptr<Channel> makeSocketChannel(int socketFd) { return std::make_unique<SocketChannel>(socketFd); }

}  // namespace sealdisk
