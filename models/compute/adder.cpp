// The adder convolution of float maps: forward, gradient of the features, raw gradient of the filters.
//
// Work is cut into parts: some images, rows and columns of the result. A part's features are copied once into a small
// buffer, channels innermost, zeros where they are padding, float32 whatever their type. Tiles of P pixels x V vectors
// of channels then stay in registers while all taps pass. What each function computes, back_ends.py says.

#include "maps.h"
#include "tiles.h"

namespace {

constexpr long MOST_SUMS = 1 << 24;  // of all shares of filter gradients together

// Rows of `width` numbers added to `sums`, a part at a time.
void add_rows(const float* from, long rows, long width, float* sums) {
    std::vector<float> own(width, 0.0f);
    for (long r = 0; r < rows; ++r)
        for (long i = 0; i < width; ++i) own[i] += from[r * width + i];
    for (long i = 0; i < width; ++i) sums[i] += own[i];
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

// The features that the windows of a part see, and where in them pixels of the result and taps are.
struct Windows {
    std::vector<float> x;
    std::vector<long> pixels, taps;

    void take_from(const Problem& p, const Map& features, const Part& part, long first, long channels, long pitch) {
        const Field field(p, part);
        x.resize(part.images * field.rows.count * field.columns.count * pitch);
        take(features, part.image, part.images, first, channels, field.rows, field.columns, pitch, x.data());
        places(part, field.rows.count, field.columns.count, pitch, p.down, p.right, pixels);
        taps = taps_of(p, field.columns.count, pitch);
    }
};

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
                    by_pixels<std::min(GRADIENT_TILE * WIDEST / v, 8)>(part.pixels(), [&](long pixel, auto few) {
                        const auto run = s.own ? clips<few, v, true> : clips<few, v, false>;
                        run(g.data() + (s.own ? begin : 0), &pixels[pixel], taps.data(), tap_filters.data(), taps.size(),
                            inner, packed, &x[pixel * pitch + begin], &sums[pixel * pitch + begin], pitch);
                    });
                });
                packed += s.taps * inner * vectors * LANES;
                begin += vectors * LANES;
            }
            put(result, part.image, part.images, group * s.inputs, s.inputs, own_rows, own_columns, pitch, sums.data(),
                [](auto sum, long) { return sum; });
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
        Windows seen;
        std::vector<float> sums;
        for (long at = first; at < last; ++at) {
            const Part part = part_of(cut, at / s.groups);
            const long group = at % s.groups;
            sums.resize(part.pixels() * width);
            seen.take_from(p, *features, part, group * s.inputs, s.inputs, pitch);
            const float* own = packed.data() + group * width * s.taps * inner;
            for (long begin = 0; begin < width;) {
                const int vectors = block(begin, width);
                by_vectors(vectors, [&](auto v) {
                    by_pixels<(v == 4 ? TILE : 8)>(part.pixels(), [&](long pixel, auto few) {
                        const auto run = s.own ? distances<few, v, true> : distances<few, v, false>;
                        run(seen.x.data() + (s.own ? begin : 0), &seen.pixels[pixel], seen.taps.data(), s.taps, inner,
                            own, &sums[pixel * width + begin], width);
                    });
                });
                own += s.taps * inner * vectors * LANES;
                begin += vectors * LANES;
            }
            put(*result, part.image, part.images, group * s.outputs, s.outputs, {part.row, part.rows, 1, p.rows},
                {part.column, part.columns, 1, p.columns}, width, sums.data(),
                [&](auto sum, long o) { return (bias ? bias[o] : 0.0f) - sum; });
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

void addax_adder_filters(const Problem* problem, const Map* features, const float* filters, const Map* upstream,
                         float* result) {
    const Problem& p = *problem;
    const Sizes s(p);
    const long pitch = lanes(s.inputs), outputs = s.own ? 1 : s.outputs, upstream_pitch = s.own ? pitch : s.outputs;
    const long row = s.taps * pitch, size = s.groups * outputs * row;
    const Cut cut = forward_cut(p, pitch);
    const long count = cut.count() * s.groups;
    // One sum per share, and as many shares as threads: whichever thread takes a share, sums are added in one order.
    // [group][o][tap][i], and behind them what every filter is to blame for, [group][o].
    const long threads = std::min(threads_for(p), std::max(1L, MOST_SUMS / size));
    std::vector<std::vector<float>> partial(threads);
    shared(count, threads, threads, [&](long first, long last, long share) {
        std::vector<float>& sums = partial[share];
        Windows seen;
        std::vector<float> g;
        sums.assign(size + s.groups * upstream_pitch, 0.0f);
        for (long at = first; at < last; ++at) {
            const Part part = part_of(cut, at / s.groups);
            const long group = at % s.groups;
            g.resize(part.pixels() * upstream_pitch);
            seen.take_from(p, *features, part, group * s.inputs, s.inputs, pitch);
            take(*upstream, part.image, part.images, group * s.outputs, s.outputs, {part.row, part.rows, 1, p.rows},
                 {part.column, part.columns, 1, p.columns}, upstream_pitch, g.data());
            add_rows(g.data(), part.pixels(), upstream_pitch, &sums[size + group * upstream_pitch]);
            for (long t = 0; t < s.taps; ++t)
                for (long begin = 0; begin < pitch;) {
                    const int vectors = block(begin, pitch);
                    by_vectors(vectors, [&](auto v) {
                        by_pixels<(v == 4 ? TILE : 8)>(outputs, [&](long o, auto few) {
                            const auto run = s.own ? products<few, v, true> : products<few, v, false>;
                            run(g.data() + (s.own ? begin : o), upstream_pitch, seen.x.data() + seen.taps[t] + begin,
                                seen.pixels.data(), part.pixels(),
                                &sums[(group * outputs + o) * row + t * pitch + begin], row);
                        });
                    });
                    begin += vectors * LANES;
                }
        }
    });
    std::vector<float>& total = partial[0];
    for (long share = 1; share < threads; ++share)
        for (size_t i = 0; i < total.size(); ++i) total[i] += partial[share][i];
    // To (O, I, taps); where every channel is a group of its own, to (channels, taps).
    for (long o = 0; o < s.groups * outputs; ++o)
        for (long i = 0; i < s.inputs; ++i)
            for (long t = 0; t < s.taps; ++t) {
                const long to = (o * s.inputs + i) * s.taps + t;
                result[to] = total[o * row + t * pitch + i] - filters[to] * total[size + (s.own ? i : o)];
            }
}
}
