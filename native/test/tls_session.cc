// A session without a socket against OpenSSL as client: both versions, every way in, every way to be refused, bytes that
// come one at a time, get lost or are nonsense.
#include "tls_rig.h"

using namespace rig;

namespace {

using Progress = TlsSession::Progress;

const Bytes kPsk(32, 0x5a);
constexpr int kVersions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

ContextOptions pskOnly() {
  ContextOptions options;
  options.certificate = options.key = "";
  options.psk = pskFile("alice", kPsk) + pskFile("bob", Bytes(16, 7));
  return options;
}

ContextOptions verifying(bool required = true) {
  ContextOptions options;
  options.clientCa = ca().pem();
  options.verifyClient = required;
  return options;
}

struct Pair {
  TlsSession session;
  TlsClient client;
  bool done;
  explicit Pair(const ContextOptions& context = {}, const ClientOptions& options = {}, size_t pieceBytes = SIZE_MAX)
      : session(contextOf(context)), client(options), done(handshake(session, client, pieceBytes)) {}
};

Bytes sealed(TlsSession& session, const Bytes& plaintext) {
  CHECK(session.write(plaintext) == Progress::some);
  const auto output = session.output();
  const Bytes ciphertext(output.begin(), output.end());
  session.sent(output.size());
  return ciphertext;
}

bool has(const std::string& text, const std::string& part) {
  return check::note(text.find(part) != std::string::npos, __FILE__, __LINE__, "\"" + text + "\" has \"" + part + "\"");
}

}  // namespace

TEST("plaintext goes both ways in TLS 1.2 and 1.3, whole or byte by byte") {
  for (const int version : kVersions) {
    for (const size_t pieceBytes : {size_t{1}, size_t{7}, SIZE_MAX}) {
      Pair pair({}, {.version = version}, pieceBytes);
      REQUIRE(pair.done);
      CHECK_EQ(SSL_version(pair.client.ssl()), version);
      const Bytes there = randomBytes(50'000), back = randomBytes(16'000);
      pair.client.write(there);
      const Fed fed = feed(pair.session, pair.client.output(), pieceBytes);
      CHECK(fed.progress == Progress::none);
      CHECK(fed.plaintext == there);
      pair.client.input(sealed(pair.session, back));
      CHECK(pair.client.readAll(back.size()) == back);
      CHECK(!pair.session.clientName());
    }
  }
}

TEST("a client below the minimum is refused by a line that says so") {
  ContextOptions context;
  context.minimum = TLS1_3_VERSION;
  Pair old(context, {.version = TLS1_2_VERSION});
  CHECK(!old.done);
  has(old.session.fault(), "unsupported protocol");
  CHECK(Pair(context).done);
}

TEST("a client of TLS 1.2 without forward secrecy or without an AEAD is refused") {
  for (const char* ciphers : {"AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384"}) {
    Pair pair({}, {.version = TLS1_2_VERSION, .ciphers = ciphers});
    CHECK(!pair.done);
    has(pair.session.fault(), "no shared cipher");
  }
}

TEST("a client certificate gives its name, and who has none or another CA's is refused") {
  const Identity foreignCa({"another CA"});
  const Identity mallory({"alice"}, &foreignCa);
  for (const int version : kVersions) {
    Pair good(verifying(), {.version = version, .certificate = &alice()});
    CHECK(good.done);
    CHECK_EQ(good.session.clientName().value_or("none"), "alice");

    Pair none(verifying(), {.version = version});
    CHECK(!none.done);
    has(none.session.fault(), "did not return a certificate");
    CHECK(!none.session.clientName());

    Pair bad(verifying(), {.version = version, .certificate = &mallory});
    CHECK(!bad.done);
    has(bad.session.fault(), "the client's certificate is refused: unable to get local issuer certificate");
    CHECK(!bad.session.clientName());
  }
}

TEST("where certificates are asked for and not demanded, one without is let in without a name, a bad one is not") {
  const Identity selfMade({"alice"});
  CHECK(!Pair(verifying(false)).session.clientName());
  CHECK(Pair(verifying(false)).done);
  CHECK_EQ(Pair(verifying(false), {.certificate = &alice()}).session.clientName().value_or(""), "alice");
  CHECK(!Pair(verifying(false), {.certificate = &selfMade}).done);
}

TEST("a certificate that nobody asked for gives no name") {
  Pair pair({}, {.certificate = &alice()});
  CHECK(pair.done);
  CHECK(!pair.session.clientName());
}

TEST("a certificate with two names, none, or a zero byte in it has no name") {
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"alice", "bob"}, {}, {std::string("alice\0.evil", 11)}}) {
    const Identity identity(names, &ca());
    Pair pair(verifying(), {.certificate = &identity});
    CHECK(pair.done);
    CHECK(!pair.session.clientName());
  }
}

TEST("a pre-shared key lets in, by its name, in both versions, and beside certificates too") {
  ContextOptions both = verifying();
  both.psk = pskOnly().psk;
  for (const ContextOptions& context : {pskOnly(), both}) {
    for (const int version : kVersions) {
      Pair pair(context, {.version = version, .pskName = "alice", .psk = kPsk});
      CHECK(pair.done);
      CHECK_EQ(pair.session.clientName().value_or("none"), "alice");
      CHECK(SSL_get0_peer_certificate(pair.client.ssl()) == nullptr);
    }
  }
  CHECK_EQ(Pair(both, {.certificate = &alice()}).session.clientName().value_or("none"), "alice");
}

TEST("each cipher for pre-shared keys of TLS 1.2 works, and one without forward secrecy does not") {
  for (const char* ciphers :
       {"DHE-PSK-AES256-GCM-SHA384", "DHE-PSK-AES128-GCM-SHA256", "ECDHE-PSK-CHACHA20-POLY1305"}) {
    Pair pair(pskOnly(), {.version = TLS1_2_VERSION, .pskName = "bob", .psk = Bytes(16, 7), .ciphers = ciphers});
    CHECK(pair.done);
    CHECK_EQ(pair.session.clientName().value_or("none"), "bob");
  }
  CHECK(!Pair(pskOnly(), {.version = TLS1_2_VERSION, .pskName = "bob", .psk = Bytes(16, 7), .ciphers = "PSK-AES256-GCM-SHA384"})
             .done);
}

TEST("an unknown name and a wrong key are refused, each by a line that says so, and the name cannot forge a log line") {
  for (const int version : kVersions) {
    Pair unknown(pskOnly(), {.version = version, .pskName = "mallory\n\x1b[2J", .psk = kPsk});
    CHECK(!unknown.done);
    has(unknown.session.fault(), "no pre-shared key for \"mallory??[2J\"");
    Pair wrong(pskOnly(), {.version = version, .pskName = "alice", .psk = Bytes(32, 1)});
    CHECK(!wrong.done);
    CHECK(!wrong.session.fault().empty());
    CHECK(!wrong.session.clientName());
  }
  CHECK(!Pair(pskOnly()).done);
}

TEST("nothing can be resumed: no ticket is given, and a session that is offered is not taken") {
  for (const int version : kVersions) {
    const auto context = contextOf(verifying());
    TlsSession first(context);
    TlsClient client({.version = version, .certificate = &alice()});
    REQUIRE(handshake(first, client));
    client.input(sealed(first, Bytes(1, 1)));
    client.readAll(1);
    CHECK_EQ(SSL_SESSION_has_ticket(SSL_get0_session(client.ssl())), 0);
    TlsSession second(context);
    TlsClient again({.version = version, .certificate = &alice()});
    SSL_set_session(again.ssl(), SSL_get0_session(client.ssl()));
    CHECK(handshake(second, again));
    CHECK_EQ(SSL_session_reused(again.ssl()), 0);
    CHECK_EQ(second.clientName().value_or("none"), "alice");
  }
}

TEST("a client that wants to renegotiate is told no, and goes on") {
  Pair pair({}, {.version = TLS1_2_VERSION});
  REQUIRE(pair.done);
  SSL_renegotiate(pair.client.ssl());
  SSL_do_handshake(pair.client.ssl());
  CHECK(feed(pair.session, pair.client.output()).progress != Progress::some);
  deliver(pair.session, pair.client);
  SSL_do_handshake(pair.client.ssl());
  has(takeOpensslError(), "no renegotiation");
}

TEST("a client that refuses the server's certificate is quoted") {
  const Identity selfMade({"server"});
  ContextOptions context;
  context.certificate = selfMade.pem();
  context.key = selfMade.keyPem();
  for (const int version : kVersions) {
    Pair pair(context, {.version = version});
    CHECK(!pair.done);
    has(pair.session.fault(), "the client refuses: ");
  }
}

TEST("keys that the client updates are followed, and one that asks for updates without end and reads none is ended") {
  Pair pair({}, {.version = TLS1_3_VERSION});
  REQUIRE(pair.done);
  SSL_key_update(pair.client.ssl(), SSL_KEY_UPDATE_REQUESTED);
  pair.client.write(Bytes(10, 1));
  CHECK(feed(pair.session, pair.client.output()).plaintext == Bytes(10, 1));
  deliver(pair.session, pair.client);
  pair.client.input(sealed(pair.session, Bytes(10, 2)));
  CHECK(pair.client.readAll(10) == Bytes(10, 2));

  Progress progress = Progress::none;
  size_t rounds = 0;
  for (; progress == Progress::none && rounds < 100'000; ++rounds) {
    SSL_key_update(pair.client.ssl(), SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(pair.client.ssl());
    progress = feed(pair.session, pair.client.output()).progress;
    REQUIRE(pair.session.output().size() <= kTlsOutputBytes + kTlsOwnOutputBytes);
  }
  CHECK(progress == Progress::broken);
  CHECK(rounds > 1000);
  has(pair.session.fault(), "does not read");
}

TEST("the output takes what it has room for, and goes on when it was sent, without a byte lost") {
  Pair pair;
  REQUIRE(pair.done);
  const Bytes record = randomBytes(kTlsRecordBytes);
  size_t written = 0, read = 0;
  for (int round = 0; round < 20; ++round) {
    while (pair.session.write(record) == Progress::some) ++written;
    CHECK(pair.session.output().size() <= kTlsOutputBytes);
    const size_t part = std::min<size_t>(pair.session.output().size(), 1 + testRandom()() % kTlsOutputBytes);
    pair.client.input(pair.session.output().first(part));
    pair.session.sent(part);
    for (Bytes got; !(got = pair.client.read(record.size())).empty(); ++read) REQUIRE(got == record);
  }
  CHECK(written > 20);
  deliver(pair.session, pair.client);
  for (; !pair.client.read(record.size()).empty(); ++read) {
  }
  CHECK_EQ(read, written);
}

TEST("close_notify ends one half: it is seen, and replies still go out") {
  for (const int version : kVersions) {
    Pair pair({}, {.version = version});
    REQUIRE(pair.done);
    pair.client.write(Bytes(5, 1));
    SSL_shutdown(pair.client.ssl());
    const Fed fed = feed(pair.session, pair.client.output());
    CHECK(fed.plaintext == Bytes(5, 1));
    CHECK(fed.progress == Progress::closed);
    pair.client.input(sealed(pair.session, Bytes(5, 2)));
    CHECK(pair.client.readAll(5) == Bytes(5, 2));
    pair.session.close();
    deliver(pair.session, pair.client);
    CHECK(pair.client.read(1).empty());
    CHECK_EQ(SSL_get_shutdown(pair.client.ssl()) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
  }
}

TEST("a record that is altered at any byte breaks the session, tells the client, and gives no plaintext") {
  for (const int version : kVersions) {
    for (size_t at = 0; at < 60; ++at) {
      Pair pair({}, {.version = version});
      REQUIRE(pair.done);
      pair.client.write(Bytes(30, 1));
      Bytes record = pair.client.output();
      if (at >= record.size()) break;
      record[at] ^= 1;
      record.resize(record.size() + kTlsRecordBytes);  // a length that grew is filled up
      const Fed fed = feed(pair.session, record);
      CHECK(fed.progress == Progress::broken);
      CHECK(fed.plaintext.empty());
      CHECK(!pair.session.output().empty());
      CHECK(!pair.session.fault().empty());
      CHECK(pair.session.write(Bytes(1)) == Progress::broken);
      CHECK(feed(pair.session, record).progress == Progress::broken);
      CHECK_EQ(ERR_peek_error(), 0ul);
    }
  }
}

TEST("a stream that is cut at any byte of the handshake or of a record leaves a session that waits") {
  const auto context = contextOf();
  TlsClient client;
  client.overMemory();
  SSL_do_handshake(client.ssl());
  const Bytes hello = client.output();
  for (size_t cut = 0; cut < hello.size(); cut += 3) {
    TlsSession session(context);
    CHECK(feed(session, std::span(hello).first(cut)).progress == Progress::none);
    CHECK(session.output().empty());
    session.close();
  }
  Pair pair;
  REQUIRE(pair.done);
  pair.client.write(Bytes(300, 1));
  const Bytes record = pair.client.output();
  const Fed fed = feed(pair.session, std::span(record).first(record.size() - 1));
  CHECK(fed.progress == Progress::none && fed.plaintext.empty());
}

TEST("what is no TLS is refused at once, and noise never enters") {
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const auto context = contextOf();
  TlsSession http(context);
  CHECK(feed(http, spanOf(request)).progress == Progress::broken);
  has(http.fault(), "http request");
  for (int round = 0; round < 300; ++round) {
    TlsSession session(context);
    Bytes noise = randomBytes(1 + testRandom()() % 5000);
    if (round % 2) {  // a record header in front leads further in
      const Bytes header = {0x16, 3, 1, static_cast<uint8_t>(noise.size() >> 8), static_cast<uint8_t>(noise.size())};
      noise.insert(noise.begin(), header.begin(), header.end());
    }
    const Fed fed = feed(session, noise);
    CHECK(fed.progress != Progress::some && fed.plaintext.empty());
    CHECK(!session.established());
    CHECK_EQ(ERR_peek_error(), 0ul);
  }
}

TEST("a handshake altered at any byte never lets in somebody else, and breaks nothing") {
  const auto context = contextOf(verifying());
  for (int round = 0; round < 150; ++round) {
    TlsSession session(context);
    TlsClient client({.version = kVersions[round % 2], .certificate = &alice()});
    client.overMemory();
    const int victim = round / 2 % 2;  // which flight of the client's
    bool altered = false;
    for (int flight = 0; flight < 4; ++flight) {
      SSL_do_handshake(client.ssl());
      Bytes said = client.output();
      if (flight == victim && !said.empty()) {
        said[testRandom()() % said.size()] ^= static_cast<uint8_t>(1 + testRandom()() % 255);
        altered = true;
      }
      feed(session, said);
      deliver(session, client);
    }
    CHECK(altered);
    // A few bytes mean nothing (the version of the first record): then it is as if nothing were altered.
    CHECK(!session.established() || session.clientName() == "alice");
    ERR_clear_error();
  }
}

CHECK_MAIN
