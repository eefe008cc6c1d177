// A blocking byte stream to an NBD server: a Unix or TCP socket, or TLS over it.
#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace load {

struct Address {
  std::string socket;      // path of a Unix socket; when empty:
  std::string host, port;  // TCP
  std::string certificateAuthority;  // a PEM file; when given, TLS
};

class Stream {
 public:
  explicit Stream(const Address& address) : fd_(address.socket.empty() ? tcp(address) : local(address.socket)) {}
  ~Stream() {
    if (tls_) SSL_free(tls_);
    if (context_) SSL_CTX_free(context_);
    ::close(fd_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // From here on everything goes through TLS.
  void secure(const std::string& certificateAuthority, const std::string& name) {
    context_ = SSL_CTX_new(TLS_client_method());
    if (SSL_CTX_load_verify_locations(context_, certificateAuthority.c_str(), nullptr) != 1) throw std::runtime_error("CA file");
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_mode(context_, SSL_MODE_AUTO_RETRY);
    tls_ = SSL_new(context_);
    SSL_set_fd(tls_, fd_);
    SSL_set1_host(tls_, name.c_str());
    if (SSL_connect(tls_) != 1) throw std::runtime_error("the TLS handshake failed");
  }

  // At least one byte, at most `bytes`.
  size_t receiveSome(uint8_t* to, size_t bytes) {
    for (;;) {
      const ssize_t got = tls_ ? SSL_read(tls_, to, static_cast<int>(bytes)) : recv(fd_, to, bytes, 0);
      if (got > 0) return static_cast<size_t>(got);
      if (got < 0 && errno == EINTR) continue;
      throw std::runtime_error(got == 0 ? "the server hung up" : "recv: " + std::string(std::strerror(errno)));
    }
  }

  void receive(uint8_t* to, size_t bytes) {
    while (bytes > 0) {
      const size_t got = receiveSome(to, bytes);
      to += got;
      bytes -= got;
    }
  }

  void send(iovec* parts, size_t count) {
    if (tls_) return sendSecurely(parts, count);
    while (count > 0) {
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = std::min<size_t>(count, 1024);
      ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (sent <= 0) throw std::runtime_error("send: " + std::string(std::strerror(errno)));
      for (; count > 0 && static_cast<size_t>(sent) >= parts->iov_len; ++parts, --count) sent -= static_cast<ssize_t>(parts->iov_len);
      if (count > 0) *parts = {static_cast<uint8_t*>(parts->iov_base) + sent, parts->iov_len - static_cast<size_t>(sent)};
    }
  }

  void send(const void* data, size_t bytes) {
    iovec part{const_cast<void*>(data), bytes};
    send(&part, 1);
  }

 private:
  // In as few records as there can be.
  void sendSecurely(const iovec* parts, size_t count) {
    gathered_.clear();
    for (size_t i = 0; i < count; ++i) {
      const auto* data = static_cast<const uint8_t*>(parts[i].iov_base);
      gathered_.insert(gathered_.end(), data, data + parts[i].iov_len);
    }
    if (SSL_write(tls_, gathered_.data(), static_cast<int>(gathered_.size())) <= 0) throw std::runtime_error("SSL_write");
  }

  static int local(const std::string& path) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (path.size() >= sizeof to.sun_path) throw std::runtime_error("the socket's path is too long");
    std::strcpy(to.sun_path, path.c_str());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
      throw std::system_error(errno, std::generic_category(), "connect to " + path);
    return fd;
  }

  static int tcp(const Address& address) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int error = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found))
      throw std::runtime_error(gai_strerror(error));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
    const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
      throw std::system_error(errno, std::generic_category(), "connect to " + address.host + ":" + address.port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }

  int fd_;
  SSL_CTX* context_ = nullptr;
  SSL* tls_ = nullptr;
  std::vector<uint8_t> gathered_;
};

}  // namespace load
