// Clears dead stack and vector registers (residue.h). Any thread.
#include "crypto/residue.h"

#include <cstddef>
#include <cstdint>

#include "crypto/clear_registers_x86.h"
#include "crypto/secure_memory.h"

namespace sealdisk {

namespace {

constexpr size_t kDeadStackBytes = 8192;
constexpr size_t kKernelStackBytes = 1024;

// Compiled without AVX-512: the compiler itself uses none of the high registers here, and need not be told of them.
void clearVectorRegisters() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    asm volatile(SEALDISK_CLEAR_ZMM ::: "memory", SEALDISK_LOW_REGISTERS);
  } else if (__builtin_cpu_supports("avx")) {
    asm volatile(SEALDISK_CLEAR_YMM ::: "memory", SEALDISK_LOW_REGISTERS);
  } else {
    asm volatile(SEALDISK_CLEAR_XMM ::: "memory", SEALDISK_LOW_REGISTERS);
  }
#endif
}

}  // namespace

__attribute__((noinline)) void clearResidue() noexcept {
  uint8_t deadStack[kDeadStackBytes];
  wipe(deadStack, sizeof deadStack);
  clearVectorRegisters();
}

__attribute__((noinline)) void clearKernelStack() noexcept {
  uint8_t deadStack[kKernelStackBytes];
  wipe(deadStack, sizeof deadStack);
}

}  // namespace sealdisk
