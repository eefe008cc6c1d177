#include "tls/session.h"

#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace sealdisk {

// What OpenSSL takes for the wire: a BIO over the session's buffers.
struct TlsSessionBio {
  static TlsSession& of(BIO* bio) noexcept { return *static_cast<TlsSession*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* out, int bytes) {
    BIO_clear_retry_flags(bio);
    const int got = of(bio).take(out, bytes);
    if (got == 0) BIO_set_retry_read(bio);
    return got ? got : -1;
  }

  static int write(BIO* bio, const char* in, int bytes) {
    BIO_clear_retry_flags(bio);
    return of(bio).put(in, bytes);
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH; }

  // Lives as long as the process.
  static const BIO_METHOD* method() {
    static const BIO_METHOD* const kMethod = [] {
      BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sealdisk");
      if (!made) throw std::bad_alloc();
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      return made;
    }();
    return kMethod;
  }
};

namespace {

constexpr size_t kOutputCapacityBytes = kTlsOutputBytes + kTlsOwnOutputBytes;
constexpr size_t kPrintedNameBytes = 64;

// The CN, when there is exactly one: of two nobody could say which was meant.
std::optional<std::string> commonName(const X509* certificate) {
  const X509_NAME* const subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) return std::nullopt;
  unsigned char* utf8 = nullptr;
  const int bytes = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (bytes < 0) {
    ERR_clear_error();
    return std::nullopt;
  }
  std::string name(reinterpret_cast<char*>(utf8), static_cast<size_t>(bytes));
  OPENSSL_free(utf8);
  if (name.empty() || name.find('\0') != std::string::npos) return std::nullopt;
  return name;
}

}  // namespace

std::string printable(std::string_view name) {
  std::string text;
  for (const char byte : name.substr(0, kPrintedNameBytes)) text += byte >= ' ' && byte <= '~' ? byte : '?';
  return text;
}

TlsSession::TlsSession(std::shared_ptr<const TlsContext> context)
    : context_(std::move(context)),
      input_(new uint8_t[kTlsInputBytes]),
      output_(new uint8_t[kOutputCapacityBytes]),
      ssl_(SSL_new(context_->ssl())) {
  BIO* const bio = ssl_ ? BIO_new(TlsSessionBio::method()) : nullptr;
  ERR_clear_error();
  if (!bio) throw std::bad_alloc();
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  if (!context_->psk().empty()) SSL_set_psk_server_callback(ssl_.get(), pskOf);
  SSL_set_accept_state(ssl_.get());
}

TlsSession::~TlsSession() = default;

// For both versions: TLS 1.3 knows the key only by its name, too, and takes it for one bound to SHA-256.
unsigned TlsSession::pskOf(SSL* ssl, const char* name, unsigned char* key, unsigned keyMaxBytes) noexcept {
  auto* const self = static_cast<TlsSession*>(SSL_get_app_data(ssl));
  try {
    const auto found = name ? self->context_->psk().find(name) : std::span<const uint8_t>();
    if (found.empty() || found.size() > keyMaxBytes) {
      self->unknownPskName_ = printable(name ? name : "");
      return 0;
    }
    self->pskName_ = name;
    std::copy(found.begin(), found.end(), key);
    return static_cast<unsigned>(found.size());
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

std::span<uint8_t> TlsSession::room() noexcept {
  if (inputBegin_ == inputEnd_) inputBegin_ = inputEnd_ = 0;
  return {input_.get() + inputEnd_, kTlsInputBytes - inputEnd_};
}

int TlsSession::take(char* out, int bytes) noexcept {
  const size_t count = std::min(static_cast<size_t>(bytes), inputEnd_ - inputBegin_);
  std::memcpy(out, input_.get() + inputBegin_, count);
  inputBegin_ += count;
  return static_cast<int>(count);
}

// All or nothing. It fails only for a client that makes us speak and does not listen.
int TlsSession::put(const char* in, int bytes) noexcept {
  const auto count = static_cast<size_t>(bytes);
  if (count > kOutputCapacityBytes - outputEnd_) {
    std::memmove(output_.get(), output_.get() + outputBegin_, outputEnd_ - outputBegin_);
    outputEnd_ -= outputBegin_;
    outputBegin_ = 0;
  }
  if (count > kOutputCapacityBytes - outputEnd_) {
    deaf_ = true;
    return -1;
  }
  std::memcpy(output_.get() + outputEnd_, in, count);
  outputEnd_ += count;
  return bytes;
}

void TlsSession::sent(size_t bytes) noexcept {
  outputBegin_ += bytes;
  if (outputBegin_ == outputEnd_) outputBegin_ = outputEnd_ = 0;
}

TlsSession::Read TlsSession::read(std::span<uint8_t> out) noexcept {
  if (broken_) return {Progress::broken, 0};
  ERR_clear_error();
  size_t bytes = 0;
  const int result = SSL_read_ex(ssl_.get(), out.data(), out.size(), &bytes);
  if (result == 1) return {Progress::some, bytes};
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return {Progress::none, 0};
    case SSL_ERROR_ZERO_RETURN:
      return {Progress::closed, 0};
    default:
      return broken();
  }
}

TlsSession::Progress TlsSession::write(std::span<const uint8_t> plaintext) noexcept {
  if (broken_) return Progress::broken;
  if (output().size() + plaintext.size() + kTlsRecordOverheadBytes > kTlsOutputBytes) return Progress::none;
  ERR_clear_error();
  size_t bytes = 0;
  if (SSL_write_ex(ssl_.get(), plaintext.data(), plaintext.size(), &bytes) == 1) return Progress::some;
  return broken().progress;
}

void TlsSession::close() noexcept {
  if (broken_ || !established()) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

TlsSession::Read TlsSession::broken() noexcept {
  broken_ = true;
  try {
    fault_ = takePeerFault(ssl_.get());
    if (deaf_) fault_ = "the client does not read what TLS has to say";
    if (!established() && !unknownPskName_.empty())
      fault_ = "no pre-shared key for \"" + unknownPskName_ + "\" (" + fault_ + ")";
  } catch (const std::bad_alloc&) {
    fault_.clear();
  }
  return {Progress::broken, 0};
}

bool TlsSession::established() const noexcept { return SSL_is_init_finished(ssl_.get()) == 1; }

std::optional<std::string> TlsSession::clientName() const {
  if (!established()) return std::nullopt;
  // A session is never resumed, so in TLS 1.3 "reused" is said of one that began with the pre-shared key named last.
  if (SSL_get_psk_identity(ssl_.get()) || (SSL_version(ssl_.get()) == TLS1_3_VERSION && SSL_session_reused(ssl_.get())))
    return pskName_;
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl_.get()));
  if (!certificate || SSL_get_verify_result(ssl_.get()) != X509_V_OK) return std::nullopt;
  return commonName(certificate.get());
}

}  // namespace sealdisk
