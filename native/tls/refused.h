// Why something of the owner's (a certificate, a key, a file) is not taken for TLS: a code of the error catalogue, what
// was found and what was expected. It never holds a byte of a key.
#pragma once

#include <stdexcept>
#include <string>

namespace sealdisk {

struct TlsRefused : std::runtime_error {
  TlsRefused(const char* code_, std::string found_, std::string expected_)
      : std::runtime_error(std::string(code_) + ": found " + found_ + ", expected " + expected_),
        code(code_),
        found(std::move(found_)),
        expected(std::move(expected_)) {}
  const char* code;
  std::string found, expected;
};

}  // namespace sealdisk
