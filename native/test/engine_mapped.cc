// Reads of a file in memory, which is mapped: the right bytes, no memory taken for holes, and no end of the process when
// somebody cuts the file short.
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/fault.h"
#include "engine_rig.h"

using namespace rig;

namespace {

constexpr uint64_t kSize = 2 * MiB;
constexpr int kReadsUntilMapped = 5;

struct InMemory : Rig {
  explicit InMemory(bool holes = false) : Rig(kSize, 4096, false, holes, false, true) {}

  bool mapped(uint64_t offset, uint64_t bytes) { return disk->mapped().at(kOffset + offset, bytes) != nullptr; }
  blkcnt_t blocks() const {
    struct stat now {};
    fstat(file.fd(), &now);
    return now.st_blocks;
  }
};

// Long and short reads, until they come from the mapping and a few times more.
void readOften(Client& client, const Bytes& expected) {
  Bytes data;
  for (int i = 0; i < kReadsUntilMapped; ++i) {
    CHECK_EQ(client.read(0, static_cast<uint32_t>(expected.size()), data), 0u);
    CHECK(data == expected);
    const size_t at = testRandom()() % (expected.size() - 20000), bytes = 1 + testRandom()() % 20000;
    CHECK_EQ(client.read(at, static_cast<uint32_t>(bytes), data), 0u);
    CHECK(std::equal(data.begin(), data.end(), expected.begin() + static_cast<ptrdiff_t>(at)));
  }
}

}  // namespace

TEST("what is read often is read from the mapping, and is what was written last") {
  withBothBackings([] {
    InMemory rig;
    const auto client = rig.connect();
    Bytes content = randomBytes(kSize);
    REQUIRE(client->write1(0, content) == 0u);
    readOften(*client, content);
    CHECK(rig.mapped(0, kSize));
    const Bytes other = randomBytes(70000);
    std::copy(other.begin(), other.end(), content.begin() + 12345);
    REQUIRE(client->write1(12345, other) == 0u);
    readOften(*client, content);
  });
}

TEST("a disk that may have holes reads them as zeros from the mapping, too") {
  InMemory rig(true);
  const auto client = rig.connect();
  Bytes content(kSize);
  const Bytes some = randomBytes(3 * 4096);
  std::copy(some.begin(), some.end(), content.begin() + 8 * 4096);
  REQUIRE(client->write1(8 * 4096, some) == 0u);
  const Bytes zeros(kSize);
  REQUIRE(pwrite(rig.file.fd(), zeros.data(), 8 * 4096, Rig::kOffset) == 8 * 4096);  // there, and a hole to the disk
  REQUIRE(pwrite(rig.file.fd(), zeros.data(), kSize - 11 * 4096, Rig::kOffset + 11 * 4096) > 0);
  readOften(*client, content);
  CHECK(rig.mapped(0, kSize));
}

// The next request is looked at before it is checked.
TEST("a read of nothing, or from where offsets wrap, is refused while the one before it is carried out") {
  withBothBackings([] {
    for (const bool inMemory : {true, false}) {
      Rig rig(kSize, 4096, false, false, false, inMemory);
      const auto client = rig.connect();
      const Bytes content = randomBytes(kSize);
      REQUIRE(client->write1(0, content) == 0u);
      readOften(*client, content);
      for (const uint64_t at : {kSize, kSize - 1, uint64_t{0}, -Rig::kOffset, ~uint64_t{0}}) {
        for (const uint32_t bytes : {0u, 4096u}) {
          if (at == 0 && bytes > 0) continue;
          Bytes both = Client::header(Command::read, 0, 4096);
          const Bytes next = Client::header(Command::read, at, bytes);
          both.insert(both.end(), next.begin(), next.end());
          client->send(both);
          for (int served = 0, refused = 0; served + refused < 2;) {  // in the order they are ready
            const uint32_t error = client->reply().error;
            error ? ++refused : ++served;
            if (error == 0) CHECK(client->receive(4096).size() == 4096 && served == 1);
            if (error) CHECK_EQ(error, static_cast<uint32_t>(NbdErrno::inval));
          }
        }
      }
    }
  });
}

TEST("reading holes of the file takes no memory for them") {
  InMemory rig;
  const auto client = rig.connect();
  REQUIRE(client->write1(kSize / 2, randomBytes(4096)) == 0u);
  const blkcnt_t before = rig.blocks();
  Bytes data;
  for (int i = 0; i < 300; ++i) {
    for (const uint64_t at : {uint64_t{0}, kSize / 2, kSize - 4096}) CHECK_EQ(client->read(at, 4096, data), 0u);
  }
  CHECK_EQ(rig.blocks(), before);
  CHECK(!rig.mapped(0, 4096));
}

TEST("a file that is cut short fails the reads of what is gone, and nothing else") {
  withBothBackings([] {
    InMemory rig;
    const auto client = rig.connect();
    const Bytes content = randomBytes(kSize);
    REQUIRE(client->write1(0, content) == 0u);
    readOften(*client, content);
    REQUIRE(ftruncate(rig.file.fd(), Rig::kOffset + kSize / 2 + 4096) == 0);
    Bytes data;
    for (int i = 0; i < 3; ++i) {
      CHECK_EQ(client->read(kSize - 4096, 4096, data), static_cast<uint32_t>(NbdErrno::io));
      CHECK_EQ(client->read(0, kSize, data), static_cast<uint32_t>(NbdErrno::io));
      CHECK_EQ(client->read(kSize / 2, 4096, data), 0u);
      CHECK(std::equal(data.begin(), data.end(), content.begin() + kSize / 2));
    }
  });
}

TEST("a fault that is nobody's work ends the process as ever") {
  const TemporaryFile file(4096, true);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGBUS, SIG_DFL);
    catchFaults();
    auto* page = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.fd(), 0));
    const bool outside = ftruncate(file.fd(), 0) == 0 && !reachable([page] { (void)*page; });
    if (outside) (void)*page;
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
CHECK_MAIN
