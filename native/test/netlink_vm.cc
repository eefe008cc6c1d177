// The nbd family against a real kernel: run in the guest (or on a machine with nbd) as root; elsewhere each test skips.
//
// A MemoryDisk serves one socket from a thread. It knows just enough of the transmission phase to be a witness.

#include <endian.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "check.h"
#include "netlink/nbd_netlink.h"

using namespace sealdisk;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kDiskBytes = 8 << 20;
constexpr char kIdentifier[] = "5f0c6e2a-0000-4000-8000-000000000001";

bool readAll(int fd, void* data, size_t bytes) {
  return recv(fd, data, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
}

class MemoryDisk {
 public:
  explicit MemoryDisk(std::vector<uint8_t>& store) : store_(store) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) throw std::runtime_error("socketpair");
    kernelFd = pair[0];
    fd_ = pair[1];
    thread_ = std::thread([this] { serve(); });
  }
  ~MemoryDisk() { die(); }

  // As a server that is killed: the kernel sees the end of the stream.
  void die() {
    if (fd_ < 0) return;
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
    close(kernelFd);
    fd_ = -1;
  }

  int kernelFd = -1;
  std::atomic<bool> mute = false;  // requests are read and never answered

 private:
  void serve() {
    nbd_request request;
    while (readAll(fd_, &request, sizeof request)) {
      const uint32_t type = be32toh(request.type) & 0xffff;
      const uint64_t from = be64toh(request.from);
      const uint32_t length = be32toh(request.len);
      if (type == NBD_CMD_DISC) return;
      if (type == NBD_CMD_WRITE && !readAll(fd_, store_.data() + from, length)) return;
      if (mute) continue;
      nbd_reply reply = {htobe32(NBD_REPLY_MAGIC), 0, {}};
      memcpy(reply.handle, request.handle, sizeof reply.handle);
      if (send(fd_, &reply, sizeof reply, MSG_NOSIGNAL) < 0) return;
      if (type == NBD_CMD_READ && send(fd_, store_.data() + from, length, MSG_NOSIGNAL) < 0) return;
    }
  }

  std::vector<uint8_t>& store_;
  int fd_ = -1;
  std::thread thread_;
};

NbdDeviceConfig configOf(const MemoryDisk& disk, uint64_t deadConnectionTimeoutS = 60) {
  return {std::nullopt, disk.kernelFd, kDiskBytes, 4096, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH,
          deadConnectionTimeoutS, kIdentifier};
}

void needsDriver() {
  try {
    nbdStatus();
  } catch (const NetlinkError& error) {
    if (error.familyMissing) check::skipTest("this kernel has no nbd");
    throw;
  }
}

bool connected(uint32_t index) {
  for (const auto& device : nbdStatus()) {
    if (device.index == index) return device.connected;
  }
  return false;
}

std::string sysfs(uint32_t index, const std::string& name) {
  std::ifstream file("/sys/block/nbd" + std::to_string(index) + "/" + name);
  std::string line;
  std::getline(file, line);
  return line;
}

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 500; i++) {
    if (holds()) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

// Opens the device past the page cache; udev or the partition scan of the connect may hold it for a moment.
struct Device {
  explicit Device(uint32_t index) : fd(open(("/dev/nbd" + std::to_string(index)).c_str(), O_RDWR | O_DIRECT)) {}
  ~Device() { close(fd); }
  int fd;
  alignas(4096) uint8_t block[4096] = {};
};

// errno of a write of one block, 0 when it was written.
int writeErrno(Device& device, uint8_t fill, off_t offset) {
  memset(device.block, fill, sizeof device.block);
  return pwrite(device.fd, device.block, sizeof device.block, offset) == sizeof device.block ? 0 : errno;
}

void disconnected(uint32_t index) {
  nbdDisconnect(index);
  CHECK(eventually([&] { return !connected(index); }));
}

}  // namespace

TEST("connects, carries data, shows its identifier, and disconnects") {
  needsDriver();
  std::vector<uint8_t> store(kDiskBytes);
  MemoryDisk disk(store);
  const uint32_t index = nbdConnect(configOf(disk));
  CHECK(connected(index));
  CHECK_EQ(sysfs(index, "backend"), kIdentifier);
  CHECK_EQ(sysfs(index, "size"), std::to_string(kDiskBytes / 512));
  CHECK_EQ(sysfs(index, "queue/logical_block_size"), "4096");
  {
    Device device(index);
    REQUIRE(device.fd >= 0);
    const int error = writeErrno(device, 0xa5, 8192);
    CHECK_EQ(error, 0);
    CHECK_EQ(store[8192], 0xa5);
    store[4096] = 0x5a;
    REQUIRE(pread(device.fd, device.block, 4096, 4096) == 4096);
    CHECK_EQ(device.block[0], 0x5a);
  }
  disconnected(index);
}

TEST("a device that is in use is refused with EBUSY, one that does not exist is made") {
  needsDriver();
  std::vector<uint8_t> store(kDiskBytes);
  MemoryDisk first(store);
  MemoryDisk second(store);
  const uint32_t index = nbdConnect(configOf(first));
  auto config = configOf(second);
  config.index = index;
  try {
    nbdConnect(config);
    CHECK(!"the second connect was refused");
  } catch (const NetlinkError& error) {
    CHECK_EQ(error.errno_, EBUSY);
  }
  config.index = 40;
  const uint32_t made = nbdConnect(config);
  CHECK_EQ(made, 40u);
  disconnected(40);
  disconnected(index);
}

TEST("a new server takes the device over and the unanswered write reaches it") {
  needsDriver();
  std::vector<uint8_t> oldStore(kDiskBytes), newStore(kDiskBytes);
  MemoryDisk first(oldStore);
  const uint32_t index = nbdConnect(configOf(first));
  std::ofstream("/sys/block/nbd" + std::to_string(index) + "/queue/io_timeout") << 1000;
  auto device = std::make_unique<Device>(index);
  REQUIRE(device->fd >= 0);
  first.mute = true;  // only now: the first open has read the partition table
  auto write = std::async(std::launch::async, [&] { return writeErrno(*device, 0x77, 0); });
  CHECK(eventually([&] { return oldStore[0] == 0x77; }));
  CHECK(write.wait_for(0s) == std::future_status::timeout);
  first.die();

  MemoryDisk successor(newStore);
  auto config = configOf(successor);
  config.index = index;
  nbdReconfigure(config);
  REQUIRE(write.wait_for(30s) == std::future_status::ready);
  const int error = write.get();
  CHECK_EQ(error, 0);
  CHECK_EQ(newStore[0], 0x77);
  device.reset();
  disconnected(index);
}

TEST("a server of another disk cannot take the device over") {
  needsDriver();
  std::vector<uint8_t> store(kDiskBytes);
  MemoryDisk disk(store);
  auto config = configOf(disk);
  config.index = nbdConnect(config);
  config.backendIdentifier = "another";
  try {
    nbdReconfigure(config);
    CHECK(!"the reconfigure was refused");
  } catch (const NetlinkError& error) {
    CHECK_EQ(error.errno_, EINVAL);
  }
  disconnected(*config.index);
}

TEST("without a successor a write fails when the dead connection timeout is over") {
  needsDriver();
  std::vector<uint8_t> store(kDiskBytes);
  MemoryDisk disk(store);
  const uint32_t index = nbdConnect(configOf(disk, 2));
  {
    Device device(index);
    REQUIRE(device.fd >= 0);
    disk.die();
    const auto start = std::chrono::steady_clock::now();
    const int error = writeErrno(device, 1, 0);
    CHECK_EQ(error, EIO);
    CHECK(std::chrono::steady_clock::now() - start >= 1s);
  }
  disconnected(index);
}

TEST("disconnect takes a device that is not connected as done, and refuses one that does not exist") {
  needsDriver();
  nbdDisconnect(3);
  CHECK_THROWS(NetlinkError, nbdDisconnect(4000));
}

CHECK_MAIN
