// A cipher that leaves bytes as they are, linked in place of crypto/xts.cc and its self-test: what the engine does beside
// the cipher can be measured with it. Only `make bench` builds it.
#include <cstring>

#include "crypto/xts.h"

namespace sealdisk {

const char* xtsKernelName() noexcept { return "none"; }
size_t xtsKernelBytesPerUs() noexcept { return 24000; }
const char* xtsSelfTest() noexcept { return nullptr; }

XtsKey::XtsKey(const DataKey&) : schedule_(64) {}
void XtsKey::encrypt(uint8_t*, size_t, size_t, uint64_t) const noexcept {}
void XtsKey::decrypt(const uint8_t* from, uint8_t* to, size_t bytes, size_t, uint64_t) const noexcept {
  if (from != to) std::memcpy(to, from, bytes);
}

}  // namespace sealdisk
