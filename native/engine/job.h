// One request on its way through the engine, from its header to its reply. A connection owns a fixed set of them.
//
// Owner: the connection's thread. While it waits, the RangeLock, a CopyOut, the SyncGroup or the Backing hold a
// pointer into it, so a job is never freed, only reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/backing.h"
#include "engine/copy_out.h"
#include "engine/gate.h"
#include "engine/limits.h"
#include "engine/range_lock.h"
#include "engine/reply_part.h"
#include "engine/request.h"
#include "engine/sync_group.h"

namespace sealdisk {

class Mailbox;

struct Job {
  Job() noexcept { claim.owner = copied.owner = sync.owner = io.owner = this; }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  enum class Stage : uint8_t { claim, copy, read, punch, mergeHead, mergeTail, cipher, write, cache, sync };

  Request request;
  NbdErrno verdict = NbdErrno::ok;
  const char* why = "";  // for people, beside a verdict that is not ok
  Stage stage = Stage::claim;

  // A run of the connection's arena: whole sectors of the request (or of one piece of zeros), then a last page: to merge
  // from when a sector is cut, or for the chunks of a reply with holes. The payload stands `lead` bytes into it.
  uint8_t* buffer = nullptr;
  size_t bufferBytes = 0;
  uint32_t lead = 0;
  uint8_t* payload() const noexcept { return buffer + lead; }
  uint8_t* lastPage() const noexcept { return buffer + bufferBytes - kPageBytes; }

  // The piece that is being worked on: bytes [pieceBegin, pieceEnd) of the export.
  uint64_t pieceBegin = 0, pieceEnd = 0;
  // What no piece touches, because it is a hole: empty, or whole sectors.
  uint64_t holeBegin = 0, holeEnd = 0;

  // Of a read: where its ciphertext lies, which is the buffer or a mapped file; and that the latter was gone.
  const uint8_t* from = nullptr;
  bool gone = false;

  std::optional<Gate::Pass> pass;
  RangeLock::Claim claim;
  CopyOut::Wait copied;
  SyncGroup::Member sync;
  Mailbox* mailbox = nullptr;  // of the connection; where claim, copies, sync and crew report
  IoOp io;

  // The reply: prepared by the executor, or null until the queue makes `whole`, which is all of it then.
  ReplyPart* parts = nullptr;
  uint32_t partCount = 0;
  ReplyPart whole;

  Job* next = nullptr;  // in the one list that it stands in: free, parked, replies, mailbox
};

// First in, first out, by Job::next.
class JobList {
 public:
  bool empty() const noexcept { return !head_; }
  size_t size() const noexcept { return size_; }
  Job* front() const noexcept { return head_; }
  void push(Job* job) noexcept {
    job->next = nullptr;
    (tail_ ? tail_->next : head_) = job;
    tail_ = job;
    ++size_;
  }
  Job* pop() noexcept {
    Job* job = head_;
    if (!job) return nullptr;
    head_ = job->next;
    if (!head_) tail_ = nullptr;
    --size_;
    return job;
  }

 private:
  Job* head_ = nullptr;
  Job* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sealdisk
