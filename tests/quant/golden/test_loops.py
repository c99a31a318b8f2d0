"""The inner loops of the golden model: both kinds against loops over Python integers, and against each other."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from addax.quant.golden.loops import NativeLoops, NumpyLoops, native_loops
from addax.quant.ops.window import Window
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from loop_kinds import needs_compiler, same

KINDS = [np.uint8, np.int8, np.int16, np.int32, np.int64]
"""Types that the golden model holds tensors in."""
LARGEST = 2**16
"""Operands of a kernel have at most 16 bits."""


@pytest.fixture(scope="module", params=["numpy", pytest.param("native", marks=needs_compiler)])
def loops(request):
    """Either kind."""
    if request.param == "numpy":
        return NumpyLoops()
    found = native_loops()
    assert isinstance(found, NativeLoops)
    return found


def ends(kind):
    """Least and largest operand of a kernel that a type may hold."""
    info = np.iinfo(kind)
    return max(info.min, -LARGEST // 2), min(info.max, LARGEST - 1)


def operands(kind, shape):
    """Any operands, with their ends common."""
    return arrays(kind, shape, elements=st.sampled_from(ends(kind)) | st.integers(*ends(kind)))


def random_operands(rng, kind, shape):
    """As `operands`, for shapes too large to draw."""
    lo, hi = ends(kind)
    values = rng.integers(lo, hi, shape, endpoint=True)
    edge = rng.random(shape)
    return np.where(edge < 0.1, lo, np.where(edge > 0.9, hi, values)).astype(kind)


def naive_patches(x, pad, window, align=1):
    count, height, width, channels = x.shape
    x, pad = x.tolist(), pad.tolist()
    (kh, kw), (down, right), (dh, dw) = window.kernel, window.strides, window.dilations
    above, before, below, behind = window.pads
    rows = []
    for n in range(count):
        for top in range(-above, height + below - (kh - 1) * dh, down):
            for left in range(-before, width + behind - (kw - 1) * dw, right):
                row = []
                for ky, kx in itertools.product(range(kh), range(kw)):
                    y, column = top + ky * dh, left + kx * dw
                    inside = 0 <= y < height and 0 <= column < width
                    row += [x[n][y][column][c] if inside else pad[c] for c in range(channels)]
                while len(row) % align:
                    row.append(0)
                rows.append(row)
    return rows


def naive_sums(patches, filters, term):
    return [
        [sum(term(a, b) for a, b in zip(p, f, strict=True)) for f in filters.tolist()]
        for p in patches.tolist()
    ]  # fmt: skip


TERMS = {"adder": lambda a, b: -abs(a - b), "mult": lambda a, b: a * b}


def bound_of(name, patches, filters):
    """The largest magnitude of a sum of such operands, also on the way to it."""
    largest = [max(abs(bound) for bound in ends(a.dtype)) for a in (patches, filters)]
    return patches.shape[1] * (sum(largest) if name == "adder" else largest[0] * largest[1])


# Patches


@st.composite
def windows(draw, height, width):
    """Any window that a map with its padding holds."""
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    window = Window(kernel=draw(pairs), strides=draw(pairs), dilations=draw(pairs))
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    for axis, (size, extent) in enumerate(zip((height, width), window.extent, strict=True)):
        pads[axis] = max(pads[axis], extent - size - pads[axis + 2])
    return replace(window, pads=tuple(pads))


@settings(max_examples=60)
@given(data=st.data())
def test_patches_equal_the_plain_loops(loops, data):
    """Any window, stride, padding and type; the pad of its channel stands where a tap is outside, on every side, and
    zeros fill the row."""
    draw = data.draw
    kind = draw(st.sampled_from(KINDS))
    count, channels = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    window = draw(windows(height, width))
    x = draw(operands(kind, (count, height, width, channels)))
    pad = draw(operands(kind, channels))

    align = draw(st.sampled_from([1, 2, 8, 64]))

    found = loops.patches(x, pad.astype(draw(st.sampled_from([kind, np.int64]))), window, align)

    taps = window.kernel[0] * window.kernel[1] * channels
    assert found.dtype == kind and found.ndim == 2 and taps <= found.shape[1] < taps + align
    assert found.tolist() == naive_patches(x, pad, window, align)


@pytest.mark.parametrize("seed", range(12))
def test_patches_of_views_are_those_of_what_they_show(loops, seed):
    """Channels of a group, images turned from (N, C, H, W): a tensor that does not lie in one piece."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    whole = random_operands(rng, kind, (2, 6, 4, 5))
    pad = random_operands(rng, kind, 2)
    for view in (whole[..., 1:3], whole.transpose(0, 2, 3, 1)[..., ::3], whole[:, ::-1, ::2, 3:]):
        assert not view.flags.c_contiguous
        for window in (
            Window(kernel=(1, 1)),
            Window(kernel=(1, 1), pads=(1, 1, 1, 1)),
            Window(kernel=(1, 1), strides=(2, 2)),
            Window(kernel=(1, 1), strides=(2, 1)),
            Window(kernel=(3, 2), strides=(2, 2), pads=(1, 1, 1, 1)),
            Window(kernel=(2, 2), strides=(1, 3), pads=(0, 2, 1, 0), dilations=(3, 2)),
        ):
            before = view.copy()
            for align in (1, 2, 3):
                found = loops.patches(view, pad, window, align)
                assert found.tolist() == naive_patches(view, pad, window, align)
            same(view, before)


@pytest.mark.parametrize("seed", range(20))
def test_patches_are_the_same_by_both(native, seed):
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    count, height, width, channels = (int(rng.integers(low, 20)) for low in (0, 7, 7, 1))
    x, pad = random_operands(rng, kind, (count, height, width, channels)), random_operands(rng, kind, channels)
    kernel = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    stride, padding, align = int(rng.integers(1, 5)), rng.integers(0, 4, 4).tolist(), int(rng.choice([1, 8, 64]))
    dilations = tuple(int(rng.integers(1, 2 + 6 // k)) for k in kernel)
    window = Window(kernel=kernel, strides=(stride, seed % 3 + 1), pads=tuple(padding), dilations=dilations)
    padded = window.padded((height, width))
    if any(extent > size for extent, size in zip(window.extent, padded, strict=True)):
        window = replace(window, dilations=(1, 1))

    same(*(kinds.patches(x, pad, window, align) for kinds in (native, NumpyLoops())))


# Products


@pytest.mark.parametrize("name", TERMS)
@settings(max_examples=60)
@given(data=st.data())
def test_products_equal_the_plain_loops(loops, name, data):
    """Any types, extremes common, also of no patch."""
    draw = data.draw
    kind = draw(st.sampled_from(KINDS))
    other = kind if name == "adder" else draw(st.sampled_from(KINDS))
    taps = draw(st.integers(1, 20))
    patches = draw(operands(kind, (draw(st.integers(0, 4)), taps)))
    filters = draw(operands(other, (draw(st.integers(1, 3)), taps)))

    found = getattr(loops, name)(patches, filters, bound_of(name, patches, filters))

    assert found.dtype == np.int64 and found.shape == (len(patches), len(filters))
    assert found.tolist() == naive_sums(patches, filters, TERMS[name])


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("seed", range(20))
def test_products_are_the_same_by_both(native, name, seed):
    """Sizes around the blocks of filters that the compiled loops keep near, and around the lanes of a processor."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    other = kind if name == "adder" else KINDS[int(rng.integers(len(KINDS)))]
    taps = int(rng.choice([1, 15, 16, 17, 31, 33, 64, 127, 300, 5000, 20000]))
    count, outputs = int(rng.integers(0, 9)), int(rng.choice([1, 2, 7, 200]))
    patches, filters = random_operands(rng, kind, (count, taps)), random_operands(rng, other, (outputs, taps))
    before = patches.copy(), filters.copy()
    bound = bound_of(name, patches, filters)

    same(*(getattr(kinds, name)(patches, filters, bound) for kinds in (native, NumpyLoops())))

    same(patches, before[0])
    same(filters, before[1])


@pytest.mark.parametrize("block", [2729, 2730, 2731])
def test_more_filters_than_a_block_are_all_multiplied(native, block):
    """Blocks of 16 KiB: 2730 filters of three words of 16 bits."""
    rng = np.random.default_rng(block)
    patches, filters = random_operands(rng, np.uint8, (3, 3)), random_operands(rng, np.uint8, (block, 3))

    found = native.mult(patches, filters, 3 * 255 * 255)

    assert found.tolist() == naive_sums(patches, filters, TERMS["mult"])


@pytest.mark.parametrize("taps", [1, 7, 8, 9, 27, 144])
def test_distances_of_bytes_for_any_number_of_patches_and_filters(native, taps):
    """Tiles hold up to 32 patches and 6 filters; what is left over is done in smaller ones."""
    rng = np.random.default_rng(taps)
    patches, filters = random_operands(rng, np.uint8, (70, taps)), random_operands(rng, np.uint8, (14, taps))
    whole = NumpyLoops().adder(patches, filters, taps * 255)
    for count, outputs in itertools.product((0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 49, 70), (1, 2, 3, 4, 5, 6, 7, 13)):
        same(native.adder(patches[:count], filters[:outputs], taps * 255), whole[:count, :outputs])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("taps", [1, 2, 3, 257, 33000])
def test_products_of_the_ends_of_their_operands_do_not_wrap(loops, name, kind, taps):
    """From two taps of 16 bits on, sums leave 32 bits."""
    for a, b in itertools.product(ends(kind), repeat=2):
        patches, filters = np.full((2, taps), a, kind), np.full((1, taps), b, kind)

        found = getattr(loops, name)(patches, filters, bound_of(name, patches, filters))

        assert found.tolist() == [[taps * TERMS[name](a, b)]] * 2


@pytest.mark.parametrize("bound", [2**31 - 1, 2**31])
def test_sums_on_either_side_of_32_bits_are_exact(loops, bound):
    """The bound is what chooses the narrow sum: the largest that fits, and the first that does not."""
    patches = np.array([[-32768, -32768]], np.int16)
    filters = np.array([[-32768, -32767 if bound < 2**31 else -32768]], np.int16)
    largest = naive_sums(patches, filters, TERMS["mult"])[0][0]
    assert largest <= bound and (bound < 2**31 or largest == bound)

    assert loops.mult(patches, filters, bound).tolist() == [[largest]]

    taps = 32769
    narrow, wide = np.zeros((1, taps), np.int32), np.full((1, taps), 65535, np.int32)
    wide[0, 0] -= taps * 65535 - bound
    assert sum(wide[0].tolist()) == bound and wide.min() > 0
    assert loops.adder(narrow, wide, bound).tolist() == [[-bound]]


@pytest.mark.parametrize("taps", [2**24 - 1, 2**24, 2**32 // 255 + 1])
def test_bytes_of_very_many_taps_do_not_wrap(native, taps):
    """The compiled sum of bytes has 32 bits, and is left for a wider one before it could wrap."""
    patches, filters = np.zeros((1, taps), np.uint8), np.full((1, taps), 255, np.uint8)

    assert native.adder(patches, filters, 255 * taps).tolist() == [[-255 * taps]]


# Bits


@settings(max_examples=60)
@given(data=st.data())
def test_differing_bits_equal_the_plain_loops(loops, data):
    draw = data.draw
    words = st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
    count, outputs, n = draw(st.integers(0, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    patches = draw(arrays(np.uint64, (count, n), elements=words))
    filters = draw(arrays(np.uint64, (outputs, n), elements=words))

    found = loops.differing(patches, filters)

    assert found.dtype == np.int64 and found.shape == (count, outputs)
    assert found.tolist() == naive_sums(patches, filters, lambda a, b: bin(a ^ b).count("1"))


@pytest.mark.parametrize("seed", range(10))
def test_differing_bits_are_the_same_by_both(native, seed):
    rng = np.random.default_rng(seed)
    count, outputs, n = int(rng.integers(0, 30)), int(rng.integers(1, 300)), int(rng.choice([1, 3, 17, 100]))
    patches, filters = (rng.integers(0, 2**64, (rows, n), np.uint64) for rows in (count, outputs))
    filters[0] = ~patches[0] if count else 0

    same(*(kinds.differing(patches, filters) for kinds in (native, NumpyLoops())))


# Thresholds


@settings(max_examples=60)
@given(data=st.data())
def test_thresholds_equal_the_plain_loops(loops, data):
    """The tie belongs to the threshold; any number of levels to 255, both directions, no image, 64 bits."""
    draw = data.draw
    channels, steps = draw(st.integers(1, 3)), draw(st.sampled_from([255]) | st.integers(1, 5))
    whole = st.sampled_from([-(2**63), 2**63 - 1]) | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
    acc = draw(arrays(np.int64, (draw(st.integers(0, 3)), 2, 1, channels), elements=whole))
    levels = np.sort(draw(arrays(np.int64, (channels, steps), elements=whole)), axis=1)
    falling = draw(arrays(np.int64, channels, elements=st.integers(0, 1)))

    found = loops.threshold(acc, levels, falling)

    assert found.dtype == np.uint8 and found.shape == acc.shape
    for index in np.ndindex(*acc.shape):
        value, row = int(acc[index]), levels[index[-1]].tolist()
        counted = [level for level in row if (value < level if falling[index[-1]] else value >= level)]
        assert found[index] == len(counted)


@pytest.mark.parametrize("seed", range(12))
def test_thresholds_are_the_same_by_both(native, seed):
    """Also of views."""
    rng = np.random.default_rng(seed)
    count, channels, steps = int(rng.integers(0, 9)), int(rng.integers(1, 20)), int(rng.integers(1, 256))
    acc = rng.integers(-1000, 1000, (count, channels, 7, 5)).transpose(0, 2, 3, 1)
    levels = np.sort(rng.integers(-1000, 1001, (channels, steps)), axis=1)
    falling = rng.integers(0, 2, channels)

    same(*(kinds.threshold(acc, levels, falling) for kinds in (native, NumpyLoops())))


RESULTS = [np.uint8, np.int8, np.int16, np.int32, np.int64]


# Requantise


@settings(max_examples=100)
@given(data=st.data())
def test_requantise_equals_the_plain_loops(loops, data):
    """Any factors, offsets, shifts, clamps and types, with and without a residual; the range before the shift, which
    is what the width is asserted of, counts 0 as reached."""
    draw = data.draw
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    channels = shape[-1]

    def whole(bits, shape):
        hi = 2 ** (bits - 1) - 1
        return draw(arrays(np.int64, shape, elements=st.sampled_from([-hi - 1, hi]) | st.integers(-hi - 1, hi)))

    acc, factor, offset = whole(45, shape), whole(16, channels), whole(61, channels)
    residual = whole(29, shape) if draw(st.booleans()) else None
    factors = whole(32, channels)
    even = draw(st.booleans())
    shift = draw(arrays(np.int64, channels, elements=st.sampled_from([int(even), 31]) | st.integers(int(even), 31)))
    if draw(st.booleans()):  # many ties
        offset, factor = offset >> 33 << 33 | (1 << shift >> 1), factor >> 8 << 8
    kind = np.dtype(draw(st.sampled_from(RESULTS)))
    info = np.iinfo(kind)
    lo, hi = sorted(draw(st.sampled_from([info.min, info.max]) | st.integers(info.min, info.max)) for _ in range(2))

    found, least, most = loops.requantise(acc, factor, offset, residual, factors, shift, even, lo, hi, kind)

    wide = {
        index: int(acc[index]) * int(factor[index[-1]]) + int(offset[index[-1]])
        + (0 if residual is None else int(residual[index]) * int(factors[index[-1]]))
        for index in np.ndindex(*shape)
    }  # fmt: skip
    assert found.dtype == kind and found.shape == shape

    def rounded(value, places):  # B holds the half that Python's own rounding of fractions does without
        return round(Fraction(value - 2 ** (places - 1), 2**places)) if even else value // 2**places

    assert {index: int(found[index]) for index in wide} == {
        index: min(max(rounded(value, int(shift[index[-1]])), lo), hi) for index, value in wide.items()
    }
    assert (least, most) == (min(0, *wide.values(), 0), max(0, *wide.values(), 0))


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("seed", range(8))
def test_requantise_is_the_same_by_both(native, seed, kind):
    """Also of views, and of tensors of other types than the compiled loops read."""
    rng = np.random.default_rng(seed)
    count, height, width, channels = (int(rng.integers(low, 12)) for low in (0, 1, 1, 1))
    acc = rng.integers(-(2**44), 2**44, (count, channels, height, width)).transpose(0, 2, 3, 1)
    residual = rng.integers(-(2**28), 2**28, (count, width, height, channels)).transpose(0, 2, 1, 3)
    if seed % 2:
        residual = None
    factor, offset = rng.integers(-(2**15), 2**15, channels), rng.integers(-(2**60), 2**60, channels)
    info = np.iinfo(kind)
    even = seed % 4 > 1
    shift, factors = rng.integers(int(even), 32, channels), rng.integers(-(2**31) + 1, 2**31, channels)
    arguments = (acc, factor, offset, residual, factors, shift, even, info.min, info.max)

    (one, *span), (other, *other_span) = (k.requantise(*arguments, np.dtype(kind)) for k in (native, NumpyLoops()))

    same(one, other)
    assert span == other_span and all(isinstance(value, int) for value in span)
