// Generic netlink (include/uapi/linux/netlink.h, genetlink.h), as little of it as the nbd family needs.
//
// A request is built by MessageBuilder, sent by GenericNetlink::request, and its answer read with attributes(). Every
// length that comes in is checked before it is used: what does not fit ends in NetlinkError(EBADMSG), not in a read
// past the end. A GenericNetlink belongs to one thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netlink/nbd_netlink.h"

namespace sealdisk {

// One attribute of a message; `payload` lies in the message's buffer. Flags (nested, byte order) are cut off `type`.
struct NetlinkAttribute {
  uint16_t type;
  std::span<const uint8_t> payload;

  uint16_t u16() const { return integer<uint16_t>(); }
  uint32_t u32() const { return integer<uint32_t>(); }
  uint8_t u8() const { return integer<uint8_t>(); }

 private:
  template <typename T>
  T integer() const {
    if (payload.size() < sizeof(T)) throw NetlinkError("netlink attribute is too short", EBADMSG);
    T value;
    memcpy(&value, payload.data(), sizeof value);
    return value;
  }
};

// The attributes of `bytes`, which are a message's tail or a nested attribute's payload. Throws EBADMSG.
std::vector<NetlinkAttribute> attributes(std::span<const uint8_t> bytes);
std::optional<NetlinkAttribute> findAttribute(std::span<const uint8_t> bytes, uint16_t type);

class MessageBuilder {
 public:
  MessageBuilder(uint16_t family, uint8_t command, uint8_t version);

  MessageBuilder& u32(uint16_t type, uint32_t value) { return raw(type, &value, sizeof value); }
  MessageBuilder& u64(uint16_t type, uint64_t value) { return raw(type, &value, sizeof value); }
  MessageBuilder& string(uint16_t type, const std::string& value) {
    return raw(type, value.c_str(), value.size() + 1);
  }
  // Attributes that are added until the matching end() are inside.
  MessageBuilder& nest(uint16_t type);
  MessageBuilder& end();

  // The message with its length and `sequence` filled in.
  std::span<const uint8_t> finish(uint32_t sequence);

 private:
  MessageBuilder& raw(uint16_t type, const void* data, size_t bytes);

  std::vector<uint8_t> bytes_;
  std::vector<size_t> open_;
};

// What the kernel sent for one request.
struct NetlinkAnswer {
  bool acknowledged = false;
  std::vector<uint8_t> payload;  // attributes of the last data message, empty when there was none
};

// Takes one datagram into `answer`: messages of another sequence are passed over, an error becomes NetlinkError with the
// kernel's own words (extended ACK) where it gives any; `what` opens its text.
void readDatagram(std::span<const uint8_t> datagram, uint32_t sequence, const std::string& what,
                  NetlinkAnswer& answer);

class GenericNetlink {
 public:
  GenericNetlink();  // throws NetlinkError
  ~GenericNetlink();
  GenericNetlink(const GenericNetlink&) = delete;
  GenericNetlink& operator=(const GenericNetlink&) = delete;

  // The family's number; NetlinkError with familyMissing when the kernel has no such family.
  uint16_t family(const std::string& name);
  // Sends and waits for the acknowledgement; returns the attributes of the answer.
  std::vector<uint8_t> request(MessageBuilder& message, const std::string& what);

 private:
  std::vector<uint8_t> receive(const std::string& what);

  int fd_;
  uint32_t sequence_ = 0;
};

}  // namespace sealdisk
