// Pre-shared keys by the client's name, out of a file as GnuTLS's psktool writes it: a line NAME:HEX for each.
//
// A name that begins with # is the hex of its bytes. Empty lines are skipped; a name stands there once. The keys lie in
// secure memory. Immutable, so any thread may look one up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "crypto/secure_memory.h"

namespace sealdisk {

// Shorter keys can be found by trying, from what a listener has recorded.
constexpr size_t kPskMinBytes = 16;
constexpr size_t kPskMaxBytes = 256;
constexpr size_t kPskNameMaxBytes = 255;

class PskTable {
 public:
  // No keys.
  PskTable() noexcept = default;
  // Throws TlsRefused (TLS_PSK), which says the line; std::system_error as SecureMemory does.
  explicit PskTable(std::span<const uint8_t> file);

  bool empty() const noexcept { return byName_.empty(); }
  // Empty when nobody has the name. Valid as long as the table is.
  std::span<const uint8_t> find(std::string_view name) const noexcept;

 private:
  void takeLine(size_t number, std::string_view line);

  SecureMemory keys_;
  size_t used_ = 0;
  std::map<std::string, std::span<const uint8_t>, std::less<>> byName_;
};

}  // namespace sealdisk
