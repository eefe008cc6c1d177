// What the owner gives for TLS is taken, or refused by the code of what is wrong with it; no byte of a key is told.
#include "tls_rig.h"

#include <functional>

using namespace rig;

namespace {

struct Refusal {
  std::string code, found, expected;
};

Refusal refusalOf(const ContextOptions& options) {
  try {
    contextOf(options);
  } catch (const TlsRefused& refused) {
    return {refused.code, refused.found, refused.expected};
  }
  return {"none", "", ""};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

ContextOptions with(const std::function<void(ContextOptions&)>& change) {
  ContextOptions options;
  change(options);
  return options;
}

#define CHECK_REFUSED(CODE, FOUND, ...)                                                       \
  do {                                                                                        \
    const Refusal refusal = refusalOf(with([](ContextOptions& o) { __VA_ARGS__; }));          \
    check::note(refusal.code == CODE && has(refusal.found, FOUND), __FILE__, __LINE__,        \
                #__VA_ARGS__ ": " + refusal.code + ", found " + refusal.found);               \
    check::note(ERR_peek_error() == 0, __FILE__, __LINE__, "OpenSSL's queue of errors is empty"); \
  } while (0)

const std::string kKeyLine = "alice:000102030405060708090a0b0c0d0e0f";

}  // namespace

TEST("a certificate with its key is taken, alone and with a chain, and so is a pre-shared key without one") {
  contextOf();
  contextOf(with([](ContextOptions& o) { o.certificate += ca().pem(); }));
  contextOf(with([](ContextOptions& o) { o.certificate = "# a comment\n" + o.certificate; }));
  contextOf(with([](ContextOptions& o) {
    o.certificate = o.key = "";
    o.psk = kKeyLine;
  }));
  CHECK_THROWS(std::invalid_argument, contextOf(with([](ContextOptions& o) { o.certificate = o.key = ""; })));
}

TEST("a certificate that is none, broken, or followed by something broken is refused") {
  CHECK_REFUSED("TLS_CERTIFICATE", "no certificate", o.certificate = "nonsense\n");
  CHECK_REFUSED("TLS_CERTIFICATE", "no certificate", o.certificate = o.key);
  CHECK_REFUSED("TLS_CERTIFICATE", "certificate 1: ", o.certificate.resize(o.certificate.size() / 2));
  CHECK_REFUSED("TLS_CERTIFICATE", "certificate 1: ", o.certificate[60] = '!');
  CHECK_REFUSED("TLS_CERTIFICATE", "certificate 2: ", o.certificate += o.certificate.substr(0, 200));
}

TEST("a certificate that is too weak is refused") {
  CHECK_REFUSED("TLS_CERTIFICATE", "key too small", {
    const Identity weak({"weak"}, nullptr, PrivateKeyPtr(EVP_RSA_gen(1024)));
    o.certificate = weak.pem();
    o.key = weak.keyPem();
  });
}

TEST("a private key that is none, broken, under a passphrase, missing or another's is refused") {
  CHECK_REFUSED("TLS_PRIVATE_KEY", "none", o.key = "");
  CHECK_REFUSED("TLS_PRIVATE_KEY", "", o.key = "nonsense");
  CHECK_REFUSED("TLS_PRIVATE_KEY", "", o.key = o.certificate);
  CHECK_REFUSED("TLS_PRIVATE_KEY", "", o.key.resize(100));
  CHECK_REFUSED("TLS_PRIVATE_KEY", "passphrase", o.key = server().keyPem("secret"));
  CHECK_REFUSED("TLS_PRIVATE_KEY", "mismatch", o.key = alice().keyPem());
}

TEST("a client CA that is none or broken is refused, and so is a demand for certificates without one") {
  CHECK_REFUSED("TLS_CLIENT_CA", "no certificate", o.clientCa = "nonsense");
  CHECK_REFUSED("TLS_CLIENT_CA", "certificate 2: ", o.clientCa = ca().pem() + ca().pem().substr(0, 100));
  CHECK_REFUSED("TLS_CLIENT_CA", "none", o.verifyClient = true);
}

TEST("a file of pre-shared keys is read as psktool writes it") {
  const PskTable table(spanOf("\n" + kKeyLine + "\r\nb ob:" + std::string(64, 'F') + " \n#636172c3b6:" +
                              std::string(32, 'a')));
  CHECK_EQ(table.find("alice").size(), 16u);
  CHECK_EQ(table.find("alice")[15], 0x0f);
  CHECK_EQ(table.find("b ob").size(), 32u);
  CHECK_EQ(table.find("b ob")[31], 0xff);
  CHECK_EQ(table.find("carö")[0], 0xaa);
  CHECK(table.find("bob").empty());
  CHECK(table.find("").empty());
  CHECK(PskTable().find("alice").empty());
}

TEST("a file of pre-shared keys with a flaw is refused by its line, without a byte of a key") {
  CHECK_REFUSED("TLS_PSK", "no key", o.psk = "\n\n");
  CHECK_REFUSED("TLS_PSK", "no colon in line 2", o.psk = kKeyLine + "\nbob\n");
  CHECK_REFUSED("TLS_PSK", "no hex in line 1", o.psk = "alice:00010203deadbeef0405060708090a0b0c0d0ex0\n");
  CHECK_REFUSED("TLS_PSK", "no hex in line 1", o.psk = kKeyLine + "0");
  CHECK_REFUSED("TLS_PSK", "15 bytes in line 1", o.psk = kKeyLine.substr(0, kKeyLine.size() - 2));
  CHECK_REFUSED("TLS_PSK", "257 bytes in line 1", o.psk = "a:" + std::string(514, '1'));
  CHECK_REFUSED("TLS_PSK", "second time in line 3", o.psk = kKeyLine + "\n\n" + kKeyLine);
  CHECK_REFUSED("TLS_PSK", "a name of 0 bytes", o.psk = kKeyLine.substr(5));
  CHECK_REFUSED("TLS_PSK", "a name of 256 bytes", o.psk = std::string(251, 'x') + kKeyLine);
  CHECK_REFUSED("TLS_PSK", "# that is no hex", o.psk = "#" + kKeyLine);
  CHECK_REFUSED("TLS_PSK", "zero byte", o.psk = "#6100:" + std::string(32, '1'));
  const Refusal refusal = refusalOf(with([](ContextOptions& o) { o.psk = "alice:deadbeefdeadbeefdeadbeefdeadbeefx"; }));
  CHECK(!has(refusal.found + refusal.expected, "dead"));
}

CHECK_MAIN
