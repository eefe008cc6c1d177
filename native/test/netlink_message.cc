// Generic netlink messages: what is built is what the kernel reads, and no answer, however broken, is read past its end.

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <cerrno>
#include <random>

#include "check.h"
#include "netlink/generic_netlink.h"

using namespace sealdisk;

namespace {

constexpr uint32_t kSequence = 7;

std::vector<uint8_t> errorMessage(int32_t error, uint16_t flags, const std::vector<uint8_t>& tail = {}) {
  nlmsgerr body = {};
  body.error = error;
  body.msg.nlmsg_len = NLMSG_HDRLEN;
  nlmsghdr header = {};
  header.nlmsg_type = NLMSG_ERROR;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = kSequence;
  header.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + sizeof body + tail.size());
  std::vector<uint8_t> bytes(NLMSG_HDRLEN + sizeof body);
  memcpy(bytes.data(), &header, sizeof header);
  memcpy(bytes.data() + NLMSG_HDRLEN, &body, sizeof body);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

// A message's attributes without its headers.
std::vector<uint8_t> bodyOf(MessageBuilder& builder) {
  const auto bytes = builder.finish(kSequence);
  return {bytes.begin() + NLMSG_HDRLEN + GENL_HDRLEN, bytes.end()};
}

int errnoOf(const std::vector<uint8_t>& datagram, std::string* words = nullptr) {
  NetlinkAnswer answer;
  try {
    readDatagram(datagram, kSequence, "connect", answer);
  } catch (const NetlinkError& error) {
    if (words != nullptr) *words = error.what();
    return error.errno_;
  }
  return 0;
}

}  // namespace

TEST("a nested message is read back as it was built") {
  MessageBuilder builder(20, 1, 1);
  builder.u32(1, 5).u64(2, 1ULL << 40).nest(7).nest(1).u32(1, 42).end().end().string(10, "uuid");
  const auto body = bodyOf(builder);
  CHECK_EQ(findAttribute(body, 1)->u32(), 5u);
  CHECK_EQ(findAttribute(body, 2)->payload.size(), 8u);
  const auto item = findAttribute(findAttribute(body, 7)->payload, 1);
  REQUIRE(item);
  CHECK_EQ(findAttribute(item->payload, 1)->u32(), 42u);
  CHECK_EQ(findAttribute(body, 10)->payload.size(), 5u);
  CHECK(!findAttribute(body, 3));
}

TEST("an acknowledgement ends the wait, one of another sequence does not") {
  NetlinkAnswer answer;
  auto message = errorMessage(0, 0);
  readDatagram(message, kSequence + 1, "connect", answer);
  CHECK(!answer.acknowledged);
  readDatagram(message, kSequence, "connect", answer);
  CHECK(answer.acknowledged);
}

TEST("a refusal keeps the kernel's errno and its words") {
  MessageBuilder builder(0, 0, 0);
  builder.string(NLMSGERR_ATTR_MSG, "nbd is busy");
  std::string words;
  CHECK_EQ(errnoOf(errorMessage(-EBUSY, NLM_F_ACK_TLVS | NLM_F_CAPPED, bodyOf(builder)), &words), EBUSY);
  CHECK(words.starts_with("connect: nbd is busy: "));
  CHECK_EQ(errnoOf(errorMessage(-EINVAL, 0)), EINVAL);
}

TEST("an error that is no errno is a bad message") {
  CHECK_EQ(errnoOf(errorMessage(5, 0)), EBADMSG);
  CHECK_EQ(errnoOf(errorMessage(INT32_MIN, 0)), EBADMSG);
}

TEST("an attribute that is longer than its message is refused") {
  MessageBuilder builder(20, 1, 1);
  builder.u32(1, 5);
  auto body = bodyOf(builder);
  body[0] = 9;
  CHECK_THROWS(NetlinkError, attributes(body));
  body[0] = 3;
  CHECK_THROWS(NetlinkError, attributes(body));
}

TEST("an integer that is too short is refused") {
  MessageBuilder builder(20, 1, 1);
  builder.string(1, "");
  const auto body = bodyOf(builder);
  CHECK_THROWS(NetlinkError, findAttribute(body, 1)->u32());
}

TEST("no change or cut of an answer is read past its end") {
  const char* given = getenv("SEED");
  const uint32_t seed = given != nullptr ? static_cast<uint32_t>(strtoul(given, nullptr, 10)) : std::random_device{}();
  printf("# SEED=%u\n", seed);
  std::mt19937 random(seed);
  MessageBuilder builder(20, 5, 1);
  builder.string(NLMSGERR_ATTR_MSG, "why").nest(9).nest(1).u32(1, 3).end().end();
  const auto built = builder.finish(kSequence);
  const std::vector<uint8_t> data(built.begin(), built.end());
  const auto refusal = errorMessage(-EIO, NLM_F_ACK_TLVS, {data.begin() + NLMSG_HDRLEN + GENL_HDRLEN, data.end()});
  for (int round = 0; round < 20000; round++) {
    // In a heap block of the exact length, where the address sanitizer sees the first byte too many.
    std::vector<uint8_t> bytes = round % 2 == 0 ? data : refusal;
    for (uint32_t flips = random() % 4; flips > 0; flips--) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    bytes.resize(random() % 3 == 0 ? random() % (bytes.size() + 1) : bytes.size());
    bytes.shrink_to_fit();
    NetlinkAnswer answer;
    try {
      readDatagram(bytes, kSequence, "status", answer);
      for (const auto& attribute : attributes(answer.payload)) attributes(attribute.payload);
    } catch (const NetlinkError&) {
    }
  }
}

CHECK_MAIN
