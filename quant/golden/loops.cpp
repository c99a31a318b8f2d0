// The inner loops of the golden model. Integers only; what each computes, loops.py says beside its numpy twin.

#include <algorithm>
#include <cstdint>
#include <cstring>

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
    products(patches, filters, out, count, outputs, taps, [](const uint8_t* x, const uint8_t* w, long n) {
        uint32_t sum = 0;  // 2**24 taps of a byte fit; the caller checks
        for (long k = 0; k < n; ++k) sum += static_cast<uint32_t>(std::abs(x[k] - w[k]));
        return -static_cast<int64_t>(sum);
    });
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
