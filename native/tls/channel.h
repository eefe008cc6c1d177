// TLS over a connection's socket, after its handshake.
//
// Ciphertext is received in big runs and deciphered into the buffers of who asks for it; replies are enciphered in
// records of up to 16 KiB, small ones together, and what the socket does not take is kept, up to kTlsOutputBytes. So a
// client that reads nothing stops its own replies, as without TLS. The end of the stream is one with or without a
// close_notify: every request and reply has its own length. Our own close_notify leaves when the channel is destroyed,
// if the socket takes it at once.
//
// Owner: the connection's thread, for which it also is the session's only owner.
#pragma once

#include <memory>

#include "engine/channel.h"
#include "tls/session.h"

namespace sealdisk {

// `session` is established. Throws std::bad_alloc.
std::unique_ptr<Channel> makeTlsChannel(int socketFd, std::shared_ptr<TlsSession> session);

}  // namespace sealdisk
