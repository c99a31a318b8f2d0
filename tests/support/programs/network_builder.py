"""A builder of small Programs, operation by operation, with random numbers that fit."""

from dataclasses import replace

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.ops.ends import PIXEL
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Constant,
    Convolution,
    Input,
    MaxPool,
    PixelShuffle,
    Product,
    Program,
    Requantise,
    Slice,
    SpatialShift,
    Table,
    Threshold,
    Upsample,
    infer,
    offset_format,
    score_format,
    weight_values,
)


class Builder:
    """Collects operations and invents weights that keep the values alive."""

    def __init__(self, rng, shape, fmt=PIXEL):
        self.rng = rng
        self.ops = {}
        self.inferred = {}
        self.last = self.emit(Input(name="pixels", shape=shape, format=fmt))

    def emit(self, op):
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred)
        self.last = op.name
        return op.name

    def shape(self):
        return self.inferred[self.last][0]

    def format(self):
        return self.inferred[self.last][1]

    def integers(self, fmt, shape):
        """Uniform, with the extremes made common."""
        values = self.rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)
        edge = self.rng.random(shape)
        return np.where(edge < 0.1, fmt.lo, np.where(edge > 0.9, fmt.hi, values)).astype(np.int64)

    def convolution(self, kernel, outputs, size=1, stride=1, padding=0, weight_bits=4, groups=1, dilation=1):
        x = self.format()
        weight_format = words(kernel, x, weight_bits)
        inputs = self.shape()[0]
        self.emit(
            Convolution(
                name=f"conv{len(self.ops)}", source=self.last, kernel=kernel,
                weight=self.integers(weight_format, (outputs, inputs // groups, size, size)),
                weight_format=weight_format, stride=stride, padding=padding, pad=self.integers(x, inputs),
                groups=groups, dilation=dilation,
            )
        )  # fmt: skip

    def requantise(self, result, scores=False):
        acc = self.format()
        channels = self.shape()[0]
        span = max(acc.hi, -acc.lo)
        if scores:
            result, shift = score_format(acc), 14
            multiplier = self.rng.integers(-(1 << 14), 1 << 14, channels, endpoint=True)
            offset = self.rng.integers(-span << 13, span << 13, channels, endpoint=True)
        else:
            shift = int(self.rng.integers(8, 15))
            gain = 2 * (result.hi - result.lo) / span * (1 << shift)
            multiplier = np.rint(self.rng.uniform(-gain, gain, channels)).clip(-32767, 32767).astype(np.int64)
            offset = -multiplier * int((acc.lo + acc.hi) // 2)
        self.emit(
            Requantise(
                name=f"req{len(self.ops)}", source=self.last, multiplier=multiplier, offset=offset, shift=shift,
                format=result, lo=result.lo, hi=result.hi,
            )
        )  # fmt: skip

    def varied(self, op):
        """Much the same requantise with shifts per channel, ties to the even number, wide factors: some, or none."""
        # Drawn apart, so that the rest of a network is the same with and without, and that networks of one shape, whose
        # weights are loaded into the same hardware, have the same.
        rng = np.random.default_rng([len(self.ops), len(op.multiplier)])
        m, b, shift = op.multiplier, op.offset, op.shifts
        changes = {}
        if rng.random() < 0.4 and not op.terms:
            less = rng.integers(0, 4, len(m)).clip(0, shift - 1)
            m, b, shift = m >> less, b >> less, shift - less
            changes["residual_multiplier"] = op.residual_multipliers >> less
        few = int(op.residual_multipliers.max()) < 1 << 22 and self.inferred[op.source][1].bits <= 37
        if rng.random() < 0.3 and few and int(shift.max()) <= 23:
            m, b, shift = m << 8 | rng.integers(0, 256, len(m)) * (not op.terms), b << 8, shift + 8
            changes["residual_multiplier"] = changes.get("residual_multiplier", op.residual_multipliers) << 8
            changes["factor_bits"] = 24
        if rng.random() < 0.4 and int(shift.min()) > 0:
            # Few digits of a factor, so that sums often lie in the middle.
            low = (np.log2(np.maximum(np.abs(m), 1)).astype(np.int64) - 1).clip(0, shift - 1)
            m, b = m >> low << low, (b >> low << low)
            changes["ties"] = "even"
        return replace(op, multiplier=m, offset=b, shift=shift, **changes)

    def spread(self, name):
        """Mean and deviation of each channel, roughly: as if what a convolution reads were uniform."""
        op, (channels, _, _), fmt = self.ops[name], *self.inferred[name]
        if isinstance(op, MaxPool | AveragePool):
            mean, deviation = self.spread(op.source)
            return (mean * op.taps, deviation * op.taps**0.5) if isinstance(op, AveragePool) else (mean, deviation)
        if isinstance(op, SpatialShift | Upsample):
            return self.spread(op.source)
        if isinstance(op, Slice):
            kept = op.kept if op.axis == "C" else slice(None)
            return tuple(part[kept] for part in self.spread(op.source))
        if isinstance(op, PixelShuffle):
            return tuple(part.reshape(channels, -1).mean(1) for part in self.spread(op.source))
        if isinstance(op, Table):
            rows = np.broadcast_to(op.rows, (channels, op.rows.shape[1]))
            return rows.mean(1), rows.std(1) + 1
        if isinstance(op, Product):
            (mean, deviation), (other, spread) = self.spread(op.source), self.spread(op.other)
            return mean * other, abs(mean) * spread + abs(other) * deviation + deviation * spread
        if not isinstance(op, Convolution):
            return np.full(channels, (fmt.lo + fmt.hi) / 2), np.full(channels, (fmt.hi - fmt.lo) / 3)
        x, w = self.inferred[op.source][1], weight_values(op).reshape(channels, -1)
        taps = self.rng.integers(x.lo, x.hi, (64, 1, w.shape[1]), endpoint=True)
        taps = 2 * taps - 1 if op.kernel == "xnor" else taps
        sums = (-abs(taps - w) if op.kernel == "adder" else taps * w).sum(2)
        return sums.mean(0), sums.std(0) + 1

    def rescale(self, result, terms=0, residual=None):
        """Any tensor onto ``result`` and somewhat beyond; with ``terms``, by sums of so many powers of two."""
        mean, deviation = self.spread(self.last)
        channels = len(mean)
        gain = (result.hi - result.lo) / (3 * deviation)
        shift = min(max(int(np.log2(16384 / gain.max())), 0), 31)
        multiplier = np.rint(gain * 2.0**shift).clip(1, 32767).astype(np.int64)
        if terms:
            places = np.log2(multiplier).astype(int) - self.rng.permuted(
                np.arange(3)[:, None].repeat(channels, 1), axis=0
            )
            multiplier = (self.rng.choice([-1, 1], (3, channels)) << places.clip(0, 13))[:terms].sum(0)
        multiplier *= self.rng.choice([-1, 1], channels)
        offset = np.rint((result.lo + result.hi) / 2 * 2.0**shift - multiplier * mean).astype(np.int64)
        factor = 0
        if residual is not None:
            r = self.inferred[residual][1]
            factor = 1 << max(int(np.log2((result.hi - result.lo) / (r.hi - r.lo) * 2.0**shift / 4)), 0)
        op = Requantise(
            name=f"req{len(self.ops)}", source=self.last, multiplier=multiplier, offset=offset, shift=shift,
            format=result, lo=result.lo, hi=result.hi, residual=residual, residual_multiplier=factor, terms=terms,
        )  # fmt: skip
        self.emit(self.varied(op))

    def threshold(self, result):
        """All levels of ``result``, of any direction, some channels constant."""
        x = self.format()
        mean, deviation = (part[:, None] for part in self.spread(self.last))
        levels = np.rint(self.rng.normal(mean, deviation, (len(mean), result.hi))).astype(np.int64)
        constant = self.rng.random(len(levels))
        levels[constant < 0.05], levels[constant > 0.95] = x.lo, x.hi + 1
        self.emit(
            Threshold(
                name=f"thr{len(self.ops)}", source=self.last, thresholds=np.sort(levels.clip(x.lo, x.hi + 1), axis=1),
                falling=self.rng.integers(0, 2, len(levels)), format=result,
            )
        )  # fmt: skip

    def table(self, result):
        """Any entries of ``result``: for each channel, if the last result has so few bits, or for all."""
        (channels, _, _), x = self.shape(), self.format()
        rows = (channels,) if x.bits <= 8 and self.rng.random() < 0.5 else ()
        entries = self.integers(result, (*rows, 1 << x.bits))
        self.emit(Table(name=f"table{len(self.ops)}", source=self.last, entries=entries, format=result))

    def product(self, other):
        """The last result times that of ``other``."""
        self.emit(Product(name=f"product{len(self.ops)}", source=self.last, other=other))

    def shift(self):
        """Channels by any offsets, neighbours often by the same, and whatever comes in."""
        channels = self.shape()[0]
        offsets = self.rng.integers(-3, 4, (channels, 2))
        if self.rng.random() < 0.4:
            offsets = offsets[np.sort(self.rng.integers(0, channels, channels))]
        pad = {"pad": self.integers(self.format(), channels)} if self.rng.random() < 0.7 else {}
        self.emit(SpatialShift(name=f"move{len(self.ops)}", source=self.last, offsets=offsets, **pad))

    def bend(self):
        """The last requantise with a second slope: knees all over what it meets, some where no sum comes."""
        op, x = self.ops[self.last], self.inferred[self.ops[self.last].source][1]
        channels = len(op.multiplier)
        mean, deviation = self.spread(op.source)
        knee = np.rint(self.rng.normal(mean, deviation)).astype(np.int64).clip(x.lo, x.hi + 1)
        edge = self.rng.random(channels)
        knee = np.where(edge < 0.1, x.lo, np.where(edge > 0.9, x.hi + 1, knee))
        steps = self.rng.integers(-3, 3, channels)
        second = np.where(steps < 0, op.multiplier // 2 ** -steps.clip(None, 0), -op.multiplier * (steps % 2))
        if op.terms:
            second = self.rng.permutation(op.multiplier)
        # What keeps both sides together at the knee, and, for some, anything else.
        lower = op.offset + (op.multiplier - second) * knee
        lower = np.where(self.rng.random(channels) < 0.3, op.offset, lower)
        widest = offset_format(x, op.factor_bits)
        lower = lower.clip(widest.lo, widest.hi)
        self.ops[op.name] = replace(op, second=second, knee=knee, second_offset=lower)
        infer(self.ops[op.name], self.inferred)

    def cut(self):
        """Some channels, rows or columns."""
        axis = str(self.rng.choice(["C", "H", "W"]))
        size = self.shape()["CHW".index(axis)]
        start = int(self.rng.integers(0, size))
        stop, step = int(self.rng.integers(start + 1, size + 1)), int(self.rng.integers(1, 4))
        self.emit(Slice(name=f"cut{len(self.ops)}", source=self.last, axis=axis, start=start, stop=stop, step=step))

    def constant(self, channels, even=False):
        """So many channels that fit beside the last result: zeros, or anything, where ``even`` the same everywhere."""
        source, fmt = self.last, self.format()
        shape = (channels, *self.shape()[1:])
        value = np.zeros(shape, np.int64) if self.rng.random() < 0.4 and fmt.lo <= 0 else self.integers(fmt, shape)
        if even:
            value = value[:, :1, :1].repeat(shape[1], 1).repeat(shape[2], 2)
        name = self.emit(Constant(name=f"const{len(self.ops)}", value=value, format=fmt))
        self.last = source
        return name

    def enlarge(self, kind, factor):
        self.emit(kind(name=f"move{len(self.ops)}", source=self.last, factor=factor))

    def program(self):
        self.emit(ArgMax(name="argmax", source=self.last))
        return self.raw()

    def raw(self):
        """Without an arg-max: what the last operation makes is the output."""
        return Program(ops=tuple(self.ops.values()))


def words(kernel, x, bits):
    """Format of the weights of ``kernel`` for features ``x``; only mult has a choice."""
    mult = unsigned(1) if bits == 1 else signed(bits)
    return {"adder": x, "mult": mult, "xnor": unsigned(1), "shift": unsigned(4)}[kernel]
