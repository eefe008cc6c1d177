// After a key was used and wiped, neither registers nor any writable memory of the process hold a piece of it.
//
// What is searched for is kept xored with a mask, so that the search does not find itself. The search covers every
// 16-byte piece of the key and of its round keys, whole: what an AES implementation would have left.
#include <fcntl.h>
#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "check.h"
#include "crypto/data_key.h"
#include "crypto/residue.h"
#include "crypto/xts.h"
#include "seed.h"
#include "xts_rig.h"

using sealdisk::XtsKernel;

namespace {

constexpr size_t kPieceBytes = 16;
constexpr uint8_t kMask = 0x5a;
using MaskedPiece = std::array<uint8_t, kPieceBytes>;

void addPieces(std::vector<MaskedPiece>& pieces, const uint8_t* secret, size_t bytes) {
  for (size_t at = 0; at + kPieceBytes <= bytes; at += kPieceBytes) {
    MaskedPiece piece;
    for (size_t i = 0; i < kPieceBytes; i++) piece[i] = secret[at + i] ^ kMask;
    pieces.push_back(piece);
  }
}

bool isPiece(const MaskedPiece& piece, const uint8_t* at) {
  for (size_t i = 0; i < kPieceBytes; i++) {
    if ((piece[i] ^ kMask) != at[i]) return false;
  }
  return true;
}

size_t countIn(const std::vector<uint8_t>& memory, const std::vector<MaskedPiece>& pieces) {
  size_t found = 0;
  for (const MaskedPiece& piece : pieces) {
    const uint8_t first = piece[0] ^ kMask;
    const uint8_t* at = memory.data();
    const uint8_t* const end = memory.data() + memory.size() - kPieceBytes;
    while (at <= end && (at = static_cast<const uint8_t*>(memchr(at, first, end + 1 - at))) != nullptr) {
      found += isPiece(piece, at++);
    }
  }
  return found;
}

// Every writable mapping, read through /proc/self/mem into a buffer that is not searched itself.
size_t countInProcess(const std::vector<MaskedPiece>& pieces) {
  const int memory = open("/proc/self/mem", O_RDONLY);
  std::ifstream maps("/proc/self/maps");
  size_t found = 0;
  std::vector<std::string> lines;
  for (std::string line; std::getline(maps, line);) lines.push_back(line);
  std::vector<uint8_t> chunk(1 << 20);
  for (const std::string& line : lines) {
    unsigned long start = 0;
    unsigned long end = 0;
    char access[5] = {};
    if (sscanf(line.c_str(), "%lx-%lx %4s", &start, &end, access) != 3 || access[1] != 'w') continue;
    if (end - start > (1UL << 30)) continue;  // a sanitizer's shadow
    for (unsigned long at = start; at < end; at += chunk.size() - kPieceBytes) {
      chunk.resize(std::min<size_t>(1 << 20, end - at));
      const ssize_t got = pread(memory, chunk.data(), chunk.size(), static_cast<off_t>(at));
      if (got < static_cast<ssize_t>(kPieceBytes)) break;
      chunk.resize(static_cast<size_t>(got));
      found += countIn(chunk, pieces);
      std::fill(chunk.begin(), chunk.end(), 0);
      chunk.resize(1 << 20);
    }
  }
  close(memory);
  return found;
}

std::vector<MaskedPiece> piecesOf(const sealdisk::DataKey& key, const sealdisk::XtsSchedule* schedule) {
  std::vector<MaskedPiece> pieces;
  addPieces(pieces, key.bytes().data(), key.bytes().size());
  if (schedule != nullptr) addPieces(pieces, schedule->encrypt[0], sizeof *schedule);
  std::erase_if(pieces, [](const MaskedPiece& piece) {
    return std::all_of(piece.begin(), piece.end(), [](uint8_t byte) { return byte == kMask; });
  });
  return pieces;
}

sealdisk::DataKey randomKey() {
  uint8_t secret[sealdisk::kDataKeyBytes];
  for (uint8_t& byte : secret) byte = static_cast<uint8_t>(testRandom()());
  return sealdisk::DataKey::take(secret);
}

// Uses a key with `kernel` in every way there is, and returns what to search for when all of it is gone.
std::vector<MaskedPiece> useAndWipe(const XtsKernel& kernel) {
  const sealdisk::DataKey key = randomKey();
  const sealdisk::SecureMemory memory(sizeof(sealdisk::XtsSchedule));
  auto& schedule = *reinterpret_cast<sealdisk::XtsSchedule*>(memory.data());
  std::vector<uint8_t> data(40 * 4096);
  kernel.expand(key.bytes().data(), schedule);
  std::vector<MaskedPiece> pieces = piecesOf(key, &schedule);
  sealdisk::clearResidue();  // what this test's own reading left; from here on all is the kernel's

  kernel.expand(key.bytes().data(), schedule);
  for (const size_t sectorBytes : {512, 4096}) {
    kernel.encrypt(schedule, runOver(data, sectorBytes, 0));
    kernel.decrypt(schedule, runOver(data, sectorBytes, 7));
  }
  return pieces;
}

// Runs `use` in a thread that then stays where it is, so that its dead stack is as `use` left it while all is searched.
size_t countAfter(const std::function<std::vector<MaskedPiece>()>& use) {
  std::vector<MaskedPiece> pieces;
  std::atomic<bool> used = false;
  std::atomic<bool> searched = false;
  std::thread user([&] {
    pieces = use();
    used = true;
    while (!searched) sched_yield();
  });
  while (!used) sched_yield();
  CHECK(pieces.size() >= 4);
  const size_t found = countInProcess(pieces);
  searched = true;
  user.join();
  return found;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline)) bool zmmRegistersAreZero(const std::function<void()>& call) {
  alignas(64) static uint8_t registers[32][64];
  memset(registers, 0xff, sizeof registers);
  call();
  asm volatile(
      "vmovdqu64 %%zmm0, 0x000(%0)\n\tvmovdqu64 %%zmm1, 0x040(%0)\n\tvmovdqu64 %%zmm2, 0x080(%0)\n\t"
      "vmovdqu64 %%zmm3, 0x0c0(%0)\n\tvmovdqu64 %%zmm4, 0x100(%0)\n\tvmovdqu64 %%zmm5, 0x140(%0)\n\t"
      "vmovdqu64 %%zmm6, 0x180(%0)\n\tvmovdqu64 %%zmm7, 0x1c0(%0)\n\tvmovdqu64 %%zmm8, 0x200(%0)\n\t"
      "vmovdqu64 %%zmm9, 0x240(%0)\n\tvmovdqu64 %%zmm10, 0x280(%0)\n\tvmovdqu64 %%zmm11, 0x2c0(%0)\n\t"
      "vmovdqu64 %%zmm12, 0x300(%0)\n\tvmovdqu64 %%zmm13, 0x340(%0)\n\tvmovdqu64 %%zmm14, 0x380(%0)\n\t"
      "vmovdqu64 %%zmm15, 0x3c0(%0)\n\tvmovdqu64 %%zmm16, 0x400(%0)\n\tvmovdqu64 %%zmm17, 0x440(%0)\n\t"
      "vmovdqu64 %%zmm18, 0x480(%0)\n\tvmovdqu64 %%zmm19, 0x4c0(%0)\n\tvmovdqu64 %%zmm20, 0x500(%0)\n\t"
      "vmovdqu64 %%zmm21, 0x540(%0)\n\tvmovdqu64 %%zmm22, 0x580(%0)\n\tvmovdqu64 %%zmm23, 0x5c0(%0)\n\t"
      "vmovdqu64 %%zmm24, 0x600(%0)\n\tvmovdqu64 %%zmm25, 0x640(%0)\n\tvmovdqu64 %%zmm26, 0x680(%0)\n\t"
      "vmovdqu64 %%zmm27, 0x6c0(%0)\n\tvmovdqu64 %%zmm28, 0x700(%0)\n\tvmovdqu64 %%zmm29, 0x740(%0)\n\t"
      "vmovdqu64 %%zmm30, 0x780(%0)\n\tvmovdqu64 %%zmm31, 0x7c0(%0)" ::"r"(registers)
      : "memory");
  const uint8_t* const bytes = registers[0];
  return std::all_of(bytes, bytes + sizeof registers, [](uint8_t byte) { return byte == 0; });
}
#endif

}  // namespace

TEST("the search finds a key that is there") {
  const sealdisk::DataKey key = randomKey();
  CHECK_EQ(countInProcess(piecesOf(key, nullptr)), 4u);
}

TEST("memory holds no piece of a key or round key after use and wipe, for every kernel") {
  for (const XtsKernel* kernel : availableKernels()) {
    if (!CHECK_EQ(countAfter([&] { return useAndWipe(*kernel); }), 0u)) printf("# kernel %s\n", kernel->name);
  }
}

TEST("memory holds no piece of a key after PBKDF2, HMAC and wipe") {
  const size_t found = countAfter([] {
    sealdisk::DataKey key = randomKey();
    const std::vector<MaskedPiece> pieces = piecesOf(key, nullptr);
    sealdisk::clearResidue();  // of this test's own reading
    uint8_t digest[32] = {};
    key.pbkdf2Sha256(digest, 1000, digest);
    digest[0] ^= key.hmac(digest, digest)[0];
    key.wipe();
    return pieces;
  });
  CHECK_EQ(found, 0u);
}

TEST("vector registers are zero when a kernel returns") {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512f")) check::skipTest("reads the registers with AVX-512");
  const std::vector<uint8_t> secret = randomBytes(64);
  std::vector<uint8_t> data(4096);
  for (const XtsKernel* kernel : availableKernels()) {
    const ExpandedKey key(*kernel, secret);
    const sealdisk::XtsRun run = runOver(data, 4096, 0);
    if (!CHECK(zmmRegistersAreZero([&] { kernel->expand(secret.data(), key.schedule()); }))) puts(kernel->name);
    if (!CHECK(zmmRegistersAreZero([&] { kernel->encrypt(key.schedule(), run); }))) puts(kernel->name);
    if (!CHECK(zmmRegistersAreZero([&] { kernel->decrypt(key.schedule(), run); }))) puts(kernel->name);
  }
#else
  check::skipTest("no vector kernel on this architecture");
#endif
}

CHECK_MAIN
