// Maps of any layout and type, copied into small buffers of float32 and back, and how work on them is cut and shared.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <type_traits>
#include <vector>

#include "vectors.h"

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

namespace {

constexpr long PART_PIXELS = 128, PART_FLOATS = 32 * 1024, FEW_PIXELS = 8, FEW_TERMS = 1 << 16, SHARES = 8;

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

// LANES x LANES numbers turned over their diagonal; from and to are how far its rows lie apart.
template <typename Value>
void turned(const float* at, long from, float* out, long to, Value value) {
    Vec rows[LANES];
    for (int i = 0; i < LANES; ++i) rows[i] = load(at + i * from);
    transpose(rows);
    for (int i = 0; i < LANES; ++i) store(out + i * to, value(rows[i], i));
}

void turned(const float* at, long from, float* out, long to) {
    turned(at, from, out, to, [](Vec row, int) { return row; });
}

// Whether neighbours of a row are neighbours in memory, and vectors of its type are known.
template <typename T>
bool whole_rows(const T*, long step) {
    return std::is_same_v<T, float> && step == 1;
}

// body(c, q, true) for squares of LANES x LANES of [0, channels) x [begin, end) where they may be, body(c, q, false) for
// every number of the rest.
template <typename Body>
void by_blocks(long channels, long begin, long end, bool squares, Body body) {
    const long last_c = squares ? channels / LANES * LANES : 0, last_q = begin + (end - begin) / LANES * LANES;
    for (long c = 0; c < last_c; c += LANES) {
        for (long q = begin; q < last_q; q += LANES) body(c, q, true);
        for (long i = c; i < c + LANES; ++i)
            for (long q = last_q; q < end; ++q) body(i, q, false);
    }
    for (long c = last_c; c < channels; ++c)
        for (long q = begin; q < end; ++q) body(c, q, false);
}

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
                    const auto* from = row + columns.first * map.column;
                    by_blocks(channels, begin, end, whole_rows(data, step), [&](long c, long q, bool square) {
                        if constexpr (std::is_same_v<decltype(from), const float*>)
                            if (square) return turned(from + c * map.channel + q, map.channel, out + q * pitch + c, pitch);
                        out[q * pitch + c] = wide(from[c * map.channel + q * step]);
                    });
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
                    by_blocks(channels, 0, columns.count, whole_rows(data, step), [&](long c, long q, bool square) {
                        if constexpr (std::is_same_v<decltype(row), float*>)
                            if (square)
                                return turned(sums + q * pitch + c, pitch, row + c * map.channel + q, map.channel,
                                              [&](Vec sum, int i) { return value(sum, channel + c + i); });
                        narrow(value(sums[q * pitch + c], channel + c), row[c * map.channel + q * step]);
                    });
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
    while (floats(of_rows, of_columns) > PART_FLOATS && of_rows * of_columns > FEW_PIXELS)
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

}  // namespace
