"""Random Programs of tokens: patches unfolded, norms, attention of several heads and sets by either kernel."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.golden import run
from addax.quant.program import (
    Concat,
    Constant,
    Divide,
    Flatten,
    MatMul,
    Norm,
    Program,
    Rearrange,
    Reduce,
    Requantise,
    Slice,
    Softmax,
    Unfold,
)
from network_builder import Builder


class TokenBuilder(Builder):
    """A `Builder` whose requantises are measured on random values, so that they neither saturate nor are all zero."""

    def name(self, kind):
        return f"{kind}{len(self.ops)}"

    def choose(self, *what):
        return what[int(self.rng.integers(len(what)))]

    def measured(self, result):
        """The last result, about three deviations of it, onto ``result``."""
        program = Program(ops=tuple(self.ops.values()))
        fmt = program.input.format
        values = self.rng.integers(fmt.lo, fmt.hi + 1, (4, *program.input.shape))
        found = run(program, values, trace=[self.last], native=False).tensors[self.last].astype(np.float64)
        mean, deviation = found.mean((0, 2, 3)), found.std((0, 2, 3)) + 1e-3
        gain = (result.hi - result.lo) / (3 * np.maximum(deviation, deviation.mean() / 4))
        shift = int(np.log2(16384 / gain.max()).clip(0, 30))
        multiplier = np.rint(gain * 2.0**shift).clip(1, 32767).astype(np.int64)
        offset = np.rint((result.lo + result.hi) / 2 * 2.0**shift - multiplier * mean).astype(np.int64)
        return self.emit(
            Requantise(
                name=self.name("req"), source=self.last, multiplier=multiplier, offset=offset, shift=shift,
                format=result, lo=result.lo, hi=result.hi,
            )
        )  # fmt: skip

    def projected(self, source, result, channels):
        """A dense layer of every token."""
        self.last = source
        self.convolution(self.choose("mult", "adder", "shift"), channels, weight_bits=self.choose(3, 5))
        return self.measured(result)

    def seen(self, key, value, first_row, fewer):
        """``key`` and ``value`` as they are, their first row for all, or without their first token."""
        cuts = [("H", 0, 1)] * first_row + [("W", 1, self.inferred[key].shape[2])] * fewer
        for axis, start, stop in cuts:
            key, value = (
                self.emit(Slice(name=self.name("part"), source=name, axis=axis, start=start, stop=stop))
                for name in (key, value)
            )
        return key, value

    def unfolded(self):
        """Windows of blocks of the map; a tap outside of a block reads any number."""
        channels, height, width = self.shape()
        down, right = (self.choose(*(n for n in (2, 3, 4, size) if size % n == 0)) for size in (height, width))
        size = tuple(int(self.rng.integers(1, min(side, 3) + 1)) for side in (down, right))
        padding = tuple(int(self.rng.integers(0, side)) if side > 1 else 0 for side in size * 2)
        self.emit(
            Unfold(
                name=self.name("unfold"), source=self.last, block=(down, right), size=size,
                stride=(self.choose(1, 2), self.choose(1, 2)), padding=padding,
                pad=self.integers(self.format(), channels),
            )
        )  # fmt: skip

    def rearranged(self):
        """Axes cut into factors and exchanged."""
        shape, split = self.shape(), []
        for size in shape:
            factor = self.choose(*(n for n in range(1, size + 1) if size % n == 0))
            split += [factor, size // factor]
        order = tuple(int(axis) for axis in self.rng.permutation(len(split)))
        sizes = [split[axis] for axis in order]
        first, second = sorted(int(n) for n in self.rng.integers(1, len(split), 2))
        shape = tuple(int(np.prod(part, dtype=int)) for part in (sizes[:first], sizes[first:second], sizes[second:]))
        self.emit(Rearrange(name=self.name("move"), source=self.last, split=tuple(split), order=order, shape=shape))

    def joined(self):
        """A constant in front of the tokens, or the tokens twice in rows."""
        x, (channels, height, _), fmt = self.last, self.shape(), self.format()
        if self.rng.random() < 0.7:
            value = self.integers(fmt, (channels, height, 1))
            first = self.emit(Constant(name=self.name("class"), value=value, format=fmt))
            self.emit(Concat(name=self.name("join"), source=first, others=(x,), axis="W"))
        else:
            self.emit(Concat(name=self.name("join"), source=x, others=(x,), axis="H"))

    def normalised(self, result):
        """A layer norm whose results fill ``result``; its fields are about those that a folding would choose."""
        (channels, _, _), fmt = self.shape(), self.format()
        powers = self.rng.integers(0, 3, channels) if self.rng.random() < 0.4 else int(self.rng.integers(0, 2))
        span = channels * (fmt.hi - fmt.lo) << int(np.max(powers))
        fraction, behind, shift = self.choose(0, 2, 6), result.bits + 2, 12
        reciprocal = min(span.bit_length() + fraction + result.bits + 3, 48)
        gain = (result.hi - result.lo) / 4 * 2.0 ** (shift - behind)
        multiplier = np.rint(self.rng.uniform(-gain, gain, channels)).clip(-32767, 32767).astype(np.int64)
        offset = self.rng.integers(result.lo << shift - 1, (result.hi << shift - 1) + 1, channels)
        self.emit(
            Norm(
                name=self.name("norm"), source=self.last, multiplier=multiplier, offset=offset, shift=shift,
                format=result, lo=result.lo, hi=result.hi, fraction=fraction, reciprocal=reciprocal,
                cut=max(reciprocal - fraction - behind, 0), eps=int(self.rng.integers(0, 50)), powers=powers,
            )
        )  # fmt: skip

    def exponentials(self, heads):
        """Of the last result, by any table that falls, of few entries or many; often some tokens are hidden."""
        channels, _, width = self.shape()
        others, bits = channels // heads, self.choose(4, 8)
        count = 1 << self.choose(0, 3, 5, 7, 8)
        entries = np.rint(((1 << bits) - 1) * np.exp(-np.arange(count) * self.rng.uniform(0.01, 0.2))).astype(np.int64)
        mask = None
        if self.rng.random() < 0.5:
            mask = (self.rng.random((width, others)) < 0.5).astype(np.int64)
            mask[np.arange(width), self.rng.integers(0, others, width)] = 1
        return self.emit(
            Softmax(name=self.name("exp"), source=self.last, entries=entries, format=unsigned(bits), heads=heads,
                    mask=mask)
        )  # fmt: skip

    def divided(self, num, den, result):
        """About a half to twice of what the quotient of any numbers below ``num`` has."""
        self.last = num
        channels, fmt, shift = self.shape()[0], self.inferred[num].format, 10
        gain = min((result.hi + 1) * 2.0**shift / 64, 32767)
        multiplier = np.rint(self.rng.uniform(-gain if fmt.signed else gain / 4, gain, channels)).astype(np.int64)
        offset = self.rng.integers(result.lo << shift - 1, (result.hi << shift - 1) + 1, channels)
        return self.emit(
            Divide(name=self.name("div"), source=num, denominator=den, multiplier=multiplier, offset=offset,
                   shift=shift, format=result, lo=result.lo, hi=result.hi)
        )  # fmt: skip


def random_tokens(seed, raw=None):
    """Attention of one or several heads, one set of tokens or several, by either kernel, perhaps to other tokens.

    With ``raw`` the Program ends in a map, else in class scores.
    """
    rng = np.random.default_rng([seed, 7])
    heads, each = (int(rng.choice(what)) for what in ((1, 2, 3), (1, 2, 3, 5)))
    b = TokenBuilder(rng, tuple(int(rng.choice(what)) for what in ((2, 3, 4), (1, 1, 2, 4), (2, 3, 4, 6))))
    choose, raw = b.choose, bool(rng.random() < 0.5) if raw is None else raw
    if rng.random() < 0.5:
        b.unfolded()
    if rng.random() < 0.5:
        b.joined()
    for _ in range(choose(1, 1, 2)):
        if rng.random() < 0.6:
            b.normalised(choose(unsigned(5), signed(8)))
        x, (_, height, width) = b.last, b.shape()
        grid = choose(unsigned(3), signed(4), signed(8), unsigned(8), signed(12))
        grids = grid, grid, choose(signed(8), grid, signed(6))
        query, key, value = (b.projected(x, result, heads * each) for result in grids)
        key, value = b.seen(key, value, height > 1 and rng.random() < 0.4, width > 1 and rng.random() < 0.4)
        b.emit(MatMul(name=b.name("scores"), source=query, other=key, form="scores", heads=heads,
                      kernel=choose("mult", "adder")))  # fmt: skip
        attend(b, value, heads)
        if rng.random() < 0.4:
            b.rearranged()
    if raw:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", int(rng.integers(1, 5)))
    b.requantise(None, scores=True)
    return b.program()


def attend(b, value, heads):
    """What the tokens get of ``value`` by the scores that ``b`` has last: by a softmax, or by them as they are."""
    values, choose = b.inferred[value].format, b.choose
    if choose(True, True, False):
        b.measured(signed(choose(5, 8)))
        weights = b.exponentials(heads)
        den = b.emit(Reduce(name=b.name("den"), source=weights, how="sum", parts=heads))
        if choose(True, True, False):
            num = b.emit(MatMul(name=b.name("context"), source=weights, other=value, form="context", heads=heads))
            b.divided(num, den, signed(8))
            return
        weights = b.divided(weights, den, values)
    else:
        weights = b.measured(choose(unsigned(4), unsigned(8), values))
    kernel = choose("mult", "adder") if b.format() == values else "mult"
    b.last = weights
    b.emit(MatMul(name=b.name("context"), source=weights, other=value, form="context", heads=heads, kernel=kernel))
    b.measured(choose(signed(8), unsigned(5)))


def on_tokens(kind, name, source, shape, fmt):
    """The operation on tokens whose class is called ``kind``, as plain as it may be, of ``source``."""
    channels, height, width = shape
    ones, none = np.ones(channels, np.int64), np.zeros(channels, np.int64)
    scaled = {"multiplier": ones, "offset": none, "shift": 0, "format": fmt, "lo": fmt.lo, "hi": fmt.hi}
    given = {
        "MatMul": (MatMul, {"other": source, "form": "scores"}),
        "Softmax": (Softmax, {"entries": np.array([7, 1]), "format": unsigned(3)}),
        "Divide": (Divide, {"denominator": source, **scaled}),
        "Norm": (Norm, {"fraction": 0, "reciprocal": 20, "cut": 10, **scaled}),
        "Rearrange": (Rearrange, {"split": shape, "order": (0, 2, 1), "shape": (channels, width, height)}),
        "Unfold": (Unfold, {"block": (height, width), "size": 1, "stride": 1, "pad": none}),
    }
    make, fields = given[kind]
    return make(name=name, source=source, **fields)
