# amaranth: UnusedElaboratable=no
"""Choices of an engine: its blocks against loops over Python integers, images in the second executor, refusals."""

import random
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.control import engine_identity
from addax.hdl.engine.core.largest import LargestRow, largest_latency
from addax.hdl.engine.core.sums import PixelSums
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.records import Across, Stream
from addax.quant.formats import signed, unsigned
from addax.quant.program import ArgMax, Reduce, Select
from engine_blocks import cycles_of, fields, packed
from engine_choices import choosing
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from network_builder import Builder


@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize("across", list(Across))
def test_the_largest_row_is_found_and_of_equal_ones_the_lowest(across, rows):
    """Pixels with gaps, whose values stay until the next; ties, both ends of 16 bits with and without a sign; what is
    not compared passes in the same cycle, as wide as results are."""
    plan, rng = small_plan(pin=rows, pout=rows, choices=True), random.Random(rows + across)
    dut, late = LargestRow(plan), largest_latency(plan) if across else 0
    values, script = [], []
    for _ in range(30):
        kinds = ((-2, 2), (-1 << 15, (1 << 16) - 1), (plan.result.lo, plan.result.hi))
        lo, hi = rng.choice(kinds[: 2 if across else 3])
        own = [rng.choice([lo, hi, rng.randint(lo, hi)]) for _ in range(rows)]
        values.append((len(script) + late, own))
        inputs = {"across": across, "values": packed(own, plan.result.bits)}
        script += [{**inputs, "valid": 1}, *[{**inputs, "valid": 0}] * rng.randrange(3)]

    seen = cycles_of(dut, lambda cycle: script[min(cycle, len(script) - 1)] | (
        {"valid": 0} if cycle >= len(script) else {}), len(script) + late, "done", "results")  # fmt: skip

    assert [k for k, (done, _) in enumerate(seen) if done] == [cycle for cycle, _ in values]
    for cycle, own in values:
        first = {Across.NUMBER: own.index(max(own)), Across.LARGEST: max(own)}.get(across)
        wanted = own if first is None else [first, *[0] * (rows - 1)]
        assert fields(seen[cycle][1], plan.result.bits, rows) == wanted


@pytest.mark.parametrize("sign", [0, 1])
def test_the_tap_whose_number_the_first_one_is_is_kept(sign):
    """Two taps to six behind the number; a number behind the last stands for the last; a sign inverts its highest bit,
    which says nothing. Sums and maxima of the same engine stay what they are."""
    plan, rng = small_plan(choices=True), random.Random(sign)
    dut, script, wanted = PixelSums(plan, signed(24)), [], []
    for _ in range(20):
        count = rng.randint(2, 6)
        taps = [[rng.getrandbits(plan.bits) for _ in range(plan.pout)] for _ in range(count)]
        number = rng.choice([0, count - 1, count, rng.randrange(count), (1 << plan.bits - 1) - 1])
        first = [number | sign << plan.bits - 1, *(rng.getrandbits(plan.bits) for _ in range(plan.pout - 1))]
        script += [(k == 0, k == count, words) for k, words in enumerate([first, *taps])]
        wanted.append((len(script) - 1 + dut.latency, taps[min(number, count - 1)]))

    def drive(cycle):
        if cycle >= len(script):
            return {"valid": 0, "pool": 0}
        first, last, words = script[cycle]
        return {
            "valid": 1, "pool": 1, "choosing": 1, "fresh": 1, "first": first, "last": last, "words": packed(words, 24)
        }  # fmt: skip

    seen = cycles_of(dut, lambda cycle: {"fresh": 1, **drive(cycle - 1)} if cycle else {"fresh": 1, "valid": 0},
                     len(script) + 4, "done", "sums")  # fmt: skip

    got = [(k - 1, fields(sums, plan.sum_bits, plan.pout)) for k, (done, sums) in enumerate(seen) if done]
    assert got == wanted


@pytest.mark.parametrize("seed", range(12))
def test_networks_that_choose_are_those_of_the_golden_model(seed):
    """Every stored tensor, whatever is fused, in engines of both widths; the words that the compiler counts are those
    that the reader moves."""
    plan = (
        small_plan(choices=True, depthwise=2, feature_bytes=8192),
        small_plan(bits=8, pin=8, pout=8, choices=True, feature_bytes=4096, factor_bits=24),
    )[seed % 2]  # fmt: skip
    program = choosing(seed, bits=plan.bits, lanes=plan.pin)
    image = compiled(program, plan)
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)

    assert_golden(image, pixels, executed(image, pixels))

    moved = traffic_of(image)
    read = {stream: sum(r["words"] for r in image.reads if r["stream"] == stream) for stream in Stream}
    assert read[Stream.FEATURES] == sum(layer.features for layer in moved)
    assert predicted(image).total > 0


def scores(channels, fmt=None):
    b = Builder(np.random.default_rng(0), (3, 4, 4))
    b.varied = lambda op: op
    b.convolution("adder", channels)
    b.rescale(fmt or signed(8))
    return b


def numbers(b):
    b.emit(ArgMax(name="number", source=b.last))
    return b


def chosen(count, fmt):
    b = scores(4)
    made = b.last
    b.convolution("adder", 1)
    b.rescale(fmt)
    b.emit(Select(name="chosen", source=b.last, branches=(made,) * count))
    return b


def reduced(**how):
    b = scores(4)
    b.emit(Reduce(name="reduced", source=b.last, **how))
    b.rescale(signed(8))
    return b


@pytest.mark.parametrize(
    "make, changes, message",
    [
        (lambda: numbers(scores(4)), {"choices": False},
         "the engine has no choices, which 'number' makes: build it with --choices"),
        (lambda: chosen(2, unsigned(1)), {"choices": False},
         "the engine has no choices, which 'chosen' makes: build it with --choices"),
        (lambda: reduced(how="max"), {"choices": False},
         "the engine has no choices, which 'reduced' makes: build it with --choices"),
        (lambda: numbers(scores(5)), {},
         "'number' compares 5 channels; the engine has 4 rows; build it with --pout 8"),
        (lambda: numbers(scores(65)), {"feature_bytes": 1 << 14},
         "'number' compares 65 channels; the engine has 4 rows; no engine has more than 64"),
        (lambda: numbers(scores(4, signed(17))), {}, "compares channels of int17; the engine compares at most 16 bits"),
        (lambda: chosen(2, unsigned(8)), {"bits": 8, "pin": 8, "pout": 8},
         "'chosen' chooses by 'req4', which has uint8; the engine has at most 7 bits"),
        (lambda: chosen(63, unsigned(6)), {}, "'chosen' chooses among 63 tensors; the engine has 62 at most"),
        (lambda: reduced(how="max", parts=2), {},
         "the engine compares all channels of a pixel; 'reduced' takes them in 2 parts"),
        (lambda: reduced(how="sum"), {"kernels": ("adder",)},
         "'reduced' needs mult lanes; the engine has adder: build it with --kernels adder,mult"),
    ],
)  # fmt: skip
def test_choices_that_the_engine_lacks_are_refused_in_one_line(make, changes, message):
    """The operation, what of it, and the smallest change that helps, if one does."""
    with pytest.raises(UserError, match=re.escape(message)):
        compiled(make().raw(), small_plan(**{"choices": True, **changes}))


def test_engine_without_choices_is_the_same_build_as_before():
    plan, other = small_plan(), small_plan(choices=True)
    assert "choices" not in plan.to_json() and EnginePlan.from_json(other.to_json()) == other
    assert engine_identity(plan) != engine_identity(other)
    with pytest.raises(UserError, match="choices of an engine must be False or True, not 1"):
        EnginePlan.from_json({**plan.to_json(), "choices": 1})
