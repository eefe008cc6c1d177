// Backing over io_uring: one ring per connection, which also waits for the socket and the wake.
//
// The poll requests are one-shot and armed again when they are wanted: so one io_uring_enter submits a batch, arms the
// polls and waits. Operations and features are probed once; whole or none. What only saves time (registered files and memory,
// ring_known.h) is used where it is to be had.
#include <liburing.h>
#include <poll.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "engine/backing.h"
#include "engine/limits.h"
#include "engine/page_cache.h"
#include "engine/ring_known.h"
#include "engine/wake.h"

namespace sealdisk {

namespace {

// user_data: a tag in the low bits, or the address of an IoOp (aligned, so its low bits are zero).
constexpr uint64_t kTagIn = 1, kTagOut = 2, kTagWake = 3, kTagHangUp = 4;
static_assert(alignof(IoOp) >= 8);

constexpr unsigned kFeatures = IORING_FEAT_NODROP | IORING_FEAT_SINGLE_MMAP | IORING_FEAT_FAST_POLL;
constexpr int kOperations[] = {IORING_OP_READ,      IORING_OP_WRITE,   IORING_OP_FSYNC,
                               IORING_OP_FALLOCATE, IORING_OP_FADVISE, IORING_OP_POLL_ADD};

// Rings come and go under one lock. The kernel gives a new ring the addresses of one that is gone; who meets them there
// must be ordered after the thread that left them, which liburing's own system calls show to nobody.
std::mutex& lives() noexcept {
  static std::mutex mutex;
  return mutex;
}

void close(io_uring& ring) noexcept {
  const std::lock_guard lock(lives());
  io_uring_queue_exit(&ring);
}

// Completions wait until we enter the kernel, which interrupts us no more; the flag tells that some wait, so that those that
// came while we worked are taken along before we answer and sleep.
constexpr unsigned kDeferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned kCooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;

bool open(io_uring& ring) noexcept {
  const std::lock_guard lock(lives());
  for (const unsigned flags : {kDeferred, kCooperative, 0u}) {
    io_uring_params params{};
    params.flags = flags;
    const int result = io_uring_queue_init_params(kRingEntries, &ring, &params);
    if (result == 0 && (params.features & kFeatures) == kFeatures) return true;
    if (result == 0) io_uring_queue_exit(&ring);
    if (result != 0 && result != -EINVAL) return false;
  }
  return false;
}

bool probe() noexcept {
  io_uring ring;
  if (!open(ring)) return false;
  bool all = false;
  if (io_uring_probe* supported = io_uring_get_probe_ring(&ring)) {
    all = true;
    for (const int operation : kOperations) all = all && io_uring_opcode_supported(supported, operation);
    io_uring_free_probe(supported);
  }
  close(ring);
  return all;
}

class Ring final : public Backing {
 public:
  Ring(int fileFd, int socketFd, Wake& wake, std::span<uint8_t> payload)
      : socketFd_(socketFd), wake_(wake), pageCache_(fileFd), known_(fileFd) {
    usable_ = open(ring_);
    if (usable_) known_.tell(ring_, payload);
  }
  ~Ring() override {
    if (!usable_) return;
    known_.forget(ring_);
    close(ring_);
  }
  bool usable() const noexcept { return usable_; }

  void submit(IoOp* op) noexcept override;
  void flush() noexcept override;
  IoOp* ended() noexcept override;
  Ready wait(short socketEvents, bool block) noexcept override;

 private:
  io_uring_sqe* entry() noexcept;
  void issue(IoOp* op) noexcept;
  void end(IoOp* op) noexcept;
  void arm(short socketEvents) noexcept;
  void take(const io_uring_cqe* completion) noexcept;
  void takeAll() noexcept;

  const int socketFd_;
  Wake& wake_;
  PageCache pageCache_;
  RingKnown known_;
  io_uring ring_{};
  bool usable_ = false;
  bool armed_[kTagHangUp + 1] = {};  // by tag
  Ready ready_;
  IoOp* ended_ = nullptr;
};

// Never null: the ring has room for every job's operation and the polls.
io_uring_sqe* Ring::entry() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe) return sqe;
  io_uring_submit(&ring_);
  sqe = io_uring_get_sqe(&ring_);
  if (!sqe) std::abort();
  return sqe;
}

// A read from the page cache ends where it is issued, many in one system call. A write does so on few file systems, and a read
// of a file in memory never does: io_uring hands them to worker threads, which takes longer than to copy a few pages here.
void Ring::submit(IoOp* op) noexcept {
  const bool ended = (op->kind == IoOp::Kind::write && pageCache_.tryWrite(op)) ||
                     (op->kind == IoOp::Kind::read && pageCache_.inMemory() && pageCache_.tryRead(op));
  ended ? end(op) : issue(op);
}

void Ring::flush() noexcept {
  if (io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);
  takeAll();
}

void Ring::issue(IoOp* op) noexcept {
  io_uring_sqe* sqe = entry();
  const auto bytes = static_cast<unsigned>(op->bytes);
  const int file = known_.file();
  const bool fixed = known_.holds(op->data, op->bytes);
  switch (op->kind) {
    case IoOp::Kind::read:
      fixed ? io_uring_prep_read_fixed(sqe, file, op->data, bytes, op->offset, 0)
            : io_uring_prep_read(sqe, file, op->data, bytes, op->offset);
      break;
    case IoOp::Kind::write:
      fixed ? io_uring_prep_write_fixed(sqe, file, op->data, bytes, op->offset, 0)
            : io_uring_prep_write(sqe, file, op->data, bytes, op->offset);
      break;
    case IoOp::Kind::sync:
      io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
      break;
    case IoOp::Kind::punch:
      io_uring_prep_fallocate(sqe, file, kPunchMode, op->offset, op->bytes);
      break;
    case IoOp::Kind::zero:
      io_uring_prep_fallocate(sqe, file, kZeroMode, op->offset, op->bytes);
      break;
    case IoOp::Kind::cache:
      io_uring_prep_fadvise(sqe, file, op->offset, static_cast<off_t>(op->bytes), POSIX_FADV_WILLNEED);
      break;
  }
  known_.mark(sqe);
  io_uring_sqe_set_data(sqe, op);
}

void Ring::take(const io_uring_cqe* completion) noexcept {
  if (completion->user_data <= kTagHangUp) {
    armed_[completion->user_data] = false;
    if (completion->user_data == kTagWake) {
      ready_.woken = true;
    } else {
      ready_.socketEvents |= static_cast<short>(completion->res < 0 ? POLLERR : completion->res);
    }
    return;
  }
  auto* op = reinterpret_cast<IoOp*>(completion->user_data);
  op->advance(completion->res) ? end(op) : issue(op);
}

void Ring::end(IoOp* op) noexcept {
  op->next = ended_;
  ended_ = op;
}

void Ring::takeAll() noexcept {
  io_uring_cqe* completion;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    take(completion);
    io_uring_cqe_seen(&ring_, completion);
  }
}

IoOp* Ring::ended() noexcept {
  IoOp* op = ended_;
  if (op) ended_ = op->next;
  return op;
}

void Ring::arm(short socketEvents) noexcept {
  const auto poll = [this](int fd, short events, uint64_t tag) {
    if (!events || armed_[tag]) return;
    io_uring_sqe* sqe = entry();
    io_uring_prep_poll_add(sqe, fd, static_cast<unsigned>(events));
    io_uring_sqe_set_data64(sqe, tag);
    armed_[tag] = true;
  };
  poll(socketFd_, socketEvents & POLLIN, kTagIn);
  poll(socketFd_, socketEvents & POLLOUT, kTagOut);
  poll(socketFd_, socketEvents & POLLRDHUP, kTagHangUp);
  poll(wake_.fd(), POLLIN, kTagWake);
}

Ready Ring::wait(short socketEvents, bool block) noexcept {
  ready_ = {};
  if (block && !ended_) {
    arm(socketEvents);
    io_uring_submit_and_wait(&ring_, 1);
  } else {
    io_uring_submit_and_get_events(&ring_);
  }
  takeAll();
  if (ready_.woken) wake_.clear();
  return ready_;
}

}  // namespace

bool ringAvailable() noexcept {
  static const bool available = probe();
  return available;
}

std::unique_ptr<Backing> makeRing(int fileFd, int socketFd, Wake& wake, std::span<uint8_t> payload) {
  auto ring = std::make_unique<Ring>(fileFd, socketFd, wake, payload);
  if (!ring->usable()) return nullptr;
  return ring;
}

}  // namespace sealdisk
