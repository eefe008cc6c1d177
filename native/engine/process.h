// What a process that serves disks asks of the kernel for itself.
//
// A server of a local device must not wait for memory that only writeback to its own device can free: it is marked as an
// I/O flusher, spared by the OOM killer, and what its data path touches is locked. All of it cannot be locked: V8 gives
// pages back with MADV_DONTNEED, which locked pages refuse and V8 takes for a fatal error. So the mapped files (code and
// data) and the engine's stacks are locked here, its buffers in arena.cc, its keys in secure_memory.cc.
// Each call is for the thread that it says; errors are positive errno values, 0 is success.
#pragma once

#include <signal.h>

#include <cstddef>

namespace sealdisk {

// The calling thread and all that it starts from now on, also in child processes (PR_SET_IO_FLUSHER).
int becomeIoFlusher() noexcept;

// No core file, no ptrace by others of the same user, /proc/self is root's. Any thread.
int becomeUndumpable() noexcept;

// -1000 (never killed) to 1000. Any thread; before becomeUndumpable.
int setOomScore(int adjustment) noexcept;

// What the kernel keeps free for those who free memory (vm.min_free_kbytes); 0 where it does not say. Any thread.
size_t emergencyReserveBytes() noexcept;

// Locks the pages of mapped files as they are touched. Any thread.
int lockMappedFiles() noexcept;

// Locks the pages of a mapping, or of the calling thread's stack, as they are touched: where the process may lock as much
// as it likes. Where that is limited the limit is for keys, without which a hung disk could not go live again.
int lockPages(void* pages, size_t bytes) noexcept;
int lockOwnStack() noexcept;

// Threads that are started while it lives take no signals: those are the main thread's. Except their own faults (fault.h).
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace sealdisk
