// Vector state survives context switches and signals: what a kernel that runs under another kernel may get wrong.
//
// For every XTS kernel four processes of two threads each, all with keys of their own, encrypt, decrypt and compare,
// while a timer interrupts each process every millisecond with a handler that overwrites the vector registers that the
// kernel uses. ROUNDS sets the length.
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>

#include "check.h"
#include "crypto/clear_registers_x86.h"
#include "crypto/residue.h"
#include "seed.h"
#include "xts_rig.h"

using sealdisk::XtsKernel;

namespace {

constexpr int kProcesses = 4;
constexpr int kThreads = 2;
constexpr size_t kRunBytes = 64 * 1024;
constexpr suseconds_t kInterruptUs = 1000;

int rounds() {
  const char* const given = getenv("ROUNDS");
  return given != nullptr ? atoi(given) : 150;
}

volatile sig_atomic_t interrupts = 0;

// Registers 0 to 15 whole, or all there are. The difference matters on user-mode-linux (crypto/host_kernel.h), where
// the C library's own memcmp, which uses the high ones, would be disturbed.
void overwriteLow(int) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx")) {
    asm volatile(SEALDISK_CLEAR_YMM ::: "memory", SEALDISK_LOW_REGISTERS);
  } else {
    asm volatile(SEALDISK_CLEAR_XMM ::: "memory", SEALDISK_LOW_REGISTERS);
  }
#endif
  interrupts = interrupts + 1;
}

void overwriteAll(int) {
  sealdisk::clearResidue();
  interrupts = interrupts + 1;
}

void interruptEveryMillisecond(const XtsKernel& kernel) {
  struct sigaction action = {};
  action.sa_handler = strcmp(kernel.name, "vaes-avx512") == 0 ? overwriteAll : overwriteLow;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval every = {{0, kInterruptUs}, {0, kInterruptUs}};
  setitimer(ITIMER_REAL, &every, nullptr);
}

// The number of rounds whose bytes were wrong.
int wrongRounds(const XtsKernel& kernel, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> key(64);
  for (uint8_t& byte : key) byte = static_cast<uint8_t>(random());
  const ExpandedKey expanded(kernel, key);
  const std::vector<uint8_t> plaintext(kRunBytes, static_cast<uint8_t>(seed));
  std::vector<uint8_t> expected = plaintext;
  kernel.encrypt(expanded.schedule(), runOver(expected, 4096, seed));
  int wrong = 0;
  for (int round = 0; round < rounds(); round++) {
    std::vector<uint8_t> data = plaintext;
    expanded.encrypt(runOver(data, 4096, seed));
    const bool encrypted = data == expected;
    expanded.decrypt(runOver(data, 4096, seed));
    wrong += !encrypted || data != plaintext;
  }
  return wrong;
}

// Exit status: 0 all right, 1 wrong bytes, 2 never interrupted.
int runProcess(const XtsKernel& kernel, uint64_t seed) {
  interruptEveryMillisecond(kernel);
  int wrong[kThreads] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back([&, i] { wrong[i] = wrongRounds(kernel, seed + i); });
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) {
    if (count > 0) return 1;
  }
  return interrupts > 0 ? 0 : 2;
}

void stress(const char* name) {
  const XtsKernel* wanted = nullptr;
  for (const XtsKernel* kernel : availableKernels()) {
    if (strcmp(kernel->name, name) == 0) wanted = kernel;
  }
  if (wanted == nullptr) check::skipTest("this processor or system has no such kernel");
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; i++) {
    const uint64_t seed = testSeed() + static_cast<uint64_t>(i) * kThreads;
    const pid_t child = fork();
    if (child == 0) _exit(runProcess(*wanted, seed));
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
  }
}

}  // namespace

TEST("vaes-avx512 stays right under context switches and signals") { stress("vaes-avx512"); }
TEST("vaes-avx2 stays right under context switches and signals") { stress("vaes-avx2"); }
TEST("aes-ni stays right under context switches and signals") { stress("aes-ni"); }
TEST("openssl stays right under context switches and signals") { stress("openssl"); }

CHECK_MAIN
