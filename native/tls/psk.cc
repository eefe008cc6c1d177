#include "tls/psk.h"

#include <algorithm>

#include "tls/refused.h"

namespace sealdisk {

namespace {

// At the file's end or line's: psktool writes \n, an editor of another system \r\n.
std::string_view trimmed(std::string_view line) noexcept {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
  return line;
}

int nibble(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// Fills `out`, which has room for half of `hex`; false when it is no hex.
bool decodeHex(std::string_view hex, uint8_t* out) noexcept {
  if (hex.size() % 2) return false;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = nibble(hex[i]), low = nibble(hex[i + 1]);
    if (high < 0 || low < 0) return false;
    out[i / 2] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

[[noreturn]] void refuse(size_t line, const std::string& found, std::string expected) {
  throw TlsRefused("TLS_PSK", found + " in line " + std::to_string(line), std::move(expected));
}

std::string nameOf(size_t line, std::string_view written) {
  std::string name(written);
  if (written.starts_with('#')) {
    name.resize((written.size() - 1) / 2);
    if (!decodeHex(written.substr(1), reinterpret_cast<uint8_t*>(name.data())))
      refuse(line, "a name with # that is no hex", "NAME:HEX");
  }
  if (name.empty() || name.size() > kPskNameMaxBytes)
    refuse(line, "a name of " + std::to_string(name.size()) + " bytes",
           "1 to " + std::to_string(kPskNameMaxBytes) + " bytes");
  if (name.find('\0') != std::string::npos) refuse(line, "a name with a zero byte", "a name without");
  return name;
}

}  // namespace

PskTable::PskTable(std::span<const uint8_t> file) : keys_(file.size() / 2 + 1) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    takeLine(++number, trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  if (byName_.empty()) throw TlsRefused("TLS_PSK", "no key", "a line NAME:HEX for each client");
}

void PskTable::takeLine(size_t number, std::string_view line) {
  if (line.empty()) return;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) refuse(number, "no colon", "NAME:HEX");
  std::string name = nameOf(number, line.substr(0, colon));
  const std::string_view hex = line.substr(colon + 1);
  uint8_t* const key = keys_.data() + used_;
  if (!decodeHex(hex, key)) refuse(number, "a key that is no hex", "NAME:HEX");
  const size_t bytes = hex.size() / 2;
  if (bytes < kPskMinBytes || bytes > kPskMaxBytes)
    refuse(number, "a key of " + std::to_string(bytes) + " bytes",
           std::to_string(kPskMinBytes) + " to " + std::to_string(kPskMaxBytes) + " bytes");
  if (!byName_.emplace(std::move(name), std::span<const uint8_t>(key, bytes)).second)
    refuse(number, "a name for the second time", "each name once");
  used_ += bytes;
}

std::span<const uint8_t> PskTable::find(std::string_view name) const noexcept {
  const auto found = byName_.find(name);
  return found == byName_.end() ? std::span<const uint8_t>() : found->second;
}

}  // namespace sealdisk
