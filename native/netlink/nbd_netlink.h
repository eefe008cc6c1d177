// The kernel's nbd generic-netlink family (include/uapi/linux/nbd-netlink.h; drivers/block/nbd.c).
//
// Synchronous calls, each on a netlink socket of its own, from the JS thread: they take microseconds, except
// disconnect, which waits for the device's queue. Throw NetlinkError.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace sealdisk {

// `errno_` is the kernel's answer as a positive errno; ENOENT with `familyMissing` means there is no nbd driver.
struct NetlinkError : std::runtime_error {
  NetlinkError(const std::string& what, int error, bool familyMissing_ = false)
      : std::runtime_error(what), errno_(error), familyMissing(familyMissing_) {}
  int errno_;
  bool familyMissing;
};

struct NbdDeviceConfig {
  std::optional<uint32_t> index;  // /dev/nbdN; the kernel chooses a free one when empty
  int socketFd;                   // the kernel's end; AF_UNIX stream or TCP; below 0: the sockets stay as they are
  uint64_t sizeBytes;
  uint64_t blockSize;
  uint64_t serverFlags;  // NBD_FLAG_* of the transmission phase
  uint64_t deadConnectionTimeoutS;
  std::string backendIdentifier;
};

struct NbdDeviceStatus {
  uint32_t index;
  bool connected;
};

uint32_t nbdConnect(const NbdDeviceConfig& config);      // returns the index
void nbdReconfigure(const NbdDeviceConfig& config);      // index must be set
void nbdDisconnect(uint32_t index);
std::vector<NbdDeviceStatus> nbdStatus();                // all devices

}  // namespace sealdisk
