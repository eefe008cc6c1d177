// Peers that mean harm: they vanish at every byte of every request and reply, read one byte at a time, or never.
//
// The memory of one who never reads is measured, and what another connection loses by it.
#include "chunk_client.h"
#include "footprint.h"

using namespace rig;

namespace {

constexpr uint32_t kBytes = 20;
constexpr Replies kModes[] = {Replies::simple, Replies::structured, Replies::extended};
constexpr Command kCommands[] = {Command::read,  Command::write,       Command::flush,      Command::trim,
                                 Command::cache, Command::writeZeroes, Command::blockStatus};

Negotiated agreed(Replies replies) {
  Negotiated negotiated;
  negotiated.replies = replies;
  negotiated.allocationId = replies == Replies::simple ? 0 : 1;
  return negotiated;
}

// One request at an odd offset, payload and all.
Bytes wireOf(Client& client, Command command, Replies replies) {
  const bool ranged = command != Command::flush;
  const bool extended = replies == Replies::extended;
  const uint16_t flags = extended && command == Command::write ? kFlagPayloadLength : 0;
  Bytes wire = ChunkClient(client, extended).request(command, ranged ? 1001 : 0, ranged ? kBytes : 0, flags);
  if (command == Command::write) wire.resize(wire.size() + kBytes, 0xee);
  return wire;
}

// How many bytes the server answers.
size_t answerBytes(Rig& rig, const Bytes& wire, Replies replies) {
  const auto client = rig.connectAs(agreed(replies));
  client->send(wire);
  shutdown(client->fd(), SHUT_WR);
  size_t bytes = 0;
  while (!client->endOfFile()) ++bytes;
  return bytes;
}

void expectGone(Rig& rig) {
  REQUIRE(rig.end->wait().has_value());
  CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
  CHECK_EQ(rig.disk->counters().parked.load(), 0u);
}

// Seconds that a connection needs for its reads, one after the other.
double secondsOfReads(Client& client, int reads) {
  const auto begun = std::chrono::steady_clock::now();
  Bytes back;
  for (int i = 0; i < reads; ++i) REQUIRE(client.read(static_cast<uint64_t>(i % 64) * 4096, 4096, back) == 0);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

}  // namespace

TEST("a peer may vanish after any byte of any request, and half a request is none") {
  Rig rig(64 * KiB, 512);
  const Bytes before = randomBytes(64 * KiB);
  CHECK_EQ(rig.connect()->write1(0, before), 0u);
  size_t peers = 0;
  for (const Replies replies : kModes) {
    for (const Command command : kCommands) {
      for (size_t cut = 0;; ++cut, ++peers) {
        const auto client = rig.connectAs(agreed(replies));
        const Bytes wire = wireOf(*client, command, replies);
        if (cut == wire.size()) break;
        client->send(Bytes(wire.begin(), wire.begin() + static_cast<long>(cut)));
        client->vanish();
        expectGone(rig);
      }
    }
  }
  Bytes after;
  CHECK_EQ(rig.connect()->read(0, 64 * KiB, after), 0u);
  CHECK(after == before);
  printf("# %zu peers vanished\n", peers);
}

TEST("a peer may vanish after any byte of any reply") {
  Rig rig(64 * KiB, 512);
  size_t peers = 0;
  for (const Replies replies : kModes) {
    for (const Command command : kCommands) {
      const Bytes wire = wireOf(*rig.connect(), command, replies);
      const size_t answer = answerBytes(rig, wire, replies);
      CHECK(answer >= 16);
      for (size_t cut = 0; cut < answer; ++cut, ++peers) {
        const auto client = rig.connectAs(agreed(replies));
        client->send(wire);
        if (cut) client->receive(cut);
        client->vanish();
        expectGone(rig);
      }
    }
  }
  printf("# %zu peers vanished\n", peers);
}

TEST("a peer that reads one byte at a time gets all of them") {
  Rig rig(64 * KiB);
  const Bytes data = randomBytes(16 * KiB);
  CHECK_EQ(rig.connect()->write1(0, data), 0u);
  const auto client = rig.connect({}, false, 4096);
  for (int i = 0; i < 4; ++i) client->send(Client::header(Command::read, 0, 16 * KiB));
  for (int i = 0; i < 4; ++i) {
    CHECK_EQ(client->reply().error, 0u);
    for (const uint8_t expected : data) REQUIRE(client->receive(1)[0] == expected);
  }
}

TEST("a peer that never reads takes no more than its memory, and leaves another its share") {
  constexpr int kReads = 2000;
  Rig rig(4 * MiB);
  CHECK_EQ(rig.connect()->write1(0, randomBytes(4 * MiB)), 0u);
  const auto good = rig.connect();
  secondsOfReads(*good, kReads);
  const double alone = secondsOfReads(*good, kReads);
  const Footprint before = Footprint::now();
  const auto greedy = rig.connect({}, false, 64 * 1024);
  std::thread sender([&greedy] {
    try {
      for (;;) greedy->send(Client::header(Command::read, 0, 256 * KiB));
    } catch (const std::exception&) {  // the connection was closed
    }
  });
  const uint64_t most = kArenaBytes / (256 * KiB);
  CHECK(eventually([&] { return rig.disk->counters().reads.load() >= 2 * kReads + most - 8; }));
  const double beside = secondsOfReads(*good, kReads);
  const Footprint during = Footprint::now();
  rig.connection->close();
  sender.join();
  const auto heapBytes = static_cast<int64_t>(during.heapBytes - before.heapBytes);
  printf("# one arena and %lld bytes of heap more beside it; %.0f %% of the throughput that there is alone\n",
         static_cast<long long>(heapBytes), 100 * alone / beside);
  CHECK(rig.disk->counters().reads.load() <= 3 * kReads + most);
  CHECK_EQ(during.arenaBytes - before.arenaBytes, kArenaBytes);
  CHECK(heapBytes <= static_cast<int64_t>(kReceiveBytes + sizeof(JobStore) + 64 * KiB));
  CHECK(alone / beside >= 0.4);
}

CHECK_MAIN
