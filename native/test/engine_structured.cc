// Structured and extended replies over a whole disk: chunks, holes, BLOCK_STATUS, 64-bit lengths.
#include <sys/stat.h>

#include "chunk_client.h"
#include "engine/status.h"

using namespace rig;

namespace {

constexpr uint32_t kAllocation = 3, kKeyState = 9;
constexpr uint64_t kSector = 4096;
constexpr uint32_t kHoleFlags = kStateHole | kStateZero;

Negotiated modern(Replies replies) {
  Negotiated negotiated;
  negotiated.replies = replies;
  negotiated.allocationId = kAllocation;
  negotiated.keyStateId = kKeyState;
  return negotiated;
}

// A disk with a client of each kind of chunks, over both backings.
void forEach(bool holes, bool discard, const std::function<void(Rig&, ChunkClient&, Client&, bool extended)>& body) {
  withBothBackings([&] {
    for (const Replies replies : {Replies::structured, Replies::extended}) {
      Rig rig(1 * MiB, kSector, false, holes, discard);
      const auto client = rig.connectAs(modern(replies));
      ChunkClient chunks(*client, replies == Replies::extended);
      body(rig, chunks, *client, replies == Replies::extended);
    }
  });
}

uint64_t allocatedBytes(const Rig& rig) {
  struct stat status;
  if (fstat(rig.file.fd(), &status) != 0) throw std::runtime_error("fstat");
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

}  // namespace

TEST("answers a read with one chunk of data, and everything else with a chunk of its own") {
  forEach(false, false, [](Rig&, ChunkClient& client, Client&, bool) {
    const Bytes data = randomBytes(3 * kSector);
    CHECK_EQ(client.write(5, data).error, 0u);
    WholeReply reply;
    CHECK(client.read(5, 3 * kSector, 0, &reply) == data);
    CHECK_EQ(reply.chunks.size(), 1u);
    for (const Command command : {Command::flush, Command::trim, Command::cache, Command::writeZeroes}) {
      const bool flush = command == Command::flush;
      const WholeReply none = client.call(command, flush ? 0 : kSector, flush ? 0 : kSector);
      CHECK_EQ(none.error, 0u);
      CHECK(none.chunks.size() == 1 && none.chunks[0].is(Chunk::none) && none.chunks[0].payload.empty());
    }
  });
}

TEST("says why it refuses, and serves on") {
  forEach(false, false, [](Rig&, ChunkClient& client, Client&, bool) {
    const WholeReply reply = client.call(Command::read, 1 * MiB, 1);
    CHECK_EQ(reply.error, static_cast<uint32_t>(NbdErrno::inval));
    CHECK(reply.message == "request ends inside the export");
    CHECK_EQ(client.write(1 * MiB, Bytes(100)).error, static_cast<uint32_t>(NbdErrno::nospc));
    CHECK_EQ(client.call(Command::flush).error, 0u);
  });
}

TEST("reads holes as zeros and tells them, around data and inside it") {
  forEach(true, false, [](Rig&, ChunkClient& client, Client&, bool) {
    const Bytes data = randomBytes(2 * kSector);
    CHECK_EQ(client.write(4 * kSector, data).error, 0u);
    WholeReply reply;
    Bytes expected(10 * kSector);
    std::copy(data.begin(), data.end(), expected.begin() + 4 * kSector);
    CHECK(client.read(0, 10 * kSector, 0, &reply) == expected);
    REQUIRE(reply.chunks.size() == 3);
    CHECK(reply.chunks[0].is(Chunk::offsetHole) && reply.chunks[1].is(Chunk::offsetData) &&
          reply.chunks[2].is(Chunk::offsetHole));
    const Bytes middle(expected.begin() + 4 * kSector - 7, expected.begin() + 6 * kSector + 100);
    CHECK(client.read(4 * kSector - 7, static_cast<uint32_t>(middle.size()), 0, &reply) == middle);
    CHECK_EQ(reply.chunks.size(), 3u);
  });
}

TEST("keeps a read with DF in one chunk of data, holes as zeros") {
  forEach(true, false, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK_EQ(client.write(kSector, Bytes(kSector, 1)).error, 0u);
    Bytes expected(3 * kSector);
    std::fill_n(expected.begin() + kSector, kSector, 1);
    WholeReply reply;
    CHECK(client.read(0, 3 * kSector, kFlagDontFragment, &reply) == expected);
    CHECK(reply.chunks.size() == 1 && reply.chunks[0].is(Chunk::offsetData));
  });
}

TEST("ends a read of more holes than chunks with one chunk for the rest") {
  forEach(true, false, [](Rig&, ChunkClient& client, Client&, bool) {
    const uint64_t sectors = 2 * kChunksPerRead + 2;
    Bytes expected(sectors * kSector);
    for (uint64_t sector = 0; sector < sectors; sector += 2) {
      const Bytes data = randomBytes(kSector);
      CHECK_EQ(client.write(sector * kSector, data).error, 0u);
      std::copy(data.begin(), data.end(), expected.begin() + static_cast<ptrdiff_t>(sector * kSector));
    }
    WholeReply reply;
    CHECK(client.read(0, static_cast<uint32_t>(expected.size()), 0, &reply) == expected);
    CHECK_EQ(reply.chunks.size(), kChunksPerRead);
    CHECK(reply.chunks.back().is(Chunk::offsetData));
    const uint32_t cut = static_cast<uint32_t>((kChunksPerRead - 1) * kSector + 10);
    CHECK(client.read(0, cut) == Bytes(expected.begin(), expected.begin() + cut));
  });
}

TEST("merges a cut sector of a hole with zeros") {
  forEach(true, false, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK_EQ(client.write(2 * kSector + 10, Bytes(20, 5)).error, 0u);
    Bytes expected(kSector);
    std::fill_n(expected.begin() + 10, 20, 5);
    CHECK(client.read(2 * kSector, kSector) == expected);
  });
}

TEST("reads noise, not zeros, where a disk may have no holes") {
  forEach(false, false, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK(client.read(0, kSector) != Bytes(kSector));
    const auto extents = client.call(Command::blockStatus, 0, 1 * MiB).extents(kAllocation);
    CHECK(extents == std::vector<Extent>({{1 * MiB, 0}}));
  });
}

TEST("makes holes of TRIM and of WRITE_ZEROES with discard, and writes what they leave over") {
  forEach(true, true, [](Rig& rig, ChunkClient& client, Client&, bool) {
    for (const Command command : {Command::trim, Command::writeZeroes}) {
      Bytes data = randomBytes(16 * kSector);
      CHECK_EQ(client.write(0, data).error, 0u);
      const uint64_t full = allocatedBytes(rig);
      const uint64_t begin = 3 * kSector - 100, end = 9 * kSector + 50;
      CHECK_EQ(client.call(command, begin, end - begin, kFlagFua).error, 0u);
      CHECK(allocatedBytes(rig) + 6 * kSector <= full);
      const bool zeroes = command == Command::writeZeroes;
      std::fill(data.begin() + (zeroes ? begin : 3 * kSector), data.begin() + (zeroes ? end : 9 * kSector), 0);
      CHECK(client.read(0, 16 * kSector) == data);
    }
  });
}

TEST("keeps the place of zeros with NO_HOLE, and zeros a cut sector alone by writing it") {
  forEach(true, true, [](Rig& rig, ChunkClient& client, Client&, bool) {
    Bytes data = randomBytes(8 * kSector);
    CHECK_EQ(client.write(0, data).error, 0u);
    const uint64_t full = allocatedBytes(rig);
    CHECK_EQ(client.call(Command::writeZeroes, 0, 4 * kSector, kFlagNoHole).error, 0u);
    CHECK_EQ(client.call(Command::writeZeroes, 5 * kSector + 1, 17).error, 0u);
    CHECK_EQ(allocatedBytes(rig), full);
    std::fill_n(data.begin(), 4 * kSector, 0);
    std::fill_n(data.begin() + 5 * kSector + 1, 17, 0);
    CHECK(client.read(0, 8 * kSector) == data);
  });
}

TEST("zeros fast where a hole can be made, and says ENOTSUP where it would have to write") {
  forEach(true, true, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK_EQ(client.call(Command::writeZeroes, 0, 8 * kSector, kFlagFastZero).error, 0u);
    CHECK_EQ(client.call(Command::writeZeroes, 1, 17, kFlagFastZero).error, static_cast<uint32_t>(NbdErrno::notsup));
  });
  forEach(true, false, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK_EQ(client.call(Command::writeZeroes, 0, kSector, kFlagFastZero).error,
             static_cast<uint32_t>(NbdErrno::notsup));
  });
}

TEST("tells the allocation of the file, whole sectors, clipped to what was asked") {
  forEach(true, true, [](Rig&, ChunkClient& client, Client&, bool) {
    CHECK_EQ(client.write(4 * kSector, randomBytes(4 * kSector)).error, 0u);
    const auto status = [&](uint64_t offset, uint64_t length, uint16_t flags = 0) {
      return client.call(Command::blockStatus, offset, length, flags).extents(kAllocation);
    };
    CHECK(status(0, 1 * MiB) == std::vector<Extent>({{4 * kSector, kHoleFlags},
                                                     {4 * kSector, 0},
                                                     {1 * MiB - 8 * kSector, kHoleFlags}}));
    CHECK(status(5 * kSector + 3, 4 * kSector) == std::vector<Extent>({{3 * kSector - 3, 0}, {kSector + 3, kHoleFlags}}));
    CHECK(status(0, 1 * MiB, kFlagRequestOne) == std::vector<Extent>({{4 * kSector, kHoleFlags}}));
    CHECK(status(100, 50, kFlagRequestOne) == std::vector<Extent>({{50, kHoleFlags}}));
  });
}

TEST("tells the state of the key while the disk is live, hung and failed") {
  forEach(true, false, [](Rig& rig, ChunkClient& client, Client& wire, bool) {
    const auto state = [&] {
      const WholeReply reply = client.call(Command::blockStatus, 0, kSector);
      CHECK_EQ(reply.chunks.size(), 2u);
      const auto extents = reply.extents(kKeyState);
      return extents.size() == 1 && extents[0].length == kSector ? extents[0].flags : 99;
    };
    CHECK_EQ(state(), 0u);
    REQUIRE(rig.shut(Gate::State::hung));
    wire.send(client.request(Command::flush, 0, 0));
    CHECK_EQ(state(), 1u);  // past the flush, which is parked
    rig.live();
    CHECK_EQ(client.reply(0).error, 0u);
    REQUIRE(rig.shut(Gate::State::failed));
    CHECK_EQ(state(), 2u);
  });
}

TEST("narrows BLOCK_STATUS to the contexts of its payload, and refuses a payload that lies") {
  Rig rig(1 * MiB, kSector, false, true, false);
  const auto wire = rig.connectAs(modern(Replies::extended));
  ChunkClient client(*wire, true);
  const auto ask = [&](const std::vector<uint32_t>& ids, uint64_t length, size_t extraBytes = 0) {
    Bytes payload(8 + 4 * ids.size() + extraBytes);
    uint8_t* at = storeBig(&payload[0], length);
    for (const uint32_t id : ids) at = storeBig(at, id);
    return client.call(Command::blockStatus, 0, payload.size(), kFlagPayloadLength, payload);
  };
  const WholeReply one = ask({kKeyState}, kSector);
  CHECK(one.error == 0 && one.chunks.size() == 1);
  CHECK(one.extents(kKeyState) == std::vector<Extent>({{kSector, 0}}));
  CHECK_EQ(ask({kKeyState, kAllocation}, 1 * MiB).chunks.size(), 2u);
  const auto inval = static_cast<uint32_t>(NbdErrno::inval);
  CHECK_EQ(ask({kKeyState, kKeyState}, kSector).error, inval);
  CHECK_EQ(ask({77}, kSector).error, inval);
  CHECK_EQ(ask({0}, kSector).error, inval);
  CHECK_EQ(ask({}, kSector).error, inval);
  CHECK_EQ(ask({kKeyState}, kSector, 2).error, inval);
  CHECK_EQ(ask({kKeyState}, 1 * MiB + 1).error, inval);
  CHECK_EQ(ask({kKeyState}, 0).error, inval);
  CHECK_EQ(client.call(Command::flush).error, 0u);  // in step with the stream all the while
}

TEST("takes lengths of more than 32 bits in an extended request") {
  constexpr uint64_t kHuge = uint64_t{6} << 30;
  Rig rig(kHuge, kSector, false, true, true);
  const auto wire = rig.connectAs(modern(Replies::extended));
  ChunkClient client(*wire, true);
  CHECK_EQ(client.write(5 * (kHuge / 6), Bytes(kSector, 1)).error, 0u);
  CHECK_EQ(client.call(Command::blockStatus, 0, kHuge).extents(kAllocation).size(), 3u);
  CHECK_EQ(client.call(Command::writeZeroes, 0, kHuge, kFlagFastZero).error, 0u);
  CHECK(client.call(Command::blockStatus, 0, kHuge).extents(kAllocation) ==
        std::vector<Extent>({{kHuge, kHoleFlags}}));
  CHECK_EQ(client.call(Command::trim, 0, kHuge).error, 0u);
  CHECK_EQ(client.call(Command::cache, 0, kHuge).error, 0u);
  CHECK_EQ(client.call(Command::read, 0, kHuge).error, static_cast<uint32_t>(NbdErrno::inval));
}

TEST("drops the payload of an extended request that may have none, and closes on one that is absurd") {
  Rig rig;
  const auto wire = rig.connectAs(modern(Replies::extended));
  ChunkClient client(*wire, true);
  const auto inval = static_cast<uint32_t>(NbdErrno::inval);
  CHECK_EQ(client.call(Command::read, 0, 100, kFlagPayloadLength, Bytes(100)).error, inval);
  CHECK_EQ(client.call(Command::write, 0, 100).error, inval);  // without a payload none follows
  CHECK_EQ(client.call(Command::flush).error, 0u);
  wire->send(client.request(Command::write, 0, uint64_t{1} << 40, kFlagPayloadLength));
  CHECK(wire->endOfFile());
}

TEST("serves another size to the connections that are there") {
  forEach(false, false, [](Rig& rig, ChunkClient& client, Client&, bool) {
    CHECK_THROWS(DiskTooSmall, rig.disk->resize(2 * MiB));
    CHECK_THROWS(std::invalid_argument, rig.disk->resize(kSector + 512));
    REQUIRE(ftruncate(rig.file.fd(), Rig::kOffset + 2 * MiB) == 0);
    CHECK_EQ(client.call(Command::read, 1 * MiB, kSector).error, static_cast<uint32_t>(NbdErrno::inval));
    rig.disk->resize(2 * MiB);
    const Bytes data = randomBytes(kSector);
    CHECK_EQ(client.write(2 * MiB - kSector, data).error, 0u);
    CHECK(client.read(2 * MiB - kSector, kSector) == data);
    rig.disk->resize(1 * MiB);
    CHECK_EQ(client.write(1 * MiB, data).error, static_cast<uint32_t>(NbdErrno::nospc));
  });
}

CHECK_MAIN
