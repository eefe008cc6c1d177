// The VAES kernel over YMM registers: sixteen blocks in flight (xts_lanes.h). Needs VAES, VPCLMULQDQ and AVX2.
#if defined(__x86_64__)

#include <immintrin.h>

#include "crypto/aes_expand_x86.h"
#include "crypto/clear_registers_x86.h"

#define SEALDISK_TARGET __attribute__((target("vaes,vpclmulqdq,aes,pclmul,avx2")))
#define SEALDISK_INLINE SEALDISK_TARGET __attribute__((always_inline)) inline
#include "crypto/xts_lanes.h"

namespace sealdisk {

namespace {

// x^128 = x^7 + x^2 + x + 1 (IEEE 1619 section 5.2).
constexpr int64_t kPolynomial = 0x87;

struct Lanes {
  using Vector = __m256i;
  static constexpr size_t kBlocks = 2;

  SEALDISK_INLINE static Vector load(const uint8_t* from) { return _mm256_loadu_si256((const __m256i*)from); }
  SEALDISK_INLINE static void store(uint8_t* to, Vector v) { _mm256_storeu_si256((__m256i*)to, v); }
  SEALDISK_INLINE static Vector broadcast(const uint8_t* block) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)block));
  }
  SEALDISK_INLINE static Vector exclusiveOr(Vector a, Vector b) { return _mm256_xor_si256(a, b); }
  SEALDISK_INLINE static Vector encryptRound(Vector v, Vector key) { return _mm256_aesenc_epi128(v, key); }
  SEALDISK_INLINE static Vector encryptLast(Vector v, Vector key) { return _mm256_aesenclast_epi128(v, key); }
  SEALDISK_INLINE static Vector decryptRound(Vector v, Vector key) { return _mm256_aesdec_epi128(v, key); }
  SEALDISK_INLINE static Vector decryptLast(Vector v, Vector key) { return _mm256_aesdeclast_epi128(v, key); }
  SEALDISK_INLINE static Vector numbers(uint64_t first, uint64_t step) {
    return _mm256_set_epi64x(0, (int64_t)(first + step), 0, (int64_t)first);
  }
  SEALDISK_INLINE static Vector addNumbers(Vector a, Vector b) { return _mm256_add_epi64(a, b); }

  // Lane n: tweak * x^(power + n), power + n < 64.
  SEALDISK_INLINE static Vector powers(Vector tweak, size_t power) {
    const int64_t p = (int64_t)power;
    const Vector left = _mm256_set_epi64x(p + 1, p + 1, p, p);
    const Vector carried = _mm256_srlv_epi64(tweak, _mm256_sub_epi64(_mm256_set1_epi64x(64), left));
    const Vector reduced = _mm256_clmulepi64_epi128(carried, _mm256_set1_epi64x(kPolynomial), 0x01);
    const Vector shifted = _mm256_xor_si256(_mm256_sllv_epi64(tweak, left), _mm256_bslli_epi128(carried, 8));
    return _mm256_xor_si256(shifted, reduced);
  }

  // tweak * x^(8 * kBytes).
  template <int kBytes>
  SEALDISK_INLINE static Vector advance(Vector tweak) {
    const Vector carried = _mm256_bsrli_epi128(tweak, 16 - kBytes);
    const Vector reduced = _mm256_clmulepi64_epi128(carried, _mm256_set1_epi64x(kPolynomial), 0x00);
    return _mm256_xor_si256(_mm256_bslli_epi128(tweak, kBytes), reduced);
  }

  SEALDISK_INLINE static void clearRegisters() {
    asm volatile(SEALDISK_CLEAR_YMM ::: "memory", SEALDISK_LOW_REGISTERS);
  }
};

bool available() noexcept {
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") &&
         __builtin_cpu_supports("avx2");
}

}  // namespace

const XtsKernel kXtsVaesAvx2 = {"vaes-avx2", 12000, available, expandXtsX86, LaneCipher<Lanes>::crypt<Direction::kEncrypt>,
                                LaneCipher<Lanes>::crypt<Direction::kDecrypt>};

}  // namespace sealdisk

#endif
