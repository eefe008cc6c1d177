#include "tls/channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "crypto/secure_memory.h"

namespace sealdisk {

namespace {

// Walks over the bytes of vectors.
class Cursor {
 public:
  Cursor(const iovec* vectors, size_t count) noexcept : vector_(vectors), left_(count) { skipEmpty(); }

  bool done() const noexcept { return left_ == 0; }
  std::span<uint8_t> run() const noexcept {
    return {static_cast<uint8_t*>(vector_->iov_base) + at_, vector_->iov_len - at_};
  }
  void advance(size_t bytes) noexcept {
    at_ += bytes;
    passed_ += bytes;
    skipEmpty();
  }
  size_t passed() const noexcept { return passed_; }

 private:
  void skipEmpty() noexcept {
    while (left_ && at_ == vector_->iov_len) {
      ++vector_;
      --left_;
      at_ = 0;
    }
  }

  const iovec* vector_;
  size_t left_;
  size_t at_ = 0;
  size_t passed_ = 0;
};

class TlsChannel final : public Channel {
 public:
  TlsChannel(int socketFd, std::shared_ptr<TlsSession> session) noexcept
      : socketFd_(socketFd), session_(std::move(session)) {}
  ~TlsChannel() override {
    wipe(record_.data(), record_.size());
    session_->close();
    flush();
  }

  ssize_t receive(const iovec* vectors, size_t count) noexcept override;
  ssize_t send(const iovec* vectors, size_t count) noexcept override;
  bool holdsInput() const noexcept override { return holdsInput_; }
  bool holdsOutput() const noexcept override { return !session_->output().empty(); }
  int flush() noexcept override;

 private:
  ssize_t receiveCiphertext() noexcept;
  ssize_t brokenBy(size_t received) noexcept;
  TlsSession::Progress encipher(Cursor& plaintext) noexcept;

  const int socketFd_;
  const std::shared_ptr<TlsSession> session_;
  bool holdsInput_ = false;
  bool drained_ = false;  // the socket had less than was asked for: an event will announce more
  std::array<uint8_t, kTlsRecordBytes> record_;  // where small pieces become one
};

// Bytes put into the session's room, 0 at the end of the stream, or -errno.
ssize_t TlsChannel::receiveCiphertext() noexcept {
  if (drained_) return -EAGAIN;
  const auto room = session_->room();
  ssize_t result;
  do {
    result = recv(socketFd_, room.data(), room.size(), MSG_DONTWAIT);
  } while (result < 0 && errno == EINTR);
  if (result < 0) return errno == ENOBUFS ? -EAGAIN : -errno;
  session_->filled(static_cast<size_t>(result));
  drained_ = static_cast<size_t>(result) < room.size();
  return result;
}

// What came before the break is given out first; the next call meets it again.
ssize_t TlsChannel::brokenBy(size_t received) noexcept {
  flush();  // the alert that says why
  holdsInput_ = received > 0;
  return received ? static_cast<ssize_t>(received) : -EPROTO;
}

ssize_t TlsChannel::receive(const iovec* vectors, size_t count) noexcept {
  Cursor plaintext(vectors, count);
  holdsInput_ = drained_ = false;
  while (!plaintext.done()) {
    const auto [progress, bytes] = session_->read(plaintext.run());
    if (progress == TlsSession::Progress::some) {
      plaintext.advance(bytes);
      continue;
    }
    if (progress == TlsSession::Progress::broken) return brokenBy(plaintext.passed());
    const ssize_t got = progress == TlsSession::Progress::closed ? 0 : receiveCiphertext();
    if (got > 0) continue;
    if (plaintext.passed() == 0) return got;
    holdsInput_ = got != -EAGAIN;  // the next call meets the end, or the error, again
    return static_cast<ssize_t>(plaintext.passed());
  }
  holdsInput_ = true;
  return static_cast<ssize_t>(plaintext.passed());
}

// One record. Small pieces are put together first, a large one goes as it is.
TlsSession::Progress TlsChannel::encipher(Cursor& plaintext) noexcept {
  Cursor ahead = plaintext;
  std::span<const uint8_t> piece = ahead.run();
  if (piece.size() >= kTlsRecordBytes) {
    piece = piece.first(kTlsRecordBytes);
    ahead.advance(kTlsRecordBytes);
  } else {
    size_t filled = 0;
    while (!ahead.done() && filled < kTlsRecordBytes) {
      const auto run = ahead.run().first(std::min(ahead.run().size(), kTlsRecordBytes - filled));
      std::memcpy(record_.data() + filled, run.data(), run.size());
      filled += run.size();
      ahead.advance(run.size());
    }
    piece = {record_.data(), filled};
  }
  const auto progress = session_->write(piece);
  if (progress == TlsSession::Progress::some) plaintext = ahead;
  return progress;
}

ssize_t TlsChannel::send(const iovec* vectors, size_t count) noexcept {
  Cursor plaintext(vectors, count);
  while (!plaintext.done()) {
    const auto progress = encipher(plaintext);
    if (progress == TlsSession::Progress::some) continue;
    if (progress == TlsSession::Progress::broken) return -EPROTO;
    const size_t before = session_->output().size();
    if (const int error = flush()) return -error;
    if (session_->output().size() == before) break;
  }
  if (const int error = flush()) return -error;
  return plaintext.passed() ? static_cast<ssize_t>(plaintext.passed()) : -EAGAIN;
}

int TlsChannel::flush() noexcept {
  while (holdsOutput()) {
    const auto output = session_->output();
    const ssize_t result = ::send(socketFd_, output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return errno == EAGAIN || errno == ENOBUFS ? 0 : errno;
    session_->sent(static_cast<size_t>(result));
    if (static_cast<size_t>(result) < output.size()) return 0;
  }
  return 0;
}

}  // namespace

std::unique_ptr<Channel> makeTlsChannel(int socketFd, std::shared_ptr<TlsSession> session) {
  return std::make_unique<TlsChannel>(socketFd, std::move(session));
}

}  // namespace sealdisk
