// Every XTS kernel of this processor against published vectors, against OpenSSL called directly, and against the rest.
#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "check.h"
#include "crypto/xts.h"
#include "hex.h"
#include "seed.h"
#include "xts_rig.h"

using sealdisk::XtsKernel;
using Bytes = std::vector<uint8_t>;

namespace {

struct Vector {
  std::map<std::string, std::string> fields;
  uint64_t dataUnit() const { return std::stoull(fields.at("DataUnitSeqNumber")); }
  Bytes bytes(const char* field) const { return fromHex(fields.at(field)); }
};

// A NIST response file: blocks of "name = value" lines.
std::vector<Vector> readVectors(const std::string& path) {
  std::vector<Vector> vectors;
  std::ifstream file(path);
  Vector vector;
  for (std::string line; std::getline(file, line);) {
    const size_t equals = line.find(" = ");
    if (equals == std::string::npos || line[0] == '#') continue;
    vector.fields[line.substr(0, equals)] = line.substr(equals + 3);
    if (vector.fields.size() < 6) continue;
    vectors.push_back(vector);
    vector.fields.clear();
  }
  return vectors;
}

// A data unit shorter than a sector is the beginning of one.
Bytes sectorOf(const Bytes& beginning) {
  Bytes sector = beginning;
  sector.resize(512);
  return sector;
}

bool begins(const Bytes& sector, const Bytes& beginning) {
  return std::equal(beginning.begin(), beginning.end(), sector.begin());
}

size_t countMismatches(const XtsKernel& kernel, const std::vector<Vector>& vectors) {
  size_t mismatches = 0;
  for (const Vector& vector : vectors) {
    const ExpandedKey key(kernel, vector.bytes("Key"));
    Bytes encrypted = sectorOf(vector.bytes("PT"));
    Bytes decrypted = sectorOf(vector.bytes("CT"));
    key.encrypt(runOver(encrypted, 512, vector.dataUnit()));
    key.decrypt(runOver(decrypted, 512, vector.dataUnit()));
    mismatches += !begins(encrypted, vector.bytes("CT")) || !begins(decrypted, vector.bytes("PT"));
  }
  return mismatches;
}

void checkVectors(const char* path, size_t expected) {
  const std::vector<Vector> vectors = readVectors(path);
  CHECK_EQ(vectors.size(), expected);
  for (const XtsKernel* kernel : availableKernels()) {
    if (!CHECK_EQ(countMismatches(*kernel, vectors), 0u)) printf("# kernel %s\n", kernel->name);
  }
}

// One sector by OpenSSL, without any of our code.
Bytes opensslSector(const Bytes& key, const Bytes& plaintext, uint64_t tweakNumber) {
  Bytes tweak(16);
  for (int i = 0; i < 8; i++) tweak[i] = static_cast<uint8_t>(tweakNumber >> (8 * i));
  Bytes out(plaintext.size());
  int outBytes = 0;
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(context, EVP_aes_256_xts(), nullptr, key.data(), tweak.data());
  EVP_EncryptUpdate(context, out.data(), &outBytes, plaintext.data(), static_cast<int>(plaintext.size()));
  EVP_CIPHER_CTX_free(context);
  return out;
}

// dm-crypt's plain64: the tweak counts 512-byte sectors, whatever the sector size.
Bytes dmCrypt(const Bytes& key, const Bytes& plaintext, size_t sectorBytes, uint64_t firstSector512) {
  Bytes out;
  for (size_t at = 0; at < plaintext.size(); at += sectorBytes) {
    const Bytes sector(plaintext.begin() + at, plaintext.begin() + at + sectorBytes);
    const Bytes encrypted = opensslSector(key, sector, firstSector512 + at / 512);
    out.insert(out.end(), encrypted.begin(), encrypted.end());
  }
  return out;
}

// One random run at random alignments through `kernel`, against OpenSSL: there, to another place, and back.
void checkRandomRun(const XtsKernel& kernel, size_t sectors, size_t sectorBytes, uint64_t firstSector512) {
  const Bytes key = randomBytes(64);
  const Bytes plaintext = randomBytes(sectors * sectorBytes);
  const size_t misalignment = testRandom()() % 64;
  Bytes room(misalignment + plaintext.size() + 64, 0xa5);
  std::copy(plaintext.begin(), plaintext.end(), room.begin() + misalignment);
  const ExpandedKey expanded(kernel, key);
  uint8_t* const data = room.data() + misalignment;
  const sealdisk::XtsRun run = {data, data, plaintext.size(), sectorBytes, firstSector512};
  Bytes elsewhere(plaintext.size() + 64, 0xa5);
  uint8_t* const copy = elsewhere.data() + testRandom()() % 64;

  expanded.encrypt(run);
  const Bytes expected = dmCrypt(key, plaintext, sectorBytes, firstSector512);
  const bool encryptsAlike = std::equal(expected.begin(), expected.end(), data);
  expanded.decrypt({data, copy, plaintext.size(), sectorBytes, firstSector512});
  const bool decryptsElsewhere = std::equal(plaintext.begin(), plaintext.end(), copy) &&
                                 std::equal(expected.begin(), expected.end(), data);
  expanded.decrypt(run);
  const bool decryptsBack = std::equal(plaintext.begin(), plaintext.end(), data);
  const auto untouched = [](uint8_t byte) { return byte == 0xa5; };
  const bool staysInside = std::all_of(room.begin(), room.begin() + misalignment, untouched) &&
                           std::all_of(room.end() - 64, room.end(), untouched) &&
                           std::all_of(elsewhere.data(), copy, untouched) &&
                           std::all_of(copy + plaintext.size(), elsewhere.data() + elsewhere.size(), untouched);
  if (!CHECK(encryptsAlike && decryptsElsewhere && decryptsBack && staysInside)) {
    printf("# kernel %s, %zu sectors of %zu, first %llu\n", kernel.name, sectors, sectorBytes,
           static_cast<unsigned long long>(firstSector512));
  }
}

std::string kernelNameUnder(const char* cipher) {
  int pipeFds[2];
  if (pipe(pipeFds) != 0) throw check::Ended{};
  const pid_t child = fork();
  if (child == 0) {
    dup2(pipeFds[1], STDOUT_FILENO);
    setenv("SEALDISK_CIPHER", cipher, 1);
    execl("/proc/self/exe", "crypto_xts", "--kernel-name", static_cast<char*>(nullptr));
    _exit(127);
  }
  close(pipeFds[1]);
  char name[64] = {};
  CHECK(read(pipeFds[0], name, sizeof name - 1) > 0);
  close(pipeFds[0]);
  waitpid(child, nullptr, 0);
  return name;
}

}  // namespace

TEST("every kernel answers IEEE 1619 vectors 10 to 14, both ways") {
  checkVectors("test/vectors/ieee1619-xts-aes-256.rsp", 5);
}

TEST("every kernel answers the NIST CAVP XTSGenAES256 vectors of whole blocks, both ways") {
  checkVectors("test/vectors/nist-cavp-xts-aes-256.rsp", 600);
}

TEST("the self test passes") { CHECK(sealdisk::xtsSelfTest() == nullptr); }

TEST("every kernel agrees with OpenSSL at every number of 512-byte sectors up to 70") {
  for (const XtsKernel* kernel : availableKernels()) {
    for (size_t sectors = 1; sectors <= 70; sectors++) checkRandomRun(*kernel, sectors, 512, testRandom()());
  }
}

TEST("every kernel counts the tweak of 4096-byte sectors in 512-byte steps, as dm-crypt does") {
  for (const XtsKernel* kernel : availableKernels()) {
    for (const size_t sectors : {1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 64, 65}) {
      checkRandomRun(*kernel, sectors, 4096, testRandom()());
    }
  }
}

TEST("sector numbers carry from their lower into their upper half, and wrap at 2^64") {
  for (const XtsKernel* kernel : availableKernels()) {
    for (const uint64_t first : {uint64_t{0}, uint64_t{0xfffffff0}, ~uint64_t{0} - 100}) {
      checkRandomRun(*kernel, 40, 512, first);
      checkRandomRun(*kernel, 40, 4096, first);
    }
  }
}

TEST("a run of no bytes changes nothing") {
  for (const XtsKernel* kernel : availableKernels()) {
    const ExpandedKey key(*kernel, randomBytes(64));
    const Bytes before = randomBytes(512);
    Bytes data = before;
    key.encrypt({data.data(), data.data(), 0, 512, 0});
    CHECK(data == before);
  }
}

TEST("many threads use one XtsKey at once") {
  Bytes secret = randomBytes(64);
  const Bytes copy = secret;
  const sealdisk::DataKey dataKey = sealdisk::DataKey::take(secret);
  const sealdisk::XtsKey key(dataKey);
  const Bytes plaintext = randomBytes(16 * 4096);
  const Bytes expected = dmCrypt(copy, plaintext, 4096, 800);
  std::vector<int> alike(4);
  std::vector<std::thread> threads;
  for (int& result : alike) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; round++) {
        Bytes data = plaintext;
        key.encrypt(data.data(), data.size(), 4096, 800);
        result += data == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int result : alike) CHECK_EQ(result, 50);
}

TEST("SEALDISK_CIPHER names the kernel, and an unknown name leaves the fastest") {
  for (const XtsKernel* kernel : availableKernels()) CHECK(kernelNameUnder(kernel->name) == kernel->name);
  CHECK(kernelNameUnder("rot13") == availableKernels().front()->name);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--kernel-name") == 0) return fputs(sealdisk::xtsKernelName(), stdout) < 0;
  return check::runAll(argc, argv);
}
