// Reads beside writes of the same sectors. A file system copies a write byte by byte while others read; here it does so slowly, by
// a pwrite that stands in front of the C library's: half a sector first, the rest after a while.
#include <dlfcn.h>

#include <atomic>
#include <thread>

#include "engine_rig.h"

using namespace rig;

namespace {

constexpr uint32_t kSector = 512, kBegin = 4096, kBytes = 4096;
constexpr size_t kCut = kBytes / 2 + kSector / 2;
constexpr int kReads = 300;

std::atomic<int> cuts{0};

// A block of the cipher that is neither all of one nor all of the other was deciphered from what is neither.
size_t tornIn(const Bytes& data) {
  size_t torn = 0;
  for (size_t at = 0; at < data.size(); at += 16) {
    torn += (data[at] != 0x00 && data[at] != 0xff) || memcmp(&data[at], &data[at + 1], 15) != 0;
  }
  return torn;
}

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  static const auto real = reinterpret_cast<decltype(&pwrite)>(dlsym(RTLD_NEXT, "pwrite"));
  if (bytes != kBytes || offset != Rig::kOffset + kBegin) return real(fd, data, bytes, offset);
  ++cuts;
  const ssize_t first = real(fd, data, kCut, offset);
  if (first != static_cast<ssize_t>(kCut)) return first;
  usleep(200);
  const ssize_t rest = real(fd, static_cast<const uint8_t*>(data) + kCut, bytes - kCut, offset + static_cast<off_t>(kCut));
  return rest < 0 ? rest : first + rest;
}

// A sector that is half written is neither a hole nor whole: read then, its zeros would decipher to noise.
TEST("a read beside the filling and punching of holes finds each block as it was or as it is") {
  withBothBackings([] {
    for (const bool inMemory : {true, false}) {
      Rig rig(64 * KiB, kSector, false, true, true, inMemory);
      const auto writer = rig.connect(), reader = rig.connect();
      const Bytes ones(kBytes, 0xff);
      const int before = cuts;
      std::atomic<bool> stop{false};
      std::thread writing([&] {
        while (!stop) CHECK_EQ(writer->write1(kBegin, ones) | writer->call(Command::trim, kBegin, kBytes), 0u);
      });
      size_t torn = 0;
      Bytes data;
      for (int i = 0; i < kReads; ++i) {
        CHECK_EQ(reader->read(kBegin, kBytes, data), 0u);
        torn += tornIn(data);
      }
      stop = true;
      writing.join();
      CHECK_EQ(torn, 0u);
      CHECK(cuts > before);
    }
  });
}

CHECK_MAIN
