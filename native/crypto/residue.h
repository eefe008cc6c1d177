// What a finished computation leaves behind: dead stack below the caller, and vector registers.
//
// A context switch, a signal frame or the dynamic linker's lazy binding stores vector registers in memory, and dead
// stack lies there until something else grows over it; the C library's memcpy alone leaves what it copied in
// registers. `clearResidue` follows every computation on a key that is not our own kernels'.
#pragma once

namespace sealdisk {

// Overwrites 8 KiB of stack below the caller and clears every vector register that this processor has (x86-64).
void clearResidue() noexcept;

// Overwrites the 1 KiB of stack below the caller, which is more than an XTS kernel of ours uses.
void clearKernelStack() noexcept;

}  // namespace sealdisk
