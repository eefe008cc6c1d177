// Copies of a disk's file that are made while it is written: each is the file of one instant. Both backings.
//
// Writers number their writes, and each block carries the number of its last one. So a copy tells which writes are in it; it must
// be a state that a power cut at one instant could have left. Writes to a copy are watched by standing in front of the C library.
#include <dlfcn.h>

#include <algorithm>
#include <array>

#include "engine/copy_map.h"
#include "engine_rig.h"

using namespace rig;

namespace {

constexpr uint64_t kBlock = 4096, kRegion = 4 * MiB, kBlocks = kRegion / kBlock;
constexpr size_t kWriters = 3;

enum class Target { good, full, stuck };
std::atomic<Target> target{Target::good};

// Where a copy and its map lie; gone with the test.
class Place {
 public:
  Place() {
    static std::atomic<int> count{0};
    base_ = "/tmp/sealdisk-copy-" + std::to_string(getpid()) + "-" + std::to_string(++count);
  }
  ~Place() {
    unlink(path().c_str());
    unlink(map().c_str());
  }
  std::string path() const { return base_; }
  std::string map() const { return base_ + ".map"; }

 private:
  std::string base_;
};

// A copy that has begun, and what it tells.
class Copying {
 public:
  Copying(Disk& disk, const Place& place, bool resume = false)
      : begun(std::make_shared<Later<uint64_t>>()),
        ended(std::make_shared<Later<int>>()),
        copy(disk.copy({place.path(), place.map(), resume}, [begun = begun](uint64_t heldNs) { begun->set(heldNs); },
                       [ended = ended](int error) { ended->set(error); })) {}

  const std::shared_ptr<Later<uint64_t>> begun;
  const std::shared_ptr<Later<int>> ended;
  const std::shared_ptr<CopyOut> copy;
};

// Write k of a writer (from 1) covers blocks [first, end) of its region; ticks are a clock that all share.
struct Write {
  uint64_t first, end;
  uint64_t sentTick;
  std::atomic<uint64_t> ackedTick{0};
};

struct Writer {
  std::array<Write, 20000> writes;
  std::atomic<uint64_t> sent{0}, acked{0};

  // The number that each block carries after k writes.
  std::vector<uint64_t> after(uint64_t k) const {
    std::vector<uint64_t> blocks(kBlocks);
    for (uint64_t i = 0; i < k; ++i) std::fill(blocks.begin() + writes[i].first, blocks.begin() + writes[i].end, i + 1);
    return blocks;
  }
};

class Load {
 public:
  explicit Load(Rig& rig) {
    for (size_t self = 0; self < kWriters; ++self) writers_.push_back(std::make_unique<Writer>());
    for (size_t self = 0; self < kWriters; ++self) {
      threads_.emplace_back([this, self, client = rig.connect(), seed = testRandom()()] { write(self, *client, seed); });
    }
  }
  ~Load() { end(); }

  void end() {
    stop_ = true;
    for (auto& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  std::vector<uint64_t> acked() const { return each(&Writer::acked); }
  std::vector<uint64_t> sent() const { return each(&Writer::sent); }
  const Writer& of(size_t self) const { return *writers_[self]; }

 private:
  std::vector<uint64_t> each(std::atomic<uint64_t> Writer::*member) const {
    std::vector<uint64_t> values;
    for (const auto& writer : writers_) values.push_back((writer.get()->*member).load());
    return values;
  }

  void write(size_t self, Client& client, uint64_t seed) {
    Writer& writer = *writers_[self];
    std::mt19937_64 random(seed);
    for (uint64_t k = 1; k <= writer.writes.size() && !stop_; ++k) {
      Write& write = writer.writes[k - 1];
      const uint64_t count = 1 + random() % (k % 8 ? 4 : 80);
      write.first = random() % (kBlocks - count);
      write.end = write.first + count;
      Bytes data(count * kBlock);
      for (size_t at = 0; at < data.size(); at += 8) memcpy(&data[at], &k, 8);
      write.sentTick = ++tick_;
      writer.sent = k;
      CHECK_EQ(client.write1(self * kRegion + write.first * kBlock, data), 0u);
      write.ackedTick = ++tick_;
      writer.acked = k;
    }
  }

  std::vector<std::unique_ptr<Writer>> writers_;
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> tick_{0};
  std::atomic<bool> stop_{false};
};

// The numbers in a region of the copy; a block of two numbers is torn.
std::vector<uint64_t> blocksOf(const std::string& path, size_t writer) {
  Bytes bytes(kRegion);
  const int fd = open(path.c_str(), O_RDONLY);
  const ssize_t got = pread(fd, bytes.data(), kRegion, static_cast<off_t>(writer * kRegion));
  close(fd);
  if (got != static_cast<ssize_t>(kRegion)) throw std::runtime_error("the copy is short");
  std::vector<uint64_t> blocks(kBlocks);
  for (size_t block = 0; block < kBlocks; ++block) {
    const uint8_t* at = &bytes[block * kBlock];
    memcpy(&blocks[block], at, 8);
    if (memcmp(at, at + 8, kBlock - 8) != 0) throw std::runtime_error("a block is torn");
  }
  return blocks;
}

// Of each writer the first k writes are in it, and no others; k is no less than what was answered before, and no more than what
// was sent. And all of them at one instant: what was answered before anything in it was sent is in it, too.
void checkInstant(const std::string& path, const Load& load, const std::vector<uint64_t>& acked, const std::vector<uint64_t>& sent) {
  std::vector<uint64_t> counts;
  uint64_t lastSentTick = 0;
  for (size_t self = 0; self < kWriters; ++self) {
    const auto blocks = blocksOf(path, self);
    uint64_t k = acked[self];
    while (k <= sent[self] && load.of(self).after(k) != blocks) ++k;
    REQUIRE(k <= sent[self]);
    counts.push_back(k);
    if (k > 0) lastSentTick = std::max(lastSentTick, load.of(self).writes[k - 1].sentTick);
  }
  for (size_t self = 0; self < kWriters; ++self) {
    const Write& next = load.of(self).writes[counts[self]];
    CHECK(next.ackedTick == 0 || next.ackedTick > lastSentTick);
  }
}

Rig plainRig() { return Rig(DiskOptions{"", {0, 4096}, kWriters * kRegion, false, false, false, true, true}); }

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  static const auto real = reinterpret_cast<decltype(&pwrite)>(dlsym(RTLD_NEXT, "pwrite"));
  if (target != Target::good) {
    char name[64] = "";
    if (readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof name - 1) > 0 && strstr(name, "sealdisk-copy")) {
      while (target == Target::stuck) usleep(1000);
      if (target == Target::full) {
        errno = ENOSPC;
        return -1;
      }
    }
  }
  return real(fd, data, bytes, offset);
}

TEST("copies that are made under load, several at once, are each of one instant") {
  withBothBackings([] {
    Rig rig = plainRig();
    std::vector<std::unique_ptr<Place>> places;
    std::vector<std::unique_ptr<Copying>> copies;
    std::vector<std::vector<uint64_t>> acked, sent;
    Load load(rig);
    for (int i = 0; i < 4; ++i) {
      const auto before = load.sent();
      REQUIRE(eventually([&] { return load.acked()[0] > before[0] + 20; }));
      acked.push_back(load.acked());
      places.push_back(std::make_unique<Place>());
      copies.push_back(std::make_unique<Copying>(*rig.disk, *places.back()));
      const auto heldNs = copies.back()->begun->wait();
      REQUIRE(heldNs.has_value());
      sent.push_back(load.sent());
      CHECK(*heldNs > 0);
    }
    for (const auto& copying : copies) CHECK_EQ(copying->ended->wait().value_or(-1), 0);
    load.end();
    CHECK(!rig.disk->copies().any());
    for (size_t i = 0; i < copies.size(); ++i) checkInstant(places[i]->path(), load, acked[i], sent[i]);
  });
}

TEST("zeros and trims leave a copy what stood there, and its holes stay holes") {
  withBothBackings([] {
    Rig rig = plainRig();
    const auto client = rig.connect();
    const Bytes data = randomBytes(2 * MiB);
    CHECK_EQ(client->write1(1 * MiB, data), 0u);
    const Place place;
    target = Target::stuck;
    Copying copying(*rig.disk, place);
    REQUIRE(copying.begun->wait().has_value());
    client->send(Client::header(Command::writeZeroes, 1 * MiB, 1 * MiB));
    client->send(Client::header(Command::trim, 2 * MiB, 512 * KiB));
    CHECK_EQ(client->reply().error, 0u);  // the trim, which does nothing rather than wait
    CHECK(client->silent());
    target = Target::good;
    CHECK_EQ(client->reply().error, 0u);
    REQUIRE(copying.ended->wait() == 0);
    Bytes expected(kWriters * kRegion), found(kWriters * kRegion), now;
    std::copy(data.begin(), data.end(), expected.begin() + 1 * MiB);
    const int fd = open(place.path().c_str(), O_RDONLY);
    CHECK_EQ(pread(fd, found.data(), found.size(), 0), static_cast<ssize_t>(found.size()));
    CHECK(found == expected);
    CHECK_EQ(lseek(fd, 4 * MiB, SEEK_DATA), -1);
    close(fd);
    CHECK_EQ(client->read(1 * MiB, 1 * MiB, now), 0u);
    CHECK(now == Bytes(1 * MiB));
  });
}

TEST("a copy that finds no room, or is cancelled while its target is stuck, has failed, and the disk goes on") {
  withBothBackings([] {
    for (const Target kind : {Target::full, Target::stuck}) {
      Rig rig = plainRig();
      const auto client = rig.connect();
      CHECK_EQ(client->write1(0, Bytes(1 * MiB, 1)), 0u);
      const Place place;
      target = Target::stuck;
      Copying copying(*rig.disk, place);
      REQUIRE(copying.begun->wait().has_value());
      client->send(Client::write(0, Bytes(64 * KiB, 2)));
      client->send(Client::header(Command::read, 512 * KiB, 4096));
      CHECK_EQ(client->reply().error, 0u);  // reads wait for nothing
      CHECK(client->receive(4096) == Bytes(4096, 1));
      CHECK(client->silent());
      if (kind == Target::stuck) copying.copy->cancel();
      if (kind == Target::full) target = Target::full;
      CHECK_EQ(client->reply().error, 0u);
      target = Target::good;
      CHECK_EQ(copying.ended->wait().value_or(-1), kind == Target::full ? ENOSPC : ECANCELED);
      CHECK(CopyMap::open(place.map())->state() == CopyMap::State::failed);
      CHECK(!rig.disk->copies().any());
      CHECK_EQ(client->write1(0, Bytes(64 * KiB, 3)), 0u);
    }
  });
}

TEST("a copy goes on where a process left it, and not where it has failed or never began") {
  Rig rig = plainRig();
  const auto client = rig.connect();
  const Bytes data = randomBytes(1 * MiB);
  CHECK_EQ(client->write1(0, data), 0u);
  const Place place;
  const auto lay = [&](CopyMap::State state, uint64_t bytes) {
    unlink(place.path().c_str());
    unlink(place.map().c_str());
    const auto map = CopyMap::create(place.map(), kWriters * kRegion);
    map->set(1);
    map->enter(state);
    const int fd = open(place.path().c_str(), O_CREAT | O_RDWR, 0600);
    CHECK_EQ(pwrite(fd, Bytes(kCopyChunkBytes, 7).data(), kCopyChunkBytes, kCopyChunkBytes), static_cast<ssize_t>(kCopyChunkBytes));
    CHECK_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
    close(fd);
  };
  const auto resumed = [&] { return Copying(*rig.disk, place, true).ended->wait().value_or(-1); };
  for (const auto state : {CopyMap::State::prepared, CopyMap::State::failed}) {
    lay(state, kWriters * kRegion);
    CHECK_EQ(resumed(), ESTALE);
  }
  lay(CopyMap::State::taken, kRegion);
  CHECK_EQ(resumed(), ESTALE);
  lay(CopyMap::State::taken, kWriters * kRegion);
  CHECK_EQ(resumed(), 0);
  Bytes expected = data, found(1 * MiB);
  std::fill_n(expected.begin() + kCopyChunkBytes, kCopyChunkBytes, 7);  // what the map says is copied is left alone
  const int fd = open(place.path().c_str(), O_RDONLY);
  CHECK_EQ(pread(fd, found.data(), found.size(), 0), static_cast<ssize_t>(found.size()));
  close(fd);
  CHECK(found == expected);
}

TEST("a disk that is closed ends its copies") {
  withBothBackings([] {
    Rig rig = plainRig();
    const auto client = rig.connect();
    CHECK_EQ(client->write1(0, Bytes(1 * MiB, 1)), 0u);
    const Place place;
    target = Target::stuck;
    Copying copying(*rig.disk, place);
    REQUIRE(copying.begun->wait().has_value());
    client->send(Client::write(0, Bytes(64 * KiB, 2)));
    std::thread closing([&] { CHECK_EQ(rig.disk->close(), 0); });
    CHECK(eventually([&] { return !client->silent(); }));  // answered or ended, before the target is
    target = Target::good;
    closing.join();
    CHECK_EQ(copying.ended->wait().value_or(-1), ECANCELED);
  });
}

CHECK_MAIN
