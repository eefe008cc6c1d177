// A request of NBD's transmission phase: its wire form, and all rules about it in one place.
//
// proto.md, "Transmission phase" and "Request message". After check() nobody asks again whether a request fits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace sealdisk {

constexpr uint32_t kRequestMagic = 0x25609513;
constexpr uint32_t kSimpleReplyMagic = 0x67446698;
constexpr size_t kRequestBytes = 28;
constexpr size_t kSimpleReplyBytes = 16;

enum class Command : uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  writeZeroes = 6,
};

constexpr uint16_t kFlagFua = 1 << 0;
constexpr uint16_t kFlagNoHole = 1 << 1;
constexpr uint16_t kFlagFastZero = 1 << 4;

enum class NbdErrno : uint32_t {
  ok = 0,
  perm = 1,
  io = 5,
  nomem = 12,
  inval = 22,
  nospc = 28,
  notsup = 95,
};

struct Request {
  uint16_t flags = 0;
  Command command = Command::read;
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint32_t length = 0;

  bool fua() const noexcept { return flags & kFlagFua; }
  // Bytes that follow the header on the wire.
  uint32_t payloadBytes() const noexcept { return command == Command::write ? length : 0; }
};

// What was agreed in the handshake.
struct Negotiated {
  bool readOnly = false;
};

struct Refusal {
  NbdErrno errnoOnWire;
  const char* rule;
  uint64_t found, limit;
};

// Empty when the magic is wrong: then the byte stream is lost, and with it the connection.
std::optional<Request> parse(std::span<const uint8_t, kRequestBytes> wire) noexcept;

// The first rule that the request breaks, on an export of `sizeBytes`. Disconnect is no business of this function: it is
// never refused.
std::optional<Refusal> check(const Request& request, const Negotiated& negotiated, uint64_t sizeBytes) noexcept;

// The wire's few numbers for a Linux errno (proto.md, "Error values").
NbdErrno onWire(int error) noexcept;

}  // namespace sealdisk
