// TLS as the channel of a connection: much data, slow and vanishing clients, cut streams, and a disk served through it.
// The client is OpenSSL on a blocking socket.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "engine_rig.h"
#include "tls/channel.h"
#include "tls_rig.h"

using namespace rig;

namespace {

constexpr int kVersions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

// A socket pair whose one end a client has, TLS established.
struct Wire {
  int ours, theirs;
  std::shared_ptr<TlsSession> session = std::make_shared<TlsSession>(contextOf());
  std::unique_ptr<TlsClient> client;

  explicit Wire(int version = 0, int bufferBytes = 0) {
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    const timeval deadline{20, 0};
    for (const int fd : fds) {
      if (bufferBytes) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bufferBytes, sizeof bufferBytes);
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    }
    ours = fds[0];
    theirs = fds[1];
    client = std::make_unique<TlsClient>(ClientOptions{.version = version});
    must(handshake(*session, *client), "handshake");
    client->over(theirs);
  }
  ~Wire() {
    close(ours);
    vanish();
  }
  void vanish() {
    if (theirs >= 0) close(theirs);
    theirs = -1;
  }

  void rawSend(std::span<const uint8_t> bytes) { must(send(theirs, bytes.data(), bytes.size(), 0) >= 0, "send"); }
};

void waitFor(int fd, short events) {
  pollfd one{fd, events, 0};
  poll(&one, 1, 20'000);
}

// Into two vectors of odd sizes, as the receiver does; waits when there is nothing.
ssize_t receiveSome(Channel& channel, int fd, uint8_t* out, size_t most) {
  const size_t first = std::min<size_t>(most, testRandom()() % 100'000);
  const iovec vectors[] = {{out, first}, {out + first, most - first}};
  for (;;) {
    const ssize_t got = channel.receive(vectors, 2);
    if (got != -EAGAIN) return got;
    CHECK(!channel.holdsInput());
    waitFor(fd, POLLIN);
  }
}

void sendAll(Channel& channel, int fd, const Bytes& data) {
  for (size_t done = 0; done < data.size();) {
    uint8_t* const at = const_cast<uint8_t*>(data.data()) + done;
    const size_t left = data.size() - done, small = std::min<size_t>(left, testRandom()() % 40);
    const iovec vectors[] = {{at, small}, {at + small, std::min<size_t>(left - small, testRandom()() % MiB)}};
    const ssize_t taken = channel.send(vectors, 2);
    if (taken > 0) done += static_cast<size_t>(taken);
    must(taken > 0 || taken == -EAGAIN || vectors[0].iov_len + vectors[1].iov_len == 0, "channel.send");
    if (taken == -EAGAIN) waitFor(fd, POLLOUT);
  }
  while (channel.holdsOutput()) {
    must(channel.flush() == 0, "channel.flush");
    if (channel.holdsOutput()) waitFor(fd, POLLOUT);
  }
}

// A disk whose connections speak TLS.
struct TlsRig : Rig {
  TlsRig() : Rig(4 * MiB) {}
  std::unique_ptr<Wire> connectTls(int version = 0, int bufferBytes = 0) {
    auto wire = std::make_unique<Wire>(version, bufferBytes);
    end = std::make_shared<Later<ConnectionEnd>>();
    ConnectionOptions options;
    options.socketFd = wire->ours;
    options.channel = [session = std::exchange(wire->session, nullptr)](int fd) { return makeTlsChannel(fd, session); };
    connection = disk->serve(std::move(options), [end = end](const ConnectionEnd& how) { end->set(how); });
    return wire;
  }
};

uint32_t errorOf(const Bytes& reply) {
  uint32_t error;
  memcpy(&error, &reply[4], 4);
  return be32toh(error);
}

}  // namespace

TEST("64 MiB go through in each direction, in both versions, whatever the pieces") {
  const Bytes data = randomBytes(64 * MiB);
  for (const int version : kVersions) {
    Wire wire(version);
    const auto channel = makeTlsChannel(wire.ours, wire.session);
    Bytes got(data.size());
    std::thread sender([&] { wire.client->write(data); });
    for (size_t done = 0; done < got.size();) {
      const ssize_t count = receiveSome(*channel, wire.ours, got.data() + done, got.size() - done);
      if (count <= 0) break;
      done += static_cast<size_t>(count);
    }
    sender.join();
    CHECK(got == data);

    std::fill(got.begin(), got.end(), 0);
    std::thread reader([&] { got = wire.client->readAll(data.size()); });
    sendAll(*channel, wire.ours, data);
    reader.join();
    CHECK(got == data);
  }
}

TEST("small pieces leave as one record, and a large one as records of 16 KiB") {
  Wire wire(TLS1_3_VERSION);
  const auto channel = makeTlsChannel(wire.ours, wire.session);
  uint8_t piece[160] = {};
  std::vector<iovec> pieces(100, iovec{piece, sizeof piece});
  Bytes large(3 * kTlsRecordBytes + 1);
  CHECK_EQ(channel->send(pieces.data(), pieces.size()), static_cast<ssize_t>(100 * sizeof piece));
  const iovec one{large.data(), large.size()};
  CHECK_EQ(channel->send(&one, 1), static_cast<ssize_t>(large.size()));
  constexpr size_t kAddedBytes = 5 + 1 + 16;
  for (const size_t plaintextBytes : {100 * sizeof piece, kTlsRecordBytes, kTlsRecordBytes, kTlsRecordBytes, size_t{1}}) {
    Bytes record(plaintextBytes + kAddedBytes);
    REQUIRE(recv(wire.theirs, record.data(), record.size(), MSG_WAITALL) == static_cast<ssize_t>(record.size()));
    CHECK_EQ(record[3] << 8 | record[4], static_cast<int>(record.size() - 5));
  }
}

TEST("for a client that reads nothing no more is kept than the limit, and all of it arrives when it reads") {
  Wire wire(0, 16 * KiB);
  const auto channel = makeTlsChannel(wire.ours, wire.session);
  Bytes data = randomBytes(4 * MiB);
  size_t taken = 0;
  for (int round = 0; round < 100; ++round) {
    const iovec vector{data.data() + taken, data.size() - taken};
    const ssize_t result = channel->send(&vector, 1);
    CHECK(result > 0 || result == -EAGAIN);
    if (result > 0) taken += static_cast<size_t>(result);
    REQUIRE(wire.session->output().size() <= kTlsOutputBytes);
  }
  CHECK(taken < MiB);
  CHECK(channel->holdsOutput());
  std::thread reader([&] { CHECK(wire.client->readAll(data.size()) == data); });
  sendAll(*channel, wire.ours, Bytes(data.begin() + static_cast<long>(taken), data.end()));
  reader.join();
  CHECK(!channel->holdsOutput());
}

TEST("input that no event will announce is said to be held, and nothing is said to be that is not there") {
  Wire wire;
  const auto channel = makeTlsChannel(wire.ours, wire.session);
  wire.client->write(Bytes(10'000, 1));
  uint8_t out[4000];
  const iovec vector{out, sizeof out};
  CHECK_EQ(channel->receive(&vector, 1), 4000);
  CHECK(channel->holdsInput());
  CHECK_EQ(channel->receive(&vector, 1), 4000);
  CHECK(channel->holdsInput());
  CHECK_EQ(channel->receive(&vector, 1), 2000);
  CHECK(!channel->holdsInput());
  CHECK_EQ(channel->receive(&vector, 1), -EAGAIN);
  CHECK(!channel->holdsInput());
}

TEST("a stream that ends with or without a close_notify, or inside a record, ends; what came before is given out") {
  for (const int how : {0, 1, 2}) {
    Wire wire;
    const auto channel = makeTlsChannel(wire.ours, wire.session);
    wire.client->write(Bytes(100, 1));
    if (how == 0) SSL_shutdown(wire.client->ssl());
    if (how == 1) wire.rawSend(Bytes{0x17, 3, 3, 0, 100, 1, 2, 3});
    wire.vanish();
    uint8_t out[4000];
    const iovec vector{out, sizeof out};
    CHECK_EQ(channel->receive(&vector, 1), 100);
    CHECK_EQ(channel->holdsInput(), how == 0);  // of the others the socket tells
    CHECK_EQ(channel->receive(&vector, 1), 0);
    CHECK_EQ(channel->receive(&vector, 1), 0);
  }
}

TEST("a forged record is an error after what came before it, and the client is told") {
  Wire wire;
  const auto channel = makeTlsChannel(wire.ours, wire.session);
  wire.client->write(Bytes(100, 1));
  wire.rawSend(Bytes(40, 0x17));
  uint8_t out[4000];
  iovec vector{out, sizeof out};
  CHECK_EQ(channel->receive(&vector, 1), 100);
  CHECK_EQ(channel->receive(&vector, 1), -EPROTO);
  vector.iov_len = 1;
  CHECK_EQ(channel->send(&vector, 1), -EPROTO);
  CHECK(wire.client->read(1).empty());
  CHECK(ERR_GET_REASON(ERR_peek_error()) >= SSL_AD_REASON_OFFSET);
  ERR_clear_error();
}

TEST("a channel that is destroyed says close_notify, also to a client that has gone") {
  Wire wire;
  makeTlsChannel(wire.ours, wire.session).reset();
  CHECK(wire.client->read(1).empty());
  CHECK_EQ(SSL_get_shutdown(wire.client->ssl()) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
  Wire gone;
  const auto channel = makeTlsChannel(gone.ours, gone.session);
  gone.vanish();
  uint8_t byte = 0;
  const iovec vector{&byte, 1};
  CHECK_EQ(channel->send(&vector, 1), -EPIPE);
}

TEST("a disk is served through it: what was written is read, in both versions, and DISC ends it in good order") {
  withBothBackings([] {
    TlsRig rig;
    const Bytes data = randomBytes(1 * MiB);
    for (const int version : kVersions) {
      const auto wire = rig.connectTls(version);
      wire->client->write(Client::write(4096, data));
      CHECK_EQ(errorOf(wire->client->readAll(16)), 0u);
      wire->client->write(Client::header(Command::read, 4096, 1 * MiB));
      CHECK_EQ(errorOf(wire->client->readAll(16)), 0u);
      CHECK(wire->client->readAll(1 * MiB) == data);
      wire->client->write(Client::header(Command::disconnect, 0, 0));
      CHECK(wire->client->read(1).empty());
      CHECK_EQ(SSL_get_shutdown(wire->client->ssl()) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
      const auto end = rig.end->wait();
      CHECK(end && end->reason == ConnectionEnd::Reason::disconnect);
    }
    Bytes back;
    CHECK_EQ(rig.connect()->read(4096, 1 * MiB, back), 0u);
    CHECK(back == data);
  });
}

TEST("many requests in one go are all answered, and so is a half-closed stream to its end") {
  withBothBackings([] {
    TlsRig rig;
    const auto wire = rig.connectTls();
    Bytes requests;
    for (uint64_t i = 0; i < 1000; ++i) {
      const Bytes request = Client::header(Command::read, i % 1000 * 4096, 4096, 0, i);
      requests.insert(requests.end(), request.begin(), request.end());
    }
    std::thread sender([&] {
      wire->client->write(requests);
      SSL_shutdown(wire->client->ssl());
      shutdown(wire->theirs, SHUT_WR);
    });
    sender.join();
    for (int i = 0; i < 1000; ++i) REQUIRE(errorOf(wire->client->readAll(16 + 4096)) == 0);
    CHECK(wire->client->read(1).empty());
    const auto end = rig.end->wait();
    CHECK(end && end->reason == ConnectionEnd::Reason::eof);
  });
}

TEST("a client that vanishes at any byte of its ciphertext leaves nothing behind") {
  withBothBackings([] {
    TlsRig rig;
    for (size_t cut = 0; cut < 300; cut += cut < 60 ? 7 : 61) {
      const auto wire = rig.connectTls();
      wire->client->overMemory();
      wire->client->write(Client::write(100, Bytes(250, 0xee)));
      const Bytes ciphertext = wire->client->output();
      wire->rawSend(std::span(ciphertext).first(std::min(cut, ciphertext.size() - 1)));
      wire->vanish();
      const auto end = rig.end->wait();
      CHECK(end && end->reason == ConnectionEnd::Reason::eof);
    }
    CHECK_EQ(rig.disk->counters().writes.load(), 0u);
    CHECK(eventually([&rig] { return rig.disk->counters().connections.load() == 0; }));
  });
}

TEST("a client that reads no replies stops its own, hinders nobody, and close() here ends it") {
  withBothBackings([] {
    TlsRig rig;
    const auto slow = rig.connectTls(0, 16 * KiB);
    std::thread sender([&slow] {
      try {
        for (int i = 0; i < 200; ++i) slow->client->write(Client::header(Command::read, 0, 1 * MiB));
      } catch (const std::exception&) {  // the connection was closed
      }
    });
    const auto stuck = rig.connection;
    const auto stuckEnd = rig.end;
    CHECK(eventually([&rig] { return rig.disk->counters().reads.load() >= kArenaBytes / MiB; }));
    const auto other = rig.connectTls();
    for (int i = 0; i < 50; ++i) {
      other->client->write(Client::header(Command::flush, 0, 0));
      REQUIRE(errorOf(other->client->readAll(16)) == 0);
    }
    CHECK(rig.disk->counters().reads.load() <= kArenaBytes / MiB + 1);
    stuck->close();
    const auto end = stuckEnd->wait();
    CHECK(end && end->reason == ConnectionEnd::Reason::closed);
    shutdown(slow->theirs, SHUT_RDWR);
    sender.join();
  });
}

TEST("a client that breaks TLS among its requests ends its own connection") {
  withBothBackings([] {
    TlsRig rig;
    const auto good = rig.connectTls();
    const auto bad = rig.connectTls();
    bad->client->write(Client::header(Command::flush, 0, 0));
    CHECK_EQ(errorOf(bad->client->readAll(16)), 0u);
    bad->rawSend(randomBytes(64));
    const auto end = rig.end->wait();
    CHECK(end && end->reason == ConnectionEnd::Reason::error);
    good->client->write(Client::header(Command::flush, 0, 0));
    CHECK_EQ(errorOf(good->client->readAll(16)), 0u);
  });
}

CHECK_MAIN
