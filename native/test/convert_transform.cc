// Bulk work on payloads against a plain model of it: every pair of keys and none, holes, cut files, faults of either side.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "check.h"
#include "convert/limits.h"
#include "convert/transform.h"
#include "engine/fd.h"
#include "seed.h"

using namespace sealdisk;
using Reason = TransformEnd::Reason;
using Work = TransformOptions::Work;

namespace {

constexpr uint64_t kOffset = 3 * kPageBytes;
constexpr uint32_t kSector = 4096;
constexpr size_t kBytes = 5 * kTransformChunkBytes + 7 * kSector;

XtsKey keyOf(uint8_t seed) {
  std::vector<uint8_t> bytes(kDataKeyBytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(seed + i * 7);
  return XtsKey(DataKey::take(bytes));
}

// A file without a name.
int scratch() {
  const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) throw std::runtime_error("no scratch file");
  return fd;
}

void put(int fd, const std::vector<uint8_t>& bytes, uint64_t at) {
  if (pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(bytes.size()))
    throw std::runtime_error("short write");
}

std::vector<uint8_t> get(int fd, size_t bytes, uint64_t at) {
  std::vector<uint8_t> data(bytes);
  if (pread(fd, data.data(), bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(bytes))
    throw std::runtime_error("short read");
  return data;
}

std::vector<uint8_t> sealed(std::vector<uint8_t> bytes, uint8_t seed, uint32_t sector, uint64_t begin = 0) {
  keyOf(seed).encrypt(bytes.data(), bytes.size(), sector, begin / 512);
  return bytes;
}

Side side(int fd, uint64_t offset, int seed = -1, uint32_t sector = kSector, bool holes = false) {
  Side made{.fd = fd, .offsetBytes = offset, .sectorBytes = sector, .key = {}, .holes = holes};
  if (seed >= 0) made.key = keyOf(static_cast<uint8_t>(seed));
  return made;
}

TransformEnd run(Work work, Side from, Side to, uint64_t begin, uint64_t size, bool keepHoles = false,
                 uint64_t fromBytes = UINT64_MAX) {
  return Transform({.work = work,
                    .from = std::move(from),
                    .to = std::move(to),
                    .beginBytes = begin,
                    .sizeBytes = size,
                    .fromBytes = fromBytes,
                    .keepHoles = keepHoles})
      .run();
}

uint64_t allocated(int fd) {
  struct stat stat;
  fstat(fd, &stat);
  return static_cast<uint64_t>(stat.st_blocks) * 512;
}

}  // namespace

TEST("plain bytes and those of each key become plain or those of another key, to the byte") {
  const auto plain = randomBytes(kBytes);
  for (const int fromSeed : {-1, 1}) {
    for (const int toSeed : {-1, 2}) {
      for (const uint32_t toSector : {512u, 4096u}) {
        const Fd from(scratch()), to(scratch());
        put(from.get(), fromSeed < 0 ? plain : sealed(plain, static_cast<uint8_t>(fromSeed), kSector), kOffset);
        const TransformEnd end =
            run(Work::copy, side(from.get(), kOffset, fromSeed), side(to.get(), 512, toSeed, toSector), 0, kBytes);
        CHECK(end.reason == Reason::done);
        CHECK(get(to.get(), kBytes, 512) == (toSeed < 0 ? plain : sealed(plain, static_cast<uint8_t>(toSeed), toSector)));
        CHECK(run(Work::compare, side(from.get(), kOffset, fromSeed), side(to.get(), 512, toSeed, toSector), 0, kBytes).reason ==
              Reason::done);
      }
    }
  }
}

TEST("a range in the middle is numbered from the beginning of the payload, and nothing around it is written") {
  const auto plain = randomBytes(kBytes);
  const Fd from(scratch()), to(scratch());
  put(from.get(), plain, 0);
  put(to.get(), std::vector<uint8_t>(kOffset + kBytes, 0xee), 0);
  const uint64_t begin = 3 * kSector, size = kTransformChunkBytes + kSector;
  CHECK(run(Work::copy, side(from.get(), 0), side(to.get(), kOffset, 5), begin, size).reason == Reason::done);
  const std::vector<uint8_t> part(plain.begin() + begin, plain.begin() + begin + size);
  CHECK(get(to.get(), size, kOffset + begin) == sealed(part, 5, kSector, begin));
  CHECK(get(to.get(), kOffset + begin, 0) == std::vector<uint8_t>(kOffset + begin, 0xee));
  const uint64_t after = kOffset + begin + size;
  CHECK(get(to.get(), kOffset + kBytes - after, after) == std::vector<uint8_t>(kOffset + kBytes - after, 0xee));
}

TEST("a payload goes under another key where it lies") {
  const auto plain = randomBytes(kBytes);
  const Fd file(scratch());
  put(file.get(), sealed(plain, 1, kSector), kOffset);
  CHECK(run(Work::copy, side(file.get(), kOffset, 1), side(file.get(), kOffset, 2), 0, kBytes).reason == Reason::done);
  CHECK(get(file.get(), kBytes, kOffset) == sealed(plain, 2, kSector));
}

TEST("what a plain file lacks of its last sector is zeros") {
  auto plain = randomBytes(kBytes - 1000);
  const Fd from(scratch()), to(scratch());
  put(from.get(), plain, 0);
  CHECK(run(Work::copy, side(from.get(), 0), side(to.get(), 0, 3), 0, kBytes, false, plain.size()).reason == Reason::done);
  CHECK(run(Work::compare, side(from.get(), 0), side(to.get(), 0, 3), 0, kBytes, false, plain.size()).reason == Reason::done);
  plain.resize(kBytes, 0);
  CHECK(get(to.get(), kBytes, 0) == sealed(plain, 3, kSector));
}

TEST("holes stay holes where they may, and are encrypted zeros where not") {
  const auto data = randomBytes(3 * kSector);
  for (const bool keep : {true, false}) {
    const Fd from(scratch()), to(scratch());
    REQUIRE(ftruncate(from.get(), kBytes) == 0 && ftruncate(to.get(), kOffset + kBytes) == 0);
    put(from.get(), data, 2 * kTransformChunkBytes + 5 * kSector);
    CHECK(run(Work::copy, side(from.get(), 0), side(to.get(), kOffset, 4, kSector, keep), 0, kBytes, keep).reason == Reason::done);
    CHECK(run(Work::compare, side(from.get(), 0), side(to.get(), kOffset, 4, kSector, keep), 0, kBytes, keep).reason ==
          Reason::done);
    CHECK(keep ? allocated(to.get()) <= 8 * kSector : allocated(to.get()) >= kBytes);
    std::vector<uint8_t> zeros(kSector, 0);
    CHECK(get(to.get(), kSector, kOffset) == (keep ? zeros : sealed(zeros, 4, kSector)));
  }
}

TEST("holes of an encrypted payload stay holes under another key, and read as zeros in the clear") {
  auto plain = randomBytes(kBytes);
  const auto isHole = [](size_t sector) { return sector % 5 == 1 || (sector > 200 && sector < 300); };
  auto cipher = sealed(plain, 1, kSector), other = sealed(plain, 2, kSector);
  for (size_t at = 0; at < kBytes; at += kSector) {
    if (!isHole(at / kSector)) continue;
    for (auto* bytes : {&cipher, &other, &plain}) std::fill_n(bytes->begin() + static_cast<long>(at), kSector, 0);
  }
  const Fd from(scratch()), to(scratch()), clear(scratch());
  put(from.get(), cipher, 0);
  REQUIRE(ftruncate(to.get(), kBytes) == 0);
  const auto fromSide = [&] { return side(from.get(), 0, 1, kSector, true); };
  CHECK(run(Work::copy, fromSide(), side(to.get(), 0, 2, kSector, true), 0, kBytes, true).reason == Reason::done);
  CHECK(get(to.get(), kBytes, 0) == other);
  CHECK(allocated(to.get()) < kBytes);
  CHECK(run(Work::copy, fromSide(), side(clear.get(), 0), 0, kBytes).reason == Reason::done);
  CHECK(get(clear.get(), kBytes, 0) == plain);
  CHECK(run(Work::compare, fromSide(), side(clear.get(), 0), 0, kBytes).reason == Reason::done);
  CHECK(run(Work::copy, fromSide(), side(from.get(), 0, 2, kSector, true), 0, kBytes, true).reason == Reason::done);
  CHECK(get(from.get(), kBytes, 0) == other);
}

TEST("a comparison names the first byte that differs") {
  const auto plain = randomBytes(kBytes);
  const Fd from(scratch()), to(scratch());
  put(from.get(), plain, 0);
  put(to.get(), sealed(plain, 1, kSector), 0);
  auto sector = std::vector<uint8_t>(plain.begin() + 9 * kSector, plain.begin() + 10 * kSector);
  sector[77] ^= 1;
  put(to.get(), sealed(sector, 1, kSector, 9 * kSector), 9 * kSector);
  const TransformEnd end = run(Work::compare, side(from.get(), 0), side(to.get(), 0, 1), 0, kBytes);
  CHECK(end.reason == Reason::differs);
  CHECK_EQ(end.atBytes, 9 * kSector + 77);
}

TEST("a file that is cut short, and one that takes no writes, are told apart by side, errno and place") {
  const auto plain = randomBytes(kBytes);
  const Fd from(scratch()), to(scratch()), full(open("/dev/full", O_RDWR | O_CLOEXEC));
  put(from.get(), plain, 0);
  REQUIRE(ftruncate(from.get(), 4 * kTransformChunkBytes + 10) == 0);
  const TransformEnd cut = run(Work::copy, side(from.get(), 0), side(to.get(), 0, 1), 0, kBytes);
  CHECK(cut.reason == Reason::from && cut.error == EIO);
  CHECK(cut.atBytes >= 4 * kTransformChunkBytes && cut.atBytes % kTransformChunkBytes == 0);
  const TransformEnd refused = run(Work::copy, side(from.get(), 0), side(full.get(), 0, 1), 0, kSector);
  CHECK(refused.reason == Reason::to && refused.error == ENOSPC && refused.atBytes == 0);
  const TransformEnd closed = run(Work::copy, side(-1, 0), side(to.get(), 0, 1), kSector, kSector);
  CHECK(closed.reason == Reason::from && closed.error == EBADF && closed.atBytes == kSector);
}

TEST("it counts what is through, and ends soon when it is cancelled, before or meanwhile") {
  const Fd from(scratch()), to(scratch());
  constexpr uint64_t kMuch = 1024 * MiB;
  REQUIRE(ftruncate(from.get(), kMuch) == 0);
  const auto options = [&](uint64_t size) {
    return TransformOptions{.from = side(from.get(), 0), .to = side(to.get(), 0, 1), .beginBytes = 0, .sizeBytes = size};
  };
  Transform whole(options(kBytes));
  CHECK(whole.run().reason == Reason::done);
  CHECK_EQ(whole.doneBytes(), kBytes);
  Transform never(options(kMuch));
  never.cancel();
  CHECK(never.run().reason == Reason::cancelled);
  CHECK(never.doneBytes() == 0);
  Transform meanwhile(options(kMuch));
  std::thread other([&] {
    while (meanwhile.doneBytes() == 0) std::this_thread::yield();
    meanwhile.cancel();
  });
  CHECK(meanwhile.run().reason == Reason::cancelled);
  other.join();
  CHECK(meanwhile.doneBytes() < kMuch);
}

TEST("a range that is not whole sectors is refused, and an empty one is done") {
  const Fd file(scratch());
  CHECK_THROWS(std::invalid_argument, run(Work::copy, side(file.get(), 0), side(file.get(), 0, 1), 100, kSector));
  CHECK_THROWS(std::invalid_argument, run(Work::copy, side(file.get(), 0, 1), side(file.get(), 0), 0, 100));
  CHECK_THROWS(std::invalid_argument, run(Work::copy, side(file.get(), 0, 1, 512), side(file.get(), 0, 2), 0, kSector, true));
  CHECK(run(Work::copy, side(file.get(), 0), side(file.get(), 0, 1), 0, 0).reason == Reason::done);
}

CHECK_MAIN
