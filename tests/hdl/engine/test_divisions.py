"""Divisions of a Program as layers of an engine: their images and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.quant.formats import signed, unsigned
from addax.quant.program import Divide, Input, Program, Reduce
from engine_encoders import encoder, quotients
from engine_executor import assert_golden, executed
from engine_networks import small_plan

OPTIONS = {"softmax": True, "tables": 6, "matmul": True, "divide": True, "norms": 2, "feature_bytes": 8192}
PLANS = {"4x4, 16 bit": small_plan(**OPTIONS), "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, **OPTIONS)}
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


def ratio(den=TOTAL, below=BYTE, shift=4, offset=3, result=BYTE):
    """The channels of a picture divided by ``den``, which is made of them."""
    pixels = Input(name="pixels", shape=(8, 1, 4), format=below)
    division = Divide(
        name="ratio", source="pixels", denominator="below", multiplier=np.full(8, 7), offset=np.full(8, offset),
        shift=shift, format=result, lo=result.lo, hi=result.hi,
    )  # fmt: skip
    return Program(ops=(pixels, den, division))


REFUSED = {
    "option": (ratio(), {"divide": False}, "no divisions, which 'ratio' is: build it with --divide"),
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
