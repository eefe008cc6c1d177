// A served disk, request by request: what a client sees, and what stands in the file. Both backings.
#include <algorithm>

#include "engine_rig.h"

using namespace rig;

namespace {

Bytes plaintextOf(const Rig& rig, uint64_t offset, size_t bytes, uint32_t sectorBytes) {
  Bytes data(bytes);
  if (pread(rig.file.fd(), data.data(), bytes, static_cast<off_t>(Rig::kOffset + offset)) !=
      static_cast<ssize_t>(bytes))
    throw std::runtime_error("the file is short");
  XtsKey(someKey()).decrypt(data.data(), data.data(), bytes, sectorBytes, offset / 512);
  return data;
}

}  // namespace

TEST("what was written is read back, and stands encrypted in the file") {
  withBothBackings([] {
    for (const uint32_t sector : {512u, 4096u}) {
      Rig rig(1 * MiB, sector);
      const auto client = rig.connect();
      const Bytes data = randomBytes(3 * sector);
      CHECK_EQ(client->write1(2 * sector, data), 0u);
      Bytes back;
      CHECK_EQ(client->read(2 * sector, 3 * sector, back), 0u);
      CHECK(back == data);
      CHECK(plaintextOf(rig, 2 * sector, 3 * sector, sector) == data);
    }
  });
}

TEST("every alignment of a write leaves the bytes around it alone") {
  withBothBackings([] {
    constexpr uint64_t kSize = 64 * KiB;
    for (const uint32_t sector : {512u, 4096u}) {
      Rig rig(kSize, sector);
      const auto client = rig.connect();
      Bytes model = randomBytes(kSize);
      CHECK_EQ(client->write1(0, model), 0u);
      const uint64_t edges[] = {0, 1, 15, 16, 17, sector - 1, sector, sector + 1, 2 * sector - 1, 2 * sector,
                                2 * sector + 7, 3 * sector};
      for (const uint64_t from : edges) {
        for (const uint64_t to : edges) {
          if (to <= from) continue;
          const bool zeroes = testRandom()() % 2;
          Bytes data = zeroes ? Bytes(to - from) : randomBytes(to - from);
          const uint32_t error = zeroes
                                     ? client->call(Command::writeZeroes, from, static_cast<uint32_t>(to - from))
                                     : client->write1(from, data, testRandom()() % 2 ? kFlagFua : 0);
          REQUIRE(error == 0);
          std::copy(data.begin(), data.end(), model.begin() + static_cast<long>(from));
          Bytes back;
          REQUIRE(client->read(from, static_cast<uint32_t>(to - from), back) == 0);
          REQUIRE(back == data);
          REQUIRE(client->read(0, static_cast<uint32_t>(4 * sector), back) == 0);
          REQUIRE(std::equal(back.begin(), back.end(), model.begin()));
        }
      }
      Bytes back;
      CHECK_EQ(client->read(0, kSize, back), 0u);
      CHECK(back == model);
    }
  });
}

TEST("zeros longer than a piece are zeros to their last byte, and no further") {
  withBothBackings([] {
    constexpr uint64_t kSize = 4 * MiB, kFrom = 4097, kTo = 3 * MiB + 511;
    Rig rig(kSize);
    const auto client = rig.connect();
    Bytes model = randomBytes(kSize);
    CHECK_EQ(client->write1(0, model), 0u);
    CHECK_EQ(client->call(Command::writeZeroes, kFrom, kTo - kFrom, kFlagFua | kFlagNoHole), 0u);
    std::fill(model.begin() + kFrom, model.begin() + kTo, 0);
    Bytes back;
    CHECK_EQ(client->read(0, kSize, back), 0u);
    CHECK(back == model);
    const Bytes raw = plaintextOf(rig, 8192, 4096, 4096);
    CHECK(raw == Bytes(4096));  // encrypted zeros, no hole
  });
}

TEST("one request of 64 MiB is served, whole and at an odd offset") {
  withBothBackings([] {
    constexpr uint64_t kSize = kServedMaxBytes + 8192;
    Rig rig(kSize);
    const auto client = rig.connect();
    Bytes data(kServedMaxBytes);
    for (size_t i = 0; i < data.size(); i += 8) memcpy(&data[i], &i, 8);
    CHECK_EQ(client->write1(1, data), 0u);
    Bytes back;
    CHECK_EQ(client->read(1, kServedMaxBytes, back), 0u);
    CHECK(back == data);
  });
}

TEST("flush and trim succeed, trim changes nothing") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    const Bytes data = randomBytes(4096);
    Bytes back;
    CHECK_EQ(client->write1(0, data), 0u);
    CHECK_EQ(client->call(Command::flush), 0u);
    CHECK_EQ(client->call(Command::trim, 0, 4096), 0u);
    CHECK_EQ(client->read(0, 4096, back), 0u);
    CHECK(back == data);
    CHECK_EQ(rig.disk->counters().flushes.load(), 1u);
  });
}

TEST("a refused write's payload is skipped, and the next request is understood") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK_EQ(client->write1(1 * MiB - 4, Bytes(300 * KiB)), static_cast<uint32_t>(NbdErrno::nospc));
    CHECK_EQ(client->write1(0, Bytes(kServedMaxBytes + 1)), static_cast<uint32_t>(NbdErrno::inval));
    CHECK_EQ(client->call(Command::flush), 0u);
    CHECK_EQ(client->call(static_cast<Command>(99)), static_cast<uint32_t>(NbdErrno::inval));
    CHECK_EQ(client->call(Command::writeZeroes, 0, 4096, kFlagFastZero), static_cast<uint32_t>(NbdErrno::notsup));
    CHECK_EQ(client->call(Command::flush), 0u);
  });
}

TEST("a read-only connection, and a read-only disk, are not written") {
  withBothBackings([] {
    Rig writable;
    const auto client = writable.connect({}, true);
    CHECK_EQ(client->write1(0, Bytes(4096)), static_cast<uint32_t>(NbdErrno::perm));
    Rig rig(1 * MiB, 4096, true);
    const auto other = rig.connect();
    Bytes back;
    CHECK_EQ(other->write1(0, Bytes(4096)), static_cast<uint32_t>(NbdErrno::perm));
    CHECK_EQ(other->read(0, 4096, back), 0u);
    CHECK_EQ(other->call(Command::flush), 0u);
  });
}

TEST("bytes that were read ahead are the stream's first") {
  withBothBackings([] {
    Rig rig;
    const Bytes data = randomBytes(8192);
    const Bytes wire = Client::write(512, data, 0, 11);
    for (const size_t cut : {size_t{1}, size_t{28}, size_t{29}, wire.size() - 1, wire.size()}) {
      const auto client = rig.connect(Bytes(wire.begin(), wire.begin() + static_cast<long>(cut)));
      client->send(Bytes(wire.begin() + static_cast<long>(cut), wire.end()));
      const Reply reply = client->reply();
      CHECK_EQ(reply.error, 0u);
      CHECK_EQ(reply.cookie, 11u);
      Bytes back;
      CHECK_EQ(client->read(512, 8192, back), 0u);
      CHECK(back == data);
    }
  });
}

TEST("a stream that comes byte by byte is understood like one that comes at once") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    const Bytes data = randomBytes(700);
    for (const uint8_t byte : Client::write(4000, data)) client->send({byte});
    CHECK_EQ(client->reply().error, 0u);
    Bytes back;
    CHECK_EQ(client->read(4000, 700, back), 0u);
    CHECK(back == data);
  });
}

TEST("a thousand requests at once are all answered, each once") {
  withBothBackings([] {
    constexpr uint64_t kRequests = 1000;
    Rig rig(4 * MiB);
    const auto client = rig.connect();
    std::thread sender([&client] {
      for (uint64_t i = 0; i < kRequests; ++i)
        client->send(Client::write(i * 4096, Bytes(4096, static_cast<uint8_t>(i)), 0, i));
    });
    std::vector<int> seen(kRequests);
    for (uint64_t i = 0; i < kRequests; ++i) {
      const Reply reply = client->reply();
      CHECK_EQ(reply.error, 0u);
      REQUIRE(reply.cookie < kRequests);
      ++seen[reply.cookie];
    }
    sender.join();
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
    Bytes back;
    for (uint64_t i = 0; i < kRequests; i += 37) {
      CHECK_EQ(client->read(i * 4096, 4096, back), 0u);
      CHECK(back == Bytes(4096, static_cast<uint8_t>(i)));
    }
  });
}

TEST("a disk that is held is not opened again, neither here nor read-only") {
  Rig rig;
  for (const bool readOnly : {false, true}) {
    try {
      Disk::open({rig.file.path(), {Rig::kOffset, 4096}, 1 * MiB, readOnly, false});
      CHECK(!"the second open succeeded");
    } catch (const std::system_error& error) {
      CHECK_EQ(error.code().value(), EAGAIN);
    }
  }
  CHECK_EQ(rig.disk->close(), 0);
  CHECK_EQ(rig.disk->close(), 0);
  Disk::open({rig.file.path(), {Rig::kOffset, 4096}, 1 * MiB, false, false});
}

TEST("a disk that does not fit its file, or its sectors, is not opened") {
  const TemporaryFile file(1 * MiB);
  CHECK_THROWS(DiskTooSmall, Disk::open({file.path(), {4096, 4096}, 1 * MiB, false, false}));
  CHECK_THROWS(std::invalid_argument, Disk::open({file.path(), {0, 4096}, 4096 + 512, false, false}));
  CHECK_THROWS(std::invalid_argument, Disk::open({file.path(), {512, 4096}, 4096, false, false}));
  CHECK_THROWS(std::invalid_argument, Disk::open({file.path(), {0, 1024}, 4096, false, false}));
  CHECK_THROWS(std::invalid_argument, Disk::open({file.path(), {0, 4096}, 0, false, false}));
  CHECK_THROWS(std::system_error, Disk::open({"/nonexistent/disk", {0, 4096}, 4096, false, false}));
}

// Writes, zeros and holes of a plain disk, cut sectors among them, against what its file should be.
TEST("what a plain disk serves is what lies in its file, byte by byte") {
  withBothBackings([] {
    for (const bool inMemory : {true, false}) {
      constexpr uint64_t kSize = 2 * MiB;
      Rig rig(DiskOptions{"", {0, 512}, kSize, false, false, false, true, true}, inMemory);
      const auto client = rig.connect();
      Bytes model(kSize), found(kSize), back;
      for (int i = 0; i < 200; ++i) {
        const uint64_t length = 1 + testRandom()() % (i % 10 ? 20 * KiB : 1 * MiB);
        const uint64_t at = testRandom()() % (kSize - length);
        const auto from = model.begin() + static_cast<long>(at);
        if (i % 3) {
          const Bytes data = randomBytes(length);
          REQUIRE(client->write1(at, data) == 0);
          std::copy(data.begin(), data.end(), from);
        } else {
          REQUIRE(client->call(Command::writeZeroes, at, static_cast<uint32_t>(length), i % 2 ? kFlagNoHole : 0) == 0);
          std::fill_n(from, length, 0);
        }
        REQUIRE(client->read(at, static_cast<uint32_t>(length), back) == 0);
        REQUIRE(std::equal(back.begin(), back.end(), from));
      }
      REQUIRE(pread(rig.file.fd(), found.data(), kSize, 0) == static_cast<ssize_t>(kSize));
      CHECK(found == model);
      CHECK_EQ(client->read(0, kSize, back), 0u);
      CHECK(back == model);
    }
  });
}

TEST("a plain disk takes no key, and no other goes live without one") {
  const auto refusesToGoLive = [](bool plain, XtsKey key) {
    const TemporaryFile file(1 * MiB);
    const auto disk = Disk::open({file.path(), {0, 4096}, 1 * MiB, false, false, false, false, plain});
    CHECK_THROWS(std::invalid_argument, disk->goLive(std::move(key)));
    CHECK(disk->gate().state() == Gate::State::hung);
  };
  refusesToGoLive(true, XtsKey(someKey()));
  refusesToGoLive(false, XtsKey());
}

CHECK_MAIN
