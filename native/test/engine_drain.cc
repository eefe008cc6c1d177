// The end of a connection in good order: drain() answers what has begun to arrive and nothing else, and ends; where the
// peer makes that impossible, it waits for close().
#include <sys/ioctl.h>

#include "engine_rig.h"

using namespace rig;

namespace {

// What the client had sent when the drain began, and what it sent after; then all must be answered, and the stream end.
void finishes(const Bytes& wire, size_t before) {
  Rig rig;
  const auto client = rig.connect();
  client->send(Bytes(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(before)));
  // The bytes are taken in before the mail is: the loop reads the socket each time it wakes.
  CHECK(eventually([&] {
    int unread = 0;
    return ioctl(client->fd(), TIOCOUTQ, &unread) == 0 && unread == 0;
  }));
  rig.connection->drain();
  rig.connection->drain();
  client->send(Bytes(wire.begin() + static_cast<ptrdiff_t>(before), wire.end()));
  CHECK_EQ(client->reply().error, 0u);
  CHECK(client->endOfFile());
  const auto end = rig.end->wait();
  REQUIRE(end.has_value());
  CHECK(end->reason == ConnectionEnd::Reason::closed);
  Bytes back;
  CHECK_EQ(rig.connect()->read(0, 300000, back), 0u);
  CHECK(back == Bytes(300000, 9));
}

}  // namespace

TEST("a write of which a part has arrived is finished and answered, wherever it was cut") {
  withBothBackings([] {
    const Bytes wire = Client::write(0, Bytes(300000, 9));
    for (const size_t before : {size_t{1}, size_t{27}, size_t{28}, size_t{29}, size_t{200000}, wire.size() - 1})
      finishes(wire, before);
  });
}

TEST("a refused write is read to its end, so that its refusal is answered") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect({}, true);
    const Bytes wire = Client::write(0, Bytes(300000, 9));
    client->send(Bytes(wire.begin(), wire.begin() + 150000));
    CHECK_EQ(client->reply().error, static_cast<uint32_t>(NbdErrno::perm));
    rig.connection->drain();
    client->send(Bytes(wire.begin() + 150000, wire.end()));
    CHECK(client->endOfFile());
  });
}

TEST("a connection between two requests ends at once, and what comes later is not done") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK_EQ(client->write1(0, Bytes(4096, 1)), 0u);
    rig.connection->drain();
    CHECK(rig.end->wait().has_value());
    CHECK(client->endOfFile());
    CHECK_EQ(rig.disk->counters().writes.load(), 1u);
  });
}

TEST("requests that wait for a key are dropped, and the connection ends at once") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK(rig.shut(Gate::State::hung));
    client->send(Client::write(0, Bytes(4096, 1)));
    CHECK(eventually([&] { return rig.disk->counters().parked.load() == 1; }));
    rig.connection->drain();
    CHECK(rig.end->wait().has_value());
    CHECK(client->endOfFile());
    CHECK_EQ(rig.disk->counters().parked.load(), 0u);
  });
}

TEST("a peer that reads no replies, or sends no end of its request, is left by close()") {
  withBothBackings([] {
    for (const bool reads : {true, false}) {
      Rig rig;
      const auto client = rig.connect({}, false, 4096);
      if (reads) {
        client->send(Client::header(Command::read, 0, 1 * MiB));
        CHECK(eventually([&] { return rig.disk->counters().reads.load() == 1; }));
      } else {
        client->send(Client::header(Command::write, 0, 1 * MiB));
      }
      rig.connection->drain();
      CHECK_EQ(rig.disk->counters().connections.load(), 1u);
      rig.connection->close();
      CHECK(rig.end->wait().has_value());
    }
  });
}

CHECK_MAIN
