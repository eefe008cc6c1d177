#include "engine/reply_part.h"

#include <cstring>

#include "engine/wire.h"

namespace sealdisk {

namespace {

ReplyPart part(const uint8_t* body = nullptr, size_t bodyBytes = 0) noexcept {
  ReplyPart fresh;
  fresh.body = body;
  fresh.bodyBytes = static_cast<uint32_t>(bodyBytes);
  fresh.headBytes = 0;
  return fresh;
}

void end(ReplyPart& part, const uint8_t* headEnd) noexcept { part.headBytes = static_cast<uint8_t>(headEnd - part.head); }

}  // namespace

// The header of a chunk; returns where its own fields go. `payloadBytes` are those fields and the body.
uint8_t* PartWriter::chunk(ReplyPart& part, Chunk type, bool done, size_t payloadBytes) const noexcept {
  const bool extended = replies_ == Replies::extended;
  uint8_t* at = storeBig(part.head, extended ? kExtendedReplyMagic : kStructuredReplyMagic);
  at = storeBig<uint16_t>(at, done ? kReplyFlagDone : 0);
  at = storeBig(at, static_cast<uint16_t>(type));
  at = storeRaw(at, request_.cookie);
  if (!extended) return storeBig(at, static_cast<uint32_t>(payloadBytes));
  at = storeBig(at, request_.offset);
  return storeBig<uint64_t>(at, payloadBytes);
}

ReplyPart PartWriter::simple(NbdErrno error, const uint8_t* data, uint32_t dataBytes) const noexcept {
  ReplyPart simple = part(data, dataBytes);
  uint8_t* at = storeBig(simple.head, kSimpleReplyMagic);
  at = storeBig(at, static_cast<uint32_t>(error));
  end(simple, storeRaw(at, request_.cookie));
  return simple;
}

ReplyPart PartWriter::none() const noexcept {
  ReplyPart none = part();
  end(none, chunk(none, Chunk::none, true, 0));
  return none;
}

ReplyPart PartWriter::error(NbdErrno error, const char* message) const noexcept {
  const size_t messageBytes = std::strlen(message);
  ReplyPart refused = part(reinterpret_cast<const uint8_t*>(message), messageBytes);
  uint8_t* at = chunk(refused, Chunk::error, true, 6 + messageBytes);
  at = storeBig(at, static_cast<uint32_t>(error));
  end(refused, storeBig(at, static_cast<uint16_t>(messageBytes)));
  return refused;
}

ReplyPart PartWriter::data(uint64_t offset, const uint8_t* data, uint32_t dataBytes, bool done) const noexcept {
  ReplyPart content = part(data, dataBytes);
  end(content, storeBig(chunk(content, Chunk::offsetData, done, 8 + size_t{dataBytes}), offset));
  return content;
}

ReplyPart PartWriter::hole(uint64_t offset, uint32_t holeBytes, bool done) const noexcept {
  ReplyPart hole = part();
  end(hole, storeBig(storeBig(chunk(hole, Chunk::offsetHole, done, 12), offset), holeBytes));
  return hole;
}

ReplyPart PartWriter::status(uint32_t contextId, const uint8_t* extents, uint32_t extentBytes, uint32_t count,
                             bool done) const noexcept {
  ReplyPart status = part(extents, extentBytes);
  if (replies_ == Replies::extended) {
    uint8_t* at = chunk(status, Chunk::blockStatusExtended, done, 8 + size_t{extentBytes});
    end(status, storeBig(storeBig(at, contextId), count));
  } else {
    end(status, storeBig(chunk(status, Chunk::blockStatus, done, 4 + size_t{extentBytes}), contextId));
  }
  return status;
}

}  // namespace sealdisk
