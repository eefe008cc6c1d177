// Throughput of every XTS kernel on one core, in place, encrypting and decrypting (make -f native/test/Makefile bench).
//
// Prints GB/s (10^9 bytes) for runs of 4 KiB, 64 KiB and 1 MiB with 4096-byte and with 512-byte sectors. A figure is the best of
// several short rounds, so that other work on the machine matters little.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "xts_rig.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRoundBytes = 64 << 20;
constexpr int kRounds = 7;

template <class Crypt>
double gigabytesPerSecond(size_t runBytes, Crypt crypt) {
  double best = 0;
  for (int round = 0; round < kRounds; round++) {
    const auto start = Clock::now();
    for (size_t done = 0; done < kRoundBytes; done += runBytes) crypt();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, static_cast<double>(kRoundBytes) / seconds / 1e9);
  }
  return best;
}

void measure(const sealdisk::XtsKernel& kernel, size_t runBytes, size_t sectorBytes) {
  std::vector<uint8_t> key(64);
  for (size_t i = 0; i < key.size(); i++) key[i] = static_cast<uint8_t>(i);
  const ExpandedKey expanded(kernel, key);
  uint8_t* const data = static_cast<uint8_t*>(aligned_alloc(4096, runBytes));
  std::fill(data, data + runBytes, 0);
  const sealdisk::XtsRun run = {data, data, runBytes, sectorBytes, 0};
  const double encrypting = gigabytesPerSecond(runBytes, [&] { expanded.encrypt(run); });
  const double decrypting = gigabytesPerSecond(runBytes, [&] { expanded.decrypt(run); });
  free(data);
  printf("%-12s %8zu %8zu %9.2f %9.2f\n", kernel.name, runBytes, sectorBytes, encrypting, decrypting);
}

}  // namespace

int main() {
  printf("%-12s %8s %8s %9s %9s\n", "kernel", "run", "sector", "enc GB/s", "dec GB/s");
  for (const sealdisk::XtsKernel* kernel : availableKernels()) {
    for (const size_t sectorBytes : {4096, 512}) {
      for (const size_t runBytes : {4096, 65536, 1048576}) measure(*kernel, runBytes, sectorBytes);
    }
  }
  return 0;
}
