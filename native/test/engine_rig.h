// What the engine's tests share: a disk in a temporary file, a client that speaks raw transmission, both backings.
#pragma once

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "crypto/data_key.h"
#include "crypto/xts.h"
#include "engine/connection.h"
#include "engine/disk.h"
#include "engine/limits.h"
#include "engine/request.h"
#include "seed.h"

namespace rig {

using namespace sealdisk;
using Bytes = std::vector<uint8_t>;

constexpr auto kDeadline = std::chrono::seconds(20);

// Awaits a condition; false when it did not come true in time.
inline bool eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kDeadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// One event that another thread reports.
template <typename T>
class Later {
 public:
  void set(T value) {
    const std::lock_guard lock(mutex_);
    value_ = std::move(value);
    filled_.notify_all();
  }
  std::optional<T> wait() {
    std::unique_lock lock(mutex_);
    filled_.wait_for(lock, kDeadline, [this] { return value_.has_value(); });
    return value_;
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return !value_.has_value();
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::optional<T> value_;
};

inline DataKey someKey() {
  static const Bytes kBytes = randomBytes(kDataKeyBytes);
  Bytes copy = kBytes;
  return DataKey::take(copy);
}

// A file that is gone with the test. In memory: of the kind that tmpfs has.
class TemporaryFile {
 public:
  explicit TemporaryFile(uint64_t bytes, bool inMemory = false) {
    char name[] = "/tmp/sealdisk-engine-XXXXXX";
    fd_ = inMemory ? memfd_create("disk", MFD_CLOEXEC) : mkstemp(name);
    path_ = inMemory ? "/proc/self/fd/" + std::to_string(fd_) : name;
    if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(bytes)) != 0) throw std::runtime_error("temporary file");
  }
  ~TemporaryFile() {
    close(fd_);
    unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  std::string path_;
};

struct Reply {
  uint32_t error;
  uint64_t cookie;
};

// The client's end of a connection. Blocking, with a deadline; what does not come is an exception.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {
    const timeval deadline{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  }
  ~Client() { vanish(); }
  Client(const Client&) = delete;

  static Bytes header(Command command, uint64_t offset, uint32_t length, uint16_t flags = 0, uint64_t cookie = 7) {
    Bytes wire(kRequestBytes);
    const auto put = [&wire](size_t at, auto value) { memcpy(&wire[at], &value, sizeof value); };
    put(0, htobe32(kRequestMagic));
    put(4, htobe16(flags));
    put(6, htobe16(static_cast<uint16_t>(command)));
    put(8, htobe64(cookie));
    put(16, htobe64(offset));
    put(24, htobe32(length));
    return wire;
  }
  static Bytes write(uint64_t offset, const Bytes& data, uint16_t flags = 0, uint64_t cookie = 7) {
    Bytes wire = header(Command::write, offset, static_cast<uint32_t>(data.size()), flags, cookie);
    wire.insert(wire.end(), data.begin(), data.end());
    return wire;
  }

  void send(const Bytes& wire) {
    for (size_t sent = 0; sent < wire.size();) {
      const ssize_t result = ::send(fd_, &wire[sent], wire.size() - sent, MSG_NOSIGNAL);
      if (result < 0 && errno == EINTR) continue;
      if (result <= 0) throw std::runtime_error("send failed");
      sent += static_cast<size_t>(result);
    }
  }
  Bytes receive(size_t count) {
    Bytes data(count);
    for (size_t got = 0; got < count;) {
      const ssize_t result = recv(fd_, &data[got], count - got, 0);
      if (result < 0 && errno == EINTR) continue;  // io_uring's task work interrupts a call with a timeout
      if (result == 0) throw std::runtime_error("the stream ended");
      if (result < 0) throw std::runtime_error(std::string("recv: ") + strerror(errno));
      got += static_cast<size_t>(result);
    }
    return data;
  }
  Reply reply() {
    const Bytes wire = receive(kSimpleReplyBytes);
    uint32_t magic, error;
    uint64_t cookie;
    memcpy(&magic, &wire[0], 4);
    memcpy(&error, &wire[4], 4);
    memcpy(&cookie, &wire[8], 8);
    if (be32toh(magic) != kSimpleReplyMagic) throw std::runtime_error("reply magic is wrong");
    return {be32toh(error), be64toh(cookie)};
  }

  // One request and the error of its reply; a read that succeeds fills `data`.
  uint32_t read(uint64_t offset, uint32_t length, Bytes& data) {
    send(header(Command::read, offset, length));
    const uint32_t error = reply().error;
    if (error == 0) data = receive(length);
    return error;
  }
  uint32_t write1(uint64_t offset, const Bytes& data, uint16_t flags = 0) {
    send(write(offset, data, flags));
    return reply().error;
  }
  uint32_t call(Command command, uint64_t offset = 0, uint32_t length = 0, uint16_t flags = 0) {
    send(header(command, offset, length, flags));
    return reply().error;
  }

  bool silent() const {
    pollfd fd{fd_, POLLIN, 0};
    return poll(&fd, 1, 0) == 0;
  }
  bool endOfFile() {
    uint8_t byte;
    ssize_t result;
    do {
      result = recv(fd_, &byte, 1, 0);
    } while (result < 0 && errno == EINTR);
    return result == 0;
  }
  void vanish() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A live disk of `sectors` sectors behind a header of one MiB.
class Rig {
 public:
  static constexpr uint64_t kOffset = 1 * MiB;

  explicit Rig(uint64_t sizeBytes = 1 * MiB, uint32_t sectorBytes = 4096, bool readOnly = false, bool holes = false,
               bool discard = false, bool inMemory = false)
      : Rig(DiskOptions{"", {kOffset, sectorBytes}, sizeBytes, readOnly, false, holes, discard, false}, inMemory) {}
  // The path is the rig's.
  explicit Rig(DiskOptions options, bool inMemory = false) : file(options.geometry.offsetBytes + options.sizeBytes, inMemory) {
    options.path = file.path();
    disk = Disk::open(options);
    live();
  }

  void live() { disk->goLive(disk->plain() ? XtsKey() : XtsKey(someKey())); }
  // Returns when the key is wiped.
  bool shut(Gate::State to) {
    const auto wiped = std::make_shared<Later<bool>>();
    disk->shut(to, [wiped] { wiped->set(true); });
    return wiped->wait().has_value();
  }

  std::unique_ptr<Client> connect(const Bytes& rest = {}, bool readOnly = false, int bufferBytes = 0) {
    Negotiated negotiated;
    negotiated.readOnly = readOnly;
    return connectAs(negotiated, rest, bufferBytes);
  }
  std::unique_ptr<Client> connectAs(const Negotiated& negotiated, const Bytes& rest = {}, int bufferBytes = 0) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) throw std::runtime_error("socketpair");
    if (bufferBytes) {
      setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bufferBytes, sizeof bufferBytes);
      setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bufferBytes, sizeof bufferBytes);
    }
    end = std::make_shared<Later<ConnectionEnd>>();
    ConnectionOptions options;
    options.socketFd = fds[0];
    options.rest = rest;
    options.negotiated = negotiated;
    connection = disk->serve(std::move(options), [end = end](const ConnectionEnd& how) { end->set(how); });
    close(fds[0]);
    return std::make_unique<Client>(fds[1]);
  }

  TemporaryFile file;
  std::unique_ptr<Disk> disk;
  // Of the latest connect().
  std::shared_ptr<Connection> connection;
  std::shared_ptr<Later<ConnectionEnd>> end;
};

// Runs `body` with io_uring and with the worker pool.
inline void withBothBackings(const std::function<void()>& body) {
  for (const char* backing : {"ring", "pool"}) {
    if (std::string(backing) == "ring" && !ringAvailable()) {
      printf("# no io_uring here: the worker pool alone is shown\n");
      continue;
    }
    setenv("SEALDISK_IO", backing, 1);
    const size_t before = check::failures().size();
    body();
    unsetenv("SEALDISK_IO");
    if (check::failures().size() != before) printf("# failed with SEALDISK_IO=%s\n", backing);
  }
}

}  // namespace rig
