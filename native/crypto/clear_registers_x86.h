// Assembly that zeroes the vector registers, by instruction set. For the last statement of a function that held keys.
//
// Each text goes with a list of clobbered registers. vzeroall zeroes registers 0 to 15 in their whole width; only the
// EVEX form reaches 16 to 31.
#pragma once

#if defined(__x86_64__)

#define SEALDISK_LOW_REGISTERS                                                                                       \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
#define SEALDISK_HIGH_REGISTERS                                                                                   \
  "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", \
      "xmm29", "xmm30", "xmm31"

#define SEALDISK_CLEAR_XMM                                                                               \
  "pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"         \
  "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"         \
  "pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"     \
  "pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15\n\t"

#define SEALDISK_CLEAR_YMM "vzeroall\n\t"

#define SEALDISK_CLEAR_ONE_(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define SEALDISK_CLEAR_ZMM                                                                        \
  SEALDISK_CLEAR_ONE_(16) SEALDISK_CLEAR_ONE_(17) SEALDISK_CLEAR_ONE_(18) SEALDISK_CLEAR_ONE_(19) \
  SEALDISK_CLEAR_ONE_(20) SEALDISK_CLEAR_ONE_(21) SEALDISK_CLEAR_ONE_(22) SEALDISK_CLEAR_ONE_(23) \
  SEALDISK_CLEAR_ONE_(24) SEALDISK_CLEAR_ONE_(25) SEALDISK_CLEAR_ONE_(26) SEALDISK_CLEAR_ONE_(27) \
  SEALDISK_CLEAR_ONE_(28) SEALDISK_CLEAR_ONE_(29) SEALDISK_CLEAR_ONE_(30) SEALDISK_CLEAR_ONE_(31) \
  SEALDISK_CLEAR_YMM

#endif
