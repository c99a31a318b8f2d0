# amaranth: UnusedElaboratable=no
"""Data moves and joins against naive loops: any geometry, any fold, any pauses."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from addax.hdl.maps.join import Join, JoinShape
from addax.hdl.maps.move import MOVES, MoveBuffer, MoveShape, move_folds, move_rows
from amaranth.hdl import Array, Const, Module, Signal
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

SHIFT = MoveShape(
    kind="spatial_shift", channels=4, height=5, width=3, bits=4, simd=2, rows=8,
    offsets=((1, 0), (0, -1), (-2, 3), (0, 0)),
)  # fmt: skip
SHUFFLE = MoveShape(kind="pixel_shuffle", channels=8, height=2, width=3, bits=4, simd=4, factor=2, rows=4)


def packed(values, bits):
    return sum(int(value) << (k * bits) for k, value in enumerate(values))


def moved(shape, image, pad):
    """A (C, H, W) image after the move, one element at a time."""
    channels, height, width = image.shape
    r = shape.factor
    if shape.kind == "spatial_shift":
        result = np.empty_like(image)
        for (c, i, j), _ in np.ndenumerate(image):
            y, x = i - shape.offsets[c][0], j - shape.offsets[c][1]
            result[c, i, j] = image[c, y, x] if 0 <= y < height and 0 <= x < width else pad[c]
        return result
    shuffled = shape.kind == "pixel_shuffle"
    result = np.empty((channels // r**2 if shuffled else channels, height * r, width * r), np.int64)
    for (c, y, x), _ in np.ndenumerate(result):
        source = (c * r + y % r) * r + x % r if shuffled else c
        result[c, y, x] = image[source, y // r, x // r]
    return result


def beats_of(images, count, bits):
    """Pixels row by row, all channels of a pixel before the next."""
    values = np.stack(images).transpose(0, 2, 3, 1).reshape(-1, count)
    return [packed(value, bits) for value in values]


def run_move(shape, images, pad, *, pause=0.0, go=1.0, seed=0, extra=40, limit=100_000):
    """Feed all images; return the beats that left, and the cycles of beats, begins, go and inputs."""
    rng = random.Random(seed)
    move = MoveBuffer(shape)
    m = Module()
    m.submodules.move = move
    words = [packed(value, shape.bits) for value in pad.reshape(-1, shape.simd)]
    m.d.comb += move.pad.eq(Array(Const(word, shape.simd * shape.bits) for word in words)[move.pad_address])
    beats = beats_of(images, shape.simd, shape.bits)
    wanted = len(images) * shape.read_cycles
    left, valids, begins, goes, inputs = [], [], [], [], []

    async def drive(ctx):
        offered, quiet = False, 0
        for cycle in range(limit):
            if not offered and len(inputs) < len(beats) and rng.random() >= pause:
                ctx.set(move.i.payload.as_value(), beats[len(inputs)])
                ctx.set(move.i.valid, 1)
                offered = True
            may_begin = rng.random() < go
            ctx.set(move.go, may_begin)
            _, _, ready, begin, valid, y = await ctx.tick().sample(move.i.ready, move.begin, move.valid, move.y)
            if may_begin:
                goes.append(cycle)
            if begin:
                begins.append(cycle)
            if valid:
                left.append(y)
                valids.append(cycle)
            if offered and ready:
                inputs.append(cycle)
                offered = False
                ctx.set(move.i.valid, 0)
            if len(inputs) == len(beats) and len(left) >= wanted:
                quiet += 1
                if quiet == extra:
                    return
        raise AssertionError(f"{len(inputs)} of {len(beats)} beats came, {len(left)} of {wanted} left")

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return left, valids, begins, goes, inputs


def invent(shape, count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 1 << shape.bits, (count, shape.channels, shape.height, shape.width))
    return images, rng.integers(0, 1 << shape.bits, shape.channels)


def check(shape, images, pad, **how):
    left, valids, begins, goes, inputs = run_move(shape, images, pad, **how)

    assert left == beats_of([moved(shape, image, pad) for image in images], shape.out_count, shape.bits)
    assert set(begins) <= set(goes)
    assert valids == [begin + shape.latency for begin in begins]
    return begins, inputs


def any_shape(rng):
    kind = rng.choice(MOVES)
    factor = 1 if kind == "spatial_shift" else rng.choice([1, 2, 2, 3])
    channels = rng.randint(1, 4) * (factor**2 if kind == "pixel_shuffle" else rng.choice([1, 2, 3]))
    some = [(rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(rng.randint(1, channels))]
    offsets = tuple(rng.choice(some) for _ in range(channels)) if kind == "spatial_shift" else ()
    width = rng.randint(1, 6)
    simd = rng.choice(move_folds(kind, channels, factor))
    shape = MoveShape(
        kind=kind, channels=channels, height=rng.randint(1, 6), width=width, bits=rng.randint(1, 9), simd=simd,
        factor=factor, offsets=offsets, rows=move_rows(offsets, width * channels // simd),
    )  # fmt: skip
    least = max(2, shape.held)
    return replace(shape, rows=rng.choice([shape.rows, least, rng.randint(least, shape.rows + 3)]))


@given(
    seed=st.integers(0, 9999), count=st.integers(1, 3), pause=st.sampled_from([0.0, 0.3, 0.8]),
    go=st.sampled_from([1.0, 0.5, 0.1]),
)  # fmt: skip
def test_any_move_gives_what_a_naive_one_gives(seed, count, pause, go):
    """Order of elements, what moves in from outside, images back to back, any ring, pauses at both ends."""
    shape = any_shape(random.Random(seed))
    images, pad = invent(shape, count, seed)

    check(shape, images, pad, pause=pause, go=go, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_many_more_moves(seed):
    rng = random.Random(seed)
    shape = any_shape(rng)
    images, pad = invent(shape, 3, seed)

    check(shape, images, pad, pause=rng.choice([0, 0.5]), go=rng.choice([1, 0.5]), seed=seed)


@pytest.mark.parametrize("seed", range(30))
def test_a_ring_of_the_default_rows_never_makes_either_side_wait(seed):
    """With a willing reader an input beat comes in every cycle of a spatial shift, and of any move a beat leaves in
    every cycle once the first has: the default ring is deep enough, over the borders of images, too."""
    shape = any_shape(random.Random(seed))
    shape = replace(shape, rows=move_rows(shape.offsets, shape.bank_row))
    images, pad = invent(shape, 4, seed)

    begins, inputs = check(shape, images, pad)

    assert begins[-1] - begins[0] + 1 == len(begins)
    if shape.read_cycles == shape.write_cycles:
        assert inputs[-1] - inputs[0] + 1 == len(inputs)


def test_a_ring_of_fewer_rows_makes_it_wait():
    """The control to the test above."""
    shape = replace(SHIFT, rows=SHIFT.held)
    images, pad = invent(shape, 4, 0)

    begins, _ = check(shape, images, pad)

    assert begins[-1] - begins[0] + 1 > len(begins)


@pytest.mark.parametrize("seed", range(12))
def test_the_numbers_of_a_shape_are_those_of_the_hardware(seed):
    """Protects what the cycle model reads: beats, rows that must be there, rows that are given back."""
    shape = any_shape(random.Random(seed))
    images, pad = invent(shape, 1, seed)
    beats = beats_of([moved(shape, images[0], pad)], shape.out_count, shape.bits)

    assert len(beats) == shape.read_cycles == shape.height * shape.row_reads
    assert shape.freed_rows.sum() == shape.height
    for y, needed in enumerate(shape.needed_rows):
        rows = [y - down for down, _ in shape.offsets if 0 <= y - down < shape.height] or [y]
        assert max(rows) < needed
        assert min(rows) >= shape.freed_rows[:y].sum()


def test_lanes_that_move_alike_share_a_bank():
    """A ring of 4 words per pixel, lanes 0 and 2 by the same offsets in every word, takes two memories, not three."""
    shape = replace(SHIFT, channels=6, simd=3, offsets=((1, 0), (0, 1), (1, 0), (0, 0), (2, 2), (0, 0)))

    assert [(bank.lanes, bank.offsets) for bank in shape.banks] == [
        ((0, 2), ((1, 0), (0, 0))), ((1,), ((0, 1), (2, 2))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "shape, change, message",
    [
        (SHIFT, {"simd": 3}, "simd must be one of 1, 2, 4 for the spatial shift of 4 channels, not 3"),
        (SHUFFLE, {"simd": 3}, "simd must be one of 1, 2, 4, 8 for the pixel shuffle of 8 channels by 2, not 3"),
        (SHUFFLE, {"kind": "upsample", "simd": 3}, "one of 1, 2, 4, 8 for the upsample of 8 channels by 2, not 3"),
        (SHIFT, {"rows": 3}, "rows must be at least 4, not 3"),
        (SHUFFLE, {"rows": 1}, "rows must be at least 2, not 1"),
    ],
)
def test_impossible_shapes_are_refused(shape, change, message):
    with pytest.raises(ValueError, match=message):
        replace(shape, **change)


def run_join(shape, streams, *, wanted, pauses, seed):
    """Feed every stream at its own pace; return the beats that left and the cycles in which they did."""
    rng = random.Random(seed)
    join = Join(shape)
    inputs = [getattr(join, f"i{k}") for k in range(len(streams))]
    left, cycles = [], []

    async def drive(ctx):
        sent, offered = [0] * len(streams), [False] * len(streams)
        for cycle in range(50_000):
            for k, (port, beats) in enumerate(zip(inputs, streams, strict=True)):
                if not offered[k] and sent[k] < len(beats) and rng.random() >= pauses[k]:
                    ctx.set(port.payload.as_value(), beats[sent[k]])
                    ctx.set(port.valid, 1)
                    offered[k] = True
            ready = rng.random() >= pauses[-1]
            ctx.set(join.o.ready, ready)
            _, _, valid, payload, *taken = await ctx.tick().sample(
                join.o.valid, join.o.payload.as_value(), *(port.ready for port in inputs)
            )
            if valid and ready:
                left.append(payload)
                cycles.append(cycle)
            for k, port in enumerate(inputs):
                if offered[k] and taken[k]:
                    sent[k] += 1
                    offered[k] = False
                    ctx.set(port.valid, 0)
            if len(left) == wanted:
                return
        raise AssertionError(f"{len(left)} of {wanted} beats")

    m = Module()
    m.submodules.join = join
    m.d.sync += Signal(8).eq(1)  # a clock, which a join of whole pixels has no use for
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return left, cycles


@pytest.mark.parametrize("seed", range(20))
def test_any_join_puts_channels_side_by_side(seed):
    """Two to four streams of any channels, each with pauses of its own."""
    rng = random.Random(seed)
    simd = rng.choice([1, 2, 3])
    shape = JoinShape(
        parts=tuple(simd * rng.randint(1, 3) for _ in range(rng.randint(2, 4))), height=rng.randint(1, 3),
        width=rng.randint(1, 4), bits=rng.randint(1, 9), simd=simd,
    )  # fmt: skip
    if seed % 3 == 0:
        shape = replace(shape, simd=sum(shape.parts))
    maps = [
        np.random.default_rng(seed + k).integers(0, 1 << shape.bits, (2, part, shape.height, shape.width))
        for k, part in enumerate(shape.parts)
    ]
    pauses = [rng.choice([0.0, 0.5, 0.9]) for _ in range(len(maps) + 1)]

    streams = [beats_of(m, take, shape.bits) for m, take in zip(maps, shape.takes, strict=True)]
    left, cycles = run_join(shape, streams, wanted=2 * shape.read_cycles, pauses=pauses, seed=seed)

    assert left == beats_of(np.concatenate(maps, axis=1), shape.simd, shape.bits)
    assert {int(n) for k in range(len(maps)) for n in shape.places(k, 2)} == set(range(len(left)))
    assert (shape.in_order([shape.places(k, 2) for k in range(len(maps))]) == np.arange(len(left))).all()
    if not any(pauses):
        assert all(later == earlier + 1 for earlier, later in pairwise(cycles))


@pytest.mark.parametrize("simd", [0, 2, 4, 8])
def test_a_join_needs_whole_beats_of_every_stream(simd):
    with pytest.raises(ValueError, match=f"simd must be one of 1, 7 to join 4 and 3 channels, not {simd}"):
        JoinShape(parts=(4, 3), height=2, width=2, bits=4, simd=simd)
