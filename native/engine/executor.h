// Carries requests out: gate, range, cipher, disk, sync. One per connection.
//
// A request that finds the gate hung is parked with its payload and goes on, in order, when the gate opens, or ends in
// EIO when it fails. A request that passed is in flight: it holds a Pass until its work on the file is done, and always ends.
// BLOCK_STATUS needs no key and asks no gate: so a monitor hears the state of a disk that is hung.
//
// Owner: the connection's thread; only a claim, a copy, a sync or the crew reports from elsewhere, and goes through the mailbox. In
// four files: executor.cc is the way of every request, executor_read.cc and executor_write.cc what each kind does on it,
// executor_cipher.cc who does the cipher's work.
#pragma once

#include "engine/arena.h"
#include "engine/backing.h"
#include "engine/disk.h"
#include "engine/job.h"
#include "engine/limits.h"
#include "engine/reply.h"
#include "engine/spin.h"

namespace sealdisk {

class Executor {
 public:
  Executor(Disk& disk, const Negotiated& negotiated, Backing& backing, ReplyQueue& replies) noexcept
      : disk_(disk), negotiated_(negotiated), backing_(backing), replies_(replies) {}

  // Of the export, now.
  uint64_t sizeBytes() const noexcept { return disk_.sizeBytes(); }
  // Bytes of the arena that a request needs; 0 when none.
  size_t bufferBytes(const Request& request) const noexcept;
  // Where the payload stands in the buffer.
  uint32_t lead(const Request& request) const noexcept {
    if (request.command == Command::blockStatus) return 0;
    return static_cast<uint32_t>(request.offset % disk_.geometry().sectorBytes);
  }

  // What begins from now on has come together: the file is looked at once for all of its writes.
  void beginBatch() noexcept { looked_ = false; }
  // So much has begun since beginShare() that it is better issued and answered before more is.
  bool shareBegun() const noexcept {
    return begunBytes_ >= (replies_.full() || Spin::crowded() ? kLargeShareBytes : kShareBytes);
  }
  void beginShare() noexcept { begunBytes_ = 0; }
  // A read that has not been checked yet will follow.
  void expect(const Request& request) const noexcept {
    if (request.length <= kExpectedMaxBytes) disk_.mapped().prefetch(disk_.geometry().offsetBytes + request.offset, request.length);
  }
  // Takes a checked request that has its buffer and payload.
  void begin(Job* job) noexcept;
  // Answers at once, without touching the disk. `why` lives for ever.
  void refuse(Job* job, NbdErrno error, const char* why) noexcept;

  void ioEnded(Job* job) noexcept;
  // What the job waited for has come: its claim, a copy of what it overwrites, its turn in the sync group, or the crew.
  void goOn(Job* job) noexcept;
  void gateChanged() noexcept;

  // Takes the parked requests back, unanswered: the connection ends.
  JobList abandonParked() noexcept;

  size_t parked() const noexcept { return parked_.size(); }
  size_t inFlight() const noexcept { return inFlight_; }

 private:
  uint64_t sector() const noexcept { return disk_.geometry().sectorBytes; }
  bool cuts(const Request& request) const noexcept;
  RangeLock::Kind claimOf(const Request& request) const noexcept;
  void encipher(const Job* job, uint8_t* data, size_t bytes, uint64_t exportOffset) const noexcept;
  void decipher(const Job* job, const uint8_t* from, uint8_t* to, size_t bytes, uint64_t exportOffset) const noexcept;
  bool readsInChunks(const Request& request) const noexcept;
  bool fileIsWhole() noexcept;
  void run(Job* job) noexcept;
  void claimGranted(Job* job) noexcept;
  bool copiedBefore(Job* job) noexcept;
  void prepare(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, uint64_t bytes,
               uint64_t exportOffset) const noexcept;
  void issue(Job* job, Job::Stage stage, IoOp::Kind kind, uint8_t* data, uint64_t bytes,
             uint64_t exportOffset) noexcept;
  void sync(Job* job) noexcept;
  // The request's work on the file is done: on stable storage first where it asks for that.
  void done(Job* job) noexcept;
  void release(Job* job) noexcept;
  void finish(Job* job, NbdErrno verdict) noexcept;
  void count(const Request& request) noexcept;

  void cipher(Job* job) noexcept;
  bool handsOver(const Job* job) const noexcept;
  void carryOut(Job* job) const noexcept;
  void help(Job* job) const noexcept;
  void ciphered(Job* job) noexcept;

  void read(Job* job) noexcept;
  void readFile(Job* job) noexcept;
  void decrypt(Job* job) const noexcept;
  void decryptAround(Job* job, size_t bytes) const noexcept;
  void addChunk(Job* job, size_t from, size_t to, bool hole) const noexcept;

  void punch(Job* job) noexcept;
  void punchEnded(Job* job, int error) noexcept;
  void startPieces(Job* job) noexcept;
  void startPiece(Job* job) noexcept;
  void merge(Job* job, bool tail) noexcept;
  void mergeTailOrCipher(Job* job) noexcept;
  void encrypt(Job* job) const noexcept;
  void encryptAndWrite(Job* job) const noexcept;
  void writeFile(Job* job) noexcept;
  void written(Job* job) noexcept;

  Disk& disk_;
  const Negotiated& negotiated_;
  Backing& backing_;
  ReplyQueue& replies_;
  JobList parked_;
  size_t inFlight_ = 0;
  uint64_t begunBytes_ = 0;
  bool looked_ = false;  // at the file, in this batch
  bool whole_ = true;
};

// To whole units of a sector or a page.
constexpr uint64_t down(uint64_t value, uint64_t unit) noexcept { return value / unit * unit; }
constexpr uint64_t up(uint64_t value, uint64_t unit) noexcept { return down(value + unit - 1, unit); }

}  // namespace sealdisk
