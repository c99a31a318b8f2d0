# amaranth: UnusedElaboratable=no
"""The sliding window against a naive one in numpy: any geometry, any fold, any pauses."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from addax.hdl.maps.window import WindowBuffer
from addax.hdl.maps.window_shape import WindowShape, ring_rows
from addax.quant.ops.window import pair, sides
from amaranth.hdl import Array, Const, Module
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st
from marks import guarded_but

SHAPE = WindowShape(
    channels=4, height=5, width=6, kernel=(3, 3), stride=1, padding=1, bits=4, simd=2, taps=1, lines=1,
    groups=2, segments=1, rows=4,
)  # fmt: skip


def packed(values, bits):
    return sum(int(value) << (k * bits) for k, value in enumerate(values))


def beats_of(shape, images):
    """Pixels row by row, all channels of a pixel before the next."""
    values = images.transpose(0, 2, 3, 1).reshape(-1, shape.simd)
    return [packed(value, shape.bits) for value in values]


def naive_steps(shape, images, pad):
    """What must reach the array, as (x, first, last): slices of the padded image, one after the other."""
    (kh, kw), simd, taps, lines = shape.kernel, shape.simd, shape.taps, shape.lines
    (top, left, bottom, right), (down, across), (dh, dw) = shape.pads, shape.strides, shape.dilations
    frame = (top + shape.height + bottom, left + shape.width + right)
    padded = np.empty((len(images), shape.channels, *frame), np.int64)
    padded[:] = pad[:, None, None]
    padded[:, :, top : top + shape.height, left : left + shape.width] = images
    chunks = np.arange(0, shape.channels, simd).reshape(shape.segments, -1)
    result = []
    for image in padded:
        for y in range(0, image.shape[1] - (kh - 1) * dh, down):
            for x in range(0, image.shape[2] - (kw - 1) * dw, across):
                patch = image[:, y : y + (kh - 1) * dh + 1 : dh, x : x + (kw - 1) * dw + 1 : dw]
                for group in range(shape.groups):
                    steps = [
                        patch[c : c + simd, ky : ky + lines, kx : kx + taps].transpose(1, 2, 0).reshape(-1)
                        for ky in range(0, kh, lines)
                        for kx in range(0, kw, taps)
                        for c in chunks[group * shape.segments // shape.groups]
                    ]
                    for k, step in enumerate(steps):
                        result.append((packed(step, shape.bits), k == 0, k == len(steps) - 1))
    return result


def run_window(shape, images, pad, *, pause=0.0, go=1.0, seed=0, extra=40, limit=100_000):
    """Feed all images; return the steps, and the cycles of steps, of begins, of go and of the inputs."""
    rng = random.Random(seed)
    window = WindowBuffer(shape)
    m = Module()
    m.submodules.window = window
    words = [packed(value, shape.bits) for value in pad.reshape(-1, shape.simd)]
    m.d.comb += window.pad.eq(Array(Const(word, shape.simd * shape.bits) for word in words)[window.pad_address])
    beats = beats_of(shape, images)
    wanted = len(images) * shape.out_height * shape.out_width * shape.groups * shape.steps
    steps, valids, begins, goes, inputs = [], [], [], [], []

    async def drive(ctx):
        offered, quiet = False, 0
        for cycle in range(limit):
            if not offered and len(inputs) < len(beats) and rng.random() >= pause:
                ctx.set(window.i.payload.as_value(), beats[len(inputs)])
                ctx.set(window.i.valid, 1)
                offered = True
            may_begin = rng.random() < go
            ctx.set(window.go, may_begin)
            _, _, ready, begin, valid, first, last, x = await ctx.tick().sample(
                window.i.ready, window.begin, window.valid, window.first, window.last, window.x
            )
            if may_begin:
                goes.append(cycle)
            if begin:
                begins.append(cycle)
            if valid:
                steps.append((x, bool(first), bool(last)))
                valids.append(cycle)
            if offered and ready:
                inputs.append(cycle)
                offered = False
                ctx.set(window.i.valid, 0)
            if len(inputs) == len(beats) and len(steps) >= wanted:
                quiet += 1
                if quiet == extra:
                    return
        raise AssertionError(f"{len(inputs)} of {len(beats)} beats, {len(steps)} of {wanted} steps")

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return steps, valids, begins, goes, inputs


def invent(shape, count, seed):
    """Random images, and padding that is nowhere zero and not the same in two neighbouring channels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 1 << shape.bits, (count, shape.channels, shape.height, shape.width))
    pad = rng.integers(0, (1 << shape.bits) - 1, shape.channels) // 2 * 2 + 1
    return images, pad


@st.composite
def shapes(draw):
    channels = draw(st.integers(1, 6))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    plain = draw(st.booleans())  # equal in all directions, as most windows are
    stride = draw(st.integers(1, 5)) if plain else draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = 1 if plain else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, pair(dilation), strict=True)]
    pads = st.integers(0, max(*extent, 2) - 1) if plain else st.tuples(*(st.integers(0, 3) for _ in range(4)))
    padding = draw(pads)
    height, width = (
        draw(st.integers(max(1, k - before - after), max(6, k)))
        for k, before, after in zip(extent, sides(padding)[:2], sides(padding)[2:], strict=True)
    )
    simd = draw(st.sampled_from(divisors(channels)))
    segments = draw(st.sampled_from(divisors(channels // simd)))
    lines, taps = (
        k if most <= k * d and draw(st.booleans()) else 1
        for k, most, d in zip(kernel, pair(stride), pair(dilation), strict=True)
    )
    return WindowShape(
        channels=channels, height=height, width=width, kernel=kernel, stride=stride, padding=padding,
        dilation=dilation,
        bits=draw(st.integers(2, 8)), simd=simd, taps=taps, lines=lines, segments=segments,
        groups=segments * draw(st.integers(1, 3)),
        rows=rows_of(kernel, stride, dilation, lines, draw(st.integers(0, 4))),
    )  # fmt: skip


def divisors(n):
    return [k for k in range(1, n + 1) if n % k == 0]


def rows_of(kernel, stride, dilation, lines, more):
    """The least rows of a ring, in whole rows of all banks, and some more."""
    d = pair(dilation)[0] if kernel[0] > 1 else 1
    unit = lines * d if lines > 1 else 1
    return (-(-max((kernel[0] - 1) * d + 2, pair(stride)[0]) // unit) + more) * unit


def check(shape, images, pad, **how):
    steps, valids, begins, goes, inputs = run_window(shape, images, pad, **how)

    expected = naive_steps(shape, images, pad)
    assert steps[: len(expected)] == expected
    # Windows of the next image that lie wholly in its padding need no pixel of it and may come early; no others may.
    surplus = len(steps) - len(expected)
    early_rows = max(0, shape.pads[0] - shape.extent[0] + shape.strides[0]) // shape.strides[0]
    assert surplus <= early_rows * shape.out_width * shape.groups * shape.steps
    assert steps[len(expected) :] == naive_steps(shape, images[:1], pad)[:surplus]
    # A group begins only when it may, and then one step leaves per cycle.
    assert set(begins) <= set(goes)
    promised = [begin + shape.latency + k for begin in begins for k in range(shape.steps)]
    assert valids == promised[: len(valids)]
    assert len(promised) - len(valids) < shape.steps + shape.latency, "steps that the end of the simulation cut off"
    return begins, inputs


@given(
    shape=shapes(), count=st.integers(1, 3), pause=st.sampled_from([0.0, 0.3, 0.8]),
    go=st.sampled_from([1.0, 0.5, 0.1]), seed=st.integers(0, 999),
)  # fmt: skip
def test_any_window_reads_what_a_naive_one_reads(shape, count, pause, go, seed):
    """Order of x, marks of first and last, every group as often as asked, images back to back, pauses at both ends."""
    if shape.read_cycles * count > 3000:
        count = 1
    images, pad = invent(shape, count, seed)

    check(shape, images, pad, pause=pause, go=go, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_many_more_windows(seed):
    rng = random.Random(seed)
    channels, kernel = rng.randint(1, 8), (rng.randint(1, 5), rng.randint(1, 5))
    stride, dilation, padding = rng.randint(1, 6), 1, rng.randrange(max(*kernel, 2))
    if seed % 2:
        stride, dilation = (rng.randint(1, 6), rng.randint(1, 6)), (rng.randint(1, 4), rng.randint(1, 4))
        padding = tuple(rng.randrange(5) for _ in range(4))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, pair(dilation), strict=True)]
    height, width = (
        rng.randint(max(1, k - before - after), max(9, k))
        for k, before, after in zip(extent, sides(padding)[:2], sides(padding)[2:], strict=True)
    )
    simd = rng.choice(divisors(channels))
    segments = rng.choice(divisors(channels // simd))
    lines, taps = (
        k if most <= k * d and rng.random() < share else 1
        for k, most, d, share in zip(kernel, pair(stride), pair(dilation), (0.4, 0.6), strict=True)
    )
    shape = WindowShape(
        channels=channels, height=height, width=width, kernel=kernel, stride=stride, padding=padding,
        dilation=dilation, bits=rng.randint(2, 12), simd=simd, taps=taps, lines=lines, segments=segments,
        groups=segments * rng.randint(1, 4), rows=rows_of(kernel, stride, dilation, lines, rng.randint(0, 5)),
    )  # fmt: skip
    images, pad = invent(shape, 3, seed)

    check(shape, images, pad, pause=rng.choice([0, 0.5]), go=rng.choice([1, 0.5]), seed=seed)


CORNERS = {
    "stride beyond the window": {"kernel": (2, 2), "stride": 4, "height": 7, "width": 7, "rows": 4, "padding": 0},
    "rows and columns left over": {"kernel": (2, 2), "stride": 2, "height": 5, "width": 5, "padding": 0},
    "left over within the padding": {"kernel": (3, 3), "stride": 3, "height": 5, "width": 5, "padding": 1},
    "left over beyond the padding": {"kernel": (3, 3), "stride": 4, "height": 5, "width": 6, "padding": 1, "rows": 4},
    "one window fills the image": {"kernel": (5, 6), "padding": 0, "rows": 6, "taps": 6},
    "more padding than image": {"kernel": (3, 3), "height": 1, "width": 1, "padding": 2, "rows": 4},
    "one pixel": {"kernel": (1, 1), "height": 1, "width": 1, "padding": 0, "simd": 4, "groups": 1},
    "all taps at every second column": {"taps": 3, "stride": 2},
    "all taps at steps of their width": {"taps": 3, "stride": 3, "height": 6, "width": 7},
    "own channels only": {"segments": 2, "kernel": (2, 2), "stride": 2},
    "own channels only, with padding": {"segments": 4, "groups": 4, "simd": 1, "kernel": (3, 3), "stride": 2},
    "two filters of own channels": {"segments": 2, "groups": 4, "simd": 1},
    "own channels, all taps": {"segments": 2, "taps": 3},
    "all rows": {"lines": 3, "rows": 6},
    "all rows at every second one": {"lines": 3, "rows": 6, "stride": 2},
    "all rows at steps of their height": {"lines": 3, "rows": 6, "stride": 3, "height": 7},
    "all rows and all taps": {"lines": 3, "taps": 3, "rows": 9, "simd": 4},
    "all rows and all taps, own channels": {"lines": 3, "taps": 3, "rows": 6, "segments": 2, "stride": 2},
    "a wide window": {"kernel": (1, 4), "taps": 4},
    "a high window": {"kernel": (4, 1), "rows": 5},
    "strides that differ": {"stride": (1, 2)},
    "rows passed over": {"kernel": (2, 3), "stride": (3, 1), "height": 7},
    "pads that differ": {"padding": (0, 2, 1, 0)},
    "padding below only": {"kernel": (2, 2), "padding": (0, 0, 1, 1)},
    "spaced taps": {"dilation": 2, "padding": 2, "rows": 6},
    "spaced taps at every second place": {"dilation": 3, "padding": 3, "stride": 2, "rows": 8},
    "spaced columns": {"dilation": (1, 2), "padding": (1, 2, 1, 2)},
    "spaced taps, all of a row": {"dilation": 2, "padding": 2, "rows": 6, "taps": 3},
    "spaced taps, all of a row at steps": {"dilation": (1, 3), "padding": (1, 3, 1, 3), "taps": 3, "stride": (1, 4)},
    "spaced by as many as there are taps": {
        "kernel": (2, 2),
        "dilation": 2,
        "padding": 1,
        "rows": 4,
        "taps": 2,
        "lines": 2,
        "stride": (3, 4),
    },
    "spaced rows, all at once": {"dilation": 2, "padding": 2, "rows": 6, "lines": 3},
    "spaced rows, all at once, at steps": {"dilation": 3, "padding": 3, "rows": 9, "lines": 3, "stride": (2, 1)},
    "spaced, all at once": {"dilation": (2, 3), "padding": (2, 3, 2, 3), "rows": 12, "lines": 3, "taps": 3, "simd": 4},
    "spaced, all at once, own channels": {
        "dilation": (3, 2),
        "padding": (3, 0, 1, 4),
        "rows": 9,
        "lines": 3,
        "taps": 3,
        "segments": 2,
        "stride": (9, 5),
        "height": 12,
    },
}


EVERY_CORNER = pytest.mark.parametrize("name", guarded_but(CORNERS, *list(CORNERS)[::3]))


@EVERY_CORNER
def test_corners(name):
    shape = replace(SHAPE, **CORNERS[name])
    images, pad = invent(shape, 3, 1)

    check(shape, images, pad)
    check(shape, images, pad, pause=0.5, go=0.5, seed=1)


@EVERY_CORNER
def test_with_enough_rows_a_window_never_waits_twice(name):
    """With the rows that `ring_rows` gives, images follow each other at the pace of the slower side.

    Protects the cycle model, which knows no waiting for the ring.
    """
    shape = replace(SHAPE, **CORNERS[name])
    shape = replace(
        shape,
        rows=ring_rows(shape.extent[0], shape.strides[0], shape.padded_width * shape.chunks, shape.row_unit),
    )
    images, pad = invent(shape, 8, 2)
    per_image = shape.out_height * shape.out_width * shape.groups

    begins, _ = check(shape, images, pad)

    ends = begins[per_image - 1 :: per_image][:8]
    assert ends[-1] - ends[-2] == max(shape.read_cycles, shape.write_cycles)


def test_a_window_that_may_not_begin_fills_its_ring_and_stops():
    """All rows but the next to be written may be full: `rows` rows are taken, then the input waits."""
    shape = replace(SHAPE, padding=0, rows=5, height=9)
    images, pad = invent(shape, 1, 3)
    row = shape.width * shape.chunks

    with pytest.raises(AssertionError, match=f"^{5 * row} of {9 * row} beats, 0 of"):
        run_window(shape, images, pad, go=0.0, limit=9 * row + 50)


def test_padding_values_are_read_channel_by_channel():
    """A window that lies wholly in the padding sees each channel's own value."""
    shape = replace(SHAPE, height=1, width=1, kernel=(2, 2), padding=1, simd=1, groups=1, bits=8, rows=3)
    pad = np.array([11, 22, 33, 44])

    steps, *_ = run_window(shape, np.full((1, 4, 1, 1), 99), pad)

    assert [x for x, _, _ in steps[:4]] == [11, 22, 33, 44]
    assert [x for x, _, _ in steps[12:16]] == [99, 99, 99, 99]


def test_groups_read_the_same_window_again():
    shape = replace(SHAPE, groups=3)
    images, pad = invent(shape, 1, 4)

    steps, *_ = run_window(shape, images, pad)

    windows = [steps[k : k + shape.steps] for k in range(0, len(steps), shape.steps)]
    assert windows[0::3] == windows[1::3] == windows[2::3]
    assert windows[0] != windows[3]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"simd": 3}, "simd must divide 4 channels, not be 3"),
        ({"simd": 8}, "simd must divide 4 channels, not be 8"),
        ({"simd": 0}, "simd must divide 4 channels, not be 0"),
        ({"taps": 2}, "taps must be 1 or 3, the width of the window, not 2"),
        ({"taps": 0}, "taps must be 1 or 3, the width of the window, not 0"),
        ({"kernel": (2, 4), "taps": 2}, "taps must be 1 or 4, the width of the window, not 2"),
        ({"taps": 3, "stride": 4}, "taps in parallel need a stride of at most the window's width"),
        ({"lines": 2}, "lines must be 1 or 3, the height of the window, not 2"),
        ({"lines": 3, "stride": 4, "rows": 6}, "lines in parallel need a stride of at most the window's height"),
        ({"segments": 4}, "simd must divide 1 channels, not be 2"),
        ({"segments": 2, "groups": 3}, "groups must be a multiple of 2 segments, not 3"),
        ({"rows": 3}, "rows must be at least 4 and a multiple of 1, not 3"),
        ({"lines": 3, "rows": 3}, "rows must be at least 6 and a multiple of 3, not 3"),
        ({"taps": 3, "stride": (1, 7), "dilation": 2, "rows": 6}, "need a stride of at most the window's width, 6"),
        ({"lines": 3, "stride": (7, 1), "dilation": 2, "rows": 12}, "need a stride of at most the window's height, 6"),
        ({"dilation": 2}, "rows must be at least 6 and a multiple of 1, not 4"),
        ({"dilation": 2, "lines": 3, "rows": 9}, "rows must be at least 6 and a multiple of 6, not 9"),
        ({"lines": 3, "rows": 7}, "rows must be at least 6 and a multiple of 3, not 7"),
        ({"stride": 6, "rows": 5}, "rows must be at least 6 and a multiple of 1, not 5"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SHAPE, **change)


@given(shape=shapes(), seed=st.integers(0, 99))
def test_the_numbers_of_a_shape_are_those_of_the_hardware(shape, seed):
    """Protects what the cycle model and the memory files read: steps, cycles, output size, longest pause."""
    images, pad = invent(shape, 1, seed)
    expected = naive_steps(shape, images, pad)

    assert len(expected) == shape.read_cycles
    assert sum(first for _, first, _ in expected) == shape.out_height * shape.out_width * shape.groups
    assert shape.used_height <= shape.padded_height < shape.used_height + shape.strides[0]


@EVERY_CORNER
def test_the_longest_pause_between_inputs_is_that_of_the_padding(name):
    """With room in the ring and a willing array, inputs wait for padding alone, and never longer than declared."""
    shape = replace(SHAPE, **CORNERS[name])
    shape = replace(shape, rows=64 // shape.row_unit * shape.row_unit, groups=shape.segments)
    images, pad = invent(shape, 2, 5)

    _, inputs = check(shape, images, pad)

    pauses = [later - earlier - 1 for earlier, later in pairwise(inputs)]
    assert max(pauses) == shape.longest_pause
