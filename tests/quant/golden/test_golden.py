"""The golden model against a second executor, written here as loops over Python integers, which have no width."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.quant import golden
from addax.quant import program as program_module
from addax.quant.formats import Format, signed, unsigned
from addax.quant.golden import execute
from addax.quant.golden.execute import WidthError
from addax.quant.golden.loops import NumpyLoops
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
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import random_graph, random_images, random_program, random_reshaping

BITS = range(2, 17)
R_MAX = 2**31 - 1
"""The factor of a residual has 32 bits."""
SHIFT_WORDS = [0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]
"""What the words of the shift kernel stand for."""
ONE_BIT = unsigned(1)


# The second executor. A tensor is a dictionary from (channel, row, column) to an integer, and a shape.


def window(shape, size, stride, padding):
    rows, columns = (range(0, n + 2 * padding - k + 1, stride) for n, k in zip(shape[1:], size, strict=True))
    for (r, top), (c, left) in itertools.product(enumerate(rows), enumerate(columns)):
        yield r, c, [(ky, kx, top + ky - padding, left + kx - padding)
                     for ky in range(size[0]) for kx in range(size[1])]  # fmt: skip


def product(op, a, w):
    match op.kernel:
        case "adder":
            return -abs(a - w)
        case "xnor":
            return 1 if a == w else -1
        case "shift":
            return a * SHIFT_WORDS[w]
        case "mult" if op.weight_format.bits == 1:
            return a if w else -a
        case "mult":
            return a * w


def naive_convolution(op, shape, x):
    weight, pad, (outputs, inputs, *size) = op.weight.tolist(), op.pad.tolist(), op.weight.shape
    result = {}
    for r, c, taps in window(shape, size, op.stride, op.padding):
        for o in range(outputs):
            first = o // (outputs // op.groups) * inputs  # channel of the filter's group
            total = 0
            for i in range(inputs):
                for ky, kx, row, column in taps:
                    a = x.get((first + i, row, column), pad[first + i])
                    total += product(op, a, weight[o][i][ky][kx])
            result[o, r, c] = total
    return result


def naive_requantise(op, x, residual):
    multiplier, offset, shifts, factors = (
        values.tolist() for values in (op.multiplier, op.offset, op.shifts, op.residual_multipliers)
    )
    result = {}
    for (o, r, c), acc in x.items():
        wide = acc * multiplier[o] + offset[o] + (residual[o, r, c] * factors[o] if residual else 0)
        whole = wide // 2 ** shifts[o]
        if op.ties == "even":  # B holds the half that Python's own rounding of fractions does without
            whole = round(Fraction(wide - 2 ** (shifts[o] - 1), 2 ** shifts[o]))
        result[o, r, c] = min(max(whole, op.lo), op.hi)
    return result


def naive_threshold(op, x):
    thresholds, falling = op.thresholds.tolist(), op.falling.tolist()
    result = {}
    for (o, r, c), acc in x.items():
        result[o, r, c] = 0
        for t in thresholds[o]:
            if (acc < t) if falling[o] else (acc >= t):
                result[o, r, c] += 1
    return result


def naive_concat(parts):
    result, first = {}, 0
    for part in parts:
        for (i, r, c), value in part.items():
            result[first + i, r, c] = value
        first = 1 + max(i for i, _, _ in result)
    return result


def naive_pool(op, shape, x, join):
    result = {}
    padding = op.padding if isinstance(op, MaxPool) else 0
    for r, c, taps in window(shape, (op.size, op.size), op.stride, padding):
        for i in range(shape[0]):
            result[i, r, c] = join([x[i, row, column] for _, _, row, column in taps if (i, row, column) in x])
    return result


def naive_shift(op, x):
    offsets, pad = op.offsets.tolist(), op.pad.tolist()
    return {(c, i, j): x.get((c, i - offsets[c][0], j - offsets[c][1]), pad[c]) for c, i, j in x}


def naive_shuffle(op, x):
    r, result = op.factor, {}
    for (k, i, j), value in x.items():
        c, place = divmod(k, r * r)
        down, right = divmod(place, r)
        result[c, i * r + down, j * r + right] = value
    return result


def naive_upsample(op, x):
    steps = range(op.factor)
    return {(c, i * op.factor + a, j * op.factor + b): v for (c, i, j), v in x.items() for a in steps for b in steps}


def naive(program, image):
    """Every operation's result for one (C, H, W) image, as nested lists."""
    tensors = {}

    def shape_of(x):
        return tuple(1 + max(key[axis] for key in x) for axis in range(3))

    for op in program.ops:
        x = tensors.get(op.source)
        match op:
            case Input():
                result = {key: int(image[key]) for key in itertools.product(*map(range, op.shape))}
            case Convolution():
                result = naive_convolution(op, shape_of(x), x)
            case Requantise():
                result = naive_requantise(op, x, tensors.get(op.residual))
            case Threshold():
                result = naive_threshold(op, x)
            case Concat():
                result = naive_concat([x, *(tensors[name] for name in op.others)])
            case MaxPool():
                result = naive_pool(op, shape_of(x), x, max)
            case AveragePool():
                result = naive_pool(op, shape_of(x), x, sum)
            case SpatialShift():
                result = naive_shift(op, x)
            case PixelShuffle():
                result = naive_shuffle(op, x)
            case Upsample():
                result = naive_upsample(op, x)
            case Flatten():
                result = {(k, 0, 0): x[key] for k, key in enumerate(sorted(x))}
            case ArgMax():
                best = 0
                for (k, _, _), score in sorted(x.items()):
                    if score > x[best, 0, 0]:
                        best = k
                result = {(0, 0, 0): best}
        tensors[op.name] = result
    return {
        name: [[[x[c, r, k] for k in range(w)] for r in range(h)] for c in range(n)]
        for name, x in tensors.items()
        for n, h, w in [shape_of(x)]
    }


def check(program, images):
    """Every tensor, the output, the scores and the classes of every image, by either kind of loops."""
    oracle = [naive(program, image) for image in images]
    for native in (False, True):
        result = golden.run(program, images, trace=True, native=native)
        assert result.tensors.keys() == {op.name for op in program.ops}
        for index, expected in enumerate(oracle):
            for name, values in expected.items():
                assert result.tensors[name][index].tolist() == values, f"{name} of image {index}, native: {native}"
            assert result.output[index].tolist() == expected[program.output]
            if not program.classifies:
                continue
            assert result.scores[index].tolist() == [row[0][0] for row in expected[program.ops[-1].source]]
            assert result.classes[index] == expected["argmax"][0][0][0]
    return result


# Programs around one operation


class Chain:
    """Pixels brought into any format, operations under test, and scores."""

    def __init__(self, shape, fmt):
        self.ops, self.inferred = {}, {}
        channels = shape[0]
        self.add(Input(name="pixels", shape=shape))
        # p * 257 >> 16 - bits spreads 0..255 over the whole format, ends included.
        self.requantise(
            "stored", fmt, np.full(channels, 257), np.full(channels, fmt.lo << 16 - fmt.bits), 16 - fmt.bits
        )

    def add(self, op):
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred, self.ops)
        self.last = op.name
        return self

    @property
    def shape(self):
        return self.inferred[self.last][0]

    @property
    def format(self):
        return self.inferred[self.last][1]

    def requantise(self, name, fmt, multiplier, offset, shift, **more):
        values = {"lo": fmt.lo, "hi": fmt.hi, **more}
        return self.add(
            Requantise(name=name, source=self.last, multiplier=multiplier.astype(np.int64),
                       offset=offset.astype(np.int64), shift=shift, format=fmt, **values)
        )  # fmt: skip

    def program(self):
        """Two scores: the sum of everything, and minus it."""
        n = self.shape[0]
        if self.format.bits > 16:
            self.requantise("narrow", signed(8), np.ones(n), np.zeros(n), min(self.format.bits - 8, 31))
        elif self.format.bits == 1:
            self.requantise("wide", signed(2), np.ones(n), np.zeros(n), 0)
        self.add(Flatten(name="flat", source=self.last))
        n = self.shape[0]
        weight = np.array([[1] * n, [-1] * n], np.int64)[:, :, None, None]
        self.add(Convolution(name="fc", source="flat", kernel="mult", weight=weight, weight_format=signed(2),
                             pad=np.zeros(n, np.int64)))  # fmt: skip
        self.requantise("scores", score_format(self.format), np.ones(2), np.zeros(2), 0)
        self.add(ArgMax(name="argmax", source="scores"))
        return Program(ops=tuple(self.ops.values()))


def values(fmt, shape):
    """Any integers of the format, with both ends common."""
    elements = st.sampled_from([fmt.lo, fmt.hi]) | st.integers(fmt.lo, fmt.hi)
    return arrays(np.int64, shape, elements=elements)


def images_of(shape, count=2):
    elements = st.sampled_from([0, 255]) | st.integers(0, 255)
    return arrays(np.uint8, (count, *shape), elements=elements)


@st.composite
def shapes(draw, least=1):
    return draw(st.integers(1, 3)), draw(st.integers(least, 5)), draw(st.integers(least, 5))


def formats():
    return st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())


def weight_format_for(kernel, x, bits):
    """Of the features ``x``; ``bits`` for mult, the only kernel that leaves a choice."""
    if kernel == "mult" and bits > 1:
        return signed(bits)
    return {"adder": x, "shift": unsigned(4)}.get(kernel, ONE_BIT)


WIDTHS = [(kernel, bits) for kernel in ("adder", "mult", "shift") for bits in BITS] + [("xnor", 1)]
"""Every width of features that a kernel has."""


@pytest.mark.parametrize(("kernel", "bits"), WIDTHS)
@settings(max_examples=20)
@given(data=st.data())
def test_convolution_equals_the_loops(kernel, bits, data):
    """Any size, stride, padding, pad values, weights and groups (each channel its own, too); every feature width;
    weights of 1 to 16 bits for mult."""
    draw = data.draw
    groups, inputs, outputs = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    shape = (groups * inputs, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    chain = Chain(shape, Format(bits=bits, signed=bits > 1 and draw(st.booleans())))
    padding = draw(st.integers(0, 2))
    size = [draw(st.integers(padding + 1, min(4, n + 2 * padding))) for n in shape[1:]]
    weight_format = weight_format_for(kernel, chain.format, draw(st.sampled_from([1, 2, 8, 15, 16])))
    weight_shape = (groups * outputs, inputs, *size)
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=draw(values(weight_format, weight_shape)),
                    weight_format=weight_format, stride=draw(st.integers(1, 3)), padding=padding,
                    pad=draw(values(chain.format, shape[0])), groups=groups)
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift", "xnor"])
def test_taps_around_a_machine_word_equal_the_loops(kernel):
    """63, 64, 65 and 130: the bits that fill the last word of an xnor must not count, nor any other padding."""
    rng = np.random.default_rng(0)
    for taps in (63, 64, 65, 130):
        fmt = ONE_BIT if kernel == "xnor" else unsigned(8)
        chain = Chain((taps, 1, 2), fmt)
        weight_format = weight_format_for(kernel, fmt, 1)
        weight = rng.integers(weight_format.lo, weight_format.hi, (2, taps, 1, 1), endpoint=True)
        weight[1] = weight_format.hi
        chain.add(Convolution(name="conv", source="stored", kernel=kernel, weight=weight, weight_format=weight_format,
                              pad=np.zeros(taps, np.int64)))  # fmt: skip

        program = chain.program()
        result = check(program, np.concatenate([random_images(program, 1, 0), np.full((1, taps, 1, 2), 255, np.uint8)]))

        if kernel == "xnor":
            assert result.tensors["conv"][1, 1].tolist() == [[taps, taps]]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [7, 8, 9, 16])
def test_bits_of_whole_bytes_per_pixel_equal_the_loops(channels, groups):
    """Channels that fill bytes are packed before windows repeat them; pads and groups must be packed alike."""
    rng = np.random.default_rng(channels)
    inputs = channels * groups
    chain = Chain((inputs, 4, 3), ONE_BIT)
    weight = rng.integers(0, 2, (2 * groups, channels, 3, 2))
    chain.add(Convolution(name="conv", source="stored", kernel="xnor", weight=weight, weight_format=ONE_BIT, stride=2,
                          padding=1, pad=rng.integers(0, 2, inputs), groups=groups))  # fmt: skip
    program = chain.program()

    check(program, random_images(program, 3, channels))


@pytest.mark.parametrize(
    ("kernel", "is_signed", "bits", "weight_bits"),
    [
        *itertools.product(["adder", "shift"], [False, True], BITS, [0]),
        *((kernel, s, b, b) for kernel, s, b in itertools.product(["mult"], [False, True], BITS)),
        *itertools.product(["mult"], [False, True], [2, 8, 16], [1]),
        ("xnor", False, 1, 1),
    ],
)
def test_convolution_at_the_ends_of_its_operands_is_exact(kernel, is_signed, bits, weight_bits):
    """The largest sums there are; from 16 bits on they leave 32 bits, where a narrow sum would wrap."""
    fmt = Format(bits=bits, signed=is_signed)
    chain = Chain((3, 4, 4), fmt)
    weight_format = weight_format_for(kernel, fmt, weight_bits)
    weight = np.empty((2, 3, 3, 3), np.int64)
    weight[0], weight[1] = (15, 7) if kernel == "shift" else (weight_format.lo, weight_format.hi)
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=weight, weight_format=weight_format, padding=1,
                    pad=np.full(3, fmt.hi))
    )  # fmt: skip
    program = chain.program()

    result = check(program, np.stack([np.full((3, 4, 4), p, np.uint8) for p in (0, 255)]))

    assert set(np.unique(result.tensors["stored"])) == {fmt.lo, fmt.hi}
    lo, hi = program.sum_range("conv")
    assert (result.tensors["conv"].min(), result.tensors["conv"].max()) == (lo, hi)


def test_a_filter_reads_the_channels_of_its_own_group_only():
    """Depthwise with two filters per channel, by hand: groups are runs of channels and of filters, in order."""
    chain = Chain((3, 1, 1), unsigned(8))
    weight = np.arange(1, 7)[:, None, None, None]
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=signed(4),
                          pad=np.zeros(3, np.int64), groups=3))  # fmt: skip

    result = check(chain.program(), np.array([1, 10, 100], np.uint8).reshape(1, 3, 1, 1))

    assert result.tensors["conv"].ravel().tolist() == [1, 2, 30, 40, 500, 600]


@pytest.mark.parametrize("word", range(16))
def test_words_of_the_shift_kernel_by_hand(word):
    """A sign above a code of three bits; -0 is 0."""
    chain = Chain((1, 1, 1), signed(8))
    chain.add(Convolution(name="conv", source="stored", kernel="shift", weight=np.full((1, 1, 1, 1), word),
                          weight_format=unsigned(4), pad=np.zeros(1, np.int64)))  # fmt: skip

    result = check(chain.program(), np.array([0, 255, 125], np.uint8).reshape(3, 1, 1, 1))

    assert result.tensors["stored"].ravel().tolist() == [-128, 127, -3]
    assert result.tensors["conv"].ravel().tolist() == [SHIFT_WORDS[word] * x for x in (-128, 127, -3)]


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift", "xnor"])
@settings(max_examples=25)
@given(data=st.data())
def test_convolution_of_sums_equals_the_loops(kernel, data):
    """A convolution may read what another or an average pool summed, where it is narrow enough for its kernel."""
    draw = data.draw
    n, height, width = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    fmt = ONE_BIT if kernel == "xnor" else Format(bits=draw(st.integers(2, 8)), signed=draw(st.booleans()))
    chain = Chain((n, height, width), fmt)
    if kernel == "xnor":
        chain.add(AveragePool(name="sums", source="stored", size=1, stride=1))
    else:
        first = draw(st.sampled_from(["adder", "mult", "shift"]))
        weight_format = weight_format_for(first, fmt, draw(st.sampled_from([1, 2, 4])))
        chain.add(Convolution(name="sums", source="stored", kernel=first, weight_format=weight_format,
                              weight=draw(values(weight_format, (n, n, 1, 1))), pad=np.zeros(n, np.int64)))  # fmt: skip
    weight_format = weight_format_for(kernel, chain.format, 6)
    weight, pad = draw(values(weight_format, (2, n, 2, 2))), draw(values(chain.format, n))
    chain.add(Convolution(name="conv", source="sums", kernel=kernel, weight=weight, weight_format=weight_format,
                          padding=1, pad=pad))  # fmt: skip

    check(chain.program(), draw(images_of((n, height, width))))


@pytest.mark.parametrize("bits", [1, *BITS, 24, 32])
@settings(max_examples=12)
@given(data=st.data())
def test_requantise_equals_the_loops(bits, data):
    """Any factors, offsets, shifts and clamps, with and without a residual; ``>>`` floors."""
    draw = data.draw
    shape = draw(shapes())
    chain = Chain(shape, draw(formats()))
    n = shape[0]
    chain.add(
        Convolution(name="conv", source="stored", kernel="adder", weight=draw(values(chain.format, (n, n, 1, 1))),
                    weight_format=chain.format, pad=draw(values(chain.format, n)))
    )  # fmt: skip
    result = Format(bits=bits, signed=draw(st.booleans()))
    lo, hi = sorted([draw(st.integers(result.lo, result.hi)), draw(st.integers(result.lo, result.hi))])
    whole = draw(st.booleans())
    residual = draw(st.sampled_from([None, "stored"]))
    chain.requantise(
        "req", result, draw(values(Format(bits=16, signed=True), n)).clip(-32767),
        draw(values(signed(chain.format.bits + 16), n)), draw(st.sampled_from([0, 31]) | st.integers(0, 31)),
        lo=result.lo if whole else lo, hi=result.hi if whole else hi, residual=residual,
        residual_multiplier=draw(st.sampled_from([-R_MAX, R_MAX]) | st.integers(-R_MAX, R_MAX)) if residual else 0,
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize(("shift", "expected"), [(0, -5), (1, -3), (2, -2), (3, -1), (31, -1)])
def test_right_shift_floors_towards_minus_infinity(shift, expected):
    chain = Chain((1, 1, 1), unsigned(8))
    weight = np.full((1, 1, 1, 1), 5)
    chain.add(Convolution(name="conv", source="stored", kernel="adder", weight=weight, weight_format=unsigned(8),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("req", signed(8), np.ones(1), np.zeros(1), shift)

    result = golden.run(chain.program(), np.zeros((1, 1, 1, 1), np.uint8), trace=True)

    assert result.tensors["conv"].item() == -5
    assert result.tensors["req"].item() == expected


@settings(max_examples=60)
@given(data=st.data())
def test_requantise_of_pixels_equals_the_loops(data):
    """Pixels that are normalised need no convolution; joined with themselves, as a residual may be any tensor."""
    draw = data.draw
    shape = draw(shapes())
    n = shape[0]
    result = Format(bits=draw(st.integers(1, 16)), signed=draw(st.booleans()))
    residual = draw(st.sampled_from([None, "pixels", "stored"]))
    chain = Chain(shape, draw(formats()))
    chain.last = "pixels"
    chain.requantise(
        "req", result, draw(values(signed(16), n)).clip(-32767), draw(values(signed(24), n)), draw(st.integers(0, 31)),
        residual=residual, residual_multiplier=draw(st.integers(-300, 300)) if residual else 0,
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


def test_pixels_are_normalised_by_hand():
    """Floor, both clamps, and the last pixel value, of a requantise that reads the input."""
    chain = Chain((1, 1, 6), unsigned(8))
    chain.last = "pixels"
    chain.requantise("req", signed(5), np.full(1, 3), np.full(1, -30), 2)

    result = check(chain.program(), np.array([0, 1, 9, 10, 13, 255], np.uint8).reshape(1, 1, 1, 6))

    assert result.tensors["req"].ravel().tolist() == [-8, -7, -1, 0, 2, 15]


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_terms_change_no_number(terms):
    """They say what hardware needs, not what is calculated."""
    chain = Chain((2, 3, 3), unsigned(8))
    factors = {1: [64, -1], 2: [96, -1023], 3: [11, -1021]}[terms]
    chain.requantise("req", signed(8), np.array(factors), np.array([5, -5]), 7, terms=terms, residual="stored",
                     residual_multiplier=-(2**20))  # fmt: skip
    program = chain.program()
    plain = Program(ops=tuple(replace(op, terms=0) if isinstance(op, Requantise) else op for op in program.ops))
    images = random_images(program, 3, 0)

    assert np.array_equal(check(program, images).tensors["req"], golden.run(plain, images, trace=True).tensors["req"])


# Threshold


@pytest.mark.parametrize("kernel", [None, "adder", "mult", "shift", "xnor"])
@settings(max_examples=40)
@given(data=st.data())
def test_threshold_equals_the_loops(kernel, data):
    """Of sums of every kernel and of tensors; any number of levels, equal ones, too; rising, falling, and constant
    at both ends of what a threshold may be."""
    draw = data.draw
    shape = draw(shapes())
    n = shape[0]
    chain = Chain(shape, ONE_BIT if kernel == "xnor" else draw(formats()))
    if kernel is not None:
        weight_format = weight_format_for(kernel, chain.format, draw(st.sampled_from([1, 3])))
        chain.add(Convolution(name="conv", source="stored", kernel=kernel, weight_format=weight_format,
                              weight=draw(values(weight_format, (n, n, 1, 1))), pad=np.zeros(n, np.int64)))  # fmt: skip
    else:
        chain.last = draw(st.sampled_from(["pixels", "stored"]))
    fmt = chain.format
    count = draw(st.integers(1, 7))
    ends = st.sampled_from([fmt.lo, fmt.hi, fmt.hi + 1])
    near = st.integers(max(fmt.lo, -9), min(fmt.hi + 1, 9))  # where the sums of small operands are
    levels = draw(arrays(np.int64, (n, count), elements=ends | near | st.integers(fmt.lo, fmt.hi + 1)))
    result = unsigned(draw(st.integers(count.bit_length(), 9)))
    chain.add(Threshold(name="thr", source=chain.last, thresholds=np.sort(levels, axis=1), format=result,
                        falling=draw(arrays(np.int64, n, elements=st.integers(0, 1)))))  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("where", ["pixels", "stored", "conv"])
@pytest.mark.parametrize("falling", [0, 1])
def test_thresholds_at_their_ends_make_constants(falling, where):
    """At ``lo`` always reached, at ``hi + 1`` never; one step inside, only by the very ends of the format."""
    chain = Chain((4, 1, 1), signed(8))
    weight = np.ones((4, 1, 1, 1), np.int64)
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=ONE_BIT, groups=4,
                          pad=np.zeros(4, np.int64)))  # fmt: skip
    chain.last = where
    lo, hi = chain.format.lo, chain.format.hi
    levels = np.array([[lo, lo], [lo, hi + 1], [lo + 1, hi], [hi + 1, hi + 1]])
    chain.add(Threshold(name="thr", source=where, thresholds=levels, falling=np.full(4, falling), format=unsigned(2)))
    program = chain.program()

    result = check(program, np.stack([np.full((4, 1, 1), p, np.uint8) for p in (0, 128, 255)]))

    reached = result.tensors["thr"][:, :, 0, 0]
    if falling:
        reached = 2 - reached
    assert reached[:, [0, 1, 3]].tolist() == [[2, 1, 0]] * 3
    if where != "conv":  # whose sums do not fill their format
        assert reached[:, 2].tolist() == [0, 1, 2]


def test_a_threshold_for_every_pixel_value_counts_up_to_it():
    """255 levels on pixels give the pixel, or what is missing to 255."""
    chain = Chain((2, 1, 256), unsigned(8))
    chain.last = "pixels"
    chain.add(Threshold(name="thr", source="pixels", thresholds=np.tile(np.arange(1, 256), (2, 1)),
                        falling=np.array([0, 1]), format=unsigned(8)))  # fmt: skip

    result = golden.run(chain.program(), np.tile(np.arange(256, dtype=np.uint8), (1, 2, 1, 1)), trace=True)

    assert result.tensors["thr"][0, :, 0].tolist() == [list(range(256)), list(range(255, -1, -1))]


def test_two_binary_layers_equal_the_loops():
    """Thresholds of sums are what the next xnor reads: with no number wider than a bit between layers."""
    rng = np.random.default_rng(0)
    chain = Chain((3, 6, 6), ONE_BIT)
    for layer in ("one", "two"):
        source = chain.last
        chain.add(Convolution(name=f"conv_{layer}", source=source, kernel="xnor", padding=1, weight_format=ONE_BIT,
                              weight=rng.integers(0, 2, (3, 3, 3, 3)), pad=rng.integers(0, 2, 3)))  # fmt: skip
        chain.add(Threshold(name=layer, source=chain.last, thresholds=rng.integers(-3, 4, (3, 1)), format=ONE_BIT,
                            falling=rng.integers(0, 2, 3)))  # fmt: skip
    program = chain.program()

    result = check(program, random_images(program, 3, 0))

    for name in ("one", "two"):
        assert 0.2 < result.tensors[name].mean() < 0.8, f"{name} must not be constant"


# Concat


@settings(max_examples=60)
@given(data=st.data())
def test_concat_equals_the_loops(data):
    """One or more others, any order, the same one twice, of a concatenation; read in groups, or by a flatten."""
    draw = data.draw
    shape = draw(shapes())
    fmt = draw(formats())
    chain = Chain(shape, fmt)
    names = ["stored"]
    for k in range(draw(st.integers(1, 2))):
        n = draw(st.integers(1, 2))
        weight_format = weight_format_for("mult", fmt, 3)
        chain.add(
            Convolution(
                name=f"conv{k}",
                source="stored",
                kernel="mult",
                weight_format=weight_format,
                weight=draw(values(weight_format, (n, shape[0], 1, 1))),
                pad=np.zeros(shape[0], np.int64),
            )
        )
        chain.requantise(f"branch{k}", fmt, draw(values(signed(9), n)), np.zeros(n), 3)  # fmt: skip
        names.append(f"branch{k}")
    for k in range(2):
        source, *others = draw(st.lists(st.sampled_from(names), min_size=1 + (k == 0), max_size=3))
        chain.add(Concat(name=f"cat{k}", source=source, others=tuple(others)))
        names.append(f"cat{k}")
    if draw(st.booleans()):
        n = chain.shape[0]
        weight = draw(values(fmt, (n, 1, 1, 1)))
        chain.add(Convolution(name="depthwise", source=chain.last, kernel="adder", weight=weight, weight_format=fmt,
                              pad=draw(values(fmt, n)), groups=n))  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


def test_concat_keeps_the_order_of_what_it_joins():
    chain = Chain((2, 1, 2), unsigned(8))
    chain.last = "pixels"
    chain.requantise("inverse", unsigned(8), np.full(2, -1), np.full(2, 255), 0)
    chain.add(Concat(name="cat", source="inverse", others=("pixels", "stored", "inverse")))

    result = check(chain.program(), np.array([[[[1, 2]], [[3, 4]]]], np.uint8))

    rows = result.tensors["cat"][0, :, 0].tolist()
    assert rows == [[254, 253], [252, 251], [1, 2], [3, 4], [1, 2], [3, 4], [254, 253], [252, 251]]


def test_concat_joins_a_sum_and_a_stored_tensor_of_one_format():
    """The two are held in different types; neither may be cut to the other's."""
    chain = Chain((1, 1, 1), signed(9))
    chain.add(Convolution(name="conv", source="pixels", kernel="adder", weight=np.full((1, 1, 1, 1), 255),
                          weight_format=unsigned(8), pad=np.zeros(1, np.int64)))  # fmt: skip
    assert chain.format == signed(9)
    for source, other in (("conv", "stored"), ("stored", "conv")):
        chain.add(Concat(name=f"{source}_first", source=source, others=(other,)))

    result = check(chain.program(), np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))

    assert result.tensors["conv_first"][:, :, 0, 0].tolist() == [[-255, -256], [0, 255]]
    assert result.tensors["stored_first"][:, :, 0, 0].tolist() == [[-256, -255], [255, 0]]


# Pools and the end of a network


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@settings(max_examples=80)
@given(data=st.data())
def test_pool_equals_the_loops(kind, data):
    """A padded tap of a max pool never wins, also when all pixels are negative."""
    draw = data.draw
    size = draw(st.integers(1, 3))
    shape = draw(shapes(least=size))
    chain = Chain(shape, draw(formats()))
    more = {"padding": draw(st.integers(0, size // 2))} if kind is MaxPool else {}
    chain.add(kind(name="pool", source="stored", size=size, stride=draw(st.integers(1, 3)), **more))

    check(chain.program(), draw(images_of(shape)))


# Moves


@settings(max_examples=80)
@given(data=st.data())
def test_shift_of_channels_equals_the_loops(data):
    """Any offsets, also beyond the image; any pad; neighbours alike or not."""
    draw = data.draw
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    chain = Chain(shape, draw(formats()))
    offsets = draw(arrays(np.int64, (shape[0], 2), elements=st.integers(-3, 3)))
    pad = {"pad": draw(values(chain.format, shape[0]))} if draw(st.booleans()) else {}
    chain.add(SpatialShift(name="moved", source="stored", offsets=offsets, **pad))

    check(chain.program(), draw(images_of(shape)))


def test_shift_moves_down_and_to_the_right():
    chain = Chain((2, 2, 3), unsigned(8))
    offsets, pad = np.array([[1, 0], [0, -2]]), np.array([9, 8])
    chain.add(SpatialShift(name="moved", source="stored", offsets=offsets, pad=pad))

    result = golden.run(chain.program(), np.arange(1, 13, dtype=np.uint8).reshape(1, 2, 2, 3), trace=True)

    assert result.tensors["moved"][0].tolist() == [[[9, 9, 9], [1, 2, 3]], [[9, 8, 8], [12, 8, 8]]]


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@settings(max_examples=40)
@given(data=st.data())
def test_enlarged_map_equals_the_loops(kind, data):
    draw = data.draw
    factor = draw(st.integers(1, 3))
    channels = draw(st.integers(1, 2)) * (factor**2 if kind is PixelShuffle else 1)
    shape = channels, draw(st.integers(1, 4)), draw(st.integers(1, 4))
    chain = Chain(shape, draw(formats()))
    chain.add(kind(name="larger", source="stored", factor=factor))

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_has_the_order_of_torch(factor):
    shape = (2 * factor**2, 3, 2)
    op = PixelShuffle(name="larger", source="pixels", factor=factor)
    program = Program(ops=(Input(name="pixels", shape=shape), op))
    images = random_images(program, 2, 0)

    output = golden.run(program, images).output

    expected = torch.nn.functional.pixel_shuffle(torch.from_numpy(images.astype(np.int64)), factor)
    assert np.array_equal(output, expected.numpy())


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_moves_equal_the_loops(seed, raw):
    program = random_reshaping(seed, raw)

    check(program, random_images(program, 2, seed))


def test_random_moves_have_everything_and_are_not_stuck():
    """Else the tests on them would protect less than they say: moves of pixels, features, bits and sums."""
    programs = [random_reshaping(seed) for seed in range(40)]
    moves = [(p, op) for p in programs for op in p.ops if isinstance(op, SpatialShift | PixelShuffle | Upsample)]

    for kind in (SpatialShift, PixelShuffle, Upsample):
        read = [p.by_name[op.source] for p, op in moves if isinstance(op, kind)]
        assert {Convolution, Requantise, Threshold} <= {type(op) for op in read}, kind
        assert len(read) > 9
    assert any(op.source == "pixels" for _, op in moves)
    assert any(p.format(op.source) == ONE_BIT for p, op in moves)
    outputs = [golden.run(p, random_images(p, 20, 0)).scores for p in programs]
    assert sum(len(np.unique(scores, axis=0)) > 3 for scores in outputs) > 20


def test_raw_output_is_the_last_tensor_and_has_no_classes():
    program = random_reshaping(3, raw=True)
    images = random_images(program, 5, 3)

    result = golden.run(program, images, trace=True)

    assert result.output.shape == (5, *program.shape(program.ops[-1].name)) and program.output == program.ops[-1].name
    assert np.array_equal(result.output, result.tensors[program.output])
    assert golden.run(program, images[:0]).output.shape == (0, *program.shape(program.output))
    for part in ("scores", "classes"):
        with pytest.raises(UserError, match=f"class scores are needed, .* raw result of '{program.output}'"):
            getattr(result, part)


def test_flatten_is_channel_first():
    chain = Chain((2, 2, 2), unsigned(8))
    pixels = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)

    result = golden.run(chain.program(), pixels, trace=True)

    assert result.tensors["flat"].shape == (1, 8, 1, 1)
    assert result.tensors["flat"].ravel().tolist() == list(range(8))


@given(scores=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_arg_max_takes_the_lowest_index_on_a_tie(scores):
    n = len(scores)
    identity = np.eye(n, dtype=np.int64)[:, :, None, None]
    fc = Convolution(name="fc", source="pixels", kernel="mult", weight=identity, weight_format=signed(2),
                     pad=np.zeros(n, np.int64))  # fmt: skip
    program = Program(ops=(Input(name="pixels", shape=(n, 1, 1)), fc, ArgMax(name="argmax", source="fc")))

    result = golden.run(program, np.array(scores, np.uint8).reshape(1, n, 1, 1), trace=True)

    assert result.scores.tolist() == [scores]
    assert result.classes.tolist() == [scores.index(max(scores))]
    assert result.tensors["argmax"].ravel().tolist() == result.classes.tolist()


@pytest.mark.parametrize("seed", range(40))
def test_random_network_equals_the_loops(seed):
    program = random_program(seed)

    check(program, random_images(program, 2, seed))


@pytest.mark.parametrize("seed", range(40))
def test_random_graph_equals_the_loops(seed):
    """Branches, all kernels, all operations."""
    program = random_graph(seed)

    check(program, random_images(program, 2, seed))


def test_random_graphs_have_everything_and_are_not_stuck():
    """Else the tests on them would protect less than they say."""
    graphs = [random_graph(seed) for seed in range(40)]
    ops = [op for program in graphs for op in program.ops]
    convolutions = [op for op in ops if isinstance(op, Convolution)]

    kinds = {Input, Convolution, Requantise, Threshold, Concat, MaxPool, AveragePool, Flatten, ArgMax}
    assert {type(op) for op in ops} == kinds
    assert {op.kernel for op in convolutions} == set(program_module.KERNELS)
    assert sum(op.groups > 1 for op in convolutions) > 9
    assert sum(op.kernel == "mult" and op.weight_format == ONE_BIT for op in convolutions) > 3
    assert sum(isinstance(op, Requantise) and op.terms > 0 for op in ops) > 9
    assert sum(isinstance(op, Requantise) and op.residual is not None for op in ops) > 9
    assert sum(isinstance(op, Requantise | Threshold) and op.source == "pixels" for op in ops) > 9
    scores = [golden.run(program, random_images(program, 20, 0)).scores for program in graphs]
    assert sum(len(np.unique(score, axis=0)) > 3 for score in scores) > 20


def test_residual_block_equals_the_loops():
    """A convolution of what a convolution made, joined by a shortcut of another format and by the tensor it read."""
    rng = np.random.default_rng(0)
    chain = Chain((3, 5, 5), unsigned(6))

    def conv(name, source, fmt, stride):
        weight = rng.integers(fmt.lo, fmt.hi, (3, 3, 3, 3), endpoint=True)
        chain.add(Convolution(name=name, source=source, kernel="adder", weight=weight, weight_format=fmt, stride=stride,
                              padding=1, pad=rng.integers(fmt.lo, fmt.hi, 3, endpoint=True)))  # fmt: skip

    conv("c1", "stored", unsigned(6), 1)
    chain.requantise("r1", unsigned(5), np.array([90, 80, -70]), np.full(3, 900 * 80), 10,
                     residual="stored", residual_multiplier=-3000)  # fmt: skip
    conv("side", "stored", unsigned(6), 2)
    chain.requantise("shortcut", signed(12), np.array([9, 8, 7]), np.full(3, 7000), 3)
    conv("c2", "r1", unsigned(5), 2)
    chain.requantise("r2", signed(7), np.array([150, -120, 100]), np.full(3, 40000), 9,
                     residual="shortcut", residual_multiplier=31)  # fmt: skip
    program = chain.program()

    result = check(program, random_images(program, 3, 0))

    for name in ("r1", "r2"):
        assert len(np.unique(result.tensors[name])) > 8, f"{name} must not be stuck at its clamps"


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("bits", [4, 8])
def test_lenet5_equals_the_loops(lenet, digits, kernel, bits):
    check(lenet(kernel, bits), digits.x[:1])


@pytest.mark.parametrize("size", [1, 2, 32, 66, 67, 68])
def test_images_do_not_depend_on_their_neighbours(monkeypatch, size):
    """Protects the borders of the batches in which images are executed."""
    monkeypatch.setattr(execute, "_BATCH_IMAGES", size)
    program = random_program(7)
    images = random_images(program, 67, 7)

    together = golden.run(program, images, trace=True, threads=1)

    alone = [golden.run(program, image[None]) for image in images]
    assert together.scores.tolist() == [result.scores[0].tolist() for result in alone]
    assert together.classes.tolist() == [result.classes[0] for result in alone]
    assert {len(tensor) for tensor in together.tensors.values()} == {67}


@pytest.mark.parametrize("seed", range(6))
def test_loops_and_threads_change_no_number(monkeypatch, seed):
    """Compiled or numpy, one thread or three, over batches that are not full: the same scores, classes and tensors."""
    program = random_graph(seed)
    images = random_images(program, 75, seed)
    monkeypatch.setattr(execute, "_BATCH_IMAGES", 32)

    results = [
        golden.run(program, images, trace=True, native=native, threads=threads)
        for native in (True, False)
        for threads in (1, 3, None)
    ]

    for other in results[1:]:
        assert np.array_equal(other.scores, results[0].scores) and np.array_equal(other.classes, results[0].classes)
        assert list(other.tensors) == list(results[0].tensors) == [op.name for op in program.ops]
        for name, tensor in results[0].tensors.items():
            assert np.array_equal(other.tensors[name], tensor), name
            assert other.tensors[name].dtype == tensor.dtype == np.int64


def test_images_may_lie_in_memory_in_any_order():
    """Compiled loops read memory as it lies; a view must be seen as what it is."""
    program = random_graph(1)
    images = random_images(program, 5, 1)
    turned = np.ascontiguousarray(images[::-1, :, :, ::-1])[::-1, :, :, ::-1]
    fortran = np.asfortranarray(images)
    assert not turned.flags.c_contiguous and not fortran.flags.c_contiguous

    expected = golden.run(program, images).scores

    assert np.array_equal(golden.run(program, turned).scores, expected)
    assert np.array_equal(golden.run(program, fortran).scores, expected)


def test_no_trace_is_kept_unless_asked_for_and_no_image_is_no_error():
    program = random_program(3)

    result = golden.run(program, random_images(program, 0, 0))

    assert result.tensors == {}
    assert result.scores.shape == (0, program.classes) and result.classes.shape == (0,)


def test_input_and_program_are_left_as_they_are():
    program = random_program(5)
    images = random_images(program, 2, 5)
    before = images.copy(), [op.weight.copy() for op in program.ops if isinstance(op, Convolution)]

    golden.run(program, images)

    assert np.array_equal(images, before[0])
    weights = [op.weight for op in program.ops if isinstance(op, Convolution)]
    assert all(np.array_equal(a, b) for a, b in zip(weights, before[1], strict=True))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 2, 3, 4), np.int64),
        np.zeros((1, 2, 3, 4), np.int8),
        np.zeros((1, 2, 3, 4), np.float32),
        np.zeros((1, 2, 4, 3), np.uint8),
        np.zeros((1, 1, 3, 4), np.uint8),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros((1, 1, 2, 3, 4), np.uint8),
    ],
    ids=lambda p: f"{p.dtype}-{p.shape}",
)
def test_wrong_pixels_are_refused(pixels):
    program = Chain((2, 3, 4), unsigned(8)).program()

    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(N, 2, 3, 4\), not"):
        golden.run(program, pixels)


@pytest.mark.parametrize(
    ("kernel", "bits", "word"),
    [("adder", 0, 1000), ("adder", 0, -1), ("mult", 2, 3), ("mult", 1, 2), ("mult", 1, -1), ("shift", 0, 16),
     ("xnor", 0, 2), ("xnor", 0, -1)],
)  # fmt: skip
@pytest.mark.parametrize("native", [False, True])
def test_weight_that_leaves_its_format_is_named(native, kernel, bits, word):
    """A Program checks its weights when it is made; changed behind its back, they are found out here and not wrapped
    into other weights."""
    chain = Chain((1, 1, 1), ONE_BIT if kernel == "xnor" else unsigned(8))
    fmt = weight_format_for(kernel, chain.format, bits)
    conv = Convolution(name="conv", source="stored", kernel=kernel, weight=np.zeros((1, 1, 1, 1), np.int64),
                       weight_format=fmt, pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    conv.weight.setflags(write=True)
    conv.weight[:] = word

    with pytest.raises(WidthError, match=rf"^conv: weights leave {fmt}: {word}\.\.{word}$"):
        golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), native=native)


@pytest.mark.parametrize("native", [False, True])
def test_pad_that_leaves_the_format_of_the_features_is_named(native):
    chain = Chain((1, 1, 1), unsigned(8))
    conv = Convolution(name="conv", source="stored", kernel="mult", weight=np.ones((1, 1, 1, 1), np.int64), padding=1,
                       weight_format=signed(2), pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    conv.pad.setflags(write=True)
    conv.pad[:] = 256

    with pytest.raises(WidthError, match=r"^conv: pad leave uint8: 256\.\.256$"):
        golden.run(program, np.zeros((1, 1, 1, 1), np.uint8), native=native)


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulator_that_leaves_its_width_is_named(monkeypatch, sign):
    """Weights that fit cannot make one, so the loops are made to err: the width is asserted, not believed."""

    class Wrong(NumpyLoops):
        def mult(self, patches, filters, bound):
            return super().mult(patches, filters, bound) + sign * (bound + 1)

    chain = Chain((1, 1, 1), unsigned(8))
    conv = Convolution(name="conv", source="stored", kernel="mult", weight=np.zeros((1, 1, 1, 1), np.int64),
                       weight_format=signed(2), pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    monkeypatch.setattr(execute, "native_loops", Wrong)

    with pytest.raises(WidthError, match=rf"^conv leaves int10: {sign * 513}\.\.{sign * 513}$"):
        golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8))


def test_product_that_leaves_its_width_is_named():
    chain = Chain((1, 1, 1), unsigned(8))
    chain.add(
        Convolution(name="conv", source="stored", kernel="mult", weight=np.ones((1, 1, 1, 1), np.int64),
                    weight_format=signed(2), pad=np.zeros(1, np.int64))
    )  # fmt: skip
    chain.requantise("req", signed(8), np.ones(1), np.zeros(1), 0)
    program = chain.program()
    program.by_name["req"].offset.setflags(write=True)
    program.by_name["req"].offset[:] = 1 << 40

    with pytest.raises(WidthError, match=r"^req: acc \* M .*leaves \d+ bits"):
        golden.run(program, np.zeros((1, 1, 1, 1), np.uint8))


def test_product_residual_and_offset_at_their_ends_have_room_together():
    """Each of the three terms fits the Program's rules; their sum must not be called a defect."""
    chain = Chain((1, 1, 1), unsigned(4))
    chain.add(Convolution(name="conv", source="pixels", kernel="mult", weight=np.full((1, 1, 1, 1), 2047),
                          weight_format=signed(12), pad=np.zeros(1, np.int64)))  # fmt: skip
    assert chain.format == signed(20)
    chain.requantise(
        "req", signed(16), np.full(1, 32767), np.full(1, 2**35 - 1), 24, residual="stored", residual_multiplier=R_MAX
    )

    result = check(chain.program(), np.full((1, 1, 1, 1), 255, np.uint8))

    assert result.tensors["req"].item() == (255 * 2047 * 32767 + 2**35 - 1 + 15 * R_MAX) >> 24


def wide_residual():
    """A residual of 16 bits times R joins an accumulator of 9 bits."""
    chain = Chain((1, 1, 1), unsigned(16))
    weight = np.zeros((1, 1, 1, 1), np.int64)
    chain.add(Convolution(name="conv", source="pixels", kernel="adder", weight=weight, weight_format=unsigned(8),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("last", signed(16), np.ones(1), np.zeros(1), 16, residual="stored", residual_multiplier=32767)
    return chain.program(), (65535 * 32767 - 255) >> 16


def wide_features():
    """Tensors of the largest sums' and residuals' width, multiplied by the largest factors without a division."""
    chain = Chain((1, 1, 1), unsigned(8))
    chain.requantise("a", signed(24), np.full(1, 32767), np.zeros(1), 0)
    chain.requantise("b", signed(45), np.full(1, 32767), np.zeros(1), 0)
    chain.last = "a"
    chain.requantise("r", unsigned(29), np.full(1, 64), np.zeros(1), 0)
    chain.last = "b"
    chain.requantise("last", signed(64), np.full(1, -32767), np.full(1, -(2**60)), 0, residual="r",
                     residual_multiplier=-R_MAX)  # fmt: skip
    chain.add(ArgMax(name="argmax", source="last"))
    return Program(ops=tuple(chain.ops.values())), -255 * 32767 * (32767**2 + 64 * R_MAX) - 2**60


def wider_features():
    """One bit more, by which products leave what is declared."""
    chain = Chain((1, 1, 1), unsigned(8))
    exact = 255
    for name, fmt in (("a", signed(24)), ("b", signed(39)), ("c", signed(54)), ("last", signed(64))):
        chain.requantise(name, fmt, np.full(1, 32767), np.zeros(1), 0)
        exact = min(exact * 32767, fmt.hi)
    return chain.program(), exact


def wider_residual():
    """A residual of 38 bits times an R of 32 bits leaves 64 bits."""
    chain = Chain((1, 1, 1), unsigned(8))
    weight = np.full((1, 1, 1, 1), 32767)
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=signed(16),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("wide", unsigned(38), np.full(1, 32767), np.zeros(1), 0)
    chain.last = "conv"
    chain.requantise("last", signed(16), np.ones(1), np.zeros(1), 31, residual="wide", residual_multiplier=R_MAX)
    return chain.program(), 32767


def test_the_widest_that_is_allowed_runs():
    """Refusing everything would pass the next test."""
    for make in (wide_residual, wide_features):
        program, exact = make()
        for native in (False, True):
            result = golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), trace=True, native=native)
            assert result.tensors["last"].item() == exact


@pytest.mark.parametrize("make", [wide_residual, wider_residual, wide_features, wider_features])
def test_widths_beyond_the_declared_are_exact_or_refused_but_never_wrap(make):
    """Whether such a Program is refused when it is made or when it runs is open; a wrong integer is not."""
    try:
        program, exact = make()
        result = golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), trace=True)
    except (ValueError, WidthError):
        return
    assert result.tensors["last"].item() == exact
