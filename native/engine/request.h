// A request of NBD's transmission phase: its wire forms, and all rules about it in one place.
//
// proto.md, "Transmission phase", "Request message" and, for extended headers, the extension EXTENDED_HEADERS. After
// check() nobody asks again whether a request fits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace sealdisk {

constexpr uint32_t kRequestMagic = 0x25609513;
constexpr uint32_t kExtendedRequestMagic = 0x21e41c71;
constexpr size_t kRequestBytes = 28;
constexpr size_t kExtendedRequestBytes = 32;

enum class Command : uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  writeZeroes = 6,
  blockStatus = 7,
};

constexpr uint16_t kFlagFua = 1 << 0;
constexpr uint16_t kFlagNoHole = 1 << 1;
constexpr uint16_t kFlagDontFragment = 1 << 2;
constexpr uint16_t kFlagRequestOne = 1 << 3;
constexpr uint16_t kFlagFastZero = 1 << 4;
constexpr uint16_t kFlagPayloadLength = 1 << 5;

enum class NbdErrno : uint32_t {
  ok = 0,
  perm = 1,
  io = 5,
  nomem = 12,
  inval = 22,
  nospc = 28,
  notsup = 95,
};

// How replies look; extended goes with extended requests.
enum class Replies : uint8_t { simple, structured, extended };

// What was agreed in the handshake, and what the disk allows.
struct Negotiated {
  bool readOnly = false;
  bool discards = false;  // zeros can be had fast, by a hole
  Replies replies = Replies::simple;
  // Ids of the metadata contexts that were asked for; 0: it was not.
  uint32_t allocationId = 0;  // base:allocation
  uint32_t keyStateId = 0;    // sealdisk:key-state
  uint32_t changedId = 0;     // what differs from an older snapshot

  size_t requestBytes() const noexcept {
    return replies == Replies::extended ? kExtendedRequestBytes : kRequestBytes;
  }
  size_t contexts() const noexcept { return (allocationId ? 1 : 0) + (keyStateId ? 1 : 0) + (changedId ? 1 : 0); }
};

struct Request {
  uint16_t flags = 0;
  Command command = Command::read;
  uint64_t cookie = 0;  // as it stands on the wire
  uint64_t offset = 0;
  uint64_t length = 0;        // of the range; of the payload where BLOCK_STATUS has one
  uint64_t payloadBytes = 0;  // that follow the header on the wire

  bool fua() const noexcept { return flags & kFlagFua; }
  bool has(uint16_t flag) const noexcept { return flags & flag; }
};

struct Refusal {
  NbdErrno errnoOnWire;
  const char* rule;
  uint64_t found, limit;
};

// Reads negotiated.requestBytes(). Empty when the magic is wrong: then the byte stream is lost, and with it the
// connection.
std::optional<Request> parse(const uint8_t* wire, const Negotiated& negotiated) noexcept;

// The first rule that the request breaks, on an export of `sizeBytes`. Disconnect is no business of this function: it is
// never refused. The payload of BLOCK_STATUS is judged when it is there: see status.h.
std::optional<Refusal> check(const Request& request, const Negotiated& negotiated, uint64_t sizeBytes) noexcept;

// Whether the range lies in the export.
bool inside(uint64_t offset, uint64_t length, uint64_t sizeBytes) noexcept;

// The wire's few numbers for a Linux errno (proto.md, "Error values").
NbdErrno onWire(int error) noexcept;

}  // namespace sealdisk
