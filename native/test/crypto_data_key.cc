// The data key: what it refuses, what it derives (against Python's hashlib and hmac), when it is gone.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "crypto/data_key.h"
#include "hex.h"
#include "seed.h"

using sealdisk::DataKey;
using Bytes = std::vector<uint8_t>;

namespace {

// bytes((i * 7 + 3) & 255 for i in range(64)) in the Python lines below.
Bytes secretBytes() {
  Bytes bytes(64);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i * 7 + 3);
  return bytes;
}

DataKey exampleKey() {
  Bytes secret = secretBytes();
  return DataKey::take(secret);
}

std::span<const uint8_t> text(const char* characters) {
  return {reinterpret_cast<const uint8_t*>(characters), strlen(characters)};
}

bool allZero(const Bytes& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

TEST("takes 64 bytes and overwrites where they came from") {
  Bytes secret = secretBytes();
  const DataKey key = DataKey::take(secret);
  CHECK(allZero(secret));
  CHECK(std::ranges::equal(key.bytes(), secretBytes()));
}

TEST("refuses a key of 0, 32, 63 and 65 bytes, and overwrites it too") {
  for (const size_t bytes : {0, 32, 63, 65}) {
    Bytes secret = randomBytes(bytes);
    CHECK_THROWS(std::invalid_argument, DataKey::take(secret));
    CHECK(allZero(secret));
  }
}

TEST("refuses two equal halves, and overwrites them too") {
  Bytes secret = randomBytes(32);
  secret.insert(secret.end(), secret.begin(), secret.begin() + 32);
  CHECK_THROWS(std::invalid_argument, DataKey::take(secret));
  CHECK(allZero(secret));
}

TEST("takes halves that differ in their last bit only") {
  Bytes secret = randomBytes(32);
  secret.insert(secret.end(), secret.begin(), secret.begin() + 32);
  secret.back() ^= 1;
  CHECK(!DataKey::take(secret).wiped());
}

TEST("derives PBKDF2-HMAC-SHA-256 as Python's hashlib.pbkdf2_hmac does") {
  const DataKey key = exampleKey();
  Bytes salt(32);
  for (size_t i = 0; i < salt.size(); i++) salt[i] = static_cast<uint8_t>(i);
  Bytes out(32);
  key.pbkdf2Sha256(salt, 1000, out);  // hashlib.pbkdf2_hmac('sha256', dk, bytes(range(32)), 1000, 32)
  CHECK(toHex(out) == "cbda8ca59a8a37b90913e384b3a12589c8792b5ef13a6eb98c96942e469891ac");
  Bytes longer(48);
  key.pbkdf2Sha256(text("salt"), 1, longer);  // hashlib.pbkdf2_hmac('sha256', dk, b'salt', 1, 48)
  CHECK(toHex(longer) ==
        "fdaa0dae14fed2a6c4a701627094936f1a946c3fbd5e34c8622549b3f783e7d371dcb10910340d1fa427d06fab11ec7c");
}

TEST("derives PBKDF2-HMAC-SHA-256 of a text with keys in it") {
  const DataKey key = exampleKey();
  const DataKey* const keys[] = {&key, &key};
  Bytes out(32);  // hashlib.pbkdf2_hmac('sha256', b'v2' + dk + dk + b'after', b'salt', 1000, 32)
  DataKey::pbkdf2Sha256Of(text("v2"), keys, text("after"), text("salt"), 1000, out);
  CHECK(toHex(out) == "eb3fcd06a9b51e973c5cac46775db8a7bcdbfbb177a0da7191f922d23e66e585");
}

// prk = hmac.digest(bytes(32), dk, 'sha256'); okm = hmac.digest(prk, label + b'\1', 'sha256')
TEST("computes HMAC-SHA-256 under an HKDF key as Python's hmac does") {
  const DataKey key = exampleKey();
  // hmac.digest(okm, b'what is protected', 'sha256') with label b'sealdisk header'
  CHECK(toHex(key.hmac(text("sealdisk header"), text("what is protected"))) ==
        "992dca607917fe24a78736999797699301d3ef34a11cb3becf7376e060967fd4");
  CHECK(toHex(key.hmac({}, {})) == "1e21afea284952c033217ebe5ece3b4b9716a3054d9a931dfe3e11c5bc7ea0bd");
}

TEST("a wiped key says so, and wiping twice is fine") {
  DataKey key = exampleKey();
  CHECK(!key.wiped());
  key.wipe();
  CHECK(key.wiped());
  key.wipe();
  CHECK(key.wiped());
}

TEST("a moved key is in one place only") {
  DataKey key = exampleKey();
  const uint8_t* const place = key.bytes().data();
  const DataKey moved = std::move(key);
  CHECK(moved.bytes().data() == place);
  CHECK(key.wiped());  // NOLINT(bugprone-use-after-move): what a moved-from key is, is what is tested
}

CHECK_MAIN
