// The AES-NI kernel: eight blocks in flight in XMM registers (xts_lanes.h). Needs AES, PCLMULQDQ and SSE4.1.
#if defined(__x86_64__)

#include <immintrin.h>

#include "crypto/aes_expand_x86.h"
#include "crypto/clear_registers_x86.h"

#define SEALDISK_TARGET __attribute__((target("aes,pclmul,sse4.1")))
#define SEALDISK_INLINE SEALDISK_TARGET __attribute__((always_inline)) inline
#include "crypto/xts_lanes.h"

namespace sealdisk {

namespace {

// x^128 = x^7 + x^2 + x + 1 (IEEE 1619 section 5.2).
constexpr int64_t kPolynomial = 0x87;

struct Lanes {
  using Vector = __m128i;
  static constexpr size_t kBlocks = 1;

  SEALDISK_INLINE static Vector load(const uint8_t* from) { return _mm_loadu_si128((const __m128i*)from); }
  SEALDISK_INLINE static void store(uint8_t* to, Vector v) { _mm_storeu_si128((__m128i*)to, v); }
  SEALDISK_INLINE static Vector broadcast(const uint8_t* block) { return load(block); }
  SEALDISK_INLINE static Vector exclusiveOr(Vector a, Vector b) { return _mm_xor_si128(a, b); }
  SEALDISK_INLINE static Vector encryptRound(Vector v, Vector key) { return _mm_aesenc_si128(v, key); }
  SEALDISK_INLINE static Vector encryptLast(Vector v, Vector key) { return _mm_aesenclast_si128(v, key); }
  SEALDISK_INLINE static Vector decryptRound(Vector v, Vector key) { return _mm_aesdec_si128(v, key); }
  SEALDISK_INLINE static Vector decryptLast(Vector v, Vector key) { return _mm_aesdeclast_si128(v, key); }
  SEALDISK_INLINE static Vector numbers(uint64_t first, uint64_t) { return _mm_cvtsi64_si128((int64_t)first); }
  SEALDISK_INLINE static Vector addNumbers(Vector a, Vector b) { return _mm_add_epi64(a, b); }

  // tweak * x^power, power < 64.
  SEALDISK_INLINE static Vector powers(Vector tweak, size_t power) {
    const Vector carried = _mm_srli_epi64(tweak, (int)(64 - power));
    const Vector reduced = _mm_clmulepi64_si128(carried, _mm_cvtsi64_si128(kPolynomial), 0x01);
    const Vector shifted = _mm_xor_si128(_mm_slli_epi64(tweak, (int)power), _mm_slli_si128(carried, 8));
    return _mm_xor_si128(shifted, reduced);
  }

  // tweak * x^(8 * kBytes).
  template <int kBytes>
  SEALDISK_INLINE static Vector advance(Vector tweak) {
    const Vector carried = _mm_srli_si128(tweak, 16 - kBytes);
    const Vector reduced = _mm_clmulepi64_si128(carried, _mm_cvtsi64_si128(kPolynomial), 0x00);
    return _mm_xor_si128(_mm_slli_si128(tweak, kBytes), reduced);
  }

  SEALDISK_INLINE static void clearRegisters() {
    asm volatile(SEALDISK_CLEAR_XMM ::: "memory", SEALDISK_LOW_REGISTERS);
  }
};

bool available() noexcept {
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

}  // namespace

const XtsKernel kXtsAesNi = {"aes-ni", 5000, available, expandXtsX86, LaneCipher<Lanes>::crypt<Direction::kEncrypt>,
                             LaneCipher<Lanes>::crypt<Direction::kDecrypt>};

}  // namespace sealdisk

#endif
