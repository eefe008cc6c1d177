// The nbd family (include/uapi/linux/nbd-netlink.h): see nbd_netlink.h.
//
// What drivers/block/nbd.c of Linux 6.1 does with it:
// - nbd_genl_connect answers with the index that it took. -EBUSY: the given device is in use, or none is free.
// - nbd_genl_reconfigure refuses another BACKEND_IDENTIFIER (-EINVAL). A new socket takes the place of a dead one; where
//   all sockets are alive it is dropped without a word, so the caller shuts the old one down first. Without a socket it
//   only sets the size, also of a device that is mounted (nbd_genl_size_set).
// - nbd_genl_disconnect shuts the sockets down, waits for the receivers, and fails what is still queued. A device that is
//   not connected is no error. One that is held open counts as connected until it is closed.
// - NBD_ATTR_TIMEOUT is never sent: with one it would fail requests that a hung disk has to keep.
// - NBD_ATTR_CLIENT_FLAGS is 0: the device neither goes away when a process closes it, nor is it destroyed.

#include "netlink/nbd_netlink.h"

#include <linux/nbd-netlink.h>

#include <cerrno>

#include "netlink/generic_netlink.h"

namespace sealdisk {

namespace {

MessageBuilder messageOf(GenericNetlink& netlink, uint8_t command) {
  return MessageBuilder(netlink.family(NBD_GENL_FAMILY_NAME), command, NBD_GENL_VERSION);
}

std::string named(const std::string& verb, std::optional<uint32_t> index) {
  return verb + (index ? " /dev/nbd" + std::to_string(*index) : " a free nbd device");
}

void addConfig(MessageBuilder& message, const NbdDeviceConfig& config) {
  if (config.index) message.u32(NBD_ATTR_INDEX, *config.index);
  message.u64(NBD_ATTR_SIZE_BYTES, config.sizeBytes)
      .u64(NBD_ATTR_BLOCK_SIZE_BYTES, config.blockSize)
      .u64(NBD_ATTR_SERVER_FLAGS, config.serverFlags)
      .u64(NBD_ATTR_CLIENT_FLAGS, 0)
      .u64(NBD_ATTR_DEAD_CONN_TIMEOUT, config.deadConnectionTimeoutS)
      .string(NBD_ATTR_BACKEND_IDENTIFIER, config.backendIdentifier);
  if (config.socketFd < 0) return;
  message.nest(NBD_ATTR_SOCKETS)
      .nest(NBD_SOCK_ITEM)
      .u32(NBD_SOCK_FD, static_cast<uint32_t>(config.socketFd))
      .end()
      .end();
}

}  // namespace

uint32_t nbdConnect(const NbdDeviceConfig& config) {
  GenericNetlink netlink;
  auto message = messageOf(netlink, NBD_CMD_CONNECT);
  addConfig(message, config);
  const auto answer = netlink.request(message, named("connect", config.index));
  const auto index = findAttribute(answer, NBD_ATTR_INDEX);
  if (!index) throw NetlinkError("connect: the kernel did not say which device", EBADMSG);
  return index->u32();
}

void nbdReconfigure(const NbdDeviceConfig& config) {
  if (!config.index) throw NetlinkError("reconfigure needs the index of a device", EINVAL);
  GenericNetlink netlink;
  auto message = messageOf(netlink, NBD_CMD_RECONFIGURE);
  addConfig(message, config);
  netlink.request(message, named("reconfigure", config.index));
}

void nbdDisconnect(uint32_t index) {
  GenericNetlink netlink;
  auto message = messageOf(netlink, NBD_CMD_DISCONNECT);
  message.u32(NBD_ATTR_INDEX, index);
  netlink.request(message, named("disconnect", index));
}

std::vector<NbdDeviceStatus> nbdStatus() {
  GenericNetlink netlink;
  auto message = messageOf(netlink, NBD_CMD_STATUS);
  const auto answer = netlink.request(message, "status of the nbd devices");
  std::vector<NbdDeviceStatus> devices;
  const auto list = findAttribute(answer, NBD_ATTR_DEVICE_LIST);
  if (!list) return devices;
  for (const auto& item : attributes(list->payload)) {
    if (item.type != NBD_DEVICE_ITEM) continue;
    const auto index = findAttribute(item.payload, NBD_DEVICE_INDEX);
    const auto connected = findAttribute(item.payload, NBD_DEVICE_CONNECTED);
    if (index && connected) devices.push_back({index->u32(), connected->u8() != 0});
  }
  return devices;
}

}  // namespace sealdisk
