// Tiles of P pixels x V vectors of channels, which stay in registers while all taps pass.

#pragma once

#include <algorithm>

#include "vectors.h"

namespace {

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

}  // namespace
