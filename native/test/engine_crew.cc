// Long requests whose cipher work the crew does: the right bytes, errors that are told, faults that end no process, a gate
// that waits for them. Writes are watched by standing in front of the C library.
#include <dlfcn.h>

#include <algorithm>

#include "engine/pool.h"
#include "engine/spin.h"
#include "engine_rig.h"

using namespace rig;

namespace {

std::atomic<int> longWrites{0}, failingWrite{0};

constexpr uint32_t kLong = 3 * MiB;
constexpr int kAtOnce = 3;
constexpr int kReadsUntilMapped = 5;

struct InMemory : Rig {
  InMemory() : Rig(kAtOnce * kLong, 4096, false, false, false, true) {}
};

// All at once; the replies come in any order. Cookies number the requests.
void writeAll(Client& client, const std::vector<Bytes>& pieces, int expectedToFail = 0) {
  std::thread sender([&] {
    for (size_t i = 0; i < pieces.size(); ++i) client.send(Client::write(i * kLong, pieces[i], 0, i));
  });
  int failed = 0;
  for (size_t i = 0; i < pieces.size(); ++i) failed += client.reply().error != 0;
  sender.join();
  CHECK_EQ(failed, expectedToFail);
}

// Every piece as it should be, or (of a file that was cut) refused.
void readAll(Client& client, const std::vector<Bytes>& pieces, size_t whole = kAtOnce) {
  for (size_t i = 0; i < pieces.size(); ++i) client.send(Client::header(Command::read, i * kLong, kLong, 0, i));
  for (size_t n = 0; n < pieces.size(); ++n) {
    const Reply reply = client.reply();
    CHECK_EQ(reply.error, reply.cookie < whole ? 0u : static_cast<uint32_t>(NbdErrno::io));
    if (reply.error == 0) CHECK(client.receive(kLong) == pieces[reply.cookie]);
  }
}

std::vector<Bytes> randomPieces() {
  static const Bytes kSome = randomBytes(kLong);
  std::vector<Bytes> pieces(kAtOnce, kSome);
  for (size_t i = 0; i < pieces.size(); ++i) std::rotate(pieces[i].begin(), pieces[i].begin() + 1 + i * 12345, pieces[i].end());
  return pieces;
}

void needTwoProcessors() {
  if (Spin::processors() < 2) check::skipTest("there is one processor only");
}

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  static const auto real = reinterpret_cast<decltype(&pwrite)>(dlsym(RTLD_NEXT, "pwrite"));
  if (++longWrites == failingWrite) {
    errno = ENOSPC;
    return -1;
  }
  return real(fd, data, bytes, offset);
}

TEST("long requests at once are ciphered by the crew, and are right") {
  needTwoProcessors();
  withBothBackings([] {
    InMemory rig;
    const auto client = rig.connect();
    const int before = longWrites;
    const auto pieces = randomPieces();
    writeAll(*client, pieces);
    if (!rig.disk->pool()) CHECK(longWrites - before > static_cast<int>(kLong / kCopiedMaxBytes));
    for (int i = 0; i < kReadsUntilMapped; ++i) readAll(*client, pieces);
    CHECK(eventually([&] { return rig.disk->crew()->busy() == 0; }));
  });
}

TEST("a write of the crew that fails says so, and is the only one") {
  needTwoProcessors();
  if (!ringAvailable()) check::skipTest("there is no io_uring here");
  InMemory rig;
  const auto client = rig.connect();
  failingWrite = longWrites + 3;
  writeAll(*client, randomPieces(), 1);
  CHECK(longWrites > failingWrite);
}

TEST("a file that is cut short fails long reads of what is gone, and nothing else") {
  needTwoProcessors();
  InMemory rig;
  const auto client = rig.connect();
  const auto pieces = randomPieces();
  writeAll(*client, pieces);
  for (int i = 0; i < kReadsUntilMapped; ++i) readAll(*client, pieces);
  REQUIRE(ftruncate(rig.file.fd(), Rig::kOffset + 2 * kLong) == 0);
  readAll(*client, pieces, 2);
}

TEST("a gate that closes waits for the crew, and loses nothing") {
  needTwoProcessors();
  InMemory rig;
  const auto client = rig.connect();
  auto pieces = randomPieces();
  for (int round = 0; round < 3; ++round) {
    for (Bytes& piece : pieces) piece[0] = static_cast<uint8_t>(round);
    std::thread writer([&] { writeAll(*client, pieces); });
    CHECK(rig.shut(Gate::State::hung));
    rig.live();
    writer.join();
    readAll(*client, pieces);
  }
}

CHECK_MAIN
