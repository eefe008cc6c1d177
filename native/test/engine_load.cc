// Many clients at once: overlapping writes that share sectors, and a gate that opens and shuts under them.
#include <algorithm>

#include "engine_rig.h"

using namespace rig;

namespace {

constexpr int kClients = 3;

// Each runs on a thread of its own; an exception of one fails the test.
void together(const std::function<void(int)>& body) {
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      try {
        body(i);
      } catch (const std::exception& error) {
        printf("# client %d: %s\n", i, error.what());
        failed = true;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(!failed);
}

void fill(Bytes& data, std::mt19937_64& random) {
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
}

}  // namespace

TEST("clients that write their own bytes of shared sectors never lose one to another") {
  withBothBackings([] {
    // Client i owns every byte at i modulo kClients of stripes of 100 bytes: each sector belongs to all.
    constexpr uint64_t kStripe = 100, kStripes = 90, kSize = 32 * KiB;
    static_assert(kStripe * kStripes * kClients <= kSize);
    Rig rig(kSize, 512);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) clients.push_back(rig.connect());
    CHECK_EQ(clients[0]->write1(0, Bytes(kSize)), 0u);
    std::vector<Bytes> last(kStripes * kClients, Bytes(kStripe));
    const uint64_t seed = testRandom()();
    together([&](int self) {
      std::mt19937_64 random(seed + static_cast<uint64_t>(self));
      for (int round = 0; round < 300; ++round) {
        std::vector<uint64_t> batch;
        for (int i = 0; i < 8; ++i) {  // in flight together, each stripe once
          const uint64_t stripe = random() % kStripes * kClients + static_cast<uint64_t>(self);
          if (std::find(batch.begin(), batch.end(), stripe) != batch.end()) continue;
          batch.push_back(stripe);
          fill(last[stripe], random);
          clients[self]->send(Client::write(stripe * kStripe, last[stripe]));
        }
        for (size_t i = 0; i < batch.size(); ++i) {
          if (clients[self]->reply().error != 0) throw std::runtime_error("a write failed");
        }
        Bytes back;
        if (clients[self]->read(batch[0] * kStripe, kStripe, back) != 0 || back != last[batch[0]])
          throw std::runtime_error("a stripe was lost");
      }
    });
    for (uint64_t stripe = 0; stripe < last.size(); ++stripe) {
      Bytes back;
      CHECK_EQ(clients[0]->read(stripe * kStripe, kStripe, back), 0u);
      CHECK(back == last[stripe]);
    }
  });
}

TEST("a gate that hangs and opens under load loses nothing and fails nothing") {
  withBothBackings([] {
    constexpr uint64_t kRegion = 256 * KiB;
    Rig rig(kRegion * kClients);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) clients.push_back(rig.connect());
    std::vector<Bytes> models(kClients, Bytes(kRegion));
    for (int i = 0; i < kClients; ++i) CHECK_EQ(clients[i]->write1(i * kRegion, models[i]), 0u);
    std::atomic<int> busy{kClients};
    const uint64_t seed = testRandom()();
    std::thread gatekeeper([&] {
      int rounds = 0;
      for (; busy > 0; ++rounds) {
        CHECK(rig.shut(Gate::State::hung));
        rig.live();
        std::this_thread::yield();
      }
      CHECK(rounds > 10);
    });
    together([&](int self) {
      std::mt19937_64 random(seed + static_cast<uint64_t>(self));
      const uint64_t base = static_cast<uint64_t>(self) * kRegion;
      try {
        for (int round = 0; round < 300; ++round) {
          const uint64_t at = random() % (kRegion - 20000);
          Bytes data(1 + random() % 20000), back;
          fill(data, random);
          if (clients[self]->write1(base + at, data, round % 7 ? 0 : kFlagFua) != 0)
            throw std::runtime_error("a write failed");
          std::copy(data.begin(), data.end(), models[self].begin() + static_cast<long>(at));
          if (round % 50 == 0 && clients[self]->call(Command::flush) != 0) throw std::runtime_error("a flush failed");
          if (clients[self]->read(base, kRegion, back) != 0 || back != models[self])
            throw std::runtime_error("the region is not what was written");
        }
      } catch (...) {
        --busy;
        throw;
      }
      --busy;
    });
    gatekeeper.join();
    CHECK_EQ(rig.disk->counters().parked.load(), 0u);
    CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
  });
}

TEST("a hung gate answers nothing, not even a flush, and answers all of it when it opens") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK_EQ(client->write1(0, Bytes(4096, 1)), 0u);
    CHECK(rig.shut(Gate::State::hung));
    client->send(Client::write(0, Bytes(4096, 2), 0, 1));
    client->send(Client::header(Command::flush, 0, 0, 0, 2));
    client->send(Client::header(Command::trim, 0, 4096, 0, 3));
    client->send(Client::header(Command::read, 8192, 4096, 0, 4));
    REQUIRE(eventually([&rig] { return rig.disk->counters().parked.load() == 4; }));
    CHECK(client->silent());
    CHECK_EQ(rig.disk->counters().inFlight.load(), 0u);
    rig.live();
    uint64_t cookies = 0;
    for (int i = 0; i < 4; ++i) {
      const Reply reply = client->reply();
      CHECK_EQ(reply.error, 0u);
      cookies |= uint64_t{1} << reply.cookie;
      if (reply.cookie == 4) client->receive(4096);
    }
    CHECK_EQ(cookies, 0b11110u);
    Bytes back;
    CHECK_EQ(client->read(0, 4096, back), 0u);
    CHECK(back == Bytes(4096, 2));
  });
}

TEST("a failed gate answers parked and new requests with EIO, and serves again when it opens") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK(rig.shut(Gate::State::hung));
    client->send(Client::write(0, Bytes(4096, 2)));
    REQUIRE(eventually([&rig] { return rig.disk->counters().parked.load() == 1; }));
    CHECK(rig.shut(Gate::State::failed));
    CHECK_EQ(client->reply().error, static_cast<uint32_t>(NbdErrno::io));
    Bytes back;
    CHECK_EQ(client->read(0, 4096, back), static_cast<uint32_t>(NbdErrno::io));
    CHECK_EQ(client->call(Command::flush), static_cast<uint32_t>(NbdErrno::io));
    rig.live();
    CHECK_EQ(client->write1(0, Bytes(4096, 3)), 0u);
  });
}

TEST("a hung connection parks up to its budget, reads no further, and loses nothing") {
  withBothBackings([] {
    constexpr uint64_t kRequests = kJobsPerConnection + 100;
    Rig rig(2 * MiB);
    const auto client = rig.connect();
    CHECK(rig.shut(Gate::State::hung));
    std::thread sender([&client] {
      for (uint64_t i = 0; i < kRequests; ++i)
        client->send(Client::write(i * 4096, Bytes(4096, static_cast<uint8_t>(i)), 0, i));
    });
    CHECK(eventually([&rig] { return rig.disk->counters().parked.load() == kJobsPerConnection; }));
    CHECK(client->silent());
    rig.live();
    for (uint64_t i = 0; i < kRequests; ++i) CHECK_EQ(client->reply().error, 0u);
    sender.join();
    Bytes back;
    for (uint64_t i = 0; i < kRequests; i += 17) {
      CHECK_EQ(client->read(i * 4096, 4096, back), 0u);
      CHECK(back == Bytes(4096, static_cast<uint8_t>(i)));
    }
  });
}

TEST("a peer that goes away while its requests are parked is noticed, also at the brim") {
  withBothBackings([] {
    Rig rig(2 * MiB);
    CHECK(rig.shut(Gate::State::hung));
    for (const uint64_t requests : {uint64_t{1}, kJobsPerConnection, kJobsPerConnection + 50}) {
      for (const bool says : {false, true}) {
        const auto client = rig.connect();
        for (uint64_t i = 0; i < requests; ++i) client->send(Client::header(Command::read, 0, 512));
        REQUIRE(eventually([&] { return rig.disk->counters().parked.load() == std::min(requests, kJobsPerConnection); }));
        if (says && requests < kJobsPerConnection) client->send(Client::header(Command::disconnect, 0, 0));
        client->vanish();
        CHECK(rig.end->wait().has_value());
        CHECK_EQ(rig.disk->counters().parked.load(), 0u);
      }
    }
  });
}

TEST("a disk is closed while requests are parked") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    CHECK(rig.shut(Gate::State::hung));
    client->send(Client::header(Command::read, 0, 512));
    REQUIRE(eventually([&rig] { return rig.disk->counters().parked.load() == 1; }));
    CHECK_EQ(rig.disk->close(), 0);
    CHECK(client->endOfFile());
  });
}

CHECK_MAIN
