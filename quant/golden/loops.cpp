// The inner loops of the golden model. Integers only; what each computes, loops.py says beside its numpy twin.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace {

// One pass over the patches per block of filters that stays in the first-level cache.
constexpr long BLOCK_BYTES = 16 * 1024;

template <typename Word, typename Sum, typename Dot>
void products(const Word* patches, const Word* filters, Sum* out, long count, long outputs, long taps, Dot dot) {
    const long block = std::max<long>(1, BLOCK_BYTES / (taps * static_cast<long>(sizeof(Word))));
    for (long begin = 0; begin < outputs; begin += block) {
        const long end = std::min(outputs, begin + block);
        for (long p = 0; p < count; ++p)
            for (long o = begin; o < end; ++o) out[p * outputs + o] = dot(patches + p * taps, filters + o * taps, taps);
    }
}

#ifdef __SSE2__
// L1 distances of bytes: a vector holds 8 terms of each of several patches, and an instruction adds up their distances
// to the same 8 terms of a filter, one sum per patch. So no sum is ever spread over a vector.
#if defined(__AVX512BW__)
using Bytes = __m512i;
constexpr int FILTERS = 6;
inline Bytes same(uint64_t terms) { return _mm512_set1_epi64(static_cast<int64_t>(terms)); }
inline Bytes distances(Bytes a, Bytes b) { return _mm512_sad_epu8(a, b); }
inline Bytes sum(Bytes a, Bytes b) { return _mm512_add_epi64(a, b); }
#elif defined(__AVX2__)
using Bytes = __m256i;
constexpr int FILTERS = 3;
inline Bytes same(uint64_t terms) { return _mm256_set1_epi64x(static_cast<int64_t>(terms)); }
inline Bytes distances(Bytes a, Bytes b) { return _mm256_sad_epu8(a, b); }
inline Bytes sum(Bytes a, Bytes b) { return _mm256_add_epi64(a, b); }
#else
using Bytes = __m128i;
constexpr int FILTERS = 3;
inline Bytes same(uint64_t terms) { return _mm_set1_epi64x(static_cast<int64_t>(terms)); }
inline Bytes distances(Bytes a, Bytes b) { return _mm_sad_epu8(a, b); }
inline Bytes sum(Bytes a, Bytes b) { return _mm_add_epi64(a, b); }
#endif
constexpr int EIGHT = 8, LANES = sizeof(Bytes) / EIGHT, VECTORS = 4;

// V vectors of patches against F filters, all of so many words of 8 terms; sums as [filter][patch].
template <int V, int F>
void tile(const uint64_t* patches, const uint64_t* filters, long words, int64_t* sums) {
    Bytes acc[V][F] = {};
    for (long k = 0; k < words; ++k, patches += V * LANES) {
        Bytes w[F];
        for (int f = 0; f < F; ++f) w[f] = same(filters[f * words + k]);
        for (int v = 0; v < V; ++v) {
            Bytes x;
            std::memcpy(&x, patches + v * LANES, sizeof x);
            for (int f = 0; f < F; ++f) acc[v][f] = sum(acc[v][f], distances(x, w[f]));
        }
    }
    for (int v = 0; v < V; ++v)
        for (int f = 0; f < F; ++f) std::memcpy(sums + (f * V + v) * LANES, &acc[v][f], sizeof(Bytes));
}

template <int V, int F>
void by_filters(const uint64_t* patches, const uint64_t* filters, int64_t* out, long count, long outputs, long left,
                long words) {
    int64_t sums[F * V * LANES];
    for (; left >= F; left -= F, filters += F * words, out += F) {
        tile<V, F>(patches, filters, words, sums);
        for (long p = 0; p < count; ++p)
            for (int f = 0; f < F; ++f) out[p * outputs + f] = -sums[f * V * LANES + p];
    }
    if constexpr (F > 1)
        if (left > 0) by_filters<V, F / 2>(patches, filters, out, count, outputs, left, words);
}

// Rows of bytes as words; what fills the last word is 0, in patches and filters, and adds nothing.
inline uint64_t word_of(const uint8_t* row, long k, long taps) {
    uint64_t found = 0;
    std::memcpy(&found, row + k * EIGHT, std::min<long>(EIGHT, taps - k * EIGHT));
    return found;
}

template <int V>
void by_patches(const uint8_t* patches, const uint64_t* filters, int64_t* out, long count, long outputs, long taps,
                std::vector<uint64_t>& packed) {
    constexpr long AT_ONCE = V * LANES;
    const long words = (taps + EIGHT - 1) / EIGHT;
    long done = 0;
    for (; done < count && (V == 1 || count - done > AT_ONCE / 2); done += AT_ONCE) {
        const long own = std::min(AT_ONCE, count - done);
        for (long p = 0; p < own; ++p) {
            const uint8_t* row = patches + (done + p) * taps;
            for (long k = 0; k < taps / EIGHT; ++k) std::memcpy(&packed[k * AT_ONCE + p], row + k * EIGHT, EIGHT);
            if (taps % EIGHT) packed[(words - 1) * AT_ONCE + p] = word_of(row, words - 1, taps);
        }
        by_filters<V, FILTERS>(packed.data(), filters, out + done * outputs, own, outputs, outputs, words);
    }
    if constexpr (V > 1)
        if (done < count)
            by_patches<V / 2>(patches + done * taps, filters, out + done * outputs, count - done, outputs, taps, packed);
}
#endif

template <typename Word>
void requantised(const int64_t* acc, const int64_t* residual, const int64_t* factor, const int64_t* offset,
                 const int64_t* residual_factor, const int64_t* shift, const int64_t* second, const int64_t* lower,
                 const int64_t* knee, bool even, int64_t lo, int64_t hi, Word* out, long count, long channels,
                 int64_t* range) {
    int64_t least = range[0], most = range[1];
    for (long p = 0; p < count; ++p)
        for (long c = 0; c < channels; ++c) {
            const long at = p * channels + c;
            const bool below = knee && acc[at] < knee[c];
            int64_t wide = acc[at] * (below ? second : factor)[c] + (below ? lower : offset)[c];
            if (residual) wide += residual[at] * residual_factor[c];
            least = std::min(least, wide);
            most = std::max(most, wide);
            // A tie goes to the larger number, or one unit below it, if that is the even one.
            if (even) wide -= ~((wide - (int64_t{1} << (shift[c] - 1))) >> shift[c]) & 1;
            out[at] = static_cast<Word>(std::clamp(wide >> shift[c], lo, hi));
        }
    range[0] = least;
    range[1] = most;
}

}  // namespace

extern "C" {

void addax_patches(const char* x, const char* pad, char* out, long images, long height, long width, long pixel_bytes,
                   long rows, long columns, long kernel_height, long kernel_width, long down, long right, long dilation_y,
                   long dilation_x, long top, long left_pad, long row_bytes) {
    const long unused = row_bytes - kernel_height * kernel_width * pixel_bytes;
    for (long n = 0; n < images; ++n)
        for (long oy = 0; oy < rows; ++oy)
            for (long ox = 0; ox < columns; ++ox) {
                for (long ky = 0; ky < kernel_height; ++ky) {
                    const long y = oy * down + ky * dilation_y - top, left = ox * right - left_pad;
                    const bool inside = y >= 0 && y < height;
                    const char* row = x + (n * height + y) * width * pixel_bytes;
                    // The first tap that is not left of the image, and the first that is right of it.
                    const long begin =
                        inside ? std::clamp((-left + dilation_x - 1) / dilation_x, 0L, kernel_width) : kernel_width;
                    const long end =
                        inside ? std::clamp((width - left + dilation_x - 1) / dilation_x, 0L, kernel_width) : kernel_width;
                    for (long kx = 0; kx < begin; ++kx) std::memcpy(out + kx * pixel_bytes, pad, pixel_bytes);
                    if (end > begin && dilation_x == 1)
                        std::memcpy(out + begin * pixel_bytes, row + (left + begin) * pixel_bytes,
                                    (end - begin) * pixel_bytes);
                    else
                        for (long kx = begin; kx < end; ++kx)
                            std::memcpy(out + kx * pixel_bytes, row + (left + kx * dilation_x) * pixel_bytes,
                                        pixel_bytes);
                    for (long kx = std::max(begin, end); kx < kernel_width; ++kx)
                        std::memcpy(out + kx * pixel_bytes, pad, pixel_bytes);
                    out += kernel_width * pixel_bytes;
                }
                std::memset(out, 0, unused);
                out += unused;
            }
}

void addax_adder_u8(const uint8_t* patches, const uint8_t* filters, int64_t* out, long count, long outputs,
                    long taps) {
#ifdef __SSE2__
    const long words = (taps + EIGHT - 1) / EIGHT;
    std::vector<uint64_t> packed(words * VECTORS * LANES), own(words * outputs);
    for (long o = 0; o < outputs; ++o)
        for (long k = 0; k < words; ++k) own[o * words + k] = word_of(filters + o * taps, k, taps);
    by_patches<VECTORS>(patches, own.data(), out, count, outputs, taps, packed);
#else
    products(patches, filters, out, count, outputs, taps, [](const uint8_t* x, const uint8_t* w, long n) {
        uint32_t sum = 0;  // 2**24 taps of a byte fit; the caller checks
        for (long k = 0; k < n; ++k) sum += static_cast<uint32_t>(std::abs(x[k] - w[k]));
        return -static_cast<int64_t>(sum);
    });
#endif
}

void addax_adder_i32(const int32_t* patches, const int32_t* filters, int64_t* out, long count, long outputs,
                     long taps) {
    products(patches, filters, out, count, outputs, taps, [](const int32_t* x, const int32_t* w, long n) {
        int64_t sum = 0;
        for (long k = 0; k < n; ++k) sum += std::abs(x[k] - w[k]);
        return -sum;
    });
}

void addax_mult_i16(const int16_t* patches, const int16_t* filters, int64_t* out, long count, long outputs,
                    long taps) {
    products(patches, filters, out, count, outputs, taps, [](const int16_t* x, const int16_t* w, long n) {
        int32_t sum = 0;  // the caller has checked that every sum fits
        for (long k = 0; k < n; ++k) sum += x[k] * w[k];
        return static_cast<int64_t>(sum);
    });
}

void addax_mult_i32(const int32_t* patches, const int32_t* filters, int64_t* out, long count, long outputs,
                    long taps) {
    products(patches, filters, out, count, outputs, taps, [](const int32_t* x, const int32_t* w, long n) {
        int64_t sum = 0;
        for (long k = 0; k < n; ++k) sum += static_cast<int64_t>(x[k]) * w[k];
        return sum;
    });
}

void addax_differing_u64(const uint64_t* patches, const uint64_t* filters, int64_t* out, long count, long outputs,
                         long words) {
    products(patches, filters, out, count, outputs, words, [](const uint64_t* x, const uint64_t* w, long n) {
        int64_t sum = 0;
        for (long k = 0; k < n; ++k) sum += __builtin_popcountll(x[k] ^ w[k]);
        return sum;
    });
}

void addax_threshold(const int64_t* acc, const int64_t* levels, const int64_t* falling, uint8_t* out, long count,
                     long channels, long steps) {
    for (long p = 0; p < count; ++p)
        for (long c = 0; c < channels; ++c) {
            const int64_t value = acc[p * channels + c];
            long reached = 0;
            for (long k = 0; k < steps; ++k) reached += value >= levels[c * steps + k];
            out[p * channels + c] = static_cast<uint8_t>(falling[c] ? steps - reached : reached);
        }
}

#define REQUANTISE(suffix, type)                                                                                    \
    void addax_requantise_##suffix(const int64_t* acc, const int64_t* residual, const int64_t* factor,              \
                                   const int64_t* offset, const int64_t* residual_factor, const int64_t* shift,     \
                                   const int64_t* second, const int64_t* lower, const int64_t* knee, int64_t even,  \
                                   int64_t lo, int64_t hi, type* out, long count, long channels, int64_t* range) {  \
        requantised(acc, residual, factor, offset, residual_factor, shift, second, lower, knee, even != 0, lo, hi,  \
                    out, count, channels, range);                                                                   \
    }
REQUANTISE(u8, uint8_t)
REQUANTISE(i16, int16_t)
REQUANTISE(i32, int32_t)
REQUANTISE(i64, int64_t)
}
