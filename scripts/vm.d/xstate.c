// Lets user-mode-linux run where the processor has AMX: preloaded into linux.uml, see scripts/vm.
//
// UML keeps 2696 bytes of a guest process's vector state. A kernel whose processor has more (8 KiB of AMX tiles) takes the state
// back only whole (arch/x86/kernel/fpu/regset.c: xstateregs_set wants count to be the full size), so that UML's first
// PTRACE_SETREGSET fails and its init dies. Here what UML gives is put at the head of a whole state; the tiles stay unused.
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kHeaderAt = 512 };                      // of the XSAVE area: XSTATE_BV, its first word, says which parts are in use
static const uint64_t kTiles = 3ULL << 17;     // XTILECFG, XTILEDATA

// Not on the stack, for UML calls on kernel stacks of a few KiB; it has one thread that traces.
static _Alignas(64) unsigned char whole[1 << 16];

static long set_state(pid_t pid, void* type, const struct iovec* given) {
  struct iovec state = {whole, sizeof whole};
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, type, &state) < 0) return -1;
  if (state.iov_len <= given->iov_len) return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, given);
  memset(whole, 0, state.iov_len);
  memcpy(whole, given->iov_base, given->iov_len);
  uint64_t in_use;
  memcpy(&in_use, whole + kHeaderAt, sizeof in_use);
  in_use &= ~kTiles;
  memcpy(whole + kHeaderAt, &in_use, sizeof in_use);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, &state);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list rest;
  va_start(rest, request);
  pid_t pid = va_arg(rest, pid_t);
  void* addr = va_arg(rest, void*);
  void* data = va_arg(rest, void*);
  va_end(rest);
  if (request == PTRACE_SETREGSET && (uintptr_t)addr == NT_X86_XSTATE) return set_state(pid, addr, data);
  // What a peek finds comes back through memory at the system call, as the value at this function.
  long word = 0;
  int peeks = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;
  long result = syscall(SYS_ptrace, request, pid, addr, peeks ? &word : data);
  return peeks && result >= 0 ? word : result;
}
