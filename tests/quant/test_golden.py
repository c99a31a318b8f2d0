"""The golden model against a second executor, written here as loops over Python integers, which have no width."""

import itertools

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.formats import Format, signed, unsigned
from addax.quant.golden import WidthError
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Program,
    Requantise,
    infer,
    score_format,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import random_images, random_program

BITS = range(2, 17)
R_MAX = 2**31 - 1
"""The factor of a residual has 32 bits."""


# The second executor. A tensor is a dictionary from (channel, row, column) to an integer, and a shape.


def window(shape, size, stride, padding):
    rows, columns = (range(0, n + 2 * padding - k + 1, stride) for n, k in zip(shape[1:], size, strict=True))
    for (r, top), (c, left) in itertools.product(enumerate(rows), enumerate(columns)):
        yield r, c, [(ky, kx, top + ky - padding, left + kx - padding)
                     for ky in range(size[0]) for kx in range(size[1])]  # fmt: skip


def naive_convolution(op, shape, x):
    weight, pad, (outputs, inputs, *size) = op.weight.tolist(), op.pad.tolist(), op.weight.shape
    result = {}
    for r, c, taps in window(shape, size, op.stride, op.padding):
        for o in range(outputs):
            total = 0
            for i in range(inputs):
                for ky, kx, row, column in taps:
                    a, w = x.get((i, row, column), pad[i]), weight[o][i][ky][kx]
                    total += a * w if op.kernel == "mult" else -abs(a - w)
            result[o, r, c] = total
    return result


def naive_requantise(op, x, residual):
    multiplier, offset = op.multiplier.tolist(), op.offset.tolist()
    result = {}
    for (o, r, c), acc in x.items():
        wide = acc * multiplier[o] + offset[o] + (residual[o, r, c] * op.residual_multiplier if residual else 0)
        result[o, r, c] = min(max(wide // 2**op.shift, op.lo), op.hi)
    return result


def naive_pool(op, shape, x, join):
    result = {}
    padding = op.padding if isinstance(op, MaxPool) else 0
    for r, c, taps in window(shape, (op.size, op.size), op.stride, padding):
        for i in range(shape[0]):
            result[i, r, c] = join([x[i, row, column] for _, _, row, column in taps if (i, row, column) in x])
    return result


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
            case MaxPool():
                result = naive_pool(op, shape_of(x), x, max)
            case AveragePool():
                result = naive_pool(op, shape_of(x), x, sum)
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
    """Every tensor, the scores and the classes of every image."""
    result = golden.run(program, images, trace=True)
    assert result.tensors.keys() == {op.name for op in program.ops}
    for index, image in enumerate(images):
        expected = naive(program, image)
        for name, values in expected.items():
            assert result.tensors[name][index].tolist() == values, f"{name} of image {index}"
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
        identity = np.eye(channels, dtype=np.int64)[:, :, None, None]
        self.add(Convolution(name="copy", source="pixels", kernel="mult", weight=identity, weight_format=signed(2),
                             pad=np.zeros(channels, np.int64)))  # fmt: skip
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
        if self.format.bits > 16:
            shift = min(self.format.bits - 8, 31)
            n = self.shape[0]
            self.requantise("narrow", signed(8), np.ones(n), np.zeros(n), shift)
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


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("bits", BITS)
@settings(max_examples=12)
@given(data=st.data())
def test_convolution_equals_the_loops(kernel, bits, data):
    """Any size, stride, padding, pad values and weights; every feature width; weights of 1 to 16 bits for mult."""
    draw = data.draw
    shape = draw(shapes())
    chain = Chain(shape, Format(bits=bits, signed=draw(st.booleans())))
    padding = draw(st.integers(0, 2))
    size = [draw(st.integers(padding + 1, min(4, n + 2 * padding))) for n in shape[1:]]
    weight_format = chain.format if kernel == "adder" else signed(draw(st.sampled_from([1, 2, 8, 15, 16])))
    weight_shape = (draw(st.integers(1, 3)), shape[0], *size)
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=draw(values(weight_format, weight_shape)),
                    weight_format=weight_format, stride=draw(st.integers(1, 3)), padding=padding,
                    pad=draw(values(chain.format, shape[0])))
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_convolution_at_the_ends_of_its_operands_is_exact(bits, is_signed, kernel):
    """The largest sums there are; from 16 bits on they leave 32 bits, where a narrow sum would wrap."""
    fmt = Format(bits=bits, signed=is_signed)
    chain = Chain((3, 4, 4), fmt)
    weight_format = fmt if kernel == "adder" else signed(bits)
    weight = np.empty((2, 3, 3, 3), np.int64)
    weight[0], weight[1] = weight_format.lo, weight_format.hi
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=weight, weight_format=weight_format, padding=1,
                    pad=np.full(3, fmt.hi))
    )  # fmt: skip
    program = chain.program()

    result = check(program, np.stack([np.full((3, 4, 4), p, np.uint8) for p in (0, 255)]))

    assert set(np.unique(result.tensors["stored"])) == {fmt.lo, fmt.hi}
    lo, hi = program.sum_range("conv")
    assert (result.tensors["conv"].min(), result.tensors["conv"].max()) == (lo, hi)


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


def test_images_do_not_depend_on_their_neighbours():
    """Protects the borders of the batches in which images are executed."""
    program = random_program(7)
    images = random_images(program, 67, 7)

    together = golden.run(program, images, trace=True)

    alone = [golden.run(program, image[None]) for image in images]
    assert together.scores.tolist() == [result.scores[0].tolist() for result in alone]
    assert together.classes.tolist() == [result.classes[0] for result in alone]
    assert {len(tensor) for tensor in together.tensors.values()} == {67}


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


@pytest.mark.parametrize(("kernel", "weight"), [("adder", 1000), ("mult", 3)])
def test_accumulator_that_leaves_its_width_is_named(kernel, weight):
    """A Program checks its weights when it is made; changed behind its back, they are found out here."""
    chain = Chain((1, 1, 1), unsigned(8))
    fmt = unsigned(8) if kernel == "adder" else signed(2)
    conv = Convolution(name="conv", source="stored", kernel=kernel, weight=np.zeros((1, 1, 1, 1), np.int64),
                       weight_format=fmt, pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    conv.weight[:] = weight

    with pytest.raises(WidthError, match=r"^conv leaves int\d+: "):
        golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8))


def test_product_that_leaves_its_width_is_named():
    chain = Chain((1, 1, 1), unsigned(8))
    chain.add(
        Convolution(name="conv", source="stored", kernel="mult", weight=np.ones((1, 1, 1, 1), np.int64),
                    weight_format=signed(2), pad=np.zeros(1, np.int64))
    )  # fmt: skip
    chain.requantise("req", signed(8), np.ones(1), np.zeros(1), 0)
    program = chain.program()
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
    """Layers that multiply by 15 bits twice and hardly divide, whose products leave 64 bits."""
    chain = Chain((1, 1, 1), unsigned(8))
    exact = 255
    for name, weight, fmt, shift in (
        ("a", 32767, signed(38), 0),
        ("b", 32767, signed(56), 15),
        ("last", 7, signed(64), 15),
    ):
        weight_format = signed(weight.bit_length() + 1)
        chain.add(Convolution(name=f"{name}_conv", source=chain.last, kernel="mult", weight_format=weight_format,
                              weight=np.full((1, 1, 1, 1), weight), pad=np.zeros(1, np.int64)))  # fmt: skip
        chain.requantise(name, fmt, np.full(1, 32767), np.zeros(1), shift)
        exact = min(exact * weight * 32767 >> shift, fmt.hi)
    chain.add(ArgMax(name="argmax", source="last"))
    return Program(ops=tuple(chain.ops.values())), exact


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


@pytest.mark.parametrize("make", [wide_residual, wider_residual, wide_features])
def test_widths_beyond_the_declared_are_exact_or_refused_but_never_wrap(make):
    """Whether such a Program is refused when it is made or when it runs is open; a wrong integer is not."""
    try:
        program, exact = make()
        result = golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), trace=True)
    except (ValueError, WidthError):
        return
    assert result.tensors["last"].item() == exact
