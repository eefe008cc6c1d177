// The known-answer test of start-up (xts.h): every kernel of this processor against published vectors, and against
// OpenSSL's own XTS at the lengths where the vector kernels change their path.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "crypto/secure_memory.h"
#include "crypto/xts.h"
#include "crypto/xts_kernel.h"
#include "crypto/xts_known_answers.h"

namespace sealdisk {

namespace {

constexpr size_t kSmallSectorBytes = 512;
constexpr uint64_t kFirstSector512 = 0x1fffffffdULL;  // the numbers of a run carry into their upper half

struct Length {
  size_t sectors;
  size_t sectorBytes;
};

// One sector, and one less than, as many as and one more than the sectors whose tweaks are made together: 8, 16, 32.
constexpr Length kLengths[] = {
    {1, 512},  {2, 512},  {7, 512},  {8, 512},  {9, 512},  {15, 512}, {16, 512}, {17, 512},
    {31, 512}, {32, 512}, {33, 512}, {65, 512}, {1, 4096}, {2, 4096}, {9, 4096}, {33, 4096},
};

uint8_t nibble(char digit) noexcept { return static_cast<uint8_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10); }

std::vector<uint8_t> bytesOf(const char* hex) {
  std::vector<uint8_t> bytes(strlen(hex) / 2);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
  return bytes;
}

bool beginsWith(const std::vector<uint8_t>& sector, const std::vector<uint8_t>& beginning) {
  return memcmp(sector.data(), beginning.data(), beginning.size()) == 0;
}

// Blocks of a sector do not depend on those after them, so a short data unit is the beginning of a sector.
bool answers(const XtsKernel& kernel, const XtsKnownAnswer& known, XtsSchedule& schedule) {
  const std::vector<uint8_t> plaintext = bytesOf(known.plaintext);
  const std::vector<uint8_t> ciphertext = bytesOf(known.ciphertext);
  std::vector<uint8_t> sector(kSmallSectorBytes);
  const XtsRun run = {sector.data(), sector.data(), sector.size(), kSmallSectorBytes, known.dataUnit};
  kernel.expand(bytesOf(known.key).data(), schedule);

  std::copy(plaintext.begin(), plaintext.end(), sector.begin());
  kernel.encrypt(schedule, run);
  if (!beginsWith(sector, ciphertext)) return false;
  kernel.decrypt(schedule, run);
  if (!beginsWith(sector, plaintext)) return false;

  std::copy(ciphertext.begin(), ciphertext.end(), sector.begin());
  kernel.decrypt(schedule, run);
  return beginsWith(sector, plaintext);
}

struct Schedules {
  XtsSchedule& ofKernel;
  XtsSchedule& ofOpenssl;
};

bool agrees(const XtsKernel& kernel, const Length& length, const Schedules& schedules) {
  std::vector<uint8_t> plaintext(length.sectors * length.sectorBytes);
  for (size_t i = 0; i < plaintext.size(); i++) plaintext[i] = static_cast<uint8_t>(i * 167 >> 3);
  std::vector<uint8_t> ours = plaintext;
  std::vector<uint8_t> theirs = plaintext;
  const XtsRun run = {ours.data(), ours.data(), ours.size(), length.sectorBytes, kFirstSector512};
  kernel.encrypt(schedules.ofKernel, run);
  kXtsOpenssl.encrypt(schedules.ofOpenssl, {theirs.data(), theirs.data(), theirs.size(), length.sectorBytes, kFirstSector512});
  if (ours != theirs) return false;
  kernel.decrypt(schedules.ofKernel, {ours.data(), theirs.data(), ours.size(), length.sectorBytes, kFirstSector512});
  if (theirs != plaintext) return false;
  kernel.decrypt(schedules.ofKernel, run);
  return ours == plaintext;
}

// What failed of `kernel`, or null. The text lives as long as the process.
const char* failureOf(const XtsKernel& kernel, const Schedules& schedules) {
  static char failure[128];
  for (const XtsKnownAnswer& known : kXtsKnownAnswers) {
    if (answers(kernel, known, schedules.ofKernel)) continue;
    snprintf(failure, sizeof failure, "%s: %s", kernel.name, known.name);
    return failure;
  }
  const std::vector<uint8_t> key = bytesOf(kXtsKnownAnswers[0].key);
  kernel.expand(key.data(), schedules.ofKernel);
  kXtsOpenssl.expand(key.data(), schedules.ofOpenssl);
  for (const Length& length : kLengths) {
    if (agrees(kernel, length, schedules)) continue;
    snprintf(failure, sizeof failure, "%s: %zu sectors of %zu bytes", kernel.name, length.sectors, length.sectorBytes);
    return failure;
  }
  return nullptr;
}

}  // namespace

const char* xtsSelfTest() noexcept {
  alignas(64) XtsSchedule ofKernel;
  alignas(64) XtsSchedule ofOpenssl;
  for (const XtsKernel* kernel : xtsKernels()) {
    if (!kernel->available()) continue;
    const char* const failure = failureOf(*kernel, {ofKernel, ofOpenssl});
    if (failure != nullptr) return failure;
  }
  return nullptr;
}

}  // namespace sealdisk
