// Peers that go away, lag behind or talk nonsense, and files that shrink: each harms itself alone. Both backings.
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>

#include "engine_rig.h"

using namespace rig;

namespace {

using Reason = ConnectionEnd::Reason;

std::optional<Reason> endOf(Rig& rig) {
  const auto end = rig.end->wait();
  if (!end) return std::nullopt;
  return end->reason;
}

}  // namespace

TEST("DISC ends the connection after what came before it is answered") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    client->send(Client::write(0, Bytes(4096, 1)));
    client->send(Client::header(Command::disconnect, 0, 0));
    CHECK_EQ(client->reply().error, 0u);
    CHECK(client->endOfFile());
    CHECK(endOf(rig) == Reason::disconnect);
    CHECK_EQ(rig.disk->counters().connections.load(), 0u);
  });
}

TEST("a half-closed stream is answered to its end") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    client->send(Client::header(Command::flush, 0, 0));
    shutdown(client->fd(), SHUT_WR);
    CHECK_EQ(client->reply().error, 0u);
    CHECK(client->endOfFile());
    CHECK(endOf(rig) == Reason::eof);
  });
}

TEST("a wrong magic ends the connection, and no other") {
  withBothBackings([] {
    Rig rig;
    const auto good = rig.connect();
    const auto bad = rig.connect();
    bad->send(Bytes(28, 0x55));
    CHECK(bad->endOfFile());
    CHECK(endOf(rig) == Reason::protocol);
    CHECK_EQ(good->call(Command::flush), 0u);
  });
}

TEST("a write too long to be skipped ends the connection") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    client->send(Client::header(Command::write, 0, kSkippedMaxBytes + 1));
    CHECK(client->endOfFile());
    CHECK(endOf(rig) == Reason::protocol);
  });
}

TEST("a peer that vanishes at any byte leaves nothing behind, and half a write is no write") {
  withBothBackings([] {
    Rig rig(64 * KiB, 512);
    Bytes before = randomBytes(4096), after;
    CHECK_EQ(rig.connect()->write1(0, before), 0u);
    const Bytes wire = Client::write(100, Bytes(600, 0xee));
    for (size_t cut = 0; cut < wire.size(); cut += cut < 64 ? 1 : 61) {
      const auto client = rig.connect();
      client->send(Bytes(wire.begin(), wire.begin() + static_cast<long>(cut)));
      client->vanish();
      CHECK(endOf(rig) == Reason::eof);
    }
    CHECK_EQ(rig.connect()->read(0, 4096, after), 0u);
    CHECK(after == before);
    CHECK(eventually([&rig] { return rig.disk->counters().connections.load() == 0; }));
    CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
  });
}

TEST("a peer that vanishes among replies leaves nothing behind") {
  withBothBackings([] {
    Rig rig(4 * MiB);
    for (int round = 0; round < 20; ++round) {
      const auto client = rig.connect({}, false, 8192);
      for (int i = 0; i < 30; ++i) client->send(Client::header(Command::read, 0, 256 * KiB));
      client->receive(static_cast<size_t>(round) * 1000 + 1);
      client->vanish();
      CHECK(endOf(rig).has_value());
    }
    CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
  });
}

TEST("a peer that reads no replies holds its budget, is served later, and hinders nobody") {
  withBothBackings([] {
    constexpr uint64_t kRequests = kArenaBytes / MiB + 32;  // more than the budget holds
    Rig rig(4 * MiB);
    const Bytes data = randomBytes(4 * MiB);
    CHECK_EQ(rig.connect()->write1(0, data), 0u);
    const auto slow = rig.connect({}, false, 64 * 1024);
    std::thread sender([&slow] {
      for (uint64_t i = 0; i < kRequests; ++i) slow->send(Client::header(Command::read, 0, 1 * MiB, 0, i));
    });
    CHECK(eventually([&rig] { return rig.disk->counters().reads.load() >= kArenaBytes / MiB; }));
    const auto other = rig.connect();
    for (int i = 0; i < 100; ++i) CHECK_EQ(other->call(Command::flush), 0u);
    CHECK(rig.disk->counters().reads.load() <= kArenaBytes / MiB);
    for (uint64_t i = 0; i < kRequests; ++i) {
      REQUIRE(slow->reply().error == 0);
      const Bytes got = slow->receive(1 * MiB);
      REQUIRE(std::equal(got.begin(), got.end(), data.begin()));
    }
    sender.join();
  });
}

TEST("close() here ends a connection that waits, and one that is stuck in a send") {
  withBothBackings([] {
    Rig rig(4 * MiB);
    const auto idle = rig.connect();
    rig.connection->close();
    rig.connection->close();
    CHECK(endOf(rig) == Reason::closed);
    const auto stuck = rig.connect({}, false, 8192);
    for (int i = 0; i < 30; ++i) stuck->send(Client::header(Command::read, 0, 1 * MiB));
    CHECK(eventually([&rig] { return rig.disk->counters().reads.load() >= 30; }));
    rig.connection->close();
    CHECK(endOf(rig) == Reason::closed);
  });
}

TEST("a disk that is closed under load has answered or dropped everything, and holds no key") {
  withBothBackings([] {
    Rig rig(4 * MiB);
    const auto client = rig.connect();
    std::thread sender([&client] {
      try {
        for (uint64_t i = 0;; ++i) client->send(Client::write(i % 100 * 4096, Bytes(4096)));
      } catch (const std::exception&) {  // the connection was closed
      }
    });
    std::thread reader([&client] {
      try {
        for (;;) client->reply();
      } catch (const std::exception&) {
      }
    });
    CHECK(eventually([&rig] { return rig.disk->counters().writes.load() > 200; }));
    CHECK_EQ(rig.disk->close(), 0);
    sender.join();
    reader.join();
    CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
    CHECK(rig.disk->gate().state() == Gate::State::failed);
    CHECK_THROWS(std::invalid_argument, rig.connect());
  });
}

TEST("a file that shrank reads EIO past its end, never zeros, and takes no write any more") {
  withBothBackings([] {
    Rig rig(64 * KiB);
    const auto client = rig.connect();
    Bytes back;
    CHECK_EQ(client->write1(0, Bytes(64 * KiB, 9)), 0u);
    REQUIRE(ftruncate(rig.file.fd(), Rig::kOffset + 32 * KiB + 100) == 0);
    CHECK_EQ(client->read(0, 32 * KiB, back), 0u);
    CHECK_EQ(client->read(32 * KiB, 4096, back), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->read(28 * KiB, 8192, back), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->read(60 * KiB, 4096, back), static_cast<uint32_t>(NbdErrno::io));
    // No write makes the file longer again: what it would leave out before itself reads as noise.
    for (const uint64_t offset : {60 * KiB + 5, 60 * KiB, uint64_t{0}})
      CHECK_EQ(client->write1(offset, Bytes(4096 - 5, 3)), static_cast<uint32_t>(NbdErrno::io));
    REQUIRE(ftruncate(rig.file.fd(), Rig::kOffset + 64 * KiB) == 0);
    CHECK_EQ(client->write1(0, Bytes(4096, 3)), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->call(Command::flush), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->read(0, 4096, back), 0u);
    CHECK(back == Bytes(4096, 9));
  });
}

TEST("once durability is lost every flush and every FUA write fails, and reads go on") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK_EQ(client->call(Command::flush), 0u);
    rig.disk->syncs().lose(EIO);
    rig.disk->syncs().lose(ENOSPC);
    Bytes back;
    CHECK_EQ(client->call(Command::flush), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->call(Command::flush), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->write1(0, Bytes(4096), kFlagFua), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->write1(0, Bytes(4096)), 0u);
    CHECK_EQ(client->read(0, 4096, back), 0u);
    CHECK_EQ(rig.disk->close(), EIO);
  });
}

TEST("a full file system is ENOSPC to the writer, and nothing else breaks") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    rlimit before, small{Rig::kOffset + 8192, RLIM_INFINITY};  // EFBIG stands for it: no mount is needed
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    const uint32_t error = client->write1(64 * KiB, Bytes(4096));
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK_EQ(error, static_cast<uint32_t>(NbdErrno::nospc));
    CHECK_EQ(client->write1(64 * KiB, Bytes(4096)), 0u);
    CHECK_EQ(client->call(Command::flush), 0u);
  });
}

CHECK_MAIN
