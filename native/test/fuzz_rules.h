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
constexpr uint32_t kRequestMagic = 0x25609513, kExtendedRequestMagic = 0x21e41c71;
constexpr uint32_t kSimpleReplyMagic = 0x67446698, kStructuredReplyMagic = 0x668e33ef, kExtendedReplyMagic = 0x6e8a278c;
enum Command : uint16_t {
  read = 0, write = 1, disconnect = 2, flush = 3, trim = 4, cache = 5, writeZeroes = 6, blockStatus = 7
};
enum Flag : uint16_t { fua = 1, noHole = 2, dontFragment = 4, reqOne = 8, fastZero = 16, payloadLength = 32 };
enum Error : uint32_t { none = 0, perm = 1, io = 5, inval = 22, nospc = 28, notsup = 95 };
enum Chunk : uint16_t {
  nothing = 0, data = 1, hole = 2, status = 5, wideStatus = 6, error = 0x8001, errorAt = 0x8002
};
constexpr uint16_t kDone = 1;
}  // namespace wire

constexpr uint64_t kServedMaxBytes = 64 << 20;    // of a read or write
constexpr uint64_t kSkippedMaxBytes = 128 << 20;  // of a payload; a longer one ends the connection

enum class Mode { simple, structured, extended };

// What the payload of a BLOCK_STATUS says; `unclear` may or may not be accepted.
enum class StatusPayload { none, good, unclear };

// A request as its bytes say it.
struct Asked {
  uint16_t flags = 0, command = 0;
  uint64_t cookie = 0, offset = 0;
  uint64_t length = 0;  // as the header says
  uint64_t payloadBytes = 0;
  StatusPayload statusPayload = StatusPayload::none;
  uint64_t statusLength = 0;  // of the range, where the payload is good

  bool writes() const { return command == wire::write || command == wire::writeZeroes; }
};

struct ExportFacts {
  uint64_t sizeBytes;
  bool readOnly, discards;
  Mode mode;
  bool contexts;  // some were negotiated
};

struct Judged {
  std::vector<uint32_t> rules;  // errors of the rules that are broken; none: it is carried out
  bool unclear = false;         // it may be carried out all the same

  bool mayRun() const { return rules.empty() || unclear; }
  bool names(uint32_t error) const { return std::find(rules.begin(), rules.end(), error) != rules.end(); }
};

inline uint16_t flagsOf(uint16_t command, Mode mode) {
  const uint16_t payload = mode == Mode::extended ? wire::payloadLength : 0;
  switch (command) {
    case wire::read:
      return wire::fua | (mode == Mode::simple ? 0 : wire::dontFragment);
    case wire::write:
      return wire::fua | payload;
    case wire::writeZeroes:
      return wire::fua | wire::noHole | wire::fastZero;
    case wire::blockStatus:
      return wire::fua | wire::reqOne | payload;
    default:
      return wire::fua;
  }
}

// Not for DISC, which is never answered.
inline Judged judge(const Asked& asked, const ExportFacts& facts) {
  Judged judged;
  const auto breaksRule = [&judged](uint32_t error) { judged.rules.push_back(error); };
  const uint16_t command = asked.command;
  if (command > wire::blockStatus) {
    breaksRule(wire::inval);
    return judged;
  }
  if (asked.flags & ~flagsOf(command, facts.mode)) breaksRule(wire::inval);
  if (command == wire::flush) {
    if (asked.offset || asked.length) breaksRule(wire::inval);
    return judged;
  }
  if (command == wire::blockStatus && !facts.contexts) breaksRule(wire::inval);
  const auto inside = [&](uint64_t length) {
    return asked.offset <= facts.sizeBytes && length <= facts.sizeBytes - asked.offset;
  };
  if (asked.statusPayload != StatusPayload::none) {
    const bool good = asked.statusPayload == StatusPayload::good;
    if (good && !inside(asked.statusLength)) breaksRule(wire::inval);
    if (good || !judged.rules.empty()) return judged;
    breaksRule(wire::inval);
    judged.unclear = true;
    return judged;
  }
  const bool changes = asked.writes() || command == wire::trim;
  if (changes && facts.readOnly) breaksRule(wire::perm);
  if (command == wire::write && asked.payloadBytes != asked.length) breaksRule(wire::inval);
  if (asked.length == 0) breaksRule(wire::inval);
  if (command <= wire::write && asked.length > kServedMaxBytes) breaksRule(wire::inval);
  if (!inside(asked.length)) breaksRule(asked.writes() ? wire::nospc : wire::inval);
  if (command == wire::writeZeroes && asked.flags & wire::fastZero) {
    judged.unclear = facts.discards && judged.rules.empty();  // a hole is fast, where the file makes one
    breaksRule(wire::notsup);
  }
  return judged;
}

}  // namespace fuzz
