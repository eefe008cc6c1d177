// AES-256 key expansion with AES-NI (FIPS 197 section 5.2; the decryption keys are those of section 5.3.5).
//
// Each round key is stored where it stays as soon as it is known; the code has fewer live values than registers, so
// none goes to the stack. Any thread.
#if defined(__x86_64__)

#include "crypto/aes_expand_x86.h"

#include <immintrin.h>

#include "crypto/residue.h"

#define SEALDISK_TARGET __attribute__((target("aes,sse4.1")))
#define SEALDISK_INLINE SEALDISK_TARGET __attribute__((always_inline)) inline

namespace sealdisk {

namespace {

using RoundKeys = uint8_t (&)[kAes256RoundKeys][kAesBlockBytes];
using ConstRoundKeys = const uint8_t (&)[kAes256RoundKeys][kAesBlockBytes];

SEALDISK_INLINE __m128i load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
SEALDISK_INLINE void store(uint8_t* to, __m128i value) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }

// Each word of `key` xored with all words before it: what the four chained xors of the expansion come to.
SEALDISK_INLINE __m128i chain(__m128i key) {
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  return _mm_xor_si128(key, _mm_slli_si128(key, 8));
}

// Round keys 2n and 2n+1 from the two before them. The last pair has no second key.
template <int kRoundConstant, bool kLast>
SEALDISK_INLINE void expandPair(__m128i& even, __m128i& odd, uint8_t* to) {
  const __m128i rotated = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, kRoundConstant), 0xff);
  even = _mm_xor_si128(chain(even), rotated);
  store(to, even);
  if constexpr (!kLast) {
    const __m128i substituted = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa);
    odd = _mm_xor_si128(chain(odd), substituted);
    store(to + kAesBlockBytes, odd);
  }
}

SEALDISK_TARGET void expandHalf(const uint8_t* key, RoundKeys keys) {
  __m128i even = load(key);
  __m128i odd = load(key + kAesBlockBytes);
  store(keys[0], even);
  store(keys[1], odd);
  expandPair<0x01, false>(even, odd, keys[2]);
  expandPair<0x02, false>(even, odd, keys[4]);
  expandPair<0x04, false>(even, odd, keys[6]);
  expandPair<0x08, false>(even, odd, keys[8]);
  expandPair<0x10, false>(even, odd, keys[10]);
  expandPair<0x20, false>(even, odd, keys[12]);
  expandPair<0x40, true>(even, odd, keys[14]);
}

SEALDISK_TARGET void invert(ConstRoundKeys encrypt, RoundKeys decrypt) {
  constexpr size_t kLast = kAes256RoundKeys - 1;
  store(decrypt[0], load(encrypt[kLast]));
  for (size_t i = 1; i < kLast; i++) store(decrypt[i], _mm_aesimc_si128(load(encrypt[kLast - i])));
  store(decrypt[kLast], load(encrypt[0]));
}

}  // namespace

void expandXtsX86(const uint8_t* key, XtsSchedule& schedule) noexcept {
  expandHalf(key, schedule.encrypt);
  expandHalf(key + 32, schedule.tweak);
  invert(schedule.encrypt, schedule.decrypt);
  clearResidue();
}

}  // namespace sealdisk

#endif
