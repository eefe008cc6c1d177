// When a connection works and when it sleeps: nothing while idle, no spinning where a processor is wanted, replies that leave
// before the whole batch is done, and a peer that reads nothing until it has sent all.
#include <sched.h>
#include <sys/socket.h>

#include <ctime>

#include "engine/page_cache.h"
#include "engine/socket_buffer.h"
#include "engine/spin.h"
#include "engine_rig.h"

using namespace rig;

namespace {

double cpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int processors() {
  cpu_set_t mine;
  return sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1;
}

// A sleep that input ended at once.
void shortSleep(Spin& spin) {
  spin.fallAsleep();
  spin.wakeUp(true);
}

int sendBuffer(int fd) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
  return bytes;
}

}  // namespace

TEST("connections that have been busy and are idle cost no processor time") {
#if defined(__SANITIZE_THREAD__)
  check::skipTest("the sanitizer has a thread of its own");
#endif
  std::vector<std::unique_ptr<Rig>> rigs;  // one of each backing
  std::vector<std::unique_ptr<Client>> clients;
  withBothBackings([&] {
    rigs.push_back(std::make_unique<Rig>(1 * MiB));
    for (int i = 0; i < 4; ++i) clients.push_back(rigs.back()->connect());
  });
  Bytes data;
  for (int i = 0; i < 4000; ++i) CHECK_EQ(clients[i % clients.size()]->read(4096 * (i % 256), 4096, data), 0u);
  const double before = cpuSeconds();
  constexpr int kSeconds = 10;
  std::this_thread::sleep_for(std::chrono::seconds(kSeconds));
  const double used = cpuSeconds() - before;
  printf("# %.2f ms in %d s\n", used * 1000, kSeconds);
  CHECK(used < 0.001 * kSeconds);
}

TEST("a look for input begins after a short sleep, shortens while it finds nothing, and comes back") {
  Spin spin;
  CHECK(!spin.begin());
  shortSleep(spin);
  if (processors() == 1) {
    CHECK(!spin.begin());
    return;
  }
  int looks = 0;
  for (; looks < 100 && spin.begin(); ++looks) spin.end(false);
  CHECK(looks > 1 && looks < 10);
  shortSleep(spin);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(spin.begin());
    spin.end(true);
  }
}

TEST("a sleep that was long, or that no input ended, brings no look") {
  Spin spin;
  spin.fallAsleep();
  spin.wakeUp(false);
  CHECK(!spin.begin());
  spin.fallAsleep();
  std::this_thread::sleep_for(std::chrono::nanoseconds(2 * kSpinMaxNs));
  spin.wakeUp(true);
  CHECK(!spin.begin());
}

TEST("nobody looks while as many connections are awake as there are processors") {
  std::vector<std::unique_ptr<Spin>> awake;
  for (int i = 0; i < processors(); ++i) {
    CHECK(!Spin::crowded());
    awake.push_back(std::make_unique<Spin>());
    shortSleep(*awake.back());
  }
  CHECK(Spin::crowded());
  CHECK(!awake[0]->begin());
  awake[1 % awake.size()]->fallAsleep();
  CHECK(!Spin::crowded());
  awake[1 % awake.size()]->wakeUp(false);
  awake.clear();
  CHECK(!Spin::crowded());
}

TEST("a peer that reads nothing until it has sent everything is served") {
  withBothBackings([] {
    constexpr uint32_t kRead = 256 * KiB, kReads = 60;
    Rig rig(16 * MiB);
    const auto client = rig.connect();
    for (uint32_t i = 0; i < kReads; ++i) client->send(Client::header(Command::read, kRead * i, kRead, 0, i));
    client->send(Client::write(0, randomBytes(1 * MiB), 0, kReads));
    std::vector<bool> answered(kReads + 1);
    for (uint32_t i = 0; i <= kReads; ++i) {
      const Reply reply = client->reply();
      CHECK_EQ(reply.error, 0u);
      REQUIRE(reply.cookie <= kReads && !answered[reply.cookie]);
      answered[reply.cookie] = true;
      if (reply.cookie < kReads) client->receive(kRead);
    }
  });
}

TEST("the page cache is read where the data is there, and told from the disk where it is not") {
  TemporaryFile file(1 * MiB);
  const Bytes data = randomBytes(64 * KiB);
  REQUIRE(pwrite(file.fd(), data.data(), data.size(), 0) == static_cast<ssize_t>(data.size()) && fsync(file.fd()) == 0);
  PageCache cache(file.fd());
  if (cache.inMemory()) check::skipTest("/tmp is in memory here");
  Bytes back(data.size());
  const auto reading = [&] {
    IoOp op;
    op.data = back.data();
    op.bytes = back.size();
    return op;
  };
  IoOp there = reading();
  REQUIRE(cache.tryRead(&there));
  CHECK_EQ(there.error, 0);
  CHECK(back == data);
  REQUIRE(posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED) == 0);
  IoOp gone = reading();
  CHECK(!cache.tryRead(&gone));
  CHECK(gone.bytes <= back.size());
  IoOp beyond = reading();
  beyond.offset = 1 * MiB;
  if (cache.tryRead(&beyond)) CHECK_EQ(beyond.error, EIO);
}

TEST("a write is copied where it is whole pages and few, through the page cache only") {
  TemporaryFile file(1 * MiB);
  Bytes data = randomBytes(2 * kCopiedMaxBytes);
  PageCache cache(file.fd());
  const auto taken = [&](PageCache& by, uint64_t offset, uint64_t bytes) {
    IoOp op;
    op.kind = IoOp::Kind::write;
    op.data = data.data();
    op.bytes = bytes;
    op.offset = offset;
    return by.tryWrite(&op);
  };
  CHECK(taken(cache, 4096, kCopiedMaxBytes));
  CHECK(!taken(cache, 0, kCopiedMaxBytes + 4096));
  CHECK(!taken(cache, 512, 4096));
  CHECK(!taken(cache, 0, 512));
  Bytes back(kCopiedMaxBytes);
  CHECK(pread(file.fd(), back.data(), back.size(), 4096) == static_cast<ssize_t>(back.size()));
  CHECK(std::equal(back.begin(), back.end(), data.begin()));
  REQUIRE(fcntl(file.fd(), F_SETFL, O_DIRECT) == 0);
  PageCache direct(file.fd());
  CHECK(!taken(direct, 4096, 4096));
}

TEST("a local socket that nobody sized gets room for a large reply, one that somebody sized keeps what it has") {
  int fds[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  const int small = 4096, before = sendBuffer(fds[0]);
  REQUIRE(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
  const int sized = sendBuffer(fds[1]);
  for (const int fd : fds) widenLocalSocket(fd);
  CHECK(sendBuffer(fds[0]) > before);
  CHECK_EQ(sendBuffer(fds[1]), sized);
  for (const int fd : fds) close(fd);
}

CHECK_MAIN
