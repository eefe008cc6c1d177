// The data key and what is derived from it (data_key.h), over the OpenSSL that the process has.
//
// OpenSSL frees what held the key with OPENSSL_clear_free (HMAC and PBKDF2 providers); what its code leaves on the
// stack and in registers is cleared here. Any thread; calls are const.
#include "crypto/data_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

#include "crypto/residue.h"

namespace sealdisk {

namespace {

constexpr size_t kHashBytes = 32;
using Hash = std::array<uint8_t, kHashBytes>;

Hash hmacSha256(std::span<const uint8_t> key, std::span<const uint8_t> message) {
  Hash out;
  unsigned int outBytes = kHashBytes;
  const bool made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(),
                         out.data(), &outBytes) != nullptr;
  clearResidue();
  if (!made) throw std::bad_alloc();  // its arguments are valid: only memory can be missing
  return out;
}

void pbkdf2Sha256Over(std::span<const uint8_t> secret, std::span<const uint8_t> salt, uint32_t iterations,
                      std::span<uint8_t> out) {
  const int made = PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(secret.data()), static_cast<int>(secret.size()),
                                     salt.data(), static_cast<int>(salt.size()), static_cast<int>(iterations),
                                     EVP_sha256(), static_cast<int>(out.size()), out.data());
  clearResidue();
  if (made != 1) throw std::invalid_argument("PBKDF2 refused its salt, iterations or length");
}

// HKDF-SHA-256 (RFC 5869) without salt, for one block of output.
Hash hkdfSha256(std::span<const uint8_t> key, std::span<const uint8_t> info) {
  static constexpr Hash kNoSalt{};
  Hash pseudoRandomKey = hmacSha256(kNoSalt, key);
  std::vector<uint8_t> block(info.begin(), info.end());
  block.push_back(1);
  const Hash derived = hmacSha256(pseudoRandomKey, block);
  wipe(pseudoRandomKey.data(), pseudoRandomKey.size());
  return derived;
}

}  // namespace

DataKey DataKey::take(std::span<uint8_t> source) {
  struct Overwriting {  // whatever happens: a source that is refused may hold a key all the same
    std::span<uint8_t> source;
    ~Overwriting() {
      if (!source.empty()) sealdisk::wipe(source.data(), source.size());
      clearResidue();
    }
  } const overwriting{source};
  if (source.size() != kDataKeyBytes) throw std::invalid_argument("a data key has 64 bytes");
  constexpr size_t kHalfBytes = kDataKeyBytes / 2;
  if (CRYPTO_memcmp(source.data(), source.data() + kHalfBytes, kHalfBytes) == 0)
    throw std::invalid_argument("the two halves of a data key must differ");
  DataKey key;
  key.memory_ = SecureMemory(kDataKeyBytes);
  memcpy(key.memory_.data(), source.data(), kDataKeyBytes);
  return key;
}

void DataKey::pbkdf2Sha256(std::span<const uint8_t> salt, uint32_t iterations, std::span<uint8_t> out) const {
  pbkdf2Sha256Over(bytes(), salt, iterations, out);
}

void DataKey::pbkdf2Sha256Of(std::span<const uint8_t> before, std::span<const DataKey* const> keys, std::span<const uint8_t> after,
                             std::span<const uint8_t> salt, uint32_t iterations, std::span<uint8_t> out) {
  const SecureMemory text(before.size() + keys.size() * kDataKeyBytes + after.size());
  uint8_t* at = std::copy(before.begin(), before.end(), text.data());
  for (const DataKey* key : keys) at = std::copy_n(key->bytes().data(), kDataKeyBytes, at);
  at = std::copy(after.begin(), after.end(), at);
  pbkdf2Sha256Over({text.data(), at}, salt, iterations, out);
}

Hash DataKey::hmac(std::span<const uint8_t> label, std::span<const uint8_t> message) const {
  Hash derived = hkdfSha256(bytes(), label);
  const Hash mac = hmacSha256(derived, message);
  sealdisk::wipe(derived.data(), derived.size());
  return mac;
}

std::span<const uint8_t, kDataKeyBytes> DataKey::bytes() const noexcept {
  return std::span<const uint8_t, kDataKeyBytes>(memory_.data(), kDataKeyBytes);
}

}  // namespace sealdisk
