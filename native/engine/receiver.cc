#include "engine/receiver.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sealdisk {

Receiver::Receiver(Channel& channel, const Negotiated& negotiated, JobStore& store, Executor& executor,
                   std::span<const uint8_t> rest)
    : channel_(channel),
      negotiated_(negotiated),
      store_(store),
      executor_(executor),
      memory_(kReceiveBytes, kReceiveBytes),
      buffer_(memory_.take(kReceiveBytes)) {
  std::copy(rest.begin(), rest.end(), buffer_);
  end_ = rest.size();
}

void Receiver::takePayload() noexcept {
  const size_t bytes = std::min<size_t>(available(), current_->request.payloadBytes - payloadGot_);
  std::memcpy(current_->payload() + payloadGot_, buffer_ + begin_, bytes);
  begin_ += bytes;
  payloadGot_ += bytes;
}

// One request. `progressed` stays false when it was not taken from the buffer.
Receiver::Verdict Receiver::takeHeader(bool& progressed) noexcept {
  const auto request = sealdisk::parse(buffer_ + begin_, negotiated_);
  if (!request) {
    fault_ = "request magic is wrong";
    return Verdict::protocol;
  }
  const auto refusal = check(*request, negotiated_, executor_.sizeBytes());
  if (request->command == Command::disconnect) return Verdict::disconnect;
  if (refusal && request->payloadBytes > kSkippedMaxBytes) {
    fault_ = "payload is longer than is skipped";
    return Verdict::protocol;
  }
  Job* job = store_.take(refusal ? 0 : executor_.bufferBytes(*request));
  if (!job) return Verdict::stalled;

  begin_ += negotiated_.requestBytes();
  progressed = true;
  job->request = *request;
  job->lead = executor_.lead(*request);
  if (refusal) {
    skip_ = request->payloadBytes;
    executor_.refuse(job, refusal->errnoOnWire, refusal->rule);
  } else if (request->payloadBytes) {
    current_ = job;
    payloadGot_ = 0;
  } else {
    expectNext();
    executor_.begin(job);
  }
  return Verdict::more;
}

// What comes after this request is on its way into the processor's cache while this one is carried out.
void Receiver::expectNext() const noexcept {
  if (available() < negotiated_.requestBytes()) return;
  const auto next = sealdisk::parse(buffer_ + begin_, negotiated_);
  if (next && next->command == Command::read) executor_.expect(*next);
}

Receiver::Verdict Receiver::parse() noexcept {
  for (;;) {
    if (skip_) {
      const size_t bytes = std::min(available(), skip_);
      begin_ += bytes;
      skip_ -= bytes;
      if (skip_) break;
    }
    if (current_) {
      takePayload();
      if (payloadGot_ < current_->request.payloadBytes) break;
      executor_.begin(std::exchange(current_, nullptr));
    }
    if (executor_.shareBegun()) return Verdict::share;
    if (available() < negotiated_.requestBytes()) break;
    bool progressed = false;
    const Verdict verdict = takeHeader(progressed);
    if (!progressed) return verdict;
  }
  compact();
  return Verdict::more;
}

// Less than a header is left: moving it is cheaper than ever receiving into a short buffer.
void Receiver::compact() noexcept {
  std::memmove(buffer_, buffer_ + begin_, available());
  end_ = available();
  begin_ = 0;
}

// How much the buffer takes beside the payload that has a place of its own.
size_t Receiver::room() const noexcept {
  const size_t room = kReceiveBytes - end_;
  if (!finishing_) return room;
  if (current_) return 0;
  return std::min(room, skip_ ? skip_ : negotiated_.requestBytes() - available());
}

Receiver::Verdict Receiver::receive() noexcept {
  iovec vectors[2];
  size_t count = 0, direct = 0;
  if (current_) {
    direct = current_->request.payloadBytes - payloadGot_;
    vectors[count++] = {current_->payload() + payloadGot_, direct};
  }
  // What follows a long payload may be another: only its header is taken with it, for the rest would be copied twice.
  const size_t room = direct > kCopiedMaxBytes ? std::min(this->room(), kPageBytes) : this->room();
  vectors[count++] = {buffer_ + end_, room};
  const ssize_t result = channel_.receive(vectors, count);
  if (result == -EAGAIN) return Verdict::nothing;
  if (result < 0) {
    error_ = static_cast<int>(-result);
    return error_ == ECONNRESET ? Verdict::cut : Verdict::error;
  }
  if (result == 0) return current_ || skip_ || available() ? Verdict::cut : Verdict::eof;
  const auto got = static_cast<size_t>(result);
  payloadGot_ += std::min(got, direct);
  end_ += got - std::min(got, direct);
  const Verdict verdict = parse();
  return verdict == Verdict::more && got == direct + room ? Verdict::again : verdict;
}

}  // namespace sealdisk
