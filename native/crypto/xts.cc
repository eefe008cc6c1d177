// XtsKey over the kernel that is chosen once per process (xts.h, xts_kernel.h).
#include "crypto/xts.h"

#include <cstdlib>
#include <cstring>

#include "crypto/xts_kernel.h"

namespace sealdisk {

namespace {

constexpr const XtsKernel* kKernels[] = {
#if defined(__x86_64__)
    &kXtsVaesAvx512, &kXtsVaesAvx2, &kXtsAesNi,
#endif
    &kXtsOpenssl,
};

const XtsKernel* choose() noexcept {
  const char* const wanted = getenv("SEALDISK_CIPHER");
  const XtsKernel* fastest = nullptr;
  for (const XtsKernel* kernel : kKernels) {
    if (!kernel->available()) continue;
    if (wanted != nullptr && strcmp(wanted, kernel->name) == 0) return kernel;
    if (fastest == nullptr) fastest = kernel;
  }
  return fastest;
}

const XtsKernel& chosen() noexcept {
  static const XtsKernel* const kChosen = choose();
  return *kChosen;
}

const XtsSchedule& scheduleIn(const SecureMemory& memory) noexcept {
  return *reinterpret_cast<const XtsSchedule*>(memory.data());
}

// What a caller must keep; in a release too, for a wrong run would be written to disk.
void assertRun(const XtsRun& run, bool haveKey) noexcept {
  const bool knownSector = run.sectorBytes == 512 || run.sectorBytes == 4096;
  if (!haveKey || !knownSector || run.bytes % run.sectorBytes != 0) abort();
}

}  // namespace

std::span<const XtsKernel* const> xtsKernels() noexcept { return kKernels; }

const char* xtsKernelName() noexcept { return chosen().name; }
size_t xtsKernelBytesPerUs() noexcept { return chosen().bytesPerUs; }

XtsKey::XtsKey(const DataKey& key) : schedule_(sizeof(XtsSchedule)) {
  chosen().expand(key.bytes().data(), *reinterpret_cast<XtsSchedule*>(schedule_.data()));
}

void XtsKey::encrypt(uint8_t* data, size_t bytes, size_t sectorBytes, uint64_t firstSector512) const noexcept {
  const XtsRun run = {data, data, bytes, sectorBytes, firstSector512};
  assertRun(run, static_cast<bool>(schedule_));
  chosen().encrypt(scheduleIn(schedule_), run);
}

void XtsKey::decrypt(const uint8_t* from, uint8_t* to, size_t bytes, size_t sectorBytes, uint64_t firstSector512) const noexcept {
  const XtsRun run = {from, to, bytes, sectorBytes, firstSector512};
  assertRun(run, static_cast<bool>(schedule_));
  chosen().decrypt(scheduleIn(schedule_), run);
}

}  // namespace sealdisk
