// The portable kernel: AES-256-XTS of the OpenSSL that the process has.
//
// OpenSSL keeps its key schedule on the heap, so a context lives for one call only; EVP_CIPHER_CTX_free clears it
// (OPENSSL_clear_free in its provider). One context serves a whole run: per sector only the tweak is set. What is read
// from elsewhere is read before: reading a file that is mapped may end in a fault, and a context must not be left behind.
#include <openssl/evp.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "crypto/residue.h"
#include "crypto/secure_memory.h"
#include "crypto/xts_kernel.h"

namespace sealdisk {

namespace {

constexpr size_t kHalfBytes = 32;

// A block device has no way to say "no memory for the cipher", and to answer without it would be to write plaintext.
[[noreturn]] void stop(const char* call) noexcept {
  fprintf(stderr, "sealdisk: OpenSSL's %s failed; stopping before wrong bytes are served\n", call);
  abort();
}

// Fetched once: a fetch takes OpenSSL's locks. Lives as long as the process.
const EVP_CIPHER* cipher() noexcept {
  static const EVP_CIPHER* const kCipher = EVP_CIPHER_fetch(nullptr, "AES-256-XTS", nullptr);
  if (kCipher == nullptr) stop("EVP_CIPHER_fetch");
  return kCipher;
}

bool available() noexcept { return true; }

void expand(const uint8_t* key, XtsSchedule& schedule) noexcept {
  memcpy(schedule.encrypt, key, kHalfBytes);
  memcpy(schedule.tweak, key + kHalfBytes, kHalfBytes);
  clearResidue();
}

EVP_CIPHER_CTX* openContext(const XtsSchedule& schedule, int encrypting) noexcept {
  uint8_t key[2 * kHalfBytes];
  memcpy(key, schedule.encrypt, kHalfBytes);
  memcpy(key + kHalfBytes, schedule.tweak, kHalfBytes);
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  if (context == nullptr) stop("EVP_CIPHER_CTX_new");
  if (EVP_CipherInit_ex2(context, cipher(), key, nullptr, encrypting, nullptr) != 1) stop("EVP_CipherInit_ex2");
  wipe(key, sizeof key);
  return context;
}

void cryptSector(EVP_CIPHER_CTX* context, uint8_t* data, size_t sectorBytes, uint64_t sector512) noexcept {
  uint8_t tweak[kAesBlockBytes] = {};
  for (size_t i = 0; i < sizeof sector512; i++) tweak[i] = static_cast<uint8_t>(sector512 >> (8 * i));
  if (EVP_CipherInit_ex2(context, nullptr, nullptr, tweak, -1, nullptr) != 1) stop("EVP_CipherInit_ex2");
  int outBytes = 0;
  const int inBytes = static_cast<int>(sectorBytes);
  if (EVP_CipherUpdate(context, data, &outBytes, data, inBytes) != 1 || outBytes != inBytes) stop("EVP_CipherUpdate");
}

void crypt(const XtsSchedule& schedule, const XtsRun& run, int encrypting) noexcept {
  if (run.from != run.to) memcpy(run.to, run.from, run.bytes);
  EVP_CIPHER_CTX* const context = openContext(schedule, encrypting);
  uint64_t sector512 = run.firstSector512;
  for (size_t done = 0; done < run.bytes; done += run.sectorBytes) {
    cryptSector(context, run.to + done, run.sectorBytes, sector512);
    sector512 += run.sectorBytes / 512;
  }
  EVP_CIPHER_CTX_free(context);
  clearResidue();
}

void encrypt(const XtsSchedule& schedule, const XtsRun& run) noexcept { crypt(schedule, run, 1); }
void decrypt(const XtsSchedule& schedule, const XtsRun& run) noexcept { crypt(schedule, run, 0); }

}  // namespace

const XtsKernel kXtsOpenssl = {"openssl", 5000, available, expand, encrypt, decrypt};

}  // namespace sealdisk
