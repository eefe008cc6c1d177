// A client of structured and extended replies, over the rig's raw one: whole replies, judged chunk by chunk.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/reply_part.h"
#include "engine/wire.h"
#include "engine_rig.h"

namespace rig {

struct Extent {
  uint64_t length, flags;
  bool operator==(const Extent&) const = default;
};

struct WireChunk {
  uint16_t flags, type;
  uint64_t cookie, offset;  // offset of the header: 0 unless extended
  Bytes payload;
  bool is(Chunk kind) const { return type == static_cast<uint16_t>(kind); }
  bool done() const { return flags & kReplyFlagDone; }
};

struct WholeReply {
  std::vector<WireChunk> chunks;
  uint32_t error = 0;
  std::string message;
  // The extents of a context, where the reply has them.
  std::vector<Extent> extents(uint32_t contextId) const {
    for (const WireChunk& chunk : chunks) {
      const bool wide = chunk.is(Chunk::blockStatusExtended);
      if ((!wide && !chunk.is(Chunk::blockStatus)) || loadBig<uint32_t>(&chunk.payload[0]) != contextId) continue;
      std::vector<Extent> all;
      for (size_t at = wide ? 8 : 4; at < chunk.payload.size(); at += wide ? 16 : 8) {
        const uint8_t* from = &chunk.payload[at];
        all.push_back(wide ? Extent{loadBig<uint64_t>(from), loadBig<uint64_t>(from + 8)}
                           : Extent{loadBig<uint32_t>(from), loadBig<uint32_t>(from + 4)});
      }
      if (wide && loadBig<uint32_t>(&chunk.payload[4]) != all.size()) throw std::runtime_error("descriptor count");
      return all;
    }
    return {};
  }
};

class ChunkClient {
 public:
  ChunkClient(Client& client, bool extended) : client_(client), extended_(extended) {}

  Bytes request(Command command, uint64_t offset, uint64_t length, uint16_t flags = 0, uint64_t cookie = 7) const {
    if (!extended_) return Client::header(command, offset, static_cast<uint32_t>(length), flags, cookie);
    Bytes wire(kExtendedRequestBytes);
    uint8_t* at = storeBig(&wire[0], kExtendedRequestMagic);
    at = storeBig(at, flags);
    at = storeBig(at, static_cast<uint16_t>(command));
    at = storeBig(at, cookie);
    storeBig(storeBig(at, offset), length);
    return wire;
  }

  WholeReply call(Command command, uint64_t offset = 0, uint64_t length = 0, uint16_t flags = 0,
                  const Bytes& payload = {}) {
    Bytes wire = request(command, offset, length, flags);
    wire.insert(wire.end(), payload.begin(), payload.end());
    client_.send(wire);
    return reply(offset);
  }
  WholeReply write(uint64_t offset, const Bytes& data, uint16_t flags = 0) {
    return call(Command::write, offset, data.size(), flags | (extended_ ? kFlagPayloadLength : 0), data);
  }

  // The bytes of a read, put together; nothing when the reply is an error or does not cover the range exactly once.
  std::optional<Bytes> read(uint64_t offset, uint32_t length, uint16_t flags = 0, WholeReply* seen = nullptr) {
    const WholeReply reply = call(Command::read, offset, length, flags);
    if (seen) *seen = reply;
    if (reply.error) return std::nullopt;
    Bytes data(length);
    std::vector<bool> covered(length);
    for (const WireChunk& chunk : reply.chunks) {
      const bool hole = chunk.is(Chunk::offsetHole);
      if (!hole && !chunk.is(Chunk::offsetData)) return std::nullopt;
      const uint64_t at = loadBig<uint64_t>(&chunk.payload[0]) - offset;
      const size_t bytes = hole ? loadBig<uint32_t>(&chunk.payload[8]) : chunk.payload.size() - 8;
      for (size_t i = 0; i < bytes; ++i) {
        if (at + i >= length || covered[at + i]) return std::nullopt;
        covered[at + i] = true;
        if (!hole) data[at + i] = chunk.payload[8 + i];
      }
    }
    for (const bool one : covered)
      if (!one) return std::nullopt;
    return data;
  }

  WholeReply reply(uint64_t requestOffset) {
    WholeReply whole;
    do {
      whole.chunks.push_back(chunk());
      const WireChunk& latest = whole.chunks.back();
      if (extended_ && latest.offset != requestOffset) throw std::runtime_error("offset of an extended reply");
      if (!latest.is(Chunk::error)) continue;
      whole.error = loadBig<uint32_t>(&latest.payload[0]);
      whole.message.assign(latest.payload.begin() + 6, latest.payload.end());
    } while (!whole.chunks.back().done());
    return whole;
  }

 private:
  WireChunk chunk() {
    const Bytes head = client_.receive(extended_ ? kExtendedReplyBytes : kStructuredReplyBytes);
    if (loadBig<uint32_t>(&head[0]) != (extended_ ? kExtendedReplyMagic : kStructuredReplyMagic))
      throw std::runtime_error("reply magic is wrong");
    WireChunk chunk{loadBig<uint16_t>(&head[4]), loadBig<uint16_t>(&head[6]), loadBig<uint64_t>(&head[8]), 0, {}};
    if (extended_) chunk.offset = loadBig<uint64_t>(&head[16]);
    const uint64_t bytes = extended_ ? loadBig<uint64_t>(&head[24]) : loadBig<uint32_t>(&head[16]);
    if (bytes > kServedMaxBytes + 64) throw std::runtime_error("a chunk that is too long");
    chunk.payload = client_.receive(bytes);
    return chunk;
  }

  Client& client_;
  const bool extended_;
};

}  // namespace rig
