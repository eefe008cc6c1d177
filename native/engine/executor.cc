#include "engine/executor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/limits.h"
#include "engine/mailbox.h"

namespace sealdisk {

namespace {

constexpr uint64_t down(uint64_t value, uint64_t unit) noexcept { return value / unit * unit; }
constexpr uint64_t up(uint64_t value, uint64_t unit) noexcept { return down(value + unit - 1, unit); }
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

bool Executor::cuts(const Request& request) const noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  return request.offset % sector || request.length % sector;
}

size_t Executor::bufferBytes(const Request& request) const noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  const size_t mergePage = cuts(request) ? kPageBytes : 0;
  const uint64_t span = up(request.offset + request.length, sector) - down(request.offset, sector);
  switch (request.command) {
    case Command::read:
      return span;
    case Command::write:
      return up(span, kPageBytes) + mergePage;
    case Command::writeZeroes:
      return up(std::min<uint64_t>(span, kZeroPieceBytes), kPageBytes) + mergePage;
    default:
      return 0;
  }
}

void Executor::refuse(Job* job, NbdErrno error) noexcept {
  job->verdict = error;
  replies_.push(job);
}

void Executor::begin(Job* job) noexcept {
  for (;;) {
    job->pass = disk_.gate().enter();
    if (job->pass) return run(job);
    switch (disk_.gate().state()) {
      case Gate::State::live:
        continue;  // it opened in between
      case Gate::State::failed:
        return refuse(job, NbdErrno::io);
      case Gate::State::hung:
        disk_.counters().parked.fetch_add(1, kRelaxed);
        return parked_.push(job);
    }
  }
}

void Executor::gateChanged() noexcept {
  for (size_t left = parked_.size(); left > 0; --left) {  // each once: those that park again stand behind
    Job* job = parked_.pop();
    disk_.counters().parked.fetch_sub(1, kRelaxed);
    begin(job);
  }
}

JobList Executor::abandonParked() noexcept {
  disk_.counters().parked.fetch_sub(parked_.size(), kRelaxed);
  return std::exchange(parked_, JobList());
}

void Executor::run(Job* job) noexcept {
  ++inFlight_;
  disk_.counters().inFlight.fetch_add(1, kRelaxed);
  const Request& request = job->request;
  // Holes would tell which blocks are in use: a trim is a hint, and is not taken.
  if (request.command == Command::trim) return finish(job, NbdErrno::ok);
  if (request.command == Command::flush) return sync(job);
  const uint64_t sector = disk_.geometry().sectorBytes;
  job->claim.begin = down(request.offset, sector);
  job->claim.end = up(request.offset + request.length, sector);
  job->claim.exclusive = request.command != Command::read && cuts(request);
  job->claim.granted = [](RangeLock::Claim* claim) {
    auto* owner = static_cast<Job*>(claim->owner);
    owner->mailbox->goOn(owner);
  };
  job->stage = Job::Stage::claim;
  if (disk_.ranges().acquire(&job->claim)) claimGranted(job);
}

void Executor::goOn(Job* job) noexcept {
  if (job->stage == Job::Stage::claim) return claimGranted(job);
  if (job->sync.leads) return issue(job, Job::Stage::sync, IoOp::Kind::sync, nullptr, 0, 0);
  finish(job, onWire(disk_.syncs().lost()));
}

void Executor::claimGranted(Job* job) noexcept {
  const Request& request = job->request;
  if (request.command == Command::read) {
    const size_t bytes = job->claim.end - job->claim.begin;
    return issue(job, Job::Stage::read, IoOp::Kind::read, job->buffer, bytes, job->claim.begin);
  }
  job->pieceBegin = request.offset;
  job->pieceEnd = request.offset + request.length;
  startPiece(job);
}

// A write is one piece. Zeros come in pieces that end on multiples of kZeroPieceBytes, hence on sectors.
void Executor::startPiece(Job* job) noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  if (job->request.command == Command::writeZeroes) {
    const uint64_t end = job->request.offset + job->request.length;
    job->pieceEnd = std::min<uint64_t>(end, down(job->pieceBegin, sector) + kZeroPieceBytes);
    std::memset(job->buffer, 0, up(job->pieceEnd, sector) - down(job->pieceBegin, sector));
  }
  if (job->pieceBegin % sector == 0) return mergeTailOrWrite(job);
  uint8_t* mergePage = job->buffer + job->bufferBytes - kPageBytes;
  issue(job, Job::Stage::mergeHead, IoOp::Kind::read, mergePage, sector, down(job->pieceBegin, sector));
}

// The cut sector has been read into the merge page: what the request leaves alone goes into the buffer.
void Executor::merge(Job* job, bool tail) noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  const uint64_t first = down(job->pieceBegin, sector), last = down(job->pieceEnd, sector);
  uint8_t* mergePage = job->buffer + job->bufferBytes - kPageBytes;
  job->pass->key().decrypt(mergePage, sector, sector, (tail ? last : first) / 512);
  if (!tail) std::memcpy(job->buffer, mergePage, job->pieceBegin - first);
  if (job->pieceEnd % sector && (tail || first == last)) {
    const size_t from = job->pieceEnd - last;
    std::memcpy(job->buffer + (job->pieceEnd - first), mergePage + from, sector - from);
  }
}

void Executor::mergeTailOrWrite(Job* job) noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  const uint64_t last = down(job->pieceEnd, sector);
  const bool mergedWithHead = job->pieceBegin % sector && down(job->pieceBegin, sector) == last;
  if (job->pieceEnd % sector == 0 || mergedWithHead) return encryptAndWrite(job);
  uint8_t* mergePage = job->buffer + job->bufferBytes - kPageBytes;
  issue(job, Job::Stage::mergeTail, IoOp::Kind::read, mergePage, sector, last);
}

void Executor::encryptAndWrite(Job* job) noexcept {
  const uint64_t sector = disk_.geometry().sectorBytes;
  const uint64_t first = down(job->pieceBegin, sector);
  const size_t bytes = up(job->pieceEnd, sector) - first;
  job->pass->key().encrypt(job->buffer, bytes, sector, first / 512);
  issue(job, Job::Stage::write, IoOp::Kind::write, job->buffer, bytes, first);
}

void Executor::issue(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, size_t bytes,
                     uint64_t exportOffset) noexcept {
  job->stage = stage;
  job->io.kind = kind;
  job->io.data = data;
  job->io.bytes = bytes;
  job->io.offset = disk_.geometry().offsetBytes + exportOffset;
  backing_.submit(&job->io);
}

void Executor::ioEnded(Job* job) noexcept {
  const int error = job->io.error;
  if (error && job->stage != Job::Stage::sync) return finish(job, onWire(error));
  switch (job->stage) {
    case Job::Stage::read: {
      const size_t bytes = job->claim.end - job->claim.begin;
      job->pass->key().decrypt(job->buffer, bytes, disk_.geometry().sectorBytes, job->claim.begin / 512);
      return finish(job, NbdErrno::ok);
    }
    case Job::Stage::mergeHead:
      merge(job, false);
      return mergeTailOrWrite(job);
    case Job::Stage::mergeTail:
      merge(job, true);
      return encryptAndWrite(job);
    case Job::Stage::write:
      return written(job);
    case Job::Stage::sync:
      disk_.syncs().ended(error);
      return finish(job, onWire(disk_.syncs().lost()));
    case Job::Stage::claim:
      break;
  }
  std::abort();  // no operation is out in this stage
}

void Executor::written(Job* job) noexcept {
  if (job->pieceEnd != job->request.offset + job->request.length) {
    job->pieceBegin = job->pieceEnd;
    return startPiece(job);
  }
  return job->request.fua() ? sync(job) : finish(job, NbdErrno::ok);
}

// What has ended on this disk goes to stable storage; the reply waits for it.
void Executor::sync(Job* job) noexcept {
  if (const int error = disk_.syncs().lost()) return finish(job, onWire(error));
  job->stage = Job::Stage::sync;
  job->sync.told = [](SyncGroup::Member* member) {
    auto* owner = static_cast<Job*>(member->owner);
    owner->mailbox->goOn(owner);
  };
  if (disk_.syncs().join(&job->sync)) issue(job, Job::Stage::sync, IoOp::Kind::sync, nullptr, 0, 0);
}

void Executor::finish(Job* job, NbdErrno verdict) noexcept {
  const Request& request = job->request;
  if (job->claim.granted) {
    disk_.ranges().release(&job->claim);
    job->claim.granted = nullptr;
  }
  job->pass.reset();
  --inFlight_;
  DiskCounters& counters = disk_.counters();
  counters.inFlight.fetch_sub(1, kRelaxed);
  if (verdict == NbdErrno::ok) {
    switch (request.command) {
      case Command::read:
        counters.reads.fetch_add(1, kRelaxed);
        counters.readBytes.fetch_add(request.length, kRelaxed);
        break;
      case Command::write:
      case Command::writeZeroes:
        counters.writes.fetch_add(1, kRelaxed);
        counters.writtenBytes.fetch_add(request.length, kRelaxed);
        break;
      case Command::flush:
        counters.flushes.fetch_add(1, kRelaxed);
        break;
      default:
        break;
    }
  }
  job->verdict = verdict;
  replies_.push(job);
}

}  // namespace sealdisk
