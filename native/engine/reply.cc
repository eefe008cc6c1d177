#include "engine/reply.h"

#include <cerrno>

#include "engine/limits.h"

namespace sealdisk {

namespace {

ReplyPart wholeReply(const Job* job, Replies replies) noexcept {
  const PartWriter writer(job->request, replies);
  const bool data = job->request.command == Command::read && job->verdict == NbdErrno::ok;
  const auto dataBytes = data ? static_cast<uint32_t>(job->request.length) : 0;
  if (replies == Replies::simple) return writer.simple(job->verdict, job->payload(), dataBytes);
  if (job->verdict != NbdErrno::ok) return writer.error(job->verdict, job->why);
  return data ? writer.data(job->request.offset, job->payload(), dataBytes, true) : writer.none();
}

// What is left of a part of which `sent` bytes are gone.
size_t vectorsOf(const ReplyPart& part, size_t sent, iovec* out) noexcept {
  size_t count = 0;
  if (sent < part.headBytes) out[count++] = {const_cast<uint8_t*>(part.head) + sent, part.headBytes - sent};
  const size_t bodySent = sent > part.headBytes ? sent - part.headBytes : 0;
  if (part.bodyBytes > bodySent) out[count++] = {const_cast<uint8_t*>(part.body) + bodySent, part.bodyBytes - bodySent};
  return count;
}

}  // namespace

void ReplyQueue::push(Job* job) noexcept {
  if (!job->parts || job->verdict != NbdErrno::ok) {
    job->whole = wholeReply(job, replies_);
    job->parts = &job->whole;
    job->partCount = 1;
  }
  queue_.push(job);
}

// The front of the queue as vectors; their number.
size_t ReplyQueue::gather(iovec* vectors, size_t& total) const noexcept {
  size_t count = 0, sent = frontSent_;
  uint32_t first = frontPart_;
  for (const Job* job = queue_.front(); job; job = job->next, first = 0) {
    for (uint32_t at = first; at < job->partCount; ++at, sent = 0) {
      if (count + 2 > kReplyVectors) return count;
      count += vectorsOf(job->parts[at], sent, vectors + count);
      total += job->parts[at].bytes() - sent;
    }
  }
  return count;
}

void ReplyQueue::taken(size_t bytes, JobList& sent) noexcept {
  frontSent_ += bytes;
  while (Job* job = queue_.front()) {
    const size_t partBytes = job->parts[frontPart_].bytes();
    if (frontSent_ < partBytes) return;
    frontSent_ -= partBytes;
    if (++frontPart_ < job->partCount) continue;
    frontPart_ = 0;
    sent.push(queue_.pop());
  }
}

int ReplyQueue::send(Channel& channel, JobList& sent) noexcept {
  full_ = false;
  while (!queue_.empty()) {
    iovec vectors[kReplyVectors];
    size_t total = 0;
    const size_t count = gather(vectors, total);
    const ssize_t result = channel.send(vectors, count);
    if (result < 0 && result != -EAGAIN) return static_cast<int>(-result);
    if (result > 0) taken(static_cast<size_t>(result), sent);
    full_ = result < static_cast<ssize_t>(total);
    if (full_) return 0;
  }
  return 0;
}

void ReplyQueue::drop(JobList& dropped) noexcept {
  while (Job* job = queue_.pop()) dropped.push(job);
  frontPart_ = 0;
  frontSent_ = 0;
  full_ = false;
}

}  // namespace sealdisk
