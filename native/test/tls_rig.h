// What the TLS tests share: certificates made on the spot, and a client over the system's OpenSSL.
//
// The client uses OpenSSL's own memory BIOs or socket BIO, so that nothing of ours judges ours.
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "seed.h"
#include "tls/context.h"
#include "tls/refused.h"
#include "tls/session.h"

namespace rig {

using namespace sealdisk;
using Bytes = std::vector<uint8_t>;

inline Bytes bytesOf(std::string_view text) { return {text.begin(), text.end()}; }
inline std::span<const uint8_t> spanOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline void must(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string(what) + ": " + takeOpensslError());
}

template <typename Write>
std::string pemOf(Write write) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  must(write(out.get()) == 1, "PEM");
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<size_t>(bytes)};
}

// A certificate with its key; `by` signs it, or it itself.
struct Identity {
  PrivateKeyPtr key;
  X509Ptr certificate;

  explicit Identity(const std::vector<std::string>& names, const Identity* by = nullptr, PrivateKeyPtr key_ = nullptr)
      : key(key_ ? std::move(key_) : PrivateKeyPtr(EVP_EC_gen("P-256"))), certificate(X509_new()) {
    static long serial = 0;
    X509* const x = certificate.get();
    must(X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial), "serial");
    must(X509_gmtime_adj(X509_getm_notBefore(x), -3600) && X509_gmtime_adj(X509_getm_notAfter(x), 3600), "dates");
    for (const std::string& name : names)
      must(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(name.data()),
                                      static_cast<int>(name.size()), -1, 0),
           "name");
    must(X509_set_issuer_name(x, X509_get_subject_name(by ? by->certificate.get() : x)), "issuer");
    must(X509_set_pubkey(x, key.get()), "public key");
    if (!by) extend(x, NID_basic_constraints, "critical,CA:TRUE");
    must(X509_sign(x, by ? by->key.get() : key.get(), EVP_sha256()) > 0, "sign");
  }

  static void extend(X509* x, int nid, const char* value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    must(extension && X509_add_ext(x, extension, -1), "extension");
    X509_EXTENSION_free(extension);
  }

  std::string pem() const {
    return pemOf([this](BIO* out) { return PEM_write_bio_X509(out, certificate.get()); });
  }
  std::string keyPem(const char* passphrase = nullptr) const {
    return pemOf([&](BIO* out) {
      return PEM_write_bio_PrivateKey(out, key.get(), passphrase ? EVP_aes_256_cbc() : nullptr,
                                      reinterpret_cast<const unsigned char*>(passphrase),
                                      passphrase ? static_cast<int>(strlen(passphrase)) : 0, nullptr, nullptr);
    });
  }
};

inline const Identity& ca() {
  static const Identity kCa({"a CA"});
  return kCa;
}
inline const Identity& server() {
  static const Identity kServer({"server"}, &ca());
  return kServer;
}
inline const Identity& alice() {
  static const Identity kAlice({"alice"}, &ca());
  return kAlice;
}

struct ContextOptions {
  std::string certificate = server().pem(), key = server().keyPem(), clientCa, psk;
  bool verifyClient = false;
  int minimum = TLS1_2_VERSION;
};

inline std::shared_ptr<const TlsContext> contextOf(const ContextOptions& from = {}) {
  return std::make_shared<TlsContext>(TlsOptions{spanOf(from.certificate), spanOf(from.key), spanOf(from.clientCa),
                                                 from.verifyClient, spanOf(from.psk), from.minimum});
}

struct ClientOptions {
  int version = 0;  // 0: whatever both can
  const Identity* certificate = nullptr;
  std::string pskName{};
  Bytes psk{};
  bool verifies = true;  // the server against ca()
  const char* ciphers = nullptr;
};

class TlsClient {
 public:
  explicit TlsClient(ClientOptions options = {}) : options_(std::move(options)) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX* const c = context_.get();
    must(c != nullptr, "SSL_CTX_new");
    if (options_.version)
      must(SSL_CTX_set_min_proto_version(c, options_.version) && SSL_CTX_set_max_proto_version(c, options_.version),
           "version");
    if (options_.ciphers) must(SSL_CTX_set_cipher_list(c, options_.ciphers), "ciphers");
    if (options_.certificate)
      must(SSL_CTX_use_certificate(c, options_.certificate->certificate.get()) &&
               SSL_CTX_use_PrivateKey(c, options_.certificate->key.get()),
           "client certificate");
    if (options_.psk.empty() && options_.verifies) {
      must(X509_STORE_add_cert(SSL_CTX_get_cert_store(c), ca().certificate.get()), "CA");
      SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
    }
    ssl_.reset(SSL_new(c));
    SSL_set_app_data(ssl_.get(), this);
    if (!options_.psk.empty()) SSL_set_psk_client_callback(ssl_.get(), pskOf);
    SSL_set_connect_state(ssl_.get());
  }

  SSL* ssl() const { return ssl_.get(); }

  // Over a blocking socket from now on.
  void over(int fd) { must(SSL_set_fd(ssl_.get(), fd) == 1, "SSL_set_fd"); }
  void overMemory() {
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_.get(), in_, out_);
  }
  // In memory: what there is to send.
  Bytes output() {
    char* data = nullptr;
    const long bytes = BIO_get_mem_data(out_, &data);
    Bytes taken(data, data + bytes);
    BIO_reset(out_);
    return taken;
  }
  void input(std::span<const uint8_t> ciphertext) {
    if (!ciphertext.empty()) BIO_write(in_, ciphertext.data(), static_cast<int>(ciphertext.size()));
  }

  void write(std::span<const uint8_t> plaintext) {
    for (size_t done = 0, bytes = 0; done < plaintext.size(); done += bytes)
      must(SSL_write_ex(ssl_.get(), plaintext.data() + done, plaintext.size() - done, &bytes) == 1, "SSL_write");
  }
  // Nothing at the end of the stream, or when there is nothing now.
  Bytes read(size_t most) {
    Bytes plaintext(most);
    size_t bytes = 0;
    if (SSL_read_ex(ssl_.get(), plaintext.data(), plaintext.size(), &bytes) != 1) bytes = 0;
    plaintext.resize(bytes);
    return plaintext;
  }
  Bytes readAll(size_t count) {
    Bytes plaintext(count);
    for (size_t done = 0, bytes = 0; done < count; done += bytes) {
      if (SSL_read_ex(ssl_.get(), plaintext.data() + done, count - done, &bytes) != 1)
        throw std::runtime_error("the stream ended: " + takeOpensslError());
    }
    return plaintext;
  }

 private:
  static unsigned pskOf(SSL* ssl, const char*, char* name, unsigned nameMax, unsigned char* key, unsigned keyMax) {
    auto* const self = static_cast<TlsClient*>(SSL_get_app_data(ssl));
    const Bytes& psk = self->options_.psk;
    if (self->options_.pskName.size() >= nameMax || psk.size() > keyMax) return 0;
    strcpy(name, self->options_.pskName.c_str());
    memcpy(key, psk.data(), psk.size());
    return static_cast<unsigned>(psk.size());
  }

  ClientOptions options_;
  SslContextPtr context_;
  SslPtr ssl_;
  BIO* in_ = nullptr;   // ssl_'s
  BIO* out_ = nullptr;  // ssl_'s
};

// Ciphertext into the session, all that it has to say out of it. Sends its output to `client`, when there is one.
struct Fed {
  Bytes plaintext;
  TlsSession::Progress progress = TlsSession::Progress::none;
};

inline void deliver(TlsSession& session, TlsClient& client) {
  const auto output = session.output();
  client.input(output);
  session.sent(output.size());
}

inline Fed feed(TlsSession& session, std::span<const uint8_t> ciphertext, size_t pieceBytes = SIZE_MAX) {
  Fed fed;
  while (!ciphertext.empty() && fed.progress == TlsSession::Progress::none) {
    const auto room = session.room();
    const size_t bytes = std::min({ciphertext.size(), room.size(), pieceBytes});
    memcpy(room.data(), ciphertext.data(), bytes);
    session.filled(bytes);
    ciphertext = ciphertext.subspan(bytes);
    for (;;) {
      uint8_t out[4096];
      const auto [progress, got] = session.read(out);
      fed.progress = progress;
      if (progress != TlsSession::Progress::some) break;
      fed.plaintext.insert(fed.plaintext.end(), out, out + got);
    }
  }
  return fed;
}

// Runs the handshake in memory. False when it broke on either side.
inline bool handshake(TlsSession& session, TlsClient& client, size_t pieceBytes = SIZE_MAX) {
  client.overMemory();
  for (int round = 0; round < 10; ++round) {
    const int result = SSL_do_handshake(client.ssl());
    const bool waits = result != 1 && SSL_get_error(client.ssl(), result) == SSL_ERROR_WANT_READ;
    const Fed fed = feed(session, client.output(), pieceBytes);
    deliver(session, client);
    if (fed.progress == TlsSession::Progress::broken) {
      SSL_do_handshake(client.ssl());  // it reads the alert
      return false;
    }
    if (result == 1 && session.established()) return true;
    if (result != 1 && !waits) {
      feed(session, client.output());
      return false;
    }
  }
  return false;
}

inline std::string pskFile(const std::string& name, const Bytes& key) {
  std::string line = name + ":";
  for (const uint8_t byte : key) {
    char hex[3];
    snprintf(hex, sizeof hex, "%02x", byte);
    line += hex;
  }
  return line + "\n";
}

}  // namespace rig
