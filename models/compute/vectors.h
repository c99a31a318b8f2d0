// Vectors of floats, as wide as this processor has them.

#pragma once

#include <cstdint>

#ifdef __AVX512DQ__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, WIDEST = 4, TILE = 6, GRADIENT_TILE = 3;
#elif defined(__AVX__)
constexpr int LANES = 8, WIDEST = 2, TILE = 4, GRADIENT_TILE = 2;
#else
constexpr int LANES = 4, WIDEST = 2, TILE = 4, GRADIENT_TILE = 2;
#endif

typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(LANES * sizeof(float)), aligned(alignof(float))));
typedef int32_t Bits __attribute__((vector_size(LANES * sizeof(int32_t))));

inline Vec load(const float* at) { return *reinterpret_cast<const Unaligned*>(at); }
inline void store(float* at, Vec value) { *reinterpret_cast<Unaligned*>(at) = value; }
inline Vec all(float value) { return Vec{} + value; }
inline Vec magnitude(Vec value) { return reinterpret_cast<Vec>(reinterpret_cast<Bits>(value) & 0x7fffffff); }

inline Vec clipped(Vec value, Vec one) {
#ifdef __AVX512DQ__
    // The smaller magnitude with the sign of the value, in one instruction.
    return reinterpret_cast<Vec>(_mm512_range_ps(reinterpret_cast<__m512>(value), reinterpret_cast<__m512>(one), 2));
#else
    value = value < one ? value : one;
    return value > -one ? value : -one;
#endif
}

// A one that the compiler takes for any number: a difference times it is a fused multiply-add, which other units of
// most processors compute than an addition, so that both are busy. A product with 1 is exact.
inline Vec opaque_one() {
    Vec one = all(1.0f);
    asm volatile("" : "+m"(one));
    return one;
}

// rows[i][j] becomes rows[j][i]: blocks of half the size change places, then blocks of a quarter, down to 1.
template <int H = LANES / 2>
inline void transpose(Vec* rows) {
    Bits first, second;
    for (int l = 0; l < LANES; ++l) {
        first[l] = l & H ? LANES + l - H : l;
        second[l] = l & H ? LANES + l : l + H;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
        if (!(i & H)) {
            const Vec a = rows[i], b = rows[i + H];
            rows[i] = __builtin_shuffle(a, b, first);
            rows[i + H] = __builtin_shuffle(a, b, second);
        }
    if constexpr (H > 1) transpose<H / 2>(rows);
}

}  // namespace
