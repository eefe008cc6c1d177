#include "engine/reply.h"

#include <endian.h>

#include <cerrno>
#include <cstring>

#include "engine/limits.h"

namespace sealdisk {

namespace {

size_t payloadBytes(const Job* job) noexcept {
  return job->request.command == Command::read && job->verdict == NbdErrno::ok ? job->request.length : 0;
}

size_t replyBytes(const Job* job) noexcept { return kSimpleReplyBytes + payloadBytes(job); }

// The parts of a reply that are not sent yet.
size_t parts(Job* job, size_t sent, iovec* out) noexcept {
  size_t count = 0;
  if (sent < kSimpleReplyBytes) out[count++] = {job->replyHeader + sent, kSimpleReplyBytes - sent};
  const size_t payload = payloadBytes(job), payloadSent = sent > kSimpleReplyBytes ? sent - kSimpleReplyBytes : 0;
  if (payload > payloadSent) out[count++] = {job->buffer + job->lead + payloadSent, payload - payloadSent};
  return count;
}

}  // namespace

void ReplyQueue::push(Job* job) noexcept {
  const uint32_t magic = htobe32(kSimpleReplyMagic), error = htobe32(static_cast<uint32_t>(job->verdict));
  std::memcpy(job->replyHeader, &magic, 4);
  std::memcpy(job->replyHeader + 4, &error, 4);
  std::memcpy(job->replyHeader + 8, &job->request.cookie, 8);
  queue_.push(job);
}

int ReplyQueue::send(Channel& channel, JobList& sent) noexcept {
  while (!queue_.empty()) {
    iovec vectors[kReplyVectors];
    size_t count = 0, total = 0, skip = frontSent_;
    for (Job* job = queue_.front(); job && count + 2 <= kReplyVectors; job = job->next, skip = 0) {
      count += parts(job, skip, vectors + count);
      total += replyBytes(job) - skip;
    }
    const ssize_t result = channel.send(vectors, count);
    if (result < 0) return result == -EAGAIN ? 0 : static_cast<int>(-result);
    frontSent_ += static_cast<size_t>(result);
    while (!queue_.empty() && frontSent_ >= replyBytes(queue_.front())) {
      frontSent_ -= replyBytes(queue_.front());
      sent.push(queue_.pop());
    }
    if (static_cast<size_t>(result) < total) return 0;
  }
  return 0;
}

void ReplyQueue::drop(JobList& dropped) noexcept {
  while (Job* job = queue_.pop()) dropped.push(job);
  frontSent_ = 0;
}

}  // namespace sealdisk
