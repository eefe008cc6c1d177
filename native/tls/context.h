// What the server shows to TLS clients and what it demands of them: certificate, client CA, pre-shared keys, versions.
//
// TLS 1.2 and 1.3 with forward secrecy and AEAD ciphers only; no session is ever resumed, nothing is renegotiated or
// compressed. Made once, then immutable: sessions of any thread share it, and keep it alive.
#pragma once

#include <cstdint>
#include <span>

#include "tls/openssl.h"
#include "tls/psk.h"

namespace sealdisk {

// Empty spans: not given. PEM, but for `psk`, which is PskTable's.
struct TlsOptions {
  std::span<const uint8_t> certificate{};  // the server's own, then its chain
  std::span<const uint8_t> privateKey{};
  std::span<const uint8_t> clientCa{};  // clients are asked for a certificate, and one that is given must verify
  bool verifyClient = false;            // a client without a certificate is refused
  std::span<const uint8_t> psk{};
  int minimumVersion = TLS1_2_VERSION;
};

class TlsContext {
 public:
  // Throws TlsRefused (TLS_CERTIFICATE, TLS_PRIVATE_KEY, TLS_CLIENT_CA, TLS_PSK), std::invalid_argument when there is
  // neither a certificate nor a pre-shared key, std::system_error, std::bad_alloc.
  explicit TlsContext(const TlsOptions& options);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  SSL_CTX* ssl() const noexcept { return ssl_.get(); }
  const PskTable& psk() const noexcept { return psk_; }

 private:
  PskTable psk_;
  SslContextPtr ssl_;
};

}  // namespace sealdisk
