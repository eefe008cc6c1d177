// What the system refuses or fails: syncs, threads, locked memory. Calls are watched by standing in front of the C library.
#include <dlfcn.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <climits>
#include <filesystem>
#include <fstream>

#include "engine_rig.h"

using namespace rig;

namespace {

std::atomic<int> syncs{0}, syncsNow{0}, syncsAtOnce{0}, failingSync{0};
std::atomic<int> threadsAllowed{INT_MAX};

template <typename F>
F* behind(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

// Runs `sync` as one that others could overlap.
template <typename Sync>
auto watched(Sync sync) {
  const int number = ++syncs, now = ++syncsNow;
  for (int most = syncsAtOnce; most < now && !syncsAtOnce.compare_exchange_weak(most, now);) {
  }
  usleep(1000);  // the length of a sync
  const auto result = sync();
  --syncsNow;
  if (number != failingSync) return result;
  errno = EIO;
  return decltype(result)(-1);
}

void forgetSyncs() { syncs = syncsAtOnce = failingSync = 0; }

// Fields of a /proc status file, in their unit there.
uint64_t statusField(const std::string& path, const std::string& name, int base = 10) {
  std::ifstream status(path);
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::stoull(line.substr(name.size() + 1), nullptr, base);
  }
  return 0;
}

bool dropLockCapability() {
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2];
  if (syscall(SYS_capget, &head, sets) != 0) return false;
  sets[0].effective &= ~(1u << CAP_IPC_LOCK);
  return syscall(SYS_capset, &head, sets) == 0;
}

// Whether `holds` is true in a process of its own.
bool inChild(const std::function<bool()>& holds) {
  const pid_t child = fork();
  if (child == 0) _exit(holds() ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

extern "C" int fdatasync(int fd) {
  return watched([fd] { return behind<int(int)>("fdatasync")(fd); });
}

extern "C" ssize_t pwritev2(int fd, const iovec* parts, int count, off_t offset, int flags) {
  const auto write = [=] {
    return behind<ssize_t(int, const iovec*, int, off_t, int)>("pwritev2")(fd, parts, count, offset, flags);
  };
  return flags & RWF_DSYNC ? watched(write) : write();
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
  if (threadsAllowed-- <= 0) return EAGAIN;
  return behind<decltype(pthread_create)>("pthread_create")(thread, attributes, run, argument);
}

TEST("locked memory that is limited is left to keys") {
  CHECK(inChild([] {
    const rlimit limit{1 * MiB, 1 * MiB};
    if (!dropLockCapability() || setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return false;
    Rig rig;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 8; ++i) {
      clients.push_back(rig.connect());
      if (clients.back()->call(Command::flush) != 0) return false;
    }
    return statusField("/proc/self/status", "VmLck") <= 64;
  }));
}

TEST("durable requests share syncs, and never two run at once") {
  setenv("SEALDISK_IO", "pool", 1);
  Rig rig;
  const auto one = rig.connect(), other = rig.connect();
  forgetSyncs();
  constexpr int kEach = 32;
  for (int i = 0; i < kEach; ++i) {
    for (Client* client : {one.get(), other.get()}) {
      client->send(i % 4 ? Client::write(static_cast<uint64_t>(i) * 4096, Bytes(4096), kFlagFua)
                         : Client::header(Command::flush, 0, 0));
    }
  }
  for (int i = 0; i < kEach; ++i) {
    CHECK_EQ(one->reply().error, 0u);
    CHECK_EQ(other->reply().error, 0u);
  }
  CHECK_EQ(syncsAtOnce.load(), 1);
  CHECK(syncs < kEach);
  CHECK(syncs > 0);
  unsetenv("SEALDISK_IO");
}

TEST("a sync that fails fails all that it covers, and all that come after") {
  setenv("SEALDISK_IO", "pool", 1);
  Rig rig;
  const auto one = rig.connect(), other = rig.connect();
  forgetSyncs();
  failingSync = 2;
  CHECK_EQ(one->write1(0, Bytes(4096), kFlagFua), 0u);
  for (Client* client : {one.get(), other.get()}) {
    client->send(Client::write(4096, Bytes(4096), kFlagFua));
    client->send(Client::header(Command::flush, 0, 0));
  }
  for (Client* client : {one.get(), other.get()}) {
    for (int i = 0; i < 2; ++i) CHECK_EQ(client->reply().error, static_cast<uint32_t>(NbdErrno::io));
  }
  CHECK_EQ(one->write1(0, Bytes(4096)), 0u);
  CHECK_EQ(rig.disk->close(), EIO);
  unsetenv("SEALDISK_IO");
}

TEST("a thread that cannot be started is an error that leaves nothing behind") {
  const auto openFds = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
    return count;
  };
  Rig rig;
  const int before = openFds();
  threadsAllowed = 0;
  CHECK_THROWS(std::system_error, rig.connect());
  setenv("SEALDISK_IO", "pool", 1);
  TemporaryFile file(2 * MiB);
  threadsAllowed = 3;  // some of the pool
  CHECK_THROWS(std::system_error, Disk::open({file.path(), {1 * MiB, 4096}, 1 * MiB, false, false}));
  unsetenv("SEALDISK_IO");
  threadsAllowed = INT_MAX;
  CHECK_EQ(openFds(), before + 1 + 2);  // the temporary file, and the pair that the failed connect() left to us
  CHECK_EQ(rig.disk->counters().connections.load(), 0u);
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  CHECK(!sigismember(&blocked, SIGTERM));
  CHECK_EQ(rig.connect()->call(Command::flush), 0u);
}

TEST("engine threads take no signals") {
  withBothBackings([] {
    Rig rig;
    const auto client = rig.connect();  // to the end: its thread is looked at
    CHECK_EQ(client->call(Command::flush), 0u);
    size_t blocking = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      const uint64_t mask = statusField(task.path() / "status", "SigBlk", 16);
      blocking += (mask >> (SIGTERM - 1) & 1) && (mask >> (SIGINT - 1) & 1);
    }
    CHECK(blocking >= 1);
  });
}

CHECK_MAIN
