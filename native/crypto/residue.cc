// Clears dead stack and vector registers (residue.h). Any thread.
#include "crypto/residue.h"

#include <cstddef>
#include <cstdint>

#include "crypto/secure_memory.h"

namespace sealdisk {

namespace {

constexpr size_t kDeadStackBytes = 8192;

#if defined(__x86_64__)
#define SEALDISK_VECTOR_REGISTERS                                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"

void clearVectorRegisters() noexcept {
  if (__builtin_cpu_supports("avx")) {
    asm volatile("vzeroall" ::: "memory", SEALDISK_VECTOR_REGISTERS);
    return;
  }
  asm volatile(
      "pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
      "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
      "pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
      "pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15" ::
          : "memory", SEALDISK_VECTOR_REGISTERS);
}
#else
void clearVectorRegisters() noexcept {}
#endif

}  // namespace

__attribute__((noinline)) void clearResidue() noexcept {
  uint8_t deadStack[kDeadStackBytes];
  wipe(deadStack, sizeof deadStack);
  clearVectorRegisters();
}

}  // namespace sealdisk
