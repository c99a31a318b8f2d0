"""Random small Programs and folds, for tests that ask whether two executors agree whatever the network."""

from dataclasses import replace

import numpy as np
from addax.hdl.dataflow.build import StageBuild, default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.queues import with_queues
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.maps.join import join_folds
from addax.hdl.maps.move import move_folds
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    PixelShuffle,
    Program,
    Requantise,
    SpatialShift,
    Threshold,
    Upsample,
    infer,
    score_format,
    weight_values,
)


class Builder:
    """Collects operations and invents weights that keep the values alive."""

    def __init__(self, rng, shape):
        self.rng = rng
        self.ops = {}
        self.inferred = {}
        self.last = self.emit(Input(name="pixels", shape=shape))

    def emit(self, op):
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred, self.ops)
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

    def convolution(self, kernel, outputs, size=1, stride=1, padding=0, weight_bits=4, groups=1):
        x = self.format()
        weight_format = words(kernel, x, weight_bits)
        inputs = self.shape()[0]
        self.emit(
            Convolution(
                name=f"conv{len(self.ops)}", source=self.last, kernel=kernel,
                weight=self.integers(weight_format, (outputs, inputs // groups, size, size)),
                weight_format=weight_format, stride=stride, padding=padding, pad=self.integers(x, inputs),
                groups=groups,
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
            return (mean * op.size**2, deviation * op.size) if isinstance(op, AveragePool) else (mean, deviation)
        if isinstance(op, SpatialShift | Upsample):
            return self.spread(op.source)
        if isinstance(op, PixelShuffle):
            return tuple(part.reshape(channels, -1).mean(1) for part in self.spread(op.source))
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

    def shift(self):
        """Channels by any offsets, neighbours often by the same, and whatever comes in."""
        channels = self.shape()[0]
        offsets = self.rng.integers(-3, 4, (channels, 2))
        if self.rng.random() < 0.4:
            offsets = offsets[np.sort(self.rng.integers(0, channels, channels))]
        pad = {"pad": self.integers(self.format(), channels)} if self.rng.random() < 0.7 else {}
        self.emit(SpatialShift(name=f"move{len(self.ops)}", source=self.last, offsets=offsets, **pad))

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


def random_program(seed):
    """A chain of one to three layers with pools, any kernels, strides, paddings and formats."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
    b = Builder(rng, shape)
    for _ in range(int(rng.integers(0, 3))):
        _, height, width = b.shape()
        size = int(rng.integers(1, min(4, height + 1, width + 1)))
        b.convolution(
            str(rng.choice(["adder", "mult"])), int(rng.integers(1, 7)), size, int(rng.integers(1, 3)),
            int(rng.integers(0, size)), int(rng.integers(2, 9)),
        )  # fmt: skip
        bits = int(rng.integers(2, 9))
        b.requantise(unsigned(bits) if rng.random() < 0.7 else signed(bits))
        _, height, width = b.shape()
        if min(height, width) >= 2 and rng.random() < 0.6:
            stride = int(rng.integers(1, 3))
            if rng.random() < 0.7:
                b.emit(
                    MaxPool(
                        name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride, padding=int(rng.integers(0, 2))
                    )
                )
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride))
                b.requantise(unsigned(bits))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(str(rng.choice(["adder", "mult"])), int(rng.integers(1, 6)), weight_bits=int(rng.integers(2, 9)))
    b.requantise(None, scores=True)
    return b.program()


def random_chain(seed):
    """As `random_program`, of all four kernels, with thresholds as well as requantises in between and on the pixels."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7))))

    def kernel():
        return "xnor" if b.format() == unsigned(1) else str(rng.choice(["adder", "mult", "shift"]))

    def activate():
        bits = int(rng.integers(1, 4))
        if rng.random() < 0.6:
            b.threshold(unsigned(bits))
        else:
            b.rescale(unsigned(bits + 1) if rng.random() < 0.7 else signed(bits + 1))

    if rng.random() < 0.5:
        activate()
    for _ in range(int(rng.integers(1, 4))):
        _, height, width = b.shape()
        size = int(rng.integers(1, min(4, height + 1, width + 1)))
        b.convolution(
            kernel(), int(rng.integers(1, 7)), size, int(rng.integers(1, 3)), int(rng.integers(0, size)),
            int(rng.integers(1, 9)),
        )  # fmt: skip
        activate()
        if min(b.shape()[1:]) >= 2 and rng.random() < 0.4:
            b.emit(MaxPool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=int(rng.integers(1, 3))))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(kernel(), int(rng.integers(1, 6)), weight_bits=int(rng.integers(2, 9)))
    b.requantise(None, scores=True)
    return b.program()


def random_graph(seed):
    """Branches that meet again as residual or side by side, of every kernel and operation; pools of sums, too."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(4, 7)), int(rng.integers(4, 7))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, stride, result, join=None):
        b.last = source
        channels, height, width = b.shape()
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size = int(rng.integers(1, 4))
        groups = choose(*(g for g in range(1, channels + 1) if channels % g == outputs % g == 0))
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)), groups=groups)
        if stride > 1:
            height, width = b.shape()[1:]
            if rng.random() < 0.5 or min(height, width) < 2:
                b.emit(MaxPool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=2, padding=1))
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=2))
        fits = join is not None and b.inferred[join][0] == b.shape()
        if fits or result.signed or result.bits > 3 or rng.random() < 0.3:
            b.rescale(result, int(rng.integers(0, 4)), join if fits else None)
        else:
            b.threshold(result)
        return b.last

    first = choose(None, unsigned(1), unsigned(2), unsigned(5), signed(6), signed(9))
    if first is not None and (first.signed or first.bits > 2):
        b.rescale(first, int(rng.integers(0, 3)))
    elif first is not None:
        b.threshold(first)
    for _ in range(int(rng.integers(1, 3))):
        source = b.last
        result = choose(unsigned(1), unsigned(1), unsigned(2), unsigned(3), unsigned(8), signed(5), signed(11))
        outputs, stride = int(rng.integers(1, 5)), int(rng.integers(1, 3))
        left = layer(source, outputs, stride, result)
        right = layer(source, outputs, stride, result, left)
        if rng.random() < 0.7 and b.inferred[left][0][1:] == b.inferred[right][0][1:]:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=left, others=choose((right,), (right, left))))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_reshaping(seed, raw=False):
    """Moves of pixels: shifted channels, pixel shuffles, upsampling, of features, bits and sums, some side by side.

    With ``raw`` the Program ends in a map, else in class scores.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.integers(1, 6))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def move(share):
        channels, height, width = b.shape()
        if rng.random() > share:
            return
        factor = choose(2, 3)
        if channels % factor**2 == 0 and rng.random() < 0.7:
            b.enlarge(PixelShuffle, factor)
        elif height * width <= 30 and rng.random() < 0.4:
            b.enlarge(Upsample, factor)
        else:
            b.shift()

    move(0.3)
    for _ in range(int(rng.integers(1, 3))):
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size, outputs = choose(1, 3), choose(1, 3, 4, 8, 9)
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)))
        move(0.3)
        result = choose(unsigned(1), unsigned(2), unsigned(7), signed(5), signed(10))
        if result.signed or result.bits > 3:
            b.rescale(result)
        else:
            b.threshold(result)
        still = b.last
        move(0.9)
        if b.inferred[still][0][1:] == b.shape()[1:] and still != b.last and rng.random() < 0.7:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=still, others=(b.last,)))
    if raw:
        move(0.5)
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_residual(seed):
    """Residual blocks, with and without a layer on the shortcut, grouped layers, joins of joins; of every kernel."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, size, stride, result, join=None):
        b.last = source
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        channels = b.shape()[0]
        groups = choose(*(g for g in range(1, channels + 1) if channels % g == outputs % g == 0))
        b.convolution(kernel, outputs, size, stride, size // 2, int(rng.integers(1, 5)), groups)
        b.rescale(result, residual=join, terms=(0, 0, 1, 2)[seed % 4])
        return b.last

    if rng.random() < 0.5:
        b.rescale(choose(unsigned(4), signed(6), unsigned(1)))
    for _ in range(int(rng.integers(1, 3))):
        source, outputs, stride = b.last, int(rng.integers(1, 5)), int(rng.integers(1, 3))
        result = choose(unsigned(1), unsigned(3), unsigned(8), signed(5))
        shortcut = source
        if stride > 1 or b.shape()[0] != outputs or rng.random() < 0.3:
            shortcut = layer(source, outputs, choose(1, 3), stride, choose(signed(9), unsigned(4)))
        middle = choose(unsigned(1), unsigned(4), signed(3))
        inner = layer(source, int(rng.integers(1, 5)), choose(1, 3), stride, middle)
        layer(inner, outputs, choose(1, 3), 1, result, shortcut)
        if rng.random() < 0.3:
            b.rescale(unsigned(5), residual=choose(None, inner if b.inferred[inner][0] == b.shape() else None))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_moving(seed, raw=None):
    """Moves of features, of pixels too, and concatenations of what branches made, some within residual blocks.

    With ``raw`` the Program ends in a map, else in class scores if the map is small; without a choice, in either.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, result, join=None):
        b.last = source
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size = choose(1, 3)
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)))
        b.rescale(result, residual=join)
        return b.last

    def move(source):
        b.last = source
        channels, height, width = b.shape()
        factor = choose(2, 2, 3)
        if channels % factor**2 == 0 and rng.random() < 0.6:
            b.enlarge(PixelShuffle, factor)
        elif height * width <= 20 and rng.random() < 0.3:
            b.enlarge(Upsample, factor)
        else:
            b.shift()
        return b.last

    if rng.random() < 0.3:
        b.rescale(choose(unsigned(4), signed(6)))
    if rng.random() < 0.3:
        move(b.last)
    for _ in range(int(rng.integers(1, 3))):
        source, result = b.last, choose(unsigned(2), unsigned(7), signed(5))
        outputs = choose(2, 3, 4, 4, 8)
        made = [layer(source, outputs, result)]
        if rng.random() < 0.5:
            made.append(layer(choose(source, made[0]), choose(2, outputs), result))
        if rng.random() < 0.5:
            b.last = made[0]
            b.shift()
            made.append(b.last)
        if rng.random() < 0.3:
            made.append(choose(*made))
        rng.shuffle(made)
        if len(made) > 1:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=str(made[0]), others=tuple(map(str, made[1:]))))
        else:
            b.last = made[0]
        if rng.random() < 0.3:
            whole, channels = b.last, b.shape()[0]
            layer(layer(whole, 3, result), channels, result, whole)
        if rng.random() < 0.6:
            move(b.last)
    if raw or np.prod(b.shape()) > 200:  # a dense layer of so many inputs takes long to simulate
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


LANES = {"adder": ["2a", "1c1a", "carry"], "mult": ["booth", "rows", "star"], "xnor": ["count"], "shift": ["barrel"]}
"""Structures that a stage may have."""


def random_plan(program, seed, *, fixed_weights=False, fabric="generic", structures=False):
    """Any legal fold of every stage, not a good one; with ``structures``, any lanes, too."""
    rng, scales = np.random.default_rng(seed), np.random.default_rng([seed, 1])

    def divisor(n):
        return int(rng.choice([k for k in range(1, n + 1) if n % k == 0]))

    stages = []
    for stage in stages_of(program, fixed_weights=fixed_weights):
        high, wide = stage.window
        if stage.joins:
            fold = {"simd": int(rng.choice(join_folds(stage.parts))), "pe": 1, "taps": 1}
        elif stage.moves:
            fold = {"simd": int(rng.choice(move_folds(stage.kind, stage.source[0], stage.factor))), "pe": 1, "taps": 1}
        elif stage.weight is None:
            fold = {"simd": divisor(stage.source[0]), "pe": 1, "taps": 1}
        else:
            inputs, filters = (n // stage.groups for n in (stage.source[0], stage.result[0]))
            fold = {"simd": divisor(inputs), "pe": divisor(filters)}
            if stage.groups > 1 and rng.random() < 0.6:
                fold = {"simd": inputs, "pe": filters, "blocks": divisor(stage.groups)}
            fold["taps"] = wide if stage.stride <= wide and rng.random() < 0.5 else 1
            fold["lines"] = high if stage.stride <= high and rng.random() < 0.3 else 1
        plan = default_stage_plan(stage, **fold)
        if structures and stage.weight is not None:
            plan = replace(plan, structure=str(rng.choice(LANES[stage.kind])))
        if stage.requantise is not None and scales.random() < 0.3:
            plan = replace(plan, scale=str(scales.choice(["dsp", "lut"])))
        stages.append(StageBuild(stage=stage, plan=plan, fabric=fabric))
    image = program.input.shape[1] * program.input.shape[2]
    pixels = divisor(image) if rng.random() < 0.4 else 1
    outputs = 1 if program.classifies or rng.random() < 0.4 else divisor(int(np.prod(program.shape(program.output))))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=fixed_weights,
        stages=with_queues(stages, program, pixels=pixels, outputs=outputs), fabric=fabric, pixels=pixels,
        outputs=outputs,
    )  # fmt: skip


def random_images(program, count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, *program.input.shape), dtype=np.uint8)
