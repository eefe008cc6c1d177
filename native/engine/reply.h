// Replies on their way out, as many as fit in one send, in the order in which they are ready.
//
// Payload is sent from the buffer that it was decrypted in. A job belongs to the queue from push() until it comes out of
// send() or drop(). Owner: the connection's thread.
#pragma once

#include "engine/channel.h"
#include "engine/job.h"

namespace sealdisk {

class ReplyQueue {
 public:
  explicit ReplyQueue(Replies replies) noexcept : replies_(replies) {}

  // Writes the reply that the job's verdict asks for, unless its parts are prepared.
  void push(Job* job) noexcept;
  bool empty() const noexcept { return queue_.empty(); }
  // The channel has taken less than all.
  bool full() const noexcept { return full_; }

  // Sends what the channel takes now; moves what it has wholly taken to `sent`. The errno of one that takes no more for
  // ever, or 0.
  int send(Channel& channel, JobList& sent) noexcept;
  // All that is left, unsent.
  void drop(JobList& dropped) noexcept;

 private:
  size_t gather(iovec* vectors, size_t& total) const noexcept;
  void taken(size_t bytes, JobList& sent) noexcept;

  const Replies replies_;
  JobList queue_;
  bool full_ = false;
  // How far the front reply is sent.
  uint32_t frontPart_ = 0;
  size_t frontSent_ = 0;  // bytes of that part
};

}  // namespace sealdisk
