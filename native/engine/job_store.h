// The jobs of a connection and the memory of their payload. What it cannot give now, the connection waits for.
//
// Owner: the connection's thread.
#pragma once

#include <array>
#include <span>

#include "engine/arena.h"
#include "engine/job.h"
#include "engine/limits.h"

namespace sealdisk {

class JobStore {
 public:
  explicit JobStore(Mailbox& mailbox) : arena_(kArenaBytes, kArenaHotBytes) {
    for (Job& job : jobs_) {
      job.mailbox = &mailbox;
      free_.push(&job);
    }
  }

  // A job with a buffer of `bytes` (0: none), or null.
  Job* take(size_t bytes) noexcept {
    if (free_.empty()) return nullptr;
    uint8_t* buffer = bytes ? arena_.take(bytes) : nullptr;
    if (bytes && !buffer) return nullptr;
    Job* job = free_.pop();
    job->buffer = buffer;
    job->bufferBytes = bytes;
    job->verdict = NbdErrno::ok;
    job->parts = nullptr;
    return job;
  }

  void give(Job* job) noexcept {
    if (job->buffer) arena_.give(job->buffer, job->bufferBytes);
    job->buffer = nullptr;
    free_.push(job);
  }

  void giveAll(JobList& jobs) noexcept {
    while (Job* job = jobs.pop()) give(job);
  }

  // Where most buffers lie.
  std::span<uint8_t> hotPayload() noexcept { return arena_.hot(); }

 private:
  Arena arena_;
  std::array<Job, kJobsPerConnection> jobs_;
  JobList free_;
};

}  // namespace sealdisk
