#include "engine/executor.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "engine/limits.h"
#include "engine/mailbox.h"
#include "engine/status.h"

namespace sealdisk {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// A flush, too: it promises that what was written is there.
bool changes(Command command) noexcept {
  return command == Command::write || command == Command::writeZeroes || command == Command::trim ||
         command == Command::flush;
}

const char* told(NbdErrno error) noexcept {
  switch (error) {
    case NbdErrno::nospc:
      return "there is no space left under the disk";
    case NbdErrno::notsup:
      return "the file under the disk cannot do it";
    default:
      return "the file under the disk failed";
  }
}

}  // namespace

bool Executor::cuts(const Request& request) const noexcept {
  return request.offset % sector() || request.length % sector();
}

RangeLock::Kind Executor::claimOf(const Request& request) const noexcept {
  if (!changes(request.command)) return RangeLock::Kind::read;
  return cuts(request) && request.command != Command::trim ? RangeLock::Kind::merge : RangeLock::Kind::write;
}

bool Executor::readsInChunks(const Request& request) const noexcept {
  return disk_.holes() && negotiated_.replies != Replies::simple && !request.has(kFlagDontFragment);
}

size_t Executor::bufferBytes(const Request& request) const noexcept {
  const size_t mergePage = cuts(request) ? kPageBytes : 0;
  const uint64_t span = up(request.offset + request.length, sector()) - down(request.offset, sector());
  switch (request.command) {
    case Command::read:
      return readsInChunks(request) ? up(span, kPageBytes) + kPageBytes : span;
    case Command::write:
      return up(span, kPageBytes) + mergePage;
    case Command::writeZeroes:
      return up(std::min<uint64_t>(span, kZeroPieceBytes), kPageBytes) + mergePage;
    case Command::blockStatus:
      return kStatusBytes;
    default:
      return 0;
  }
}

void Executor::refuse(Job* job, NbdErrno error, const char* why) noexcept {
  job->verdict = error;
  job->why = why;
  replies_.push(job);
}

void Executor::begin(Job* job) noexcept {
  begunBytes_ += job->request.length;
  if (job->request.command == Command::blockStatus) {
    if (const auto refusal = prepareStatus(disk_, negotiated_, job)) return refuse(job, refusal->errnoOnWire, refusal->rule);
    return replies_.push(job);
  }
  for (;;) {
    job->pass = disk_.gate().enter();
    if (job->pass) return run(job);
    switch (disk_.gate().state()) {
      case Gate::State::live:
        if (!disk_.gate().held()) continue;  // it opened in between
        break;
      case Gate::State::failed:
        return refuse(job, NbdErrno::io, "the disk's key is gone");
      case Gate::State::hung:
        break;
    }
    disk_.counters().parked.fetch_add(1, kRelaxed);
    return parked_.push(job);
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

bool Executor::fileIsWhole() noexcept {
  if (!looked_) whole_ = disk_.whole();
  looked_ = true;
  return whole_;
}

void Executor::run(Job* job) noexcept {
  ++inFlight_;
  disk_.counters().inFlight.fetch_add(1, kRelaxed);
  const Request& request = job->request;
  // Without discard a trim is not taken: it is a hint, and holes would tell which blocks are in use.
  if (request.command == Command::trim && !disk_.discards()) return finish(job, NbdErrno::ok);
  if (changes(request.command) && !fileIsWhole()) return finish(job, NbdErrno::io);
  if (request.command == Command::flush) return sync(job);
  job->claim.begin = down(request.offset, sector());
  job->claim.end = up(request.offset + request.length, sector());
  job->claim.kind = claimOf(request);
  job->claim.granted = [](RangeLock::Claim* claim) {
    auto* owner = static_cast<Job*>(claim->owner);
    owner->mailbox->goOn(owner);
  };
  job->stage = Job::Stage::claim;
  if (disk_.ranges().acquire(&job->claim)) claimGranted(job);
}

void Executor::goOn(Job* job) noexcept {
  if (job->stage == Job::Stage::claim || job->stage == Job::Stage::copy) return claimGranted(job);
  if (job->stage == Job::Stage::cipher) return ciphered(job);
  if (job->stage == Job::Stage::write) return ioEnded(job);
  if (job->sync.leads) return issue(job, Job::Stage::sync, IoOp::Kind::sync, nullptr, 0, 0);
  finish(job, onWire(disk_.syncs().lost()));
}

// A snapshot that is being copied gets what lies there first: false when that takes a while, and the job will go on. Of a trim,
// a hint that may be long, nothing is done instead.
bool Executor::copiedBefore(Job* job) noexcept {
  const uint64_t offset = disk_.geometry().offsetBytes;
  job->stage = Job::Stage::copy;
  job->copied.begin = offset + job->claim.begin;
  job->copied.end = offset + job->claim.end;
  job->copied.told = [](CopyOut::Wait* wait) {
    auto* owner = static_cast<Job*>(wait->owner);
    owner->mailbox->goOn(owner);
  };
  if (job->request.command != Command::trim) return disk_.copies().pass(&job->copied);
  if (disk_.copies().has(job->copied.begin, job->copied.end)) return true;
  finish(job, NbdErrno::ok);
  return false;
}

void Executor::claimGranted(Job* job) noexcept {
  const Request& request = job->request;
  if (disk_.copies().any() && changes(request.command) && !copiedBefore(job)) return;
  switch (request.command) {
    case Command::read:
      return read(job);
    case Command::write:
      job->holeBegin = job->holeEnd = 0;
      return startPieces(job);
    case Command::writeZeroes:
    case Command::trim:
      return punch(job);
    case Command::cache:
      return issue(job, Job::Stage::cache, IoOp::Kind::cache, nullptr,
                   std::min<uint64_t>(job->claim.end - job->claim.begin, kCachedMaxBytes), job->claim.begin);
    case Command::flush:
    case Command::blockStatus:
    case Command::disconnect:
      break;
  }
  std::abort();  // none of these takes a claim
}

void Executor::prepare(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, uint64_t bytes,
                       uint64_t exportOffset) const noexcept {
  job->stage = stage;
  job->io.kind = kind;
  job->io.data = data;
  job->io.bytes = bytes;
  job->io.offset = disk_.geometry().offsetBytes + exportOffset;
}

void Executor::issue(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, uint64_t bytes,
                     uint64_t exportOffset) noexcept {
  prepare(job, stage, kind, data, bytes, exportOffset);
  backing_.submit(&job->io);
}

void Executor::ioEnded(Job* job) noexcept {
  const int error = job->io.error;
  if (job->stage == Job::Stage::sync) {
    disk_.syncs().ended(error);
    return finish(job, onWire(disk_.syncs().lost()));
  }
  if (job->stage == Job::Stage::punch) return punchEnded(job, error);
  if (job->stage == Job::Stage::cache) return finish(job, NbdErrno::ok);  // a hint
  if (error) return finish(job, onWire(error));
  switch (job->stage) {
    case Job::Stage::read:
      return cipher(job);
    case Job::Stage::mergeHead:
      merge(job, false);
      return mergeTailOrCipher(job);
    case Job::Stage::mergeTail:
      merge(job, true);
      return cipher(job);
    case Job::Stage::write:
      return written(job);
    default:
      std::abort();  // no operation is out in this stage
  }
}

// What is written is written: who waits for it need not wait until it is on stable storage, too.
void Executor::done(Job* job) noexcept {
  release(job);
  job->request.fua() ? sync(job) : finish(job, NbdErrno::ok);
}

void Executor::release(Job* job) noexcept {
  if (!job->claim.granted) return;
  disk_.ranges().release(&job->claim);
  job->claim.granted = nullptr;
}

// What has ended on this disk goes to stable storage; the reply waits for it. Neither the key nor a hold does: nothing more is
// written.
void Executor::sync(Job* job) noexcept {
  job->pass.reset();
  if (const int error = disk_.syncs().lost()) return finish(job, onWire(error));
  job->stage = Job::Stage::sync;
  job->sync.told = [](SyncGroup::Member* member) {
    auto* owner = static_cast<Job*>(member->owner);
    owner->mailbox->goOn(owner);
  };
  if (disk_.syncs().join(&job->sync)) issue(job, Job::Stage::sync, IoOp::Kind::sync, nullptr, 0, 0);
}

void Executor::finish(Job* job, NbdErrno verdict) noexcept {
  release(job);
  job->pass.reset();
  --inFlight_;
  disk_.counters().inFlight.fetch_sub(1, kRelaxed);
  if (verdict == NbdErrno::ok) {
    count(job->request);
  } else {
    job->why = told(verdict);
  }
  job->verdict = verdict;
  replies_.push(job);
}

void Executor::count(const Request& request) noexcept {
  DiskCounters& counters = disk_.counters();
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

}  // namespace sealdisk
