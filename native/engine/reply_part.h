// What a reply is made of: parts, each a few bytes of header and, where there is a payload, its place.
//
// proto.md, "Simple reply message", "Structured reply chunk message", "Structured reply types"; for extended headers the
// extension EXTENDED_HEADERS. A simple reply is one part; a structured or extended one has a part for each chunk.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/request.h"

namespace sealdisk {

constexpr uint32_t kSimpleReplyMagic = 0x67446698;
constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;
constexpr uint32_t kExtendedReplyMagic = 0x6e8a278c;
constexpr size_t kSimpleReplyBytes = 16;
constexpr size_t kStructuredReplyBytes = 20;
constexpr size_t kExtendedReplyBytes = 32;

constexpr uint16_t kReplyFlagDone = 1 << 0;

enum class Chunk : uint16_t {
  none = 0,
  offsetData = 1,
  offsetHole = 2,
  blockStatus = 5,
  blockStatusExtended = 6,
  error = (1 << 15) + 1,
};

struct ReplyPart {
  const uint8_t* body;
  uint32_t bodyBytes;
  uint8_t headBytes;
  uint8_t head[kExtendedReplyBytes + 12];  // with the fields of the longest: a hole

  size_t bytes() const noexcept { return headBytes + size_t{bodyBytes}; }
};
static_assert(sizeof(ReplyPart) == 64);

// One kind of reply each, to `request`. A body is not copied: it stays where it is until the reply is sent.
class PartWriter {
 public:
  PartWriter(const Request& request, Replies replies) noexcept : request_(request), replies_(replies) {}

  ReplyPart simple(NbdErrno error, const uint8_t* data, uint32_t dataBytes) const noexcept;
  ReplyPart none() const noexcept;
  // `message` is a string that lives for ever.
  ReplyPart error(NbdErrno error, const char* message) const noexcept;
  ReplyPart data(uint64_t offset, const uint8_t* data, uint32_t dataBytes, bool done) const noexcept;
  ReplyPart hole(uint64_t offset, uint32_t holeBytes, bool done) const noexcept;
  // `extents` are `count` descriptors in their wire form.
  ReplyPart status(uint32_t contextId, const uint8_t* extents, uint32_t extentBytes, uint32_t count,
                   bool done) const noexcept;

 private:
  uint8_t* chunk(ReplyPart& part, Chunk type, bool done, size_t payloadBytes) const noexcept;

  const Request& request_;
  const Replies replies_;
};

}  // namespace sealdisk
