// A disk that is held, and the clone of its file. Both backings.
#include "engine/hold.h"
#include "engine_rig.h"

using namespace rig;

namespace {

constexpr auto kParked = [](const Rig& rig) { return rig.disk->counters().parked.load(); };

}  // namespace

TEST("a held disk parks what comes and keeps the key, and goes on when the last hold is over") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    const Bytes data = randomBytes(4096);
    CHECK_EQ(client->write1(0, data), 0u);
    Hold first(*rig.disk);
    {
      Hold second(*rig.disk);
      client->send(Client::header(Command::read, 0, 4096));
      REQUIRE(eventually([&] { return kParked(rig) == 1; }));
    }
    CHECK(rig.disk->gate().state() == Gate::State::live);
    CHECK(client->silent());
    CHECK_EQ(kParked(rig), 1u);
    CHECK(first.release() > 0);
    CHECK_EQ(client->reply().error, 0u);
    CHECK(client->receive(4096) == data);
  });
}

TEST("a gate that hangs, opens or fails under a hold does so, and a disk is closed under it") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();
    {
      Hold hold(*rig.disk);
      CHECK(rig.shut(Gate::State::hung));
      client->send(Client::header(Command::flush, 0, 0));
      REQUIRE(eventually([&] { return kParked(rig) == 1; }));
      rig.live();
      CHECK(client->silent());
    }
    CHECK_EQ(client->reply().error, 0u);
    {
      Hold hold(*rig.disk);
      client->send(Client::header(Command::flush, 0, 0));
      REQUIRE(eventually([&] { return kParked(rig) == 1; }));
      CHECK(rig.shut(Gate::State::failed));
      CHECK_EQ(client->reply().error, static_cast<uint32_t>(NbdErrno::io));
      rig.live();
      client->send(Client::header(Command::flush, 0, 0));
      REQUIRE(eventually([&] { return kParked(rig) == 1; }));
      CHECK_EQ(rig.disk->close(), 0);
    }
    CHECK(client->endOfFile());
  });
}

TEST("nobody works on the file under a hold, however many write and flush") {
  withBothBackings([] {
    Rig rig(4 * MiB);
    std::atomic<bool> stop{false};
    std::vector<std::thread> writers;
    std::atomic<uint64_t> writes{0};
    for (int self = 0; self < 3; ++self) {
      writers.emplace_back([&, client = rig.connect(), self] {
        for (uint64_t i = 0; !stop; ++i) {
          const uint64_t at = (i % 16 * 3 + static_cast<uint64_t>(self)) * 64 * KiB;
          CHECK_EQ(client->write1(at, Bytes(64 * KiB, static_cast<uint8_t>(i)), i % 5 ? 0 : kFlagFua), 0u);
          if (i % 7 == 0) CHECK_EQ(client->call(Command::flush), 0u);
          ++writes;
        }
      });
    }
    const auto content = [&rig] {
      Bytes bytes(4 * MiB);
      if (pread(rig.file.fd(), bytes.data(), bytes.size(), Rig::kOffset) != 4 * MiB) throw std::runtime_error("short");
      return bytes;
    };
    for (int round = 0; round < 20; ++round) {
      Hold hold(*rig.disk);
      const Bytes before = content();
      CHECK(content() == before);
      hold.release();
      const uint64_t seen = writes;
      REQUIRE(eventually([&] { return writes > seen; }));
    }
    stop = true;
    for (auto& writer : writers) writer.join();
  });
}

TEST("a clone that the file system cannot make leaves no file, and one that is there is left alone") {
  Rig rig(1 * MiB, 4096, false, false, false, true);
  const std::string path = "/tmp/sealdisk-clone-" + std::to_string(getpid());
  const auto errorOf = [&] {
    try {
      rig.disk->clone(path);
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  };
  const int error = errorOf();
  CHECK(error == EXDEV || error == EOPNOTSUPP || error == EINVAL);
  CHECK(access(path.c_str(), F_OK) != 0);
  const int mine = open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  CHECK_EQ(write(mine, "mine", 4), 4);
  close(mine);
  CHECK_EQ(errorOf(), EEXIST);
  CHECK_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
}

CHECK_MAIN
