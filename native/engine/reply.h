// Replies on their way out: simple replies (proto.md, "Simple reply message"), as many as fit in one sendmsg.
//
// Payload is sent from the buffer that it was decrypted in. A job belongs to the queue from push() until it comes out of
// send() or drop(). Owner: the connection's thread.
#pragma once

#include "engine/channel.h"
#include "engine/job.h"

namespace sealdisk {

class ReplyQueue {
 public:
  void push(Job* job) noexcept;
  bool empty() const noexcept { return queue_.empty(); }

  // Sends what the channel takes now; moves what it has wholly taken to `sent`. The errno of one that takes no more for
  // ever, or 0.
  int send(Channel& channel, JobList& sent) noexcept;
  // All that is left, unsent.
  void drop(JobList& dropped) noexcept;

 private:
  JobList queue_;
  size_t frontSent_ = 0;  // bytes of the front reply that are sent
};

}  // namespace sealdisk
