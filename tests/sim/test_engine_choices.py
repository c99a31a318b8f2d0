"""Engines whose pixels choose: whole networks, every word, every cycle."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.asked import asked_by
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.records import Across, Unit
from engine_choices import choosing, halves, routed
from engine_executor import executed
from engine_networks import small_plan
from engine_plans import random_engine
from engine_runs import checked_run

pytestmark = pytest.mark.slow
PLANS = {
    "4x4, 16 bit": small_plan(choices=True, depthwise=2, tables=6, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, choices=True, feature_bytes=4096, factor_bits=24),
    "random 0": replace(random_engine(0), choices=True),
    "random 4": replace(random_engine(4), choices=True, product=True),
}
SKIPS = {
    "4x4, 16 bit": small_plan(choices=True, depthwise=2, feature_bytes=4096, predicates=64),
    "8x8, 8 bit": small_plan(
        bits=8, pin=8, pout=8, choices=True, depthwise=3, feature_bytes=4096, predicates=64, control="wishbone",
        factor_bits=24,
    ),
}  # fmt: skip
GUARDS = ("4x4, 16 bit",)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_networks_that_choose_are_exact_to_the_word_and_to_the_cycle(plan):
    """Numbers of the largest channel and the largest itself, fused and stored, choices among two to four tensors, any
    latency, number of bursts and width of memory."""
    found, seed, kinds = 0, 0, set()
    while found < 10:
        seed += 1
        assert seed < 100, "too few networks fit"
        rng = np.random.default_rng(seed)
        program = choosing(seed, bits=plan.bits, kernels=plan.kernels, lanes=plan.pin)
        try:
            image = compiled(program, plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error), error  # a row that does not fit
            continue
        found += 1
        kinds |= {layer.across for layer in image.network.layers} | {layer.unit for layer in image.network.layers}
        pixels = rng.integers(0, 256, program.input.shape)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed
    assert kinds >= {Across.NUMBER, Across.LARGEST, Unit.CHOICE}


@pytest.mark.parametrize("plan", SKIPS.values(), ids=list(SKIPS))
def test_cycles_depend_on_the_picture_and_are_those_that_were_predicted_for_it(plan):
    """Pictures that ask for one branch, for several in their lower half, for all: bands that nobody asks for are
    skipped, whatever the latency; every other word is the golden model's, and the memory that of the second
    executor."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        program = routed(seed, bits=plan.bits)
        image = compiled(program, plan, reuse=seed == 3)
        totals = []
        for pixels in halves(seed, program.input.shape):
            memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

            run = checked_run(image, pixels, memory)

            assert (run.words == executed(image, pixels)).all(), seed
            totals.append(predicted(image, asked=asked_by(image, pixels)).total)
        assert totals[0] < totals[1] < totals[2]
