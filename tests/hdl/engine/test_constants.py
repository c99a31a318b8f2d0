"""Constants as requantisers hold them mean what the Program says, and are refused where there is no room."""

import random
from types import SimpleNamespace

import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.constants import held_constants
from addax.hdl.engine.plan import SHIFT_STEP, EnginePlan
from engine_networks import small_plan

PLANS = [
    EnginePlan(device="xczu7ev", sum_bits=24), small_plan(), EnginePlan(device="xczu7ev", sum_bits=24, factor_bits=18),
]  # fmt: skip


def layer_with(**values):
    """What the constants of a layer of one channel are made of."""
    named = {"multiplier": 0, "offset": 0, "residual_multiplier": 0, "shift": 0, **values}
    return SimpleNamespace(name="fc", second=None, even=False, **{name: [value] for name, value in named.items()})


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shift", range(48))
def test_results_are_those_of_the_program(plan, shift):
    """Any S: the numbers that are held give the same integers as M, B, S and R, at both ends of the sums, too."""
    rng = random.Random(shift)
    for _ in range(20):
        reach = 1 << (24 if plan.factor_bits == 16 else 31)
        m, r = rng.randint(-32767, 32767), rng.randint(1 - reach, reach - 1)
        b = rng.randint(-1 << plan.sum_bits + 14, 1 << plan.sum_bits + 14)
        held = held_constants(
            layer_with(multiplier=m, offset=b, residual_multiplier=r, shift=shift), 0, plan
        )  # fmt: skip
        for acc in (plan.total.lo, plan.total.hi, rng.randint(plan.total.lo, plan.total.hi)):
            residual = rng.randint(0, 65535)
            wide = acc * held["multiplier"] + residual * held["residual_multiplier"] + held["offset"]
            assert plan.wide.allows(wide)
            assert wide >> SHIFT_STEP * held["shift"] == acc * m + residual * r + b >> shift


def test_factors_without_room_are_refused():
    """By layer, name, channel and bits."""
    with pytest.raises(UserError, match=r"the residual multiplier 33554433 .* needs 28 bits .* --factor-bits 18"):
        held_constants(layer_with(residual_multiplier=(1 << 25) + 1, shift=17), 0, PLANS[0])
    with pytest.raises(UserError, match=r"the multiplier 52510 of .* needs 19 bits .* build it with --factor-bits 18"):
        held_constants(layer_with(multiplier=52510, residual_multiplier=3, shift=10), 0, PLANS[0])
    with pytest.raises(UserError, match="the offset -1099511627776 of 'fc'"):
        held_constants(layer_with(offset=-1 << 40, multiplier=1, shift=16), 0, PLANS[0])
