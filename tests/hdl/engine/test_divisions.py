"""Divisions of a Program as layers of an engine: their images and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Divide, Input, Program, Reduce, Requantise
from engine_encoders import encoder, quotients
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from engine_tokens import attention_layer
from small_transformers import KERNELS, lively, vit

OPTIONS = {"softmax": True, "tables": 6, "matmul": True, "divide": True, "norms": 2, "feature_bytes": 8192}
PLANS = {"4x4, 16 bit": small_plan(**OPTIONS), "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, **OPTIONS)}
LANES_16 = EnginePlan(device="xczu7ev", matmul=True, softmax=True, tables=8, divide=True)
BYTE, TOTAL = unsigned(8), Reduce(name="below", source="pixels", how="sum")
BARE = small_plan(bits=8, pin=8, pout=8, divide=True)


def checked(program, plan, seed):
    """Every stored tensor, by the second executor, is the golden model's, and a run ends."""
    image = compiled(program, plan)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)
    assert_golden(image, pixels, executed(image, pixels))
    assert predicted(image).total > 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_attention_is_divided_as_in_the_golden_model(plan, seed):
    """Products of tokens, and exponentials, by the sums of these."""
    checked(encoder(seed, bits=plan.bits, lanes=plan.pin, divided=True), plan, seed)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("plan", [*PLANS.values(), BARE], ids=[*PLANS, "no other option"])
def test_stored_tensors_are_divided_as_in_the_golden_model(plan, seed):
    """Any denominators, 0 among them, for heads that fill no blocks, more heads than rows."""
    checked(quotients(seed, bits=plan.bits, lanes=plan.pin), plan, seed)


def test_a_denominator_of_0_counts_as_1():
    """In its product with B, too: by hand, for two heads."""
    image = compiled(ratio(den=replace(TOTAL, parts=2)), BARE)
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 1, 4)) * np.array([0, 1, 0, 1])
    x[1, :, :, 1] = 0

    found = image.tensor(executed(image, x.reshape(8, 1, 4)), "ratio")

    below = np.maximum(x.sum(1, keepdims=True), 1)
    assert (below == 1).sum() == 5
    assert (found.reshape(x.shape) == (7 * x + 3 * below) // (below << 1)).all() and found.max() > 1


def test_whole_attention_of_a_published_size_has_the_cycles_of_the_documentation():
    """A layer of DeiT-Ti, as docs/engine.md has it."""
    assert predicted(compiled(attention_layer(192, 3, 1, 197, softmax=True), LANES_16)).total == 225_683


OWN = Requantise(
    name="below", source="pixels", multiplier=np.full(8, 1), offset=np.full(8, 0), shift=0, format=BYTE, lo=0, hi=255
)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_whole_vision_transformer_is_that_of_the_golden_model(kernel):
    """As it comes from torch: nothing that it needs is missing."""
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    image = compiled(lower(lively(vit, kernel), images), replace(PLANS["4x4, 16 bit"], tables=8))

    assert_golden(image, images[0], executed(image, images[0]))


def ratio(den=TOTAL, below=BYTE, shift=1, offset=3, result=BYTE):
    """The channels of a picture divided by ``den``, which is made of them."""
    pixels = Input(name="pixels", shape=(8, 1, 4), format=below)
    division = Divide(
        name="ratio", source="pixels", denominator="below", multiplier=np.full(8, 7), offset=np.full(8, offset),
        shift=shift, format=result, lo=result.lo, hi=result.hi,
    )  # fmt: skip
    return Program(ops=(pixels, den, division))


REFUSED = {
    "option": (ratio(), {"divide": False}, "no divisions, which 'ratio' is: build it with --divide"),
    "heads": (ratio(den=OWN), {}, "the denominators 'below' of 'ratio' are stored as heads of 1 channels; the engine"),
    "quotients": (ratio(result=signed(9)), {}, "quotients have at most 8 bits; those of 'ratio' have int9"),
    "denominators": (
        ratio(below=unsigned(14)), {"bits": 16},
        "the denominators 'below' of 'ratio' have uint17; the engine divides by at most 16 bits",
    ),
    "numerators": (
        ratio(shift=20, offset=1 << 28), {"sum_bits": 16},
        "'ratio' divides numbers of 20 bits; the engine's have 16; build it with --sum-bits 20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("program, changes, message", REFUSED.values(), ids=list(REFUSED))
def test_divisions_that_the_engine_has_not_are_refused_in_one_line(program, changes, message):
    with pytest.raises(UserError) as caught:
        compiled(program, replace(BARE, **changes))
    assert message in str(caught.value)


def test_an_engine_that_divides_has_square_lanes():
    with pytest.raises(ValueError, match="an engine with divide must have pin and pout alike, not 4 and 8"):
        replace(BARE, pin=4)
