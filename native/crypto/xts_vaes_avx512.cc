// The VAES kernel over ZMM registers: thirty-two blocks in flight, one 512-byte sector per stride (xts_lanes.h).
// Needs VAES, VPCLMULQDQ, AVX512F/BW/VL, and an operating system that saves the ZMM registers, in signals too.
#if defined(__x86_64__)

// GCC 12 warns of its own _mm512_undefined_epi32() (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "crypto/aes_expand_x86.h"
#include "crypto/clear_registers_x86.h"
#include "crypto/host_kernel.h"

#define SEALDISK_TARGET __attribute__((target("vaes,vpclmulqdq,aes,pclmul,avx2,avx512f,avx512bw,avx512vl")))
#define SEALDISK_INLINE SEALDISK_TARGET __attribute__((always_inline)) inline
#include "crypto/xts_lanes.h"

namespace sealdisk {

namespace {

// x^128 = x^7 + x^2 + x + 1 (IEEE 1619 section 5.2).
constexpr int64_t kPolynomial = 0x87;

struct Lanes {
  using Vector = __m512i;
  static constexpr size_t kBlocks = 4;

  SEALDISK_INLINE static Vector load(const uint8_t* from) { return _mm512_loadu_si512(from); }
  SEALDISK_INLINE static void store(uint8_t* to, Vector v) { _mm512_storeu_si512(to, v); }
  SEALDISK_INLINE static Vector broadcast(const uint8_t* block) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)block));
  }
  SEALDISK_INLINE static Vector exclusiveOr(Vector a, Vector b) { return _mm512_xor_si512(a, b); }
  SEALDISK_INLINE static Vector encryptRound(Vector v, Vector key) { return _mm512_aesenc_epi128(v, key); }
  SEALDISK_INLINE static Vector encryptLast(Vector v, Vector key) { return _mm512_aesenclast_epi128(v, key); }
  SEALDISK_INLINE static Vector decryptRound(Vector v, Vector key) { return _mm512_aesdec_epi128(v, key); }
  SEALDISK_INLINE static Vector decryptLast(Vector v, Vector key) { return _mm512_aesdeclast_epi128(v, key); }
  SEALDISK_INLINE static Vector numbers(uint64_t first, uint64_t step) {
    return _mm512_set_epi64(0, (int64_t)(first + 3 * step), 0, (int64_t)(first + 2 * step), 0,
                            (int64_t)(first + step), 0, (int64_t)first);
  }
  SEALDISK_INLINE static Vector addNumbers(Vector a, Vector b) { return _mm512_add_epi64(a, b); }

  // Lane n: tweak * x^(power + n), power + n < 64.
  SEALDISK_INLINE static Vector powers(Vector tweak, size_t power) {
    const int64_t p = (int64_t)power;
    const Vector left = _mm512_set_epi64(p + 3, p + 3, p + 2, p + 2, p + 1, p + 1, p, p);
    const Vector carried = _mm512_srlv_epi64(tweak, _mm512_sub_epi64(_mm512_set1_epi64(64), left));
    const Vector reduced = _mm512_clmulepi64_epi128(carried, _mm512_set1_epi64(kPolynomial), 0x01);
    const Vector shifted = _mm512_xor_si512(_mm512_sllv_epi64(tweak, left), _mm512_bslli_epi128(carried, 8));
    return _mm512_xor_si512(shifted, reduced);
  }

  // tweak * x^(8 * kBytes).
  template <int kBytes>
  SEALDISK_INLINE static Vector advance(Vector tweak) {
    const Vector carried = _mm512_bsrli_epi128(tweak, 16 - kBytes);
    const Vector reduced = _mm512_clmulepi64_epi128(carried, _mm512_set1_epi64(kPolynomial), 0x00);
    return _mm512_xor_si512(_mm512_bslli_epi128(tweak, kBytes), reduced);
  }

  SEALDISK_INLINE static void clearRegisters() {
    asm volatile(SEALDISK_CLEAR_ZMM ::: "memory", SEALDISK_LOW_REGISTERS, SEALDISK_HIGH_REGISTERS);
  }
};

// __builtin_cpu_supports asks XGETBV too: the features are there only where the system saves the registers.
bool available() noexcept {
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") &&
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && !kernelLosesZmmInSignals();
}

}  // namespace

const XtsKernel kXtsVaesAvx512 = {"vaes-avx512", 24000, available, expandXtsX86,
                                  LaneCipher<Lanes>::crypt<Direction::kEncrypt>,
                                  LaneCipher<Lanes>::crypt<Direction::kDecrypt>};

}  // namespace sealdisk

#endif
