// What the XTS tests share: the kernels of this processor, a schedule in secure memory, aligned runs.
#pragma once

#include <cstdint>
#include <vector>

#include "crypto/secure_memory.h"
#include "crypto/xts_kernel.h"

inline std::vector<const sealdisk::XtsKernel*> availableKernels() {
  std::vector<const sealdisk::XtsKernel*> kernels;
  for (const sealdisk::XtsKernel* kernel : sealdisk::xtsKernels()) {
    if (kernel->available()) kernels.push_back(kernel);
  }
  return kernels;
}

class ExpandedKey {
 public:
  ExpandedKey(const sealdisk::XtsKernel& kernel, const std::vector<uint8_t>& key)
      : kernel_(kernel), memory_(sizeof(sealdisk::XtsSchedule)) {
    kernel.expand(key.data(), schedule());
  }

  sealdisk::XtsSchedule& schedule() const { return *reinterpret_cast<sealdisk::XtsSchedule*>(memory_.data()); }
  void encrypt(const sealdisk::XtsRun& run) const { kernel_.encrypt(schedule(), run); }
  void decrypt(const sealdisk::XtsRun& run) const { kernel_.decrypt(schedule(), run); }

 private:
  const sealdisk::XtsKernel& kernel_;
  sealdisk::SecureMemory memory_;
};

inline sealdisk::XtsRun runOver(std::vector<uint8_t>& data, size_t sectorBytes, uint64_t firstSector512) {
  return {data.data(), data.data(), data.size(), sectorBytes, firstSector512};
}
