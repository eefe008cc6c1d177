// Owners of OpenSSL's objects, and what it has to say of a failure in one line.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace sealdisk {

template <auto free>
struct Freed {
  template <typename T>
  void operator()(T* object) const noexcept {
    free(object);
  }
};

using SslContextPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using PrivateKeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

// The root cause of what failed on this thread, in OpenSSL's words; empties its queue of errors. "" when it is empty.
std::string takeOpensslError();

// The same for a failure of a connection: an alert of the client's is told as such, and so is a certificate of the
// client's that does not verify.
std::string takePeerFault(const SSL* ssl);

}  // namespace sealdisk
