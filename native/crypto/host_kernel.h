// What the running kernel does wrong with the processor's registers.
#pragma once

namespace sealdisk {

// True on user-mode-linux, whose sigreturn restores registers as far as YMM15 and leaves the upper halves of ZMM0-15
// and all of ZMM16-31 as the signal handler left them (seen on 6.1; context switches are right at every width).
bool kernelLosesZmmInSignals() noexcept;

}  // namespace sealdisk
