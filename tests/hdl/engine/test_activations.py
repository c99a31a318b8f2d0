# amaranth: UnusedElaboratable=no
"""Second slopes, ties to even numbers and levels: in the blocks of the core, in images, and where they are refused."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.reading.narrow import had_by
from addax.hdl.engine.core.levels import LevelCounts
from addax.hdl.engine.core.requantisers import _OPERAND_BITS, Requantisers
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import SHIFT_STEP, EnginePlan
from addax.hdl.engine.records import constants_record, levels_record, slopes_record
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Requantise, Threshold
from engine_activations import activations, even_levels
from engine_blocks import cycles_of, fields, packed
from engine_executor import assert_golden, executed
from engine_networks import gated, small_plan
from network_builder import Builder

EVERYTHING = {"slopes": True, "ties_even": True, "levels": 7}


def run(dut, script, *outputs):
    """Values of ``outputs`` in each cycle of ``script``, whose entries are inputs by name."""
    return cycles_of(dut, script.__getitem__, len(script), *outputs)


def elements(records, values, plan):
    """Words in which each channel takes an element of its records in every cycle."""
    parts = [
        [e for record, own in zip(records, channel, strict=True) for e in record.split(own, plan.bits)]
        for channel in values
    ]
    return [packed(word, plan.bits) for word in zip(*parts, strict=True)]


@pytest.mark.parametrize("operand", [64, 18])
@pytest.mark.parametrize("bends, even", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_requantisers_bend_and_round_as_numerics_says(bends, even, operand, monkeypatch):
    """Sums on both sides of their knees, at them, and ties of all kinds; a layer that asks for neither has neither."""
    monkeypatch.setitem(_OPERAND_BITS, "generic", operand)
    plan, rng = small_plan(slopes=True, ties_even=True), random.Random(bends + 2 * even)
    dut = Requantisers(plan)
    channels = []
    for steps in (0, 1, 3, 5):
        place = 1 << steps * SHIFT_STEP
        second = {
            "multiplier": rng.randint(-9, 9) * max(place // 8, 1),
            "offset": rng.choice([0, place // 2]),
            "knee": rng.randint(-3, 3),
        }
        plain = {"multiplier": rng.randint(1, 9) * max(place // 4, 1), "offset": place // 2, "shift": steps,
                 "residual_multiplier": rng.choice([0, place // 2, 7])}  # fmt: skip
        channels.append((second, plain))
    pixels = [
        ([rng.randint(-12, 12) for _ in channels], [rng.randint(-9, 9) for _ in channels], rng.random() < 0.8)
        for _ in range(30)
    ]
    first = elements([slopes_record(plan)], [[second] for second, _ in channels], plan)
    then = elements([constants_record(plan)], [[own] for _, own in channels], plan)
    low, high = -50, 40
    script = [{"word": word, "further": 1, "low": low & ((1 << plan.result.bits) - 1), "high": high, "bends": bends,
               "even": even} for word in first]  # fmt: skip
    script += [{"word": word, "further": 0, "shift": 1} for word in then]
    begin = len(script)
    script += [
        {"shift": 0, "sums": packed(s, plan.sum_bits), "residuals": packed(r, plan.residual.bits), "valid": v}
        for s, r, v in pixels
    ]
    script += [{"valid": 0}] * dut.latency

    seen = run(dut, script, "done", "results")

    for number, (sums, residuals, valid) in enumerate(pixels):
        done, results = seen[begin + number + dut.latency]
        assert done == valid
        want = []
        for acc, r, (second, own) in zip(sums, residuals, channels, strict=True):
            side = second if bends and acc < second["knee"] else own
            wide, shift = acc * side["multiplier"] + r * own["residual_multiplier"] + side["offset"], 3 * own["shift"]
            y = wide >> shift
            y -= even and y << shift == wide and y & 1
            want.append(min(max(y, low), high))
        assert not valid or fields(results, plan.result.bits, len(channels)) == want


@pytest.mark.parametrize("count", [3, 7, 15])
def test_levels_are_counted_one_pixel_a_cycle(count):
    """Equal to a level is reached; equal levels count both. Without levels a result passes in its own cycle."""
    plan, rng = small_plan(levels=count), random.Random(count)
    dut, fmt, record = LevelCounts(plan), plan.level, levels_record(plan)
    levels = [sorted(rng.choice([fmt.lo, fmt.hi, rng.randint(-20, 20)]) for _ in range(count)) for _ in range(4)]
    values = [dict(zip([f.name for f in record.fields], own, strict=True)) for own in levels]
    script = [{"word": word, "shift": 1} for word in elements([record], [[own] for own in values], plan)]
    begin = len(script)
    pixels = [[rng.choice([fmt.lo, fmt.hi - 1, rng.randint(-22, 22)]) for _ in levels] for _ in range(40)]
    script += [{"shift": 0, "valid": 1, "counting": 1, "values": packed(own, plan.result.bits)} for own in pixels]
    script += [{"valid": 0}] * dut.latency + [{"valid": 1, "counting": 0, "values": packed([-7] * 4, plan.result.bits)}]

    seen = run(dut, script, "done", "results")

    for number, own in enumerate(pixels):
        done, results = seen[begin + number + dut.latency]
        stored = [value & ((1 << plan.bits) - 1) for value in fields(results, plan.result.bits, 4)]
        assert done and stored == [sum(v >= level for level in row) for v, row in zip(own, levels, strict=True)]
    assert [done for done, _ in seen[: begin + dut.latency]] == [0] * (begin + dut.latency)
    done, results = seen[-1]
    assert done and fields(results, plan.result.bits, 4) == [-7] * 4


@pytest.mark.parametrize("seed", range(12))
def test_every_stored_tensor_is_that_of_the_golden_model(seed):
    """Constants of every kernel, pool and residual are turned into those for the sums that the array has."""
    lanes = (8, 4)[seed % 2]
    plan = small_plan(
        pin=lanes, pout=lanes, bits=64 // lanes, memory_bits=64, kernels=("adder", "mult", "shift", "xnor"),
        pixels=64, feature_bytes=4096, factor_bits=24, sum_bits=32, **EVERYTHING,
    )  # fmt: skip
    program = activations(seed, bits=plan.bits)
    image = compiled(program, plan)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

    words = executed(image, pixels)

    assert any(layer.second is not None for layer in image.network.layers)
    assert_golden(image, pixels, words)
    predicted(image)


@pytest.mark.parametrize("seed", range(12))
def test_activations_beside_products_and_tables(seed):
    """An engine that has all: second slopes of products, tables behind knees, levels and ties."""
    plan = small_plan(
        kernels=("adder", "mult"), pixels=64, feature_bytes=4096, factor_bits=24, sum_bits=36, product=True, tables=10,
        **EVERYTHING,
    )  # fmt: skip
    program = gated(seed, bits=16, table_bits=10, bent=True)
    image = compiled(program, plan)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

    words = executed(image, pixels)

    layers = image.network.layers
    assert any(layer.second is not None for layer in layers) and any(layer.product for layer in layers)
    assert_golden(image, pixels, words)
    predicted(image)


@pytest.mark.parametrize("count", [2, 3, 7, 15, 200])
@pytest.mark.parametrize("spaced", [True, False])
def test_levels_of_a_uniform_quantiser_take_no_levels_of_the_engine(count, spaced):
    """They are a requantise of any engine; others take levels, as many as there are, or are refused."""
    program = even_levels(count, count=count, spaced=spaced)
    plan = small_plan(kernels=("mult",), pixels=64, levels=0 if spaced else 15)
    if count > 15 and not spaced:
        with pytest.raises(UserError, match="no engine has more than 15 levels"):
            compiled(program, plan)
        return
    image = compiled(program, plan)
    pixels = np.random.default_rng(count).integers(0, 256, program.input.shape)

    words = executed(image, pixels)

    (layer,) = image.network.layers
    assert count == 2 or (layer.levels is None) == spaced
    expected = golden.run(program, pixels[None], trace=True).tensors["levels"][0]
    assert np.array_equal(image.tensor(words, "levels"), expected)


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_requantises_of_few_results_are_made_plain(seed, even):
    """Factors of 32 bits and ties to even numbers become what every engine has, for every sum, or are refused."""
    rng, sums, plan = np.random.default_rng(seed), signed(12), small_plan()
    hi = int(rng.integers(1, 200))
    m = rng.choice([-1, 1], 6) * rng.integers(0, 1 << int(rng.integers(10, 31)), 6)
    shift = np.maximum(np.log2(np.abs(m) + 1).astype(np.int64) + rng.integers(-3, 8, 6), 1)
    if even:  # factors of few digits, whose sums lie in the middle now and then
        m = m >> (shift - 2).clip(0) << (shift - 2).clip(0)
    b = rng.integers(-1 << 12, 1 << 12, 6) * np.abs(m) + (1 << shift >> 1)
    op = Requantise(
        name="req", source="sums", multiplier=m, offset=b, shift=shift, format=signed(9), lo=-5, hi=hi - 5,
        ties="even" if even else "up", factor_bits=32,
    )  # fmt: skip
    acc = np.arange(sums.lo, sums.hi + 1)[:, None]

    def result(op):
        wide = acc * op.multiplier + op.offset
        y = wide >> op.shifts
        y -= (op.ties == "even") & (y << op.shifts == wide) & (y & 1)
        return y.clip(op.lo, op.hi)

    try:
        found = had_by(plan, op, sums)
    except UserError as error:
        assert "--factor-bits" in str(error) or "--ties-even" in str(error)
        return
    assert (found.ties == "up" and np.abs(found.multiplier).max() <= 32767) or found is op
    assert np.array_equal(result(found), result(op))


def bent(**changes):
    """A requantise with a second slope behind a convolution."""
    b = Builder(np.random.default_rng(1), (4, 6, 6))
    b.varied = lambda op: replace(op, **changes)
    b.convolution("adder", 4)
    b.rescale(signed(9))  # too many results for a requantise that equals it
    return b


def stored_wide():
    """A second slope of a stored tensor of 12 bits, on lanes of 8."""
    b = Builder(np.random.default_rng(1), (4, 6, 6), signed(8))
    b.varied = lambda op: op
    b.convolution("adder", 4)
    b.rescale(signed(12))
    b.rescale(signed(8))
    b.bend()
    return b


@pytest.mark.parametrize(
    "make, changes, message",
    [
        (lambda: with_bend(bent()), {}, "the engine has no second slopes, which 'req2' has: build it with --slopes"),
        (
            lambda: bent(ties="even", factor_bits=32, multiplier=ODD), {},
            "the engine rounds no ties to even numbers, as 'req2' does: build it with --ties-even",
        ),
        (
            lambda: bent(multiplier=ODD << 8 | 1, factor_bits=32), {},
            "the factors of 'req2' take 24 bits, the engine has 16: build it with --factor-bits 24",
        ),
        (
            stored_wide, {"slopes": True, "bits": 8, "pin": 8, "pout": 8},
            "second slopes of stored tensors are of at most 8 bits, 'req2' has int12: build it with --bits 16",
        ),
        (
            lambda: levelled(7), {"levels": 3},
            "the thresholds of 'levels' have 7 levels that are not evenly spaced; the engine has 3; build it with "
            "--levels 7",
        ),
        (
            lambda: levelled(3), {},
            "the thresholds of 'levels' have 3 levels that are not evenly spaced; the engine has none; build it with "
            "--levels 3",
        ),
    ],
)  # fmt: skip
def test_what_the_engine_lacks_is_refused_with_the_build_that_has_it(make, changes, message):
    """The layer, what of it, and the option."""
    with pytest.raises(UserError, match=re.escape(message)):
        compiled(make().raw(), small_plan(**changes))


ODD = np.array([32767, 32765, -32761, 32759])
"""Factors that no smaller ones equal for results of 8 bits."""


def with_bend(b):
    b.bend()
    return b


def levelled(count):
    """Levels that no line counts."""

    class Filed:
        raw = staticmethod(lambda: even_levels(5, count=count, spaced=False))

    return Filed


def test_levels_that_lie_too_far_apart_are_refused():
    """The engine compares two elements, after the middle of a channel's levels has been taken away."""
    b = Builder(np.random.default_rng(0), (64, 4, 4))
    b.convolution("mult", 1, weight_bits=8)
    b.emit(
        Threshold(
            name="levels", source=b.last, thresholds=np.array([[-200_000, -190_000, 100_000]]),
            falling=np.zeros(1, np.int64), format=unsigned(2),
        )
    )  # fmt: skip
    plan = small_plan(bits=8, pin=8, pout=8, levels=3)
    with pytest.raises(UserError, match=r"'levels', channel 0, reach from -200,000 to 100,000.*with --bits 16"):
        compiled(b.raw(), plan)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"levels": 4}, "levels of an engine must be 0 or 3 or 7 or 15, not 4"),
        ({"slopes": 1}, "slopes of an engine must be False or True, not 1"),
        ({"factor_bits": 17}, "factor_bits of an engine must be 16 or 18"),
        ({"factor_bits": 24}, "sum_bits and factor_bits together must be at most 61, not 44 + 24"),
    ],
)
def test_impossible_choices_are_refused(changes, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        small_plan(**changes)


def test_plans_without_it_are_written_as_before():
    """Builds and images of engines that have none of it stay what they were."""
    plan = small_plan()
    assert not {"slopes", "ties_even", "levels", "factor_bits"} & set(plan.to_json())
    more = small_plan(slopes=True, levels=3)
    assert EnginePlan.from_json(more.to_json()) == more != plan
