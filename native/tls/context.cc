#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <climits>
#include <new>
#include <stdexcept>
#include <string>

#include "tls/refused.h"

namespace sealdisk {

namespace {

// In the order of our preference. A client that offers a pre-shared key means it.
constexpr char kTls12Ciphers[] =
    "DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
// A pre-shared key of TLS 1.3 is bound to one hash, SHA-256 by default (RFC 8446, 4.2.11), so its cipher comes first where
// there are such keys; else the stronger one does.
constexpr char kTls13Ciphers[] = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr char kTls13PskCiphers[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
constexpr char kGroups[] = "X25519:P-256:P-384";
constexpr int kSecurityLevel = 2;  // 112 bits: RSA and DH of 2048, no SHA-1

void must(int result) {
  if (result == 1) return;
  ERR_clear_error();
  throw std::bad_alloc();  // the arguments are constants: only memory can be missing
}

BioPtr readerOf(std::span<const uint8_t> pem) {
  if (pem.size() > INT_MAX) throw std::invalid_argument("a PEM of more than 2 GiB");
  BioPtr reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!reader) throw std::bad_alloc();
  return reader;
}

// PEM without a passphrase: asking for one on a terminal, as OpenSSL does by default, would stop a server.
int noPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

// Calls `take` for each certificate, in order. Throws TlsRefused with `code` when there is none, or something else.
template <typename Take>
void eachCertificate(std::span<const uint8_t> pem, const char* code, Take take) {
  const BioPtr reader = readerOf(pem);
  size_t count = 0;
  for (;; ++count) {
    bool asked = false;
    X509Ptr certificate(PEM_read_bio_X509(reader.get(), nullptr, noPassphrase, &asked));
    if (!certificate) break;
    take(std::move(certificate), count);
  }
  const unsigned long error = ERR_peek_last_error();
  const bool atEnd = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  const std::string why = takeOpensslError();
  if (!atEnd) throw TlsRefused(code, "certificate " + std::to_string(count + 1) + ": " + why, "a PEM certificate");
  if (count == 0) throw TlsRefused(code, "no certificate", "a PEM certificate");
}

void useCertificate(SSL_CTX* ssl, std::span<const uint8_t> pem) {
  eachCertificate(pem, "TLS_CERTIFICATE", [ssl](X509Ptr certificate, size_t index) {
    if (index > 0) {
      must(static_cast<int>(SSL_CTX_add0_chain_cert(ssl, certificate.get())));
      certificate.release();
    } else if (SSL_CTX_use_certificate(ssl, certificate.get()) != 1) {
      throw TlsRefused("TLS_CERTIFICATE", takeOpensslError(), "a certificate of at least 112 bits of security");
    }
  });
}

void usePrivateKey(SSL_CTX* ssl, std::span<const uint8_t> pem) {
  const char* const code = "TLS_PRIVATE_KEY";
  if (pem.empty()) throw TlsRefused(code, "none", "the certificate's private key");
  const BioPtr reader = readerOf(pem);
  bool asked = false;
  const PrivateKeyPtr key(PEM_read_bio_PrivateKey(reader.get(), nullptr, noPassphrase, &asked));
  const std::string why = takeOpensslError();
  if (asked) throw TlsRefused(code, "a key under a passphrase", "a PEM private key without one");
  if (!key) throw TlsRefused(code, why, "a PEM private key");
  if (SSL_CTX_use_PrivateKey(ssl, key.get()) != 1 || SSL_CTX_check_private_key(ssl) != 1)
    throw TlsRefused(code, takeOpensslError(), "the certificate's private key");
}

void useClientCa(SSL_CTX* ssl, std::span<const uint8_t> pem, bool required) {
  eachCertificate(pem, "TLS_CLIENT_CA", [ssl](X509Ptr certificate, size_t) {
    must(X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), certificate.get()));
    must(SSL_CTX_add_client_CA(ssl, certificate.get()));
  });
  SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
}

void setProtocol(SSL_CTX* ssl, int minimumVersion, bool hasPsk) {
  must(static_cast<int>(SSL_CTX_set_min_proto_version(ssl, minimumVersion)));
  must(static_cast<int>(SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION)));
  SSL_CTX_set_security_level(ssl, kSecurityLevel);
  must(SSL_CTX_set_cipher_list(ssl, kTls12Ciphers));
  must(SSL_CTX_set_ciphersuites(ssl, hasPsk ? kTls13PskCiphers : kTls13Ciphers));
  must(static_cast<int>(SSL_CTX_set1_groups_list(ssl, kGroups)));
  SSL_CTX_set_dh_auto(ssl, 1);
  SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_NO_TICKET | SSL_OP_CLEANSE_PLAINTEXT);
}

// Each connection begins anew. The context of ids is wanted of a server that verifies clients all the same.
void forbidResumption(SSL_CTX* ssl) {
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  must(SSL_CTX_set_num_tickets(ssl, 0));
  static constexpr unsigned char kId[] = {'s', 'e', 'a', 'l', 'd', 'i', 's', 'k'};
  must(SSL_CTX_set_session_id_context(ssl, kId, sizeof kId));
}

}  // namespace

TlsContext::TlsContext(const TlsOptions& options) {
  if (options.certificate.empty() && options.psk.empty())
    throw std::invalid_argument("TLS needs a certificate or a pre-shared key");
  ERR_clear_error();
  if (!options.psk.empty()) psk_ = PskTable(options.psk);
  ssl_.reset(SSL_CTX_new(TLS_server_method()));
  if (!ssl_) throw std::bad_alloc();
  setProtocol(ssl_.get(), options.minimumVersion, !psk_.empty());
  forbidResumption(ssl_.get());
  if (!options.certificate.empty()) {
    useCertificate(ssl_.get(), options.certificate);
    usePrivateKey(ssl_.get(), options.privateKey);
  }
  if (!options.clientCa.empty()) {
    useClientCa(ssl_.get(), options.clientCa, options.verifyClient);
  } else if (options.verifyClient) {
    throw TlsRefused("TLS_CLIENT_CA", "none", "the CA of the client certificates");
  }
}

}  // namespace sealdisk
