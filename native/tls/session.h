// The server's end of one TLS connection without its socket: ciphertext goes in and comes out, plaintext comes out and
// goes in.
//
// Both ciphertext buffers are of a fixed size. What has come in is deciphered as far as it goes by read(), so less than a
// record stays; write() takes no more than the output holds. A session that broke stays broken; an alert for the client
// may be left in its output. OpenSSL's queue of errors is empty after each call. Keys and plaintext that OpenSSL or we
// hold are wiped at the end.
//
// One thread at a time: JavaScript's during the handshake, then the connection's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tls/context.h"

namespace sealdisk {

// Ciphertext that is taken in at once: a few dozen records, to make few calls of the socket.
constexpr size_t kTlsInputBytes = 256 * 1024;
// Ciphertext of replies that the socket has not taken yet.
constexpr size_t kTlsOutputBytes = 256 * 1024;
// Beyond it, for what TLS itself has to say: our certificates in the handshake, alerts, answers to key updates.
constexpr size_t kTlsOwnOutputBytes = 128 * 1024;
// Plaintext of a record (RFC 8446, 5.1), and what a cipher may add to it (5.2), its header included.
constexpr size_t kTlsRecordBytes = 16 * 1024;
constexpr size_t kTlsRecordOverheadBytes = 256 + 5;

class TlsSession {
 public:
  enum class Progress {
    some,    // of what was asked for, `bytes`
    none,    // more input is needed
    closed,  // the client has ended its half in good order
    broken,  // fault() says why
  };
  struct Read {
    Progress progress;
    size_t bytes;
  };

  explicit TlsSession(std::shared_ptr<const TlsContext> context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Where ciphertext may be put now (all of the input, once read() said `none`), and that it was put.
  std::span<uint8_t> room() noexcept;
  void filled(size_t bytes) noexcept { inputEnd_ += bytes; }

  // Goes on with the handshake, then gives plaintext. `out` is not empty.
  Read read(std::span<uint8_t> out) noexcept;

  // Enciphers all of up to kTlsRecordBytes bytes. `none`: the output has no room now. Not before established().
  Progress write(std::span<const uint8_t> plaintext) noexcept;
  // Says that we end our half in good order, where that can still be said.
  void close() noexcept;

  // Ciphertext to send, and that it was sent.
  std::span<const uint8_t> output() const noexcept { return {output_.get() + outputBegin_, outputEnd_ - outputBegin_}; }
  void sent(size_t bytes) noexcept;

  bool established() const noexcept;
  // CN of a client certificate that verified, or the name of the client's pre-shared key.
  std::optional<std::string> clientName() const;
  const std::string& fault() const noexcept { return fault_; }

 private:
  friend struct TlsSessionBio;
  static unsigned pskOf(SSL* ssl, const char* name, unsigned char* key, unsigned keyMaxBytes) noexcept;

  int take(char* out, int bytes) noexcept;
  int put(const char* in, int bytes) noexcept;
  Read broken() noexcept;

  const std::shared_ptr<const TlsContext> context_;
  const std::unique_ptr<uint8_t[]> input_, output_;
  size_t inputBegin_ = 0, inputEnd_ = 0;
  size_t outputBegin_ = 0, outputEnd_ = 0;
  std::string pskName_;         // whose key was handed to OpenSSL last
  std::string unknownPskName_;  // whom we have no key for, as it may be printed
  std::string fault_;
  bool deaf_ = false;  // the client reads nothing of what TLS has to say
  bool broken_ = false;
  SslPtr ssl_;
};

// As it may stand in a log: a name that the client made up.
std::string printable(std::string_view name);

}  // namespace sealdisk
