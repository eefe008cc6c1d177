// AES-256 key expansion by the processor (AESKEYGENASSIST, AESIMC), straight into the caller's secure memory.
#pragma once

#if defined(__x86_64__)

#include "crypto/xts_kernel.h"

namespace sealdisk {

// The `expand` of every x86-64 kernel: needs AES-NI. Leaves nothing in registers or on the stack.
void expandXtsX86(const uint8_t* key, XtsSchedule& schedule) noexcept;

}  // namespace sealdisk

#endif
