// What a finished computation leaves behind: dead stack below the caller, and vector registers.
//
// A context switch, a signal frame or the dynamic linker's lazy binding stores vector registers in memory, and dead
// stack lies there until something else grows over it. Called after every computation that is not our own code.
#pragma once

namespace sealdisk {

// Overwrites 8 KiB of stack below the caller and clears the vector registers that x86-64 code without AVX-512 uses.
void clearResidue() noexcept;

}  // namespace sealdisk
