// Carries requests out: gate, range, cipher, disk, sync. One per connection.
//
// A request that finds the gate hung is parked with its payload and goes on, in order, when the gate opens, or ends in
// EIO when it fails. A request that passed is in flight: it holds a Pass as long as it needs the key, and always ends.
//
// Owner: the connection's thread; only a claim or a sync reports from elsewhere, and goes through the mailbox.
#pragma once

#include "engine/arena.h"
#include "engine/backing.h"
#include "engine/disk.h"
#include "engine/job.h"
#include "engine/reply.h"

namespace sealdisk {

class Executor {
 public:
  Executor(Disk& disk, Backing& backing, ReplyQueue& replies) noexcept
      : disk_(disk), backing_(backing), replies_(replies) {}

  // Of the export, now.
  uint64_t sizeBytes() const noexcept { return disk_.sizeBytes(); }
  // Bytes of the arena that a request needs; 0 when none.
  size_t bufferBytes(const Request& request) const noexcept;
  uint32_t lead(const Request& request) const noexcept {
    return static_cast<uint32_t>(request.offset % disk_.geometry().sectorBytes);
  }

  // Takes a checked request that has its buffer and payload.
  void begin(Job* job) noexcept;
  // Answers at once, without touching the disk.
  void refuse(Job* job, NbdErrno error) noexcept;

  void ioEnded(Job* job) noexcept;
  // What the job waited for has come: its claim, or its turn in the sync group.
  void goOn(Job* job) noexcept;
  void gateChanged() noexcept;

  // Takes the parked requests back, unanswered: the connection ends.
  JobList abandonParked() noexcept;

  size_t parked() const noexcept { return parked_.size(); }
  size_t inFlight() const noexcept { return inFlight_; }

 private:
  bool cuts(const Request& request) const noexcept;
  void run(Job* job) noexcept;
  void claimGranted(Job* job) noexcept;
  void startPiece(Job* job) noexcept;
  void merge(Job* job, bool tail) noexcept;
  void mergeTailOrWrite(Job* job) noexcept;
  void encryptAndWrite(Job* job) noexcept;
  void written(Job* job) noexcept;
  void sync(Job* job) noexcept;
  void issue(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, size_t bytes, uint64_t exportOffset) noexcept;
  void finish(Job* job, NbdErrno verdict) noexcept;

  Disk& disk_;
  Backing& backing_;
  ReplyQueue& replies_;
  JobList parked_;
  size_t inFlight_ = 0;
};

}  // namespace sealdisk
