// The rules of the transmission phase once more, from proto.md and docs/protocol.md and not from the engine's own check():
// what the fuzzer's model expects of each request.
//
// Where a request breaks several rules, the error of any of them will do: the documents give no order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace fuzz {

namespace wire {
constexpr uint32_t kRequestMagic = 0x25609513, kSimpleReplyMagic = 0x67446698;
constexpr size_t kRequestBytes = 28, kSimpleReplyBytes = 16;
enum Command : uint16_t { read = 0, write = 1, disconnect = 2, flush = 3, trim = 4, cache = 5, writeZeroes = 6 };
enum Flag : uint16_t { fua = 1, noHole = 2, fastZero = 16 };
enum Error : uint32_t { none = 0, perm = 1, io = 5, inval = 22, nospc = 28, notsup = 95 };
}  // namespace wire

constexpr uint64_t kServedMaxBytes = 64 << 20;   // of a read or write
constexpr uint64_t kSkippedMaxBytes = 128 << 20;  // of a refused write; a longer one ends the connection

// A request as its bytes say it.
struct Asked {
  uint16_t flags = 0, command = 0;
  uint64_t cookie = 0, offset = 0;
  uint32_t length = 0;

  uint64_t payloadBytes() const { return command == wire::write ? length : 0; }
};

struct ExportFacts {
  uint64_t sizeBytes;
  bool readOnly;
};

struct Judged {
  std::vector<uint32_t> rules;  // errors of the rules that are broken; none: it is carried out

  bool refused() const { return !rules.empty(); }
  bool names(uint32_t error) const { return std::find(rules.begin(), rules.end(), error) != rules.end(); }
};

// Not for DISC, which is never answered.
inline Judged judge(const Asked& asked, const ExportFacts& facts) {
  Judged judged;
  const auto breaksRule = [&judged](uint32_t error) { judged.rules.push_back(error); };
  const uint16_t command = asked.command;
  if (command > wire::writeZeroes || command == wire::cache) {
    breaksRule(wire::inval);
    return judged;
  }
  const bool zeroes = command == wire::writeZeroes;
  const uint16_t flags = wire::fua | (zeroes ? wire::noHole | wire::fastZero : 0);
  if (asked.flags & ~flags) breaksRule(wire::inval);
  if (command == wire::flush) {
    if (asked.offset || asked.length) breaksRule(wire::inval);
    return judged;
  }
  if (command != wire::read && facts.readOnly) breaksRule(wire::perm);
  if (asked.length == 0) breaksRule(wire::inval);
  if (command <= wire::write && asked.length > kServedMaxBytes) breaksRule(wire::inval);
  const bool inside = asked.offset <= facts.sizeBytes && asked.length <= facts.sizeBytes - asked.offset;
  if (!inside) breaksRule(command == wire::write || zeroes ? wire::nospc : wire::inval);
  if (zeroes && asked.flags & wire::fastZero) breaksRule(wire::notsup);
  return judged;
}

}  // namespace fuzz
