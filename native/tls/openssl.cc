#include "tls/openssl.h"

#include <openssl/err.h>

namespace sealdisk {

namespace {

std::string textOf(unsigned long error) {
  const char* const reason = ERR_reason_error_string(error);
  return reason ? reason : "error " + std::to_string(ERR_GET_REASON(error));
}

}  // namespace

std::string takeOpensslError() {
  const unsigned long first = ERR_peek_error();
  ERR_clear_error();
  return first ? textOf(first) : "";
}

std::string takePeerFault(const SSL* ssl) {
  const unsigned long first = ERR_peek_error();
  ERR_clear_error();
  if (!first) return "the connection failed";
  const int reason = ERR_GET_REASON(first);
  if (ERR_GET_LIB(first) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET)
    return std::string("the client refuses: ") + SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
  if (ERR_GET_LIB(first) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
    return std::string("the client's certificate is refused: ") +
           X509_verify_cert_error_string(SSL_get_verify_result(ssl));
  return textOf(first);
}

}  // namespace sealdisk
