// What a connection reads from and writes to: its socket, or TLS over it.
//
// Nothing here blocks: what the socket does not take or have now is told, and the connection waits for it. Owner: the
// connection's thread makes it, calls it and destroys it.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace sealdisk {

class Channel {
 public:
  virtual ~Channel() = default;

  // Fills the vectors in order with what is there. The number of bytes; 0 at the end of the stream; or -errno, where
  // -EAGAIN says that nothing is there now.
  virtual ssize_t receive(const iovec* vectors, size_t count) noexcept = 0;

  // Takes bytes of the vectors, in order, for sending. Their number, less than all when it takes no more now; or -errno,
  // where -EAGAIN says that it takes none now.
  virtual ssize_t send(const iovec* vectors, size_t count) noexcept = 0;

  // Input that has left the socket and is not given out yet: no event will announce it.
  virtual bool holdsInput() const noexcept = 0;

  // Output that was taken and that the socket has not: to be pushed on by flush() when the socket takes more.
  virtual bool holdsOutput() const noexcept = 0;
  // 0, or the errno of a socket that takes no more for ever.
  virtual int flush() noexcept = 0;
};

// Makes the channel over a connected socket, which outlives it.
using MakeChannel = std::function<std::unique_ptr<Channel>(int socketFd)>;

// The bytes of the socket as they are.
std::unique_ptr<Channel> makeSocketChannel(int socketFd);

}  // namespace sealdisk
