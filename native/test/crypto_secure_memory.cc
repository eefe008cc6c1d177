// Secure memory: wiped before it is given back, guarded on both sides, locked, not dumped, empty after fork.
//
// The program's own munmap looks at the pages before the kernel takes them: what a key's memory holds at that moment
// is what an attacker with the next owner of the page would see.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

#include "check.h"
#include "crypto/secure_memory.h"

using sealdisk::SecureMemory;

namespace {

constexpr size_t kPageBytes = 4096;

struct Watch {
  const uint8_t* page = nullptr;
  bool unmapped = false;
  bool foundZero = false;
} watch;

bool allZero(const uint8_t* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](uint8_t byte) { return byte == 0; });
}

// The signal that a child dies of when it touches `address`, or 0 when it lives.
int signalOfTouching(uint8_t* address) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *const_cast<volatile uint8_t*>(address) = 1;
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// The line `name` of the mapping of /proc/self/smaps that holds `address`.
std::string mappingField(const uint8_t* address, const std::string& name) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      inside = reinterpret_cast<uintptr_t>(address) >= start && reinterpret_cast<uintptr_t>(address) < end;
    } else if (inside && line.starts_with(name + ":")) {
      return line.substr(name.size() + 1);
    }
  }
  return "";
}

bool hasFlag(const uint8_t* address, const char* flag) {
  std::istringstream flags(mappingField(address, "VmFlags"));
  for (std::string found; flags >> found;) {
    if (found == flag) return true;
  }
  return false;
}

void skipWhereMlockDoesNothing() {
#if defined(__SANITIZE_ADDRESS__)
  check::skipTest("AddressSanitizer turns mlock into nothing");
#endif
}

}  // namespace

extern "C" int munmap(void* start, size_t bytes) noexcept {
  const uint8_t* const from = static_cast<uint8_t*>(start);
  if (watch.page != nullptr && watch.page >= from && watch.page < from + bytes) {
    watch.unmapped = true;
    watch.foundZero = allZero(watch.page, kPageBytes);
  }
  return static_cast<int>(syscall(SYS_munmap, start, bytes));
}

TEST("is wiped before its pages go back to the kernel") {
  {
    const SecureMemory memory(64);
    std::fill(memory.data(), memory.data() + kPageBytes, 0xee);
    watch = {memory.data()};
  }
  CHECK(watch.unmapped);
  CHECK(watch.foundZero);
}

TEST("assigning an empty one wipes at once") {
  SecureMemory memory(64);
  std::fill(memory.data(), memory.data() + 64, 0xee);
  watch = {memory.data()};
  memory = SecureMemory();
  CHECK(watch.unmapped && watch.foundZero);
  CHECK(!memory);
}

TEST("starts as zeros and holds what is written over its whole size") {
  const SecureMemory memory(5000);
  CHECK_EQ(memory.size(), 5000u);
  CHECK(allZero(memory.data(), memory.size()));
  std::fill(memory.data(), memory.data() + memory.size(), 0x77);
  CHECK_EQ(memory.data()[4999], 0x77);
}

TEST("a child that touches the page before or after it dies of SIGSEGV") {
  const SecureMemory memory(2 * kPageBytes);
  CHECK_EQ(signalOfTouching(memory.data() - 1), SIGSEGV);
  CHECK_EQ(signalOfTouching(memory.data() + 2 * kPageBytes), SIGSEGV);
  CHECK_EQ(signalOfTouching(memory.data()), 0);
}

TEST("a forked child finds zeros in it") {
  const SecureMemory memory(64);
  std::fill(memory.data(), memory.data() + 64, 0xee);
  const pid_t child = fork();
  if (child == 0) _exit(allZero(memory.data(), 64) ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  CHECK_EQ(memory.data()[63], 0xee);
}

TEST("is locked, left out of core files and wiped on fork, says the kernel") {
  skipWhereMlockDoesNothing();
  const SecureMemory memory(64);
  memory.data()[0] = 1;
  if (mappingField(memory.data(), "VmFlags").empty()) check::skipTest("this kernel has no VmFlags in smaps");
  CHECK(hasFlag(memory.data(), "lo"));
  CHECK(hasFlag(memory.data(), "dd"));
  CHECK(hasFlag(memory.data(), "wf"));
}

TEST("throws the errno of mlock where no memory may be locked, and leaks nothing") {
  skipWhereMlockDoesNothing();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_MEMLOCK, &none);
    if (setuid(65534) != 0) _exit(3);
    try {
      const SecureMemory memory(64);
      _exit(1);
    } catch (const std::system_error& error) {
      _exit(error.code().value() == ENOMEM || error.code().value() == EPERM ? 0 : 2);
    }
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 3) check::skipTest("only root can give up the right to lock");
  CHECK_EQ(status, 0);
}

CHECK_MAIN
