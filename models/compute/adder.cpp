// The adder convolution of float maps: forward, gradient of the features, and the products of the filters' gradient.
//
// Work is cut into parts: some images, rows and columns of the result. A part's features are copied once into a small
// buffer, channels innermost, zeros where they are padding, float32 whatever their type. Tiles of P pixels x V vectors
// of channels then stay in registers while all taps pass. What each function computes, back_ends.py says.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

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
constexpr long PART_PIXELS = 128, PART_FLOATS = 32 * 1024, FEW_TERMS = 1 << 16, SHARES = 8;

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

}  // namespace

extern "C" {

// A tensor (images, channels, rows, columns) and how many elements lie between neighbours. Types: 0 float32,
// 1 bfloat16, 2 float16.
struct Map {
    void* data;
    int64_t type, image, channel, row, column;
};

struct Problem {
    int64_t images, channels, height, width, outputs, rows, columns;
    int64_t kernel_rows, kernel_columns, down, right, top, left, dilation_rows, dilation_columns, groups, threads;
};
}

namespace {

struct Half {
    uint16_t bits;
};

inline float wide(float value) { return value; }
inline float wide(_Float16 value) { return static_cast<float>(value); }
inline float wide(Half value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline void narrow(float value, float& to) { to = value; }
inline void narrow(float value, _Float16& to) { to = static_cast<_Float16>(value); }
inline void narrow(float value, Half& to) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        to.bits = 0x7fc0;  // rounding could carry a NaN's digits into an infinity
    else
        to.bits = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename Body>
void of_type(const Map& map, Body body) {
    if (map.type == 0) body(static_cast<float*>(map.data));
    if (map.type == 1) body(static_cast<Half*>(map.data));
    if (map.type == 2) body(static_cast<_Float16*>(map.data));
}

// Every step-th place of an axis: count of them from first on, of which those in [0, size) exist.
struct Axis {
    long first, count, step, size;
    long begin() const { return std::clamp((-first + step - 1) / step, 0L, count); }
    long end() const { return std::clamp((size - first + step - 1) / step, begin(), count); }
};

// Channels [channel, channel + channels) of a region, as out[image][row][column][pitch]; zeros where there is nothing.
void take(const Map& map, long image, long images, long channel, long channels, Axis rows, Axis columns, long pitch,
          float* out) {
    of_type(map, [&](auto* data) {
        const long begin = columns.begin(), end = columns.end();
        const bool whole = pitch == channels && begin == 0 && end == columns.count;
        for (long n = image; n < image + images; ++n)
            for (long r = 0; r < rows.count; ++r, out += columns.count * pitch) {
                const long y = rows.first + r * rows.step;
                const bool inside = y >= 0 && y < rows.size;
                if (!inside || !whole) std::fill(out, out + columns.count * pitch, 0.0f);
                if (!inside) continue;
                const auto* row = data + n * map.image + y * map.row + channel * map.channel;
                if (map.channel == 1) {
                    for (long q = begin; q < end; ++q)
                        for (long c = 0; c < channels; ++c)
                            out[q * pitch + c] = wide(row[(columns.first + q * columns.step) * map.column + c]);
                } else {
                    const long step = columns.step * map.column;
                    for (long c = 0; c < channels; ++c) {
                        const auto* from = row + c * map.channel + columns.first * map.column;
                        for (long q = begin; q < end; ++q) out[q * pitch + c] = wide(from[q * step]);
                    }
                }
            }
    });
}

// The other way: value(sums[..][c], channel + c) into a region that lies inside of the map.
template <typename Value>
void put(const Map& map, long image, long images, long channel, long channels, Axis rows, Axis columns, long pitch,
         const float* sums, Value value) {
    of_type(map, [&](auto* data) {
        for (long n = image; n < image + images; ++n)
            for (long r = 0; r < rows.count; ++r, sums += columns.count * pitch) {
                auto* row = data + n * map.image + (rows.first + r * rows.step) * map.row +
                            columns.first * map.column + channel * map.channel;
                const long step = columns.step * map.column;
                if (map.channel == 1) {
                    for (long q = 0; q < columns.count; ++q)
                        for (long c = 0; c < channels; ++c)
                            narrow(value(sums[q * pitch + c], channel + c), row[q * step + c]);
                } else {
                    for (long c = 0; c < channels; ++c)
                        for (long q = 0; q < columns.count; ++q)
                            narrow(value(sums[q * pitch + c], channel + c), row[c * map.channel + q * step]);
                }
            }
    });
}

// How a map is cut: parts have so many images, rows and columns, the last ones fewer.
struct Cut {
    long images, rows, columns, of_images, of_rows, of_columns;

    static long times(long whole, long part) { return (whole + part - 1) / part; }
    long count() const { return times(images, of_images) * times(rows, of_rows) * times(columns, of_columns); }
};

struct Part {
    long image, images, row, rows, column, columns;
    long pixels() const { return images * rows * columns; }
};

Part part_of(const Cut& cut, long index) {
    const long across = Cut::times(cut.columns, cut.of_columns), down = Cut::times(cut.rows, cut.of_rows);
    const long column = index % across * cut.of_columns, row = index / across % down * cut.of_rows,
               image = index / across / down * cut.of_images;
    return {image, std::min(cut.of_images, cut.images - image), row, std::min(cut.of_rows, cut.rows - row),
            column, std::min(cut.of_columns, cut.columns - column)};
}

// Parts of about PART_PIXELS pixels; floats(rows, columns) is what the buffer of one image's part takes.
template <typename Floats>
Cut cut_of(long images, long rows, long columns, Floats floats) {
    long of_columns = std::min(columns, 32L), of_rows = std::clamp(PART_PIXELS / std::max(of_columns, 1L), 1L, rows);
    while (floats(of_rows, of_columns) > PART_FLOATS && of_rows * of_columns > TILE)
        (of_rows >= of_columns ? of_rows : of_columns) /= 2;
    long of_images = 1;
    if (of_rows == rows && of_columns == columns)
        while (of_images < images && (of_images + 1) * rows * columns <= PART_PIXELS &&
               (of_images + 1) * floats(rows, columns) <= PART_FLOATS)
            ++of_images;
    return {images, rows, columns, of_images, of_rows, of_columns};
}

// body(first, last, share) for so many shares of [0, count), by threads that take the next share when they are free.
template <typename Body>
void shared(long count, long shares, long threads, Body body) {
    const auto run = [&](long share) { body(count * share / shares, count * (share + 1) / shares, share); };
    if (threads == 1) {
        for (long share = 0; share < shares; ++share) run(share);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (long share = 0; share < shares; ++share) run(share);
#else
    std::atomic<long> next{0};
    const auto work = [&] {
        for (long share = next++; share < shares; share = next++) run(share);
    };
    std::vector<std::thread> others;
    for (long t = 1; t < threads; ++t) others.emplace_back(work);
    work();
    for (auto& thread : others) thread.join();
#endif
}

// Threads that are worth their start.
long threads_for(const Problem& p) {
    const double terms = static_cast<double>(p.images) * p.rows * p.columns * p.outputs * (p.channels / p.groups) *
                         p.kernel_rows * p.kernel_columns;
    return terms < FEW_TERMS ? 1 : std::max<long>(p.threads, 1);
}

inline long lanes(long channels) { return (channels + LANES - 1) / LANES * LANES; }

// The widest block of vectors at `begin` of so many lanes: 4, 2 or 1.
inline int block(long begin, long end) {
    int vectors = WIDEST;
    while (vectors > 1 && begin + vectors * LANES > end) vectors /= 2;
    return vectors;
}

// Calls body with constants: pixels() of them at a time from `pixel` on, and vectors().
template <int N>
struct Constant {
    constexpr operator int() const { return N; }
};

template <int P, typename Body>
void by_pixels(long pixels, Body body) {
    long pixel = 0;
    for (; pixel + P <= pixels; pixel += P) body(pixel, Constant<P>{});
    if constexpr (P > 1) {
        const long left = pixels - pixel;
        if (left > 0) by_pixels<(P + 1) / 2>(left, [&](long at, auto few) { body(pixel + at, few); });
    }
}

template <typename Body>
void by_vectors(int vectors, Body body) {
    if (vectors == 4)
        body(Constant<4>{});
    else if (vectors == 2)
        body(Constant<2>{});
    else
        body(Constant<1>{});
}

// What meets a vector of filters: one number of a pixel for all lanes, or, where every channel is a group of its own,
// the pixel's channels.
template <bool OWN>
inline Vec operand(const float* at, long channel, int vector) {
    return OWN ? load(at + vector * LANES) : all(at[channel]);
}

template <int P, int V, bool OWN>
void distances(const float* in, const long* pixels, const long* taps, long tap_count, long channels, const float* filters,
               float* out, long pitch) {
    const Vec one = opaque_one();
    Vec sums[P][V] = {};
    for (long t = 0; t < tap_count; ++t) {
        const float* x[P];
        for (int p = 0; p < P; ++p) x[p] = in + pixels[p] + taps[t];
        for (long c = 0; c < channels; ++c, filters += V * LANES) {
            Vec w[V];
            for (int v = 0; v < V; ++v) w[v] = load(filters + v * LANES);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sums[p][v] += magnitude(w[v] * one - operand<OWN>(x[p], c, v));
        }
    }
    for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) store(out + p * pitch + v * LANES, sums[p][v]);
}

template <int P, int V, bool OWN>
void clips(const float* upstream, const long* pixels, const long* taps, const long* tap_filters, long tap_count,
           long outputs, const float* filters, const float* features, float* out, long pitch) {
    const Vec one = opaque_one();
    Vec sums[P][V] = {}, x[P][V];
    for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) x[p][v] = load(features + p * pitch + v * LANES);
    for (long t = 0; t < tap_count; ++t) {
        const float* g[P];
        const float* rows = filters + tap_filters[t] * outputs * V * LANES;
        for (int p = 0; p < P; ++p) g[p] = upstream + pixels[p] + taps[t];
        for (long o = 0; o < outputs; ++o, rows += V * LANES) {
            Vec w[V];
            for (int v = 0; v < V; ++v) w[v] = load(rows + v * LANES);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v)
                    sums[p][v] += operand<OWN>(g[p], o, v) * clipped(w[v] - x[p][v], one);
        }
    }
    for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) store(out + p * pitch + v * LANES, sums[p][v]);
}

template <int P, int V, bool OWN>
void products(const float* upstream, long upstream_pitch, const float* features, const long* pixels, long pixel_count,
              float* sums, long pitch) {
    Vec own[P][V];
    for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) own[p][v] = Vec{};
    for (long n = 0; n < pixel_count; ++n, upstream += upstream_pitch) {
        Vec x[V];
        for (int v = 0; v < V; ++v) x[v] = load(features + pixels[n] + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) own[p][v] += operand<OWN>(upstream, p, v) * x[v];
    }
    for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) store(sums + p * pitch + v * LANES, load(sums + p * pitch + v * LANES) + own[p][v]);
}

// The sizes of one group, or of all where every channel is a group with one filter: lanes are its channels then.
struct Sizes {
    bool own;
    long groups, inputs, outputs, taps;

    explicit Sizes(const Problem& p)
        : own(p.groups == p.channels && p.groups == p.outputs && p.groups > 1),
          groups(own ? 1 : p.groups),
          inputs(p.channels / groups),
          outputs(p.outputs / groups),
          taps(p.kernel_rows * p.kernel_columns) {}
};

// Filters (O, I, taps) as [group][block][tap][i][lane], a lane per output.
std::vector<float> by_outputs(const float* w, const Sizes& s) {
    const long inner = s.own ? 1 : s.inputs;
    std::vector<float> packed(s.groups * lanes(s.outputs) * s.taps * inner, 0.0f);
    float* to = packed.data();
    for (long group = 0; group < s.groups; ++group)
        for (long begin = 0; begin < lanes(s.outputs);) {
            const long width = block(begin, lanes(s.outputs)) * LANES, own = std::min(width, s.outputs - begin);
            for (long o = 0; o < own; ++o) {
                const float* from = w + (group * s.outputs + begin + o) * inner * s.taps;
                for (long i = 0; i < inner; ++i)
                    for (long t = 0; t < s.taps; ++t) to[(t * inner + i) * width + o] = from[i * s.taps + t];
            }
            to += s.taps * inner * width;
            begin += width;
        }
    return packed;
}

// The same as [group][block][tap][o][lane], a lane per input.
std::vector<float> by_inputs(const float* w, const Sizes& s) {
    const long inner = s.own ? 1 : s.outputs;
    std::vector<float> packed(s.groups * lanes(s.inputs) * s.taps * inner, 0.0f);
    float* to = packed.data();
    for (long group = 0; group < s.groups; ++group)
        for (long begin = 0; begin < lanes(s.inputs);) {
            const long width = block(begin, lanes(s.inputs)) * LANES, own = std::min(width, s.inputs - begin);
            for (long o = 0; o < inner; ++o)
                for (long i = 0; i < own; ++i) {
                    const float* from = s.own ? w + (begin + i) * s.taps
                                              : w + ((group * s.outputs + o) * s.inputs + begin + i) * s.taps;
                    for (long t = 0; t < s.taps; ++t) to[(t * inner + o) * width + i] = from[t];
                }
            to += s.taps * inner * width;
            begin += width;
        }
    return packed;
}

// Where the pixels of a part begin in a buffer [image][rows][columns][pitch], `down` rows and `right` columns apart.
void places(const Part& part, long rows, long columns, long pitch, long down, long right, std::vector<long>& found) {
    found.clear();
    for (long n = 0; n < part.images; ++n)
        for (long r = 0; r < part.rows; ++r)
            for (long q = 0; q < part.columns; ++q)
                found.push_back(((n * rows + r * down) * columns + q * right) * pitch);
}

// What the windows of a part of the result see of the features.
struct Field {
    Axis rows, columns;

    Field(const Problem& p, const Part& part)
        : rows{part.row * p.down - p.top, (part.rows - 1) * p.down + (p.kernel_rows - 1) * p.dilation_rows + 1, 1,
               p.height},
          columns{part.column * p.right - p.left,
                  (part.columns - 1) * p.right + (p.kernel_columns - 1) * p.dilation_columns + 1, 1, p.width} {}
};

std::vector<long> taps_of(const Problem& p, long columns, long pitch) {
    std::vector<long> found;
    for (long ky = 0; ky < p.kernel_rows; ++ky)
        for (long kx = 0; kx < p.kernel_columns; ++kx)
            found.push_back((ky * p.dilation_rows * columns + kx * p.dilation_columns) * pitch);
    return found;
}

Cut forward_cut(const Problem& p, long pitch) {
    return cut_of(p.images, p.rows, p.columns, [&](long rows, long columns) {
        const Field field(p, Part{0, 1, 0, rows, 0, columns});
        return field.rows.count * field.columns.count * pitch;
    });
}

// The taps along one axis that reach places congruent to `phase`: place q of them sees result q + shift.
struct Reach {
    std::vector<long> taps, shifts;
    long least = 0, most = 0;

    Reach(long phase, long kernel, long step, long pad, long dilation) {
        for (long k = 0; k < kernel; ++k) {
            const long shift = phase + pad - k * dilation;
            if (shift % step != 0) continue;
            taps.push_back(k);
            shifts.push_back(shift / step);
            least = taps.size() == 1 ? shifts.back() : std::min(least, shifts.back());
            most = taps.size() == 1 ? shifts.back() : std::max(most, shifts.back());
        }
    }
};

// The gradient of every down-th row and right-th column of the features from one row and column on.
void features_of_phase(const Problem& p, const Sizes& s, const Map& features, const std::vector<float>& filters,
                       const Map& upstream, const Map& result, long row, long column) {
    const Reach down(row, p.kernel_rows, p.down, p.top, p.dilation_rows);
    const Reach right(column, p.kernel_columns, p.right, p.left, p.dilation_columns);
    const long more_rows = down.most - down.least, more_columns = right.most - right.least;
    const long rows = (p.height - row + p.down - 1) / p.down, columns = (p.width - column + p.right - 1) / p.right;
    const long pitch = lanes(s.inputs), upstream_pitch = s.own ? pitch : s.outputs, inner = s.own ? 1 : s.outputs;
    const Cut cut = cut_of(p.images, rows, columns, [&](long r, long c) {
        return (r + more_rows) * (c + more_columns) * upstream_pitch + r * c * pitch;
    });
    std::vector<long> tap_filters;
    for (long ky : down.taps)
        for (long kx : right.taps) tap_filters.push_back(ky * p.kernel_columns + kx);
    const long count = cut.count() * s.groups, threads = threads_for(p);
    shared(count, std::min(count, threads * SHARES), threads, [&](long first, long last, long) {
        std::vector<float> g, x, sums;
        std::vector<long> pixels, taps;
        for (long at = first; at < last; ++at) {
            const Part part = part_of(cut, at / s.groups);
            const long group = at % s.groups, across = part.columns + more_columns;
            const Axis own_rows{row + part.row * p.down, part.rows, p.down, p.height};
            const Axis own_columns{column + part.column * p.right, part.columns, p.right, p.width};
            g.resize(part.images * (part.rows + more_rows) * across * upstream_pitch);
            x.resize(part.pixels() * pitch);
            sums.resize(x.size());
            take(upstream, part.image, part.images, group * s.outputs, s.outputs,
                 {part.row + down.least, part.rows + more_rows, 1, p.rows},
                 {part.column + right.least, across, 1, p.columns}, upstream_pitch, g.data());
            take(features, part.image, part.images, group * s.inputs, s.inputs, own_rows, own_columns, pitch, x.data());
            places(part, part.rows + more_rows, across, upstream_pitch, 1, 1, pixels);
            taps.clear();
            for (long dy : down.shifts)
                for (long dx : right.shifts)
                    taps.push_back(((dy - down.least) * across + dx - right.least) * upstream_pitch);
            const float* packed = filters.data() + group * pitch * s.taps * inner;
            for (long begin = 0; begin < pitch;) {
                const int vectors = block(begin, pitch);
                by_vectors(vectors, [&](auto v) {
                    by_pixels<GRADIENT_TILE * WIDEST / v>(part.pixels(), [&](long pixel, auto few) {
                        const auto run = s.own ? clips<few, v, true> : clips<few, v, false>;
                        run(g.data() + (s.own ? begin : 0), &pixels[pixel], taps.data(), tap_filters.data(), taps.size(),
                            inner, packed, &x[pixel * pitch + begin], &sums[pixel * pitch + begin], pitch);
                    });
                });
                packed += s.taps * inner * vectors * LANES;
                begin += vectors * LANES;
            }
            put(result, part.image, part.images, group * s.inputs, s.inputs, own_rows, own_columns, pitch, sums.data(),
                [](float sum, long) { return sum; });
        }
    });
}

}  // namespace

extern "C" {

void addax_adder_forward(const Problem* problem, const Map* features, const float* filters, const float* bias,
                         const Map* result) {
    const Problem& p = *problem;
    const Sizes s(p);
    const std::vector<float> packed = by_outputs(filters, s);
    const long pitch = s.own ? lanes(s.inputs) : s.inputs, inner = s.own ? 1 : s.inputs, width = lanes(s.outputs);
    const Cut cut = forward_cut(p, pitch);
    const long count = cut.count() * s.groups, threads = threads_for(p);
    shared(count, std::min(count, threads * SHARES), threads, [&](long first, long last, long) {
        std::vector<float> x, sums;
        std::vector<long> pixels;
        for (long at = first; at < last; ++at) {
            const Part part = part_of(cut, at / s.groups);
            const long group = at % s.groups;
            const Field field(p, part);
            x.resize(part.images * field.rows.count * field.columns.count * pitch);
            sums.resize(part.pixels() * width);
            take(*features, part.image, part.images, group * s.inputs, s.inputs, field.rows, field.columns, pitch,
                 x.data());
            places(part, field.rows.count, field.columns.count, pitch, p.down, p.right, pixels);
            const std::vector<long> taps = taps_of(p, field.columns.count, pitch);
            const float* own = packed.data() + group * width * s.taps * inner;
            for (long begin = 0; begin < width;) {
                const int vectors = block(begin, width);
                by_vectors(vectors, [&](auto v) {
                    by_pixels<(v == 4 ? TILE : 8)>(part.pixels(), [&](long pixel, auto few) {
                        const auto run = s.own ? distances<few, v, true> : distances<few, v, false>;
                        run(x.data() + (s.own ? begin : 0), &pixels[pixel], taps.data(), s.taps, inner, own,
                            &sums[pixel * width + begin], width);
                    });
                });
                own += s.taps * inner * vectors * LANES;
                begin += vectors * LANES;
            }
            put(*result, part.image, part.images, group * s.outputs, s.outputs, {part.row, part.rows, 1, p.rows},
                {part.column, part.columns, 1, p.columns}, width, sums.data(),
                [&](float sum, long o) { return bias ? bias[o] - sum : -sum; });
        }
    });
}

void addax_adder_features(const Problem* problem, const Map* features, const float* filters, const Map* upstream,
                          const Map* result) {
    const Sizes s(*problem);
    const std::vector<float> packed = by_inputs(filters, s);
    for (long row = 0; row < std::min(problem->down, problem->height); ++row)
        for (long column = 0; column < std::min(problem->right, problem->width); ++column)
            features_of_phase(*problem, s, *features, packed, *upstream, *result, row, column);
}

void addax_adder_products(const Problem* problem, const Map* features, const Map* upstream, float* result) {
    const Problem& p = *problem;
    const Sizes s(p);
    const long pitch = lanes(s.inputs), outputs = s.own ? 1 : s.outputs, upstream_pitch = s.own ? pitch : s.outputs;
    const long row = s.taps * pitch, size = s.groups * outputs * row;
    const Cut cut = forward_cut(p, pitch);
    const long count = cut.count() * s.groups, threads = threads_for(p);
    // One sum per share, and as many shares as threads: whichever thread takes a share, sums are added in one order.
    std::vector<std::vector<float>> partial(threads);
    shared(count, threads, threads, [&](long first, long last, long share) {
        std::vector<float>& sums = partial[share];
        std::vector<float> x, g;
        std::vector<long> pixels;
        sums.assign(size, 0.0f);
        for (long at = first; at < last; ++at) {
            const Part part = part_of(cut, at / s.groups);
            const long group = at % s.groups;
            const Field field(p, part);
            x.resize(part.images * field.rows.count * field.columns.count * pitch);
            g.resize(part.pixels() * upstream_pitch);
            take(*features, part.image, part.images, group * s.inputs, s.inputs, field.rows, field.columns, pitch,
                 x.data());
            take(*upstream, part.image, part.images, group * s.outputs, s.outputs, {part.row, part.rows, 1, p.rows},
                 {part.column, part.columns, 1, p.columns}, upstream_pitch, g.data());
            places(part, field.rows.count, field.columns.count, pitch, p.down, p.right, pixels);
            const std::vector<long> taps = taps_of(p, field.columns.count, pitch);
            for (long t = 0; t < s.taps; ++t)
                for (long begin = 0; begin < pitch;) {
                    const int vectors = block(begin, pitch);
                    by_vectors(vectors, [&](auto v) {
                        by_pixels<(v == 4 ? TILE : 8)>(outputs, [&](long o, auto few) {
                            const auto run = s.own ? products<few, v, true> : products<few, v, false>;
                            run(g.data() + (s.own ? begin : o), upstream_pitch, x.data() + taps[t] + begin,
                                pixels.data(), part.pixels(), &sums[(group * outputs + o) * row + t * pitch + begin], row);
                        });
                    });
                    begin += vectors * LANES;
                }
        }
    });
    for (long share = 1; share < threads; ++share)
        for (long i = 0; i < size; ++i) partial[0][i] += partial[share][i];
    // [o][tap][i] to (O, I, taps); where every channel is a group, [tap][channel] to (channels, 1, taps)
    const float* from = partial[0].data();
    const long inner = s.inputs * s.taps;
    for (long o = 0; o < s.groups * outputs; ++o)
        for (long t = 0; t < s.taps; ++t)
            for (long i = 0; i < s.inputs; ++i) result[o * inner + i * s.taps + t] = from[o * row + t * pitch + i];
}
}
