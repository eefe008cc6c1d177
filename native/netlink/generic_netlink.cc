// Generic netlink: see generic_netlink.h.

#include "netlink/generic_netlink.h"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>

namespace sealdisk {

namespace {

constexpr size_t kHeadersBytes = NLMSG_HDRLEN + GENL_HDRLEN;

[[noreturn]] void fail(const std::string& what, int error, bool familyMissing = false) {
  throw NetlinkError(what + ": " + strerror(error), error, familyMissing);
}

// The kernel's sentence in an error message, behind the echo of our request's header (netlink.h, struct nlmsgerr).
std::string kernelsWords(std::span<const uint8_t> errorPayload, uint16_t flags) {
  if (!(flags & NLM_F_ACK_TLVS)) return {};
  nlmsgerr error;
  memcpy(&error, errorPayload.data(), sizeof error);
  size_t at = sizeof error;
  if (!(flags & NLM_F_CAPPED)) {
    if (error.msg.nlmsg_len < NLMSG_HDRLEN) return {};
    at += NLMSG_ALIGN(error.msg.nlmsg_len - NLMSG_HDRLEN);
  }
  if (at > errorPayload.size()) return {};
  const auto text = findAttribute(errorPayload.subspan(at), NLMSGERR_ATTR_MSG);
  if (!text) return {};
  const auto* chars = reinterpret_cast<const char*>(text->payload.data());
  return std::string(chars, strnlen(chars, text->payload.size()));
}

void readError(std::span<const uint8_t> payload, uint16_t flags, const std::string& what) {
  if (payload.size() < sizeof(nlmsgerr)) fail(what + ": netlink error message is too short", EBADMSG);
  int32_t error;
  memcpy(&error, payload.data(), sizeof error);
  if (error == 0) return;
  if (error > 0 || error < -4095) fail(what + ": netlink error is no errno", EBADMSG);
  const std::string words = kernelsWords(payload, flags);
  fail(words.empty() ? what : what + ": " + words, -error);
}

}  // namespace

std::vector<NetlinkAttribute> attributes(std::span<const uint8_t> bytes) {
  std::vector<NetlinkAttribute> found;
  while (bytes.size() >= NLA_HDRLEN) {
    nlattr header;
    memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < NLA_HDRLEN || header.nla_len > bytes.size()) {
      fail("netlink attribute does not fit its message", EBADMSG);
    }
    found.push_back({static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
                     bytes.subspan(NLA_HDRLEN, header.nla_len - NLA_HDRLEN)});
    bytes = bytes.subspan(std::min<size_t>(NLA_ALIGN(header.nla_len), bytes.size()));
  }
  return found;
}

std::optional<NetlinkAttribute> findAttribute(std::span<const uint8_t> bytes, uint16_t type) {
  for (const auto& attribute : attributes(bytes)) {
    if (attribute.type == type) return attribute;
  }
  return std::nullopt;
}

MessageBuilder::MessageBuilder(uint16_t family, uint8_t command, uint8_t version) : bytes_(kHeadersBytes) {
  nlmsghdr header = {};
  header.nlmsg_type = family;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  genlmsghdr generic = {};
  generic.cmd = command;
  generic.version = version;
  memcpy(bytes_.data(), &header, sizeof header);
  memcpy(bytes_.data() + NLMSG_HDRLEN, &generic, sizeof generic);
}

MessageBuilder& MessageBuilder::raw(uint16_t type, const void* data, size_t bytes) {
  assert(NLA_HDRLEN + bytes <= UINT16_MAX);
  nlattr header = {};
  header.nla_len = static_cast<uint16_t>(NLA_HDRLEN + bytes);
  header.nla_type = type;
  const size_t at = bytes_.size();
  bytes_.resize(at + NLA_ALIGN(header.nla_len));
  memcpy(bytes_.data() + at, &header, sizeof header);
  if (bytes > 0) memcpy(bytes_.data() + at + NLA_HDRLEN, data, bytes);
  return *this;
}

MessageBuilder& MessageBuilder::nest(uint16_t type) {
  open_.push_back(bytes_.size());
  return raw(type | NLA_F_NESTED, nullptr, 0);
}

MessageBuilder& MessageBuilder::end() {
  assert(!open_.empty());
  const auto length = static_cast<uint16_t>(bytes_.size() - open_.back());
  memcpy(bytes_.data() + open_.back() + offsetof(nlattr, nla_len), &length, sizeof length);
  open_.pop_back();
  return *this;
}

std::span<const uint8_t> MessageBuilder::finish(uint32_t sequence) {
  assert(open_.empty());
  const auto length = static_cast<uint32_t>(bytes_.size());
  memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
  memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof sequence);
  return bytes_;
}

void readDatagram(std::span<const uint8_t> datagram, uint32_t sequence, const std::string& what,
                  NetlinkAnswer& answer) {
  while (!datagram.empty()) {
    nlmsghdr header;
    if (datagram.size() < sizeof header) fail(what + ": netlink message is cut off", EBADMSG);
    memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > datagram.size()) {
      fail(what + ": netlink message does not fit", EBADMSG);
    }
    const auto payload = datagram.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
    datagram = datagram.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), datagram.size()));
    if (header.nlmsg_seq != sequence) continue;
    if (header.nlmsg_type == NLMSG_ERROR) {
      readError(payload, header.nlmsg_flags, what);
      answer.acknowledged = true;
    } else if (header.nlmsg_type >= NLMSG_MIN_TYPE) {
      if (payload.size() < GENL_HDRLEN) fail(what + ": generic netlink message is cut off", EBADMSG);
      answer.payload.assign(payload.begin() + GENL_HDRLEN, payload.end());
    }
  }
}

GenericNetlink::GenericNetlink() : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC)) {
  if (fd_ < 0) fail("netlink socket", errno);
  // Without these two (kernels before 4.12) errors come without words and with an echo of the request: still readable.
  const int on = 1;
  setsockopt(fd_, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
}

GenericNetlink::~GenericNetlink() { close(fd_); }

std::vector<uint8_t> GenericNetlink::receive(const std::string& what) {
  for (;;) {
    const ssize_t waiting = recv(fd_, nullptr, 0, MSG_PEEK | MSG_TRUNC);
    if (waiting < 0 && errno == EINTR) continue;
    if (waiting < 0) fail(what, errno);
    std::vector<uint8_t> datagram(static_cast<size_t>(waiting));
    sockaddr_nl from = {};
    socklen_t fromBytes = sizeof from;
    const ssize_t got = recvfrom(fd_, datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&from), &fromBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(what, errno);
    datagram.resize(static_cast<size_t>(got));
    // Any process may send to our port; only the kernel is port 0.
    if (fromBytes == sizeof from && from.nl_pid == 0) return datagram;
  }
}

std::vector<uint8_t> GenericNetlink::request(MessageBuilder& message, const std::string& what) {
  const uint32_t sequence = ++sequence_;
  const auto bytes = message.finish(sequence);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  // The kernel acts inside sendto. A signal comes back as an error of its own, so a repeat never acts twice.
  ssize_t sent;
  do {
    sent = sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) fail(what, errno);

  NetlinkAnswer answer;
  while (!answer.acknowledged) readDatagram(receive(what), sequence, what, answer);
  return std::move(answer.payload);
}

uint16_t GenericNetlink::family(const std::string& name) {
  MessageBuilder message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
  message.string(CTRL_ATTR_FAMILY_NAME, name);
  std::vector<uint8_t> answer;
  try {
    answer = request(message, "netlink family " + name);
  } catch (const NetlinkError& error) {
    if (error.errno_ != ENOENT) throw;
    throw NetlinkError(error.what(), error.errno_, true);
  }
  const auto id = findAttribute(answer, CTRL_ATTR_FAMILY_ID);
  if (!id) fail("netlink family " + name + " has no number", EBADMSG);
  return id->u16();
}

}  // namespace sealdisk
